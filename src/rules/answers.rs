//! What a rule has to know before it can be evaluated to its end: answers of functions that others run.
//!
//! Evaluation asks nobody. A rule that calls a function whose answer is not among its [`Answers`] ends there
//! and says which [`FunctionCall`] it is; its owner makes the call and evaluates again, with one answer
//! more. The same message gives the same calls in the same order, so each round gets further than the last,
//! and nothing is called that a full evaluation would not have called.

use std::sync::Arc;

use bytes::Bytes;

/// How many calls one rule may make for one message.
pub(crate) const CALLS_MAX: usize = 10;

/// A call of `aws_lambda`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionCall {
    /// The function, by the ARN in the statement.
    pub function: Arc<str>,
    /// Where it is called.
    pub url: Arc<str>,
    /// Its input as JSON.
    pub input: Bytes,
}

impl FunctionCall {
    /// What a dry run says of it.
    pub fn unanswered(&self) -> String {
        let Self { function, url, input } = self;
        let input = String::from_utf8_lossy(input);
        format!("a call of aws_lambda that a dry run does not make: {function} at {url} with {input}")
    }
}

/// The answers one rule has for one message.
#[derive(Debug, Default)]
pub struct Answers {
    known: Vec<(FunctionCall, Result<Bytes, String>)>,
}

impl Answers {
    /// No answers.
    pub const NONE: &Self = &Self { known: Vec::new() };

    /// Adds what came of `call`: the answer, or why there is none, as a sentence's end.
    pub fn insert(&mut self, call: FunctionCall, answer: Result<Bytes, String>) {
        self.known.push((call, answer));
    }

    /// Whether the rule has made all the calls it may.
    pub(crate) const fn is_full(&self) -> bool {
        self.known.len() >= CALLS_MAX
    }

    /// What is known of `function`, called with `input`.
    pub(crate) fn find(&self, function: &str, input: &[u8]) -> Option<Result<&[u8], &str>> {
        let same = |call: &FunctionCall| *call.function == *function && call.input == input;
        let (_, answer) = self.known.iter().find(|(call, _)| same(call))?;
        Some(answer.as_ref().map(|answer| &**answer).map_err(String::as_str))
    }
}
