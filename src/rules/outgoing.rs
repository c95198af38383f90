//! A rule's result by itself, for dry runs, and the message an error action gets.

use std::borrow::Cow;

use bytes::Bytes;
use uuid::Uuid;

use crate::message::Message;
use crate::topic::TopicName;

use super::RuleSet;
use super::answers::{Answers, FunctionCall};
use super::effect::{ActionKind, Effect, FailureReason};
use super::sql::eval::{Output, Scope};
use super::sql::payload::Payload;
use super::sql::run::{Ended, MADE_BYTES_MAX, Run};
use super::sql::trace_id;
use super::sql::value::{Object, Value};
use super::topic_index::basic_ingest;

/// The largest result as JSON, in bytes.
const RESULT_BYTES_MAX: usize = MADE_BYTES_MAX;

/// What a rule's SELECT made of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// The WHERE clause did not hold.
    NotFired,
    /// `SELECT VALUE` yielded Undefined, which AWS sends as an empty text.
    Undefined,
    /// JSON text.
    Json(String),
    /// The payload's own bytes, which are no JSON.
    Bytes(Bytes),
    /// The statement failed.
    Failed(FailureReason),
    /// The statement needs the answer of a function that others run, and a dry run asks nobody.
    Asks(FunctionCall),
}

/// An action that failed, for the rule's error action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAction {
    /// Its kind; `None` when the rule failed before its actions.
    pub action: Option<ActionKind>,
    /// What it worked on, such as a table.
    pub resource: String,
    /// Why it failed.
    pub message: String,
}

impl RuleSet {
    /// Whether a message on `topic` reaches the rule called `name`: by its FROM, or by its name in a
    /// Basic Ingest topic, whether the rule is disabled or not.
    pub fn reaches(&self, name: &str, topic: &TopicName) -> bool {
        let Some(rule) = self.get(name) else { return false };
        match basic_ingest(topic) {
            Some((named, _)) => named == name,
            None => rule.query().from.as_ref().is_some_and(|filter| filter.matches_for_rule(topic)),
        }
    }

    /// What the rule called `name` makes of `message`, without its FROM and without its actions;
    /// `None` if there is no such rule.
    pub fn outgoing(&self, name: &str, message: &Message) -> Option<Outgoing> {
        let rule = self.get(name)?;
        let payload = Payload::new(&message.payload);
        let site = self.options.site(rule.name());
        let run = Run::new(message, &payload, visible_topic(message), rule.query(), site, Answers::NONE);
        let scope = Scope::new(&run);
        let output = scope.fires(rule.query()).then(|| scope.output(rule.query()));
        let outgoing = match output.as_ref().map(|output| (output, output.json())) {
            None => Outgoing::NotFired,
            Some((_, Err(reason))) => Outgoing::Failed(reason),
            Some((_, Ok(Some(text)))) => Outgoing::Json(text),
            Some((Output::Bytes, Ok(None))) => Outgoing::Bytes(message.payload.clone()),
            Some((_, Ok(None))) => Outgoing::Undefined,
        };
        Some(match run.ended() {
            None => outgoing,
            Some(Ended::Failed(reason)) => Outgoing::Failed(reason),
            Some(Ended::Asks(call)) => Outgoing::Asks(call),
        })
    }

    /// What the error action of the rule called `name` asks for, after `failures` of its actions on
    /// `message`; nothing if the rule has none. The action sees AWS's error document as its result
    /// (spec 6.1), its templates see the original message.
    ///
    /// # Errors
    /// When it needs an answer that is not among `answers`; then this call comes first.
    pub fn error_effects(
        &self,
        name: &str,
        message: &Message,
        failures: &[FailedAction],
        answers: &Answers,
    ) -> Result<Vec<Effect>, FunctionCall> {
        let mut effects = Vec::new();
        if let Some(rule) = self.get(name)
            && let Some(action) = rule.error_action()
        {
            let payload = Payload::new(&message.payload);
            let topic = visible_topic(message);
            let site = self.options.site(rule.name());
            let run = Run::new(message, &payload, topic, rule.query(), site, answers);
            let scope = Scope::new(&run);
            let trace_id = trace_id(message, self.options.seed);
            let document = error_document(rule.name(), message, Some(trace_id), failures);
            let known = document.into_iter().filter(|(_, value)| !value.is_undefined());
            let members = known.map(|(name, value)| (Cow::Owned(name), Cow::Owned(value)));
            action.run(&scope, &Output::Object(members.collect()), &mut effects);
            if let Some(Ended::Asks(call)) = run.ended() {
                return Err(call);
            }
        }
        Ok(effects)
    }
}

/// AWS's document of what failed (spec 6.1) as compact JSON, with the time in front: what is kept of a message
/// no action could take.
pub fn dead_letter(rule: &str, message: &Message, failures: &[FailedAction], time: &str) -> String {
    let mut document = error_document(rule, message, message.origin.trace_id, failures);
    document.shift_insert(0, "time".into(), Value::Str(time.to_owned()));
    Value::Object(Box::new(document)).to_json()
}

impl Output<'_> {
    /// The result as JSON; `None` when it is no JSON or has no value.
    pub(super) fn json(&self) -> Result<Option<String>, FailureReason> {
        let too_large = FailureReason::ResultTooLarge { limit: RESULT_BYTES_MAX };
        let text = match self {
            Output::Bytes => return Ok(None),
            Output::Value(value) if value.is_undefined() => return Ok(None),
            Output::Value(value) => value.to_json(),
            Output::Object(members) => {
                let mut text = "{".to_owned();
                for (name, value) in members {
                    if text.len() > 1 {
                        text.push(',');
                    }
                    text.push_str(&Value::Str(name.to_string()).to_json());
                    text.push(':');
                    text.push_str(&value.to_json());
                    if text.len() > RESULT_BYTES_MAX {
                        // Attributes are lent: many of them can be the whole payload each.
                        return Err(too_large);
                    }
                }
                text.push('}');
                text
            }
        };
        if text.len() > RESULT_BYTES_MAX { Err(too_large) } else { Ok(Some(text)) }
    }

    /// The result as the payload of a message: JSON, the bytes as they came, or nothing for Undefined.
    pub(super) fn payload(&self, message: &Message) -> Result<Bytes, FailureReason> {
        Ok(match (self, self.json()?) {
            (_, Some(text)) => text.into(),
            (Output::Bytes, None) => message.payload.clone(),
            (_, None) => Bytes::new(),
        })
    }

    /// What the result is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Output::Bytes => "bytes that are no JSON",
            Output::Value(value) => value.kind(),
            Output::Object(_) => "an Object",
        }
    }
}

/// The part of a message's topic its rule may see.
pub(super) fn visible_topic(message: &Message) -> &str {
    basic_ingest(&message.topic).map_or(message.topic.as_str(), |(_, topic)| topic)
}

/// How many failures one document lists.
const FAILURES_MAX: usize = 100;

fn error_document(
    rule: &str,
    message: &Message,
    trace_id: Option<Uuid>,
    failures: &[FailedAction],
) -> Object {
    let text = |text: &str| Value::Str(text.to_owned());
    let failure = |failure: &FailedAction| {
        let kind = failure.action.map_or("SqlEvaluation", ActionKind::aws_name);
        let members = [
            ("failedAction".into(), text(kind)),
            ("failedResource".into(), text(&failure.resource)),
            ("errorMessage".into(), text(&failure.message)),
        ];
        Value::Object(Box::new(Object::from_iter(members)))
    };
    let address = message.origin.address.map(|address| address.to_string());
    Object::from_iter([
        ("ruleName".into(), text(rule)),
        ("topic".into(), text(message.topic.as_str())),
        ("cloudwatchTraceId".into(), trace_id.map(|id| id.to_string()).into()),
        ("clientId".into(), text(message.origin.client_id.as_deref().unwrap_or("n/a"))),
        ("sourceIp".into(), address.into()),
        ("base64OriginalPayload".into(), Value::Str(super::sql::to_base64(&message.payload))),
        ("failures".into(), Value::Array(failures.iter().take(FAILURES_MAX).map(failure).collect())),
    ])
}
