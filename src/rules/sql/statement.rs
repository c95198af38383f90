//! The statement around the expressions: SET, SELECT, its list, FROM and WHERE, and the same
//! for a SELECT inside an expression.
//!
//! What cannot be read is noted, passed over up to the next comma or clause, and reading goes on, so
//! that an operator sees all mistakes at once.

use sqlparser::ast::Expr;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::dialect::{DEPTH_MAX, IotDialect, error_at, unescape, unexpected, variable_name};
use super::error::Position;

/// A statement as written, before names mean anything.
#[derive(Debug)]
pub(super) struct StatementAst {
    /// What SET names.
    pub(super) variables: Vec<VariableAst>,
    /// What SELECT lists.
    pub(super) select: SelectAst,
    /// The topic filter's text and where it stands.
    pub(super) from: Option<(String, Position)>,
    /// The WHERE condition.
    pub(super) condition: Option<Expr>,
}

/// `@name = expression` of SET.
#[derive(Debug)]
pub(super) struct VariableAst {
    /// The name, without the `@`.
    pub(super) name: String,
    /// Where it stands.
    pub(super) at: Position,
    /// Its value; `None` if that could not be read.
    pub(super) expr: Option<Expr>,
}

/// What stands between SELECT and FROM.
#[derive(Debug)]
pub(super) enum SelectAst {
    /// `SELECT VALUE expression`; `None` if that could not be read.
    Value(Option<Box<ItemAst>>),
    /// `SELECT item, item`, as far as they could be read.
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

/// A SELECT inside an expression.
#[derive(Debug)]
pub(super) struct NestedAst {
    /// Whether EXISTS stands before it.
    pub(super) exists: bool,
    /// What SELECT lists.
    pub(super) select: SelectAst,
    /// What FROM names; `None` if that could not be read.
    pub(super) source: Option<SourceAst>,
    /// The name of an element.
    pub(super) alias: Option<String>,
    /// The WHERE condition.
    pub(super) condition: Option<Expr>,
}

/// What a nested SELECT reads from.
#[derive(Debug)]
pub(super) enum SourceAst {
    /// `FROM *`.
    Payload,
    /// `FROM expression`.
    Expr(Box<Expr>),
}

/// Reads a whole statement from `parser`, up to its end.
pub(super) fn statement(parser: &mut Parser, dialect: &IotDialect) -> StatementAst {
    let variables = if is_word(parser, "set") {
        parser.next_token();
        Reader { dialect, part: Part::Set }.variables(parser)
    } else {
        Vec::new()
    };
    let reader = Reader { dialect, part: Part::Statement };
    let mut ast =
        StatementAst { variables, select: SelectAst::Items(Vec::new()), from: None, condition: None };
    if !parser.parse_keyword(Keyword::SELECT) {
        reader.note_unexpected(parser, "SELECT");
        return ast;
    }
    ast.select = reader.select(parser);
    if parser.parse_keyword(Keyword::FROM) {
        ast.from = reader.attempt(parser, topic);
        reader.expect_boundary(parser, "WHERE or the end of the statement");
    }
    ast.condition = reader.condition(parser);
    ast
}

/// Reads `SELECT … FROM … )` inside an expression, whose opening bracket is read already.
pub(super) fn nested(
    parser: &mut Parser,
    dialect: &IotDialect,
    exists: bool,
) -> Result<NestedAst, ParserError> {
    let reader = Reader { dialect, part: Part::Nested };
    parser.expect_keyword(Keyword::SELECT)?;
    let select = reader.select(parser);
    if !parser.parse_keyword(Keyword::FROM) {
        let at = parser.peek_token_ref().span.start;
        return error_at("a nested SELECT needs FROM and a list or an object", at);
    }
    let source = reader.attempt(parser, |parser| {
        if parser.consume_token(&Token::Mul) {
            return Ok(SourceAst::Payload);
        }
        dialect.expression(parser).map(|expr| SourceAst::Expr(Box::new(expr)))
    });
    let named = parser.parse_keyword(Keyword::AS);
    let alias = if named { reader.attempt(parser, |parser| name(parser, "FROM list AS")) } else { None };
    reader.expect_boundary(parser, "AS, WHERE or a closing bracket");
    let condition = reader.condition(parser);
    if !parser.consume_token(&Token::RParen) {
        return unexpected(parser, "a closing bracket after the nested SELECT");
    }
    Ok(NestedAst { exists, select, source, alias, condition })
}

/// What is being read, and so what ends it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// SET, up to SELECT.
    Set,
    /// SELECT, up to the end of the text.
    Statement,
    /// SELECT, up to a closing bracket.
    Nested,
}

/// Reads one part of a statement.
struct Reader<'d> {
    dialect: &'d IotDialect,
    part: Part,
}

impl Reader<'_> {
    /// What `read` yields; if it fails the mistake is noted and everything up to the next comma or
    /// clause passed over.
    fn attempt<T>(
        &self,
        parser: &mut Parser,
        read: impl FnOnce(&mut Parser) -> Result<T, ParserError>,
    ) -> Option<T> {
        let start = parser.index();
        let error = match read(parser) {
            Ok(found) => return Some(found),
            Err(error) => error,
        };
        let failed = parser.index();
        self.dialect.note(self.dialect.placed(parser, error));
        go_back(parser, start);
        if !self.pass_over(parser) && self.dialect.has_room() {
            // A bracket is open to the very end, so brackets say nothing about what belongs together.
            go_back(parser, failed);
            while !self.at_end(parser) && !self.at_boundary(parser) {
                parser.next_token();
            }
        }
        None
    }

    fn note_unexpected(&self, parser: &Parser, wanted: &str) {
        if let Err(error) = unexpected::<()>(parser, wanted) {
            self.dialect.note(self.dialect.placed(parser, error));
        }
    }

    /// Moves on to the next comma or clause of this part, or to its end; `false` if a bracket is still
    /// open there.
    fn pass_over(&self, parser: &mut Parser) -> bool {
        let mut depth = 0_usize;
        loop {
            match &parser.peek_token_ref().token {
                Token::EOF => return depth == 0,
                _ if depth == 0 && (self.at_end(parser) || self.at_boundary(parser)) => return true,
                Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
                Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
                _ => {}
            }
            parser.next_token();
        }
    }

    fn at_end(&self, parser: &Parser) -> bool {
        match &parser.peek_token_ref().token {
            Token::EOF => true,
            Token::RParen => self.part == Part::Nested,
            Token::Word(word) => self.part == Part::Set && word.keyword == Keyword::SELECT,
            _ => false,
        }
    }

    fn at_boundary(&self, parser: &Parser) -> bool {
        match &parser.peek_token_ref().token {
            Token::Comma => true,
            Token::Word(word) => matches!(word.keyword, Keyword::FROM | Keyword::WHERE),
            _ => false,
        }
    }

    /// Notes what stands between this place and WHERE or the end, and passes over it.
    fn expect_boundary(&self, parser: &mut Parser, wanted: &str) {
        let there = |parser: &Parser| self.at_end(parser) || parser.peek_keyword(Keyword::WHERE);
        if !there(parser) {
            self.note_unexpected(parser, wanted);
        }
        while !there(parser) {
            parser.next_token();
            self.pass_over(parser);
        }
    }

    /// `@name = expression, …` behind SET.
    fn variables(&self, parser: &mut Parser) -> Vec<VariableAst> {
        let mut variables = Vec::new();
        loop {
            if let Some((name, at)) = self.attempt(parser, variable) {
                let expr = self.attempt(parser, |parser| {
                    if !parser.consume_token(&Token::Eq) {
                        return unexpected(parser, &format!("= after @{name}"));
                    }
                    self.dialect.expression(parser)
                });
                variables.push(VariableAst { name, at, expr });
            }
            if !self.at_end(parser) && parser.peek_token_ref().token != Token::Comma {
                let wanted = if is_word(parser, "set") {
                    "a comma or SELECT (SET stands once: SET @a = 1, @b = 2)"
                } else {
                    "a comma or SELECT"
                };
                self.note_unexpected(parser, wanted);
                self.pass_over(parser);
            }
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        variables
    }

    fn select(&self, parser: &mut Parser) -> SelectAst {
        if value_follows(parser) {
            parser.next_token();
            let item = self.attempt(parser, |parser| item(parser, self.dialect)).map(Box::new);
            self.expect_end_of_list(parser);
            while parser.consume_token(&Token::Comma) {
                if item.is_some() && !self.list_ends(parser) {
                    self.note_unexpected(parser, "FROM, as SELECT VALUE takes one expression");
                }
                self.pass_over(parser);
            }
            return SelectAst::Value(item);
        }
        let mut items = Vec::new();
        loop {
            items.extend(self.attempt(parser, |parser| item(parser, self.dialect)));
            self.expect_end_of_list(parser);
            if !parser.consume_token(&Token::Comma) {
                break;
            }
            // A comma may stand behind the last item.
            if self.list_ends(parser) {
                break;
            }
        }
        SelectAst::Items(items)
    }

    fn list_ends(&self, parser: &Parser) -> bool {
        self.at_end(parser) || (self.at_boundary(parser) && parser.peek_token_ref().token != Token::Comma)
    }

    fn expect_end_of_list(&self, parser: &mut Parser) {
        if !self.at_end(parser) && !self.at_boundary(parser) {
            self.note_unexpected(parser, "a comma, AS, FROM or WHERE");
            parser.next_token();
            self.pass_over(parser);
        }
    }

    fn condition(&self, parser: &mut Parser) -> Option<Expr> {
        if !parser.parse_keyword(Keyword::WHERE) {
            return None;
        }
        let condition = self.attempt(parser, |parser| self.dialect.expression(parser));
        if self.part == Part::Statement {
            if condition.is_some() && !self.at_end(parser) {
                self.note_unexpected(parser, "an operator or the end of the statement");
            }
            while !self.at_end(parser) {
                parser.next_token();
            }
        }
        condition
    }
}

fn is_word(parser: &Parser, text: &str) -> bool {
    matches!(&parser.peek_token_ref().token, Token::Word(word) if word.value.eq_ignore_ascii_case(text))
}

/// Moves the parser back to the token at `index`.
fn go_back(parser: &mut Parser, index: usize) {
    while parser.index() > index {
        parser.prev_token();
    }
    // Stepping back passes over blanks too, and so may go one token too far.
    if parser.index() < index {
        parser.next_token();
    }
}

/// The `@name` of a variable.
fn variable(parser: &mut Parser) -> Result<(String, Position), ParserError> {
    let found = parser.peek_token_ref();
    let at = Position::from(found.span.start);
    if let Token::Word(word) = &found.token
        && let Some(name) = variable_name(&word.value)
    {
        let name = name.to_owned();
        parser.next_token();
        return Ok((name, at));
    }
    unexpected(parser, "a variable after SET, as in SET @x = 1")
}

fn topic(parser: &mut Parser) -> Result<(String, Position), ParserError> {
    let token = parser.peek_token_ref();
    let at = Position::from(token.span.start);
    let text = match &token.token {
        Token::SingleQuotedString(text) => unescape(text, '\''),
        Token::DoubleQuotedString(text) => unescape(text, '"'),
        _ => return unexpected(parser, "a topic filter in quotes, as in FROM 'iot/topic'"),
    };
    parser.next_token();
    Ok((text, at))
}

/// Whether the next word is the VALUE of `SELECT VALUE` and not an attribute of that name: something
/// that can start an expression must follow, and what could as well be an operator counts as one
/// only for `*` before the end of the list.
fn value_follows(parser: &Parser) -> bool {
    if !is_word(parser, "value") {
        return false;
    }
    let keyword_at = |place: usize| match &parser.peek_nth_token_ref(place).token {
        Token::Word(word) => Some(word.keyword),
        _ => None,
    };
    match &parser.peek_nth_token_ref(1).token {
        Token::Word(word) => match word.keyword {
            Keyword::FROM | Keyword::WHERE | Keyword::AS => false,
            Keyword::AND | Keyword::OR | Keyword::IN => false,
            Keyword::NOT => keyword_at(2) != Some(Keyword::IN),
            _ => true,
        },
        Token::Number(..) | Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => true,
        Token::LBracket | Token::LBrace | Token::LParen => true,
        Token::Mul => match keyword_at(2) {
            Some(keyword) => matches!(keyword, Keyword::FROM | Keyword::WHERE),
            None => parser.peek_nth_token_ref(2).token == Token::EOF,
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
    let (expr, lifted) = if parser.consume_token(&Token::Mul) {
        (None, false)
    } else {
        let expr = dialect.expression(parser)?;
        let lifted = parser.consume_token(&Token::Period);
        if lifted && !parser.consume_token(&Token::Mul) {
            return unexpected(parser, "a name or * after the point");
        }
        (Some(expr), lifted)
    };
    let mut alias = Vec::new();
    if parser.parse_keyword(Keyword::AS) {
        alias.push(name(parser, "AS")?);
        while parser.consume_token(&Token::Period) {
            if alias.len() == DEPTH_MAX {
                return Err(ParserError::RecursionLimitExceeded);
            }
            alias.push(name(parser, "AS")?);
        }
    }
    Ok(ItemAst { expr, lifted, alias, at })
}

/// A name behind `after`.
fn name(parser: &mut Parser, after: &str) -> Result<String, ParserError> {
    match &parser.peek_token_ref().token {
        Token::Word(word) if variable_name(&word.value).is_none() => {
            let name = word.value.clone();
            parser.next_token();
            Ok(name)
        }
        Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => {
            let wanted = "a plain name after AS (write other names as an object: SELECT {'my-key': x})";
            unexpected(parser, wanted)
        }
        _ => unexpected(parser, &format!("a name after {after}")),
    }
}
