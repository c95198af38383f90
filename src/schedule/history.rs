//! What became of the runs of a scheduled query, and which are not done.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::query::Insights;

/// How many failed runs are remembered (spec 6.8).
const FAILED_MAX: usize = 5;

/// What started a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// The schedule.
    Auto,
    /// ExecuteScheduledQuery.
    Manual,
}

/// A run that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Invocation {
    /// `@scheduled_runtime`, in nanoseconds since the epoch.
    pub(super) time: i64,
    pub(super) trigger: Trigger,
    /// Whether insights were asked for.
    #[serde(default)]
    pub(super) insights: bool,
}

/// A run that is over (`ScheduledQueryRunSummary`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What started it.
    pub trigger: Trigger,
    invocation_nanos: i64,
    started_nanos: i64,
    /// What it did.
    pub stats: Stats,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Where its error report is, if there is one.
    pub report: Option<ReportKey>,
    /// What its query read and gave, if that was asked for.
    #[serde(default)]
    pub insights: Option<Insights>,
}

/// `ExecutionStats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// From its start to its end.
    pub execution_ms: u64,
    /// Bytes Timestream would put on the bill for what was written.
    pub data_writes: u64,
    /// Bytes Timestream would put on the bill for what was read.
    pub bytes_metered: u64,
    /// Bytes read from parts.
    pub bytes_scanned: u64,
    /// Records stored.
    pub records_ingested: u64,
    /// Rows of the result.
    pub result_rows: u64,
}

/// An object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportKey {
    /// The bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
}

impl Run {
    /// A run that has begun.
    pub(super) fn begun(invocation: &Invocation, started: Timestamp) -> Self {
        Self {
            trigger: invocation.trigger,
            invocation_nanos: invocation.time,
            started_nanos: started.nanos(),
            stats: Stats::default(),
            failure: None,
            report: None,
            insights: None,
        }
    }

    /// The moment it was for.
    pub fn invocation(&self) -> Timestamp {
        Timestamp::from_nanos(self.invocation_nanos)
    }

    /// When it began.
    pub fn started(&self) -> Timestamp {
        Timestamp::from_nanos(self.started_nanos)
    }

    /// Every `RunStatus`.
    pub const STATUSES: [&'static str; 4] =
        ["AUTO_TRIGGER_SUCCESS", "AUTO_TRIGGER_FAILURE", "MANUAL_TRIGGER_SUCCESS", "MANUAL_TRIGGER_FAILURE"];

    /// `RunStatus`.
    pub const fn status(&self) -> &'static str {
        match (self.trigger, self.failure.is_some()) {
            (Trigger::Auto, false) => Self::STATUSES[0],
            (Trigger::Auto, true) => Self::STATUSES[1],
            (Trigger::Manual, false) => Self::STATUSES[2],
            (Trigger::Manual, true) => Self::STATUSES[3],
        }
    }
}

/// The runs of one scheduled query.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    pub(super) last: Option<Run>,
    /// The newest first.
    pub(super) failed: VecDeque<Run>,
    /// No moment up to this one is due any more, in nanoseconds since the epoch.
    pub(super) through: i64,
    /// The version of the records written last.
    pub(super) version: i64,
    /// Runs that were accepted and are not over: the one under way, and those of ExecuteScheduledQuery.
    pub(super) unfinished: VecDeque<Invocation>,
}

impl History {
    /// The runs of a query that was created, or enabled, at `from`.
    pub(super) fn from(from: Timestamp) -> Self {
        Self { through: from.nanos(), ..Self::default() }
    }

    /// The version of the records of a run that begins now: it replaces what every earlier run wrote.
    pub(super) fn next_version(&mut self, now: Timestamp) -> i64 {
        self.version = now.millis().max(self.version + 1);
        self.version
    }

    /// Notes the end of a run.
    pub(super) fn finish(&mut self, invocation: &Invocation, run: Run) {
        if let Some(place) = self.unfinished.iter().position(|other| other == invocation) {
            self.unfinished.remove(place);
        }
        if run.failure.is_some() {
            self.failed.push_front(run.clone());
            self.failed.truncate(FAILED_MAX);
        }
        self.last = Some(run);
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("histories have text keys only")
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
