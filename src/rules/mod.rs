//! AWS IoT rules: a pure function from a [`Message`] to [`Effect`]s.
//!
//! A rule listens to topics, tests the payload, selects from it and hands the result to its actions.
//! Evaluating knows no clock, no chance, no socket, no store, and one rule never affects another. Only
//! `load` and `stand_ins` touch a disk, while rules are loaded. A [`RuleSet`] never changes; new rules come
//! as a new set, swapped whole.

mod action;
mod answers;
mod checker;
mod definition;
mod effect;
mod error;
mod example;
mod file;
mod load;
mod outgoing;
mod rule;
mod sql;
mod stand_ins;
mod template;
mod topic_index;

use std::collections::HashMap;
use std::sync::Arc;

pub use answers::{Answers, FunctionCall};
pub use effect::{
    ActionKind, AttributeProblem, Effect, Failure, FailureReason, FileLine, HttpPost, Republish, RuleRun,
    TimestreamWrite,
};
pub use error::{LoadError, Mistake, RuleError, RuleProblem};
pub use example::{Example, Expectation};
pub use load::{DefinedRule, Loaded, RuleFolder};
pub use outgoing::{FailedAction, Outgoing, dead_letter};
pub use rule::Rule;
pub use sql::Version;
pub use stand_ins::StandIns;

use crate::message::Message;

use sql::eval::{Output, Scope};
use sql::payload::{Document, Payload};
use sql::run::{Ended, Run, Site};
use topic_index::{TopicIndex, basic_ingest};

/// What rules know about the service they run in.
#[derive(Debug, Clone)]
pub struct RuleOptions {
    /// What `accountid()` says.
    pub account_id: String,
    /// The largest payload rules read, in bytes.
    pub payload_bytes_max: usize,
    /// What functions may read while rules are loaded.
    pub files: StandIns,
    /// Where `newuuid()`, `rand()` and `traceid()` start. A service draws it once, when it starts, so that
    /// evaluating a message again gives the same result.
    pub seed: u128,
}

impl RuleOptions {
    /// Where the rule called `rule` runs.
    fn site<'a>(&'a self, rule: &'a str) -> Site<'a> {
        Site { rule, account_id: &self.account_id, seed: self.seed }
    }
}

impl Default for RuleOptions {
    fn default() -> Self {
        Self {
            account_id: "000000000000".to_owned(),
            payload_bytes_max: 1024 * 1024,
            files: StandIns::default(),
            seed: 0,
        }
    }
}

/// All rules of a service, found by topic.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    by_name: HashMap<Arc<str>, usize>,
    by_topic: TopicIndex,
    options: RuleOptions,
}

impl RuleSet {
    /// A set of `rules` with default options. Of two rules with one name only the first counts.
    pub fn from_rules(rules: Vec<Rule>) -> Self {
        Self::with_options(rules, &RuleOptions::default())
    }

    /// A set of `rules`. Of two rules with one name only the first counts.
    pub fn with_options(rules: Vec<impl Into<Arc<Rule>>>, options: &RuleOptions) -> Self {
        let mut set = Self {
            rules: Vec::with_capacity(rules.len()),
            by_name: HashMap::new(),
            by_topic: TopicIndex::default(),
            options: options.clone(),
        };
        for rule in rules {
            let rule = rule.into();
            if set.by_name.contains_key(rule.name()) {
                continue;
            }
            let place = set.rules.len();
            set.by_name.insert(Arc::clone(rule.name()), place);
            if let Some(filter) = &rule.query().from
                && !rule.is_disabled()
            {
                set.by_topic.insert(filter, place);
            }
            set.rules.push(rule);
        }
        set
    }

    /// How many rules there are, disabled ones too.
    pub const fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules, in the order they were given.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The rule called `name`.
    pub fn get(&self, name: &str) -> Option<&Rule> {
        self.by_name.get(name).map(|&place| &*self.rules[place])
    }

    /// What `message` asks for: one entry for every rule that sees it, in the order of the set.
    pub fn evaluate(&self, message: &Message) -> Vec<RuleRun> {
        let payload = Payload::new(&message.payload);
        let run = |place, topic| self.run(place, message, &payload, topic, Answers::NONE);
        let Some((name, topic)) = basic_ingest(&message.topic) else {
            let places = self.by_topic.find(&message.topic);
            return places.into_iter().map(|place| run(place, message.topic.as_str())).collect();
        };
        match self.by_name.get(name).filter(|&&place| !self.rules[place].is_disabled()) {
            Some(&place) => vec![run(place, topic)],
            None => {
                let effects = vec![failed(FailureReason::RuleNotFound { name: name.to_owned() })];
                vec![RuleRun { rule: name.into(), place: None, fired: false, asks: None, effects }]
            }
        }
    }

    /// What `message` asks of the rule at `place`, which must be in the set, now that there are `answers`.
    pub fn evaluate_again(&self, place: usize, message: &Message, answers: &Answers) -> RuleRun {
        let payload = Payload::new(&message.payload);
        self.run(place, message, &payload, outgoing::visible_topic(message), answers)
    }

    fn run(
        &self,
        place: usize,
        message: &Message,
        payload: &Payload<'_>,
        topic: &str,
        answers: &Answers,
    ) -> RuleRun {
        let rule = &self.rules[place];
        let name = Arc::clone(rule.name());
        let mut told =
            RuleRun { rule: name, place: Some(place), fired: false, asks: None, effects: Vec::new() };
        let (bytes, limit) = (payload.bytes().len(), self.options.payload_bytes_max);
        if bytes > limit {
            told.effects.push(failed(FailureReason::PayloadTooLarge { bytes, limit }));
        } else {
            let site = self.options.site(rule.name());
            let own = Run::new(message, payload, topic, rule.query(), site, answers);
            run_rule(rule, &own, payload.document(rule.version()), &mut told);
        }
        told
    }
}

fn failed(reason: FailureReason) -> Effect {
    Effect::Failed(Failure { action: None, reason })
}

fn run_rule<'a>(rule: &'a Rule, run: &'a Run<'a>, document: &Document, told: &mut RuleRun) {
    let scope = Scope::new(run);
    told.fired = scope.fires(rule.query());
    let output = told.fired.then(|| scope.output(rule.query()));
    let effects = &mut told.effects;
    match (&output, document) {
        (None, _) => {}
        (Some(Output::Object(members)), Document::Raw(detail)) if members.is_empty() => {
            effects.push(failed(FailureReason::PayloadNotJson { detail: detail.clone() }));
        }
        (Some(output), _) => {
            effects.reserve_exact(rule.actions().len());
            for action in rule.actions() {
                action.run(&scope, output, effects);
            }
        }
    }
    let Some(ended) = run.ended() else { return };
    // Some value along the way was cut to Undefined, so nothing that came of it can be trusted.
    effects.clear();
    match ended {
        Ended::Failed(reason) => effects.push(failed(reason)),
        Ended::Asks(call) => {
            told.fired = false;
            told.asks = Some(Box::new(call));
        }
    }
}

#[cfg(test)]
mod tests;
