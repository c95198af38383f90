//! Loading: the files of a task, one after the other, into the store.
//!
//! Batches are written while the next is read. A batch counts once it is durable, and the place behind it is
//! then where the task goes on, whatever happens: what was written behind that place is written again, and
//! the store finds that it has it (same version, same value).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::csv::{Csv, CsvConfiguration, Place, Step};
use super::model::Mapping;
use super::rows::Rows;
use super::task::{File, Progress, TaskState};
use super::{Loader, RunningTask, Stopped};
use crate::buckets::{Bucket, BucketError, Reader};
use crate::record::{DEFAULT_VERSION, Record, WriteBatch};
use crate::store::{Pending, RejectReason, StoreError, Written};

/// Records of a batch.
const BATCH_RECORDS: usize = 2_000;
/// Bytes of a file that a batch stands for, about.
const BATCH_BYTES: u64 = 1 << 20;
/// Batches on their way at once.
const BATCHES_UNDER_WAY: usize = 4;
/// How often the catalog notes how far a task is.
const NOTE_EVERY: Duration = Duration::from_secs(2);

/// Why a file ended before its end.
enum Failure {
    /// The file's fault; the task goes on with the next.
    File(String),
    /// Nobody's fault that will last; the task can be resumed.
    Pause(String),
    /// The task's fault.
    Task(String),
    /// The daemon stops.
    Stop,
}

impl From<BucketError> for Failure {
    fn from(error: BucketError) -> Self {
        if error.may_pass() { Self::Pause(error.to_string()) } else { Self::File(error.to_string()) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if error.is_fault() { Self::Pause(error.to_string()) } else { Self::Task(error.to_string()) }
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Pause(reason) => Self::Pause(reason),
            Stopped::Task(reason) => Self::Task(reason),
            Stopped::Shutdown => Self::Stop,
        }
    }
}

/// Loads what is left of a task.
pub(super) async fn run(loader: &Loader, task: &RunningTask) -> Result<(), Stopped> {
    let (definition, model) = task.read(|state| (state.definition.clone(), state.model.clone()));
    let mapping = model.check().map_err(|error| Stopped::Task(error.to_string()))?;
    let source = &definition.data_source_configuration;
    let bucket = loader.buckets.open(&source.data_source_s3_configuration.bucket_name).await;
    let bucket = bucket.map_err(|error| match error.may_pass() {
        true => Stopped::Pause(error.to_string()),
        false => Stopped::Task(error.to_string()),
    })?;
    let work = Work {
        loader,
        task,
        bucket,
        mapping,
        csv: source.csv_configuration.clone().unwrap_or_default(),
        database: definition.target_database_name.into(),
        table: definition.target_table_name.into(),
        version: definition.record_version.unwrap_or(DEFAULT_VERSION),
    };
    while let Some(file) = task.read(|state| state.files.get(state.files_done).cloned()) {
        let loaded = work.file(&file).await;
        task.change(|state| match &loaded {
            Ok(()) => state.next_file(),
            Err(Failure::File(reason)) => {
                state.progress += loader.counted(Progress { file_failures: 1, ..Progress::default() });
                state.mistakes.note(&file.key, reason, None);
                state.next_file();
            }
            Err(_) => {}
        });
        loader.note(task).await?;
        match loaded {
            Ok(()) | Err(Failure::File(_)) => {}
            Err(Failure::Pause(reason)) => return Err(Stopped::Pause(reason)),
            Err(Failure::Task(reason)) => return Err(Stopped::Task(reason)),
            Err(Failure::Stop) => return Err(Stopped::Shutdown),
        }
    }
    Ok(())
}

impl TaskState {
    fn next_file(&mut self) {
        self.files_done += 1;
        self.etag = None;
        self.place = Place::default();
    }
}

struct Work<'t> {
    loader: &'t Loader,
    task: &'t RunningTask,
    bucket: Bucket,
    mapping: Mapping,
    csv: CsvConfiguration,
    database: Arc<str>,
    table: Arc<str>,
    version: i64,
}

/// Rows on their way to the store.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    /// The line of each record.
    lines: Vec<u64>,
    failures: Vec<(u64, String)>,
}

/// A batch that was handed to the store.
struct Sent {
    pending: Option<Pending>,
    lines: Vec<u64>,
    failures: Vec<(u64, String)>,
    end: Place,
}

impl Work<'_> {
    async fn file(&self, file: &File) -> Result<(), Failure> {
        let object = self.bucket.head(&file.key).await?;
        let (etag, place) = self.task.read(|state| (state.etag.clone(), state.place));
        if place.offset > 0 && (etag != object.etag || object.size != file.size) {
            return Err(Failure::File("The file has changed since loading it began.".to_owned()));
        }
        self.task.change(|state| state.etag.clone_from(&object.etag));
        let mut reader = self.bucket.read(&object, 0).await?;
        let mut csv = Csv::new(&self.csv, Place::default());
        if !next_row(&mut csv, &mut reader).await? {
            return Err(Failure::File("The file is empty; it must begin with a header.".to_owned()));
        }
        let (_, header) = csv.row();
        let mut rows = Rows::new(&self.mapping, &self.csv, self.version, &header).map_err(Failure::File)?;
        if place.offset > 0 {
            reader = self.bucket.read(&object, place.offset).await?;
            csv = Csv::new(&self.csv, place);
        }
        let mut sent = VecDeque::new();
        let read = self.rows(file, &mut csv, &mut reader, &mut rows, &mut sent).await;
        // What is on its way counts, also when what came after it failed.
        while !sent.is_empty() {
            self.settle_first(file, &mut sent).await?;
        }
        read
    }

    async fn rows(
        &self,
        file: &File,
        csv: &mut Csv,
        reader: &mut Reader,
        rows: &mut Rows,
        sent: &mut VecDeque<Sent>,
    ) -> Result<(), Failure> {
        let mut batch = Batch::default();
        let mut begin = csv.row_end();
        let mut noted = tokio::time::Instant::now();
        loop {
            let read = next_row(csv, reader).await;
            let more = matches!(read, Ok(true));
            if more {
                batch.add(csv, rows);
            }
            let full = batch.lines.len() + batch.failures.len() >= BATCH_RECORDS
                || csv.row_end().offset - begin.offset >= BATCH_BYTES;
            if full || !more {
                if sent.len() >= BATCHES_UNDER_WAY {
                    self.settle_first(file, sent).await?;
                }
                sent.push_back(self.send(std::mem::take(&mut batch), csv.row_end()).await?);
                begin = csv.row_end();
                // Everybody on these threads gets a turn between batches.
                tokio::task::yield_now().await;
                if self.loader.stop.is_requested() {
                    return Err(Failure::Stop);
                }
                if noted.elapsed() >= NOTE_EVERY {
                    self.loader.note(self.task).await?;
                    noted = tokio::time::Instant::now();
                }
            }
            read?;
            if !more {
                return Ok(());
            }
        }
    }

    async fn send(&self, batch: Batch, end: Place) -> Result<Sent, Failure> {
        let Batch { records, lines, failures } = batch;
        let pending = match records.is_empty() {
            true => None,
            false => {
                let (database, table) = (Arc::clone(&self.database), Arc::clone(&self.table));
                Some(self.loader.store.submit(WriteBatch { database, table, records }).await?)
            }
        };
        Ok(Sent { pending, lines, failures, end })
    }

    /// Waits until the first batch that is on its way is durable. If it fails, those behind it do not count:
    /// the task goes on before it.
    async fn settle_first(&self, file: &File, sent: &mut VecDeque<Sent>) -> Result<(), Failure> {
        let Some(first) = sent.pop_front() else { return Ok(()) };
        let settled = self.settle(file, first).await;
        if settled.is_err() {
            sent.clear();
        }
        settled
    }

    /// Waits until a batch is durable, and counts it.
    async fn settle(&self, file: &File, sent: Sent) -> Result<(), Failure> {
        let written = match sent.pending {
            Some(pending) => pending.await?,
            None => Written::default(),
        };
        self.task.change(|state| {
            let (failed, rejected) = (sent.failures.len() as u64, written.rejected.len() as u64);
            state.progress += self.loader.counted(Progress {
                processed: sent.lines.len() as u64 + failed,
                ingested: sent.lines.len() as u64 - rejected,
                parse_failures: failed,
                ingestion_failures: rejected,
                file_failures: 0,
                bytes: sent.end.offset - state.place.offset,
            });
            state.place = sent.end;
            for (line, reason) in &sent.failures {
                state.mistakes.note(&file.key, reason, Some(*line));
            }
            for rejected in &written.rejected {
                let line = sent.lines.get(rejected.index).copied();
                state.mistakes.note(&file.key, &reason(&rejected.reason), line);
            }
        });
        Ok(())
    }
}

impl Batch {
    fn add(&mut self, csv: &Csv, rows: &mut Rows) {
        let (line, row) = csv.row();
        match rows.read(&row, &mut self.records) {
            Ok(()) => self.lines.resize(self.records.len(), line),
            Err(reason) => self.failures.push((line, reason)),
        }
    }
}

/// Moves on to the next row; false at the end of the file.
async fn next_row(csv: &mut Csv, reader: &mut Reader) -> Result<bool, Failure> {
    loop {
        match csv.step().map_err(|error| Failure::File(format!("Reading ended: {error}")))? {
            Step::Row => return Ok(true),
            Step::End => return Ok(false),
            Step::Hungry => csv.feed(reader.piece().await?),
        }
    }
}

/// The reason for the report. Where the range of times depends on the moment it is left out, as AWS does.
fn reason(reason: &RejectReason) -> String {
    match reason {
        RejectReason::OutsideMemoryStore { .. } => {
            "The record timestamp is outside the time range of the memory store.".to_owned()
        }
        RejectReason::OutsideIngestionWindow { .. } => {
            "The record timestamp is outside the time range of the data ingestion window.".to_owned()
        }
        other => other.to_string(),
    }
}
