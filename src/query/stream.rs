//! A whole result, piece by piece, for callers within the process: scheduled queries.
//!
//! Beside [`Engine::query`](super::Engine::query) in two ways. The result is the caller's own and no other
//! query pushes it out while the caller does something with its rows. And it takes no turn of those that
//! clients wait for: whoever opens streams bounds how many there are, and how long each may take.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::error;

use super::deadline::Deadline;
use super::engine::{Engine, query_id, stopping, timed_out};
use super::error::QueryError;
use super::insights::{Insights, Observed};
use super::pages::{METERED_BYTES_MIN, at_run_time};
use super::results::PageSize;
use super::rows::{ColumnInfo, Datum};
use super::statement::Parameters;

/// A piece of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Its rows, about as many as a page has.
    pub rows: Vec<Vec<Datum>>,
    /// Bytes read so far.
    pub bytes_scanned: u64,
    /// Bytes Timestream would put on the bill for all so far.
    pub bytes_metered: u64,
    /// What the query has read and given so far.
    pub insights: Insights,
}

/// A result that is being computed. Dropping it stops the query.
#[derive(Debug)]
pub struct ResultStream {
    columns: Arc<[ColumnInfo]>,
    chunks: mpsc::Receiver<Result<Chunk, QueryError>>,
    until: Instant,
    within: Duration,
    deadline: Deadline,
    /// Nothing once its end was seen.
    task: Option<JoinHandle<()>>,
}

impl Engine {
    /// Runs a query that ends within the time given, its rows read included.
    ///
    /// # Errors
    /// When the text or its parameters are wrong, or the query could not begin in time.
    pub async fn stream(
        &self,
        sql: String,
        parameters: Parameters,
        within: Duration,
    ) -> Result<ResultStream, QueryError> {
        let inner = Arc::clone(&self.inner);
        if inner.stopping.is_cancelled() {
            return Err(stopping());
        }
        let deadline = Deadline::default();
        // One piece waits while the caller works on the one before.
        let (pieces, chunks) = mpsc::channel(1);
        let (began, begins) = oneshot::channel();
        let size = PageSize { rows: inner.options.page_rows, bytes: inner.options.page_bytes };
        let told = deadline.clone();
        let task = self.inner.handle.spawn(async move {
            // Who waits for the first rows of a page wants to know; here the columns say it.
            let (tell, _) = oneshot::channel();
            let mut results = match inner.run_text(&sql, &parameters, &query_id(), told, tell).await {
                Ok(results) => results,
                Err(error) => return drop(began.send(Err(error))),
            };
            if began.send(Ok(Arc::clone(&results.columns))).is_err() {
                return;
            }
            loop {
                let (chunk, more) = match results.page(size).await {
                    Ok((rows, more)) => {
                        let bytes_scanned = results.observed().map_or(0, Observed::bytes_scanned);
                        let bytes_metered = bytes_scanned.max(METERED_BYTES_MIN);
                        let insights = results.insights();
                        (Ok(Chunk { rows, bytes_scanned, bytes_metered, insights }), more)
                    }
                    Err(error) => (Err(at_run_time(&error)), false),
                };
                if pieces.send(chunk).await.is_err() || !more {
                    return;
                }
            }
        });
        let until = Instant::now() + within;
        let mut stream =
            ResultStream { columns: Arc::default(), chunks, until, within, deadline, task: Some(task) };
        stream.columns = match tokio::time::timeout_at(until, begins).await {
            Ok(Ok(columns)) => columns?,
            Ok(Err(_)) => return Err(stream.ended().await),
            Err(_) => return Err(stream.late()),
        };
        Ok(stream)
    }
}

impl ResultStream {
    /// The columns of the result.
    pub fn columns(&self) -> &[ColumnInfo] {
        &self.columns
    }

    /// The next piece, or nothing at the end. Every result has at least one, be it empty.
    ///
    /// # Errors
    /// When the query failed or its time is up; there is nothing more then.
    pub async fn next(&mut self) -> Result<Option<Chunk>, QueryError> {
        match tokio::time::timeout_at(self.until, self.chunks.recv()).await {
            Ok(Some(chunk)) => chunk.map(Some),
            Ok(None) => match self.was_cut().await {
                Some(error) => Err(error),
                None => Ok(None),
            },
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> QueryError {
        timed_out(self.within)
    }

    /// Why the task ended, once it has said nothing more; nothing if it had come to its end.
    async fn was_cut(&mut self) -> Option<QueryError> {
        match self.task.take()?.await {
            Ok(()) => None,
            Err(failure) if failure.is_panic() => {
                error!("a query panicked");
                Some(QueryError::Execution("the query failed inside the engine".to_owned()))
            }
            Err(_) => Some(stopping()),
        }
    }

    async fn ended(&mut self) -> QueryError {
        self.was_cut().await.unwrap_or_else(stopping)
    }
}

impl Drop for ResultStream {
    fn drop(&mut self) {
        self.deadline.pass();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
