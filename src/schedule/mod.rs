//! Scheduled queries: a query, when it runs, and what its rows become (spec 6.8).
//!
//! - A query that was created is on disk, and so is how its runs went; a run that was accepted is repeated
//!   if the process dies before its end. Runs that fell due while there was no process are made up for by
//!   one, the latest.
//! - Runs of one query come one after the other, those of all queries [`ScheduleOptions::runs_at_once`] at
//!   a time, each within [`ScheduleOptions::run_within`]. One that fails costs itself only.
//! - A query that fails for a reason that will not pass is disabled, as on AWS.
//!
//! ```text
//! expression   when
//! definition   what was asked for        history   what became of it
//! mapping      rows -> records           target    the table they go to
//! book         what is due, what waits   run       one run
//! report       records that were refused notice    what subscribers are told
//! calls        what the API asks for        counters numbers for operators
//! ```
//!
//! This file is the timer: it takes what is due from the book and hands it to runs.

mod definition;
mod error;
mod expression;
mod history;

mod mapping;
mod target;

mod counters;
mod notice;
mod report;

mod book;
mod calls;
mod run;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tracing::{error, info, warn};

use crate::buckets::Buckets;
use crate::clock::{Clock, Timestamp};
use crate::query::Engine;
use crate::shutdown::Shutdown;
use crate::store::Store;

pub use calls::Described;
pub use counters::ScheduleCounters;
pub use definition::{Definition, DimensionMapping, ReportLocation, Request, State, Target};
pub use error::ScheduleError;
pub use expression::ExpressionError;
pub use history::{ReportKey, Run, Stats, Trigger};

use book::{Book, Entry};
use counters::Tally;
use history::{History, Invocation};
use notice::{Notice, Notices};
use run::Runner;

/// The kinds of the documents in the store.
const DEFINITIONS: &str = "scheduled-query";
const HISTORIES: &str = "scheduled-query-runs";

/// How long the timer sleeps at most: a clock may jump.
const TICK: Duration = Duration::from_secs(1);

/// How many documents are read at a time when the store is opened.
const PAGE: usize = 100;

/// What scheduled queries need to know about the installation.
#[derive(Debug, Clone)]
pub struct ScheduleOptions {
    /// The region in ARNs.
    pub region: String,
    /// The account in ARNs.
    pub account_id: String,
    /// How many scheduled queries there may be. AWS: 10,000.
    pub queries_max: usize,
    /// How many runs there are at a time. Default: 2.
    pub runs_at_once: usize,
    /// How long a run may take. Default: 15 minutes.
    pub run_within: Duration,
    /// The addresses that topics are posted to, by their ARNs.
    pub notifications: BTreeMap<String, String>,
}

impl Default for ScheduleOptions {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
            queries_max: 10_000,
            runs_at_once: 2,
            run_within: Duration::from_secs(15 * 60),
            notifications: BTreeMap::new(),
        }
    }
}

/// The rooms that scheduled queries use.
#[derive(Debug)]
pub struct ScheduleParts {
    /// Where definitions are kept and records are written.
    pub store: Store,
    /// What runs the queries.
    pub engine: Engine,
    /// Where error reports go.
    pub buckets: Buckets,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// All scheduled queries. Clones are the same.
#[derive(Debug, Clone)]
pub struct Schedules {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: ScheduleOptions,
    runner: Runner,
    book: Mutex<Book>,
    /// Held while a definition or a history is changed, on disk and in the book.
    changing: tokio::sync::Mutex<()>,
    turns: Arc<Semaphore>,
    notices: Notices,
    tally: Arc<Tally>,
    changed: Notify,
    /// Runs and notifications under way.
    tasks: Shutdown,
}

impl Schedules {
    /// The scheduled queries that `parts.store` holds. Nothing runs before [`Schedules::keep`] does.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(options: ScheduleOptions, parts: ScheduleParts) -> Result<Self, ScheduleError> {
        let ScheduleParts { store, engine, buckets, clock } = parts;
        let book = read(&store, clock.now())?;
        let tasks = Shutdown::new();
        let tally = Arc::<Tally>::default();
        let notices = Notices::new(
            options.notifications.clone(),
            Arc::clone(&clock),
            Arc::clone(&tally),
            tasks.clone(),
        );
        let inner = Inner {
            turns: Arc::new(Semaphore::new(options.runs_at_once.max(1))),
            runner: Runner { store, engine, buckets, clock, within: options.run_within },
            options,
            book: Mutex::new(book),
            changing: tokio::sync::Mutex::default(),
            notices,
            tally,
            changed: Notify::new(),
            tasks,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs what is due, until `stop` is requested.
    pub async fn keep(&self, stop: Shutdown) {
        loop {
            self.dispatch();
            let now = self.inner.now().nanos();
            let due = self.inner.book().next_due().map_or(i64::MAX, Timestamp::nanos);
            let until = Duration::from_nanos(due.saturating_sub(now).max(0).unsigned_abs());
            tokio::select! {
                () = stop.requested() => return,
                () = tokio::time::sleep(until.min(TICK)) => {}
                () = self.inner.changed.notified() => {}
            }
        }
    }

    /// Ends what is under way: runs are given up, and repeated at the next start; notifications have
    /// `within` to be delivered. Returns how many were not.
    pub async fn stop(&self, within: Duration) -> usize {
        self.inner.tasks.stop(within).await
    }

    /// What there is, what waits, and what was done since the daemon started.
    pub fn counters(&self) -> ScheduleCounters {
        let book = self.inner.book();
        let enabled = book.iter().filter(|entry| entry.definition.state == State::Enabled).count();
        let ahead: usize = book.iter().map(Entry::runs_ahead).sum();
        self.inner.tally.with(enabled as u64, (book.len() - enabled) as u64, ahead as u64)
    }

    /// Begins the runs that are due or wait for nothing else.
    fn dispatch(&self) {
        let ids = {
            let mut book = self.inner.book();
            book.take_due(self.inner.now());
            book.idle_with_work()
        };
        for id in ids {
            if !self.inner.tasks.is_requested() && self.inner.book().claim(&id) {
                let inner = Arc::clone(&self.inner);
                self.inner.tasks.spawn(async move { inner.work(&id).await });
            }
        }
    }
}

fn read(store: &Store, now: Timestamp) -> Result<Book, ScheduleError> {
    let mut book = Book::default();
    let unreadable = |what: &str, id: &str, error: &dyn std::fmt::Display| {
        warn!(id, %error, "{what} of a scheduled query cannot be read and is left out");
    };
    let mut after: Option<String> = None;
    loop {
        let page = store.documents(DEFINITIONS, after.as_deref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(book) };
        after = Some(last.id.clone());
        for document in page {
            let definition = match Definition::from_bytes(&document.bytes) {
                Ok(definition) => definition,
                Err(error) => {
                    unreadable("the definition", &document.id, &error);
                    continue;
                }
            };
            let expression = match definition.expression() {
                Ok(expression) => expression,
                Err(error) => {
                    unreadable("the expression", &document.id, &error);
                    continue;
                }
            };
            let history = match store.document(HISTORIES, &document.id)? {
                Some(bytes) => History::from_bytes(&bytes).unwrap_or_else(|error| {
                    unreadable("the history", &document.id, &error);
                    History::from(now)
                }),
                None => History::from(definition.created()),
            };
            book.add(definition, expression, history, now);
        }
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of the book panics")
    }

    fn now(&self) -> Timestamp {
        self.runner.clock.now()
    }

    /// The ARN of a scheduled query.
    fn arn(&self, id: &str) -> String {
        let ScheduleOptions { region, account_id, .. } = &self.options;
        format!("arn:aws:timestream:{region}:{account_id}:scheduled-query/{id}")
    }

    /// Works on the runs of one query that wait, one after the other, until none does.
    async fn work(self: Arc<Self>, id: &str) {
        loop {
            let turn = tokio::select! {
                biased;
                () = self.tasks.requested() => return,
                turn = self.turns.acquire() => turn,
            };
            let Ok(_turn) = turn else { return };
            let Some((definition, invocation)) = self.book().take_waiting(id) else { return };
            let running = self.run(&definition, &invocation);
            tokio::select! {
                biased;
                () = self.tasks.requested() => return,
                () = running => {}
            }
        }
    }

    /// One run, from the note that it began to the note of its end.
    async fn run(&self, definition: &Definition, invocation: &Invocation) {
        let id = definition.id.as_str();
        let begun = self
            .change_history(id, |history| {
                if invocation.trigger == Trigger::Auto {
                    history.through = history.through.max(invocation.time);
                }
                if !history.unfinished.contains(invocation) {
                    history.unfinished.push_back(invocation.clone());
                }
                history.next_version(self.now())
            })
            .await;
        let version = match begun {
            Ok(Some(version)) => version,
            Ok(None) => return,
            Err(error) => {
                // Without the note the run could not be repeated; the next one tries again.
                error!(id, %error, "a run of a scheduled query could not be noted and was left out");
                return;
            }
        };
        let (run, is_final) = self.runner.run(definition, invocation, version).await;
        match &run.failure {
            None => info!(id, records = run.stats.records_ingested, "a scheduled query ran"),
            Some(reason) => warn!(id, reason, "a scheduled query failed"),
        }
        let ended = self.change_history(id, |history| history.finish(invocation, run.clone())).await;
        if let Err(error) = &ended {
            error!(id, %error, "the end of a run of a scheduled query could not be noted");
        }
        self.tally.run(&run);
        let topic = definition.request.topic_arn.as_str();
        let disabled = is_final && self.disable(id).await;
        let next = self.book().get(id).and_then(|entry| entry.next);
        self.notices.send(topic, &self.arn(id), &Notice::Run { run: &run, next });
        if disabled {
            self.notices.send(topic, &self.arn(id), &Notice::Updated(State::Disabled));
        }
    }

    /// Disables a query that cannot succeed. Returns whether it was enabled.
    async fn disable(&self, id: &str) -> bool {
        match self.change_state(id, State::Disabled).await {
            Ok(true) => {
                warn!(id, "a scheduled query was disabled: it fails until it, its tables or its data change");
                true
            }
            Ok(false) | Err(ScheduleError::NotFound { .. }) => false,
            Err(error) => {
                error!(id, %error, "a scheduled query that fails could not be disabled");
                false
            }
        }
    }

    /// Changes the history of a query, on disk first. Nothing if the query is not there any more.
    async fn change_history<T: Send>(
        &self,
        id: &str,
        change: impl FnOnce(&mut History) -> T + Send,
    ) -> Result<Option<T>, ScheduleError> {
        let _changing = self.changing.lock().await;
        let Some(mut history) = self.book().get(id).map(|entry| entry.history.clone()) else {
            return Ok(None);
        };
        let answer = change(&mut history);
        let (store, key, bytes) = (self.runner.store.clone(), id.to_owned(), history.to_bytes());
        blocking(move || store.put_document(HISTORIES, &key, &bytes)).await?;
        if let Some(entry) = self.book().get_mut(id) {
            entry.history = history;
        }
        Ok(Some(answer))
    }
}

/// Runs a call that waits for the disk where it holds up nothing.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, crate::store::StoreError> + Send + 'static,
) -> Result<T, ScheduleError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(done) => Ok(done?),
        Err(failure) => {
            error!(%failure, "a store call ended abnormally");
            Err(ScheduleError::Internal("The request could not be completed.".to_owned()))
        }
    }
}
