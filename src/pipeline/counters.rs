//! What the pipeline counts, rule by rule, and when it says in the log that a rule failed.
//!
//! The first failure for a reason is logged, and every time a rule's count doubles, so that a rule that
//! fails for every message does not fill the disk with its complaint. Counters start with the daemon and
//! go with their rule.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{debug, warn};

use crate::clock::Timestamp;
use crate::rules::ActionKind;

/// How many different reasons are remembered of a rule.
const REASONS_MAX: usize = 32;

/// What the pipeline has counted since it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineCounters {
    /// Messages that came in.
    pub messages: u64,
    /// Messages that republish actions made.
    pub republished: u64,
    /// Messages sent to a rule that does not exist or is disabled.
    pub rules_not_found: u64,
    /// Messages no action could take, in the dead-letter file.
    pub dead_letters: u64,
    /// Messages no action could take and the dead-letter file neither.
    pub dead_letters_lost: u64,
    /// Requests of http actions that are waiting or under way now.
    pub http_waiting: u64,
    /// The rules in force, in the order of their set.
    pub rules: Vec<RuleCounters>,
}

/// What one rule has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCounters {
    /// The rule's name.
    pub rule: Arc<str>,
    /// Messages on the rule's topics, or sent to it by name.
    pub matched: u64,
    /// Messages for which its condition held.
    pub fired: u64,
    /// Records handed to the store, without those it refused.
    pub records: u64,
    /// Messages for which the rule failed before its actions.
    pub sql_failures: u64,
    /// What became of its actions, for every kind.
    pub actions: Vec<(ActionKind, ActionCounters)>,
    /// What became of its error action.
    pub error_actions: ActionCounters,
    /// The last failure of any kind.
    pub last_error: Option<LastError>,
}

/// What became of actions. One action may succeed and fail for one message, when only some of its records
/// could be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActionCounters {
    /// What was done.
    pub successes: u64,
    /// What was not; every record and every attribute that could not be written counts.
    pub failures: u64,
}

/// A failure an operator may want to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// What failed and why.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// A number that goes up.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The live numbers that belong to no rule.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) messages: Count,
    pub(super) republished: Count,
    pub(super) rules_not_found: Count,
    pub(super) dead_letters: Count,
    pub(super) dead_letters_lost: Count,
}

#[derive(Debug, Default)]
struct ActionTally {
    successes: Count,
    failures: Count,
}

impl ActionTally {
    fn snapshot(&self) -> ActionCounters {
        ActionCounters { successes: self.successes.get(), failures: self.failures.get() }
    }
}

/// Whether an action is one of the rule's own or its error action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Action,
    ErrorAction,
}

/// The live numbers of one rule.
#[derive(Debug)]
pub(super) struct RuleTally {
    rule: Arc<str>,
    pub(super) matched: Count,
    pub(super) fired: Count,
    pub(super) records: Count,
    sql_failures: Count,
    actions: [ActionTally; ActionKind::ALL.len()],
    error_actions: ActionTally,
    complaints: Mutex<Complaints>,
}

#[derive(Debug, Default)]
struct Complaints {
    count: u64,
    reasons: HashSet<String>,
    last: Option<LastError>,
}

impl RuleTally {
    pub(super) fn new(rule: Arc<str>) -> Self {
        Self {
            rule,
            matched: Count::default(),
            fired: Count::default(),
            records: Count::default(),
            sql_failures: Count::default(),
            actions: Default::default(),
            error_actions: ActionTally::default(),
            complaints: Mutex::default(),
        }
    }

    /// The rule's name.
    pub(super) const fn rule(&self) -> &Arc<str> {
        &self.rule
    }

    /// Counts something done.
    pub(super) fn success(&self, kind: ActionKind, role: Role) {
        self.of(kind, role).successes.add(1);
    }

    /// Counts something not done, and says so. `kind` is `None` for a rule that failed before its actions.
    pub(super) fn failure(&self, kind: Option<ActionKind>, role: Role, reason: &str, at: Timestamp) {
        kind.map_or(&self.sql_failures, |kind| &self.of(kind, role).failures).add(1);
        let action = match (kind, role) {
            (None, _) => "sql",
            (Some(kind), Role::Action) => kind.as_str(),
            (Some(_), Role::ErrorAction) => "error_action",
        };
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        complaints.count += 1;
        complaints.last = Some(LastError { text: format!("{action}: {reason}"), at });
        let count = complaints.count;
        let unheard = complaints.reasons.len() < REASONS_MAX && complaints.reasons.insert(reason.to_owned());
        drop(complaints);
        if unheard || count.is_power_of_two() {
            warn!(
                rule = &*self.rule,
                action, count, reason, "rule failed; repetitions are logged at debug level"
            );
        } else {
            debug!(rule = &*self.rule, action, count, reason, "rule failed");
        }
    }

    const fn of(&self, kind: ActionKind, role: Role) -> &ActionTally {
        match role {
            Role::Action => &self.actions[kind as usize],
            Role::ErrorAction => &self.error_actions,
        }
    }

    pub(super) fn snapshot(&self) -> RuleCounters {
        let actions = ActionKind::ALL.iter().zip(&self.actions);
        let last_error = self.complaints.lock().unwrap_or_else(PoisonError::into_inner).last.clone();
        RuleCounters {
            rule: Arc::clone(&self.rule),
            matched: self.matched.get(),
            fired: self.fired.get(),
            records: self.records.get(),
            sql_failures: self.sql_failures.get(),
            actions: actions.map(|(&kind, tally)| (kind, tally.snapshot())).collect(),
            error_actions: self.error_actions.snapshot(),
            last_error,
        }
    }
}
