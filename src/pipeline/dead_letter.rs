//! What no action could take, kept for whoever looks: one line of JSON for each message and rule.
//!
//! The line is AWS's error document with the time in front. The file is bounded like any other
//! [`Outlet`]: [`BOUND`].

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use tracing::error;

use crate::clock::Timestamp;
use crate::message::Message;
use crate::outlet::{Bound, Outlet};
use crate::rules::{FailedAction, dead_letter};

/// The file, in the store's folder.
pub(super) const FILE: &str = "dead_letters.jsonl";

/// 16 MiB, and four files of that size put aside.
const BOUND: Bound = Bound { bytes_max: 16 * 1024 * 1024, keep: 4 };

/// Appends a line for `message`; false when it could not be written, which is logged.
pub(super) async fn append(
    outlet: &Arc<Outlet>,
    rule: &str,
    message: &Message,
    failures: &[FailedAction],
    now: Timestamp,
) -> bool {
    let time = DateTime::from_timestamp_nanos(now.nanos()).to_rfc3339_opts(SecondsFormat::Nanos, true);
    let line = dead_letter(rule, message, failures, &time);
    match super::append(outlet, FILE, line, BOUND).await {
        Ok(()) => true,
        Err(reason) => {
            error!(rule, topic = message.topic.as_str(), reason, "dead letter not written");
            false
        }
    }
}
