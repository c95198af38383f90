//! A Message in, its Effects carried out: the only place where rules meet the store and the world outside.
//!
//! - A receipt resolves once every row of the message is durable, those of messages that were republished
//!   for it included.
//! - A rule that fails costs that rule only: the failure is counted and logged, its error action runs, and
//!   what no action could take goes to the dead-letter file. The publisher still gets its acknowledgement, as
//!   on AWS (spec 6.2). Only a store that can no longer keep its promise withholds it.
//! - Lines of file actions are with the operating system before the acknowledgement. Requests of http
//!   actions happen afterwards.
//! - A rule that calls a function others run goes on when the answer is there, before the acknowledgement and
//!   beside the other rules.
//! - A republished message goes to rules like any other, then to subscribers. It is never far from its
//!   origin: [`PipelineOptions::hops_max`] and [`REPUBLISHED_MAX`] end every loop.
//!
//! ```text
//! active       the rules in force, and the counters of each
//! steps        one message, rule by rule, effect by effect
//! timestream   records to the store
//! functions    calls whose answers a statement needs
//! dead_letter  what no action could take
//! journal      what the broker must remember, on the store's disk
//! counters     what happened, by rule
//! ```

mod active;
mod counters;
mod dead_letter;
mod functions;
mod journal;
mod steps;
mod timestream;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use active::Active;
use counters::Tally;
pub use counters::{ActionCounters, LastError, PipelineCounters, RuleCounters};
use functions::Functions;
pub use journal::BrokerJournal;
use steps::Work;

use crate::clock::{Clock, ProcessingTime};
use crate::message::Message;
use crate::mqtt::{Ingest, Receipt};
use crate::outlet::{Bound, Outlet};
use crate::posts::Posts;
use crate::rules::RuleSet;
use crate::shutdown::Shutdown;
use crate::store::Store;

/// How many messages may be republished for one that came in, directly and by rules that saw those.
const REPUBLISHED_MAX: usize = 100;

/// Where the pipeline writes, and how far a message may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineOptions {
    /// The folder of the dead-letter file.
    pub dead_letters: PathBuf,
    /// The folder of the files of file actions.
    pub files: PathBuf,
    /// How often a message may be republished by rules that see one another's messages.
    pub hops_max: usize,
    /// How long a call of `aws_lambda` may take.
    pub function_timeout: Duration,
}

/// What the pipeline is made of; the daemon owns all of it.
#[derive(Debug)]
pub struct PipelineParts {
    /// Where records go.
    pub store: Store,
    /// The time of failures.
    pub clock: Arc<dyn Clock>,
    /// The daemon's one source of processing times.
    pub times: Arc<ProcessingTime>,
    /// Where republished messages go once rules have seen them: to the subscribers.
    pub republished: mpsc::Sender<Arc<Message>>,
}

/// Runs rules over messages and carries out what they ask for; clones are the same pipeline.
#[derive(Debug, Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
}

/// What all clones share.
#[derive(Debug)]
struct Shared {
    active: RwLock<Arc<Active>>,
    tally: Tally,
    parts: PipelineParts,
    posts: Arc<Posts>,
    functions: Functions,
    dead_letters: Arc<Outlet>,
    files: Arc<Outlet>,
    hops_max: usize,
    /// The requests of http actions, and rules that wait for answers.
    background: Shutdown,
}

impl Pipeline {
    /// A pipeline that evaluates `rules`.
    pub fn new(rules: RuleSet, parts: PipelineParts, options: PipelineOptions) -> Self {
        let shared = Shared {
            active: RwLock::new(Arc::new(Active::new(rules))),
            tally: Tally::default(),
            parts,
            posts: Arc::default(),
            functions: Functions::new(options.function_timeout),
            dead_letters: Arc::new(Outlet::new(options.dead_letters)),
            files: Arc::new(Outlet::new(options.files)),
            hops_max: options.hops_max,
            background: Shutdown::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(self.shared.active().rules())
    }

    /// Puts `rules` in force, all at once. A rule that keeps its name keeps its counters.
    pub fn swap_rules(&self, rules: RuleSet) {
        let mut active = self.shared.active.write().unwrap_or_else(PoisonError::into_inner);
        *active = Arc::new(active.followed_by(rules));
    }

    /// What has been counted so far.
    pub fn counters(&self) -> PipelineCounters {
        let tally = &self.shared.tally;
        PipelineCounters {
            messages: tally.messages.get(),
            republished: tally.republished.get(),
            rules_not_found: tally.rules_not_found.get(),
            dead_letters: tally.dead_letters.get(),
            dead_letters_lost: tally.dead_letters_lost.get(),
            http_waiting: self.shared.posts.waiting() as u64,
            rules: self.shared.active().tallies().iter().map(|tally| tally.snapshot()).collect(),
        }
    }

    /// Finishes the requests that are under way; those that wait fail, and go to their rules' error actions
    /// or to the dead-letter file. Returns how many were still under way after `deadline`.
    pub async fn stop(&self, deadline: Duration) -> usize {
        self.shared.background.stop(deadline).await
    }
}

#[async_trait]
impl Ingest for Pipeline {
    async fn submit(&self, message: &Arc<Message>) -> Receipt {
        self.shared.tally.messages.add(1);
        let mut work = Work::for_message(message);
        let done = self.shared.run(&mut work).await;
        Box::pin(async move {
            done?;
            work.durable().await
        })
    }
}

impl Shared {
    fn active(&self) -> Arc<Active> {
        Arc::clone(&self.active.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Appends a line on a thread that may wait for the disk.
async fn append(
    outlet: &Arc<Outlet>,
    name: impl Into<String>,
    line: String,
    bound: Bound,
) -> Result<(), String> {
    let (outlet, name) = (Arc::clone(outlet), name.into());
    let written = tokio::task::spawn_blocking(move || outlet.append(&name, &line, bound)).await;
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("the file cannot be written: {error}")),
        Err(error) => Err(format!("the file cannot be written: {error}")),
    }
}

#[cfg(test)]
mod tests;
