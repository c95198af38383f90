//! Rows of one group that lie together are summed up before anything is hashed.
//!
//! The rows of a part are sorted by their series and their time, so that a host's hour is a run of hundreds
//! of rows. DataFusion looks up the group of each of them; here each run becomes one row of partial sums,
//! found by comparing neighbours, and only those are hashed. The order is never declared, only met: where runs
//! are short, as among rows in memory, the partial aggregate goes on as DataFusion planned it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{partition, take};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, aggregate_expressions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt, stream};

/// Runs have at least this many rows on average, or hashing every row is no slower.
const RUN_ROWS_MIN: usize = 16;

/// The rule that puts [`RunsExec`] over partial aggregates. It runs after all others.
#[derive(Debug)]
pub(crate) struct RunsFirst;

impl PhysicalOptimizerRule for RunsFirst {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| match node.downcast_ref::<AggregateExec>().is_some_and(gains) {
            true => Ok(Transformed::yes(Arc::new(RunsExec { partial: node }) as Arc<dyn ExecutionPlan>)),
            false => Ok(Transformed::no(node)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "runs_first"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether the partial sums of `aggregate` can be made run by run.
fn gains(aggregate: &AggregateExec) -> bool {
    let groups = aggregate.group_expr();
    let schema = aggregate.input_schema();
    let flat = |expr: &Arc<dyn PhysicalExpr>| expr.data_type(&schema).is_ok_and(|of| !of.is_nested());
    let plain = |one: &Arc<AggregateFunctionExpr>| one.groups_accumulator_supported() && !one.is_distinct();
    *aggregate.mode() == AggregateMode::Partial
        && *aggregate.input_order_mode() == InputOrderMode::Linear
        && aggregate.limit_options().is_none()
        && groups.is_single()
        && !groups.is_true_no_grouping()
        && groups.expr().iter().all(|(expr, _)| flat(expr))
        && aggregate.aggr_expr().iter().all(plain)
}

/// A partial aggregate that sums up runs while they are long.
struct RunsExec {
    /// Of type [`AggregateExec`].
    partial: Arc<dyn ExecutionPlan>,
}

impl fmt::Debug for RunsExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunsExec")
    }
}

impl DisplayAs for RunsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunsExec")
    }
}

impl ExecutionPlan for RunsExec {
    fn name(&self) -> &'static str {
        "RunsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.partial.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.partial]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(partial), true) => Ok(Arc::new(Self { partial })),
            _ => internal_err!("an aggregate of runs has one input"),
        }
    }

    fn execute(&self, place: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(aggregate) = self.partial.downcast_ref::<AggregateExec>() else {
            return self.partial.execute(place, context);
        };
        let input = aggregate.input().execute(place, Arc::clone(&context))?;
        let runs = Runs::new(aggregate)?;
        let rest = Rest { partial: Arc::clone(&self.partial), context };
        let batches = stream::try_unfold(Stage::Runs { input, runs, rest }, Stage::next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// How far one partition is.
enum Stage {
    /// Runs have been long so far.
    Runs { input: SendableRecordBatchStream, runs: Runs, rest: Rest },
    /// They were not: this is what the partial aggregate makes of the rest.
    Hashed(SendableRecordBatchStream),
}

impl Stage {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            match self {
                Self::Hashed(mut sums) => {
                    let batch = sums.try_next().await?;
                    return Ok(batch.map(|batch| (batch, Self::Hashed(sums))));
                }
                Self::Runs { mut input, mut runs, rest } => {
                    let Some(batch) = input.try_next().await? else { return Ok(None) };
                    match runs.sum_up(&batch)? {
                        Some(sums) => return Ok(Some((sums, Self::Runs { input, runs, rest }))),
                        None => self = Self::Hashed(rest.hashed(batch, input)?),
                    }
                }
            }
        }
    }
}

/// The sums of runs.
struct Runs {
    schema: SchemaRef,
    groups: Vec<Arc<dyn PhysicalExpr>>,
    aggregates: Vec<Aggregate>,
}

struct Aggregate {
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    sums: Box<dyn GroupsAccumulator>,
}

impl Runs {
    fn new(aggregate: &AggregateExec) -> Result<Self> {
        // With what `max_by` orders its values by.
        let arguments = aggregate_expressions(aggregate.aggr_expr(), aggregate.mode(), 0)?;
        let each = aggregate.aggr_expr().iter().zip(arguments).zip(aggregate.filter_expr());
        let aggregates = each.map(|((one, arguments), filter)| {
            Ok(Aggregate { arguments, filter: filter.clone(), sums: one.create_groups_accumulator()? })
        });
        Ok(Self {
            schema: aggregate.schema(),
            groups: aggregate.group_expr().input_exprs(),
            aggregates: aggregates.collect::<Result<_>>()?,
        })
    }

    /// A row for each run of `batch`; nothing when runs are too short to gain by it.
    fn sum_up(&mut self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let rows = batch.num_rows();
        let value = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(rows);
        let groups: Vec<ArrayRef> = self.groups.iter().map(value).collect::<Result<_>>()?;
        let runs = partition(&groups)?.ranges();
        if runs.len() * RUN_ROWS_MIN > rows {
            return Ok(None);
        }
        let mut run_of = Vec::with_capacity(rows);
        for (run, range) in runs.iter().enumerate() {
            run_of.extend(std::iter::repeat_n(run, range.len()));
        }
        let first = |range: &std::ops::Range<usize>| u32::try_from(range.start);
        let firsts = runs.iter().map(first).collect::<Result<Vec<_>, _>>();
        let firsts = UInt32Array::from(firsts.expect("a batch has fewer than 2^32 rows"));
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for group in &groups {
            columns.push(compact(take(group, &firsts, None)?));
        }
        for Aggregate { arguments, filter, sums } in &mut self.aggregates {
            let values: Vec<ArrayRef> = arguments.iter().map(value).collect::<Result<_>>()?;
            let filter = filter.as_ref().map(value).transpose()?;
            let filter: Option<&BooleanArray> = filter.as_ref().map(|filter| filter.as_boolean());
            sums.update_batch(&values, &run_of, filter, runs.len())?;
            columns.extend(sums.state(EmitTo::All)?);
        }
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }
}

/// Texts without the pages they point into, which would be kept, and counted, for a few of them.
fn compact(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        _ => column,
    }
}

/// The partial aggregate, for what is not in runs.
struct Rest {
    partial: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
}

impl Rest {
    /// What it makes of `first` and the batches that follow.
    fn hashed(
        self,
        first: RecordBatch,
        others: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream> {
        let schema = first.schema();
        let all = stream::iter([Ok(first)]).chain(others);
        let all: SendableRecordBatchStream =
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), all));
        let once = Once { schema: Arc::clone(&schema), batches: Mutex::new(Some(all)) };
        let input = StreamingTableExec::try_new(schema, vec![Arc::new(once)], None, [], false, None)?;
        let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.partial.replace_children(vec![Arc::new(input)], keep)?.execute(0, self.context)
    }
}

/// Batches that can be had once.
struct Once {
    schema: SchemaRef,
    batches: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner).take();
        batches.unwrap_or_else(|| {
            let none = internal_err!("batches that are there once were asked for twice");
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter([none])))
        })
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Int64Array, StringViewArray};
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::execution::session_state::SessionStateBuilder;
    use datafusion::physical_plan::displayable;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    /// Rows whose group is `group(row)`, with a NULL here and there.
    fn rows(count: usize, group: impl Fn(usize) -> usize) -> RecordBatch {
        let hosts = (0..count).map(|row| Some(format!("a host with a long name {}", group(row))));
        let hosts: StringViewArray = hosts.map(|host| host.filter(|host| !host.ends_with('3'))).collect();
        let whole = (0..count).map(|row| i64::try_from(row).ok().filter(|n| n % 7 != 0));
        let hours = (0..count).map(|row| Some(f64::from(u32::try_from(group(row) % 2).expect("a bit"))));
        let columns: [(&str, ArrayRef); 3] = [
            ("host", Arc::new(hosts)),
            ("n", Arc::new(whole.collect::<Int64Array>())),
            ("hour", Arc::new(hours.collect::<Float64Array>())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
            .expect("columns of one length")
    }

    /// Runs, then rows of which no two neighbours belong together, then runs, on each of two partitions.
    fn table() -> MemTable {
        let (long, short) = (rows(1000, |row| row / 50), rows(500, |row| row * 7 % 20));
        let one = vec![long.clone(), short, long.clone()];
        MemTable::try_new(long.schema(), vec![one, vec![long.slice(100, 300)]]).expect("a table")
    }

    async fn answer(sql: &str, with_rule: bool) -> (String, String) {
        let config = SessionConfig::new().with_target_partitions(2).with_round_robin_repartition(false);
        let mut builder = SessionStateBuilder::new_with_default_features().with_config(config);
        if with_rule {
            builder = builder.with_physical_optimizer_rule(Arc::new(RunsFirst));
        }
        let context = SessionContext::new_with_state(builder.build());
        context.register_table("t", Arc::new(table())).expect("a free name");
        let frame = context.sql(sql).await.expect("a plan");
        let plan = frame.clone().create_physical_plan().await.expect("a physical plan");
        let rows = frame.collect().await.expect("rows");
        let rows = pretty_format_batches(&rows).expect("a table").to_string();
        (displayable(plan.as_ref()).indent(false).to_string(), rows)
    }

    #[tokio::test]
    async fn answers_are_those_of_hashing_every_row() {
        for sql in [
            "SELECT host, count(*), count(n), sum(n), min(n), max(n), avg(n) FROM t GROUP BY host",
            "SELECT host, hour, sum(n) FILTER (WHERE n > 40) FROM t GROUP BY host, hour",
            "SELECT hour, max(n) FROM t WHERE n < 900 GROUP BY hour HAVING max(n) > 3",
            "SELECT host FROM t GROUP BY host",
            "SELECT count(*), host FROM t WHERE n < 0 GROUP BY host",
            "SELECT host, first_value(n ORDER BY n DESC) FILTER (WHERE n > 3), min(n) FROM t GROUP BY host",
        ] {
            let sql = format!("{sql} ORDER BY 1, {}", if sql.contains("host, hour") { 2 } else { 1 });
            let (plan, with) = answer(&sql, true).await;
            assert!(plan.contains("RunsExec"), "{sql}\n{plan}");
            assert_eq!(with, answer(&sql, false).await.1, "{sql}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_summed_up_by_runs_is_left_alone() {
        for sql in [
            "SELECT host, count(DISTINCT n), count(DISTINCT hour) FROM t GROUP BY host",
            "SELECT host, hour, sum(n) FROM t GROUP BY ROLLUP (host, hour)",
            "SELECT host, array_agg(n ORDER BY n) FROM t GROUP BY host",
            "SELECT sum(n) FROM t",
        ] {
            let (plan, _) = answer(sql, true).await;
            assert!(!plan.contains("RunsExec"), "{sql}\n{plan}");
        }
    }

    #[tokio::test]
    async fn each_run_becomes_a_row_and_short_runs_none() {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        context.register_table("t", Arc::new(table())).expect("a free name");
        let frame =
            context.sql("SELECT host, hour, sum(n) FROM t GROUP BY host, hour").await.expect("a plan");
        let plan = frame.create_physical_plan().await.expect("a physical plan");
        let mut partial = None;
        plan.apply(|node| {
            let found = node.downcast_ref::<AggregateExec>().filter(|aggregate| gains(aggregate));
            partial = partial.take().or(found.cloned());
            Ok(TreeNodeRecursion::Continue)
        })
        .expect("a walk");
        let mut runs = Runs::new(&partial.expect("a partial aggregate")).expect("sums");
        let sums = runs.sum_up(&rows(1000, |row| row / 50)).expect("sums").expect("long runs");
        assert_eq!(sums.num_rows(), 20);
        assert!(runs.sum_up(&rows(500, |row| row * 7 % 20)).expect("sums").is_none());
        assert_eq!(runs.sum_up(&rows(32, |row| row / 16)).expect("sums").expect("long runs").num_rows(), 2);
    }
}
