//! What SQL says in words or with an operator, and the call or the comparisons that say the same.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, Subscript, TrimWhereField, UnaryOperator, Value, ValueWithSpan,
};

use super::dialect::{call, text};
use super::error::{Position, QueryError, syntax};
use super::literals::number;
use super::rewrite::take;
use super::{like, places};

/// A pattern of LIKE as DataFusion reads it.
pub(super) fn like_pattern(
    written: Expr,
    escape: Option<ValueWithSpan>,
    place: Position,
) -> Result<Expr, QueryError> {
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
pub(super) fn spelled_out(expr: &mut Expr) -> Option<Expr> {
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

pub(super) fn negated_if(negated: bool, expr: Expr) -> Expr {
    let expr = Box::new(Expr::Nested(Box::new(expr)));
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr } } else { *expr }
}

/// `of.name`
pub(super) fn field(of: Expr, name: Ident) -> Expr {
    let at = Position::of(name.span);
    places::value_at(call("get_field", vec![of, text(name.value)]), at)
}

/// `(expr).a[1].b`, from the inside out.
pub(super) fn fields(root: Expr, chain: Vec<AccessExpr>, place: Position) -> Result<Expr, QueryError> {
    chain.into_iter().try_fold(root, |inner, access| match access {
        AccessExpr::Dot(Expr::Identifier(name)) => Ok(field(inner, name)),
        AccessExpr::Dot(_) => Err(syntax(place)),
        AccessExpr::Subscript(Subscript::Index { index }) => Ok(places::element(inner, place, index)),
        AccessExpr::Subscript(Subscript::Slice { .. }) => Err(syntax(place)),
    })
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
