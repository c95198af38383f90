//! Whether the sides of every UNION, INTERSECT and EXCEPT go together.
//!
//! DataFusion finds a common type for almost any two, text for a number and a word among them; Trino
//! refuses what is no widening.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, Expr, JoinType, LogicalPlan};

use super::error::{Position, at_place, invalid};
use super::places::{is_kept, kept_place};
use super::sql_type::SqlType;

/// The plan without the places that its values keep.
///
/// # Errors
/// When it has sides whose columns have no common type.
pub(crate) fn checked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut keeps = false;
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Union(union) => {
                keeps = true;
                let sides: Vec<&LogicalPlan> = union.inputs.iter().map(AsRef::as_ref).collect();
                check_sides("UNION", &sides)?;
            }
            // No join of these kinds is written; an IN or an EXISTS becomes one later.
            LogicalPlan::Join(join) if matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti) => {
                keeps = true;
                let name = if join.join_type == JoinType::LeftSemi { "INTERSECT" } else { "EXCEPT" };
                check_sides(name, &[&join.left, &join.right])?;
            }
            LogicalPlan::Values(_) => keeps = true,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !keeps {
        return Ok(plan);
    }
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Projection(_) | LogicalPlan::Values(_) | LogicalPlan::Filter(_) => {
            node.map_expressions(|expr| {
                expr.transform_up(|expr| match expr {
                    Expr::Alias(alias) if is_kept(&alias) => Ok(Transformed::yes(*alias.expr)),
                    other => Ok(Transformed::no(other)),
                })
            })
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn check_sides(name: &str, sides: &[&LogicalPlan]) -> Result<()> {
    let Some((first, others)) = sides.split_first() else { return Ok(()) };
    for (i, field) in first.schema().fields().iter().enumerate() {
        let mut common = SqlType::of(field.data_type());
        for other in others {
            let given = other.schema().fields().get(i).and_then(|field| SqlType::of(field.data_type()));
            // What is missing or has no name here is for the planner to refuse.
            let (Some(before), Some(given)) = (&common, &given) else { break };
            let Some(wider) = before.wider(given) else {
                let text =
                    format!("column {} in {name} query has incompatible types: {before}, {given}", i + 1);
                return Err(invalid(at_place(place(other, i), &text)));
            };
            common = Some(wider);
        }
    }
    Ok(())
}

/// Where the query writes a column of `plan`.
fn place(plan: &LogicalPlan, i: usize) -> Option<Position> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let expr = projection.expr.get(i)?;
            kept_place(expr).or_else(|| match expr {
                Expr::Column(column) => {
                    place(&projection.input, projection.input.schema().maybe_index_of_column(column)?)
                }
                _ => None,
            })
        }
        LogicalPlan::Values(values) => kept_place(values.values.first()?.get(i)?),
        LogicalPlan::Union(union) => place(union.inputs.first()?, i),
        LogicalPlan::Distinct(Distinct::All(input)) => place(input, i),
        // The columns of these are those of their input, and maybe more.
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Window(_) => place(plan.inputs().first()?, i),
        _ => None,
    }
}
