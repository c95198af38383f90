//! What Timestream's SQL says in other words than DataFusion's planner understands.
//!
//! One pass over the syntax tree, after `names` and before planning. It changes spelling, not meaning:
//! fields of lambda parameters become `get_field`, `now()` becomes the moment the query started, items
//! of the select list get names that are unique, integer literals get Trino's type.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, GroupByExpr, Ident, Interval, LimitClause, OneOrManyWithParens, OrderByKind, Query,
    Select, SelectItem, Spanned, TableFactor, TrimWhereField, UnaryOperator, Value, ValueWithSpan, VisitMut,
    VisitorMut, WindowFrameBound, WindowType, visit_expressions,
};

use super::dialect::{call, duration_literal, text, text_at};
use super::duration;
use super::error::{Position, QueryError, syntax};
use super::functions::Registry;
use super::select_list::{
    gather, gather_nested, name_items, name_values, name_values_of_view, number_beside_wildcards,
    number_repeated,
};
use super::subquery::{self, Quantifier};
use super::{calls, like, places, wire_text};
use crate::clock::Timestamp;

/// Rewrites `query`, which starts at the moment `now`.
pub(crate) fn rewrite(query: &mut Query, now: Timestamp, registry: &Registry) -> Result<(), QueryError> {
    let mut rewriter = Rewriter { now, registry, lambdas: vec![], relations: 0 };
    if let ControlFlow::Break(error) = query.visit(&mut rewriter) {
        return Err(*error);
    }
    number_beside_wildcards(&mut query.body);
    Ok(())
}

/// Whether `query` has a `TRY`.
pub(crate) fn has_try(query: &Query) -> bool {
    visit_expressions(query, |expr| match expr {
        Expr::Function(function) if function.name.to_string() == "__try" => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

struct Rewriter<'a> {
    now: Timestamp,
    registry: &'a Registry,
    /// The parameters of the lambdas around the present expression.
    lambdas: Vec<Vec<String>>,
    /// How many relations got a name here.
    relations: usize,
}

type Step = ControlFlow<Box<QueryError>>;

fn fail(error: QueryError) -> Step {
    ControlFlow::Break(Box::new(error))
}

impl VisitorMut for Rewriter<'_> {
    type Break = Box<QueryError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> Step {
        subquery::lift_order(query);
        for view in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            name_values_of_view(&view.query, &mut view.alias);
        }
        if let Some(fetch) = query.fetch.take() {
            if fetch.with_ties || fetch.percent {
                return fail(QueryError::Validation("FETCH takes a number of rows ONLY".to_owned()));
            }
            let count = fetch.quantity.unwrap_or_else(|| number("1"));
            match &mut query.limit_clause {
                Some(LimitClause::LimitOffset { limit, .. }) => *limit = Some(count),
                other => {
                    let offset = None;
                    *other = Some(LimitClause::LimitOffset { limit: Some(count), offset, limit_by: vec![] });
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The visitor has typed every integer by now; here a bare one is a place or a count, not a value.
    fn post_visit_query(&mut self, query: &mut Query) -> Step {
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            limit.iter_mut().for_each(untype);
            offset.iter_mut().for_each(|offset| untype(&mut offset.value));
            for count in limit.iter().chain(offset.iter().map(|offset| &offset.value)) {
                if let Err(error) = check_count(count) {
                    return fail(error);
                }
            }
        }
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(keys) = &mut order_by.kind
        {
            keys.iter_mut().for_each(|key| untype(&mut key.expr));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> Step {
        subquery::lift(select);
        if let Some(condition) = &mut select.selection {
            places::check(condition, "WHERE clause");
        }
        if let Some(condition) = &mut select.having {
            places::check(condition, "HAVING clause");
        }
        if select.from.is_empty()
            && let Some(SelectItem::Wildcard(star)) =
                select.projection.iter().find(|item| matches!(item, SelectItem::Wildcard(_)))
        {
            let at = Position::of(star.wildcard_token.0.span).unwrap_or(Position::START);
            return fail(QueryError::Validation(format!(
                "line {at}: SELECT * not allowed in queries without FROM clause"
            )));
        }
        gather(select, &mut self.relations);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> Step {
        gather_nested(factor, &mut self.relations);
        name_values(factor, &mut self.relations);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> Step {
        number_repeated(select);
        name_items(&mut select.projection);
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
            // `GROUP BY ()` is one group of all rows.
            keys.retain(|key| !is_empty_row(key));
            keys.iter_mut().for_each(untype);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> Step {
        if let Expr::Lambda(lambda) = expr {
            self.lambdas.push(match &lambda.params {
                OneOrManyWithParens::One(one) => vec![one.name.value.clone()],
                OneOrManyWithParens::Many(many) => many.iter().map(|one| one.name.value.clone()).collect(),
            });
        }
        match self.replacement(expr) {
            Ok(Some(other)) => *expr = other,
            Ok(None) => {}
            Err(error) => return fail(error),
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> Step {
        match expr {
            Expr::Lambda(_) => {
                self.lambdas.pop();
            }
            Expr::Value(value) => {
                if let Value::Number(digits, _) = &value.value
                    && digits.parse::<i32>().is_ok()
                {
                    *expr = integer(expr.clone());
                }
            }
            Expr::Function(function) => untype_frame(function),
            // DataFusion takes a subquery without rows for one that has no NULL.
            Expr::Subquery(_) => *expr = call("__maybe", vec![take(expr)]),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    /// What stands for `expr`, if something else does. Its operands are visited afterwards.
    fn replacement(&self, expr: &mut Expr) -> Result<Option<Expr>, QueryError> {
        let place = || Position::of(expr.span());
        let place = place().unwrap_or(Position::START);
        Ok(Some(match expr {
            Expr::CompoundFieldAccess { root, access_chain }
                if access_chain.iter().any(|access| matches!(access, AccessExpr::Dot(_))) =>
            {
                fields(take(root), std::mem::take(access_chain)).ok_or_else(|| syntax(place))?
            }
            Expr::CompoundIdentifier(names) if self.is_parameter(names.first()) => {
                let mut names = std::mem::take(names).into_iter();
                let Some(first) = names.next() else { return Err(syntax(place)) };
                names.fold(Expr::Identifier(first), |inner, name| field(inner, name.value))
            }
            Expr::Tuple(fields) => call("__row", std::mem::take(fields)),
            Expr::Interval(interval) => interval_literal(interval).ok_or_else(|| syntax(place))?,
            Expr::TypedString(typed) => {
                let name = typed.data_type.to_string();
                let span = typed.value.span;
                let Some(value) = typed.value.clone().into_string() else { return Err(syntax(place)) };
                call("__cast", vec![text_at(value, span), text(name)])
            }
            Expr::Cast { kind: CastKind::DoubleColon, .. } => return Err(syntax(place)),
            Expr::Function(function) => return calls::rewritten(function, self.now),
            Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Extract { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. } => spelled_out(expr).ok_or_else(|| syntax(place))?,
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } if is_duration(expr) => {
                call("__negate", vec![take(expr)])
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match number_text(expr) {
                Some(digits) => return Ok(negative_literal(&digits)),
                None => places::negative(take(expr), place),
            },
            Expr::Value(value) if is_too_large(&value.value) => {
                return Err(QueryError::Validation(format!(
                    "line {place}: Invalid numeric literal: {}",
                    value.value
                )));
            }
            Expr::Between { expr, negated, low, high }
                if (is_short_moment(low) || is_short_moment(high)) && is_small(expr) =>
            {
                between(take(expr), *negated, take(low), take(high))
            }
            Expr::InList { expr, list, negated } if list.iter().any(is_short_moment) && is_small(expr) => {
                in_list(expr, std::mem::take(list), *negated)
            }
            Expr::Subquery(query) => {
                subquery::single(query, self.registry);
                return Ok(None);
            }
            Expr::InSubquery { expr, subquery, negated } if matches!(expr.as_ref(), Expr::Tuple(_)) => {
                negated_if(*negated, subquery::row_in(take(expr), subquery))
            }
            Expr::AnyOp { left, compare_op, right, .. } => {
                subquery::quantified(take(left), compare_op.clone(), right, Quantifier::Any)
                    .ok_or_else(|| syntax(place))?
            }
            Expr::AllOp { left, compare_op, right } => {
                subquery::quantified(take(left), compare_op.clone(), right, Quantifier::All)
                    .ok_or_else(|| syntax(place))?
            }
            Expr::Like { expr, pattern, escape_char, .. } => {
                **pattern = like_pattern(take(pattern), escape_char.take(), place)?;
                places::check_text(expr, "Left side of LIKE expression");
                places::check_text(pattern, "Pattern for LIKE expression");
                return Ok(None);
            }
            Expr::BinaryOp { op, .. } if !places::is_known(op) => return Err(syntax(place)),
            Expr::BinaryOp { op, .. } => {
                places::mark(op, place);
                return Ok(None);
            }
            Expr::UnaryOp { op, .. }
                if !matches!(op, UnaryOperator::Minus | UnaryOperator::Plus | UnaryOperator::Not) =>
            {
                return Err(syntax(place));
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                places::check(expr, "Value of logical NOT expression");
                return Ok(None);
            }
            Expr::Case { operand: None, conditions, case_token, .. } => {
                // `IF` is a CASE that nobody wrote.
                let words = match Position::of(case_token.0.span) {
                    Some(_) => "CASE WHEN clause",
                    None => "IF condition",
                };
                conditions.iter_mut().for_each(|when| places::check(&mut when.condition, words));
                return Ok(None);
            }
            Expr::AtTimeZone { .. } => {
                return Err(QueryError::Validation(format!(
                    "line {place}: AT TIME ZONE is not supported: Timestream has no type with a time zone"
                )));
            }
            _ => return Ok(None),
        }))
    }

    fn is_parameter(&self, name: Option<&Ident>) -> bool {
        name.is_some_and(|name| self.lambdas.iter().flatten().any(|parameter| *parameter == name.value))
    }
}

/// A pattern of LIKE as DataFusion reads it.
fn like_pattern(written: Expr, escape: Option<ValueWithSpan>, place: Position) -> Result<Expr, QueryError> {
    let wrong = |text: &str| QueryError::Validation(format!("line {place}: {text}"));
    let escape = escape.map(|escape| escape.value.into_string().unwrap_or_default());
    let character = escape.as_deref().and_then(|escape| escape.chars().next());
    if escape.as_ref().is_some_and(|escape| escape.chars().count() != 1) {
        return Err(wrong("Escape string must be a single character"));
    }
    if let Expr::Value(value) = &written
        && let Value::SingleQuotedString(written) = &value.value
    {
        let spelled = like::pattern(written, character);
        return spelled.map(text).ok_or_else(|| wrong(like::WRONG_ESCAPE));
    }
    Ok(call("__like_pattern", vec![written, text(escape.unwrap_or_default())]))
}

/// The call behind what SQL spells with words between the operands.
fn spelled_out(expr: &mut Expr) -> Option<Expr> {
    Some(match expr {
        Expr::Ceil { expr, .. } => call("ceil", vec![take(expr)]),
        Expr::Floor { expr, .. } => call("floor", vec![take(expr)]),
        Expr::Position { expr, r#in } => call("strpos", vec![take(r#in), take(expr)]),
        Expr::Extract { field, expr, .. } => {
            let function = extract_function(&field.to_string())?;
            call(function, vec![take(expr)])
        }
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let from = substring_from.take().map_or_else(|| number("1"), |from| *from);
            let mut args = vec![take(expr), from];
            args.extend(substring_for.take().map(|length| *length));
            call("substr", args)
        }
        Expr::Trim { expr, trim_where, trim_what, trim_characters: None } => {
            let function = match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                Some(TrimWhereField::Both) | None => "trim",
            };
            let what = trim_what.take().map(|what| *what);
            call(function, std::iter::once(take(expr)).chain(what).collect())
        }
        _ => return None,
    })
}

pub(super) fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).into())
}

pub(super) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

/// An integer literal that fits 32 bits is INTEGER; the planner would make it BIGINT.
fn integer(literal: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(literal),
        data_type: DataType::Integer(None),
        array: false,
        format: None,
    }
}

/// Undoes [`integer`] where a number is not a value: LIMIT, ordinals, frames.
fn untype(expr: &mut Expr) {
    if let Expr::Cast { kind: CastKind::Cast, expr: inner, data_type: DataType::Integer(None), .. } = expr
        && number_text(inner).is_some()
    {
        *expr = take(inner);
    }
}

fn is_empty_row(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function)
        if function.name.to_string() == "__row"
            && matches!(&function.args, FunctionArguments::List(list) if list.args.is_empty()))
}

/// The offset of a frame is a literal of DataFusion's, not a call.
fn frame_interval(offset: &Expr) -> Option<Expr> {
    let Expr::Function(function) = offset else { return None };
    let unit = match function.name.to_string().as_str() {
        "__day_second" => "nanoseconds",
        "__year_month" => "months",
        _ => return None,
    };
    let FunctionArguments::List(list) = &function.args else { return None };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(count)))) = list.args.first() else {
        return None;
    };
    let count = count.value.clone().into_string()?;
    Some(Expr::Interval(Interval {
        value: Box::new(text(format!("{count} {unit}"))),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    }))
}

fn untype_frame(function: &mut Function) {
    let Some(WindowType::WindowSpec(window)) = &mut function.over else { return };
    let Some(frame) = &mut window.window_frame else { return };
    for bound in std::iter::once(&mut frame.start_bound).chain(frame.end_bound.as_mut()) {
        if let WindowFrameBound::Preceding(Some(offset)) | WindowFrameBound::Following(Some(offset)) = bound {
            untype(offset);
            if let Some(interval) = frame_interval(offset) {
                **offset = interval;
            }
        }
    }
}

pub(super) fn number_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => Some(digits.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// `-2147483648` is an INTEGER although `2147483648` is not, and the same for BIGINT.
fn negative_literal(digits: &str) -> Option<Expr> {
    let negative = format!("-{digits}");
    let of = match () {
        () if negative.parse::<i32>().is_ok() && digits.parse::<i32>().is_err() => "integer",
        () if negative.parse::<i64>().is_ok() && digits.parse::<i64>().is_err() => "bigint",
        () => return None,
    };
    Some(call("__cast", vec![text(negative), text(of)]))
}

/// Whether a literal is an integer that no type holds.
fn is_too_large(value: &Value) -> bool {
    matches!(value, Value::Number(digits, _)
        if digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<i64>().is_err())
}

/// LIMIT and OFFSET take a number of rows and nothing that has to be calculated.
fn check_count(count: &Expr) -> Result<(), QueryError> {
    let negative = matches!(count, Expr::UnaryOp { op: UnaryOperator::Minus, .. });
    match number_text(count) {
        Some(digits) if digits.parse::<i64>().is_ok() => Ok(()),
        // DataFusion says what is wrong with a number below zero.
        None if negative => Ok(()),
        _ => Err(syntax(Position::of(count.span()).unwrap_or(Position::START))),
    }
}

/// Whether a literal may be a moment in a spelling that DataFusion does not read: one without seconds.
fn is_short_moment(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(&value.value, Value::SingleQuotedString(text)
        if text.len() == 16 && wire_text::parse_timestamp(text).is_some()))
}

/// Whether an operand can be written twice.
fn is_small(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

fn compared(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn negated_if(negated: bool, expr: Expr) -> Expr {
    let expr = Box::new(Expr::Nested(Box::new(expr)));
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr } } else { *expr }
}

/// `x BETWEEN a AND b` by two comparisons.
fn between(expr: Expr, negated: bool, low: Expr, high: Expr) -> Expr {
    let above = compared(expr.clone(), BinaryOperator::GtEq, low);
    negated_if(negated, compared(above, BinaryOperator::And, compared(expr, BinaryOperator::LtEq, high)))
}

/// `x IN (a, b)` by comparisons.
fn in_list(expr: &Expr, list: Vec<Expr>, negated: bool) -> Expr {
    let equal = list.into_iter().map(|one| compared(expr.clone(), BinaryOperator::Eq, one));
    let any = equal.reduce(|any, one| compared(any, BinaryOperator::Or, one));
    negated_if(negated, any.unwrap_or_else(|| Expr::Value(Value::Boolean(false).into())))
}

fn is_duration(expr: &Expr) -> bool {
    match expr {
        Expr::Function(function) => {
            matches!(function.name.to_string().as_str(), "__day_second" | "__year_month")
        }
        Expr::Interval(_) => true,
        _ => false,
    }
}

fn field(of: Expr, name: String) -> Expr {
    call("get_field", vec![of, text(name)])
}

/// `(expr).a[1].b`, from the inside out.
fn fields(root: Expr, chain: Vec<AccessExpr>) -> Option<Expr> {
    chain.into_iter().try_fold(root, |inner, access| match access {
        AccessExpr::Dot(Expr::Identifier(name)) => Some(field(inner, name.value)),
        AccessExpr::Dot(_) => None,
        subscript => Some(Expr::CompoundFieldAccess { root: Box::new(inner), access_chain: vec![subscript] }),
    })
}

fn interval_literal(interval: &mut Interval) -> Option<Expr> {
    let span = interval.value.span();
    let written = match interval.value.as_mut() {
        Expr::Value(value) => value.value.clone().into_string()?,
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(value) => format!("-{}", value.value.clone().into_string()?),
            _ => return None,
        },
        _ => return None,
    };
    let first = interval.leading_field.as_ref()?.to_string().to_lowercase();
    let last = interval.last_field.as_ref().map(|field| field.to_string().to_lowercase());
    let parsed = match &last {
        Some(last) => duration::parse_interval(&written, &[&first, "to", last]),
        None => duration::parse_interval(&written, &[&first]),
    };
    parsed.map(|duration| duration_literal(duration, span))
}

/// The function that `EXTRACT(field FROM x)` stands for.
fn extract_function(field: &str) -> Option<&'static str> {
    Some(match field.to_ascii_lowercase().as_str() {
        "year" => "year",
        "quarter" => "quarter",
        "month" => "month",
        "week" => "week",
        "day" | "day_of_month" => "day",
        "day_of_week" | "dow" => "day_of_week",
        "day_of_year" | "doy" => "day_of_year",
        "year_of_week" | "yow" => "year_of_week",
        "hour" => "hour",
        "minute" => "minute",
        "second" => "second",
        "millisecond" => "millisecond",
        "nanosecond" => "nanosecond",
        _ => return None,
    })
}
