//! Tests of the room as a whole: case files, AWS's own examples, hostile and generated input.

mod cases;
mod corpus;
mod functions;
mod generate;
mod hostile;
mod properties;

use bytes::Bytes;

use super::{ActionKind, Answers, Effect, FailedAction, Rule, RuleSet};
use crate::clock::Timestamp;
use crate::message::{Message, Origin, Properties, QoS};
use crate::record::{Measure, MeasureValue};
use crate::topic::TopicName;

/// A message as a device would send it, received at 2020-09-13T12:26:40.123456789Z.
fn message(topic: &str, payload: impl Into<Bytes>) -> Message {
    Message {
        topic: TopicName::new(topic).expect("a topic"),
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Properties::default(),
        origin: Origin {
            client_id: Some("sensor-1".into()),
            address: Some("192.0.2.7".parse().expect("an address")),
            ..Origin::default()
        },
        received: Timestamp::from_nanos(1_600_000_000_123_456_789),
    }
}

#[test]
fn rules_that_share_a_topic_do_not_affect_one_another() {
    let rule = |name: &str, sql: &str| {
        let actions = "[[actions]]\ntimestream = { database_name = 'd', table_name = 't' }\n";
        Rule::parse_toml(name, &format!("sql = \"{sql}\"\n{actions}")).expect("a rule")
    };
    let rules = RuleSet::from_rules(vec![
        rule("one", "SELECT a FROM 'iot/topic'"),
        rule("bad", "SELECT '' AS a FROM 'iot/+'"),
        rule("old", "SELECT VALUE 1 FROM '#'"),
        rule("two", "SELECT b FROM 'iot/#'"),
        rule("elsewhere", "SELECT b FROM 'iot/other'"),
    ]);
    let runs = rules.evaluate(&message("iot/topic", r#"{"a":1,"b":2}"#));
    let told: Vec<(&str, bool)> =
        runs.iter().map(|run| (&*run.rule, matches!(run.effects.as_slice(), [Effect::Write(_)]))).collect();
    assert_eq!(told, [("one", true), ("bad", false), ("old", false), ("two", true)]);
}

#[test]
fn an_error_action_gets_the_error_document_and_the_original_message() {
    let rule = Rule::parse_toml(
        "r",
        "sql = \"SELECT a FROM 'iot/topic'\"\n[error_action.timestream]\ndatabase_name = 'd'\ntable_name = 'e'\n\
         dimensions = [{ name = 'device', value = '${id}' }]\n",
    );
    let rules = RuleSet::from_rules(vec![rule.expect("a rule")]);
    let failure = FailedAction {
        action: Some(ActionKind::Timestream),
        resource: "d/t".to_owned(),
        message: "no such table".to_owned(),
    };
    let message = message("iot/topic", r#"{"id":7}"#);
    let effects = rules.error_effects("r", &message, &[failure], Answers::NONE).expect("nobody to ask");
    let [Effect::Write(write)] = effects.as_slice() else { panic!("{effects:?}") };
    let names: Vec<&str> = write.batch.records.iter().map(|record| &*record.measure_name).collect();
    assert_eq!(
        names,
        [
            "ruleName",
            "topic",
            "cloudwatchTraceId",
            "clientId",
            "sourceIp",
            "base64OriginalPayload",
            "failures"
        ]
    );
    assert_eq!(write.batch.records[0].dimensions[0].value, "7");
    let failures =
        r#"[{"failedAction":"TimestreamAction","failedResource":"d/t","errorMessage":"no such table"}]"#;
    let Measure::Single(MeasureValue::Varchar(text)) = &write.batch.records[6].measure else {
        panic!("a text")
    };
    assert_eq!(text, failures);
}

#[test]
fn a_wrong_number_of_arguments_is_remarked_on() {
    let text = "sql = \"SELECT abs(a, b) AS x, nanvl(upper(), 1) AS y FROM 't'\"";
    let rule = Rule::parse_toml("r", text).expect("a rule");
    let remarks: Vec<String> = rule.remarks().collect();
    assert_eq!(
        remarks,
        [
            "sql: line 1:8: abs() takes 1 argument, not 2: it is always Undefined",
            "sql: line 1:30: upper() takes 1 argument, not 0: it is always Undefined",
        ]
    );
}
