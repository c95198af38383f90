//! Stopping operators that do not look up from their work.
//!
//! A query that is given up is dropped where it next yields. Scans, groups and sorts yield often;
//! a join whose condition lets nothing through works off whole products of its inputs first (a minute
//! and more was seen), and a product of tables that something sums up never yields at all. So the condition of
//! every join asks whether anyone still waits, the rows of a join ask, and so does every function of ours, row
//! by row and within its longer loops.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::CrossJoinExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use tokio_util::sync::CancellationToken;

use super::error::{failed, invalid};

/// Whether a query is still wanted. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deadline(Arc<Signal>);

/// A deadline that does not keep its query known.
#[derive(Debug, Clone)]
pub(crate) struct WeakDeadline(Weak<Signal>);

#[derive(Debug, Default)]
struct Signal {
    passed: AtomicBool,
    cancelled: CancellationToken,
}

impl Deadline {
    /// Nobody waits any more.
    pub(crate) fn pass(&self) {
        self.0.passed.store(true, Ordering::Relaxed);
    }

    /// Somebody wants the query to stop.
    pub(crate) fn cancel(&self) {
        self.pass();
        self.0.cancelled.cancel();
    }

    /// Whether somebody wanted the query to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.cancelled.is_cancelled()
    }

    /// Waits until somebody wants the query to stop.
    pub(crate) async fn cancelled(&self) {
        self.0.cancelled.cancelled().await;
    }

    /// The same deadline, as long as anything of the query is left.
    pub(crate) fn downgrade(&self) -> WeakDeadline {
        WeakDeadline(Arc::downgrade(&self.0))
    }

    /// Fails once nobody waits any more.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.passed.load(Ordering::Relaxed) {
            true => Err(failed("Query timed out")),
            false => Ok(()),
        }
    }
}

impl WeakDeadline {
    /// The deadline, if anything of the query is left.
    pub(crate) fn upgrade(&self) -> Option<Deadline> {
        self.0.upgrade().map(Deadline)
    }

    /// Whether anything of the query is left.
    pub(crate) fn is_left(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// The options of a query carry its deadline to the functions it calls.
impl ConfigExtension for Deadline {
    const PREFIX: &'static str = "deadline";
}

impl ExtensionOptions for Deadline {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    /// Shares the deadline: whoever copies the options runs the same query.
    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        Err(invalid(format!("a deadline has no setting {key}")))
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

/// The plan with every join's condition guarded.
pub(crate) fn guard(plan: Arc<dyn ExecutionPlan>, deadline: &Deadline) -> Result<Arc<dyn ExecutionPlan>> {
    let guarded = plan.transform_up(|node| {
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
            && let Some(filter) = join.filter()
        {
            let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
            let join = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
                .with_projection_ref(join.projection().clone())
                .with_filter(Some(guarded_filter(filter, deadline)))
                .build()?;
            return Ok(Transformed::yes(Arc::new(join) as Arc<dyn ExecutionPlan>));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>()
            && let Some(filter) = join.filter()
        {
            let filter = guarded_filter(filter, deadline);
            return Ok(Transformed::yes(join.builder().with_filter(Some(filter)).build_exec()?));
        }
        if node.is::<CrossJoinExec>() || node.is::<HashJoinExec>() {
            return Ok(Transformed::yes(watched(node, deadline)?));
        }
        Ok(Transformed::no(node))
    });
    Ok(guarded?.data)
}

/// A join without a condition to ask in: the columns of its rows ask. Rows without columns do not.
fn watched(join: Arc<dyn ExecutionPlan>, deadline: &Deadline) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = join.schema();
    if schema.fields().is_empty() {
        return Ok(join);
    }
    let columns = schema.fields().iter().enumerate().map(|(i, field)| {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), i));
        let expr = match i {
            0 => Arc::new(Guarded { inner: column, deadline: deadline.clone() }) as Arc<dyn PhysicalExpr>,
            _ => column,
        };
        ProjectionExpr { expr, alias: field.name().clone() }
    });
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), Arc::clone(&join))?))
}

fn guarded_filter(filter: &JoinFilter, deadline: &Deadline) -> JoinFilter {
    let expression = Arc::new(Guarded { inner: Arc::clone(filter.expression()), deadline: deadline.clone() });
    JoinFilter::new(expression, filter.column_indices().to_vec(), Arc::clone(filter.schema()))
}

/// An expression that fails once its query is given up.
#[derive(Debug, Clone)]
struct Guarded {
    inner: Arc<dyn PhysicalExpr>,
    deadline: Deadline,
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.deadline.0, &other.deadline.0) && self.inner.as_ref() == other.inner.as_ref()
    }
}

impl Eq for Guarded {}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Guarded {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.deadline.check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match children.pop() {
            Some(inner) => Ok(Arc::new(Self { inner, deadline: self.deadline.clone() })),
            None => Ok(self),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
