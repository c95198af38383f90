//! Calls of functions that mean something else, or one thing more, than their name says.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, Ident, ListAggOnOverflow, ObjectName, Spanned, UnaryOperator,
    Value,
};

use super::dialect::{call, text};
use super::error::{Position, QueryError, syntax};
use super::literals::number_text;
use super::places;
use super::rewrite::take;
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
    let span = function.name.span();
    let place = Position::of(span).unwrap_or(Position::START);
    // The place of a call is that of its name.
    let named = |name: &str| ObjectName::from(vec![Ident::with_span(span, name)]);
    if name == "listagg" {
        return joined(function).map(Some);
    }
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
        check_offset(&name, args, place)?;
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
                function.name = named(like);
            }
            "count_if" => {
                if let Some(condition) = args.first_mut().and_then(operand) {
                    let mut counted = take(condition);
                    places::check(&mut counted, "Operand of count_if");
                    *condition = case(counted, Expr::Value(Value::Boolean(true).into()), None);
                }
                function.name = named("count");
            }
            _ => {}
        }
        return Ok(None);
    }
    match (name.as_str(), args.len()) {
        ("now" | "current_timestamp" | "localtimestamp", 0) => return Ok(Some(cast_now("timestamp"))),
        ("ago", 1) => args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(cast_now("timestamp")))),
        ("count", 0) => args.push(FunctionArg::Unnamed(FunctionArgExpr::Wildcard)),
        ("count", 1)
            if list.duplicate_treatment.is_some()
                && matches!(args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]) =>
        {
            return Err(syntax(place));
        }
        ("count", 2..) => {
            return Err(QueryError::Validation(format!(
                "line {place}: Unexpected parameters for function count. Expected: count(), count(T)"
            )));
        }
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
                return Err(QueryError::Validation(format!(
                    "line {place}: the standard error of approx_distinct must be a number from 0.0040625 to 0.26"
                )));
            }
        }
        ("max" | "min", 2) | ("max_by" | "min_by", 3) => {
            function.name = named(&format!("__{name}_n"));
        }
        ("regexp_replace", 3) if is_lambda(args.get(2)) => {
            function.name = named("__regexp_replace_lambda");
        }
        ("array_sort", 2) if is_lambda(args.get(1)) => {
            function.name = named("__array_sort_by");
        }
        _ => {}
    }
    Ok(None)
}

/// `listagg(x, s) WITHIN GROUP (ORDER BY y)` is the array of the texts there are, joined.
fn joined(function: &mut Function) -> Result<Expr, QueryError> {
    let at = Position::of(function.name.span()).unwrap_or(Position::START);
    let wrong = |text: &str| QueryError::Validation(format!("line {at}: {text}"));
    let mut gathered = call("array_agg", vec![]);
    let (FunctionArguments::List(list), Expr::Function(inner)) = (&mut function.args, &mut gathered) else {
        return Err(wrong("listagg takes a varchar and a separator"));
    };
    let FunctionArguments::List(inner_list) = &mut inner.args else {
        return Err(wrong("listagg takes a varchar and a separator"));
    };
    let mut operands: Vec<Expr> = list.args.iter_mut().filter_map(operand).map(take).collect();
    let separator = if operands.len() == 2 { operands.pop() } else { None };
    let (Some(mut value), true) = (operands.pop(), operands.is_empty()) else {
        return Err(wrong("listagg takes a varchar and a separator"));
    };
    for clause in &list.clauses {
        match clause {
            FunctionArgumentClause::OnOverflow(ListAggOnOverflow::Error) => {}
            _ => return Err(wrong("listagg takes no clause but ON OVERFLOW ERROR and WITHIN GROUP")),
        }
    }
    let there = Expr::IsNotNull(Box::new(value.clone()));
    inner.filter = Some(Box::new(match function.filter.take() {
        None => there,
        Some(filter) => Expr::BinaryOp { left: Box::new(there), op: BinaryOperator::And, right: filter },
    }));
    if !function.within_group.is_empty() {
        let keys = std::mem::take(&mut function.within_group);
        inner_list.clauses = vec![FunctionArgumentClause::OrderBy(keys)];
    }
    inner_list.duplicate_treatment = list.duplicate_treatment;
    places::check_text(&mut value, "Operand of listagg");
    inner_list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))];
    let separator = separator.unwrap_or_else(|| text(""));
    Ok(call("array_join", vec![gathered, separator]))
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
fn check_offset(name: &str, args: &[FunctionArg], place: Position) -> Result<(), QueryError> {
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
            "line {place}: {name}: Offset must be at least {least}, but it is {offset}"
        ))),
        _ => Ok(()),
    }
}
