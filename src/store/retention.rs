//! Rows leave a table when they are older than its two retention periods together.
//!
//! Parts whose newest row is that old are removed; old rows inside a younger part, which is at most a
//! day's worth of them, are left out when the part is merged, and go with it at the latest. The
//! longest period of the magnetic store, AWS's default, means that rows stay for ever.

use std::sync::Arc;

use tracing::info;

use super::Inner;
use super::compaction::Replacement;
use super::error::StoreError;
use super::options::Retention;
use super::table::TableState;
use crate::clock::Timestamp;

const HOUR_NANOS: i64 = 60 * 60 * 1_000_000_000;

/// Days in the magnetic store that mean for ever.
const FOR_EVER_DAYS: u32 = 73_000;

impl Retention {
    /// Rows before this moment are past it; `None` when none ever is.
    pub(crate) fn cutoff(self, now: Timestamp) -> Option<Timestamp> {
        if self.magnetic_store_days >= FOR_EVER_DAYS {
            return None;
        }
        // The periods add up.
        let hours = i64::from(self.magnetic_store_days) * 24 + i64::from(self.memory_store_hours);
        Some(now.saturating_add(-hours.saturating_mul(HOUR_NANOS)))
    }
}

impl Inner {
    /// Rows of `table` before this moment are past its retention at present.
    pub(crate) fn cutoff(&self, table: &TableState) -> Option<Timestamp> {
        table.definition().retention.cutoff(self.clock.now())
    }

    /// Removes the parts of `table` that are past its retention; returns whether there were any.
    pub(crate) async fn expire(&self, table: &TableState) -> Result<bool, StoreError> {
        let Some(cutoff) = self.cutoff(table) else { return Ok(false) };
        let files: Vec<_> = {
            let live = table.live();
            let old = live.parts.iter().filter(|part| part.file.meta.time_max < cutoff);
            old.map(|part| Arc::clone(&part.file)).collect()
        };
        if files.is_empty() {
            return Ok(false);
        }
        if let Some(stopped) = self.wal.stopped() {
            return Err(stopped.into());
        }
        let (parts, rows) = (files.len(), files.iter().map(|file| file.meta.rows).sum::<u64>());
        let removed = self.replace_parts(table, Replacement::of_expired(files, cutoff)).await?;
        if removed {
            info!(table = %table.id, parts, rows, "parts past retention removed");
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_add_up_and_the_longest_is_for_ever() {
        let now = Timestamp::from_nanos(100 * 24 * HOUR_NANOS);
        let cutoff = |memory_store_hours, magnetic_store_days| {
            Retention { memory_store_hours, magnetic_store_days }.cutoff(now)
        };
        assert_eq!(cutoff(12, 2), Some(Timestamp::from_nanos((97 * 24 + 12) * HOUR_NANOS)));
        assert_eq!(cutoff(6, 73_000), None);
        assert_eq!(cutoff(1, 72_999), Some(now.saturating_add(-(72_999 * 24 + 1) * HOUR_NANOS)));
        let first = Timestamp::from_nanos(i64::MIN + 5);
        let short = Retention { memory_store_hours: 1, magnetic_store_days: 1 };
        assert_eq!(short.cutoff(first), Some(Timestamp::from_nanos(i64::MIN)));
    }
}
