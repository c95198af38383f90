//! One rule over one message: what it may look at, what it has set, and what it may still spend.
//!
//! Evaluation cannot fail, but it can ask for too much. Every expression evaluated is a step, reading
//! through a text, a list or an object costs further steps, and values made anew cost bytes. A rule
//! that used up either gets Undefined from there on, and its caller reports the rule instead of using
//! the result. Steps are counted and not timed, so that a message gives the same result twice.

use std::cell::{Cell, OnceCell};

use crate::message::Message;
use crate::rules::effect::FailureReason;

use super::payload::Payload;
use super::query::Query;
use super::value::Value;

/// How many bytes of new values one rule may make from one message.
pub(crate) const MADE_BYTES_MAX: usize = 1024 * 1024;
/// How many steps one rule may take for one message: a tenth of a second at most.
pub(crate) const STEPS_MAX: usize = 1_000_000;
/// How many bytes of JSON the variables of SET may hold together: AWS's limit.
const VARIABLE_BYTES_MAX: usize = 128 * 1024;

/// What a rule had too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excess {
    Bytes,
    Steps,
    Variables,
}

/// A rule at work on a message.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// The message.
    pub(super) message: &'a Message,
    /// Its payload.
    pub(super) payload: &'a Payload<'a>,
    /// The part of its topic the rule may see.
    pub(super) topic: &'a str,
    /// The statement.
    pub(super) query: &'a Query,
    /// Where the rule runs.
    pub(super) site: Site<'a>,
    variables: Vec<Slot>,
    variable_bytes: Cell<usize>,
    bytes: Cell<usize>,
    steps: Cell<usize>,
    excess: Cell<Option<Excess>>,
    pattern_failed: Cell<bool>,
    draws: Cell<u64>,
}

/// What a run knows besides the message and the statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    /// The rule's name.
    pub(crate) rule: &'a str,
    /// What `accountid()` says.
    pub(crate) account_id: &'a str,
    /// Where chance starts.
    pub(crate) seed: u128,
}

/// A variable once it was looked at: what was made for it, or that its value is lent.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) made: OnceCell<Value>,
    measured: Cell<bool>,
}

impl<'a> Run<'a> {
    /// A run of `query` over `message`. `topic` is the part of the topic the rule may see.
    pub(crate) fn new(
        message: &'a Message,
        payload: &'a Payload<'a>,
        topic: &'a str,
        query: &'a Query,
        site: Site<'a>,
    ) -> Self {
        Self {
            message,
            payload,
            topic,
            query,
            site,
            variables: query.variables.iter().map(|_| Slot::default()).collect(),
            variable_bytes: Cell::new(VARIABLE_BYTES_MAX),
            bytes: Cell::new(MADE_BYTES_MAX),
            steps: Cell::new(STEPS_MAX),
            excess: Cell::new(None),
            pattern_failed: Cell::new(false),
            draws: Cell::new(0),
        }
    }

    /// What the rule had too much of, if its result means nothing for that.
    pub(crate) fn excess(&self) -> Option<FailureReason> {
        match self.excess.get() {
            Some(Excess::Bytes) => Some(FailureReason::ResultTooLarge { limit: MADE_BYTES_MAX }),
            Some(Excess::Steps) => Some(FailureReason::TooManySteps { limit: STEPS_MAX }),
            Some(Excess::Variables) => Some(FailureReason::VariablesTooLarge { limit: VARIABLE_BYTES_MAX }),
            None => self.pattern_failed.get().then_some(FailureReason::PatternTooCostly),
        }
    }

    /// Whether a regular expression was given up, and whether one is from now on: the one failure
    /// that get_or_default() has a substitute for.
    pub(super) fn set_pattern_failed(&self, failed: bool) -> bool {
        self.pattern_failed.replace(failed)
    }

    /// The number of this draw, so that two draws in one run differ.
    pub(super) fn next_draw(&self) -> u64 {
        self.draws.replace(self.draws.get() + 1)
    }

    pub(super) const fn is_exhausted(&self) -> bool {
        self.excess.get().is_some()
    }

    /// Declares the rule's result void for the bytes it made.
    pub(super) fn exceed_bytes(&self) {
        self.exceed(Excess::Bytes);
    }

    fn exceed(&self, excess: Excess) {
        if !self.is_exhausted() {
            self.excess.set(Some(excess));
        }
        // Whatever asks next is refused without a second look.
        self.steps.set(0);
        self.bytes.set(0);
    }

    /// Takes `bytes` from the budget; `false` when it is used up.
    pub(super) fn take_bytes(&self, bytes: usize) -> bool {
        match self.bytes.get().checked_sub(bytes) {
            Some(left) if !self.is_exhausted() => self.bytes.set(left),
            _ => self.exceed(Excess::Bytes),
        }
        !self.is_exhausted()
    }

    /// Takes `steps` from the budget; `false` when it is used up.
    #[inline]
    pub(super) fn take_steps(&self, steps: usize) -> bool {
        match self.steps.get().checked_sub(steps) {
            Some(left) => {
                self.steps.set(left);
                true
            }
            None => {
                self.exceed(Excess::Steps);
                false
            }
        }
    }

    pub(super) fn slot(&self, place: usize) -> Option<&Slot> {
        self.variables.get(place)
    }

    /// Takes the room for a variable's value, once per variable; `false` when there is none.
    pub(super) fn measure(&self, slot: &Slot, value: &Value) -> bool {
        if slot.measured.replace(true) {
            return true;
        }
        match self.variable_bytes.get().checked_sub(value.json_bytes()) {
            Some(left) => {
                self.variable_bytes.set(left);
                true
            }
            None => {
                self.exceed(Excess::Variables);
                false
            }
        }
    }
}
