//! From a text to rows that are on their way: every step of a query that comes before its first row.
//!
//! All of it runs on the engine's threads.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::sqlparser::ast::Query;
use tokio::sync::oneshot;

use super::context::QueryContext;
use super::deadline::Deadline;
use super::engine::{Inner, UNLOADS_MAX};
use super::error::{Locations, QueryError};
use super::functions::FrameMemory;
use super::insights::Scans;
use super::names::Tables;
use super::pending::Started;
use super::prepare::{Prepared, PreparedColumn};
use super::results::Results;
use super::rows::ColumnInfo;
use super::source::Snapshot;
use super::statement::{self, Parameters, Statement};
use super::table::SnapshotTable;
use super::unload::{self, Unload, UnloadJob};
use super::{branches, catalog, deadline, names, prepare, rewrite, rows, spread, union, windows};

/// Which part of the time for a page an UNLOAD is waited for before the page is empty.
const UNLOAD_WAIT: f64 = 5.0 / 6.0;

/// A query ready to run.
struct Planned {
    state: SessionState,
    logical: LogicalPlan,
    plan: Arc<dyn ExecutionPlan>,
    columns: Arc<[ColumnInfo]>,
    scans: Scans,
}

impl Inner {
    /// From text to a running plan; `tell` learns of it.
    pub(crate) async fn run_text(
        &self,
        sql: &str,
        parameters: &Parameters,
        query_id: &str,
        deadline: Deadline,
        tell: oneshot::Sender<Started>,
    ) -> Result<Results, QueryError> {
        let statement = statement::parse(sql, parameters)?;
        if let Some(answer) = catalog::answer(&statement, self.source.as_ref()) {
            return answer;
        }
        match statement {
            Statement::Query(mut query) => {
                let (tables, locations) =
                    names::resolve(&mut query, self.source.as_ref(), &self.language.registry)?;
                rewrite::rewrite(&mut query, self.clock.now(), &self.language.registry)?;
                let done = self.run(*query, tables, deadline, tell).await;
                done.map_err(|error| QueryError::from_datafusion(&error, &locations))
            }
            // Its first page is the answer, so nobody is told that it runs.
            Statement::Unload(unload) => self.unload(*unload, query_id, deadline).await,
            _ => Err(QueryError::Internal("a statement without an answer".to_owned())),
        }
    }

    /// Begins an UNLOAD, once everything about it is known to be right.
    async fn unload(
        &self,
        unload: Unload,
        query_id: &str,
        deadline: Deadline,
    ) -> Result<Results, QueryError> {
        let Unload { select, bucket, prefix, options } = unload;
        let (planned, tables) = self.plan_select(select, &deadline).await?;
        let types = unload::check(&options, &planned.columns, &planned.plan.schema())?;
        let Some(buckets) = &self.options.buckets else {
            return Err(QueryError::Validation(
                "There are no buckets here that UNLOAD could write to".to_owned(),
            ));
        };
        let bucket = buckets.open_with(&bucket, &options.encryption).await.map_err(unload::outside)?;
        let turn = Arc::clone(&self.unloads).try_acquire_owned().map_err(|_| {
            QueryError::Throttled(format!("{UNLOADS_MAX} UNLOAD queries are running; try again later"))
        })?;
        let started = || -> Result<_, DataFusionError> {
            let plan = deadline::guard(planned.plan, &deadline)?;
            let observed = Arc::new(planned.scans.observe(&plan));
            Ok((observed, execute_stream(plan, planned.state.task_ctx())?))
        };
        let (observed, stream) =
            started().map_err(|error| QueryError::from_datafusion(&error, &Locations::default()))?;
        let job = UnloadJob {
            stream,
            tables: tables.into_values().collect(),
            columns: planned.columns,
            types,
            bucket,
            prefix,
            options,
            query_id: query_id.to_owned(),
            deadline,
            turn,
        };
        Ok(Results::unloading(job.start(), observed, self.options.timeout.mul_f64(UNLOAD_WAIT)))
    }

    /// Plans the select of an UNLOAD.
    async fn plan_select(
        &self,
        mut select: Box<Query>,
        deadline: &Deadline,
    ) -> Result<(Planned, Tables), QueryError> {
        let (tables, locations) = names::resolve(&mut select, self.source.as_ref(), &self.language.registry)?;
        rewrite::rewrite(&mut select, self.clock.now(), &self.language.registry)?;
        let planned = self.plan(*select, &tables, deadline).await;
        Ok((planned.map_err(|error| QueryError::from_datafusion(&error, &locations))?, tables))
    }

    async fn run(
        &self,
        query: Query,
        tables: Tables,
        deadline: Deadline,
        tell: oneshot::Sender<Started>,
    ) -> Result<Results, DataFusionError> {
        let Planned { state, plan, columns, scans, .. } = self.plan(query, &tables, &deadline).await?;
        let plan = deadline::guard(plan, &deadline)?;
        let observed = Arc::new(scans.observe(&plan));
        let stream = execute_stream(plan, state.task_ctx())?;
        // Nobody listens any more where the caller was quicker or went away.
        drop(tell.send(Started { columns: Arc::clone(&columns), observed: Arc::clone(&observed) }));
        Ok(Results::streamed(columns, stream, observed, tables.into_values().collect()))
    }

    async fn plan(
        &self,
        query: Query,
        tables: &Tables,
        deadline: &Deadline,
    ) -> Result<Planned, DataFusionError> {
        let mut state = match rewrite::has_try(&query) {
            true => self.state_for_try.clone(),
            false => self.state.clone(),
        };
        state.config_mut().options_mut().extensions.insert(deadline.clone());
        // Expressions of the running plan have their options from here.
        let options = Arc::clone(state.config_options());
        state.execution_props_mut().config_options = Some(options);
        let scans = Scans::default();
        let known = state.runtime_env().cache_manager.get_file_metadata_cache();
        let table = |(name, snapshot): (&(String, String), &Arc<Snapshot>)| {
            let (snapshot, known) = (Arc::clone(snapshot), Arc::clone(&known));
            Arc::new(SnapshotTable::new(
                name.clone(),
                snapshot,
                scans.clone(),
                known,
                self.options.rows_alone,
            ))
        };
        let scanned: Vec<Arc<SnapshotTable>> = tables.iter().map(table).collect();
        let sources = tables.keys().zip(&scanned).map(|(name, table)| {
            (name.clone(), provider_as_source(Arc::clone(table) as Arc<dyn TableProvider>))
        });
        let context = QueryContext {
            language: &self.language,
            options: state.config_options(),
            frames: FrameMemory::of(&state.runtime_env().memory_pool),
            tables: sources.collect(),
        };
        let planned = windows::mend(context.plan(query)?)?;
        branches::check(&planned)?;
        let logical = union::checked(planned)?;
        let optimised = state.optimize(&logical)?;
        if spread::joins(&optimised) {
            scanned.iter().for_each(|table| table.set_joined());
        }
        let most = state.config().target_partitions();
        let threads = spread::threads(&optimised, known.as_ref(), self.options.rows_alone, most);
        state.config_mut().options_mut().execution.target_partitions = threads;
        let plan = state.query_planner().create_physical_plan(&optimised, &state).await?;
        // Only now every CASE and UNION has the type of its rows; names may have changed on the way.
        let columns = rows::columns(logical.schema().as_arrow(), &plan.schema())?;
        Ok(Planned { state, logical, plan, columns, scans })
    }

    pub(super) async fn prepare(&self, sql: &str) -> Result<Prepared, QueryError> {
        let parameters = statement::parameters(sql)?;
        let values = parameters.iter().map(|name| (name.clone(), self.clock.now())).collect();
        let statement = statement::parse(sql, &values)?;
        if let Some(answer) = catalog::answer(&statement, self.source.as_ref()) {
            let column =
                |info: &ColumnInfo| PreparedColumn { info: info.clone(), table: None, aliased: false };
            return Ok(Prepared { columns: answer?.columns.iter().map(column).collect(), parameters });
        }
        let mut query = match statement {
            Statement::Query(query) => query,
            Statement::Unload(unload) => {
                let (planned, _) = self.plan_select(unload.select, &Deadline::default()).await?;
                unload::check(&unload.options, &planned.columns, &planned.plan.schema())?;
                let column = |info| PreparedColumn { info, table: None, aliased: false };
                return Ok(Prepared {
                    columns: unload::columns().into_iter().map(column).collect(),
                    parameters,
                });
            }
            _ => return Err(QueryError::Internal("a statement without an answer".to_owned())),
        };
        let aliased = prepare::aliased(&query);
        let (tables, locations) = names::resolve(&mut query, self.source.as_ref(), &self.language.registry)?;
        rewrite::rewrite(&mut query, self.clock.now(), &self.language.registry)?;
        let planned = self.plan(*query, &tables, &Deadline::default()).await;
        let planned = planned.map_err(|error| QueryError::from_datafusion(&error, &locations))?;
        let columns = prepare::columns(&planned.logical, &planned.columns, &aliased);
        Ok(Prepared { columns, parameters })
    }
}
