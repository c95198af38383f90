//! One rule over one message: what it may look at, what it has set, and what it may still spend.
//!
//! Evaluation cannot fail, but it can ask for too much. Every expression evaluated is a step, reading
//! through a text, a list or an object costs further steps, and values made anew cost bytes. A rule
//! that used up either gets Undefined from there on, and its caller reports the rule instead of using
//! the result. Steps are counted and not timed, so that a message gives the same result twice.

use std::cell::{Cell, OnceCell, RefCell};

use crate::message::Message;
use crate::rules::answers::{Answers, CALLS_MAX, FunctionCall};
use crate::rules::effect::FailureReason;

use super::eval::TEXT_BYTES_MAX;
use super::payload::Payload;
use super::query::Query;
use super::value::Value;

/// How many bytes of new values one rule may make from one message.
pub(crate) const MADE_BYTES_MAX: usize = 1024 * 1024;
/// How many steps one rule may take for one message: a tenth of a second at most.
pub(crate) const STEPS_MAX: usize = 1_000_000;
/// How many bytes of JSON the variables of SET may hold together: AWS's limit (spec 1.3).
const VARIABLE_BYTES_MAX: usize = 128 * 1024;

/// What a rule had too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excess {
    Bytes,
    /// Of one text.
    Text,
    Steps,
    Variables,
    /// An answer that is not there yet.
    Answer,
    Calls,
}

/// Why a run has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It asked for too much, or what it needs has failed.
    Failed(FailureReason),
    /// It needs this answer first.
    Asks(FunctionCall),
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
    /// What others have answered so far.
    pub(super) answers: &'a Answers,
    variables: Vec<Slot>,
    variable_bytes: Cell<usize>,
    bytes: Cell<usize>,
    steps: Cell<usize>,
    excess: Cell<Option<Excess>>,
    /// What get_or_default() has a substitute for.
    failure: RefCell<Option<FailureReason>>,
    asked: RefCell<Option<FunctionCall>>,
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
        answers: &'a Answers,
    ) -> Self {
        Self {
            message,
            payload,
            topic,
            query,
            site,
            answers,
            variables: query.variables.iter().map(|_| Slot::default()).collect(),
            variable_bytes: Cell::new(VARIABLE_BYTES_MAX),
            bytes: Cell::new(MADE_BYTES_MAX),
            steps: Cell::new(STEPS_MAX),
            excess: Cell::new(None),
            failure: RefCell::new(None),
            asked: RefCell::new(None),
            draws: Cell::new(0),
        }
    }

    /// Why the rule's result means nothing, if it does not.
    pub(crate) fn ended(&self) -> Option<Ended> {
        let failed = match self.excess.get() {
            None => return self.failure.borrow().clone().map(Ended::Failed),
            Some(Excess::Answer) => return self.asked.borrow().clone().map(Ended::Asks),
            Some(Excess::Bytes) => FailureReason::ResultTooLarge { limit: MADE_BYTES_MAX },
            Some(Excess::Text) => FailureReason::TextTooLong { limit: TEXT_BYTES_MAX },
            Some(Excess::Steps) => FailureReason::TooManySteps { limit: STEPS_MAX },
            Some(Excess::Variables) => FailureReason::VariablesTooLarge { limit: VARIABLE_BYTES_MAX },
            Some(Excess::Calls) => FailureReason::TooManyCalls { limit: CALLS_MAX },
        };
        Some(Ended::Failed(failed))
    }

    /// Fails the rule for `reason`, unless get_or_default() has a substitute. The first reason counts.
    pub(super) fn fail(&self, reason: FailureReason) {
        self.failure.borrow_mut().get_or_insert(reason);
    }

    /// Whether the rule has failed so far.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Puts `failure` in the place of what has failed so far, which is returned.
    pub(super) fn swap_failure(&self, failure: Option<FailureReason>) -> Option<FailureReason> {
        self.failure.replace(failure)
    }

    /// Ends the run: it cannot go on without the answer to `call`.
    pub(super) fn ask(&self, call: FunctionCall) {
        if self.answers.is_full() {
            self.exceed(Excess::Calls);
        } else if !self.is_exhausted() {
            *self.asked.borrow_mut() = Some(call);
            self.exceed(Excess::Answer);
        }
    }

    /// The number of this draw, so that two draws in one run differ.
    pub(super) fn next_draw(&self) -> u64 {
        self.draws.replace(self.draws.get() + 1)
    }

    pub(super) const fn is_exhausted(&self) -> bool {
        self.excess.get().is_some()
    }

    /// Declares the rule's result void for the length of a text.
    pub(super) fn exceed_text(&self) {
        self.exceed(Excess::Text);
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
