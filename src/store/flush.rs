//! From memory to parts: freeze, encode, upload, commit, swap.
//!
//! The frozen memtable stays visible until the manifest that names its parts is committed, and is
//! swapped for them under the table's lock: a snapshot sees every row exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::DataType;
use bytes::Bytes;
use parquet::errors::ParquetError;
use roaring::RoaringBitmap;
use tracing::info;

use super::Inner;
use super::chunk::{dimension_column, measure_name_column};
use super::error::StoreError;
use super::manifest::{self, Manifest};
use super::marks::Marks;
use super::memtable::{Gathered, Memtable};
use super::part::encode::{PartColumn, PartWriter};
use super::part::seal::Seal;
use super::part::{DAY_NANOS, PartFile, PartMeta};
use super::paths;
use super::schema::{ColumnKind, MEASURE_NAME, TIME, TableSchema, VERSION};
use super::series::Series;
use super::table::{Live, LivePart, TableState};
use super::wal::position::Lsn;
use crate::clock::Timestamp;

/// Rows that are encoded at once.
const SLICE_ROWS: usize = 16 * 1024;

/// The rows of one day in file order.
#[derive(Debug)]
struct Day {
    day: i64,
    /// Position of the series in the sorted list, and the row in the memtable.
    rows: Vec<(u32, u32)>,
    time_min: i64,
    time_max: i64,
}

/// A part that is on disk but in no manifest yet.
#[derive(Debug)]
struct NewPart {
    meta: PartMeta,
    day: Day,
}

/// What one flush works with.
#[derive(Debug, Clone)]
struct Frozen {
    memtable: Arc<Memtable>,
    schema: Arc<TableSchema>,
    /// Rows that were replaced before the flush began; they get into no part.
    hidden: Arc<RoaringBitmap>,
    /// In file order.
    series: Arc<[Arc<Series>]>,
}

impl Inner {
    /// Moves what all tables hold in memory to parts.
    pub(crate) async fn flush_all(&self) -> Result<(), StoreError> {
        for table in self.directory.tables(None)? {
            self.flush_table(&table).await?;
        }
        Ok(())
    }

    /// Leaves nothing of the log but its new segment: after a loss the segments before it may end
    /// with another number than it begins with.
    pub(crate) async fn start_afresh(&self) -> Result<(), StoreError> {
        self.flush_all().await?;
        self.retire_log()
    }

    /// Moves what `table` holds in memory to parts. Returns whether there was anything.
    pub(crate) async fn flush_table(&self, table: &TableState) -> Result<bool, StoreError> {
        let _flushing = table.flushing.lock().await;
        let flushed = self.flush_turn(table).await;
        // That nothing is written any more is told elsewhere.
        if self.wal.stopped().is_none() && !table.is_dropped() {
            self.flushing.note(table.id, &flushed);
        }
        flushed
    }

    async fn flush_turn(&self, table: &TableState) -> Result<bool, StoreError> {
        let mut any = false;
        loop {
            let Some((memtable, left_over)) = table.live().freeze() else { return Ok(any) };
            self.flush_frozen(table, memtable).await?;
            any = true;
            // What an earlier attempt had frozen does not hold the rows written since.
            if !left_over {
                return Ok(any);
            }
        }
    }

    async fn flush_frozen(&self, table: &TableState, memtable: Arc<Memtable>) -> Result<(), StoreError> {
        if let Some(stopped) = self.wal.stopped() {
            return Err(stopped.into());
        }
        // Parts hold durable rows only; a manifest counts on it.
        self.wal.synced(memtable.last()).await?;
        let frozen = {
            let mut live = table.live();
            let durable = self.wal.durable();
            let hidden = live.frozen.as_mut().and_then(|frozen| frozen.marks.settle(durable));
            let schema = Arc::clone(&live.schema);
            let hidden = hidden.unwrap_or_default();
            let series = memtable.index().sorted_series();
            Frozen { memtable, schema, hidden, series }
        };
        let mut parts = Vec::new();
        for day in frozen.days() {
            let path = paths::part(table.id, day.day, &self.writer, table.live().take_part_number());
            let work = frozen.clone();
            let encoding = move || work.encode(&day).map(|file| (day, file));
            let failed = |source| StoreError::Part {
                doing: "encoding the part",
                path: path.to_string(),
                source: Arc::new(source),
            };
            let encoded = tokio::task::spawn_blocking(encoding).await;
            let (day, (bytes, seal, rows)) =
                encoded.map_err(|error| ParquetError::External(Box::new(error))).flatten().map_err(failed)?;
            let meta = PartMeta {
                path,
                bytes: bytes.len() as u64,
                rows,
                time_min: Timestamp::from_nanos(day.time_min),
                time_max: Timestamp::from_nanos(day.time_max),
                seal,
            };
            self.objects.put(&meta.path, bytes).await.map_err(StoreError::objects("writing a part"))?;
            parts.push(NewPart { meta, day });
        }
        self.commit(table, &frozen, parts).await?;
        self.retire_log()
    }

    async fn commit(
        &self,
        table: &TableState,
        frozen: &Frozen,
        parts: Vec<NewPart>,
    ) -> Result<(), StoreError> {
        let flushed = frozen.memtable.last();
        let mut manifest = {
            let mut live = table.live();
            if table.is_dropped() {
                return Ok(());
            }
            let new = parts.iter().map(|part| (part.meta.clone(), RoaringBitmap::new()));
            live.next_manifest(self.wal.durable(), flushed, &[], new)
        };
        manifest::commit(&self.objects, table.id, &self.writer, &mut manifest).await?;
        let mut live = table.live();
        let rows: u64 = parts.iter().map(|part| part.meta.rows).sum();
        let files = parts.iter().map(|part| PartFile::new(part.meta.clone(), self.shelf.clone()));
        let files: Vec<_> = files.collect();
        if table.is_dropped() {
            files.iter().for_each(|file| file.doom());
            return Ok(());
        }
        live.swap(frozen, parts, files, &manifest);
        self.memory.give_back(frozen.memtable.bytes());
        info!(table = %table.id, rows, manifest = manifest.number, "memory flushed to parts");
        Ok(())
    }

    /// Removes the log's segments whose rows are all in parts.
    pub(crate) fn retire_log(&self) -> Result<(), StoreError> {
        // Read before the tables: what is queued from here on is not asked for.
        let mut keep = self.wal.next();
        for table in self.directory.tables(None)? {
            keep = table.live().first_unflushed().map_or(keep, |first| keep.min(first));
        }
        self.wal.retire(keep).map_err(StoreError::disk("removing a log segment"))
    }
}

impl Live {
    /// Puts the parts in the place of the frozen memtable.
    fn swap(&mut self, frozen: &Frozen, parts: Vec<NewPart>, files: Vec<Arc<PartFile>>, manifest: &Manifest) {
        // Rows that were replaced while the parts were written.
        let late = self.frozen.take().map_or_else(Vec::new, |old| old.marks.beyond(&frozen.hidden));
        for (part, file) in parts.into_iter().zip(files) {
            self.parts.push(LivePart { file, marks: part.day.marks(&late) });
        }
        for (key, newest) in frozen.memtable.index().newest_times() {
            self.newest.raise(key, newest);
        }
        self.manifest = manifest.number;
        self.flushed = manifest.flushed;
    }
}

impl Day {
    /// Marks on memtable rows as marks on the rows of this part.
    fn marks(&self, late: &[(Lsn, u32)]) -> Marks {
        let mut marks = Marks::default();
        if late.is_empty() {
            return marks;
        }
        let wanted: RoaringBitmap = late.iter().map(|(_, row)| *row).collect();
        let numbered = (0_u32..).zip(&self.rows).filter(|(_, (_, row))| wanted.contains(*row));
        let place: BTreeMap<u32, u32> = numbered.map(|(number, (_, row))| (*row, number)).collect();
        for (lsn, row) in late {
            if let Some(&number) = place.get(row) {
                marks.add(*lsn, number);
            }
        }
        marks
    }
}

impl Frozen {
    /// The rows by day, in file order.
    fn days(&self) -> Vec<Day> {
        let mut days: BTreeMap<i64, Day> = BTreeMap::new();
        for (position, rows) in (0_u32..).zip(self.memtable.index().sorted_rows()) {
            for (time, row) in rows {
                if self.hidden.contains(row) {
                    continue;
                }
                let day = time.div_euclid(DAY_NANOS);
                let day = days.entry(day).or_insert_with(|| Day {
                    day,
                    rows: Vec::new(),
                    time_min: time,
                    time_max: time,
                });
                day.rows.push((position, row));
                day.time_min = day.time_min.min(time);
                day.time_max = day.time_max.max(time);
            }
        }
        days.into_values().collect()
    }

    /// Encodes a day as Parquet.
    fn encode(&self, day: &Day) -> Result<(Bytes, Seal, u64), ParquetError> {
        // Only the series of the day: their values bound the dictionaries and bloom filters.
        let mut series: Vec<Arc<Series>> = Vec::new();
        let mut positions = Vec::with_capacity(day.rows.len());
        let mut last = None;
        for (position, _) in &day.rows {
            if last != Some(*position) {
                series.push(Arc::clone(&self.series[*position as usize]));
                last = Some(*position);
            }
            positions.push(u32::try_from(series.len() - 1).expect("fewer series than rows"));
        }
        let keys = self.key_columns(&series);
        let values = self.row_columns();
        let columns: Vec<PartColumn> =
            keys.iter().map(|key| &key.0).chain(values.iter().map(|value| &value.0)).cloned().collect();
        let mut writer = PartWriter::new(&columns)?;
        for (rows, positions) in day.rows.chunks(SLICE_ROWS).zip(positions.chunks(SLICE_ROWS)) {
            let positions = UInt32Array::from(positions.to_vec());
            let locations = self.memtable.locations(rows.iter().map(|(_, row)| *row));
            let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
            for (_, values) in &keys {
                arrays.push(take(values, &positions, None)?);
            }
            for (_, chunks) in &values {
                let chunks: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
                arrays.push(interleave(&chunks, &locations)?);
            }
            writer.write(arrays)?;
        }
        writer.finish()
    }

    /// Time, values and version with one array per chunk.
    fn row_columns(&self) -> Vec<(PartColumn, Vec<ArrayRef>)> {
        let column = |name: &str, data_type| PartColumn { name: name.to_owned(), data_type, distinct: None };
        let time = column(TIME, ColumnKind::Time.data_type());
        let mut columns = vec![(time, self.memtable.column(Gathered::Time))];
        for place in self.memtable.value_places(self.schema.values()) {
            let value = &self.schema.values()[place];
            let described = column(&value.name, value.kind().data_type());
            columns.push((described, self.memtable.column(Gathered::Value(place, value))));
        }
        columns.push((column(VERSION, DataType::Int64), self.memtable.column(Gathered::Version)));
        columns
    }

    /// Dimensions and measure name with one value per series.
    fn key_columns(&self, series: &[Arc<Series>]) -> Vec<(PartColumn, ArrayRef)> {
        let mut columns = Vec::new();
        for (place, name) in self.schema.dimensions().iter().enumerate() {
            if let Some(values) = dimension_column(series, place) {
                let place = u16::try_from(place).expect("at most 128 dimensions");
                let distinct: std::collections::HashSet<_> =
                    series.iter().filter_map(|series| series.dimension(place)).collect();
                let distinct = Some(distinct.len() as u64);
                let data_type = ColumnKind::Dimension.data_type();
                columns.push((PartColumn { name: name.clone(), data_type, distinct }, values));
            }
        }
        let data_type = ColumnKind::MeasureName.data_type();
        let measure_name = PartColumn { name: MEASURE_NAME.to_owned(), data_type, distinct: None };
        columns.push((measure_name, measure_name_column(series)));
        columns
    }
}
