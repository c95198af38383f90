//! Whether the values that meet in one place go together: CASE, COALESCE, NULLIF, IN and BETWEEN.
//!
//! DataFusion finds a common type for almost any two, text for a number and a word among them; Trino
//! refuses what is no widening, and so does Timestream, but for text that is compared with a moment.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, Case, Expr, ExprSchemable, LogicalPlan};

use super::error::{at_place, invalid};
use super::functions::cast_array;
use super::places::kept_place;
use super::sql_type::SqlType;

/// Values that do not go together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clash {
    /// Which operand does not go with those before it, counted as `places` counts them.
    pub(crate) operand: usize,
    pub(crate) text: String,
}

/// Refuses a plan with an expression whose values have no common type.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        if let LogicalPlan::Values(values) = node {
            for column in 0..values.schema.fields().len() {
                // The planner has cast them to what it took for their common type.
                let all = values.values.iter().filter_map(|row| row.get(column)).map(uncast);
                let all: Vec<&Expr> = all.collect();
                let clash = common("Values rows have mismatched types", &all, &DFSchema::empty(), false);
                refuse(clash.map(|clash| {
                    let given = values.values.get(clash.operand).and_then(|row| row.get(column));
                    Clash { text: at_place(given.and_then(kept_place), &clash.text), ..clash }
                }))?;
            }
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| match expr {
                // The parameters of a lambda have no place in the schema.
                Expr::Lambda(_) => Ok(TreeNodeRecursion::Jump),
                expr => refuse(clash(expr, &schema)).map(|()| TreeNodeRecursion::Continue),
            })
        })
    })
    .map(|_| ())
}

fn refuse(clash: Option<Clash>) -> Result<()> {
    match clash {
        Some(clash) => Err(invalid(clash.text)),
        None => Ok(()),
    }
}

/// What the planner has cast; an INTEGER is a cast that `rewrite` has written.
fn uncast(expr: &Expr) -> &Expr {
    let is_integer = matches!(expr.get_type(&DFSchema::empty()), Ok(DataType::Int32));
    match expr {
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Literal(ScalarValue::Int64(_), _) if is_integer => expr,
            inner => uncast(inner),
        },
        Expr::Alias(alias) => uncast(&alias.expr),
        other => other,
    }
}

/// What does not go together of the operands of `expr` itself.
pub(crate) fn clash(expr: &Expr, schema: &DFSchema) -> Option<Clash> {
    match expr {
        Expr::Case(Case { expr, when_then_expr, else_expr }) => {
            let results = when_then_expr.iter().map(|(_, then)| then).chain(else_expr);
            let results: Vec<&Expr> = results.map(AsRef::as_ref).collect();
            let words = "All CASE results must be the same type";
            common(words, &results, schema, false).or_else(|| {
                let mut all: Vec<&Expr> = vec![expr.as_ref()?];
                all.extend(when_then_expr.iter().map(|(when, _)| when.as_ref()));
                let words = "CASE operand type does not match WHEN clause operand type";
                let clash = common(words, &all, schema, true)?;
                Some(Clash { operand: results.len() + clash.operand, ..clash })
            })
        }
        Expr::InList(InList { expr, list, .. }) => {
            let mut all: Vec<&Expr> = vec![expr];
            all.extend(list);
            common("IN value and list items must be the same type", &all, schema, true)
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            let all: [&Expr; 3] = [expr, low, high];
            common("Cannot check if a value is BETWEEN others of another type", &all, schema, true)
        }
        Expr::ScalarFunction(call) if matches!(call.func.name(), "coalesce" | "nullif") => {
            let all: Vec<&Expr> = call.args.iter().collect();
            let name = call.func.name().to_uppercase();
            common(&format!("All {name} operands must be the same type"), &all, schema, false)
        }
        Expr::ScalarFunction(call) if call.func.name() == "__array" => {
            let all: Vec<&Expr> = call.args.iter().collect();
            common("All ARRAY elements must be the same type", &all, schema, false)
        }
        _ => None,
    }
}

fn is_moment(of: &SqlType) -> bool {
    matches!(of, SqlType::Timestamp | SqlType::Date | SqlType::Time)
}

/// The first of `values` that does not go with those before it. With `text_is_moment`, a text goes with
/// a moment if it can be read as one.
fn common(words: &str, values: &[&Expr], schema: &DFSchema, text_is_moment: bool) -> Option<Clash> {
    let mut common: Option<SqlType> = None;
    let mut texts: Vec<usize> = Vec::new();
    for (operand, value) in values.iter().enumerate() {
        // What has no type here is for the planner to refuse.
        let given = value.get_type(schema).ok().and_then(|of| SqlType::of(&of))?;
        if text_is_moment && given == SqlType::Varchar {
            texts.push(operand);
        }
        let Some(before) = &common else {
            common = Some(given);
            continue;
        };
        let moment = [before, &given].into_iter().find(|of| is_moment(of)).cloned();
        let read = text_is_moment && (*before == SqlType::Varchar || given == SqlType::Varchar);
        common = match (before.wider(&given), moment) {
            (Some(wider), _) => Some(wider),
            (None, Some(moment)) if read => Some(moment),
            _ => return Some(Clash { operand, text: format!("{words}: {before}, {given}") }),
        };
    }
    let moment = common.filter(is_moment)?;
    texts.into_iter().find_map(|operand| {
        let Expr::Literal(text, _) = values.get(operand)? else { return None };
        match cast_array(&text.to_array().ok()?, &moment, false).err()?.find_root() {
            DataFusionError::External(error) => Some(Clash { operand, text: error.to_string() }),
            _ => None,
        }
    })
}
