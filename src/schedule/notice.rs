//! Notifications: what SNS would bring to an HTTP subscriber of a topic, posted to the address that the
//! configuration has for it (spec 6.8).
//!
//! The envelope is SNS's without its signature, for nobody here has SNS's key. A topic without an
//! address has no subscriber: nothing is sent, as on AWS.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tracing::warn;
use uuid::Uuid;

use super::counters::Tally;
use super::definition::State;
use super::history::Run;
use crate::clock::{Clock, Timestamp};
use crate::posts::{Post, Posts, without_query};
use crate::shutdown::Shutdown;

/// How long one attempt may take, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;
/// How often a failed attempt is repeated.
const RETRIES: u32 = 5;

/// Where notifications go.
#[derive(Debug)]
pub(super) struct Notices {
    addresses: BTreeMap<String, String>,
    posts: Arc<Posts>,
    clock: Arc<dyn Clock>,
    tally: Arc<Tally>,
    stop: Shutdown,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Notice<'a> {
    Creating,
    Updated(State),
    Deleted,
    Run { run: &'a Run, next: Option<Timestamp> },
}

impl Notice<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Creating => "SCHEDULED_QUERY_CREATING",
            Self::Updated(_) => "SCHEDULED_QUERY_UPDATE",
            Self::Deleted => "SCHEDULED_QUERY_DELETED",
            Self::Run { run, .. } => run.status(),
        }
    }

    fn message(&self, arn: &str) -> Value {
        let mut message = json!({ "type": self.kind(), "arn": arn });
        match self {
            Self::Creating | Self::Deleted => {}
            Self::Updated(state) => message["state"] = json!(state.api_name()),
            Self::Run { run, next } => {
                if let Some(next) = next {
                    message["nextInvocationEpochSecond"] = json!(seconds(*next));
                }
                message["scheduledQueryRunSummary"] = summary(run);
            }
        }
        message
    }
}

fn seconds(moment: Timestamp) -> i64 {
    moment.millis().div_euclid(1_000)
}

fn summary(run: &Run) -> Value {
    let stats = run.stats;
    let mut summary = json!({
        "invocationEpochSecond": seconds(run.invocation()),
        "triggerTimeMillis": run.started().millis(),
        "runStatus": run.status(),
        "executionStats": {
            "executionTimeInMillis": stats.execution_ms,
            "dataWrites": stats.data_writes,
            "bytesMetered": stats.bytes_metered,
            "cumulativeBytesScanned": stats.bytes_scanned,
            "recordsIngested": stats.records_ingested,
            "queryResultRows": stats.result_rows,
        },
    });
    if let Some(insights) = &run.insights {
        summary["queryInsightsResponse"] = json!({
            "queryTableCount": insights.tables,
            "outputRows": insights.output_rows,
            "outputBytes": insights.output_bytes,
        });
    }
    if let Some(reason) = &run.failure {
        summary["failureReason"] = json!(reason);
    }
    if let Some(report) = &run.report {
        summary["errorReportLocation"] =
            json!({ "s3ReportLocation": { "bucketName": report.bucket, "objectKey": report.key } });
    }
    summary
}

impl Notices {
    pub(super) fn new(
        addresses: BTreeMap<String, String>,
        clock: Arc<dyn Clock>,
        tally: Arc<Tally>,
        stop: Shutdown,
    ) -> Self {
        Self { addresses, posts: Arc::default(), clock, tally, stop }
    }

    /// Sends a notification about the query `arn` to the subscriber of `topic`, if there is one. Returns at
    /// once; what cannot be delivered is logged and lost.
    pub(super) fn send(&self, topic: &str, arn: &str, notice: &Notice<'_>) {
        let Some(url) = self.addresses.get(topic) else { return };
        let post = self.post(url, topic, arn, notice);
        let lane: Arc<str> = topic.into();
        let place = match self.posts.enter(&lane, post.body.len()) {
            Ok(place) => place,
            Err(reason) => {
                self.tally.notice(false);
                warn!(topic, arn, kind = notice.kind(), reason, "a notification was dropped");
                return;
            }
        };
        let (kind, arn, stop) = (notice.kind(), arn.to_owned(), self.stop.clone());
        let tally = Arc::clone(&self.tally);
        self.stop.spawn(async move {
            let delivered = place.deliver(&post, &stop).await;
            tally.notice(delivered.is_ok());
            if let Err(reason) = delivered {
                let url = without_query(&post.url);
                warn!(topic = &*lane, arn, kind, url, reason, "a notification was not delivered");
            }
        });
    }

    fn post(&self, url: &str, topic: &str, arn: &str, notice: &Notice<'_>) -> Post {
        let id = Uuid::new_v4().to_string();
        let now = chrono::DateTime::from_timestamp_nanos(self.clock.now().nanos());
        let attribute = |value: &str| json!({ "Type": "String", "Value": value });
        let envelope = json!({
            "Type": "Notification",
            "MessageId": id,
            "TopicArn": topic,
            "Message": notice.message(arn).to_string(),
            "Timestamp": now.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            "MessageAttributes": { "queryArn": attribute(arn), "notificationType": attribute(notice.kind()) },
        });
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Post {
            url: url.to_owned(),
            headers: vec![
                header("content-type", "text/plain; charset=UTF-8"),
                header("user-agent", "Amazon Simple Notification Service Agent"),
                header("x-amz-sns-message-type", "Notification"),
                header("x-amz-sns-message-id", &id),
                header("x-amz-sns-topic-arn", topic),
            ],
            body: Bytes::from(envelope.to_string()),
            timeout_ms: TIMEOUT_MS,
            retries: RETRIES,
        }
    }
}
