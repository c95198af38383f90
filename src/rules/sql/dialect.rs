//! Text to syntax tree: sqlparser's expressions inside the statement of AWS IoT SQL.
//!
//! The dialect's hooks decide what an operand is and which operators exist; sqlparser does precedence,
//! CASE, CAST, calls and lists. Only the SELECTs around the expressions are read by ourselves, in
//! `statement`, because `SELECT VALUE`, `AS a.b`, `path.*` and `FROM 'topic'` are no SQL.
//!
//! What sqlparser's tree has no place for goes into [`Aside`]: nested SELECTs, which the tree holds as
//! numbered placeholders, and mistakes after which reading went on.
//!
//! Nothing below backtracks: work is linear in the text, depth is bounded by [`DEPTH_MAX`], and a
//! chain of operators by [`OPERATORS_MAX`] (a longer one would be a tree too deep to drop).

use std::cell::{Cell, RefCell};

use sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CastKind, DictionaryField, Expr, Ident, ObjectName, UnaryOperator,
    Value,
};
use sqlparser::dialect::{Dialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token};

use super::error::{Position, SqlError};
use super::statement::{NestedAst, StatementAst, nested, statement};
use super::tokens::{comments, tokens};

/// How deep expressions and aliases may nest.
pub(super) const DEPTH_MAX: usize = 64;
/// How many operators one expression may have.
const OPERATORS_MAX: u32 = 1_000;
/// How many mistakes are kept, and looked for.
const MISTAKES_MAX: usize = 40;
/// How many letters of a token an error repeats.
const SHOWN_MAX: usize = 40;

/// The grammar of expressions, for sqlparser.
#[derive(Debug, Default)]
pub(super) struct IotDialect {
    operators: Cell<u32>,
    end: Cell<Position>,
    aside: RefCell<Aside>,
}

/// What was read beside the tree.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Nested SELECTs, by the number of their placeholder.
    pub(super) nested: Vec<Option<NestedAst>>,
    /// Constructs 2015-10-08 lacks.
    pub(super) newer: Vec<(Position, &'static str)>,
    /// What is wrong so far.
    pub(super) mistakes: Vec<SqlError>,
}

/// Parses a whole statement. What cannot be read is a mistake in [`Aside`] and missing in the tree.
pub(super) fn parse_statement(sql: &str) -> (StatementAst, Aside) {
    let dialect = IotDialect::default();
    let tokens = tokens(&dialect, sql);
    dialect.end.set(tokens.end);
    dialect.aside.borrow_mut().mistakes.extend(comments(&tokens.list).take(MISTAKES_MAX));
    let mut parser =
        Parser::new(&dialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens.list);
    let statement = statement(&mut parser, &dialect);
    let mut aside = dialect.aside.take();
    if let Some(broken) = tokens.broken {
        // Where the text ends being one, everything behind is missing; that is not worth a word.
        aside.mistakes.retain(|mistake| mistake.position < broken.position);
        aside.mistakes.push(broken);
    }
    (statement, aside)
}

/// An expression and the place of the `}` behind it.
pub(super) type Braced = (Expr, Position);

/// Parses one expression that a `}` ends.
pub(super) fn parse_until_brace(text: &str) -> Result<(Braced, Aside), SqlError> {
    let dialect = IotDialect::default();
    // The text behind the `}` is not ours and need not be made of tokens. The tokens before a
    // mistake are in the list, so the mistake matters only if the parser gets that far.
    let tokens = tokens(&dialect, text);
    dialect.end.set(tokens.end);
    let mut parser =
        Parser::new(&dialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens.list);
    let parsed = parser.parse_expr().and_then(|expr| Ok((expr, parser.expect_token(&Token::RBrace)?)));
    match (parsed, tokens.broken) {
        (Ok((expr, brace)), _) => Ok(((expr, Position::from(brace.span.start)), dialect.aside.take())),
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(dialect.placed(&parser, error)),
    }
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
        token => format!("expected {wanted}, found {}", shown(token)),
    };
    error_at(&message, found.span.start)
}

/// A token as an error shows it: not a whole novel.
fn shown(token: &Token) -> String {
    let text = token.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Whether `name` is one of SET's.
pub(super) fn variable_name(name: &str) -> Option<&str> {
    name.strip_prefix('@')
}

impl IotDialect {
    /// Reads an expression that is part of no other, so that its operators count by themselves.
    pub(super) fn expression(&self, parser: &mut Parser) -> Result<Expr, ParserError> {
        let outer = self.operators.replace(0);
        let expr = parser.parse_expr();
        self.operators.set(outer);
        expr
    }

    /// Keeps a mistake after which reading goes on.
    pub(super) fn note(&self, mistake: SqlError) {
        if self.has_room() {
            self.aside.borrow_mut().mistakes.push(mistake);
        }
    }

    /// Whether more mistakes are worth looking for.
    pub(super) fn has_room(&self) -> bool {
        self.aside.borrow().mistakes.len() < MISTAKES_MAX
    }

    /// The parser's error with its place, which is where the parser stands if it does not say.
    pub(super) fn placed(&self, parser: &Parser, error: ParserError) -> SqlError {
        let mut error = SqlError::from(error);
        if error.position.is_none() {
            let found = parser.peek_token_ref();
            let end = found.token == Token::EOF;
            error.position = Some(if end { self.end.get() } else { Position::from(found.span.start) });
        }
        error
    }

    /// Notes the use of what 2015-10-08 lacks.
    fn newer(&self, at: Location, what: &'static str) {
        self.aside.borrow_mut().newer.push((Position::from(at), what));
    }

    /// `(SELECT …)` behind its opening bracket: a placeholder for the checker to find it by.
    fn nested(&self, parser: &mut Parser, exists: bool) -> Result<Expr, ParserError> {
        let span = parser.peek_token_ref().span;
        self.newer(span.start, "a nested SELECT");
        let select = nested(parser, self, exists)?;
        let mut aside = self.aside.borrow_mut();
        let number = aside.nested.len().to_string();
        aside.nested.push(Some(select));
        Ok(Expr::Value(Value::Placeholder(number).with_span(span)))
    }

    /// `{'key': expression, …}` behind its opening brace.
    fn object(&self, parser: &mut Parser, at: Location) -> Result<Expr, ParserError> {
        self.newer(at, "an object literal");
        let mut fields = Vec::new();
        while !parser.consume_token(&Token::RBrace) {
            let token = parser.next_token();
            let key = match token.token {
                Token::SingleQuotedString(text) => Ident::with_quote_and_span('\'', token.span, text),
                Token::DoubleQuotedString(text) => Ident::with_quote_and_span('"', token.span, text),
                Token::Word(word) => Ident::with_span(token.span, word.value),
                _ => {
                    parser.prev_token();
                    return unexpected(parser, "a key in quotes or }");
                }
            };
            if !parser.consume_token(&Token::Colon) {
                return unexpected(parser, "a colon after the key");
            }
            fields.push(DictionaryField { key, value: Box::new(parser.parse_expr()?) });
            if !parser.consume_token(&Token::Comma) && parser.peek_token_ref().token != Token::RBrace {
                return unexpected(parser, "a comma or }");
            }
        }
        Ok(Expr::Dictionary(fields))
    }

    /// `[expression, …]` behind its opening bracket.
    fn array(&self, parser: &mut Parser, at: Location) -> Result<Expr, ParserError> {
        self.newer(at, "an array literal");
        let mut elem = Vec::new();
        while !parser.consume_token(&Token::RBracket) {
            elem.push(parser.parse_expr()?);
            if !parser.consume_token(&Token::Comma) && parser.peek_token_ref().token != Token::RBracket {
                return unexpected(parser, "a comma or ]");
            }
        }
        Ok(Expr::Array(Array { elem, named: false }))
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
            Token::LBrace => self.object(parser, token.span.start)?,
            Token::LBracket => self.array(parser, token.span.start)?,
            _ if is_select(&parser.peek_token_ref().token) => self.nested(parser, false)?,
            _ => {
                let inner = parser.parse_expr()?;
                if parser.peek_token_ref().token == Token::Comma {
                    return unexpected(parser, "a closing bracket (lists are written [1, 2, 3])");
                }
                parser.expect_token(&Token::RParen)?;
                Expr::Nested(Box::new(inner))
            }
        };
        self.members(parser, root)
    }

    /// The `.name`s behind an operand.
    fn members(&self, parser: &mut Parser, root: Expr) -> Result<Expr, ParserError> {
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
                Token::Word(word) if variable_name(&word.value).is_none() => {}
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

    /// `EXISTS (SELECT …)`.
    fn exists(&self, parser: &mut Parser) -> Result<Expr, ParserError> {
        parser.next_token();
        parser.expect_token(&Token::LParen)?;
        if !is_select(&parser.peek_token_ref().token) {
            return unexpected(parser, "a nested SELECT, as in EXISTS (SELECT * FROM list AS x WHERE x = 1)");
        }
        self.nested(parser, true)
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

fn is_select(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.keyword == Keyword::SELECT)
}

/// How `x IN y` is spelled in the tree: sqlparser's own node takes only lists in brackets.
pub(super) const IN: &str = "IN";

impl Dialect for IotDialect {
    /// The `@` begins the variables of SET, which are one word so.
    fn is_identifier_start(&self, letter: char) -> bool {
        letter.is_alphabetic() || letter == '_' || letter == '@'
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
                Keyword::EXISTS => self.exists(parser),
                Keyword::SELECT => error_at("a nested SELECT stands in brackets", at),
                _ => unexpected(parser, "an expression"),
            },
            Token::LParen | Token::LBracket | Token::LBrace => self.operand(parser),
            Token::Minus => self.unary(parser, UnaryOperator::Minus, Precedence::MulDivModOp),
            Token::Number(..) | Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => {
                parser.parse_value().map(Expr::Value)
            }
            Token::AtSign => error_at("a variable is written @name, with letters, digits and _", at),
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
