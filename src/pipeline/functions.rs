//! The calls of `aws_lambda`: made before a message is acknowledged, because rows may depend on the answers.
//!
//! A call, its turn included, has the time the configuration gives it, so that an acknowledgement may be late
//! but is never open-ended. A rule has places of its own: a function that does not answer costs its own
//! rules only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::posts::Posts;
use crate::rules::FunctionCall;

/// All calls.
#[derive(Debug)]
pub(super) struct Functions {
    places: Arc<Posts>,
    timeout: Duration,
}

impl Functions {
    /// Calls that have `timeout` each.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { places: Arc::default(), timeout }
    }

    /// What the function answers.
    ///
    /// # Errors
    /// Why there is no answer, as a sentence's end.
    pub(super) async fn ask(&self, rule: &Arc<str>, call: &FunctionCall) -> Result<Bytes, String> {
        let place = self.places.enter(rule, call.input.len())?;
        place.ask(&call.url, call.input.clone(), self.timeout).await
    }
}
