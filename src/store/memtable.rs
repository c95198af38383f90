//! The rows of a table that are in no part yet.
//!
//! Rows are appended and keep their number. A row is visible once the frame that carries it is on
//! disk; frames are appended in the order of their LSN, so the visible rows are always a prefix.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::filter_record_batch;
use roaring::RoaringBitmap;

use super::chunk::{Chunk, OpenRows};
use super::schema::{TableSchema, ValueColumn, value_type};
use super::series::{SeriesIndex, SeriesKey};
use super::wal::position::Lsn;
use crate::record::{MeasureValue, Record};

/// A chunk is sealed when it has this many rows.
const CHUNK_ROWS: usize = 8192;

/// A snapshot seals the open chunk when it has this many rows; fewer are copied for it.
const SEAL_ROWS_MIN: usize = 1024;

/// Memory per row beside its values and dimensions: series, time, version, index entry, frame.
const ROW_BYTES: usize = 64;

/// Rows in memory.
#[derive(Debug)]
pub(crate) struct Memtable {
    index: SeriesIndex,
    sealed: Vec<Sealed>,
    open: OpenRows,
    open_start: u32,
    frames: VecDeque<(Lsn, u32)>,
    settled: u32,
    first: Option<Lsn>,
    last: Lsn,
    bytes: usize,
    since: Instant,
}

#[derive(Debug, Clone)]
struct Sealed {
    start: u32,
    chunk: Arc<Chunk>,
}

/// The visible part of a chunk.
#[derive(Debug)]
pub(crate) struct ChunkView {
    sealed: Sealed,
    visible: u32,
    hidden: Option<Arc<RoaringBitmap>>,
}

impl Memtable {
    pub(crate) fn new() -> Self {
        Self {
            index: SeriesIndex::default(),
            sealed: Vec::new(),
            open: OpenRows::default(),
            open_start: 0,
            frames: VecDeque::new(),
            settled: 0,
            first: None,
            last: Lsn::START,
            bytes: 0,
            since: Instant::now(),
        }
    }

    /// Appends a row with the values that `put` appends, of `series` if that is known, which stays invisible
    /// until [`Memtable::end_frame`] and the sync of that frame.
    pub(crate) fn append(
        &mut self,
        key: &SeriesKey,
        series: Option<u32>,
        record: &Record,
        put: impl FnOnce(&mut Vec<(u16, MeasureValue)>),
        columns: &[ValueColumn],
    ) -> u32 {
        let (series, bytes) = self.index.intern(key, series, record);
        self.bytes += bytes;
        self.push(series, record.time.nanos(), record.version, record.dimensions.len(), put, columns)
    }

    /// The same for a row of a known series with so many dimensions.
    pub(crate) fn push(
        &mut self,
        series: u32,
        time: i64,
        version: i64,
        dimensions: usize,
        put: impl FnOnce(&mut Vec<(u16, MeasureValue)>),
        columns: &[ValueColumn],
    ) -> u32 {
        let row = self.rows();
        if row == 0 {
            self.since = Instant::now();
        }
        self.index.set_row(series, time, row);
        // What a snapshot spreads the dimensions to counts from the start.
        let views = 16 * (dimensions + 1);
        let values = self.open.push(series, time, version, put);
        self.bytes += ROW_BYTES + views + value_bytes(values);
        if self.open.len() >= CHUNK_ROWS {
            self.seal(columns);
        }
        row
    }

    /// Ends the frame that carries the rows appended since the last call.
    pub(crate) fn end_frame(&mut self, lsn: Lsn, durable: Lsn) {
        while let Some(&(_, end)) = self.frames.front().filter(|(lsn, _)| *lsn <= durable) {
            self.settled = end;
            self.frames.pop_front();
        }
        self.frames.push_back((lsn, self.rows()));
        self.first.get_or_insert(lsn);
        self.last = lsn;
    }

    /// Seals what is open.
    pub(crate) fn seal(&mut self, columns: &[ValueColumn]) {
        if self.open.len() == 0 {
            return;
        }
        let chunk = Arc::new(Chunk::seal(&self.open, self.open.len(), &self.index, columns));
        self.sealed.push(Sealed { start: self.open_start, chunk });
        self.open_start = self.rows();
        self.open.clear();
    }

    pub(crate) fn rows(&self) -> u32 {
        self.open_start + u32::try_from(self.open.len()).expect("at most a chunk is open")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first row came.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// The frame of the first row.
    pub(crate) fn first(&self) -> Option<Lsn> {
        self.first
    }

    /// The frame of the last row.
    pub(crate) fn last(&self) -> Lsn {
        self.last
    }

    pub(crate) fn index(&self) -> &SeriesIndex {
        &self.index
    }

    /// The newest row of a series at a time.
    pub(crate) fn find(&self, key: &[u8], time: i64) -> Option<u32> {
        self.index.row(self.index.find(key)?, time)
    }

    pub(crate) fn version(&self, row: u32) -> i64 {
        match row.checked_sub(self.open_start) {
            Some(open) => self.open.version(open as usize),
            None => {
                let (sealed, at) = self.locate(row);
                sealed.chunk.version(at)
            }
        }
    }

    /// Calls `test` with the values of a row.
    pub(crate) fn with_values<T>(&self, row: u32, test: impl FnOnce(&[(u16, MeasureValue)]) -> T) -> T {
        match row.checked_sub(self.open_start) {
            Some(open) => test(self.open.values(open as usize)),
            None => {
                let (sealed, at) = self.locate(row);
                test(&sealed.chunk.row_values(at))
            }
        }
    }

    fn locate(&self, row: u32) -> (&Sealed, usize) {
        let after = self.sealed.partition_point(|sealed| sealed.start <= row);
        let sealed = &self.sealed[after - 1];
        (sealed, (row - sealed.start) as usize)
    }

    /// How many rows are visible when everything up to `durable` is on disk.
    fn visible(&self, durable: Lsn) -> u32 {
        let synced = self.frames.partition_point(|(lsn, _)| *lsn <= durable);
        synced.checked_sub(1).map_or(self.settled, |at| self.frames[at].1)
    }

    /// The visible rows without the `hidden` ones. Seals or copies what is open.
    pub(crate) fn view(
        &mut self,
        durable: Lsn,
        hidden: Option<Arc<RoaringBitmap>>,
        columns: &[ValueColumn],
    ) -> Vec<ChunkView> {
        if self.open.len() >= SEAL_ROWS_MIN {
            self.seal(columns);
        }
        let mut views = self.view_sealed(durable, hidden.clone());
        let visible = self.visible(durable).saturating_sub(self.open_start);
        if visible > 0 {
            let chunk = Arc::new(Chunk::seal(&self.open, visible as usize, &self.index, columns));
            let sealed = Sealed { start: self.open_start, chunk };
            views.push(ChunkView { sealed, visible, hidden });
        }
        views
    }

    /// The same for a memtable that is sealed as a whole.
    pub(crate) fn view_sealed(&self, durable: Lsn, hidden: Option<Arc<RoaringBitmap>>) -> Vec<ChunkView> {
        let visible = self.visible(durable);
        let chunks = self.sealed.iter().filter(|sealed| sealed.start < visible);
        chunks
            .map(|sealed| ChunkView {
                sealed: sealed.clone(),
                visible: visible - sealed.start,
                hidden: hidden.clone(),
            })
            .collect()
    }

    /// The columns of values that any row has, for [`Memtable::column`].
    pub(crate) fn value_places(&self, columns: &[ValueColumn]) -> Vec<usize> {
        let any = |place: &usize| self.sealed.iter().any(|sealed| sealed.chunk.value(*place).is_some());
        (0..columns.len()).filter(any).collect()
    }

    /// Chunk and place in it of every row. The memtable must be sealed as a whole.
    pub(crate) fn locations(&self, rows: impl Iterator<Item = u32>) -> Vec<(usize, usize)> {
        rows.map(|row| {
            let at = self.sealed.partition_point(|sealed| sealed.start <= row) - 1;
            (at, (row - self.sealed[at].start) as usize)
        })
        .collect()
    }

    /// A column as one array per chunk, for `interleave` with [`Memtable::locations`].
    pub(crate) fn column(&self, column: Gathered<'_>) -> Vec<ArrayRef> {
        let of_chunk = |Sealed { chunk, .. }: &Sealed| match column {
            Gathered::Time => Arc::new(chunk.times().clone()) as ArrayRef,
            Gathered::Version => Arc::new(chunk.versions().clone()),
            Gathered::Value(place, column) => chunk
                .value(place)
                .cloned()
                .unwrap_or_else(|| new_null_array(&value_type(column.value), chunk.rows())),
        };
        self.sealed.iter().map(of_chunk).collect()
    }
}

/// A column that is kept per row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gathered<'a> {
    Time,
    Version,
    Value(usize, &'a ValueColumn),
}

impl ChunkView {
    /// The rows with the columns of `schema`; `None` when all are hidden.
    pub(crate) fn batch(&self, schema: &TableSchema) -> Option<RecordBatch> {
        let chunk = &self.sealed.chunk;
        let rows = chunk.rows().min(self.visible as usize);
        let batch = chunk.batch(schema).slice(0, rows);
        let end = self.sealed.start + u32::try_from(rows).expect("at most a chunk");
        let range = self.sealed.start..end;
        let Some(hidden) = self.hidden.as_ref().filter(|hidden| hidden.range_cardinality(range.clone()) > 0)
        else {
            return Some(batch);
        };
        let shown: BooleanArray = range.map(|row| Some(!hidden.contains(row))).collect();
        let batch = filter_record_batch(&batch, &shown).expect("the filter has one bit per row");
        (batch.num_rows() > 0).then_some(batch)
    }
}

fn value_bytes(values: &[(u16, MeasureValue)]) -> usize {
    values
        .iter()
        .map(|(_, value)| match value {
            // Until the chunk is sealed a text is an allocation of its own.
            MeasureValue::Varchar(text) => text.len() + 48,
            _ => 40,
        })
        .sum()
}

#[cfg(test)]
mod tests;
