//! Messages in; files, requests, subscribers and rows out.

mod functions;
mod http;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{Pipeline, PipelineOptions, PipelineParts, RuleCounters};
use crate::clock::{Clock, ManualClock, ProcessingTime, Timestamp};
use crate::message::{Message, Origin, Properties, QoS};
use crate::mqtt::Ingest;
use crate::rules::{ActionKind, Rule, RuleSet};
use crate::store::{Store, StoreOptions};
use crate::topic::TopicName;

/// A pipeline with a store and files of its own.
struct Site {
    folder: TempDir,
    store: Store,
    pipeline: Pipeline,
    subscribers: mpsc::Receiver<Arc<Message>>,
}

impl Site {
    async fn new(rules: &[(&str, &str)]) -> Self {
        Self::with_rules(rule_set(rules)).await
    }

    async fn with_rules(rules: RuleSet) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_millis(1_600_000_000_123)));
        let options = StoreOptions::new(folder.path().join("data"));
        let store = Store::open(options, Arc::clone(&clock)).await.expect("a store");
        let (republished, subscribers) = mpsc::channel(1_000);
        let times = Arc::new(ProcessingTime::default());
        let parts = PipelineParts { store: store.clone(), clock, times, republished };
        let options = PipelineOptions {
            dead_letters: folder.path().join("data"),
            files: folder.path().join("files"),
            hops_max: 8,
            function_timeout: Duration::from_millis(2_000),
        };
        let pipeline = Pipeline::new(rules, parts, options);
        Self { folder, store, pipeline, subscribers }
    }

    /// Publishes a message and waits for its receipt.
    async fn publish(&self, topic: &str, payload: &str) {
        let message = Arc::new(message(topic, payload));
        let receipt = self.pipeline.submit(&message).await;
        receipt.await.expect("a stored message");
    }

    fn rule(&self, name: &str) -> RuleCounters {
        let rules = self.pipeline.counters().rules;
        rules.into_iter().find(|rule| &*rule.rule == name).expect("a rule of that name")
    }

    /// Successes and failures of one kind of action.
    fn actions(&self, rule: &str, kind: ActionKind) -> (u64, u64) {
        let actions = self.rule(rule).actions;
        let (_, counters) = actions.into_iter().find(|(one, _)| *one == kind).expect("every kind");
        (counters.successes, counters.failures)
    }

    fn lines(&self, file: &str) -> Vec<Json> {
        lines(&self.folder.path().join("files").join(file))
    }

    fn dead_letters(&self) -> Vec<Json> {
        lines(&self.folder.path().join("data/dead_letters.jsonl"))
    }

    fn heard(&mut self) -> Vec<(String, String)> {
        let mut heard = Vec::new();
        while let Ok(message) = self.subscribers.try_recv() {
            let payload = String::from_utf8(message.payload.to_vec()).expect("UTF-8");
            heard.push((message.topic.to_string(), payload));
        }
        heard
    }
}

fn rule_set(rules: &[(&str, &str)]) -> RuleSet {
    let rule = |(name, text): &(&str, &str)| Rule::parse_toml(name, text).expect("a rule");
    RuleSet::from_rules(rules.iter().map(rule).collect())
}

fn message(topic: &str, payload: &str) -> Message {
    Message {
        topic: TopicName::new(topic).expect("a topic"),
        payload: payload.to_owned().into(),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Properties::default(),
        origin: Origin { client_id: Some("sensor-1".into()), ..Origin::default() },
        received: Timestamp::from_millis(1_600_000_000_000),
    }
}

fn lines(path: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn a_republished_message_goes_to_rules_then_to_subscribers() {
    let mut site = Site::new(&[
        ("hot", "sql = \"SELECT t FROM 'in/+' WHERE t > 30\"\nactions = [{ republish = { topic = 'hot/${topic(2)}', qos = 1 } }]"),
        ("log", "sql = \"SELECT t, topic() AS topic, clientid() AS client FROM 'hot/#'\"\nactions = [{ file = { path = 'hot.jsonl' } }, \
                 { timestream = { database_name = 'd', table_name = 't' } }]"),
    ])
    .await;
    site.publish("in/a", r#"{"t":31}"#).await;
    site.publish("in/b", r#"{"t":30}"#).await;
    assert_eq!(site.heard(), [("hot/a".to_owned(), r#"{"t":31}"#.to_owned())]);
    assert_eq!(site.lines("hot.jsonl"), [serde_json::json!({"t": 31, "topic": "hot/a", "client": "n/a"})]);
    assert!(site.store.has_table("d", "t"));
    let counters = site.pipeline.counters();
    assert_eq!((counters.messages, counters.republished, counters.dead_letters), (2, 1, 0));
    let (hot, log) = (site.rule("hot"), site.rule("log"));
    assert_eq!((hot.matched, hot.fired, hot.records), (2, 1, 0));
    assert_eq!((log.matched, log.fired, log.records), (1, 1, 3));
    assert_eq!(site.actions("hot", ActionKind::Republish), (1, 0));
    assert_eq!(site.actions("log", ActionKind::File), (1, 0));
    assert_eq!(log.last_error, None);
}

#[tokio::test]
async fn a_loop_ends_and_the_message_is_kept() {
    let mut site = Site::new(&[(
        "echo",
        "sql = \"SELECT n + 1 AS n FROM 'a'\"\nactions = [{ republish = { topic = 'a' } }]",
    )])
    .await;
    site.publish("a", r#"{"n":0}"#).await;
    let heard = site.heard();
    assert_eq!(heard.len(), 8);
    assert_eq!(heard[7], ("a".to_owned(), r#"{"n":8}"#.to_owned()));
    let [letter] = &site.dead_letters()[..] else { panic!("one dead letter") };
    assert_eq!(letter["failures"][0]["failedAction"], "RepublishAction");
    assert_eq!(letter["failures"][0]["failedResource"], "a");
    let reason = letter["failures"][0]["errorMessage"].as_str().expect("a text");
    assert!(reason.starts_with("a message is republished at most 8 times"), "{reason}");
    assert_eq!(letter["base64OriginalPayload"], "eyJuIjo4fQ==");
}

#[tokio::test]
async fn a_loop_that_multiplies_ends_too() {
    let action = "{ republish = { topic = 'a' } }";
    let rule = format!("sql = \"SELECT * FROM 'a'\"\nactions = [{}]", [action; 10].join(", "));
    let mut site = Site::new(&[("bomb", &rule)]).await;
    site.publish("a", r#"{"n":0}"#).await;
    assert_eq!(site.heard().len(), 100);
    assert_eq!(site.actions("bomb", ActionKind::Republish), (100, 910));
    assert_eq!(site.pipeline.counters().dead_letters, 91);
}

#[tokio::test]
async fn what_no_action_could_take_is_kept_and_the_next_message_goes_on() {
    let site = Site::new(&[(
        "r",
        "sql = \"SELECT v FROM 'in/#'\"\nactions = [{ file = { path = 'blocked' } }, { file = { path = 'free' } }]",
    )])
    .await;
    std::fs::create_dir_all(site.folder.path().join("files/blocked")).expect("a folder in the way");
    site.publish("in/1", "no JSON").await;
    site.publish("in/2", r#"{"v":1}"#).await;
    assert_eq!(site.lines("free"), [serde_json::json!({"v": 1})]);
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["time"], "2020-09-13T12:26:40.123000000Z");
    assert_eq!(letters[0]["ruleName"], "r");
    assert_eq!(letters[0]["topic"], "in/1");
    assert_eq!(letters[0]["clientId"], "sensor-1");
    assert_eq!(letters[0]["base64OriginalPayload"], "bm8gSlNPTg==");
    assert_eq!(letters[0]["failures"][0]["failedAction"], "SqlEvaluation");
    assert_eq!(letters[1]["failures"].as_array().map(Vec::len), Some(1));
    assert_eq!(letters[1]["failures"][0]["failedAction"], "FileAction");
    assert_eq!(letters[1]["failures"][0]["failedResource"], "blocked");
    let rule = site.rule("r");
    assert_eq!((rule.sql_failures, site.actions("r", ActionKind::File)), (1, (1, 1)));
    let error = rule.last_error.expect("a last error");
    assert_eq!(error.at, Timestamp::from_millis(1_600_000_000_123));
    assert!(error.text.starts_with("file: the file cannot be written: "), "{}", error.text);
}

#[tokio::test]
async fn a_dead_letter_file_that_cannot_be_written_costs_no_message() {
    let site =
        Site::new(&[("r", "sql = \"SELECT v FROM 'a'\"\nactions = [{ file = { path = 'f' } }]")]).await;
    std::fs::create_dir(site.folder.path().join("data/dead_letters.jsonl")).expect("a folder in the way");
    site.publish("a", "no JSON").await;
    let counters = site.pipeline.counters();
    assert_eq!((counters.dead_letters, counters.dead_letters_lost), (0, 1));
}

#[tokio::test]
async fn the_error_action_gets_the_failures_of_the_statement_if_asked() {
    let rule = |more: &str| {
        format!(
            "sql = \"SELECT v FROM 'a'\"\nactions = [{{ timestream = {{ database_name = 'd', table_name = 't', \
             dimensions = [{{ name = 'id', value = '${{id}}' }}] }} }}]\n{more}\n\
             error_action = {{ file = {{ path = '{}.jsonl' }} }}",
            if more.is_empty() { "actions" } else { "all" }
        )
    };
    let (as_aws, asked) = (rule(""), rule("error_action_for_sql = true"));
    let site = Site::new(&[("as_aws", &as_aws), ("asked", &asked)]).await;
    site.publish("a", "no JSON").await;
    site.publish("a", r#"{"v":1}"#).await;
    assert_eq!(site.lines("actions.jsonl").len(), 1);
    let all = site.lines("all.jsonl");
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["failures"][0]["failedAction"], "SqlEvaluation");
    assert_eq!(all[1]["ruleName"], "asked");
    assert_eq!(all[1]["base64OriginalPayload"], "eyJ2IjoxfQ==");
    let document: Vec<&String> = all[1].as_object().expect("an object").keys().collect();
    assert_eq!(document.len(), 6, "{document:?}");
    let reason = all[1]["failures"][0]["errorMessage"].as_str();
    assert_eq!(reason, Some("dimension id: ${id} is Undefined, it needs a value"));
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 1, "only the statement's failure of the rule that did not ask");
    assert_eq!(letters[0]["ruleName"], "as_aws");
    let counters = site.rule("asked").error_actions;
    assert_eq!((counters.successes, counters.failures), (2, 0));
}

#[tokio::test]
async fn an_error_action_that_fails_leaves_a_dead_letter_with_both_reasons() {
    let site = Site::new(&[(
        "r",
        "sql = \"SELECT v FROM 'a'\"\nactions = [{ republish = { topic = '${to}' } }]\n\
         error_action = { republish = { topic = '${too}' } }",
    )])
    .await;
    site.publish("a", r#"{"v":1}"#).await;
    let letters = site.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["failures"].as_array().map(Vec::len), Some(2));
    assert_eq!(site.rule("r").error_actions.failures, 1);
}

#[tokio::test]
async fn records_the_store_refuses_are_failures_of_the_action() {
    let site = Site::new(&[(
        "r",
        "sql = \"SELECT v, w FROM 'a'\"\nactions = [{ timestream = { database_name = 'd', table_name = 't' } }]",
    )])
    .await;
    site.publish("a", r#"{"v":1,"w":"x"}"#).await;
    site.publish("a", r#"{"v":1.5,"w":"y"}"#).await;
    let rule = site.rule("r");
    assert_eq!(rule.records, 2, "the second message has the time of the first");
    assert_eq!(site.actions("r", ActionKind::Timestream), (1, 2));
    let letters = site.dead_letters();
    assert_eq!(letters[0]["failures"][0]["failedResource"], "d/t");
    assert_eq!(letters[0]["failures"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_rule_may_not_create_tables() {
    let site = Site::new(&[(
        "r",
        "sql = \"SELECT v FROM 'a'\"\nactions = [{ timestream = { database_name = 'd', table_name = 't', create = false } }]",
    )])
    .await;
    site.publish("a", r#"{"v":1}"#).await;
    assert!(!site.store.has_table("d", "t"));
    let error = site.rule("r").last_error.expect("a last error").text;
    assert_eq!(error, "timestream: The database d does not exist.");
}

#[tokio::test]
async fn basic_ingest_to_nobody_is_counted_and_kept() {
    let site = Site::new(&[(
        "off",
        "sql = \"SELECT v FROM 'a'\"\nrule_disabled = true\nerror_action_for_sql = true\nerror_action = { file = { path = 'f' } }",
    )])
    .await;
    site.publish("$aws/rules/nobody/x", r#"{"v":1}"#).await;
    site.publish("$aws/rules/off", r#"{"v":1}"#).await;
    let counters = site.pipeline.counters();
    assert_eq!((counters.rules_not_found, counters.dead_letters), (2, 2));
    assert_eq!((site.rule("off").matched, site.rule("off").sql_failures), (0, 0));
    assert_eq!(site.dead_letters()[0]["ruleName"], "nobody");
    assert_eq!(site.lines("f"), Vec::<Json>::new(), "a disabled rule has no error action");
}

#[tokio::test]
async fn rules_are_swapped_and_keep_their_counters() {
    let rule = "sql = \"SELECT v FROM 'a'\"\nactions = [{ file = { path = 'f' } }]";
    let site = Site::new(&[("kept", rule), ("gone", rule)]).await;
    site.publish("a", r#"{"v":1}"#).await;
    site.pipeline.swap_rules(rule_set(&[("new", rule), ("kept", rule)]));
    site.publish("a", r#"{"v":2}"#).await;
    let counters = site.pipeline.counters();
    let fired: Vec<(&str, u64)> = counters.rules.iter().map(|rule| (&*rule.rule, rule.fired)).collect();
    assert_eq!(fired, [("new", 1), ("kept", 2)]);
    assert_eq!(site.pipeline.rules().len(), 2);
}
