//! The engine: queries in, pages out, on a runtime of its own.
//!
//! Everything a query does, parsing included, happens on threads of the engine, so that no query can
//! hold up an acknowledgement or a socket. The caller waits with a deadline and is answered in time
//! even if an operator does not yield; the work it gave up is told to stop and keeps its place in the
//! queue until it has.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::execution::session_state::SessionState;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::context::Language;
use super::cursor::{Cursors, Kept, Rest, cancelled};
use super::deadline::Deadline;
use super::error::QueryError;
use super::functions::Registry;
use super::insights::Insights;
use super::limits::{QueryOptions, STACK_BYTES};
use super::pages::First;
use super::pending::{Pending, Work, outcome};
use super::prepare::Prepared;
use super::reach::{Reach, reach};
use super::rows::{ColumnInfo, Datum};
use super::running::Running;
use super::session::{language, session_states};
use super::source::Source;
use super::statement::Parameters;
use crate::clock::Clock;

/// How many UNLOAD queries run at once, beside the others.
pub(super) const UNLOADS_MAX: usize = 2;

/// A query, or the next page of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryRequest {
    /// The query's text. A request for a further page carries the same text.
    pub sql: String,
    /// Most rows of a page.
    pub max_rows: Option<usize>,
    /// The token of the page that is wanted.
    pub next_token: Option<String>,
    /// Whether the page is to tell what the query has read.
    pub insights: bool,
    /// Who asks, where callers prove it: a token is good for whoever got it (spec 6.1).
    pub principal: Option<String>,
}

/// A page of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The query's name, the same on all its pages: letters and digits.
    pub query_id: String,
    /// The columns, on every page and for an empty result too.
    pub columns: Arc<[ColumnInfo]>,
    /// The rows.
    pub rows: Vec<Vec<Datum>>,
    /// The token of the next page, if there is one.
    pub next_token: Option<String>,
    /// How much of the query is done, in percent.
    pub progress: f64,
    /// Bytes read so far.
    pub bytes_scanned: u64,
    /// Bytes Timestream would put on the bill.
    pub bytes_metered: u64,
    /// What the query has read and given so far, if the request asks for it.
    pub insights: Option<Insights>,
}

/// What became of a request to cancel a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The query is told to stop.
    Now,
    /// It was told before.
    Before,
}

/// Runs queries. Clones share everything.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) options: QueryOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(super) language: Language,
    pub(super) state: SessionState,
    pub(super) state_for_try: SessionState,
    pub(crate) cursors: Cursors,
    running: Running,
    turns: Arc<Semaphore>,
    pub(super) unloads: Arc<Semaphore>,
    waiting: AtomicUsize,
    pub(crate) stopping: CancellationToken,
    pub(crate) handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("source", &self.source).field("options", &self.options).finish()
    }
}

/// A runtime must not be dropped on a thread that runs futures.
impl Drop for Inner {
    fn drop(&mut self) {
        stop_runtime(&self.runtime);
    }
}

fn stop_runtime(runtime: &Mutex<Option<Runtime>>) {
    let taken = runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(runtime) = taken {
        runtime.shutdown_background();
    }
}

/// Why an engine cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The threads of the query runtime could not be started.
    #[error("cannot start the query runtime: {0}")]
    Runtime(#[from] std::io::Error),
    /// DataFusion refused its configuration.
    #[error("cannot configure the query engine: {0}")]
    Configuration(#[from] DataFusionError),
}

impl Engine {
    /// An engine over `source`.
    pub fn new(
        source: Arc<dyn Source>,
        options: QueryOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EngineError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        let registry = Arc::new(Registry::new());
        let (state, state_for_try) = session_states(source.as_ref(), &options)?;
        let cursors = Cursors::new(options.cursors, options.token_lifetime, options.token_uses);
        let inner = Arc::new(Inner {
            language: language(&registry),
            state,
            state_for_try,
            cursors,
            running: Running::default(),
            turns: Arc::new(Semaphore::new(options.concurrency.max(1))),
            unloads: Arc::new(Semaphore::new(UNLOADS_MAX)),
            waiting: AtomicUsize::new(0),
            stopping: CancellationToken::new(),
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            source,
            options,
            clock,
        });
        inner.handle.spawn(sweep(Arc::downgrade(&inner), inner.stopping.clone()));
        Ok(Self { inner })
    }

    /// Answers with the first page of a query, or with the page a token names.
    pub async fn query(&self, request: QueryRequest) -> Result<Page, QueryError> {
        self.query_with(request, Parameters::new()).await
    }

    /// The same for a text with parameters, which a scheduled query has.
    pub async fn query_with(
        &self,
        request: QueryRequest,
        parameters: Parameters,
    ) -> Result<Page, QueryError> {
        let inner = &self.inner;
        if inner.stopping.is_cancelled() {
            return Err(stopping());
        }
        let Some(token) = request.next_token.clone() else {
            return self.begin(request, parameters).await;
        };
        let cursor = inner.cursors.find(&token, &request, inner.clock.now())?;
        if let Some(page) = inner.poll(&cursor, &token).await {
            return page;
        }
        // The joins of a plan ask the deadline they were given when the first page was made.
        let deadline = cursor.deadline.clone();
        let worker = Arc::clone(inner);
        let work = Box::pin(async move { worker.next_page(&cursor, &token, &request).await });
        let mut work = self.start(deadline, work).await?;
        self.page(&mut work).await
    }

    /// Begins a query. Its caller waits for the first rows, and after a while is given a page without.
    async fn begin(&self, request: QueryRequest, parameters: Parameters) -> Result<Page, QueryError> {
        let inner = &self.inner;
        let (deadline, query_id) = (Deadline::default(), query_id());
        inner.running.add(&query_id, &deadline);
        let (tell, started) = oneshot::channel();
        let first = First { query_id: query_id.clone(), deadline: deadline.clone(), tell };
        let request = Arc::new(request);
        let (worker, asked) = (Arc::clone(inner), Arc::clone(&request));
        // In a box, as all that is spawned: the caller's own future stays small.
        let work = Box::pin(async move { worker.first_page(&asked, &parameters, first).await });
        let mut work = self.start(deadline, work).await?;
        let until = Instant::now() + inner.options.timeout;
        let patience = inner.options.first_page_within;
        let late = async {
            tokio::time::sleep(patience).await;
            match started.await {
                Ok(started) => started,
                // A query that cannot be planned has its answer in a moment.
                Err(_) => std::future::pending().await,
            }
        };
        let started = tokio::select! {
            page = self.page(&mut work) => return page,
            started = late => started,
        };
        let deadline = work.deadline.clone();
        let pending = Pending::new(query_id.clone(), work, started, until, inner.options.timeout);
        let mut page = pending.page();
        let kept = Kept { query_id, rest: Rest::Query(pending), deadline };
        page.next_token = Some(inner.cursors.keep(kept, &request, inner.clock.now()));
        Ok(page)
    }

    /// Starts work on the engine's threads, once it has its turn.
    async fn start(
        &self,
        deadline: Deadline,
        work: impl Future<Output = Result<Page, QueryError>> + Send + 'static,
    ) -> Result<Work, QueryError> {
        let inner = &self.inner;
        let permit = tokio::select! {
            permit = inner.turn() => permit?,
            () = deadline.cancelled() => return Err(cancelled()),
            () = inner.stopping.cancelled() => return Err(stopping()),
        };
        let task = inner.handle.spawn(async move {
            // Held by the work, not by the caller: what does not stop at once still takes its place.
            let _permit: OwnedSemaphorePermit = permit;
            work.await
        });
        Ok(Work { task, deadline })
    }

    /// Waits for a page.
    async fn page(&self, work: &mut Work) -> Result<Page, QueryError> {
        let inner = &self.inner;
        tokio::select! {
            done = &mut work.task => outcome(done),
            () = tokio::time::sleep(inner.options.timeout) => Err(timed_out(inner.options.timeout)),
            () = work.deadline.cancelled() => Err(cancelled()),
            () = inner.stopping.cancelled() => Err(stopping()),
        }
    }

    /// Stops a query: what runs of it, and what waits for its next page.
    ///
    /// # Errors
    /// When there is no such query, or it has ended.
    pub fn cancel(&self, query_id: &str) -> Result<Cancelled, QueryError> {
        let cancelled = self.inner.running.cancel(query_id)?;
        self.inner.cursors.empty(query_id);
        Ok(cancelled)
    }

    /// Checks and plans a query without running it; its parameters need no values.
    pub async fn prepare(&self, sql: &str) -> Result<Prepared, QueryError> {
        let inner = &self.inner;
        let permit = inner.turn().await?;
        let (worker, sql) = (Arc::clone(inner), sql.to_owned());
        let task = inner.handle.spawn(async move {
            let _permit: OwnedSemaphorePermit = permit;
            worker.prepare(&sql).await
        });
        // A plan that takes too long goes on taking its place, but its caller is answered.
        let done = tokio::select! {
            done = task => done,
            () = tokio::time::sleep(inner.options.timeout) => return Err(timed_out(inner.options.timeout)),
            () = inner.stopping.cancelled() => return Err(stopping()),
        };
        match done {
            Ok(prepared) => prepared,
            Err(error) if error.is_panic() => {
                Err(QueryError::Execution("the query failed inside the engine".to_owned()))
            }
            Err(_) => Err(stopping()),
        }
    }

    /// What a statement reads.
    ///
    /// # Errors
    /// When it is not a statement.
    pub async fn reach(&self, sql: &str) -> Result<Vec<Reach>, QueryError> {
        let sql = sql.to_owned();
        // On the engine's threads, whose stacks are made for deep statements.
        let read = self.inner.handle.spawn(async move { reach(&sql) });
        read.await.unwrap_or_else(|error| {
            if error.is_panic() {
                Err(QueryError::Execution("the query failed inside the engine".to_owned()))
            } else {
                Err(stopping())
            }
        })
    }

    /// Cancels what runs, drops what waits for its next page and stops the engine's threads.
    pub async fn shutdown(&self) {
        self.inner.stopping.cancel();
        self.inner.cursors.clear();
        stop_runtime(&self.inner.runtime);
    }
}

pub(crate) fn stopping() -> QueryError {
    QueryError::Unavailable("the query engine is stopping".to_owned())
}

pub(crate) fn timed_out(after: Duration) -> QueryError {
    QueryError::Exhausted(format!("Query timed out after {} s; narrow its time range", after.as_secs_f64()))
}

/// The name of a new query: letters and digits, as AWS's begin (spec 6.1).
pub(super) fn query_id() -> String {
    format!("AED{}", Uuid::new_v4().simple()).to_uppercase()
}

/// Drops expired results while no query comes that would.
async fn sweep(engine: std::sync::Weak<Inner>, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(30)) => {}
            () = stopping.cancelled() => return,
        }
        match engine.upgrade() {
            Some(inner) => inner.cursors.expire(inner.clock.now()),
            None => return,
        }
    }
}

impl Inner {
    /// Waits for a turn; a full queue is an error at once.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        if let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(&self.waiting, self.options.queue)?;
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout(self.options.timeout, turn).await {
            Ok(permit) => permit.map_err(|_| stopping()),
            Err(_) => Err(QueryError::Throttled(format!(
                "The query waited {} s for its turn; try again later",
                self.options.timeout.as_secs_f64()
            ))),
        }
    }
}

/// A place in the queue, given back when the wait is over.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Result<Self, QueryError> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::SeqCst) < most {
            return Ok(place);
        }
        Err(QueryError::Throttled("Too many queries are waiting; try again later".to_owned()))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
