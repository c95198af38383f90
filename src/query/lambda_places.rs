//! Keeps the parameters of lambdas apart from the columns of the batch, whatever moves them.
//!
//! DataFusion 55.2 numbers a lambda's parameters after the columns of its input, and takes a number that
//! is no column's for a parameter. Its physical optimizer then puts the lambda over another input, with
//! more columns, and does not number again: the parameter is read from a column. Numbers that no input
//! reaches keep their meaning wherever they go. The rule runs before all others.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::expressions::LambdaVariable;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;

/// Where the numbers of parameters begin; a table has at most 1,152 columns.
const FIRST: usize = 1 << 24;

/// The rule.
#[derive(Debug)]
pub(crate) struct LambdaPlaces;

impl PhysicalOptimizerRule for LambdaPlaces {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(renumbered).data()
    }

    fn name(&self) -> &str {
        "lambda_places"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A node whose expressions the optimizer moves to other inputs, with its lambdas numbered again.
fn renumbered(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let mut changed = false;
        let items = projection.expr().iter().map(|item| {
            let expr = moved(&item.expr)?;
            changed |= expr.transformed;
            Ok(ProjectionExpr { expr: expr.data, alias: item.alias.clone() })
        });
        let items = items.collect::<Result<Vec<_>>>()?;
        if changed {
            let node = ProjectionExec::try_new(items, Arc::clone(projection.input()))?;
            return Ok(Transformed::yes(Arc::new(node)));
        }
    } else if let Some(filter) = node.downcast_ref::<FilterExec>() {
        let predicate = moved(filter.predicate())?;
        if predicate.transformed {
            let node = FilterExecBuilder::from(filter).with_predicate(predicate.data).build()?;
            return Ok(Transformed::yes(Arc::new(node)));
        }
    } else if let Some(sort) = node.downcast_ref::<SortExec>() {
        let mut changed = false;
        let keys = sort.expr().iter().map(|key| {
            let expr = moved(&key.expr)?;
            changed |= expr.transformed;
            Ok(PhysicalSortExpr { expr: expr.data, options: key.options })
        });
        let keys = LexOrdering::new(keys.collect::<Result<Vec<_>>>()?);
        if let (true, Some(keys)) = (changed, keys) {
            let node = SortExec::new(keys, Arc::clone(sort.input()))
                .with_fetch(sort.fetch())
                .with_preserve_partitioning(sort.preserve_partitioning());
            return Ok(Transformed::yes(Arc::new(node)));
        }
    }
    Ok(Transformed::no(node))
}

fn moved(expr: &Arc<dyn PhysicalExpr>) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    Arc::clone(expr).transform_up(|node| match node.downcast_ref::<LambdaVariable>() {
        Some(parameter) if parameter.index() < FIRST => {
            let moved = LambdaVariable::new(FIRST + parameter.index(), Arc::clone(parameter.field()));
            Ok(Transformed::yes(Arc::new(moved) as Arc<dyn PhysicalExpr>))
        }
        _ => Ok(Transformed::no(node)),
    })
}
