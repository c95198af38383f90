//! Numbers, lengths of time and moments as the user wrote them, and as DataFusion's planner wants them.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Interval, Spanned,
    UnaryOperator, Value, WindowFrameBound, WindowType,
};

use super::dialect::{call, duration_literal, text};
use super::duration;
use super::error::{Position, QueryError, syntax};
use super::rewrite::take;

pub(super) fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).into())
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

/// An integer literal that fits 32 bits is INTEGER; the planner would make it BIGINT.
pub(super) fn integer(literal: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(literal),
        data_type: DataType::Integer(None),
        array: false,
        format: None,
    }
}

/// Undoes [`integer`] where a number is not a value: LIMIT, ordinals, frames.
pub(super) fn untype(expr: &mut Expr) {
    if let Expr::Cast { kind: CastKind::Cast, expr: inner, data_type: DataType::Integer(None), .. } = expr
        && number_text(inner).is_some()
    {
        *expr = take(inner);
    }
}

/// `-2147483648` is an INTEGER although `2147483648` is not, and the same for BIGINT.
pub(super) fn negative_literal(digits: &str) -> Option<Expr> {
    let negative = format!("-{digits}");
    let of = match () {
        () if negative.parse::<i32>().is_ok() && digits.parse::<i32>().is_err() => "integer",
        () if negative.parse::<i64>().is_ok() && digits.parse::<i64>().is_err() => "bigint",
        () => return None,
    };
    Some(call("__cast", vec![text(negative), text(of)]))
}

/// Whether a literal is an integer that no type holds.
pub(super) fn is_too_large(value: &Value) -> bool {
    matches!(value, Value::Number(digits, _)
        if digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<i64>().is_err())
}

/// LIMIT and OFFSET take a number of rows and nothing that has to be calculated.
pub(super) fn check_count(count: &Expr) -> Result<(), QueryError> {
    let negative = matches!(count, Expr::UnaryOp { op: UnaryOperator::Minus, .. });
    match number_text(count) {
        Some(digits) if digits.parse::<i64>().is_ok() => Ok(()),
        // DataFusion says what is wrong with a number below zero.
        None if negative => Ok(()),
        _ => Err(syntax(Position::of(count.span()).unwrap_or(Position::START))),
    }
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

pub(super) fn untype_frame(function: &mut Function) {
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

pub(super) fn is_duration(expr: &Expr) -> bool {
    match expr {
        Expr::Function(function) => {
            matches!(function.name.to_string().as_str(), "__day_second" | "__year_month")
        }
        Expr::Interval(_) => true,
        _ => false,
    }
}

pub(super) fn interval_literal(interval: &mut Interval) -> Option<Expr> {
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
