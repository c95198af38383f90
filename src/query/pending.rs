//! A query that works on its first rows longer than its caller waits for them.
//!
//! The caller then gets a page without rows and a token (spec 6.1), with which it asks again: so it
//! learns the query's name, and can cancel it, and no time-out on its side ends a query that is still
//! wanted. What runs is stopped when the token is forgotten or the time for a page is up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::error;

use super::deadline::Deadline;
use super::error::QueryError;
use super::insights::Observed;
use super::rows::ColumnInfo;
use super::{Page, engine, pages};

/// What is known of a query once it runs.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    pub(crate) columns: Arc<[ColumnInfo]>,
    pub(crate) observed: Arc<Observed>,
}

/// Work on a page. Stops when it is dropped, whether in time or not.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) task: JoinHandle<Result<Page, QueryError>>,
    pub(crate) deadline: Deadline,
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.task.is_finished() {
            self.deadline.pass();
            self.task.abort();
        }
    }
}

/// What became of work that has ended.
pub(crate) fn outcome(done: Result<Result<Page, QueryError>, JoinError>) -> Result<Page, QueryError> {
    match done {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => {
            error!("a query panicked");
            // The same query would panic again: not an error that SDKs repeat.
            Err(QueryError::Execution("the query failed inside the engine".to_owned()))
        }
        Err(_) => Err(engine::stopping()),
    }
}

/// A query whose first rows are not there yet.
pub(crate) struct Pending {
    query_id: String,
    work: Work,
    started: Started,
    /// When the time for a page is up.
    until: Instant,
    /// How long that is.
    timeout: Duration,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("query_id", &self.query_id).finish_non_exhaustive()
    }
}

impl Pending {
    /// A query that runs; it is stopped at `until` even if nobody asks for it again.
    pub(crate) fn new(
        query_id: String,
        work: Work,
        started: Started,
        until: Instant,
        timeout: Duration,
    ) -> Self {
        let (left, abort) = (work.deadline.downgrade(), work.task.abort_handle());
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            if let Some(deadline) = left.upgrade().filter(|_| !abort.is_finished()) {
                deadline.pass();
                abort.abort();
            }
        });
        Self { query_id, work, started, until, timeout }
    }

    /// A page without rows.
    pub(crate) fn page(&self) -> Page {
        pages::empty_page(self.query_id.clone(), &self.started)
    }

    /// The page with the first rows, if it is there within `patience`. Giving up waiting harms nothing.
    pub(crate) async fn poll(&mut self, patience: Duration) -> Option<Result<Page, QueryError>> {
        tokio::select! {
            done = &mut self.work.task => Some(match Instant::now() >= self.until {
                true if done.as_ref().is_err() => Err(engine::timed_out(self.timeout)),
                _ => outcome(done),
            }),
            () = self.work.deadline.cancelled() => Some(Err(super::cursor::cancelled())),
            () = tokio::time::sleep_until(self.until) => Some(Err(engine::timed_out(self.timeout))),
            () = tokio::time::sleep(patience) => None,
        }
    }
}
