//! What scheduled queries have done since the daemon started, and what waits.

use std::sync::atomic::{AtomicU64, Ordering};

use super::history::Run;

/// Numbers for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleCounters {
    /// Queries that run by themselves.
    pub enabled: u64,
    /// Queries that do not.
    pub disabled: u64,
    /// Runs that wait or are under way.
    pub runs_ahead: u64,
    /// Runs that are over, by their `RunStatus`.
    pub runs: [(&'static str, u64); 4],
    /// Records stored by runs.
    pub records: u64,
    /// Notifications that were delivered.
    pub notices_delivered: u64,
    /// Notifications that were not, after all attempts or for want of room.
    pub notices_lost: u64,
}

/// Where it is counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    runs: [AtomicU64; 4],
    records: AtomicU64,
    notices_delivered: AtomicU64,
    notices_lost: AtomicU64,
}

impl Tally {
    /// A run that is over.
    pub(super) fn run(&self, run: &Run) {
        self.records.fetch_add(run.stats.records_ingested, Ordering::Relaxed);
        if let Some(at) = Run::STATUSES.iter().position(|status| *status == run.status()) {
            self.runs[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A notification that was delivered, or was not.
    pub(super) fn notice(&self, delivered: bool) {
        let count = if delivered { &self.notices_delivered } else { &self.notices_lost };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers now, beside those of the book: enabled and disabled queries and runs ahead.
    pub(super) fn with(&self, enabled: u64, disabled: u64, runs_ahead: u64) -> ScheduleCounters {
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ScheduleCounters {
            enabled,
            disabled,
            runs_ahead,
            runs: std::array::from_fn(|at| (Run::STATUSES[at], now(&self.runs[at]))),
            records: now(&self.records),
            notices_delivered: now(&self.notices_delivered),
            notices_lost: now(&self.notices_lost),
        }
    }
}
