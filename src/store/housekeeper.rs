//! The background task that keeps parts few and drops what is too old. One merge at a time, beside
//! the flushes and never in their way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Inner;
use super::error::StoreError;
use super::table::TableState;
use crate::shutdown::Shutdown;

/// How often every table is looked at.
pub(crate) const TICK: Duration = Duration::from_secs(10);

/// How long a table whose parts could not be merged is left alone, twice as long each time.
const PAUSE: Duration = Duration::from_secs(60);

/// Starts the task, which looks around every `tick`. It ends at the stop signal, a merge under way with
/// it, or when the store is gone.
pub(crate) fn start(inner: &Arc<Inner>, shutdown: &Shutdown, tick: Duration) {
    // Weak, so that a store that is dropped without being closed lets go of its folder.
    let store = Arc::downgrade(inner);
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        loop {
            tokio::select! {
                () = stop.requested() => return,
                () = tokio::time::sleep(tick) => {}
            }
            let Some(inner) = store.upgrade() else { return };
            // What fails is noted, and tried again.
            drop(inner.keep_house(&stop, PAUSE).await);
        }
    });
}

impl Inner {
    /// Removes what is past retention and merges what is due, in all tables. A day that fails does
    /// not keep the others from their turn; the first failure is the answer. A table that could not be
    /// merged before is left alone for a while, `pause` at first.
    pub(crate) async fn keep_house(&self, stop: &Shutdown, pause: Duration) -> Result<(), StoreError> {
        let _turn = self.housekeeping.lock().await;
        let mut result = Ok(());
        for table in self.directory.tables(None)? {
            if stop.is_requested() {
                break;
            }
            let mut kept = self.expire(&table).await.map(drop);
            let merges = self.merging.may_try(table.id, pause, Instant::now());
            if merges {
                kept = kept.and(self.compact_days(&table, stop).await);
            }
            // That nothing is written any more is told elsewhere.
            if (merges || kept.is_err()) && self.wal.stopped().is_none() && !table.is_dropped() {
                self.merging.note(table.id, &kept);
            }
            result = result.and(kept);
        }
        result
    }

    async fn compact_days(&self, table: &TableState, stop: &Shutdown) -> Result<(), StoreError> {
        let mut result = Ok(());
        for day in Self::days(table) {
            if stop.is_requested() {
                break;
            }
            result = result.and(self.compact_day(table, day, stop).await.map(drop));
        }
        result
    }
}
