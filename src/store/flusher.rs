//! The background task that decides which table is flushed when.

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

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
    /// whether nothing failed.
    pub(crate) async fn flush_due(&self) -> bool {
        let Ok(tables) = self.directory.tables(None) else { return true };
        let mut sizes: Vec<(usize, Arc<TableState>)> = Vec::new();
        for table in tables {
            let (due, bytes) = {
                let live = table.live();
                let full = live.active.rows() >= self.options.memtable_rows
                    || live.active.bytes() >= self.options.memtable_bytes;
                let old =
                    !live.active.is_empty() && live.active.since().elapsed() >= self.options.flush_interval;
                (full || old || live.frozen.is_some(), live.active.bytes())
            };
            if due && !self.flush_and_note(&table).await {
                return false;
            }
            if !due && bytes > 0 {
                sizes.push((bytes, table));
            }
        }
        sizes.sort_by_key(|(bytes, _)| *bytes);
        while self.memory.is_tight() {
            let Some((_, largest)) = sizes.pop() else { break };
            if !self.flush_and_note(&largest).await {
                return false;
            }
        }
        true
    }

    async fn flush_and_note(&self, table: &TableState) -> bool {
        let flushed = self.flush_table(table).await;
        self.note(&flushed);
        if let Err(error) = &flushed
            && self.wal.stopped().is_none()
        {
            error!(table = %table.id, %error, "a flush failed and is tried again");
        }
        flushed.is_ok()
    }

    /// Lets [`Store::health`](super::Store::health) tell how the last flush went.
    pub(crate) fn note(&self, flushed: &Result<bool, StoreError>) {
        let failure = flushed.as_ref().err().map(ToString::to_string);
        *self.flush_failure.lock().expect("no holder of the failure panics") = failure;
    }
}
