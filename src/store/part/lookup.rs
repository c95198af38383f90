//! Finds rows of parts by their identity, for writes that come late.
//!
//! Of each part that is asked, the keys are read once and kept as a sorted list of hashes with row
//! numbers, 12 bytes per row, in a cache with a bound. A hash that matches is verified by reading
//! that one row, so a collision costs a read and never an answer.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;

use super::PartFile;
use super::reader::PartReader;
use crate::record::MeasureValue;
use crate::store::chunk::value_at;
use crate::store::error::StoreError;
use crate::store::schema::{MEASURE_NAME, TIME, TableSchema, VERSION, single_column};
use crate::store::series::write_key;

/// The identity of a row that may be in a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Which record asks.
    pub(crate) index: usize,
    /// The key of its series.
    pub(crate) key: Vec<u8>,
    pub(crate) time: i64,
}

/// A row of a part.
#[derive(Debug, Clone)]
pub(crate) struct PartRow {
    pub(crate) row: u32,
    pub(crate) version: i64,
    pub(crate) values: Vec<(u16, MeasureValue)>,
}

/// Looks rows up in parts.
#[derive(Debug)]
pub(crate) struct Lookup {
    store: Arc<dyn ObjectStore>,
    hasher: RandomState,
    cache: Mutex<Cache>,
}

#[derive(Debug)]
struct Cache {
    /// The most recently used last.
    entries: VecDeque<(Path, Arc<PartKeys>)>,
    bytes: usize,
    bytes_max: usize,
}

/// The keys of one part.
#[derive(Debug)]
struct PartKeys {
    metadata: ArrowReaderMetadata,
    hashes: Vec<u64>,
    rows: Vec<u32>,
}

impl PartKeys {
    fn bytes(&self) -> usize {
        self.hashes.len() * 12 + self.metadata.metadata().memory_size()
    }

    fn rows_of(&self, hash: u64) -> &[u32] {
        let start = self.hashes.partition_point(|known| *known < hash);
        let end = start + self.hashes[start..].partition_point(|known| *known == hash);
        &self.rows[start..end]
    }
}

impl Cache {
    fn get(&mut self, path: &Path) -> Option<Arc<PartKeys>> {
        let at = self.entries.iter().position(|(known, _)| known == path)?;
        let entry = self.entries.remove(at)?;
        let keys = Arc::clone(&entry.1);
        self.entries.push_back(entry);
        Some(keys)
    }

    fn remove(&mut self, path: &Path) {
        if let Some(at) = self.entries.iter().position(|(known, _)| known == path)
            && let Some((_, keys)) = self.entries.remove(at)
        {
            self.bytes -= keys.bytes();
        }
    }

    fn insert(&mut self, path: Path, keys: Arc<PartKeys>) {
        self.bytes += keys.bytes();
        self.entries.push_back((path, keys));
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
    }
}

impl Lookup {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, cache_bytes_max: usize) -> Self {
        let cache = Cache { entries: VecDeque::new(), bytes: 0, bytes_max: cache_bytes_max };
        Self { store, hasher: RandomState::new(), cache: Mutex::new(cache) }
    }

    /// The rows of `part` that have a wanted identity, superseded ones included, with the index of
    /// the record that asks.
    pub(crate) async fn find(
        &self,
        part: &PartFile,
        schema: &TableSchema,
        wanted: &[Wanted],
    ) -> Result<Vec<(usize, PartRow)>, StoreError> {
        let failed = |source| StoreError::Part {
            doing: "reading the part",
            path: part.meta.path.to_string(),
            source: Arc::new(source),
        };
        let keys = self.keys(part, schema).await.map_err(failed)?;
        let mut candidates: Vec<(u32, &Wanted)> = Vec::new();
        for wanted in wanted.iter().filter(|wanted| part.meta.may_hold(wanted.time)) {
            let hash = self.hash(&wanted.key, wanted.time);
            candidates.extend(keys.rows_of(hash).iter().map(|&row| (row, wanted)));
        }
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        candidates.sort_by_key(|(row, _)| *row);
        let mut rows: Vec<u32> = candidates.iter().map(|(row, _)| *row).collect();
        rows.dedup();
        let found = self.read_rows(part, schema, &keys, &rows).await.map_err(failed)?;
        let row_of = |row: u32| rows.binary_search(&row).ok().and_then(|at| found.get(at));
        Ok(candidates
            .into_iter()
            .filter_map(|(row, wanted)| {
                let (key, time, found) = row_of(row)?;
                (*key == wanted.key && *time == wanted.time).then(|| (wanted.index, found.clone()))
            })
            .collect())
    }

    /// Lets go of what is kept of a part that is no longer in its table.
    pub(crate) fn forget(&self, path: &Path) {
        self.cache.lock().expect("no holder of the cache panics").remove(path);
    }

    fn hash(&self, key: &[u8], time: i64) -> u64 {
        self.hasher.hash_one((key, time))
    }

    fn reader(&self, part: &PartFile) -> PartReader {
        PartReader::new(Arc::clone(&self.store), part.meta.path.clone(), part.meta.bytes)
    }

    async fn keys(&self, part: &PartFile, schema: &TableSchema) -> Result<Arc<PartKeys>, ParquetError> {
        let path = &part.meta.path;
        if let Some(keys) = self.cache.lock().expect("no holder of the cache panics").get(path) {
            return Ok(keys);
        }
        let mut reader = self.reader(part);
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load_async(&mut reader, options).await?;
        let keys = Arc::new(self.read_keys(reader, metadata, schema).await?);
        self.cache.lock().expect("no holder of the cache panics").insert(path.clone(), Arc::clone(&keys));
        Ok(keys)
    }

    async fn read_keys(
        &self,
        reader: PartReader,
        metadata: ArrowReaderMetadata,
        schema: &TableSchema,
    ) -> Result<PartKeys, ParquetError> {
        let is_key = |name: &str| name == MEASURE_NAME || name == TIME || schema.dimension(name).is_some();
        let fields = metadata.schema().fields().iter().enumerate();
        let roots: Vec<usize> = fields.filter(|(_, field)| is_key(field.name())).map(|(at, _)| at).collect();
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let mut stream = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata.clone())
            .with_projection(mask)
            .build()?;
        let mut pairs: Vec<(u64, u32)> = Vec::new();
        let mut key = Vec::new();
        while let Some(batch) = stream.try_next().await? {
            let columns = KeyColumns::of(&batch, schema)?;
            for row in 0..batch.num_rows() {
                let time = columns.key(row, &mut key);
                let number = u32::try_from(pairs.len()).map_err(|_| too_many_rows())?;
                pairs.push((self.hash(&key, time), number));
            }
        }
        pairs.sort_unstable();
        let (hashes, rows) = pairs.into_iter().unzip();
        Ok(PartKeys { metadata, hashes, rows })
    }

    /// Reads whole rows, given in ascending order.
    async fn read_rows(
        &self,
        part: &PartFile,
        schema: &TableSchema,
        keys: &PartKeys,
        rows: &[u32],
    ) -> Result<Vec<(Vec<u8>, i64, PartRow)>, ParquetError> {
        let mut stream =
            ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader(part), keys.metadata.clone())
                .with_row_selection(selection(rows))
                .build()?;
        let mut numbers = rows.iter();
        let mut found = Vec::with_capacity(rows.len());
        while let Some(batch) = stream.try_next().await? {
            let columns = KeyColumns::of(&batch, schema)?;
            let values = value_columns(&batch, schema);
            let versions = column(&batch, VERSION)?;
            let versions = versions.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong_type(VERSION))?;
            for (at, &row) in (0..batch.num_rows()).zip(&mut numbers) {
                let mut key = Vec::new();
                let time = columns.key(at, &mut key);
                let values =
                    values.iter().filter_map(|(place, column)| Some((*place, value_at(column, at)?)));
                let row = PartRow { row, version: versions.value(at), values: values.collect() };
                found.push((key, time, row));
            }
        }
        Ok(found)
    }
}

fn selection(rows: &[u32]) -> RowSelection {
    let mut selectors = Vec::with_capacity(rows.len() * 2);
    let mut next = 0;
    for &row in rows {
        let row = row as usize;
        if row > next {
            selectors.push(RowSelector::skip(row - next));
        }
        selectors.push(RowSelector::select(1));
        next = row + 1;
    }
    selectors.into()
}

/// The columns that make up a row's identity.
struct KeyColumns<'a> {
    measure_name: &'a ArrayRef,
    time: &'a arrow::array::TimestampNanosecondArray,
    /// Sorted by place.
    dimensions: Vec<(u16, &'a ArrayRef)>,
}

impl<'a> KeyColumns<'a> {
    fn of(batch: &'a RecordBatch, schema: &TableSchema) -> Result<Self, ParquetError> {
        let time = column(batch, TIME)?;
        let time = time.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| wrong_type(TIME))?;
        let measure_name = column(batch, MEASURE_NAME)?;
        let mut dimensions = Vec::new();
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if let Some(place) = schema.dimension(field.name()) {
                column.as_string_opt::<i32>().ok_or_else(|| wrong_type(field.name()))?;
                dimensions.push((place, column));
            }
        }
        measure_name.as_string_opt::<i32>().ok_or_else(|| wrong_type(MEASURE_NAME))?;
        dimensions.sort_by_key(|(place, _)| *place);
        Ok(Self { measure_name, time, dimensions })
    }

    /// Writes the key of the row's series and returns its time.
    fn key(&self, row: usize, out: &mut Vec<u8>) -> i64 {
        let present = self.dimensions.iter().filter(|(_, column)| !column.is_null(row));
        let dimensions = present.map(|(place, column)| (*place, column.as_string::<i32>().value(row)));
        write_key(out, self.measure_name.as_string::<i32>().value(row), dimensions);
        self.time.value(row)
    }
}

/// The columns of values with their place.
fn value_columns<'a>(batch: &'a RecordBatch, schema: &TableSchema) -> Vec<(u16, &'a ArrayRef)> {
    let place = |name: &str| {
        let named = |column: &crate::store::schema::ValueColumn| {
            column.name == name && (column.multi || name == single_column(column.value))
        };
        schema.values().iter().position(named).and_then(|at| u16::try_from(at).ok())
    };
    let columns = batch.schema_ref().fields().iter().zip(batch.columns());
    columns.filter_map(|(field, column)| Some((place(field.name())?, column))).collect()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ParquetError> {
    batch.column_by_name(name).ok_or_else(|| ParquetError::General(format!("the column {name} is missing")))
}

fn wrong_type(name: &str) -> ParquetError {
    ParquetError::General(format!("the column {name} has another type than was written"))
}

fn too_many_rows() -> ParquetError {
    ParquetError::General("the part has more than 2^32 rows".to_owned())
}
