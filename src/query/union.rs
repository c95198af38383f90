//! Whether the sides of every UNION go together.
//!
//! DataFusion finds a common type for almost any two, text for a number and a word among them; Trino
//! refuses what is no widening. INTERSECT and EXCEPT are joins by now, and checked as such.

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{LogicalPlan, Union};

use super::error::invalid;
use super::sql_type::SqlType;

/// Refuses a plan with a UNION whose columns have no common type.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Union(union) = node {
            check_one(union)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(|_| ())
}

fn check_one(union: &Union) -> Result<()> {
    let Some((first, others)) = union.inputs.split_first() else { return Ok(()) };
    for (i, field) in first.schema().fields().iter().enumerate() {
        let mut common = SqlType::of(field.data_type());
        for other in others {
            let given = other.schema().fields().get(i).and_then(|field| SqlType::of(field.data_type()));
            // What is missing or has no name here is for the planner to refuse.
            let (Some(before), Some(given)) = (&common, &given) else { break };
            let Some(wider) = before.wider(given) else {
                return Err(invalid(format!(
                    "column {} in UNION query has incompatible types: {before}, {given}",
                    i + 1
                )));
            };
            common = Some(wider);
        }
    }
    Ok(())
}
