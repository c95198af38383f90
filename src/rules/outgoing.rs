//! A rule's result by itself, for dry runs, and the message an error action gets.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::message::Message;

use super::RuleSet;
use super::effect::{ActionKind, Effect};
use super::sql::eval::{Output, Scope};
use super::sql::payload::Payload;
use super::sql::run::Run;
use super::sql::value::{Object, Value};
use super::topic_index::basic_ingest;

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
    /// The statement made more than a rule may, or took more steps.
    TooLarge,
}

/// An action that failed, for the rule's error action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAction {
    /// Its kind.
    pub action: ActionKind,
    /// What it worked on, such as a table.
    pub resource: String,
    /// Why it failed.
    pub message: String,
}

impl RuleSet {
    /// What the rule called `name` makes of `message`, without its FROM and without its actions;
    /// `None` if there is no such rule.
    pub fn outgoing(&self, name: &str, message: &Message) -> Option<Outgoing> {
        let rule = self.get(name)?;
        let payload = Payload::new(&message.payload);
        let run = Run::new(message, &payload, visible_topic(message), rule.query(), &self.options.account_id);
        let scope = Scope::new(&run);
        if !scope.fires(rule.query()) {
            return Some(Outgoing::NotFired);
        }
        let outgoing = match scope.output(rule.query()) {
            Output::Value(value) if value.is_undefined() => Outgoing::Undefined,
            Output::Value(value) => Outgoing::Json(value.to_json()),
            Output::Bytes => Outgoing::Bytes(message.payload.clone()),
            Output::Object(members) => {
                let members =
                    members.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned()));
                Outgoing::Json(Value::Object(Box::new(members.collect())).to_json())
            }
        };
        Some(if run.excess().is_some() { Outgoing::TooLarge } else { outgoing })
    }

    /// What the error action of the rule called `name` asks for, after `failures` of its actions on
    /// `message`; nothing if the rule has none. The action sees AWS's error document as its result
    /// (spec 6.1), its templates see the original message.
    pub fn error_effects(&self, name: &str, message: &Message, failures: &[FailedAction]) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(rule) = self.get(name)
            && let Some(action) = rule.error_action()
        {
            let payload = Payload::new(&message.payload);
            let topic = visible_topic(message);
            let run = Run::new(message, &payload, topic, rule.query(), &self.options.account_id);
            let scope = Scope::new(&run);
            let document = error_document(rule.name(), message, failures);
            let members = document.into_iter().map(|(name, value)| (name.into(), Cow::Owned(value)));
            action.run(rule.name(), &scope, &Output::Object(members.collect()), &mut effects);
        }
        effects
    }
}

/// The part of a message's topic its rule may see.
fn visible_topic(message: &Message) -> &str {
    basic_ingest(&message.topic).map_or(message.topic.as_str(), |(_, topic)| topic)
}

/// There is no trace id, as nothing here traces.
fn error_document(rule: &Arc<str>, message: &Message, failures: &[FailedAction]) -> Object {
    let text = |text: &str| Value::Str(text.to_owned());
    let failure = |failure: &FailedAction| {
        let kind = match failure.action {
            ActionKind::Timestream => "TimestreamAction",
        };
        let members = [
            ("failedAction".to_owned(), text(kind)),
            ("failedResource".to_owned(), text(&failure.resource)),
            ("errorMessage".to_owned(), text(&failure.message)),
        ];
        Value::Object(Box::new(Object::from_iter(members)))
    };
    let address = message.origin.address.map(|address| address.to_string());
    Object::from_iter([
        ("ruleName".to_owned(), text(rule)),
        ("topic".to_owned(), text(message.topic.as_str())),
        ("clientId".to_owned(), text(message.origin.client_id.as_deref().unwrap_or("n/a"))),
        ("sourceIp".to_owned(), address.into()),
        ("base64OriginalPayload".to_owned(), Value::Str(super::sql::to_base64(&message.payload))),
        ("failures".to_owned(), Value::Array(failures.iter().map(failure).collect())),
    ])
}
