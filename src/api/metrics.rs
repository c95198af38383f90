//! `GET /metrics` in Prometheus' text format, and the same numbers as JSON under `/metrics.json`.
//!
//! A table of metrics is made anew for every request; the text and the JSON are two ways to print it.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Context;
use crate::batch_load::{BatchLoads, TaskStatus};
use crate::mqtt::{BrokerCounters, Disconnection, Refusal, UpstreamCounters, UpstreamReport};
use crate::pipeline::{ActionCounters, PipelineCounters, RuleCounters};
use crate::schedule::ScheduleCounters;

/// What Prometheus calls the text format.
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a number only ever grows while the daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// One metric with its samples.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    samples: Vec<Sample>,
}

/// A number and what it is the number of.
#[derive(Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: u64,
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Metric {
    Metric { name, kind: Kind::Counter, help, samples: vec![Sample { labels: Vec::new(), value }] }
}

fn gauge(name: &'static str, help: &'static str, value: u64) -> Metric {
    Metric { kind: Kind::Gauge, ..counter(name, help, value) }
}

/// The metrics as Prometheus reads them.
pub(crate) fn text(context: &Context) -> String {
    let mut out = String::new();
    for metric in metrics(context) {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let Metric { name, help, .. } = metric;
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for Sample { labels, value } in &metric.samples {
            let _ = writeln!(out, "{name}{} {value}", braced(labels));
        }
    }
    out
}

fn braced(labels: &[(&str, String)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", labels.join(","))
}

/// The metrics as an object, a number for each; where a metric has labels, an array of objects. What
/// is wrong with rules stands beside them in words.
pub(crate) fn json(context: &Context) -> Value {
    let metrics = metrics(context).into_iter().map(|metric| {
        let value = match metric.samples.as_slice() {
            [Sample { labels, value }] if labels.is_empty() => json!(value),
            samples => samples.iter().map(labelled).collect(),
        };
        (metric.name.to_owned(), value)
    });
    json!({
        "metrics": metrics.collect::<Map<String, Value>>(),
        "rules": context.pipeline.counters().rules.iter().map(rule).collect::<Vec<Value>>(),
        "problems": context.rulebook.problems(),
    })
}

/// What one rule has done, with its last failure in words.
fn rule(counted: &RuleCounters) -> Value {
    let actions = counted.actions.iter();
    let mut rule = json!({
        "rule": *counted.rule,
        "matched": counted.matched,
        "fired": counted.fired,
        "records": counted.records,
        "sqlFailures": counted.sql_failures,
        "actions": actions.map(|(kind, done)| (kind.to_string(), self::done(*done))).collect::<Map<_, _>>(),
        "errorActions": done(counted.error_actions),
    });
    if let Some(error) = &counted.last_error {
        rule["lastError"] = json!({ "text": error.text, "at": error.at.epoch_seconds() });
    }
    rule
}

fn done(counted: ActionCounters) -> Value {
    json!({ "successes": counted.successes, "failures": counted.failures })
}

fn labelled(sample: &Sample) -> Value {
    let labels = sample.labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
    let value = ("value".to_owned(), json!(sample.value));
    Value::Object(labels.chain([value]).collect())
}

fn metrics(context: &Context) -> Vec<Metric> {
    let mut all = broker(&context.broker.counters());
    all.extend(upstreams(context));
    all.extend(store(context));
    all.extend(rulebook(context));
    all.extend(pipeline(&context.pipeline.counters()));
    all.extend(batch_loads(&context.batch_loads));
    all.extend(schedules(&context.schedules.counters()));
    all
}

fn broker(counted: &BrokerCounters) -> Vec<Metric> {
    let mut all = connections(counted);
    all.extend(messages(counted));
    all
}

/// What connections there are and were.
fn connections(counted: &BrokerCounters) -> Vec<Metric> {
    vec![
        gauge("tidemill_mqtt_connections", "Sockets open now.", counted.connections),
        counter(
            "tidemill_mqtt_connections_refused_total",
            "Sockets closed at once because there were too many.",
            counted.connections_refused,
        ),
        counter("tidemill_mqtt_connects_total", "Connections that were accepted.", counted.connects),
        by_reason(
            "tidemill_mqtt_refused_total",
            "Sockets that never got past their CONNECT, by reason.",
            &Refusal::NAMES,
            &counted.refusals,
        ),
        by_reason(
            "tidemill_mqtt_disconnects_total",
            "Connections that ended, by reason.",
            &Disconnection::NAMES,
            &counted.disconnects,
        ),
        counter(
            "tidemill_mqtt_logins_failed_total",
            "Logins with a wrong user name or password, or without any where there have to be some.",
            counted.logins_failed,
        ),
        counter(
            "tidemill_mqtt_operations_denied_total",
            "Publishes, subscriptions and deliveries a client's policy did not allow.",
            counted.operations_denied,
        ),
        counter(
            "tidemill_mqtt_publishes_throttled_total",
            "Publishes after which a client that was too fast was read no further for a while.",
            counted.publishes_throttled,
        ),
    ]
}

/// What became of messages, and what waits.
fn messages(counted: &BrokerCounters) -> Vec<Metric> {
    vec![
        counter(
            "tidemill_messages_received_total",
            "Messages handed to the rules, over MQTT and HTTP.",
            counted.messages_received,
        ),
        counter(
            "tidemill_messages_not_stored_total",
            "Messages that could not be made durable and were not acknowledged.",
            counted.messages_not_stored,
        ),
        counter(
            "tidemill_mqtt_messages_sent_total",
            "Messages written to subscribers.",
            counted.messages_sent,
        ),
        counter(
            "tidemill_mqtt_messages_dropped_total",
            "Messages a subscriber did not get: its queue was full or they were too large for it.",
            counted.messages_dropped,
        ),
        counter(
            "tidemill_mqtt_messages_expired_total",
            "Messages a subscriber did not get because they expired first.",
            counted.messages_expired,
        ),
        counter(
            "tidemill_mqtt_slow_connections_closed_total",
            "Connections closed because they took their messages too slowly.",
            counted.slow_connections_closed,
        ),
        counter(
            "tidemill_mqtt_retained_refused_total",
            "Retained messages not kept because there was no room.",
            counted.retained_refused,
        ),
        gauge(
            "tidemill_mqtt_retained_messages",
            "Topics with a retained message.",
            counted.retained_messages,
        ),
        gauge("tidemill_mqtt_subscriptions", "Subscriptions.", counted.subscriptions),
        gauge(
            "tidemill_mqtt_absent_sessions",
            "Sessions kept for clients that are away.",
            counted.absent_sessions,
        ),
        gauge("tidemill_mqtt_queued_bytes", "Bytes that wait for clients.", counted.queued_bytes),
    ]
}

/// One sample for each upstream; nothing when there is none.
fn upstreams(context: &Context) -> Vec<Metric> {
    let reports: Vec<UpstreamReport> = context.upstreams.iter().map(|upstream| upstream.report()).collect();
    if reports.is_empty() {
        return Vec::new();
    }
    let each = |metric: Metric, value: fn(&UpstreamCounters) -> u64| {
        let sample = |report: &UpstreamReport| Sample {
            labels: vec![("upstream", report.name.clone())],
            value: value(&report.counters),
        };
        Metric { samples: reports.iter().map(sample).collect(), ..metric }
    };
    let total = |name, help, value| each(counter(name, help, 0), value);
    let now = |name, help, value| each(gauge(name, help, 0), value);
    vec![
        now("tidemill_upstream_connected", "1 while there is a connection.", |c| c.connected),
        total("tidemill_upstream_connects_total", "Connections made.", |c| c.connects),
        total("tidemill_upstream_received_total", "Messages received.", |c| c.received),
        total(
            "tidemill_upstream_acknowledged_total",
            "Messages acknowledged, because their rows are durable.",
            |c| c.acknowledged,
        ),
        total(
            "tidemill_upstream_not_stored_total",
            "Messages that could not be stored and will come again.",
            |c| c.not_stored,
        ),
        total(
            "tidemill_upstream_unusable_total",
            "Messages with a topic that is not legal; they are acknowledged and lost.",
            |c| c.unusable,
        ),
        now("tidemill_upstream_waiting", "Messages received and not yet acknowledged.", |c| c.waiting),
        now(
            "tidemill_upstream_oldest_waiting_milliseconds",
            "How long the oldest of them has waited.",
            |c| c.oldest_waiting_ms,
        ),
    ]
}

/// One sample for each reason.
fn by_reason(name: &'static str, help: &'static str, reasons: &[&'static str], values: &[u64]) -> Metric {
    let values: Vec<_> = reasons.iter().copied().zip(values.iter().copied()).collect();
    labelled_by("reason", &values, counter(name, help, 0))
}

/// The metric with one sample for each of the label's values.
fn labelled_by(label: &'static str, values: &[(&'static str, u64)], metric: Metric) -> Metric {
    let sample = |(word, value): &(&'static str, u64)| Sample {
        labels: vec![(label, (*word).to_owned())],
        value: *value,
    };
    Metric { samples: values.iter().map(sample).collect(), ..metric }
}

fn store(context: &Context) -> Vec<Metric> {
    let databases = context.store.list_databases();
    let tables = databases.iter().map(|database| database.table_count).sum();
    let up = u64::from(context.store.health().is_ok());
    vec![
        gauge("tidemill_store_up", "1 while writes become durable, 0 once they cannot.", up),
        gauge("tidemill_store_databases", "Databases.", databases.len() as u64),
        gauge("tidemill_store_tables", "Tables.", tables),
    ]
}

fn rulebook(context: &Context) -> Vec<Metric> {
    let entries = context.rulebook.list();
    let from_files = entries.iter().filter(|entry| entry.path.is_some()).count();
    let problems = context.rulebook.problems().len() as u64;
    let by_origin = [("file", from_files as u64), ("api", (entries.len() - from_files) as u64)];
    vec![
        labelled_by("origin", &by_origin, gauge("tidemill_rules", "Rules in use, by what defines them.", 0)),
        gauge("tidemill_rule_problems", "Mistakes in rule files, as /health lists them.", problems),
    ]
}

fn pipeline(counted: &PipelineCounters) -> Vec<Metric> {
    let mut all = vec![
        counter("tidemill_republished_total", "Messages that rules republished.", counted.republished),
        counter(
            "tidemill_rules_not_found_total",
            "Messages sent to a rule that does not exist or is disabled.",
            counted.rules_not_found,
        ),
        counter(
            "tidemill_dead_letters_total",
            "Messages no action could take, in the dead-letter file.",
            counted.dead_letters,
        ),
        counter(
            "tidemill_dead_letters_lost_total",
            "Messages neither an action nor the dead-letter file could take.",
            counted.dead_letters_lost,
        ),
        gauge("tidemill_http_waiting", "Requests of http actions not yet answered.", counted.http_waiting),
    ];
    all.extend(by_rule(&counted.rules));
    all
}

/// What batch loads there are, and what they have done.
fn batch_loads(loads: &BatchLoads) -> Vec<Metric> {
    let (tasks, done) = (loads.list(), loads.done());
    let of = |status: TaskStatus| tasks.iter().filter(|task| task.status == status).count() as u64;
    let by_status = TaskStatus::ALL.map(|status| (status.api_name(), of(status)));
    vec![
        labelled_by(
            "status",
            &by_status,
            gauge("tidemill_batch_load_tasks", "Batch load tasks that are known, by status.", 0),
        ),
        counter("tidemill_batch_load_records_total", "Records loaded from files.", done.ingested),
        counter(
            "tidemill_batch_load_records_rejected_total",
            "Records of files that their table refused.",
            done.ingestion_failures,
        ),
        counter(
            "tidemill_batch_load_rows_unreadable_total",
            "Rows of files that are no records.",
            done.parse_failures,
        ),
        counter(
            "tidemill_batch_load_files_failed_total",
            "Files that could not be read, or not to their end.",
            done.file_failures,
        ),
        counter("tidemill_batch_load_bytes_total", "Bytes of the rows that were read.", done.bytes),
    ]
}

/// What scheduled queries there are, and what they have done.
fn schedules(counted: &ScheduleCounters) -> Vec<Metric> {
    let notices = [("success", counted.notices_delivered), ("failure", counted.notices_lost)];
    vec![
        labelled_by(
            "state",
            &[("ENABLED", counted.enabled), ("DISABLED", counted.disabled)],
            gauge("tidemill_scheduled_queries", "Scheduled queries, by state.", 0),
        ),
        gauge(
            "tidemill_scheduled_query_runs_waiting",
            "Runs that wait or are under way.",
            counted.runs_ahead,
        ),
        labelled_by(
            "status",
            &counted.runs,
            counter("tidemill_scheduled_query_runs_total", "Runs that are over, by how they ended.", 0),
        ),
        counter("tidemill_scheduled_query_records_total", "Records stored by runs.", counted.records),
        labelled_by(
            "outcome",
            &notices,
            counter(
                "tidemill_scheduled_query_notifications_total",
                "Notifications to addresses of the configuration.",
                0,
            ),
        ),
    ]
}

/// One sample for each rule.
fn by_rule(rules: &[RuleCounters]) -> Vec<Metric> {
    let each = |name, help, value: fn(&RuleCounters) -> u64| {
        let samples = rules.iter().map(|rule| Sample { labels: named(rule), value: value(rule) });
        Metric { samples: samples.collect(), ..counter(name, help, 0) }
    };
    let actions = rules.iter().flat_map(|rule| {
        let kinds = rule.actions.iter().map(|(kind, counted)| (kind.to_string(), *counted));
        kinds.flat_map(|(kind, counted)| outcomes(rule, Some(kind), counted))
    });
    let error_actions = rules.iter().flat_map(|rule| outcomes(rule, None, rule.error_actions));
    vec![
        each("tidemill_rule_matched_total", "Messages a rule saw.", |rule| rule.matched),
        each("tidemill_rule_fired_total", "Messages for which a rule's WHERE held.", |rule| rule.fired),
        each("tidemill_rule_records_total", "Records handed to the store.", |rule| rule.records),
        each(
            "tidemill_rule_sql_failures_total",
            "Messages for which a rule failed before its actions.",
            |rule| rule.sql_failures,
        ),
        Metric {
            samples: actions.collect(),
            ..counter("tidemill_rule_actions_total", "What became of actions, by kind.", 0)
        },
        Metric {
            samples: error_actions.collect(),
            ..counter("tidemill_rule_error_actions_total", "What became of error actions.", 0)
        },
    ]
}

fn named(rule: &RuleCounters) -> Vec<(&'static str, String)> {
    vec![("rule", rule.rule.to_string())]
}

fn outcomes(rule: &RuleCounters, kind: Option<String>, counted: ActionCounters) -> [Sample; 2] {
    [("success", counted.successes), ("failure", counted.failures)].map(|(outcome, value)| {
        let mut labels = named(rule);
        labels.extend(kind.iter().map(|kind| ("action", kind.clone())));
        labels.push(("outcome", outcome.to_owned()));
        Sample { labels, value }
    })
}
