//! Which scheduled queries there are, what is due, and which runs wait or are under way: in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::definition::{Definition, State};
use super::expression::Expression;
use super::history::{History, Invocation, Trigger};
use crate::clock::Timestamp;

/// All scheduled queries.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: BTreeMap<String, Entry>,
    by_name: HashMap<String, String>,
    due: BTreeSet<(Timestamp, String)>,
}

/// A scheduled query.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) definition: Arc<Definition>,
    expression: Expression,
    pub(super) history: History,
    /// When it is due next; never while it is disabled.
    pub(super) next: Option<Timestamp>,
    /// Runs that have not begun.
    pub(super) waiting: VecDeque<Invocation>,
    /// Whether a task works on what waits.
    working: bool,
}

impl Entry {
    /// How many runs wait or are under way.
    pub(super) fn runs_ahead(&self) -> usize {
        self.waiting.len() + usize::from(self.working)
    }
}

impl Book {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// The query of this name.
    pub(super) fn named(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).and_then(|id| self.entries.get(id))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The queries behind the one called `after`, sorted by id.
    pub(super) fn behind(&self, after: &str) -> impl Iterator<Item = &Entry> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.entries.range::<str, _>((Excluded(after), Unbounded)).map(|(_, entry)| entry)
    }

    /// Adds a query. Runs that were accepted and not finished wait again; of those that were missed, the
    /// latest does.
    pub(super) fn add(
        &mut self,
        definition: Definition,
        expression: Expression,
        history: History,
        now: Timestamp,
    ) {
        let id = definition.id.clone();
        let mut waiting = history.unfinished.clone();
        if definition.state == State::Enabled
            && let Some(latest) = expression.latest(definition.created(), now)
            && latest.nanos() > history.through
        {
            join(&mut waiting, &history.unfinished, latest);
        }
        self.by_name.insert(definition.request.name.clone(), id.clone());
        let definition = Arc::new(definition);
        let entry = Entry { definition, expression, history, next: None, waiting, working: false };
        self.entries.insert(id.clone(), entry);
        self.plan(&id, now);
    }

    /// Replaces what is known of a query. Once it is disabled, runs of its schedule that wait do not begin.
    pub(super) fn redefine(&mut self, definition: Definition, now: Timestamp) {
        let id = definition.id.clone();
        if let Some(entry) = self.entries.get_mut(&id) {
            if definition.state == State::Disabled {
                let Entry { waiting, history, .. } = entry;
                waiting.retain(|own| own.trigger == Trigger::Manual || history.unfinished.contains(own));
            }
            entry.definition = Arc::new(definition);
            self.plan(&id, now);
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some(entry) = self.entries.remove(id) {
            self.by_name.remove(&entry.definition.request.name);
            self.due.retain(|(_, due)| due != id);
        }
    }

    /// Sets when a query is due next.
    fn plan(&mut self, id: &str, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(before) = entry.next.take() {
            self.due.remove(&(before, id.to_owned()));
        }
        if entry.definition.state == State::Enabled {
            entry.next = entry.expression.next(entry.definition.created(), now);
            self.due.extend(entry.next.map(|next| (next, id.to_owned())));
        }
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes what is due: the runs wait from now on. A run that waits already gives way to a later one, and
    /// of those that a jump of the clock passed over, the latest waits.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<String> {
        let mut ids = Vec::new();
        while let Some((at, _)) = self.due.first()
            && *at <= now
        {
            let Some((at, id)) = self.due.pop_first() else { break };
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.next = None;
                let latest = entry.expression.latest(entry.definition.created(), now).unwrap_or(at);
                join(&mut entry.waiting, &entry.history.unfinished, latest.max(at));
                self.plan(&id, now);
                ids.push(id);
            }
        }
        ids
    }

    /// The queries with runs that wait and no task that works on them.
    pub(super) fn idle_with_work(&self) -> Vec<String> {
        let idle = |entry: &&Entry| !entry.working && !entry.waiting.is_empty();
        self.entries.values().filter(idle).map(|entry| entry.definition.id.clone()).collect()
    }

    /// Whether a task should begin to work on what waits for this query; then it counts as working.
    pub(super) fn claim(&mut self, id: &str) -> bool {
        match self.entries.get_mut(id) {
            Some(entry) if !entry.working && !entry.waiting.is_empty() => {
                entry.working = true;
                true
            }
            _ => false,
        }
    }

    /// The next run of a query, or nothing: then no task works on it any more.
    pub(super) fn take_waiting(&mut self, id: &str) -> Option<(Arc<Definition>, Invocation)> {
        let entry = self.entries.get_mut(id)?;
        let taken = entry.waiting.pop_front();
        entry.working = taken.is_some();
        taken.map(|invocation| (Arc::clone(&entry.definition), invocation))
    }
}

/// Adds a run of the schedule to those that wait, in place of one that is there; but not of one that was
/// cut by a crash, which is `unfinished`.
fn join(waiting: &mut VecDeque<Invocation>, unfinished: &VecDeque<Invocation>, at: Timestamp) {
    let invocation = Invocation { time: at.nanos(), trigger: Trigger::Auto, insights: false };
    if waiting.contains(&invocation) {
        return;
    }
    match waiting.iter_mut().find(|other| other.trigger == Trigger::Auto && !unfinished.contains(other)) {
        Some(other) => *other = invocation,
        None => waiting.push_back(invocation),
    }
}
