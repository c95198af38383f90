//! Writing: records in the order of the calls, checked against the table, into memory and the log.
//!
//! Everything about one record is decided before anything of it is kept: a rejected record leaves no
//! column behind. Look-ups in parts happen before the table is locked; when a flush changed the parts
//! meanwhile, they are repeated.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::Inner;
use super::admission::Admission;
use super::error::{RejectReason, StoreError};
use super::layout::{Fit, Layout};
use super::part::PartFile;
use super::part::lookup::{PartRow, Wanted};
use super::schema::TableSchema;
use super::series::SeriesKey;
use super::table::{Live, Place, TableState};
use super::wal::committer::{LogStopped, Synced, Wal};
use super::wal::entry::EntryBuilder;
use super::wal::position::Lsn;
use crate::record::{Measure, MeasureValue, Record, WriteBatch};

/// A log entry that reached this size is followed by a new one; one record more stays below the
/// largest frame.
const ENTRY_BYTES: usize = 8 * 1024 * 1024;

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Records that count for the memory store.
    pub memory_store: u64,
    /// Records that are older than the memory store's retention.
    pub magnetic_store: u64,
    /// Records that were not stored.
    pub rejected: Vec<Rejected>,
}

/// A record that was not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its place in the batch.
    pub index: usize,
    /// Why; the text is for the client.
    pub reason: RejectReason,
    /// The version in the table, where the answer names it.
    pub existing_version: Option<i64>,
}

/// A batch that was accepted; resolves once it is durable.
#[must_use = "nothing may be acknowledged before this resolves"]
pub struct Pending {
    synced: Synced,
    written: Written,
}

impl Pending {
    /// The records that were refused: known at once, whereas the others are stored only when this
    /// resolves.
    pub fn rejected(&self) -> &[Rejected] {
        &self.written.rejected
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("written", &self.written).finish_non_exhaustive()
    }
}

impl Future for Pending {
    type Output = Result<Written, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.synced).poll(context));
        Poll::Ready(match answer {
            Ok(()) => Ok(std::mem::take(&mut self.written)),
            Err(stopped) => Err(stopped.into()),
        })
    }
}

impl From<LogStopped> for StoreError {
    fn from(stopped: LogStopped) -> Self {
        Self::Unavailable { reason: stopped.to_string() }
    }
}

/// Rows of parts that records of a batch may meet, as of one manifest.
#[derive(Debug, Default)]
pub(crate) struct Found {
    manifest: u64,
    rows: HashMap<usize, Vec<(Arc<PartFile>, PartRow)>>,
}

/// The newest version of a row that is there already.
struct Existing {
    place: Place,
    version: i64,
    same: bool,
}

enum Decision {
    Append { replaces: Option<Place> },
    Present,
}

impl Inner {
    pub(crate) async fn submit(&self, batch: WriteBatch) -> Result<Pending, StoreError> {
        let table = self.directory.table(&batch.database, &batch.table)?;
        let _turn = table.turn.lock().await;
        self.memory.room(|| self.wal.stopped()).await?;
        self.wal.room().await;
        let outcome = loop {
            let found = self.look_up(&table, &batch.records).await?;
            let mut live = table.live();
            if table.is_dropped() {
                let WriteBatch { database, table, .. } = batch;
                let (database, table) = (database.to_string(), table.to_string());
                return Err(StoreError::TableNotFound { database, table });
            }
            if live.manifest == found.manifest {
                break self.write(&table, &mut live, batch.records, &found)?;
            }
        };
        if outcome.due {
            self.memory.pressure.notify_one();
        }
        Ok(Pending { synced: self.wal.synced(outcome.last), written: outcome.written })
    }

    /// Finds the rows in parts that the records may meet.
    pub(crate) async fn look_up(&self, table: &TableState, records: &[Record]) -> Result<Found, StoreError> {
        let (manifest, schema, parts, wanted) = {
            let live = table.live();
            let wanted = wanted(&live, records);
            if wanted.is_empty() {
                return Ok(Found { manifest: live.manifest, rows: HashMap::new() });
            }
            let asked = |file: &Arc<PartFile>| wanted.iter().any(|wanted| file.meta.may_hold(wanted.time));
            let files = live.parts.iter().map(|part| &part.file).filter(|file| asked(file));
            let files: Vec<Arc<PartFile>> = files.cloned().collect();
            (live.manifest, Arc::clone(&live.schema), files, wanted)
        };
        let mut rows: HashMap<usize, Vec<(Arc<PartFile>, PartRow)>> = HashMap::new();
        for file in parts {
            for (index, row) in self.lookup.find(&file, &schema, &wanted).await? {
                rows.entry(index).or_default().push((Arc::clone(&file), row));
            }
        }
        Ok(Found { manifest, rows })
    }

    fn write(
        &self,
        table: &TableState,
        live: &mut Live,
        records: Vec<Record>,
        found: &Found,
    ) -> Result<Outcome, StoreError> {
        let definition = table.definition();
        let admission = Admission {
            compatibility: self.options.compatibility,
            limits: &self.options.limits,
            retention: definition.retention,
            magnetic_writes: &definition.magnetic_writes,
            partition_key: &definition.partition_key,
            now: self.clock.now(),
        };
        let bytes_before = live.active.bytes();
        let mut writer = Writer {
            live,
            wal: &self.wal,
            admission,
            found,
            table,
            entry: EntryBuilder::new(table.id),
            replaced: Vec::new(),
            key: SeriesKey::default(),
            series: None,
            written: Written::default(),
        };
        let result = writer.run(records);
        let written = writer.written;
        self.memory.take(live.active.bytes() - bytes_before);
        result?;
        let due = live.active.rows() >= self.options.memtable_rows
            || live.active.bytes() >= self.options.memtable_bytes
            || self.memory.is_tight();
        Ok(Outcome { written, last: live.last, due })
    }
}

struct Outcome {
    written: Written,
    last: Lsn,
    due: bool,
}

/// The records that may meet a row of a part: those not in memory and not newer than the parts.
fn wanted(live: &Live, records: &[Record]) -> Vec<Wanted> {
    let mut key = SeriesKey::default();
    let mut wanted = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let time = record.time.nanos();
        if !live.newest.any_reaches(time) || !key.set(&live.schema, record) {
            continue;
        }
        let bytes = key.bytes();
        let in_memory = live.active.find(bytes, time).is_some()
            || live.frozen.as_ref().is_some_and(|frozen| frozen.memtable.find(bytes, time).is_some());
        if !in_memory && live.newest.reaches(bytes, time) {
            wanted.push(Wanted { index, key: bytes.to_vec(), time });
        }
    }
    wanted
}

struct Writer<'a> {
    live: &'a mut Live,
    wal: &'a Wal,
    admission: Admission<'a>,
    found: &'a Found,
    table: &'a TableState,
    entry: EntryBuilder,
    /// Rows the records of the present entry replace.
    replaced: Vec<Place>,
    key: SeriesKey,
    /// The series of the present record in the active memtable, if it is there.
    series: Option<u32>,
    written: Written,
}

impl Writer<'_> {
    fn run(&mut self, records: Vec<Record>) -> Result<(), LogStopped> {
        if let Some(stopped) = self.wal.stopped() {
            return Err(stopped);
        }
        for (index, record) in records.into_iter().enumerate() {
            let time = record.time;
            match self.decide(index, &record) {
                Ok(Decision::Present) => {}
                Ok(Decision::Append { replaces }) => self.append(record, replaces),
                Err(reason) => {
                    let existing_version = reason.existing_version();
                    self.written.rejected.push(Rejected { index, reason, existing_version });
                    continue;
                }
            }
            if self.admission.in_memory_store(time) {
                self.written.memory_store += 1;
            } else {
                self.written.magnetic_store += 1;
            }
            if self.entry.len() >= ENTRY_BYTES {
                self.end_entry()?;
            }
        }
        self.end_entry()
    }

    fn decide(&mut self, index: usize, record: &Record) -> Result<Decision, RejectReason> {
        let fit = self.live.fit(record);
        self.admission.check(record, fit)?;
        self.live.schema.check(record, fit, self.admission.limits)?;
        let known = match &self.live.layout {
            Some(layout) if fit >= Fit::Dimensions => {
                self.key.set_in_order(layout.order(), record);
                true
            }
            _ => self.key.set(&self.live.schema, record),
        };
        self.series = if known { self.live.active.index().find(self.key.bytes()) } else { None };
        let existing = if known { self.existing(index, record) } else { None };
        let Some(existing) = existing else { return Ok(Decision::Append { replaces: None }) };
        match record.version.cmp(&existing.version) {
            std::cmp::Ordering::Greater => Ok(Decision::Append { replaces: Some(existing.place) }),
            std::cmp::Ordering::Equal if existing.same => Ok(Decision::Present),
            std::cmp::Ordering::Equal => Err(RejectReason::SameVersion),
            std::cmp::Ordering::Less => {
                Err(RejectReason::LowerVersion { given: record.version, existing: existing.version })
            }
        }
    }

    fn existing(&mut self, index: usize, record: &Record) -> Option<Existing> {
        let (live, key, time) = (&mut *self.live, self.key.bytes(), record.time.nanos());
        let schema = Arc::clone(&live.schema);
        let same = |values: &[(u16, MeasureValue)]| same_measure(&schema, &record.measure, values);
        if let Some(row) = self.series.and_then(|series| live.active.index().row(series, time)) {
            let (version, same) = (live.active.version(row), live.active.with_values(row, same));
            return Some(Existing { place: Place::Active(row), version, same });
        }
        if let Some(frozen) = &live.frozen
            && let Some(row) = frozen.memtable.find(key, time)
        {
            let (version, same) = (frozen.memtable.version(row), frozen.memtable.with_values(row, same));
            return Some(Existing { place: Place::Frozen(row), version, same });
        }
        let rows = self.found.rows.get(&index)?.iter();
        let current =
            rows.filter(|(file, found)| live.part(file).is_some_and(|part| !part.marks.contains(found.row)));
        let (file, found) = current.max_by_key(|(_, found)| found.version)?;
        let place = Place::Part(Arc::clone(file), found.row);
        Some(Existing { place, version: found.version, same: same(&found.values) })
    }

    fn append(&mut self, record: Record, replaces: Option<Place>) {
        self.entry.push(&record, replaces.is_some());
        append(self.live, &mut self.key, self.series, record);
        self.replaced.extend(replaces);
    }

    fn end_entry(&mut self) -> Result<(), LogStopped> {
        if self.entry.is_empty() {
            return Ok(());
        }
        let entry = std::mem::replace(&mut self.entry, EntryBuilder::new(self.table.id));
        // When this fails the rows just appended belong to no frame and never become visible.
        let lsn = self.wal.enqueue(&entry.finish())?;
        self.live.end_frame(lsn, self.wal.durable(), self.replaced.drain(..));
        Ok(())
    }
}

impl Live {
    /// Ends the frame `lsn`, which carries what was appended since the last one.
    pub(crate) fn end_frame(&mut self, lsn: Lsn, durable: Lsn, replaced: impl Iterator<Item = Place>) {
        self.active.end_frame(lsn, durable);
        self.last = lsn;
        for place in replaced {
            self.mark(&place, lsn);
        }
    }
}

/// Appends an accepted record to the active memtable, growing the columns. `series` is its series
/// there, if that is known.
pub(crate) fn append(live: &mut Live, key: &mut SeriesKey, series: Option<u32>, mut record: Record) {
    let fit = live.fit(&record);
    if fit < Fit::Whole && !live.schema.covers(&record) {
        Arc::make_mut(&mut live.schema).grow(&record);
    }
    let single = matches!(record.measure, Measure::Single(_));
    if fit == Fit::Nothing || fit == Fit::Dimensions && !single {
        live.layout = Some(Layout::of(&live.schema, &record));
    }
    let layout = live.layout.as_ref().expect("just made, or it fits");
    key.set_in_order(layout.order(), &record);
    let measure = std::mem::replace(&mut record.measure, Measure::Multi(Vec::new()));
    let put = |values: &mut Vec<_>| layout.put_values(&live.schema, measure, values);
    live.active.append(key, series, &record, put, live.schema.values());
}

/// Whether a measure has exactly the values of a row; a multi-measure record is compared as a whole.
fn same_measure(schema: &TableSchema, measure: &Measure, values: &[(u16, MeasureValue)]) -> bool {
    let holds = |place: Option<u16>, value: &MeasureValue| {
        values.iter().any(|(at, stored)| Some(*at) == place && stored == value)
    };
    match measure {
        Measure::Single(value) => values.len() == 1 && holds(schema.single(value.measure_type()), value),
        Measure::Multi(attributes) => {
            values.len() == attributes.len()
                && attributes
                    .iter()
                    .all(|attribute| holds(schema.attribute(&attribute.name), &attribute.value))
        }
    }
}
