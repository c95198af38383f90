//! The background task that decides which table is flushed when.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::error::StoreError;
use super::table::TableState;
use crate::shutdown::Shutdown;

/// How often ages are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How long a failed flush waits before the next attempt: twice as long each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// Starts the task. It ends at the stop signal or when the store is gone.
pub(crate) fn start(inner: &Arc<Inner>, shutdown: &Shutdown) {
    // Weak, so that a store that is dropped without being closed lets go of its folder.
    let store = Arc::downgrade(inner);
    let pressure = Arc::clone(&inner.memory.pressure);
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        // How long to wait, after a failure.
        let mut retry: Option<Duration> = None;
        loop {
            let pressed = async {
                match retry {
                    // Memory still presses, but hammering a full disk does not help.
                    Some(_) => std::future::pending().await,
                    None => pressure.notified().await,
                }
            };
            tokio::select! {
                () = stop.requested() => return,
                () = pressed => {}
                () = tokio::time::sleep(retry.unwrap_or(TICK)) => {}
            }
            let Some(inner) = store.upgrade() else { return };
            retry = match inner.flush_due().await {
                true => None,
                false => Some(retry.map_or(RETRY_FIRST, |last| (last * 2).min(RETRY_LAST))),
            };
        }
    });
}

impl Inner {
    /// Flushes the tables that are full or old, and the largest while memory is tight. Returns
    /// whether nothing failed. A table that fails for itself does not keep the others from their turn;
    /// where parts are kept is the same for all.
    pub(crate) async fn flush_due(&self) -> bool {
        let Ok(tables) = self.directory.tables(None) else { return true };
        let mut sizes: Vec<(usize, Arc<TableState>)> = Vec::new();
        let mut all_well = true;
        for table in tables {
            let (due, bytes) = {
                let live = table.live();
                let full = live.active.rows() >= self.options.memtable_rows
                    || live.active.bytes() >= self.options.memtable_bytes;
                let old =
                    !live.active.is_empty() && live.active.since().elapsed() >= self.options.flush_interval;
                (full || old || live.frozen.is_some(), live.active.bytes())
            };
            if due && let Err(failure) = self.flush_table(&table).await {
                if matches!(failure, StoreError::Disk { .. } | StoreError::Objects { .. }) {
                    return false;
                }
                all_well = false;
            }
            if !due && bytes > 0 {
                sizes.push((bytes, table));
            }
        }
        sizes.sort_by_key(|(bytes, _)| *bytes);
        while self.memory.is_tight() {
            let Some((_, largest)) = sizes.pop() else { break };
            if self.flush_table(&largest).await.is_err() {
                return false;
            }
        }
        all_well
    }
}
