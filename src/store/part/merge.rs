//! Merges parts into one: rows in file order, without those that are superseded or too old.
//!
//! Of each part one batch is in memory, of the new part one row group. What stays afterwards is a
//! byte per row: which part it came from, enough to find any row of an old part in the new one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampNanosecondType};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use roaring::RoaringBitmap;

use super::encode::{self, PartColumn, PartStream, ROW_GROUP_ROWS};
use super::reader::PartReader;
use super::{PartFile, PartMeta};
use crate::clock::Timestamp;
use crate::store::schema::{ColumnKind, MEASURE_NAME, TIME, TableSchema, VERSION};

/// Rows that are read or written at once, fewer when they are large.
const BATCH_ROWS: usize = 8192;

/// Bytes of rows, as far as the metadata tells, that are read at once of each part.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// A part to be merged and the rows of it to leave out.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) file: Arc<PartFile>,
    pub(crate) hidden: Arc<RoaringBitmap>,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Order {
    /// At most 256.
    pub(crate) inputs: Vec<Input>,
    pub(crate) schema: Arc<TableSchema>,
    /// Rows before are left out.
    pub(crate) cutoff: Option<Timestamp>,
    pub(crate) path: Path,
}

/// A new part, and where the rows of the old ones went.
#[derive(Debug)]
pub(crate) struct Merged {
    /// `None` when no row was left.
    pub(crate) meta: Option<PartMeta>,
    /// How many rows were left out for their age.
    pub(crate) aged: u64,
    /// Of each row, which input it came from.
    sources: Vec<u8>,
    /// Of each input, the rows that were left out.
    skipped: Vec<RoaringBitmap>,
}

/// Why there is no new part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeFault {
    #[error("the merge was told to stop")]
    Stopped,
    #[error("{0}")]
    Parquet(#[from] ParquetError),
}

impl Merged {
    /// What comes of leaving out all rows, `aged` of them.
    pub(crate) fn nothing(aged: u64) -> Self {
        Self { meta: None, aged, sources: Vec::new(), skipped: Vec::new() }
    }

    /// Where rows of the inputs are in the new part; rows that were left out are missing.
    pub(crate) fn places(&self, wanted: &BTreeSet<(usize, u32)>) -> HashMap<(usize, u32), u32> {
        // The rows of an input keep their order: the n-th kept row is its n-th in the new part.
        let mut ranks: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.skipped.len()];
        for &(input, row) in wanted {
            let Some(skipped) = self.skipped.get(input) else { continue };
            if !skipped.contains(row) {
                let before = u32::try_from(skipped.rank(row)).expect("rows have 32-bit numbers");
                ranks[input].push((row - before, row));
            }
        }
        let mut places = HashMap::with_capacity(wanted.len());
        if ranks.iter().all(Vec::is_empty) {
            return places;
        }
        let mut seen = vec![0_u32; ranks.len()];
        let mut next = vec![0_usize; ranks.len()];
        for (place, source) in (0_u32..).zip(&self.sources) {
            let input = usize::from(*source);
            if let Some((rank, row)) = ranks[input].get(next[input])
                && *rank == seen[input]
            {
                places.insert((input, *row), place);
                next[input] += 1;
            }
            seen[input] += 1;
        }
        places
    }
}

/// Merges; the new part is complete in the object store but not synced when this returns.
pub(crate) async fn merge(
    store: &Arc<dyn ObjectStore>,
    order: Order,
    stop: impl Fn() -> bool,
) -> Result<Merged, MergeFault> {
    let mut opened = Vec::with_capacity(order.inputs.len());
    for input in &order.inputs {
        opened.push(Opened::new(store, &input.file).await?);
    }
    let columns = columns(&order.schema, &opened);
    let mut cursors = Vec::with_capacity(opened.len());
    for (opened, input) in opened.into_iter().zip(&order.inputs) {
        cursors.push(Cursor::new(opened, input, &order.schema, &columns, order.cutoff)?);
    }
    let mut merge = Merge {
        cursors,
        held: Vec::new(),
        picked: Vec::with_capacity(BATCH_ROWS),
        sources: Vec::new(),
        times: None,
        part: None,
    };
    let part = match merge.run(store, &order.path, &columns, stop).await {
        Ok(()) => merge.part.take(),
        Err(fault) => {
            if let Some(part) = merge.part.take() {
                part.abort().await?;
            }
            return Err(fault);
        }
    };
    let meta = match (part, merge.times) {
        (Some(part), Some((time_min, time_max))) => {
            let (bytes, seal) = part.finish().await?;
            Some(PartMeta {
                path: order.path,
                bytes,
                rows: merge.sources.len() as u64,
                time_min: Timestamp::from_nanos(time_min),
                time_max: Timestamp::from_nanos(time_max),
                seal,
            })
        }
        _ => None,
    };
    let aged = merge.cursors.iter().map(|cursor| cursor.aged).sum();
    let skipped = merge.cursors.into_iter().map(|cursor| cursor.skipped).collect();
    Ok(Merged { meta, aged, sources: merge.sources, skipped })
}

/// A part whose metadata was read.
struct Opened {
    reader: PartReader,
    metadata: ArrowReaderMetadata,
}

impl Opened {
    async fn new(store: &Arc<dyn ObjectStore>, file: &PartFile) -> Result<Self, ParquetError> {
        let mut reader = PartReader::new(Arc::clone(store), file.meta.path.clone(), file.meta.bytes);
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let plain = ArrowReaderMetadata::load_async(&mut reader, options.clone()).await?;
        // Views share one copy of a text that many rows have.
        let views = options.with_schema(with_views(plain.schema()));
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), views)?;
        Ok(Self { reader, metadata })
    }

    fn has(&self, name: &str) -> bool {
        self.metadata.schema().column_with_name(name).is_some()
    }

    fn stream(self) -> Result<ParquetRecordBatchStream<PartReader>, ParquetError> {
        let groups = self.metadata.metadata().row_groups().iter();
        let (bytes, rows) = groups.fold((0, 0), |(bytes, rows), group| {
            (bytes + group.total_byte_size().unsigned_abs(), rows + group.num_rows().unsigned_abs())
        });
        let row_bytes = bytes / rows.max(1);
        let fitting = usize::try_from(BATCH_BYTES / row_bytes.max(1)).unwrap_or(BATCH_ROWS);
        ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader, self.metadata)
            .with_batch_size(fitting.clamp(16, BATCH_ROWS))
            .build()
    }
}

fn with_views(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 => Field::clone(field).with_data_type(DataType::Utf8View),
        _ => Field::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The columns that any of the parts has, in file order.
fn columns(schema: &TableSchema, parts: &[Opened]) -> Vec<PartColumn> {
    let rows: usize = parts
        .iter()
        .map(|part| part.metadata.metadata().file_metadata().num_rows())
        .fold(0, |sum: usize, rows| sum.saturating_add(usize::try_from(rows).unwrap_or(0)));
    let column = |name: &str, kind: ColumnKind, distinct| PartColumn {
        name: name.to_owned(),
        data_type: kind.data_type(),
        distinct,
    };
    let any = |name: &str| parts.iter().any(|part| part.has(name));
    let mut columns = Vec::new();
    for name in schema.dimensions().iter().filter(|name| any(name)) {
        columns.push(column(name, ColumnKind::Dimension, Some(rows.min(ROW_GROUP_ROWS) as u64)));
    }
    columns.push(column(MEASURE_NAME, ColumnKind::MeasureName, None));
    columns.push(column(TIME, ColumnKind::Time, None));
    for value in schema.values().iter().filter(|value| any(&value.name)) {
        columns.push(column(&value.name, value.kind(), None));
    }
    columns.push(PartColumn { name: VERSION.to_owned(), data_type: DataType::Int64, distinct: None });
    columns
}

/// A key that sorts as bytes the way rows are sorted in parts; time comes after it.
type SortKey = (Vec<u8>, i64);

/// Walks the kept rows of one part.
struct Cursor {
    stream: ParquetRecordBatchStream<PartReader>,
    columns: SchemaRef,
    /// The place of each dimension among the columns, with its place in the schema.
    dimensions: Vec<(u16, usize)>,
    skipped: RoaringBitmap,
    cutoff: i64,
    aged: u64,
    batch: Option<RecordBatch>,
    /// The row in the batch, and the number of the batch's first row in the part.
    row: usize,
    first: u32,
    key: SortKey,
    /// Which of the held batches `batch` is.
    held: usize,
}

impl Cursor {
    fn new(
        part: Opened,
        input: &Input,
        schema: &TableSchema,
        columns: &[PartColumn],
        cutoff: Option<Timestamp>,
    ) -> Result<Self, ParquetError> {
        let place = |(at, column): (usize, &PartColumn)| Some((schema.dimension(&column.name)?, at));
        let mut dimensions: Vec<(u16, usize)> = columns.iter().enumerate().filter_map(place).collect();
        dimensions.sort_unstable();
        let stream = part.stream()?;
        Ok(Self {
            stream,
            columns: encode::schema(columns),
            dimensions,
            skipped: RoaringBitmap::clone(&input.hidden),
            cutoff: cutoff.map_or(i64::MIN, Timestamp::nanos),
            aged: 0,
            batch: None,
            row: 0,
            first: 0,
            key: SortKey::default(),
            held: 0,
        })
    }

    /// Goes to the next row that is kept; `false` at the end of the batch.
    fn advance(&mut self, from: usize) -> bool {
        let Some(batch) = &self.batch else { return false };
        let times = batch.column(self.columns.index_of(TIME).expect("every part has times"));
        let times = times.as_primitive::<TimestampNanosecondType>().values();
        for (row, time) in times.iter().enumerate().skip(from) {
            let number = self.first + u32::try_from(row).expect("a batch is small");
            if self.skipped.contains(number) {
                continue;
            }
            if *time < self.cutoff {
                self.skipped.insert(number);
                self.aged += 1;
                continue;
            }
            self.row = row;
            write_sort_key(&mut self.key.0, batch, &self.dimensions, row);
            self.key.1 = *time;
            return true;
        }
        false
    }

    /// Reads batches until one has a row that is kept; `false` at the end of the part.
    async fn load(&mut self) -> Result<bool, ParquetError> {
        loop {
            if let Some(batch) = self.batch.take() {
                let rows = u32::try_from(batch.num_rows()).expect("a batch is small");
                let too_many = || ParquetError::General("the part has more than 2^32 rows".to_owned());
                self.first = self.first.checked_add(rows).ok_or_else(too_many)?;
            }
            let Some(batch) = self.stream.try_next().await? else { return Ok(false) };
            self.batch = Some(completed(&batch, &self.columns)?);
            if self.advance(0) {
                return Ok(true);
            }
        }
    }
}

/// The batch with the columns of the new part.
fn completed(batch: &RecordBatch, columns: &SchemaRef) -> Result<RecordBatch, ParquetError> {
    let column = |field: &Arc<Field>| -> ArrayRef {
        let absent = || new_null_array(field.data_type(), batch.num_rows());
        batch.column_by_name(field.name()).cloned().unwrap_or_else(absent)
    };
    // Fails when a column has another type than was written, or lacks what it must not lack.
    Ok(RecordBatch::try_new(Arc::clone(columns), columns.fields().iter().map(column).collect())?)
}

fn write_sort_key(out: &mut Vec<u8>, batch: &RecordBatch, dimensions: &[(u16, usize)], row: usize) {
    out.clear();
    let measure_name = batch.column_by_name(MEASURE_NAME).expect("every part has measure names");
    put_sortable(out, measure_name.as_string_view().value(row));
    for (place, at) in dimensions {
        let column = batch.column(*at);
        if !column.is_null(row) {
            out.extend_from_slice(&place.to_be_bytes());
            put_sortable(out, column.as_string_view().value(row));
        }
    }
}

/// Texts that are not prefixes of each other whatever follows: the end sorts before every byte.
fn put_sortable(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

struct Merge {
    cursors: Vec<Cursor>,
    /// The batches that `picked` refers to.
    held: Vec<RecordBatch>,
    /// Rows of the new part that are not written yet: batch and row in it.
    picked: Vec<(usize, usize)>,
    sources: Vec<u8>,
    times: Option<(i64, i64)>,
    part: Option<PartStream>,
}

impl Merge {
    async fn run(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        path: &Path,
        columns: &[PartColumn],
        stop: impl Fn() -> bool,
    ) -> Result<(), MergeFault> {
        let mut live = Vec::with_capacity(self.cursors.len());
        for at in 0..self.cursors.len() {
            if self.load(at).await? {
                live.push(at);
            }
        }
        loop {
            // A merge is of few parts: looking at all of them beats a heap.
            live.sort_by(|a, b| self.cursors[*a].key.cmp(&self.cursors[*b].key));
            let Some(&first) = live.first() else { break };
            let exhausted = self.take_run(first, live.get(1).copied());
            let full = self.picked.len() >= BATCH_ROWS;
            if full || (exhausted && self.held.len() > 4 * self.cursors.len()) {
                if stop() {
                    return Err(MergeFault::Stopped);
                }
                self.write(store, path, columns).await?;
            }
            if exhausted && !self.load(first).await? {
                live.remove(0);
            }
        }
        self.write(store, path, columns).await
    }

    /// Takes rows of one part until another's is due or enough are picked; `true` at the end of its
    /// batch.
    fn take_run(&mut self, first: usize, second: Option<usize>) -> bool {
        let source = u8::try_from(first).expect("at most 256 parts are merged");
        let limit = second.map(|second| self.cursors[second].key.clone());
        let cursor = &mut self.cursors[first];
        loop {
            let time = cursor.key.1;
            let (min, max) = self.times.unwrap_or((time, time));
            self.times = Some((min.min(time), max.max(time)));
            self.picked.push((cursor.held, cursor.row));
            self.sources.push(source);
            if !cursor.advance(cursor.row + 1) {
                return true;
            }
            let others_turn = limit.as_ref().is_some_and(|limit| cursor.key > *limit);
            if others_turn || self.picked.len() >= BATCH_ROWS {
                return false;
            }
        }
    }

    async fn load(&mut self, at: usize) -> Result<bool, ParquetError> {
        let cursor = &mut self.cursors[at];
        let more = cursor.load().await?;
        if let Some(batch) = &cursor.batch {
            cursor.held = self.held.len();
            self.held.push(batch.clone());
        }
        Ok(more)
    }

    /// Writes what is picked and lets go of the batches that were read to their end.
    async fn write(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        path: &Path,
        columns: &[PartColumn],
    ) -> Result<(), MergeFault> {
        if !self.picked.is_empty() {
            let batches: Vec<&RecordBatch> = self.held.iter().collect();
            let rows = interleave_record_batch(&batches, &self.picked).map_err(ParquetError::from)?;
            let part = match &mut self.part {
                Some(part) => part,
                none => none.insert(PartStream::new(store, path.clone(), columns)?),
            };
            part.write(&rows).await?;
            self.picked.clear();
        }
        self.held.clear();
        for cursor in &mut self.cursors {
            cursor.held = self.held.len();
            self.held.extend(cursor.batch.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
