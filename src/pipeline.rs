//! A Message in, its Effects carried out: the only place where rules meet the store.
//!
//! A receipt resolves once every row of the message is durable. A rule that fails costs that rule
//! only: the failure is counted and logged and the publisher still gets its acknowledgement, as on
//! AWS (spec 6.2). Only a store that can no longer keep its promise withholds it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tracing::warn;

use crate::message::Message;
use crate::mqtt::{Ingest, IngestError, Receipt};
use crate::record::WriteBatch;
use crate::rules::{Effect, RuleSet, TimestreamWrite};
use crate::store::{DatabaseOptions, Pending, Store, StoreError, TableOptions};

/// Runs rules over messages and carries out what they ask for.
#[derive(Debug)]
pub struct Pipeline {
    rules: RuleSet,
    store: Store,
    failures: Arc<Failures>,
}

/// A batch on its way to the disk, and the rule that made it.
struct Submitted {
    rule: Arc<str>,
    pending: Pending,
}

impl Pipeline {
    /// A pipeline that evaluates `rules` and writes to `store`.
    pub fn new(rules: RuleSet, store: Store) -> Self {
        Self { rules, store, failures: Arc::default() }
    }

    /// Starts every effect of `message`, in order.
    async fn start(&self, message: &Message) -> Result<Vec<Submitted>, IngestError> {
        let mut submitted = Vec::new();
        for effect in self.rules.evaluate(message) {
            match effect {
                Effect::Write(write) => submitted.extend(self.write(write).await?),
                Effect::Failed(failure) => self.failures.count(&failure.rule, &failure.reason),
            }
        }
        Ok(submitted)
    }

    /// Hands a batch to the store, creating database and table on first use if the rule allows it.
    async fn write(&self, write: TimestreamWrite) -> Result<Option<Submitted>, IngestError> {
        let TimestreamWrite { rule, batch, create } = write;
        if create
            && !self.store.has_table(&batch.database, &batch.table)
            && let Err(error) = self.create(&batch).await
        {
            return self.refused(&rule, error);
        }
        match self.store.submit(batch).await {
            Ok(pending) => Ok(Some(Submitted { rule, pending })),
            Err(error) => self.refused(&rule, error),
        }
    }

    /// A store that takes no writes fails the message, anything else only the rule.
    fn refused<T>(&self, rule: &Arc<str>, error: StoreError) -> Result<Option<T>, IngestError> {
        match error {
            StoreError::Unavailable { reason } => Err(IngestError::Unavailable(reason)),
            error => {
                self.failures.count(rule, &error);
                Ok(None)
            }
        }
    }

    async fn create(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        let (store, database, table) = (self.store.clone(), batch.database.clone(), batch.table.clone());
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
        let failures = Arc::clone(&self.failures);
        Box::pin(async move {
            for Submitted { rule, pending } in started? {
                match pending.await {
                    Ok(written) => {
                        for rejected in &written.rejected {
                            failures.count(&rule, &rejected.reason);
                        }
                    }
                    Err(error) => return Err(IngestError::Unavailable(error.to_string())),
                }
            }
            Ok(())
        })
    }
}

/// How often each rule failed. The first failure is logged, and then every time the count doubles,
/// so that a rule that fails for every message does not fill the disk with its complaint.
#[derive(Debug, Default)]
struct Failures {
    counts: Mutex<HashMap<Arc<str>, u64>>,
}

impl Failures {
    fn count(&self, rule: &Arc<str>, reason: &dyn fmt::Display) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(Arc::clone(rule)).or_default();
        *count += 1;
        if count.is_power_of_two() {
            warn!(rule = &**rule, count = *count, %reason, "rule failed");
        }
    }
}
