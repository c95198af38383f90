//! Runs statements with their messages against the outcome they must have: `tests/rules/cases.jsonl`, made from
//! the specification's tables, and a corpus of what AWS's documents print.
//!
//! The corpus lies outside the repository: beside the checkout, or where TIDEMILL_CORPUS says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::Value as Json;

use super::super::sql::payload::read_json;
use super::super::sql::value::Value;
use super::super::{Outgoing, Rule, RuleOptions, RuleSet, Version};
use super::message;
use crate::clock::Timestamp;
use crate::message::Message;

/// Cases whose outcome AWS's documents contradict or leave open, and why ours differs.
const DIFFERENT: &[(&str, &str)] = &[
    ("fn-bitnot-01", "the page's 2 is the 4-bit complement of 13; Int has no width, so we take -14"),
    ("set-01", "the page rounds 23.888…; Int / Int is exact as far as 34 digits go"),
    ("json-05", "FROM without quotes: the FROM page requires them, and so do we"),
];

fn corpus() -> Option<String> {
    let folder = std::env::var_os("TIDEMILL_CORPUS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
    std::fs::read_to_string(folder.join("iot-sql-cases.jsonl")).ok()
}

/// The rule of a case, or why it was refused.
fn rule(case: &Json) -> Result<Rule, String> {
    let payload = serde_json::json!({
        "sql": case["sql"],
        "awsIotSqlVersion": case["sql_version"],
        "actions": [],
    });
    let name = case["rule_name"].as_str().unwrap_or("rule");
    Rule::parse_json(name, &payload.to_string()).map_err(|error| error.to_string())
}

fn case_message(case: &Json) -> Message {
    let payload = match (&case["payload_text"], &case["payload"]) {
        (Json::String(text), _) => text.clone().into_bytes(),
        (_, Json::String(text)) if case["payload_encoding"] == "base64" => {
            BASE64.decode(text).expect("Base64")
        }
        (_, payload) => payload.to_string().into_bytes(),
    };
    let mut message = message(case["topic"].as_str().expect("a topic"), Bytes::from(payload));
    let context = &case["context"];
    if let Some(client) = context["client_id"].as_str() {
        message.origin.client_id = Some(client.into());
    }
    if context["protocol"] == "http" {
        message.origin.client_id = None;
    }
    message.origin.principal = context["principal"].as_str().map(Into::into);
    let address = context["source_ip"].as_str();
    message.origin.address =
        address.map_or(message.origin.address, |text| Some(text.parse().expect("an address")));
    message.received = context["now"].as_i64().map_or(message.received, Timestamp::from_millis);
    message.origin.trace_id = context["trace_id"].as_str().map(|text| text.parse().expect("a UUID"));
    let properties = &context["mqtt5"];
    let text = |key: &str| properties[key].as_str().map(str::to_owned);
    message.properties.content_type = text("content_type");
    message.properties.response_topic = text("response_topic");
    if text("correlation_data_base64").is_some() {
        message.properties.correlation_data = Some(Bytes::from_static(b"test"));
    }
    message.properties.payload_is_utf8 =
        properties["format_indicator"].as_u64().map(|indicator| indicator == 1);
    for pair in properties["user_properties"].as_array().into_iter().flatten() {
        let part = |at: usize| pair[at].as_str().expect("a text").to_owned();
        message.properties.user.push((part(0), part(1)));
    }
    message
}

/// What a rule did, or `None` when its FROM does not match or its WHERE does not hold.
fn outcome(rule: Rule, case: &Json) -> Option<Outgoing> {
    let message = case_message(case);
    let account = case["context"]["account_id"].as_str().unwrap_or_default().to_owned();
    let options = RuleOptions { account_id: account, ..RuleOptions::default() };
    let name = rule.name().to_string();
    let filter = rule.query().from.clone();
    let reached =
        case["rule_name"].is_string() || filter.is_some_and(|filter| filter.matches_for_rule(&message.topic));
    let rules = RuleSet::with_options(vec![rule], &options);
    reached.then(|| rules.outgoing(&name, &message).expect("the rule")).filter(|it| *it != Outgoing::NotFired)
}

fn check(rule: Rule, case: &Json) -> Result<(), String> {
    let got = outcome(rule, case);
    let expected = &case["expected"];
    let Some(Outgoing::Json(text)) = &got else {
        let nothing = matches!(got, None | Some(Outgoing::Undefined)) && expected == "undefined";
        return if nothing { Ok(()) } else { Err(format!("got {got:?}, expected {expected}")) };
    };
    let read = |text: &str| read_json(text.as_bytes(), Version::V2015).expect("JSON");
    let (value, wanted) = (read(text), read(&expected.to_string()));
    let close = match (value.number(), wanted.number(), case["tol"].as_f64()) {
        (Some(value), Some(wanted), Some(tolerance)) => {
            let (value, wanted) = (value.decimal().to_f64(), wanted.decimal().to_f64());
            ((value - wanted) / wanted).abs() <= tolerance
        }
        _ => value.equals(&wanted) == Some(true),
    };
    let exact = case["result_text"].as_str().is_none_or(|wanted| wanted == text);
    let undefined = matches!(wanted, Value::Str(ref text) if text == "undefined");
    if close && exact && !undefined { Ok(()) } else { Err(format!("got {text}, expected {expected}")) }
}

/// How many cases of `text` ran, and what is wrong with those that have another outcome.
fn run(text: &str) -> (usize, BTreeMap<String, String>) {
    let mut wrong = BTreeMap::new();
    let mut count = 0_usize;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let case: Json = serde_json::from_str(line).expect("a case");
        let id = case["id"].as_str().expect("an id").to_owned();
        let result = match rule(&case) {
            Ok(_) if case["error"].is_string() => Err("taken, but it should be refused".to_owned()),
            Ok(rule) => check(rule, &case),
            Err(_) if case["error"].is_string() => Ok(()),
            Err(error) => Err(error),
        };
        count += 1;
        if let Err(problem) = result {
            wrong.insert(id, format!("{}: {problem}", case["sql"]));
        }
    }
    (count, wrong)
}

#[test]
fn the_tables_hold() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/rules/cases.jsonl");
    let (count, wrong) = run(&std::fs::read_to_string(path).expect("the cases"));
    assert!(count > 500, "only {count} cases ran");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn documented_statements_do_what_the_documents_say() {
    let Some(corpus) = corpus() else {
        println!("passed over: no corpus beside the checkout and TIDEMILL_CORPUS is not set");
        return;
    };
    let (count, wrong) = run(&corpus);
    println!("{count} cases ran");
    let known: Vec<&str> = DIFFERENT.iter().map(|(id, _)| *id).collect();
    let unknown: Vec<_> = wrong.iter().filter(|(id, _)| !known.contains(&id.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    let vanished: Vec<_> = known.iter().filter(|id| !wrong.contains_key(**id)).collect();
    assert!(vanished.is_empty(), "these agree by now: {vanished:?}");
}
