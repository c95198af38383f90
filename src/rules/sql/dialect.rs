//! Text to syntax tree: sqlparser's expressions inside the statement of AWS IoT SQL (spec 1.1).
//!
//! A token pass first turns every word that is no keyword of this language into a plain name, so that
//! attributes called `interval`, `position` or `date` mean what they say. The dialect's hooks then
//! decide what an operand is and which operators exist; sqlparser does precedence, CASE, CAST, calls
//! and lists. Only the statement around the expressions is read by ourselves, in `statement`, because
//! `SELECT VALUE`, `AS a.b`, `path.*` and `FROM 'topic'` are no SQL.
//!
//! Nothing below backtracks: work is linear in the text, depth is bounded by [`DEPTH_MAX`], and a
//! chain of operators by [`OPERATORS_MAX`] (a longer one would be a tree too deep to drop).

use std::cell::Cell;

use sqlparser::ast::{AccessExpr, BinaryOperator, CastKind, Expr, Ident, ObjectName, UnaryOperator};
use sqlparser::dialect::{Dialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::error::{Position, SqlError};
use super::statement::{StatementAst, statement};

/// How deep expressions and aliases may nest.
pub(super) const DEPTH_MAX: usize = 64;
/// How many operators one expression may have.
const OPERATORS_MAX: u32 = 1_000;

/// The grammar of expressions, for sqlparser.
#[derive(Debug, Default)]
pub(super) struct IotDialect {
    operators: Cell<u32>,
}

/// Parses a whole statement.
pub(super) fn parse_statement(sql: &str) -> Result<StatementAst, SqlError> {
    let dialect = IotDialect::default();
    let mut tokens = Vec::new();
    Tokenizer::new(&dialect, sql)
        .with_unescape(false)
        .tokenize_with_location_into_buf(&mut tokens)
        .map_err(|error| SqlError::new(Position::from(error.location), lower_first(&error.message)))?;
    demote_words(&mut tokens);
    refuse_comments(&tokens)?;
    let mut parser = Parser::new(&dialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
    statement(&mut parser, &dialect).map_err(SqlError::from)
}

/// Parses one expression that a `}` ends, and returns it with the place of that `}`.
pub(super) fn parse_until_brace(text: &str) -> Result<(Expr, Position), SqlError> {
    let dialect = IotDialect::default();
    let mut tokens = Vec::new();
    // The text behind the `}` is not ours and need not be made of tokens. The tokens before a
    // mistake are in the buffer, so the mistake matters only if the parser gets that far.
    let rest =
        Tokenizer::new(&dialect, text).with_unescape(false).tokenize_with_location_into_buf(&mut tokens);
    demote_words(&mut tokens);
    let mut parser = Parser::new(&dialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
    let parsed = parser.parse_expr().and_then(|expr| Ok((expr, parser.expect_token(&Token::RBrace)?)));
    match (parsed, rest) {
        (Ok((expr, brace)), _) => Ok((expr, Position::from(brace.span.start))),
        (Err(_), Err(error)) => {
            Err(SqlError::new(Position::from(error.location), lower_first(&error.message)))
        }
        (Err(error), Ok(())) => Err(SqlError::from(error)),
    }
}

/// Leaves their meaning to the keywords of this language, and takes it from all other words.
fn demote_words(tokens: &mut [TokenWithSpan]) {
    let mut previous: Option<Token> = None;
    let mut cases = 0_usize;
    for index in 0..tokens.len() {
        if is_blank(&tokens[index].token) {
            continue;
        }
        let called = tokens.get(index + 1).is_some_and(|next| next.token == Token::LParen)
            || tokens.get(index + 2).is_some_and(|next| next.token == Token::LParen);
        let token = &mut tokens[index].token;
        if let Token::Word(word) = token {
            let named = matches!(&previous, Some(Token::Period))
                || matches!(&previous, Some(Token::Word(word)) if word.keyword == Keyword::AS);
            let kept = !named
                && match word.keyword {
                    Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::AS => true,
                    Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::IN => true,
                    Keyword::TRUE | Keyword::FALSE | Keyword::NULL | Keyword::CASE => true,
                    Keyword::SET => previous.is_none(),
                    Keyword::CAST | Keyword::EXISTS => called,
                    Keyword::WHEN | Keyword::THEN | Keyword::ELSE | Keyword::END => cases > 0,
                    _ => false,
                };
            match word.keyword {
                Keyword::CASE if kept => cases += 1,
                Keyword::END if kept => cases -= 1,
                _ => {}
            }
            if !kept {
                word.keyword = Keyword::NoKeyword;
            }
        }
        previous = Some(token.clone());
    }
}

fn is_blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

fn refuse_comments(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let comment = tokens.iter().find(|token| {
        matches!(
            token.token,
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_))
        )
    });
    comment.map_or(Ok(()), |token| {
        Err(SqlError::new(Position::from(token.span.start), "comments are not part of AWS IoT SQL"))
    })
}

/// A parser's error at `at`, in the form sqlparser gives its own.
pub(super) fn error_at<T>(message: &str, at: Location) -> Result<T, ParserError> {
    Err(ParserError::ParserError(format!("{message}{at}")))
}

/// An error that says what stands where `wanted` should.
pub(super) fn unexpected<T>(parser: &Parser, wanted: &str) -> Result<T, ParserError> {
    const FOREIGN: [&str; 12] = [
        "is", "like", "between", "group", "order", "having", "limit", "join", "union", "distinct", "rlike",
        "offset",
    ];
    let found = parser.peek_token_ref();
    let message = match &found.token {
        Token::EOF => format!("expected {wanted}, but the text ends"),
        Token::SemiColon => "a statement does not end with a semicolon".to_owned(),
        Token::Word(word) if FOREIGN.contains(&word.value.to_ascii_lowercase().as_str()) => {
            format!("expected {wanted}; {} is not part of AWS IoT SQL", word.value.to_uppercase())
        }
        token => format!("expected {wanted}, found {token}"),
    };
    error_at(&message, found.span.start)
}

impl IotDialect {
    /// Starts counting operators afresh.
    pub(super) fn start_expression(&self) {
        self.operators.set(0);
    }

    /// An operand that starts with a word or a bracket, with the `.name`s behind it.
    fn operand(&self, parser: &mut Parser) -> Result<Expr, ParserError> {
        let token = parser.next_token();
        let root = match token.token {
            Token::Word(word) => {
                let ident = word.into_ident(token.span);
                if parser.peek_token_ref().token == Token::LParen {
                    parser.parse_function(ObjectName::from(vec![ident]))?
                } else {
                    Expr::Identifier(ident)
                }
            }
            _ => {
                let inner = parser.parse_expr()?;
                if parser.peek_token_ref().token == Token::Comma {
                    return unexpected(parser, "a closing bracket (lists are written [1, 2, 3])");
                }
                parser.expect_token(&Token::RParen)?;
                Expr::Nested(Box::new(inner))
            }
        };
        let mut fields: Vec<Ident> = Vec::new();
        loop {
            match &parser.peek_token_ref().token {
                Token::Period => {}
                Token::LBracket => {
                    let at = parser.peek_token_ref().span.start;
                    return error_at("there is no [i]: write get(array, i)", at);
                }
                _ => break,
            }
            match &parser.peek_nth_token_ref(1).token {
                Token::Mul => break,
                Token::Word(_) => {}
                _ => {
                    parser.next_token();
                    return unexpected(parser, "a name after the point");
                }
            }
            parser.next_token();
            fields.push(parser.parse_identifier()?);
        }
        Ok(match root {
            root if fields.is_empty() => root,
            Expr::Identifier(first) => {
                fields.insert(0, first);
                Expr::CompoundIdentifier(fields)
            }
            root => Expr::CompoundFieldAccess {
                root: Box::new(root),
                access_chain: fields
                    .into_iter()
                    .map(|name| AccessExpr::Dot(Expr::Identifier(name)))
                    .collect(),
            },
        })
    }

    /// `NOT x` and `-x`.
    fn unary(
        &self,
        parser: &mut Parser,
        op: UnaryOperator,
        precedence: Precedence,
    ) -> Result<Expr, ParserError> {
        parser.next_token();
        let expr = Box::new(parser.parse_subexpr(self.prec_value(precedence))?);
        Ok(Expr::UnaryOp { op, expr })
    }

    /// `x IN array`: the right side is any expression that yields an array.
    fn membership(&self, parser: &mut Parser, expr: &Expr) -> Result<Expr, ParserError> {
        if matches!(expr, Expr::BinaryOp { op: BinaryOperator::Custom(_), .. }) {
            return unexpected(parser, "brackets around the IN before this one");
        }
        let negated = parser.parse_keyword(Keyword::NOT);
        parser.next_token();
        let array = parser.parse_subexpr(self.prec_value(Precedence::Between))?;
        let test = Expr::BinaryOp {
            left: Box::new(expr.clone()),
            op: BinaryOperator::Custom(IN.to_owned()),
            right: Box::new(array),
        };
        Ok(if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(test) } } else { test })
    }
}

/// How `x IN y` is spelled in the tree: sqlparser's own node takes only lists in brackets.
pub(super) const IN: &str = "IN";

impl Dialect for IotDialect {
    fn is_identifier_start(&self, letter: char) -> bool {
        letter.is_alphabetic() || letter == '_'
    }

    fn is_identifier_part(&self, letter: char) -> bool {
        letter.is_alphanumeric() || letter == '_'
    }

    /// Both kinds of quotes make strings.
    fn is_delimited_identifier_start(&self, _letter: char) -> bool {
        false
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_dictionary_syntax(&self) -> bool {
        true
    }

    /// Words that kept their keyword through the token pass are never names; without this sqlparser
    /// would try both readings of every one of them, one inside the other.
    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        keyword != Keyword::NoKeyword
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let token = parser.peek_token_ref();
        let at = token.span.start;
        Some(match &token.token {
            Token::Word(word) => match word.keyword {
                Keyword::NoKeyword => self.operand(parser),
                Keyword::TRUE | Keyword::FALSE | Keyword::NULL => parser.parse_value().map(Expr::Value),
                Keyword::NOT => self.unary(parser, UnaryOperator::Not, Precedence::UnaryNot),
                Keyword::CASE => {
                    parser.next_token();
                    parser.parse_case_expr()
                }
                Keyword::CAST => {
                    parser.next_token();
                    parser.parse_cast_expr(CastKind::Cast)
                }
                Keyword::EXISTS => error_at("EXISTS is not supported yet", at),
                Keyword::SELECT => {
                    error_at("a nested SELECT stands in brackets and is not supported yet", at)
                }
                _ => unexpected(parser, "an expression"),
            },
            Token::LParen => match &parser.peek_nth_token_ref(1).token {
                Token::Word(word) if word.keyword == Keyword::SELECT => {
                    error_at("a nested SELECT is not supported yet", at)
                }
                _ => self.operand(parser),
            },
            Token::Minus => self.unary(parser, UnaryOperator::Minus, Precedence::MulDivModOp),
            Token::Number(..) | Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => {
                parser.parse_value().map(Expr::Value)
            }
            Token::LBracket | Token::LBrace => return None,
            Token::AtSign => error_at("SET variables are not supported yet", at),
            _ => unexpected(parser, "an expression"),
        })
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, _: u8) -> Option<Result<Expr, ParserError>> {
        self.operators.set(self.operators.get() + 1);
        let token = parser.peek_token_ref();
        if self.operators.get() > OPERATORS_MAX {
            let message = format!("an expression may have at most {OPERATORS_MAX} operators");
            return Some(error_at(&message, token.span.start));
        }
        match &token.token {
            Token::Eq | Token::DoubleEq | Token::Neq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq => {
                None
            }
            Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod => None,
            Token::Word(word) => match word.keyword {
                Keyword::AND | Keyword::OR => None,
                Keyword::IN | Keyword::NOT => Some(self.membership(parser, expr)),
                _ => Some(unexpected(parser, "an operator")),
            },
            other => Some(error_at(&format!("{other} is not an operator of AWS IoT SQL"), token.span.start)),
        }
    }
}

/// Takes the quoting out of a string as written: a doubled quote is one quote, a backslash gives
/// the next character its meaning in JSON. A backslash before any other character stays, so that
/// patterns such as `\d` survive.
pub(super) fn unescape(raw: &str, quote: char) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut letters = raw.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == quote {
            letters.next_if_eq(&quote);
            text.push(quote);
        } else if letter == '\\' {
            match letters.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some('t') => text.push('\t'),
                Some(same @ ('\\' | '\'' | '"' | '/')) => text.push(same),
                Some(other) => text.extend(['\\', other]),
                None => text.push('\\'),
            }
        } else {
            text.push(letter);
        }
    }
    text
}

/// sqlparser's messages start with a capital letter; ours stand inside sentences. A keyword stays.
pub(super) fn lower_first(message: &str) -> String {
    let mut letters = message.chars();
    match (letters.next(), letters.as_str().starts_with(char::is_lowercase)) {
        (Some(first), true) => first.to_lowercase().chain(letters).collect(),
        _ => message.to_owned(),
    }
}
