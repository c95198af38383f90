//! The background task that keeps parts few and drops what is too old. One merge at a time, beside
//! the flushes and never in their way.

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use super::Inner;
use super::error::StoreError;
use super::table::TableState;
use crate::shutdown::Shutdown;

/// How often every table is looked at.
pub(crate) const TICK: Duration = Duration::from_secs(10);

/// How long the task waits after something failed.
const RETRY: Duration = Duration::from_secs(60);

/// Starts the task, which looks around every `tick`. It ends at the stop signal, a merge under way with it, or when the store is gone.
pub(crate) fn start(inner: &Arc<Inner>, shutdown: &Shutdown, tick: Duration) {
    // Weak, so that a store that is dropped without being closed lets go of its folder.
    let store = Arc::downgrade(inner);
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        let mut pause = tick;
        loop {
            tokio::select! {
                () = stop.requested() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let Some(inner) = store.upgrade() else { return };
            pause = if inner.keep_house(&stop).await.is_ok() { tick } else { RETRY };
        }
    });
}

impl Inner {
    /// Removes what is past retention and merges what is due, in all tables. A day that fails does
    /// not keep the others from their turn; the first failure is the answer.
    pub(crate) async fn keep_house(&self, stop: &Shutdown) -> Result<(), StoreError> {
        let _turn = self.housekeeping.lock().await;
        let mut result = Ok(());
        for table in self.directory.tables(None)? {
            let expired = self.expire(&table).await.map(drop);
            result = result.and(self.said(&table, expired));
            for day in Self::days(&table) {
                if stop.is_requested() {
                    return result;
                }
                let compacted = self.compact_day(&table, day, stop).await.map(drop);
                result = result.and(self.said(&table, compacted));
            }
        }
        result
    }

    fn said(&self, table: &TableState, result: Result<(), StoreError>) -> Result<(), StoreError> {
        if let Err(error) = &result
            && self.wal.stopped().is_none()
        {
            error!(table = %table.id, %error, "parts could not be merged or removed; tried again");
        }
        result
    }
}
