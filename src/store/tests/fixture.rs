//! A store on a simulated disk, short ways to write rows, and every row of a snapshot as text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use super::bucket::Bucket;
use super::disk::SimDisk;
use crate::clock::{ManualClock, Timestamp};
use crate::record::{Attribute, Dimension, Measure, MeasureValue, Record, WriteBatch};
use crate::shutdown::Shutdown;
use crate::store::compaction::Replacement;
use crate::store::files::Files;
use crate::store::ground::Ground;
use crate::store::part::PartFile;
use crate::store::{
    ColumnKind, DatabaseOptions, Disks, Part, Store, StoreError, StoreOptions, TableOptions, TableSnapshot,
    Written,
};

/// The clock of all tests: 2026-11-20T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_132_800_000);

/// A folder with a catalog, and the disk for everything else.
pub(crate) struct Machine {
    pub(crate) folder: TempDir,
    pub(crate) disk: SimDisk,
    pub(crate) options: StoreOptions,
}

impl Machine {
    /// A machine whose catalog has the table `db`.`t`.
    pub(crate) async fn with_table() -> Self {
        Self::with_table_in(Bucket::of_environment()).await
    }

    /// The same with its objects in a bucket.
    pub(crate) async fn with_table_in(bucket: Bucket) -> Self {
        let machine = Self::with(bucket);
        let store = machine.open().await;
        store.create_database("db", DatabaseOptions::default()).expect("new");
        store.create_table("db", "t", TableOptions::default()).expect("new");
        store.close().await.expect("healthy");
        machine
    }

    fn with(bucket: Bucket) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        // Tests of damage count bytes from the end of a file; those of crashes reserve room.
        let options =
            StoreOptions { url: bucket.url(), wal_reserve_bytes: 0, ..StoreOptions::new(folder.path()) };
        Self { folder, disk: SimDisk::with(bucket), options }
    }

    pub(crate) fn disks(&self) -> Disks {
        let files: Arc<dyn Files> = Arc::new(self.disk.clone());
        let object_files = (!self.disk.bucket().is_elsewhere()).then(|| Arc::clone(&files));
        Disks { files, objects: Arc::new(self.disk.clone()), object_files }
    }

    /// The same catalog with another disk.
    pub(crate) fn copy(&self, disk: SimDisk) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let name = |path: &Path| path.join("catalog.redb");
        std::fs::copy(name(self.folder.path()), name(folder.path())).expect("copied");
        let options = StoreOptions { path: folder.path().to_owned(), ..self.options.clone() };
        Self { folder, disk, options }
    }

    pub(crate) async fn try_open(&self) -> Result<Store, StoreError> {
        self.try_open_at(Arc::new(ManualClock::new(NOW))).await
    }

    pub(crate) async fn try_open_at(&self, clock: Arc<ManualClock>) -> Result<Store, StoreError> {
        let ground = Ground::take(&self.options.path, &self.disk)?;
        Store::open_on(ground, self.disks(), self.options.clone(), clock).await
    }

    pub(crate) async fn open(&self) -> Store {
        self.try_open().await.expect("opens")
    }
}

/// A row with one dimension `host` and one BIGINT.
pub(crate) fn row(host: &str, time: i64, version: i64, value: i64) -> Record {
    measured(&[("host", host)], "m", time, version, Measure::Single(MeasureValue::Bigint(value)))
}

pub(crate) fn measured(
    dimensions: &[(&str, &str)],
    measure_name: &str,
    time: i64,
    version: i64,
    measure: Measure,
) -> Record {
    let dimension =
        |(name, value): &(&str, &str)| Dimension { name: (*name).into(), value: (*value).to_owned() };
    Record {
        dimensions: dimensions.iter().map(dimension).collect(),
        measure_name: measure_name.into(),
        measure,
        time: Timestamp::from_nanos(time),
        version,
    }
}

pub(crate) fn multi(attributes: &[(&str, MeasureValue)]) -> Measure {
    let attribute =
        |(name, value): &(&str, MeasureValue)| Attribute { name: (*name).into(), value: value.clone() };
    Measure::Multi(attributes.iter().map(attribute).collect())
}

/// Writes to `db`.`t` and waits until it is durable.
pub(crate) async fn write(store: &Store, records: Vec<Record>) -> Result<Written, StoreError> {
    let batch = WriteBatch { database: "db".into(), table: "t".into(), records };
    store.submit(batch).await?.await
}

/// Writes and returns the texts of the rejections by index.
pub(crate) async fn rejections(store: &Store, records: Vec<Record>) -> Vec<(usize, String)> {
    let written = write(store, records).await.expect("written");
    written.rejected.into_iter().map(|rejected| (rejected.index, rejected.reason.to_string())).collect()
}

/// Writes one part for each day of `db`.`t`, however many there are, and puts none in its place yet.
pub(crate) async fn merges(store: &Store) -> Result<Vec<Replacement>, StoreError> {
    let table = store.inner.directory.table("db", "t")?;
    let mut days: BTreeMap<i64, Vec<Arc<PartFile>>> = BTreeMap::new();
    for part in &table.live().parts {
        days.entry(part.file.meta.day()).or_default().push(Arc::clone(&part.file));
    }
    let mut merges = Vec::new();
    for files in days.values() {
        merges.extend(store.inner.merge_parts(&table, files, &Shutdown::new()).await?);
    }
    Ok(merges)
}

/// Puts merged parts in their place; returns how many still fitted.
pub(crate) async fn finish(store: &Store, merges: Vec<Replacement>) -> Result<usize, StoreError> {
    let table = store.inner.directory.table("db", "t")?;
    let mut replaced = 0;
    for merge in merges {
        replaced += usize::from(store.inner.replace_parts(&table, merge).await?);
    }
    Ok(replaced)
}

/// Merges every day of `db`.`t` to one part.
pub(crate) async fn compact(store: &Store) -> Result<(), StoreError> {
    finish(store, merges(store).await?).await.map(drop)
}

/// Every row of `db`.`t`: dimensions, measure name and time to the other values, all as text.
pub(crate) type Rows = BTreeMap<String, String>;

pub(crate) async fn rows(store: &Store) -> Rows {
    let snapshot = store.snapshot("db", "t").expect("the table exists");
    rows_of(&*store.object_store(), &snapshot).await
}

pub(crate) async fn rows_of(objects: &dyn ObjectStore, snapshot: &TableSnapshot) -> Rows {
    let mut rows = Rows::new();
    for batch in &snapshot.memory {
        assert_eq!(batch.schema(), snapshot.schema.arrow(), "memory has the snapshot's columns");
        add(&mut rows, snapshot, batch, |_| false);
    }
    for part in &snapshot.parts {
        let mut number = 0;
        for batch in part_batches(objects, part).await {
            let times = batch.column_by_name("time").expect("always there");
            let times = times.as_primitive::<TimestampNanosecondType>().values().clone();
            let skipped = |row: usize| {
                if snapshot.oldest.is_some_and(|oldest| times[row] < oldest.nanos()) {
                    return true;
                }
                let row = number + u32::try_from(row).expect("small");
                part.superseded().is_some_and(|superseded| superseded.contains(row))
            };
            add(&mut rows, snapshot, &batch, skipped);
            number += u32::try_from(batch.num_rows()).expect("small");
        }
        assert_eq!(u64::from(number), part.rows());
    }
    rows
}

pub(crate) async fn part_batches(objects: &dyn ObjectStore, part: &Part) -> Vec<RecordBatch> {
    let bytes = objects.get(part.path()).await.expect("the part exists").bytes().await.expect("readable");
    assert_eq!(bytes.len() as u64, part.bytes());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("readable");
    reader.map(|batch| batch.expect("readable")).collect()
}

fn add(rows: &mut Rows, snapshot: &TableSnapshot, batch: &RecordBatch, skipped: impl Fn(usize) -> bool) {
    let options = FormatOptions::new();
    let shown = snapshot.schema.columns().iter().filter_map(|column| {
        let array = batch.column_by_name(&column.name)?;
        Some((column, ArrayFormatter::try_new(array, &options).expect("printable"), array))
    });
    let shown: Vec<_> = shown.collect();
    let times = batch.column_by_name("time").expect("always there");
    let times = times.as_primitive::<TimestampNanosecondType>();
    for row in (0..batch.num_rows()).filter(|row| !skipped(*row)) {
        let (mut key, mut values) = (String::new(), String::new());
        for (column, text, array) in &shown {
            if array.is_null(row) {
                continue;
            }
            match column.kind {
                ColumnKind::Time => key += &format!("time={} ", times.value(row)),
                ColumnKind::Dimension | ColumnKind::MeasureName => {
                    key += &format!("{}={} ", column.name, text.value(row));
                }
                _ => values += &format!("{}={} ", column.name, text.value(row)),
            }
        }
        let twice = rows.insert(key.trim().to_owned(), values.trim().to_owned());
        assert_eq!(twice, None, "the row {key} is there twice");
    }
}

/// The column `ts_version` of a part.
pub(crate) async fn versions(objects: &dyn ObjectStore, part: &Part) -> Vec<i64> {
    let batches = part_batches(objects, part).await;
    let column = |batch: &RecordBatch| {
        let column = batch.column_by_name("ts_version").expect("every part has it");
        column.as_primitive::<Int64Type>().values().to_vec()
    };
    batches.iter().flat_map(column).collect()
}
