//! The statement around the expressions: SELECT, its list, FROM and WHERE (spec 1.1).

use sqlparser::ast::Expr;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::dialect::{DEPTH_MAX, IotDialect, error_at, unescape, unexpected};
use super::error::Position;

/// A statement as written, before names mean anything.
#[derive(Debug)]
pub(super) struct StatementAst {
    /// What SELECT lists.
    pub(super) select: SelectAst,
    /// The topic filter's text and where it stands.
    pub(super) from: Option<(String, Position)>,
    /// The WHERE condition.
    pub(super) condition: Option<Expr>,
}

/// What stands between SELECT and FROM.
#[derive(Debug)]
pub(super) enum SelectAst {
    /// `SELECT VALUE expression`.
    Value(Box<ItemAst>),
    /// `SELECT item, item`.
    Items(Vec<ItemAst>),
}

/// One item of a SELECT list.
#[derive(Debug)]
pub(super) struct ItemAst {
    /// The expression; `None` is `*`.
    pub(super) expr: Option<Expr>,
    /// Whether `.*` follows it.
    pub(super) lifted: bool,
    /// The names after AS; empty without one.
    pub(super) alias: Vec<String>,
    /// Where the item stands.
    pub(super) at: Position,
}

/// Reads a whole statement from `parser`, up to its end.
pub(super) fn statement(parser: &mut Parser, dialect: &IotDialect) -> Result<StatementAst, ParserError> {
    let start = parser.peek_token_ref().span.start;
    if parser.parse_keyword(Keyword::SET) {
        return error_at("SET is not supported yet", start);
    }
    if !parser.parse_keyword(Keyword::SELECT) {
        return unexpected(parser, "SELECT");
    }
    let select = select(parser, dialect)?;
    let from = if parser.parse_keyword(Keyword::FROM) { Some(topic(parser)?) } else { None };
    let condition = if parser.parse_keyword(Keyword::WHERE) {
        dialect.start_expression();
        Some(parser.parse_expr()?)
    } else {
        None
    };
    if parser.peek_token_ref().token == Token::EOF {
        return Ok(StatementAst { select, from, condition });
    }
    match (&condition, &from) {
        (Some(_), _) => unexpected(parser, "an operator or the end of the statement"),
        (None, Some(_)) => unexpected(parser, "WHERE or the end of the statement"),
        (None, None) => unexpected(parser, "a comma, AS, FROM or WHERE"),
    }
}

fn topic(parser: &mut Parser) -> Result<(String, Position), ParserError> {
    let token = parser.next_token();
    let at = Position::from(token.span.start);
    match token.token {
        Token::SingleQuotedString(text) => Ok((unescape(&text, '\''), at)),
        Token::DoubleQuotedString(text) => Ok((unescape(&text, '"'), at)),
        found => error_at(
            &format!("FROM needs a topic filter in quotes, as in FROM 'iot/topic', found {found}"),
            token.span.start,
        ),
    }
}

fn select(parser: &mut Parser, dialect: &IotDialect) -> Result<SelectAst, ParserError> {
    if value_follows(parser) {
        parser.next_token();
        return Ok(SelectAst::Value(Box::new(item(parser, dialect)?)));
    }
    let mut items = vec![item(parser, dialect)?];
    while parser.consume_token(&Token::Comma) {
        let ended = match &parser.peek_token_ref().token {
            Token::Word(word) => matches!(word.keyword, Keyword::FROM | Keyword::WHERE),
            token => *token == Token::EOF,
        };
        if ended {
            break;
        }
        items.push(item(parser, dialect)?);
    }
    Ok(SelectAst::Items(items))
}

/// Whether the next word is the VALUE of `SELECT VALUE` and not an attribute of that name: something
/// that can start an expression must follow, and what could as well be an operator counts as one
/// only for `*` before the end of the list.
fn value_follows(parser: &Parser) -> bool {
    let Token::Word(word) = &parser.peek_token_ref().token else { return false };
    if !word.value.eq_ignore_ascii_case("value") {
        return false;
    }
    match &parser.peek_nth_token_ref(1).token {
        Token::Word(word) => !matches!(
            word.keyword,
            Keyword::FROM | Keyword::WHERE | Keyword::AS | Keyword::AND | Keyword::OR | Keyword::IN
        ),
        Token::Number(..) | Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => true,
        Token::LBracket | Token::LBrace | Token::LParen => true,
        Token::Mul => match &parser.peek_nth_token_ref(2).token {
            Token::Word(word) => matches!(word.keyword, Keyword::FROM | Keyword::WHERE),
            token => *token == Token::EOF,
        },
        // `value - 1` would be an attribute; `VALUE -1 FROM` has no blank after the sign.
        Token::Minus => {
            let (sign, operand) = (parser.peek_nth_token_ref(1), parser.peek_nth_token_ref(2));
            let apart = parser.peek_token_ref().span.end != sign.span.start;
            apart && sign.span.end == operand.span.start
        }
        _ => false,
    }
}

fn item(parser: &mut Parser, dialect: &IotDialect) -> Result<ItemAst, ParserError> {
    let at = Position::from(parser.peek_token_ref().span.start);
    dialect.start_expression();
    let (expr, lifted) = if parser.consume_token(&Token::Mul) {
        (None, false)
    } else {
        let expr = parser.parse_expr()?;
        let lifted = parser.consume_token(&Token::Period);
        if lifted && !parser.consume_token(&Token::Mul) {
            return unexpected(parser, "a name or * after the point");
        }
        (Some(expr), lifted)
    };
    let mut alias = Vec::new();
    if parser.parse_keyword(Keyword::AS) {
        alias.push(alias_part(parser)?);
        while parser.consume_token(&Token::Period) {
            if alias.len() == DEPTH_MAX {
                return Err(ParserError::RecursionLimitExceeded);
            }
            alias.push(alias_part(parser)?);
        }
    }
    Ok(ItemAst { expr, lifted, alias, at })
}

fn alias_part(parser: &mut Parser) -> Result<String, ParserError> {
    if let Token::Word(word) = &parser.peek_token_ref().token {
        let name = word.value.clone();
        parser.next_token();
        return Ok(name);
    }
    if matches!(parser.peek_token_ref().token, Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)) {
        let wanted = "a plain name after AS (write other names as an object: SELECT {'my-key': x})";
        return unexpected(parser, wanted);
    }
    unexpected(parser, "a name after AS")
}
