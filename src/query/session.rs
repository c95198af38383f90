//! What DataFusion is set up with, once for all queries: memory, disk, rules and functions.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::functions_aggregate::planner::AggregateFunctionPlanner;
use datafusion::functions_window::planner::WindowFunctionPlanner;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::optimizer::Optimizer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;

use super::context::Language;
use super::copies::CopiesPlanner;
use super::functions::Registry;
use super::lambda_places::LambdaPlaces;
use super::limits::QueryOptions;
use super::operators::Operators;
use super::runs::RunsFirst;
use super::source::Source;
use super::table::PARTS_URL;
use super::terms::TermsInOrder;
use super::unnest::UnnestPlanner;
use super::using::UsingPlanner;

/// The smaller side of a join may have so many rows for each thread that waits while one reads it. It is guessed
/// before a row is read: a fifth of the rows a filter may leave, whatever it says.
const JOIN_ROWS: usize = 1 << 27;

/// What all queries are planned with.
pub(crate) fn language(registry: &Arc<Registry>) -> Language {
    let operators: Arc<dyn ExprPlanner> = Arc::new(Operators::new(Arc::clone(registry)));
    let function = |name: &str| registry.scalar(name).expect("the registry has its private functions");
    let unnest = UnnestPlanner {
        forget: function("__forget"),
        field: function("get_field"),
        ordinals: function("__ordinals"),
    };
    Language {
        registry: Arc::clone(registry),
        // The two of DataFusion know what `count(*)` is.
        expr_planners: vec![operators, Arc::new(AggregateFunctionPlanner), Arc::new(WindowFunctionPlanner)],
        relation_planners: vec![Arc::new(unnest), Arc::new(UsingPlanner), Arc::new(CopiesPlanner)],
    }
}

/// The optimizer's rule that computes once what an expression names twice. It does so outside of lambdas
/// too, and so takes `1 / x` out of the `TRY` that is to catch it.
const SHARING: &str = "common_sub_expression_eliminate";

/// The states every query's own state is cloned from: no catalog, no file format, no table function. The
/// second is for queries with a `TRY`.
pub(crate) fn session_states(
    source: &dyn Source,
    options: &QueryOptions,
) -> Result<(SessionState, SessionState)> {
    let mut config = SessionConfig::new()
        .with_target_partitions(options.threads.max(1))
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false);
    let settings = config.options_mut();
    settings.execution.time_zone = None;
    // Each scan decides for itself: see `table`.
    settings.execution.parquet.pushdown_filters = false;
    settings.execution.parquet.bloom_filter_on_read = true;
    settings.execution.collect_statistics = false;
    // One table of hashes for all threads: with one a thread, all rows of both sides change threads first, which
    // takes longer than to fill one, unless many threads wait for it.
    let threads = options.threads.max(1);
    settings.optimizer.hash_join_single_partition_threshold_rows = JOIN_ROWS / threads;
    // A sort that may spill keeps this much aside to merge what it spilled.
    settings.execution.sort_spill_reservation_bytes = (options.memory_bytes / 32).clamp(64 << 10, 10 << 20);
    let pool: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(options.memory_bytes));
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::OsTmpDirectory)
        .with_max_temp_directory_size(options.spill_bytes);
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(pool).with_disk_manager_builder(disk).build_arc()?;
    let url = datafusion::datasource::object_store::ObjectStoreUrl::parse(PARTS_URL)?;
    runtime.register_object_store(url.as_ref(), source.object_store());
    let mut rules = PhysicalOptimizer::new().rules;
    rules.insert(0, Arc::new(LambdaPlaces));
    rules.push(Arc::new(TermsInOrder));
    rules.push(Arc::new(RunsFirst));
    let builder = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime);
    let unshared = Optimizer::new().rules.into_iter().filter(|rule| rule.name() != SHARING).collect();
    let state = builder.with_physical_optimizer_rules(rules).build();
    let for_try = SessionStateBuilder::new_from_existing(state.clone()).with_optimizer_rules(unshared);
    Ok((state, for_try.build()))
}
