//! Batch loads: CSV files of a bucket into a table, in the background, however large they are.
//!
//! ```text
//! Definition -> create: DataModel -> Mapping, files listed -> TaskState (catalog)
//!   -> load: pieces of a file -> csv (rows) -> rows (records) -> store -> place and counts (catalog)
//!   -> report (bucket)
//! ```
//!
//! Promises: a task ends with the rows of its files in the table, none twice and none lost, also when the
//! daemon was killed on the way; a file of any size and any content takes the same memory; what cannot be
//! loaded is counted and reported with its lines. Tasks wait for each other, and for the store.

mod create;
mod csv;
mod error;
mod load;
mod model;
mod report;
mod rows;
mod task;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::buckets::{Buckets, Encryption};
use crate::clock::Clock;
use crate::shutdown::Shutdown;
use crate::store::Store;

pub use csv::CsvConfiguration;
pub use error::BatchLoadError;
pub use model::{DataModel, DimensionMapping};
use report::Mistakes;
use task::TaskState;
pub use task::{
    DataModelConfiguration, DataModelS3Configuration, DataSourceConfiguration, DataSourceS3Configuration,
    Definition, Progress, ReportConfiguration, ReportS3Configuration, Task, TaskStatus, TaskSummary,
};

/// The kind of our documents in the catalog.
const KIND: &str = "batch_load_task";
/// Tasks that load at once; the others wait.
const AT_ONCE: usize = 2;
/// Tasks that are over and still told of; older ones are forgotten.
const ENDED_KEPT: usize = 200;
/// How long a task that stopped can be resumed.
const RESUMABLE: Duration = Duration::from_secs(24 * 3600);

/// All batch load tasks. Clones share everything.
#[derive(Debug, Clone)]
pub struct BatchLoads {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    loader: Loader,
    tasks: Mutex<HashMap<String, Arc<RunningTask>>>,
    turns: Semaphore,
}

/// What loading needs.
#[derive(Debug)]
struct Loader {
    store: Store,
    buckets: Buckets,
    clock: Arc<dyn Clock>,
    stop: Shutdown,
    /// What all tasks have done since the daemon started.
    done: Mutex<Progress>,
}

/// A task that others may look at while it runs.
#[derive(Debug)]
struct RunningTask {
    id: String,
    state: Mutex<TaskState>,
}

/// Why a task does not go on.
enum Stopped {
    /// For now.
    Pause(String),
    /// For good.
    Task(String),
    /// Until the daemon starts again.
    Shutdown,
}

impl RunningTask {
    fn lock(&self) -> MutexGuard<'_, TaskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, look: impl FnOnce(&TaskState) -> T) -> T {
        look(&self.lock())
    }

    fn change(&self, change: impl FnOnce(&mut TaskState)) {
        change(&mut self.lock());
    }
}

impl Loader {
    /// Has the catalog keep a task as it is now.
    async fn note(&self, task: &RunningTask) -> Result<(), Stopped> {
        let bytes = task.read(|state| serde_json::to_vec(state).expect("JSON of plain members"));
        let (store, id) = (self.store.clone(), task.id.clone());
        let put = tokio::task::spawn_blocking(move || store.put_document(KIND, &id, &bytes)).await;
        match put {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Stopped::Pause(error.to_string())),
            Err(error) => Err(Stopped::Pause(error.to_string())),
        }
    }

    fn now(&self) -> i64 {
        self.clock.now().nanos()
    }

    /// Counts a step of any task; the step comes back for the task's own progress.
    fn counted(&self, step: Progress) -> Progress {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) += step;
        step
    }
}

impl BatchLoads {
    /// Reads the tasks of the catalog; those that had not ended go on.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn open(
        store: Store,
        buckets: Buckets,
        clock: Arc<dyn Clock>,
        stop: Shutdown,
    ) -> Result<Self, BatchLoadError> {
        let kept = store.documents(KIND, None, usize::MAX)?;
        let loader = Loader { store, buckets, clock, stop, done: Mutex::default() };
        let inner = Inner { loader, tasks: Mutex::default(), turns: Semaphore::new(AT_ONCE) };
        let loads = Self { inner: Arc::new(inner) };
        for document in kept {
            let state: TaskState = match serde_json::from_slice(&document.bytes) {
                Ok(state) => state,
                Err(error) => {
                    warn!(task = document.id, %error, "a batch load task cannot be read and is left alone");
                    continue;
                }
            };
            let active = state.status.is_active();
            let task = Arc::new(RunningTask { id: document.id.clone(), state: Mutex::new(state) });
            loads.tasks().insert(document.id, Arc::clone(&task));
            if active {
                loads.start(task);
            }
        }
        Ok(loads)
    }

    /// Describes a task.
    ///
    /// # Errors
    /// When there is none.
    pub fn describe(&self, id: &str) -> Result<Task, BatchLoadError> {
        Ok(self.task(id)?.read(|state| state.describe(id)))
    }

    /// All tasks, the newest first.
    pub fn list(&self) -> Vec<TaskSummary> {
        let tasks = self.tasks();
        let mut found: Vec<TaskSummary> =
            tasks.iter().map(|(id, task)| task.read(|state| state.summary(id))).collect();
        found.sort_by(|one, other| (other.created, &other.id).cmp(&(one.created, &one.id)));
        found
    }

    /// What all tasks together have done since the daemon started.
    pub fn done(&self) -> Progress {
        *self.inner.loader.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a task that stopped go on where it stopped.
    ///
    /// # Errors
    /// When there is none, or it cannot be resumed.
    pub async fn resume(&self, id: &str) -> Result<(), BatchLoadError> {
        let task = self.task(id)?;
        let now = self.inner.loader.now();
        {
            let mut state = task.lock();
            if state.status != TaskStatus::ProgressStopped {
                return Err(BatchLoadError::Invalid(format!(
                    "The batch load task {id} has the status {}; only one with PROGRESS_STOPPED can be resumed.",
                    state.status.api_name()
                )));
            }
            if state.resumable_until.is_none_or(|until| until < now) {
                return Err(BatchLoadError::Invalid(format!(
                    "The time in which the batch load task {id} could be resumed is over."
                )));
            }
            state.status = TaskStatus::PendingResume;
            (state.updated, state.resumable_until, state.error) = (now, None, None);
        }
        if let Err(Stopped::Pause(reason)) = self.inner.loader.note(&task).await {
            task.change(|state| {
                state.status = TaskStatus::ProgressStopped;
                (state.error, state.resumable_until) = (Some(reason.clone()), Some(after(now, RESUMABLE)));
            });
            return Err(BatchLoadError::Unavailable(reason));
        }
        self.start(task);
        Ok(())
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Arc<RunningTask>>> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task(&self, id: &str) -> Result<Arc<RunningTask>, BatchLoadError> {
        self.tasks().get(id).cloned().ok_or_else(|| BatchLoadError::NotFound(id.to_owned()))
    }

    /// Runs a task when its turn comes.
    fn start(&self, task: Arc<RunningTask>) {
        let inner = Arc::clone(&self.inner);
        self.inner.loader.stop.spawn(async move {
            let turn = tokio::select! {
                turn = inner.turns.acquire() => turn,
                () = inner.loader.stop.requested() => return,
            };
            let Ok(_turn) = turn else { return };
            let now = inner.loader.now();
            task.change(|state| (state.status, state.updated) = (TaskStatus::InProgress, now));
            let ended = match inner.loader.note(&task).await {
                Ok(()) => load::run(&inner.loader, &task).await,
                Err(stopped) => Err(stopped),
            };
            inner.loader.end(&task, ended).await;
        });
    }

    /// Forgets the oldest tasks that are over when there are many.
    async fn forget_old(&self) {
        let ended = |task: &TaskSummary| !task.status.is_active();
        for old in self.list().into_iter().filter(ended).skip(ENDED_KEPT) {
            let (store, id) = (self.inner.loader.store.clone(), old.id.clone());
            let gone = tokio::task::spawn_blocking(move || store.delete_document(KIND, &id)).await;
            if matches!(gone, Ok(Ok(_))) {
                self.tasks().remove(&old.id);
            }
        }
    }
}

impl Loader {
    /// Settles how a task ended, and reports its mistakes.
    async fn end(&self, task: &RunningTask, ended: Result<(), Stopped>) {
        let (status, error) = match ended {
            Err(Stopped::Shutdown) => (TaskStatus::InProgress, None),
            Err(Stopped::Pause(reason)) => (TaskStatus::ProgressStopped, Some(reason)),
            Err(Stopped::Task(reason)) => {
                task.change(|state| state.mistakes.task.push(reason.clone()));
                (TaskStatus::Failed, Some(reason))
            }
            Ok(()) if task.read(|state| state.mistakes.is_empty()) => (TaskStatus::Succeeded, None),
            Ok(()) => (TaskStatus::Failed, Some("Not everything could be loaded.".to_owned())),
        };
        let error = match status {
            TaskStatus::Failed => self.report(task, error.unwrap_or_default()).await,
            _ => error,
        };
        let now = self.now();
        let until = after(now, RESUMABLE);
        task.change(|state| {
            (state.status, state.updated, state.error) = (status, now, error);
            state.resumable_until = (status == TaskStatus::ProgressStopped).then_some(until);
            if status == TaskStatus::Failed {
                state.mistakes = Mistakes::default();
            }
        });
        let (progress, error) = task.read(|state| (state.progress, state.error.clone()));
        info!(
            task = task.id,
            status = status.api_name(),
            ingested = progress.ingested,
            error,
            "batch load task"
        );
        if let Err(Stopped::Pause(reason)) = self.note(task).await {
            warn!(
                task = task.id,
                reason, "the state of a batch load task was not stored; it will go on at the next start"
            );
        }
    }

    /// Puts the report into its bucket; returns what the task's error says.
    async fn report(&self, task: &RunningTask, error: String) -> Option<String> {
        let (report, place) = task.read(|state| {
            let place = state.definition.report_configuration.report_s3_configuration.clone();
            (state.mistakes.report(&task.id), place)
        });
        let Some(place) = place else { return Some(error) };
        let key = report::key(place.object_key_prefix.as_deref(), &task.id);
        let put = async {
            let bucket = self.buckets.open_for_reports(&place.bucket_name, &place.encryption()).await?;
            bucket.put(&key, Bytes::from(report.to_string())).await
        };
        Some(match put.await {
            Ok(()) => format!("{error} See the report at s3://{}/{key}", place.bucket_name),
            Err(failed) => format!("{error} The report could not be written: {failed}"),
        })
    }
}

/// The moment that is `wait` after `now`, in nanoseconds.
fn after(now: i64, wait: Duration) -> i64 {
    now.saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX))
}

impl ReportS3Configuration {
    fn encryption(&self) -> Encryption {
        Encryption::of_option(self.encryption_option.as_deref(), self.kms_key_id.clone())
    }
}
