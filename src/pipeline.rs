//! A Message in, its Effects carried out: the only place where rules meet the store.
//!
//! A receipt resolves once every row of the message is durable. A rule that fails costs that rule
//! only: the failure is counted and logged and the publisher still gets its acknowledgement, as on
//! AWS (spec 6.2). Only a store that can no longer keep its promise withholds it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tracing::{debug, warn};

use crate::message::Message;
use crate::mqtt::{Ingest, IngestError, Receipt};
use crate::record::WriteBatch;
use crate::rules::{ActionKind, Effect, FailedAction, Failure, RuleSet, TimestreamWrite};
use crate::store::{DatabaseOptions, Pending, Store, StoreError, TableOptions};

/// Runs rules over messages and carries out what they ask for.
#[derive(Debug)]
pub struct Pipeline {
    rules: RuleSet,
    store: Store,
    failures: Failures,
}

/// What one message has set going.
#[derive(Default)]
struct Run {
    /// Batches on their way to the disk.
    pending: Vec<Pending>,
    /// Actions that failed, with their rule, for the rule's error action.
    failed: Vec<(Arc<str>, FailedAction)>,
}

impl Pipeline {
    /// A pipeline that evaluates `rules` and writes to `store`.
    pub fn new(rules: RuleSet, store: Store) -> Self {
        Self { rules, store, failures: Failures::default() }
    }

    /// Starts every effect of `message` in order, then the error actions of the rules whose actions
    /// failed, one for all failures of a rule (spec 6.1).
    async fn start(&self, message: &Message) -> Result<Vec<Pending>, IngestError> {
        let mut run = Run::default();
        for effect in self.rules.evaluate(message) {
            self.carry_out(effect, &mut run).await?;
        }
        let mut failed = std::mem::take(&mut run.failed);
        while let Some((rule, _)) = failed.first() {
            let rule = Arc::clone(rule);
            let (of_rule, others): (Vec<_>, Vec<_>) =
                failed.into_iter().partition(|(other, _)| *other == rule);
            failed = others;
            let actions: Vec<FailedAction> = of_rule.into_iter().map(|(_, action)| action).collect();
            for effect in self.rules.error_effects(&rule, message, &actions) {
                self.carry_out(effect, &mut run).await?;
            }
        }
        Ok(run.pending)
    }

    async fn carry_out(&self, effect: Effect, run: &mut Run) -> Result<(), IngestError> {
        match effect {
            Effect::Write(write) => self.write(write, run).await,
            Effect::Failed(Failure { rule, action, reason }) => {
                self.failures.count(&rule, &reason);
                // What fails before any action has no error action (spec 6.1).
                if let Some(action) = action {
                    let message = reason.to_string();
                    run.failed.push((rule, FailedAction { action, resource: String::new(), message }));
                }
                Ok(())
            }
        }
    }

    /// Hands a batch to the store, creating database and table on first use if the rule allows it. A
    /// store that takes no writes fails the message, anything else only the action.
    async fn write(&self, write: TimestreamWrite, run: &mut Run) -> Result<(), IngestError> {
        let TimestreamWrite { rule, batch, create } = write;
        let (database, table) = (Arc::clone(&batch.database), Arc::clone(&batch.table));
        let mut fail = |reason: &dyn fmt::Display| {
            self.failures.count(&rule, reason);
            let (action, resource) = (ActionKind::Timestream, format!("{database}/{table}"));
            let message = reason.to_string();
            run.failed.push((Arc::clone(&rule), FailedAction { action, resource, message }));
        };
        match self.submit(batch, create).await {
            Ok(pending) => {
                pending.rejected().iter().for_each(|rejected| fail(&rejected.reason));
                run.pending.push(pending);
            }
            Err(error) if error.is_fault() => return Err(IngestError::Unavailable(error.to_string())),
            Err(error) => fail(&error),
        }
        Ok(())
    }

    async fn submit(&self, batch: WriteBatch, create: bool) -> Result<Pending, StoreError> {
        if create && !self.store.has_table(&batch.database, &batch.table) {
            self.create(&batch).await?;
        }
        self.store.submit(batch).await
    }

    async fn create(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        let (store, database, table) =
            (self.store.clone(), Arc::clone(&batch.database), Arc::clone(&batch.table));
        let created = tokio::task::spawn_blocking(move || {
            // Somebody else may be quicker; what counts is that both exist afterwards.
            match store.create_database(&database, DatabaseOptions::default()) {
                Ok(_) | Err(StoreError::DatabaseExists { .. }) => {}
                Err(error) => return Err(error),
            }
            match store.create_table(&database, &table, TableOptions::default()) {
                Ok(_) | Err(StoreError::TableExists { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        });
        created.await.map_err(|error| StoreError::Unavailable { reason: error.to_string() })?
    }
}

#[async_trait]
impl Ingest for Pipeline {
    async fn submit(&self, message: &Arc<Message>) -> Receipt {
        let started = self.start(message).await;
        Box::pin(async move {
            for pending in started? {
                pending.await.map_err(|error| IngestError::Unavailable(error.to_string()))?;
            }
            Ok(())
        })
    }
}

/// How many different reasons are remembered of a rule.
const REASONS_MAX: usize = 32;

/// How often each rule failed. The first failure for a reason is logged, and every time a rule's count
/// doubles, so that a rule that fails for every message does not fill the disk with its complaint.
#[derive(Debug, Default)]
struct Failures {
    rules: Mutex<HashMap<Arc<str>, RuleFailures>>,
}

#[derive(Debug, Default)]
struct RuleFailures {
    count: u64,
    reasons: HashSet<String>,
}

impl Failures {
    fn count(&self, rule: &Arc<str>, reason: &dyn fmt::Display) {
        let reason = reason.to_string();
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = rules.entry(Arc::clone(rule)).or_default();
        failures.count += 1;
        let count = failures.count;
        let unheard = failures.reasons.len() < REASONS_MAX && failures.reasons.insert(reason.clone());
        drop(rules);
        if unheard || count.is_power_of_two() {
            warn!(rule = &**rule, count, reason, "rule failed; repetitions are logged at debug level");
        } else {
            debug!(rule = &**rule, count, reason, "rule failed");
        }
    }
}
