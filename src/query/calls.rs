//! Calls of functions that mean something else, or one thing more, than their name says.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, UnaryOperator, Value,
};

use super::dialect::{call, text};
use super::error::QueryError;
use super::places;
use super::rewrite::{number_text, take};
use super::wire_text;
use crate::clock::Timestamp;

/// Aggregates that give the same for distinct values as for all.
const HEEDLESS_OF_COPIES: &[&str] = &[
    "any_value",
    "arbitrary",
    "bitwise_and_agg",
    "bitwise_or_agg",
    "bool_and",
    "bool_or",
    "every",
    "max",
    "max_by",
    "min",
    "min_by",
];

/// What stands for `function`, if something else does. Its operands are visited afterwards.
pub(super) fn rewritten(function: &mut Function, now: Timestamp) -> Result<Option<Expr>, QueryError> {
    if let Some(condition) = &mut function.filter {
        places::check(condition, "FILTER clause");
    }
    let name = function.name.to_string();
    let now = || text(wire_text::timestamp(now.nanos()));
    let cast_now = |of: &str| call("__cast", vec![call("__cast", vec![now(), text("timestamp")]), text(of)]);
    let list = match &mut function.args {
        FunctionArguments::List(list) => list,
        FunctionArguments::None => {
            return Ok(match name.as_str() {
                "current_timestamp" | "localtimestamp" => Some(cast_now("timestamp")),
                "current_date" => Some(cast_now("date")),
                "current_time" | "localtime" => Some(cast_now("time")),
                _ => None,
            });
        }
        FunctionArguments::Subquery(_) => return Ok(None),
    };
    if HEEDLESS_OF_COPIES.contains(&name.as_str())
        && list.duplicate_treatment == Some(DuplicateTreatment::Distinct)
        && list.args.len() < 3
    {
        list.duplicate_treatment = None;
    }
    let args = &mut list.args;
    if function.over.is_some() {
        check_offset(&name, args)?;
        if is_offset_of_nothing(&name, args) {
            return Ok(args.first_mut().and_then(operand).map(|value| nothing_of(take(value))));
        }
    }
    if function.over.is_some() && args.len() == 1 {
        match name.as_str() {
            // DataFusion cannot take a row out of these as a frame goes on, but out of their like.
            "bool_and" | "every" | "bool_or" => {
                let like = if name == "bool_or" { "max" } else { "min" };
                if let Some(value) = args.first_mut().and_then(operand) {
                    places::check(value, &format!("Operand of {name}"));
                }
                function.name = vec![Ident::new(like)].into();
            }
            "count_if" => {
                if let Some(condition) = args.first_mut().and_then(operand) {
                    let mut counted = take(condition);
                    places::check(&mut counted, "Operand of count_if");
                    *condition = case(counted, Expr::Value(Value::Boolean(true).into()), None);
                }
                function.name = vec![Ident::new("count")].into();
            }
            _ => {}
        }
        return Ok(None);
    }
    match (name.as_str(), args.len()) {
        ("now" | "current_timestamp" | "localtimestamp", 0) => return Ok(Some(cast_now("timestamp"))),
        ("ago", 1) => args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(cast_now("timestamp")))),
        ("count", 0) => args.push(FunctionArg::Unnamed(FunctionArgExpr::Wildcard)),
        // DataFusion makes `count(*)` a count of a literal, and knows two such counts not apart.
        ("count", 1) if list.duplicate_treatment.is_none() && args.first_mut().is_some_and(is_value) => {
            *args = vec![FunctionArg::Unnamed(FunctionArgExpr::Wildcard)];
        }
        ("nullif", 2) => {
            let mut operands = args.iter_mut().filter_map(operand).map(take);
            if let (Some(value), Some(other)) = (operands.next(), operands.next()) {
                return Ok(Some(null_if(value, other)));
            }
        }
        ("approx_distinct", 2) => {
            let error = args.pop().and_then(|mut arg| number_text(operand(&mut arg)?)?.parse::<f64>().ok());
            if !error.is_some_and(|error| (0.004_062_5..=0.26).contains(&error)) {
                return Err(QueryError::Validation(
                    "the standard error of approx_distinct must be a number from 0.0040625 to 0.26"
                        .to_owned(),
                ));
            }
        }
        ("max" | "min", 2) | ("max_by" | "min_by", 3) => {
            function.name = vec![Ident::new(format!("__{name}_n"))].into();
        }
        ("regexp_replace", 3) if is_lambda(args.get(2)) => {
            function.name = vec![Ident::new("__regexp_replace_lambda")].into();
        }
        ("array_sort", 2) if is_lambda(args.get(1)) => {
            function.name = vec![Ident::new("__array_sort_by")].into();
        }
        _ => {}
    }
    Ok(None)
}

fn operand(arg: &mut FunctionArg) -> Option<&mut Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

fn is_lambda(arg: Option<&FunctionArg>) -> bool {
    matches!(arg, Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Lambda(_)))))
}

/// Whether an operand is a literal, and not NULL.
fn is_value(arg: &mut FunctionArg) -> bool {
    matches!(operand(arg), Some(Expr::Value(value)) if value.value != Value::Null)
}

fn case(condition: Expr, result: Expr, otherwise: Option<Expr>) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: otherwise.map(Box::new),
    }
}

/// The result has the type of `value`, whatever that of `other` is.
fn null_if(value: Expr, other: Expr) -> Expr {
    let equal =
        Expr::BinaryOp { left: Box::new(value.clone()), op: BinaryOperator::Eq, right: Box::new(other) };
    case(equal, Expr::Value(Value::Null.into()), Some(value))
}

/// A NULL of the type of `value`.
fn nothing_of(value: Expr) -> Expr {
    case(Expr::Value(Value::Boolean(false).into()), value, None)
}

/// Whether a window function is asked for the row at a distance of NULL.
fn is_offset_of_nothing(name: &str, args: &mut [FunctionArg]) -> bool {
    matches!(name, "lag" | "lead" | "nth_value")
        && matches!(args.get_mut(1).and_then(operand), Some(Expr::Value(value)) if value.value == Value::Null)
}

/// DataFusion answers NULL where a window function looks at a row that cannot be.
fn check_offset(name: &str, args: &[FunctionArg]) -> Result<(), QueryError> {
    let least = match name {
        "nth_value" => 1,
        "lag" | "lead" => 0,
        _ => return Ok(()),
    };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(offset))) = args.get(1) else { return Ok(()) };
    let digits = match offset {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            number_text(expr).map(|digits| format!("-{digits}"))
        }
        other => number_text(other),
    };
    match digits.and_then(|digits| digits.parse::<i64>().ok()) {
        Some(offset) if offset < least => Err(QueryError::Validation(format!(
            "{name}: Offset must be at least {least}, but it is {offset}"
        ))),
        _ => Ok(()),
    }
}
