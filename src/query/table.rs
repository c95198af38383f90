//! One table's snapshot as a scan: rows in memory beside Parquet files.
//!
//! The scan is made of DataFusion's own plan nodes only, so that a plan can be shipped to another
//! machine as it is. No sort order is declared, although parts are sorted: a declared order makes
//! DataFusion group through order-preserving exchanges, several times slower than hashing.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, RecordBatch, TimestampNanosecondArray, new_null_array};
use datafusion::arrow::compute::{cast, max, min};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use roaring::RoaringBitmap;

use super::insights::{Scan, Scans, bytes_of};
use super::part_reader::PartReaders;
use super::prune::TimeRange;
use super::source::{Snapshot, SourcePart};
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
    /// The times of all rows, once somebody asked.
    times: OnceLock<Option<TimeRange>>,
}

impl SnapshotTable {
    pub(crate) fn new(name: (String, String), snapshot: Arc<Snapshot>, scans: Scans) -> Self {
        Self { name, snapshot, scans, times: OnceLock::new() }
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

    fn parts(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let parts: Vec<&SourcePart> = self.parts_within(filters).collect();
        if parts.is_empty() {
            return Ok(None);
        }
        let url = ObjectStoreUrl::parse(PARTS_URL)?;
        let runtime = state.runtime_env();
        let store = runtime.object_store(&url)?;
        let metadata = runtime.cache_manager.get_file_metadata_cache();
        let reader = Arc::new(PartReaders::new(store, metadata));
        let times = self.times(state, filters, &parts)?;
        let mut source = ParquetSource::new(Arc::clone(&self.snapshot.schema))
            .with_pushdown_filters(times.is_some() || self.late(filters))
            .with_enable_page_index(true)
            .with_bloom_filter_on_read(true)
            .with_parquet_file_reader_factory(reader);
        if let Some(predicate) = times {
            source = source.with_predicate(predicate);
        }
        let known: Vec<Statistics> = parts.iter().map(|part| self.known(part)).collect();
        let total = Statistics::try_merge_iter(&known, &self.snapshot.schema)?;
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(grouped(parts.into_iter().zip(known), state.config().target_partitions()))
            .with_projection_indices(projection.cloned())?
            .with_statistics(total)
            .with_limit(limit)
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }
}

impl SnapshotTable {
    /// Whether the reader is to look at the columns of the filters first and at the others only where a row
    /// passed. That pays where rows that pass lie together, as those of one series or one hour do. Rows that
    /// are hot, or broken, lie everywhere: finding each of them among encoded values takes longer than to
    /// decode all.
    fn late(&self, filters: &[Expr]) -> bool {
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
    fn times(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        parts: &[&SourcePart],
    ) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let range = TimeRange::of(filters);
        let mut wanted = if range == TimeRange::spelled_out(filters) { TimeRange::ALL } else { range };
        if let Some(oldest) = self.snapshot.oldest.filter(|oldest| parts.iter().any(|p| p.time_min < *oldest))
        {
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

    /// What the manifest knows of a part, so that its file need not be opened to know it. A superseded row
    /// has the time of the row that took its place: the bounds are those of the visible rows.
    fn known(&self, part: &SourcePart) -> Statistics {
        let mut known = Statistics::new_unknown(&self.snapshot.schema);
        let superseded = part.superseded.as_ref().map_or(0, |superseded| superseded.len());
        let rows = usize::try_from(part.rows.saturating_sub(superseded)).unwrap_or(usize::MAX);
        known.num_rows = Precision::Exact(rows);
        known.total_byte_size = Precision::Inexact(usize::try_from(part.bytes).unwrap_or(usize::MAX));
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

/// Files in as many groups as there are threads, each group about as heavy as the others.
fn grouped<'a>(
    parts: impl ExactSizeIterator<Item = (&'a SourcePart, Statistics)>,
    groups: usize,
) -> Vec<FileGroup> {
    let groups = groups.clamp(1, parts.len().max(1));
    let mut filled: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); groups];
    for (part, known) in parts {
        let lightest = filled.iter_mut().min_by_key(|(bytes, _)| *bytes);
        if let Some((bytes, files)) = lightest {
            *bytes += part.bytes;
            files.push(file(part).with_statistics(Arc::new(known)));
        }
    }
    filled.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
}

fn file(part: &SourcePart) -> PartitionedFile {
    let file = PartitionedFile::new(part.path.as_ref(), part.bytes);
    match part.superseded.as_ref().filter(|superseded| !superseded.is_empty()) {
        Some(superseded) => file.with_extension(ParquetRowSelection::new(selection(superseded, part.rows))),
        None => file,
    }
}

/// The rows of a file of `rows` rows that are not superseded.
fn selection(superseded: &RoaringBitmap, rows: u64) -> RowSelection {
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    let mut selectors = Vec::new();
    let mut next = 0_usize;
    for row in superseded.iter().map(|row| row as usize).take_while(|row| *row < rows) {
        if row > next {
            selectors.push(RowSelector::select(row - next));
        }
        selectors.push(RowSelector::skip(1));
        next = row + 1;
    }
    if rows > next {
        selectors.push(RowSelector::select(rows - next));
    }
    selectors.into()
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.snapshot.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// A filter that all rows pass is done with. Of others a part: whole files, row groups and pages fall
    /// away, single rows in memory do not.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match self.all_pass(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(2);
        let memory = self.memory()?;
        let (database, table) = self.name.clone();
        self.scans.note(Scan {
            database,
            table,
            snapshot: Arc::clone(&self.snapshot),
            range: TimeRange::of(filters),
            memory_bytes: bytes_of(&memory, projection),
        });
        if !memory.is_empty() {
            let schema = Arc::clone(&self.snapshot.schema);
            plans.push(MemorySourceConfig::try_new_exec(&[memory], schema, projection.cloned())?);
        }
        plans.extend(self.parts(state, projection, filters, limit)?);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superseded_rows_are_skipped_and_no_other() {
        let superseded: RoaringBitmap = [0, 3, 4, 9].into_iter().collect();
        let expected = vec![
            RowSelector::skip(1),
            RowSelector::select(2),
            RowSelector::skip(2),
            RowSelector::select(4),
            RowSelector::skip(1),
        ];
        assert_eq!(selection(&superseded, 10), RowSelection::from(expected));
        let beyond: RoaringBitmap = [1, 7].into_iter().collect();
        assert_eq!(selection(&beyond, 3).row_count(), 2);
    }
}
