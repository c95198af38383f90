//! The rules in force, and what has been counted of each.

use std::collections::HashMap;
use std::sync::Arc;

use super::counters::RuleTally;
use crate::rules::RuleSet;

/// One set of rules with the counters of each. A message sees one set from beginning to end, whatever
/// set comes into force meanwhile.
#[derive(Debug)]
pub(super) struct Active {
    rules: Arc<RuleSet>,
    /// By the place of the rule in the set.
    tallies: Vec<Arc<RuleTally>>,
    /// For messages sent to rules that do not exist.
    stray: Arc<RuleTally>,
}

impl Active {
    /// A set nothing has been counted of.
    pub(super) fn new(rules: RuleSet) -> Self {
        Self::with_tallies(rules, &HashMap::new(), Arc::new(RuleTally::new("".into())))
    }

    /// The set that follows this one; a rule of the same name goes on counting where it was.
    pub(super) fn followed_by(&self, rules: RuleSet) -> Self {
        let known = self.tallies.iter().map(|tally| (&**tally.rule(), tally)).collect();
        Self::with_tallies(rules, &known, Arc::clone(&self.stray))
    }

    fn with_tallies(rules: RuleSet, known: &HashMap<&str, &Arc<RuleTally>>, stray: Arc<RuleTally>) -> Self {
        let tally = |name: &Arc<str>| match known.get(&**name) {
            Some(tally) => Arc::clone(tally),
            None => Arc::new(RuleTally::new(Arc::clone(name))),
        };
        let tallies = rules.rules().iter().map(|rule| tally(rule.name())).collect();
        Self { rules: Arc::new(rules), tallies, stray }
    }

    /// The rules.
    pub(super) const fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// The counters, rule by rule.
    pub(super) fn tallies(&self) -> &[Arc<RuleTally>] {
        &self.tallies
    }

    /// The counters of the rule at `place`.
    pub(super) fn tally(&self, place: Option<usize>) -> &Arc<RuleTally> {
        place.and_then(|place| self.tallies.get(place)).unwrap_or(&self.stray)
    }
}
