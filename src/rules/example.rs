//! Examples in a rule's own file: a message, and what the rule makes of it.

use std::fmt;
use std::str::FromStr;

use bigdecimal::BigDecimal;
use bytes::Bytes;
use serde_json::Value;

use super::file::ExampleFile;
use super::outgoing::Outgoing;
use super::{Rule, RuleOptions, RuleSet};
use crate::clock::Timestamp;
use crate::message::{Message, Origin, Properties, QoS};
use crate::topic::TopicName;

/// The processing time of an example that names none: 2020-09-13T12:26:40Z, the same in every run.
const AT_MILLIS: i64 = 1_600_000_000_000;

/// One example.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    topic: TopicName,
    payload: Bytes,
    client_id: Option<String>,
    at: Timestamp,
    expectation: Expectation,
}

/// What a rule makes of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Expectation {
    /// No outgoing payload: the rule does not see the topic, its WHERE does not hold, or
    /// `SELECT VALUE` is Undefined.
    Undefined,
    /// An outgoing payload.
    Payload(Value),
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined => f.write_str("undefined"),
            Self::Payload(value) => value.fmt(f),
        }
    }
}

impl Example {
    /// Checks an example as written.
    pub(super) fn new(file: ExampleFile) -> Result<Self, String> {
        let topic = TopicName::new(file.topic.as_str())
            .map_err(|error| format!("topic {:?}: {error}", file.topic))?;
        let payload = match file.payload {
            Value::String(text) => text.into_bytes(),
            value => value.to_string().into_bytes(),
        };
        let expectation = match file.expect {
            Value::String(text) if text == "undefined" => Expectation::Undefined,
            Value::String(text) => Expectation::Payload(
                serde_json::from_str(&text)
                    .map_err(|error| format!("expect is neither JSON nor \"undefined\": {error}"))?,
            ),
            value => Expectation::Payload(value),
        };
        Ok(Self {
            topic,
            payload: payload.into(),
            client_id: file.client_id,
            at: Timestamp::from_millis(file.at.unwrap_or(AT_MILLIS)),
            expectation,
        })
    }

    /// The message.
    pub fn message(&self) -> Message {
        Message {
            topic: self.topic.clone(),
            payload: self.payload.clone(),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: Properties::default(),
            origin: Origin { client_id: self.client_id.as_deref().map(Into::into), ..Origin::default() },
            received: self.at,
        }
    }

    /// What is expected.
    pub const fn expectation(&self) -> &Expectation {
        &self.expectation
    }

    /// Runs the example on `rules`, which hold the rule called `name`.
    ///
    /// # Errors
    /// What the rule made instead, as a sentence's end.
    pub fn check(&self, rules: &RuleSet, name: &str) -> Result<(), String> {
        let message = self.message();
        let outgoing = rules.outgoing(name, &message).filter(|_| rules.reaches(name, &message.topic));
        let got = match outgoing {
            None | Some(Outgoing::NotFired | Outgoing::Undefined) => Expectation::Undefined,
            Some(Outgoing::Json(text)) => match serde_json::from_str(&text) {
                Ok(value) => Expectation::Payload(value),
                Err(error) => return Err(format!("{text}, which is no JSON: {error}")),
            },
            Some(Outgoing::Bytes(bytes)) => return Err(format!("{} bytes that are no JSON", bytes.len())),
            Some(Outgoing::Failed(reason)) => return Err(format!("a failure: {reason}")),
            Some(Outgoing::Asks(call)) => return Err(call.unanswered()),
        };
        let same = match (&self.expectation, &got) {
            (Expectation::Payload(wanted), Expectation::Payload(got)) => same(wanted, got),
            (wanted, got) => wanted == got,
        };
        if same { Ok(()) } else { Err(got.to_string()) }
    }
}

impl Rule {
    /// Runs the rule's examples; one result for each, as [`Example::check`] gives it.
    pub fn check_examples(self, options: &RuleOptions) -> Vec<(Example, Result<(), String>)> {
        let (name, examples) = (self.name().to_string(), self.examples().to_vec());
        let rules = RuleSet::with_options(vec![self], options);
        examples
            .into_iter()
            .map(|example| {
                let result = example.check(&rules, &name);
                (example, result)
            })
            .collect()
    }
}

/// Whether two documents are the same. Numbers are compared by value, but 15 is not 15.0: the one is
/// stored as BIGINT, the other as DOUBLE.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let member = |(name, value)| right.get(name).is_some_and(|other| same(value, other));
            left.len() == right.len() && left.iter().all(member)
        }
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (left.to_string(), right.to_string());
            let whole = |text: &str| !text.contains(['.', 'e', 'E']);
            let value = |text: &str| BigDecimal::from_str(text).ok().map(|number| number.normalized());
            left == right || (whole(&left) == whole(&right) && value(&left) == value(&right))
        }
        (left, right) => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = r#"
sql = "SELECT t, clientid() AS c FROM 'a/+' WHERE t > 1.5"

[[examples]]
topic = "a/b"
payload = '{"t": 2.50}'
client_id = "x"
expect = { t = 2.5, c = "x" }

[[examples]]
topic = "a/b"
payload = { t = 1 }
expect = "undefined"

[[examples]]
topic = "a/b/c"
payload = { t = 2 }
expect = "undefined"

[[examples]]
topic = "a/b"
payload = { t = 2.0 }
client_id = "x"
expect = '{"t": 2.0, "c": "x"}'
"#;

    #[test]
    fn examples_tell_what_the_rule_made_instead() {
        let rule = Rule::parse_toml("r", RULE).expect("a rule");
        let results: Vec<Result<(), String>> =
            rule.check_examples(&RuleOptions::default()).into_iter().map(|(_, result)| result).collect();
        assert_eq!(results, [Ok(()), Ok(()), Ok(()), Err(r#"{"c":"x","t":2}"#.to_owned())]);
    }

    #[test]
    fn an_example_is_checked_when_the_rule_is_read() {
        let refused = |example: &str| {
            let text = format!("sql = \"SELECT * FROM 'a'\"\n[[examples]]\n{example}");
            Rule::parse_toml("r", &text).expect_err("refused").to_string()
        };
        let error = refused("topic = 'a/#'\npayload = '1'\nexpect = '1'");
        assert!(error.starts_with("example 1: topic \"a/#\": a topic name may not"), "{error}");
        let error = refused("topic = 'a'\npayload = '1'\nexpect = 'nothing'");
        assert!(error.starts_with("example 1: expect is neither JSON nor"), "{error}");
    }
}
