//! Whether the values that meet in one place go together: CASE, COALESCE, NULLIF, IN and BETWEEN.
//!
//! DataFusion finds a common type for almost any two, text for a number and a word among them; Trino
//! refuses what is no widening, and so does Timestream, but for text that is compared with a moment.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, Case, Expr, ExprSchemable, LogicalPlan};

use super::error::{SqlError, invalid};
use super::sql_type::SqlType;

/// Refuses a plan with an expression whose values have no common type.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        if let LogicalPlan::Values(values) = node {
            for column in 0..values.schema.fields().len() {
                let all: Vec<&Expr> = values.values.iter().filter_map(|row| row.get(column)).collect();
                let nothing = DFSchema::empty();
                common("Values rows have mismatched types", &all, &nothing, false)?;
            }
        }
        node.apply_expressions(|expr| expr.apply(|expr| check_one(expr, &schema)))
    })
    .map(|_| ())
}

fn check_one(expr: &Expr, schema: &DFSchema) -> Result<TreeNodeRecursion> {
    match expr {
        Expr::Case(Case { expr, when_then_expr, else_expr }) => {
            let results = when_then_expr.iter().map(|(_, then)| then).chain(else_expr);
            let results: Vec<&Expr> = results.map(AsRef::as_ref).collect();
            common("All CASE results must be the same type", &results, schema, false)?;
            if let Some(operand) = expr {
                let mut all: Vec<&Expr> = vec![operand];
                all.extend(when_then_expr.iter().map(|(when, _)| when.as_ref()));
                common("CASE operand type does not match WHEN clause operand type", &all, schema, true)?;
            }
        }
        Expr::InList(InList { expr, list, .. }) => {
            let mut all: Vec<&Expr> = vec![expr];
            all.extend(list);
            common("IN value and list items must be the same type", &all, schema, true)?;
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            let all: [&Expr; 3] = [expr, low, high];
            common("Cannot check if a value is BETWEEN others of another type", &all, schema, true)?;
        }
        Expr::ScalarFunction(call) if matches!(call.func.name(), "coalesce" | "nullif") => {
            let all: Vec<&Expr> = call.args.iter().collect();
            let name = call.func.name().to_uppercase();
            common(&format!("All {name} operands must be the same type"), &all, schema, false)?;
        }
        Expr::ScalarFunction(call) if call.func.name() == "__array" => {
            let all: Vec<&Expr> = call.args.iter().collect();
            common("All ARRAY elements must be the same type", &all, schema, false)?;
        }
        // The parameters of a lambda have no place in the schema.
        Expr::Lambda(_) => return Ok(TreeNodeRecursion::Jump),
        _ => {}
    }
    Ok(TreeNodeRecursion::Continue)
}

fn common(words: &str, values: &[&Expr], schema: &DFSchema, text_is_moment: bool) -> Result<()> {
    let mut common: Option<SqlType> = None;
    for value in values {
        // What has no type here is for the planner to refuse.
        let Some(given) = value.get_type(schema).ok().and_then(|of| SqlType::of(&of)) else { return Ok(()) };
        let Some(before) = &common else {
            common = Some(given);
            continue;
        };
        let is_moment = |of: &SqlType| matches!(of, SqlType::Timestamp | SqlType::Date | SqlType::Time);
        let read = text_is_moment
            && (*before == SqlType::Varchar && is_moment(&given)
                || is_moment(before) && given == SqlType::Varchar);
        match before.wider(&given) {
            Some(wider) => common = Some(wider),
            None if read => {}
            None => return Err(near(values, format!("{words}: {before}, {given}"))),
        }
    }
    Ok(())
}

/// The error at the first column among `values`; literals have no place here.
fn near(values: &[&Expr], text: String) -> DataFusionError {
    let mut first: Option<String> = None;
    for value in values {
        let _ = value.apply(|expr| match expr {
            Expr::Column(column) => {
                first = Some(column.name.clone());
                Ok(TreeNodeRecursion::Stop)
            }
            _ => Ok(TreeNodeRecursion::Continue),
        });
        if first.is_some() {
            break;
        }
    }
    match first {
        Some(column) => SqlError::Near { column, text }.into(),
        None => invalid(text),
    }
}
