//! One table's snapshot as a scan: rows in memory beside Parquet files.
//!
//! The scan is made of DataFusion's own plan nodes only, so that a plan can be shipped to another
//! machine as it is. No sort order is declared, although parts are sorted: a declared order makes
//! DataFusion group through order-preserving exchanges, several times slower than hashing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, RecordBatch, TimestampNanosecondArray, new_null_array};
use datafusion::arrow::compute::{cast, max, min};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::physical_plan::union::UnionExec;

use super::insights::{Scan, Scans, bytes_of};
use super::part_reader::PartReaders;
use super::part_scan::{self, Known, ReadBefore, Split};
use super::prune::TimeRange;
use super::source::{Snapshot, SourcePart};
use super::texts::Texts;
use crate::clock::Timestamp;

/// Where the engine registers the source's object store.
pub(crate) const PARTS_URL: &str = "tidemill://parts";

/// The column every table has its rows' times in.
const TIME: &str = "time";

/// A snapshot DataFusion can scan.
#[derive(Debug)]
pub(crate) struct SnapshotTable {
    /// The database and the table.
    name: (String, String),
    snapshot: Arc<Snapshot>,
    /// Where scans are noted.
    scans: Scans,
    /// The metadata of parts that were read before.
    known: Arc<FileMetadataCache>,
    /// So few rows are not worth more than one scan.
    few: usize,
    /// The times of all rows, once somebody asked.
    times: OnceLock<Option<TimeRange>>,
    /// Filters that DataFusion was told it need not ask again.
    promised: Mutex<Vec<Texts>>,
    /// Whether the query joins.
    joined: AtomicBool,
}

impl SnapshotTable {
    /// A table of which `few` rows are not worth more than one scan.
    pub(crate) fn new(
        name: (String, String),
        snapshot: Arc<Snapshot>,
        scans: Scans,
        known: Arc<FileMetadataCache>,
        few: usize,
    ) -> Self {
        Self {
            name,
            snapshot,
            scans,
            known,
            few,
            times: OnceLock::new(),
            promised: Mutex::default(),
            joined: AtomicBool::new(false),
        }
    }

    /// Tells that the query joins: see [`SnapshotTable::late`].
    pub(crate) fn set_joined(&self) {
        self.joined.store(true, Ordering::Relaxed);
    }

    /// The parts that can have a row all of `filters` allow, by its time.
    pub(crate) fn parts_within(&self, filters: &[Expr]) -> impl Iterator<Item = &SourcePart> {
        let range = TimeRange::of(filters);
        let wanted = move |part: &&SourcePart| range.overlaps(part.time_min.nanos(), part.time_max.nanos());
        self.snapshot.parts.iter().filter(wanted)
    }

    /// How many rows are in no part.
    pub(crate) fn rows_in_memory(&self) -> usize {
        self.snapshot.memory.iter().map(RecordBatch::num_rows).sum()
    }

    fn memory(&self) -> Result<Vec<RecordBatch>> {
        let batches = self.snapshot.memory.iter().filter(|batch| batch.num_rows() > 0);
        batches.map(|batch| fill_up(batch, &self.snapshot.schema)).collect()
    }

    /// The plan that reads `files`, whose rows have been through all `filters` but these. Its groups of files are
    /// `fixed`, or DataFusion cuts files so that every thread has as many bytes.
    fn parts(
        &self,
        state: &dyn Session,
        files: Vec<FileGroup>,
        fixed: bool,
        Wanted { projection, filters, limit }: Wanted<'_>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if files.is_empty() {
            return Ok(None);
        }
        let url = ObjectStoreUrl::parse(PARTS_URL)?;
        let store = state.runtime_env().object_store(&url)?;
        let reader = Arc::new(PartReaders::new(store, Arc::clone(&self.known)));
        let times = self.times(state, filters)?;
        let mut source = ParquetSource::new(Arc::clone(&self.snapshot.schema))
            .with_pushdown_filters(times.is_some() || self.late(filters))
            .with_enable_page_index(true)
            .with_bloom_filter_on_read(true)
            .with_parquet_file_reader_factory(reader);
        if let Some(predicate) = times {
            source = source.with_predicate(predicate);
        }
        let known = files.iter().flat_map(FileGroup::iter).filter_map(|file| file.statistics.as_deref());
        let total = Statistics::try_merge_iter(known, &self.snapshot.schema)?;
        let groups = fixed.then(|| Partitioning::UnknownPartitioning(files.len()));
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(files)
            .with_output_partitioning(groups)
            .with_projection_indices(projection.cloned())?
            .with_statistics(total)
            .with_limit(limit)
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }

    /// Filters on texts that parts are sorted by, which most of the row groups that have such rows pass as a
    /// whole: mostly those on the measure name.
    fn passed_by_row_groups(&self, filters: &[&Expr]) -> Vec<Texts> {
        let sorted = |texts: &Texts| self.is_sorted_by(&texts.column);
        let wanted: Vec<Texts> =
            filters.iter().filter_map(|filter| Texts::of(filter)).filter(sorted).collect();
        if wanted.is_empty() {
            return wanted;
        }
        let filters: Vec<Expr> = filters.iter().copied().cloned().collect();
        let read = |part| (part, part_scan::readable(part, self.known.as_ref()));
        let parts: Vec<ReadBefore<'_>> = self.parts_within(&filters).map(read).collect();
        let reach =
            parts.iter().map(|part| part_scan::rows_with(part, &wanted)).fold(0, usize::saturating_add);
        if reach <= self.few {
            return Vec::new();
        }
        wanted.into_iter().filter(|one| part_scan::pass_as_a_whole(&parts, one)).collect()
    }

    /// The filters among these that DataFusion does not ask again.
    fn promised<'a>(&self, filters: &'a [Expr]) -> Vec<(&'a Expr, Texts)> {
        let promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |filter: &'a Expr| Texts::of(filter).filter(|texts| promised.contains(texts));
        filters.iter().filter_map(|filter| Some((filter, of(filter)?))).collect()
    }
}

/// What of rows is wanted.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    projection: Option<&'a Vec<usize>>,
    filters: &'a [Expr],
    limit: Option<usize>,
}

impl SnapshotTable {
    /// Whether the reader is to look at the columns of the filters first and at the others only where a row
    /// passed. That pays where rows that pass lie together, as those of one series or one hour do. Rows that
    /// are hot, or broken, lie everywhere: finding each of them among encoded values takes longer than to
    /// decode all. So do rows that a join will find something for, which DataFusion would ask here and again
    /// in the join.
    fn late(&self, filters: &[Expr]) -> bool {
        if self.joined.load(Ordering::Relaxed) {
            return false;
        }
        let mut asked = filters.iter().filter(|filter| !self.all_pass(filter)).peekable();
        let narrows =
            |filter: &Expr| filter.column_refs().iter().any(|column| self.is_sorted_by(&column.name));
        asked.peek().is_none() || asked.any(narrows)
    }

    /// Whether the rows of parts are sorted by this column among others.
    fn is_sorted_by(&self, column: &str) -> bool {
        let place = self.snapshot.schema.index_of(column).ok();
        let attribute = place.and_then(|place| self.snapshot.attributes.get(place));
        attribute.is_some_and(|attribute| matches!(*attribute, "DIMENSION" | "MEASURE_NAME" | "TIMESTAMP"))
    }

    /// What is not in the filters but must, or may, be asked of the time of a row: that it is not past
    /// retention, and what filters like `bin(time, 1h) > x` mean for it. Row groups and pages have bounds
    /// of the time, and none of a function of it.
    fn times(&self, state: &dyn Session, filters: &[Expr]) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let range = TimeRange::of(filters);
        let mut wanted = if range == TimeRange::spelled_out(filters) { TimeRange::ALL } else { range };
        let too_old = |oldest: &Timestamp| self.parts_within(filters).any(|part| part.time_min < *oldest);
        if let Some(oldest) = self.snapshot.oldest.filter(too_old) {
            wanted = wanted.since(oldest.nanos());
        }
        let schema = DFSchema::try_from(Arc::clone(&self.snapshot.schema))?;
        let filter = wanted.filter(Expr::Column(Column::from_name(TIME)));
        filter.map(|filter| state.create_physical_expr(filter, &schema)).transpose()
    }

    /// Whether all rows pass `filter`, by their times.
    fn all_pass(&self, filter: &Expr) -> bool {
        let times = self.times.get_or_init(|| self.times_of_rows());
        times.is_some_and(|times| times.passes(filter))
    }

    /// The times of all rows; nothing if there are none.
    fn times_of_rows(&self) -> Option<TimeRange> {
        let parts = self.snapshot.parts.iter().map(|part| (part.time_min.nanos(), part.time_max.nanos()));
        let memory = self.snapshot.memory.iter().filter(|batch| batch.num_rows() > 0).map(|batch| {
            let times = batch.column_by_name(TIME).and_then(|times| times.as_primitive_opt());
            let bounds = times.and_then(|times: &TimestampNanosecondArray| Some((min(times)?, max(times)?)));
            bounds.unwrap_or((i64::MIN, i64::MAX))
        });
        let both = parts.chain(memory).reduce(|(from, to), (min, max)| (from.min(min), to.max(max)));
        both.map(|(from, to)| TimeRange { from, to })
    }

    /// The plan that reads the rows in memory.
    fn in_memory(
        &self,
        rows: Vec<RecordBatch>,
        projection: Option<&Vec<usize>>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if rows.is_empty() {
            return Ok(None);
        }
        let schema = Arc::clone(&self.snapshot.schema);
        let plan = MemorySourceConfig::try_new_exec(&[rows], schema, projection.cloned())?;
        Ok(Some(plan))
    }

    /// The columns of `projection`, and behind them those that filters need.
    fn with_columns_of(
        &self,
        projection: Option<&Vec<usize>>,
        filters: &[Texts],
    ) -> Result<Option<Vec<usize>>> {
        let Some(projection) = projection else { return Ok(None) };
        let mut columns = projection.clone();
        for texts in filters {
            let column = self.snapshot.schema.index_of(&texts.column)?;
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        Ok(Some(columns))
    }

    /// What the manifest knows of a part, so that its file need not be opened to know it. A superseded row
    /// has the time of the row that took its place: the bounds are those of the visible rows.
    fn statistics(&self, part: &SourcePart) -> Statistics {
        let mut known = Statistics::new_unknown(&self.snapshot.schema);
        let superseded = part.superseded.as_ref().map_or(0, |superseded| superseded.len());
        let rows = usize::try_from(part.rows.saturating_sub(superseded)).unwrap_or(usize::MAX);
        // How many bytes they are, decoded, is not known: columns of two values are a hundredth in the file.
        known.num_rows = Precision::Exact(rows);
        let time = self.snapshot.schema.index_of(TIME).ok();
        if let Some(time) = time.and_then(|time| known.column_statistics.get_mut(time)) {
            let at = |moment: Timestamp| {
                Precision::Exact(ScalarValue::TimestampNanosecond(Some(moment.nanos()), None))
            };
            time.min_value = at(part.time_min);
            time.max_value = at(part.time_max);
            time.null_count = Precision::Exact(0);
        }
        known
    }
}

/// Asks the rows of `plan`; the answer has its first `columns`, or all of them.
fn ask(
    state: &dyn Session,
    plan: Arc<dyn ExecutionPlan>,
    filters: &[Expr],
    columns: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(plan) };
    let schema = DFSchema::try_from(plan.schema())?;
    let predicate = state.create_physical_expr(filter, &schema)?;
    let columns = columns.filter(|columns| *columns < schema.fields().len());
    let columns = columns.map(|columns| (0..columns).collect());
    Ok(Arc::new(FilterExecBuilder::new(predicate, plan).apply_projection(columns)?.build()?))
}

/// A batch with all columns of `schema`: what it lacks is NULL.
fn fill_up(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| {
        let column = batch.column_by_name(field.name());
        match column {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => Ok(cast(column, field.data_type())?),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        }
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_>>()?)?)
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.snapshot.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// A filter that all rows pass is done with; so is one that most row groups pass as a whole, for the scan
    /// asks the others. Of the rest a part: whole files, row groups and pages fall away, single rows do not.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let passed = self.passed_by_row_groups(filters);
        let support = |filter: &&Expr| {
            let exact =
                self.all_pass(filter) || Texts::of(filter).is_some_and(|texts| passed.contains(&texts));
            if exact { TableProviderFilterPushDown::Exact } else { TableProviderFilterPushDown::Inexact }
        };
        let supports = filters.iter().map(support).collect();
        self.promised.lock().unwrap_or_else(PoisonError::into_inner).extend(passed);
        Ok(supports)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let memory = self.memory()?;
        let (database, table) = self.name.clone();
        self.scans.note(Scan {
            database,
            table,
            snapshot: Arc::clone(&self.snapshot),
            range: TimeRange::of(filters),
            memory_bytes: bytes_of(&memory, projection),
        });
        let threads = state.config().target_partitions();
        let parts = self.parts_within(filters).map(|part| Known { part, statistics: self.statistics(part) });
        let parts: Vec<Known<'_>> = parts.collect();
        let promised = self.promised(filters);
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(3);
        if promised.is_empty() {
            plans.extend(self.in_memory(memory, projection)?);
            if !parts.is_empty() {
                let files = part_scan::grouped(&parts, threads);
                plans.extend(self.parts(state, files, false, Wanted { projection, filters, limit })?);
            }
        } else {
            let (asked, texts): (Vec<Expr>, Vec<Texts>) =
                promised.into_iter().map(|(filter, texts)| (filter.clone(), texts)).unzip();
            let Split { whole, rest } = Split::of(&parts, &texts, self.known.as_ref(), threads);
            let columns = self.with_columns_of(projection, &texts)?;
            let wanted = Wanted { projection: columns.as_ref(), filters, limit: None };
            let unsure = [self.in_memory(memory, columns.as_ref())?, self.parts(state, rest, false, wanted)?];
            for plan in unsure.into_iter().flatten() {
                plans.push(ask(state, plan, &asked, projection.map(Vec::len))?);
            }
            let others: Vec<Expr> =
                filters.iter().filter(|filter| !asked.contains(filter)).cloned().collect();
            plans.extend(self.parts(state, whole, true, Wanted { projection, filters: &others, limit })?);
        }
        match plans.len() {
            0 => {
                let schema = match projection {
                    Some(columns) => Arc::new(self.snapshot.schema.project(columns)?),
                    None => Arc::clone(&self.snapshot.schema),
                };
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}
