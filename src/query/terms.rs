//! The second term of an AND or an OR is not asked where the first one decides.
//!
//! DataFusion asks both about all rows of a batch, and so `x <> 0 AND 10 / x > 2` divides by zero. Trino does not.
//! Here, the second term is asked about the undecided rows alone if they are few, or if it fails on all of them:
//! where nothing fails, nothing is done twice. The rule runs when nothing looks into conditions any more.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{and_kleene, cast, or_kleene};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

/// Less than this part of the rows are taken out of their batch before they are asked, as DataFusion does it.
const FEW: usize = 5;

/// The rule.
#[derive(Debug)]
pub(crate) struct TermsInOrder;

impl PhysicalOptimizerRule for TermsInOrder {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if let Some(filter) = node.downcast_ref::<FilterExec>() {
                let predicate = ordered(filter.predicate())?;
                if predicate.transformed {
                    let node = FilterExecBuilder::from(filter).with_predicate(predicate.data).build()?;
                    return Ok(Transformed::yes(Arc::new(node) as Arc<dyn ExecutionPlan>));
                }
            } else if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
                let mut changed = false;
                let items = projection.expr().iter().map(|item| {
                    let expr = ordered(&item.expr)?;
                    changed |= expr.transformed;
                    Ok(ProjectionExpr { expr: expr.data, alias: item.alias.clone() })
                });
                let items = items.collect::<Result<Vec<_>>>()?;
                if changed {
                    let node = ProjectionExec::try_new(items, Arc::clone(projection.input()))?;
                    return Ok(Transformed::yes(Arc::new(node) as Arc<dyn ExecutionPlan>));
                }
            }
            Ok(Transformed::no(node))
        })
        .data()
    }

    fn name(&self) -> &str {
        "terms_in_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn ordered(expr: &Arc<dyn PhysicalExpr>) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    Arc::clone(expr).transform_up(|node| {
        let terms = node.downcast_ref::<BinaryExpr>().and_then(|binary| {
            let decided_by = match binary.op() {
                Operator::And => false,
                Operator::Or => true,
                _ => return None,
            };
            let terms =
                Terms { decided_by, first: Arc::clone(binary.left()), second: Arc::clone(binary.right()) };
            may_fail(&terms.second).then_some(terms)
        });
        Ok(match terms {
            Some(terms) => Transformed::yes(Arc::new(terms) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(node),
        })
    })
}

/// Whether `term` is anything but comparisons of columns with literals.
fn may_fail(term: &Arc<dyn PhysicalExpr>) -> bool {
    let mut fails = false;
    let looked = term.apply(|node| {
        let is_plain = node.is::<BinaryExpr>()
            || node.is::<Column>()
            || node.is::<Literal>()
            || node.is::<NotExpr>()
            || node.is::<IsNullExpr>()
            || node.is::<IsNotNullExpr>();
        fails |= !is_plain;
        Ok(if fails { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    fails || looked.is_err()
}

/// An AND, which a false first term decides, or an OR, which a true one does.
#[derive(Debug, Clone)]
struct Terms {
    decided_by: bool,
    first: Arc<dyn PhysicalExpr>,
    second: Arc<dyn PhysicalExpr>,
}

impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        self.decided_by == other.decided_by
            && self.first.as_ref() == other.first.as_ref()
            && self.second.as_ref() == other.second.as_ref()
    }
}

impl Eq for Terms {}

impl Hash for Terms {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.decided_by.hash(state);
        self.first.hash(state);
        self.second.hash(state);
    }
}

impl Terms {
    fn word(&self) -> &'static str {
        if self.decided_by { "OR" } else { "AND" }
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.first, self.word(), self.second)
    }
}

fn boolean(value: ColumnarValue, rows: usize) -> Result<BooleanArray> {
    Ok(cast(&value.into_array(rows)?, &DataType::Boolean)?.as_boolean().clone())
}

impl PhysicalExpr for Terms {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        Ok(self.first.nullable(schema)? || self.second.nullable(schema)?)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let first = boolean(self.first.evaluate(batch)?, rows)?;
        let open: BooleanArray = first.iter().map(|term| Some(term != Some(self.decided_by))).collect();
        let undecided = open.true_count();
        if undecided == 0 && rows > 0 {
            return Ok(ColumnarValue::Array(Arc::new(first)));
        }
        let of_open = || self.second.evaluate_selection(batch, &open);
        let second = match undecided < rows / FEW {
            true => of_open()?,
            false => match self.second.evaluate(batch) {
                Err(_) if undecided < rows => of_open()?,
                second => second?,
            },
        };
        let second = boolean(second, rows)?;
        Ok(ColumnarValue::Array(Arc::new(match self.decided_by {
            true => or_kleene(&first, &second)?,
            false => and_kleene(&first, &second)?,
        })))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.first, &self.second]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match <[_; 2]>::try_from(children) {
            Ok([first, second]) => Ok(Arc::new(Self { decided_by: self.decided_by, first, second })),
            Err(_) => Ok(self),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({self})")
    }
}
