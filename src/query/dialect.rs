//! How Timestream's SQL differs from what sqlparser reads by itself.
//!
//! Everything here hangs on the hooks of sqlparser's `Dialect`, so there is no second grammar:
//! duration literals, `measure_value::double`, `CAST` with Trino's type names, `ROW`, `IF` and `TRY`.
//! The hooks build calls of functions whose names begin with two underscores; a user cannot call
//! those (`names` refuses them), because a call the user wrote has a position in the text and these
//! have none.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, LambdaFunction, LambdaFunctionParameter, LambdaSyntax, ObjectName,
    OneOrManyWithParens, UnaryOperator, Value,
};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_IDENTIFIER};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::duration::{self, Duration};
use super::sql_type::SqlType;

/// Timestream's SQL.
#[derive(Debug, Default)]
pub(crate) struct TimestreamDialect;

/// A call of `name` that the user did not write.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// A VARCHAR literal.
pub(crate) fn text(value: impl Into<String>) -> Expr {
    text_at(value, Span::empty())
}

/// The same for what is written at `span`: it tells the place of the call it is an operand of.
pub(crate) fn text_at(value: impl Into<String>, span: Span) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.into()).with_span(span))
}

/// A literal of a length of time. Arrow's duration has no literal in SQL, so it is a call.
pub(crate) fn duration_literal(duration: Duration, span: Span) -> Expr {
    match duration {
        Duration::DaySecond(nanos) => call("__day_second", vec![text_at(nanos.to_string(), span)]),
        Duration::YearMonth(months) => call("__year_month", vec![text_at(months.to_string(), span)]),
    }
}

impl Dialect for TimestreamDialect {
    /// Wherever sqlparser asks for a dialect by name, this one is its generic one: UNNEST needs it.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || c == '_'
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        c == '"'
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    /// `U&'\0041'`
    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        false
    }

    /// `EXTRACT(DAY_OF_MONTH FROM x)`; `rewrite` refuses what is no field.
    fn allow_extract_custom(&self) -> bool {
        true
    }

    /// Columns may be called `interval` (spec 2.1): `MIN(interval)`.
    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        keyword != Keyword::INTERVAL && RESERVED_FOR_IDENTIFIER.contains(&keyword)
    }

    /// awswrangler sends `FROM t DESC LIMIT 10`, and Timestream takes DESC for the table's alias.
    fn is_table_factor_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        explicit || *keyword == Keyword::DESC || self.is_table_alias(keyword, parser)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match &parser.peek_token_ref().token {
            Token::Number(number, false) => {
                let number = number.clone();
                parse_duration(parser, &number)
            }
            Token::Word(word) if word.quote_style.is_none() => {
                let name = word.value.to_ascii_uppercase();
                if parser.peek_nth_token_ref(1).token != Token::LParen {
                    return None;
                }
                match name.as_str() {
                    "CAST" => Some(parse_cast(parser, "__cast")),
                    "TRY_CAST" => Some(parse_cast(parser, "__try_cast")),
                    "ROW" => Some(parse_arguments(parser).map(|args| call("__row", args))),
                    "IF" => Some(parse_if(parser)),
                    "TRY" => Some(parse_try(parser)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// `measure_value::double` and `t.measure_value::double` name a column. The hook comes before
    /// `::` is taken for a cast, with what stands left of it already parsed.
    fn parse_infix(&self, parser: &mut Parser, left: &Expr, _: u8) -> Option<Result<Expr, ParserError>> {
        if let Some((op, is_any)) = quantified_values(parser) {
            return Some(parse_quantified(parser, left, op, is_any));
        }
        if let Some(negated) = in_values(parser) {
            return Some(parse_in_values(parser, left, negated));
        }
        if let Some(negated) = distinct_from(parser) {
            return Some(parse_distinct_from(parser, left, negated));
        }
        if parser.peek_token_ref().token != Token::DoubleColon {
            return None;
        }
        let mut names = match left {
            Expr::Identifier(name) => vec![name.clone()],
            Expr::CompoundIdentifier(names) => names.clone(),
            _ => return None,
        };
        let last = names.last_mut()?;
        if last.quote_style.is_some() || !last.value.eq_ignore_ascii_case("measure_value") {
            return None;
        }
        let Token::Word(of) = &parser.peek_nth_token_ref(1).token else { return None };
        let name = format!("measure_value::{}", of.value.to_ascii_lowercase());
        parser.next_token();
        parser.next_token();
        *last = Ident::with_quote_and_span('"', last.span, name);
        Some(Ok(match names.len() {
            1 => Expr::Identifier(names.remove(0)),
            _ => Expr::CompoundIdentifier(names),
        }))
    }
}

/// Whether `IN (VALUES` or, with `true`, `NOT IN (VALUES` follows, which sqlparser takes for a list.
fn in_values(parser: &Parser) -> Option<bool> {
    let is = |i: usize, keyword| {
        matches!(&parser.peek_nth_token_ref(i).token, Token::Word(word)
            if word.quote_style.is_none() && word.keyword == keyword)
    };
    let negated = is(0, Keyword::NOT);
    let next = usize::from(negated);
    let opens = parser.peek_nth_token_ref(next + 1).token == Token::LParen;
    (is(next, Keyword::IN) && opens && is(next + 2, Keyword::VALUES)).then_some(negated)
}

fn parenthesised_query(parser: &mut Parser) -> Result<Box<Expr>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let query = Box::new(Expr::Subquery(parser.parse_query()?));
    parser.expect_token(&Token::RParen)?;
    Ok(query)
}

/// `x IN (VALUES ..)` is `x = ANY (VALUES ..)`.
fn parse_in_values(parser: &mut Parser, left: &Expr, negated: bool) -> Result<Expr, ParserError> {
    if negated {
        parser.next_token();
    }
    parser.next_token();
    let (left, right) = (Box::new(left.clone()), parenthesised_query(parser)?);
    let any = Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, is_some: false };
    Ok(match negated {
        true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(any))) },
        false => any,
    })
}

/// Whether `IS DISTINCT FROM` or, with `true`, `IS NOT DISTINCT FROM` follows.
fn distinct_from(parser: &Parser) -> Option<bool> {
    let is = |i: usize, keyword| {
        matches!(&parser.peek_nth_token_ref(i).token, Token::Word(word)
            if word.quote_style.is_none() && word.keyword == keyword)
    };
    let negated = is(1, Keyword::NOT);
    let next = 1 + usize::from(negated);
    (is(0, Keyword::IS) && is(next, Keyword::DISTINCT) && is(next + 1, Keyword::FROM)).then_some(negated)
}

/// sqlparser takes everything behind FROM for the operand, an AND and an OR too.
fn parse_distinct_from(parser: &mut Parser, left: &Expr, negated: bool) -> Result<Expr, ParserError> {
    for _ in 0..3 + usize::from(negated) {
        parser.next_token();
    }
    let precedence = TimestreamDialect.prec_value(Precedence::Is);
    let (left, right) = (Box::new(left.clone()), Box::new(parser.parse_subexpr(precedence)?));
    Ok(match negated {
        true => Expr::IsNotDistinctFrom(left, right),
        false => Expr::IsDistinctFrom(left, right),
    })
}

/// The operator and whether it is ANY, if what follows is `= ANY (VALUES`. sqlparser takes a SELECT
/// there and no VALUES.
fn quantified_values(parser: &Parser) -> Option<(BinaryOperator, bool)> {
    let op = match parser.peek_token_ref().token {
        Token::Eq => BinaryOperator::Eq,
        Token::Neq => BinaryOperator::NotEq,
        Token::Lt => BinaryOperator::Lt,
        Token::LtEq => BinaryOperator::LtEq,
        Token::Gt => BinaryOperator::Gt,
        Token::GtEq => BinaryOperator::GtEq,
        _ => return None,
    };
    let keyword = |i| match &parser.peek_nth_token_ref(i).token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let is_any = match keyword(1) {
        Keyword::ANY | Keyword::SOME => true,
        Keyword::ALL => false,
        _ => return None,
    };
    let values = parser.peek_nth_token_ref(2).token == Token::LParen && keyword(3) == Keyword::VALUES;
    values.then_some((op, is_any))
}

fn parse_quantified(
    parser: &mut Parser,
    left: &Expr,
    compare_op: BinaryOperator,
    is_any: bool,
) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.next_token();
    let (left, right) = (Box::new(left.clone()), parenthesised_query(parser)?);
    Ok(match is_any {
        true => Expr::AnyOp { left, compare_op, right, is_some: false },
        false => Expr::AllOp { left, compare_op, right },
    })
}

/// `15m`: a number and a unit with no blank between them. `15 m` stays a number named m.
fn parse_duration(parser: &mut Parser, number: &str) -> Option<Result<Expr, ParserError>> {
    let mut blanks = 0;
    while let Token::Whitespace(_) = parser.peek_nth_token_no_skip(blanks).token {
        blanks += 1;
    }
    let Token::Word(word) = parser.peek_nth_token_no_skip(blanks + 1).token else { return None };
    if word.quote_style.is_some() {
        return None;
    }
    let Some(unit) = duration::literal_unit(&word.value) else {
        // `1week` would be a 1 that is called week. What follows a number without a blank and is no alias
        // is left alone: `x = 1AND y = 2`.
        let is_alias = !RESERVED_FOR_COLUMN_ALIAS.contains(&word.keyword);
        let start = parser.peek_token_ref().span.start;
        return is_alias.then(|| Err(ParserError::ParserError(format!("no unit of time{start}"))));
    };
    let span = parser.next_token().span;
    parser.next_token();
    Some(
        duration::times(number, unit)
            .map(|duration| duration_literal(duration, span))
            .ok_or_else(|| ParserError::ParserError(format!("a duration out of range{}", span.start))),
    )
}

fn parse_arguments(parser: &mut Parser) -> Result<Vec<Expr>, ParserError> {
    parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let args = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::RParen)?;
    Ok(args)
}

/// `CAST(x AS type)` becomes `__cast(x, 'type')`: the rules of a cast are Trino's, not DataFusion's.
fn parse_cast(parser: &mut Parser, function: &str) -> Result<Expr, ParserError> {
    let written = parser.next_token().span;
    parser.expect_token(&Token::LParen)?;
    let operand = parser.parse_expr()?;
    parser.expect_keyword(Keyword::AS)?;
    let (mut name, mut depth) = (String::new(), 0_usize);
    let start = parser.peek_token_ref().span.start;
    loop {
        let token = parser.next_token().token;
        match token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => break,
            Token::RParen => depth -= 1,
            Token::EOF => return parser.expected("a type and )", parser.get_current_token().clone()),
            _ => {}
        }
        name.push_str(&token.to_string());
        name.push(' ');
    }
    match SqlType::parse(&name) {
        Some(_) => Ok(call(function, vec![operand, text_at(name, written)])),
        None => Err(ParserError::ParserError(format!("an unknown type{start}"))),
    }
}

/// `IF(c, a, b)` is `CASE WHEN c THEN a ELSE b END`, lazy like it.
fn parse_if(parser: &mut Parser) -> Result<Expr, ParserError> {
    let start = parser.peek_token_ref().span.start;
    let mut args = parse_arguments(parser)?.into_iter();
    let (Some(condition), Some(result), otherwise, None) =
        (args.next(), args.next(), args.next(), args.next())
    else {
        return Err(ParserError::ParserError(format!("IF takes two or three operands{start}")));
    };
    Ok(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: otherwise.map(Box::new),
    })
}

/// `TRY(e)` becomes `__try(x -> e)`: only a lambda can be evaluated again row by row.
fn parse_try(parser: &mut Parser) -> Result<Expr, ParserError> {
    let start = parser.peek_token_ref().span.start;
    let mut args = parse_arguments(parser)?;
    let (Some(body), true) = (args.pop(), args.is_empty()) else {
        return Err(ParserError::ParserError(format!("TRY takes one operand{start}")));
    };
    let parameter = LambdaFunctionParameter { name: Ident::new("__row_number"), data_type: None };
    Ok(call(
        "__try",
        vec![Expr::Lambda(LambdaFunction {
            params: OneOrManyWithParens::One(parameter),
            body: Box::new(body),
            syntax: LambdaSyntax::Arrow,
        })],
    ))
}
