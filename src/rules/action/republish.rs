//! The republish action: the result as a message of its own.
//!
//! A topic of the server's own begins with `$` and is written `$$`. Only the rule's author
//! can ask for one: a template whose value happens to begin with `$` fails the action.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::message::{Properties, QoS};
use crate::topic::TopicName;

use super::super::checker::Checker;
use super::super::effect::{FailureReason, Republish};
use super::super::file::{RepublishFile, Text};
use super::super::sql::Version;
use super::super::sql::eval::{Output, Scope};
use super::super::template::Template;
use super::shortened;

/// The most user properties.
const USER_PROPERTIES_MAX: usize = 100;
/// The largest payload, in bytes: what the broker takes of a client. It bounds what a loop can make.
const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// The longest text of a property, in bytes: MQTT counts a text's length with two bytes.
const PROPERTY_BYTES_MAX: usize = 65_535;

/// A checked republish action.
#[derive(Debug)]
pub(crate) struct RepublishAction {
    topic: Template,
    /// Whether the topic is one of the server's own.
    reserved: bool,
    qos: QoS,
    payload_format_indicator: Option<Template>,
    content_type: Option<Template>,
    response_topic: Option<Template>,
    correlation_data: Option<Template>,
    message_expiry: Option<Template>,
    user: Vec<(Template, Template)>,
}

impl RepublishAction {
    pub(super) fn check(file: RepublishFile, version: Version, checker: &mut Checker<'_>) -> Option<Self> {
        let (topic, reserved) = topic(&file.topic, version, checker);
        let qos = match file.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            2 => QoS::ExactlyOnce,
            other => {
                checker.mistake(None, format!("qos is {other}, it must be 0, 1 or 2"));
                QoS::AtMostOnce
            }
        };
        let mut optional =
            |field: &str, text: Option<Text>| text.and_then(|text| checker.template(field, &text, version));
        let payload_format_indicator = optional(FORMAT, file.payload_format_indicator);
        let content_type = optional(CONTENT_TYPE, file.content_type);
        let response_topic = optional(RESPONSE_TOPIC, file.response_topic);
        let correlation_data = optional(CORRELATION_DATA, file.correlation_data);
        let message_expiry = optional(EXPIRY, file.message_expiry);
        if file.user_properties.len() > USER_PROPERTIES_MAX {
            let count = file.user_properties.len();
            let reason =
                format!("an action has at most {USER_PROPERTIES_MAX} user properties, this has {count}");
            checker.mistake(None, reason);
        }
        let mut user = Vec::with_capacity(file.user_properties.len());
        for (key, value) in &file.user_properties {
            let key = checker.template(USER_PROPERTY, key, version);
            user.extend(key.zip(checker.template(USER_PROPERTY, value, version)));
        }
        Some(Self {
            topic: topic?,
            reserved,
            qos,
            payload_format_indicator,
            content_type,
            response_topic,
            correlation_data,
            message_expiry,
            user,
        })
    }

    pub(super) fn run<'a>(
        &'a self,
        scope: &Scope<'a>,
        output: &Output<'_>,
    ) -> Result<Republish, FailureReason> {
        let topic = self.topic.render(scope, || TOPIC.to_owned())?;
        if topic.starts_with('$') && !self.reserved {
            return Err(misfit(
                TOPIC,
                topic,
                "it is one of the server's own topics; a rule writes those with $$",
            ));
        }
        let topic = TopicName::new(topic.as_str()).map_err(|error| misfit(TOPIC, topic, error))?;
        let properties = self.properties(scope)?;
        let payload = output.payload(scope.message())?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(FailureReason::ResultTooLarge { limit: PAYLOAD_BYTES_MAX });
        }
        Ok(Republish { topic, qos: self.qos, payload, properties })
    }

    fn properties<'a>(&'a self, scope: &Scope<'a>) -> Result<Properties, FailureReason> {
        let text = |field: &'static str, template: &'a Template| {
            let text = template.render(scope, || field.to_owned())?;
            if text.len() > PROPERTY_BYTES_MAX || text.contains('\0') {
                let problem = "it is longer than 65535 bytes or contains the null character";
                return Err(misfit(field, text, problem));
            }
            Ok(text)
        };
        let optional =
            |field, template: &'a Option<Template>| template.as_ref().map(|one| text(field, one)).transpose();
        let format = optional(FORMAT, &self.payload_format_indicator)?;
        let correlation = optional(CORRELATION_DATA, &self.correlation_data)?;
        let expiry = optional(EXPIRY, &self.message_expiry)?;
        let mut properties = Properties {
            payload_is_utf8: format.map(payload_is_utf8).transpose()?,
            expiry_seconds: expiry.map(seconds).transpose()?,
            content_type: optional(CONTENT_TYPE, &self.content_type)?,
            response_topic: optional(RESPONSE_TOPIC, &self.response_topic)?.map(response).transpose()?,
            ..Properties::default()
        };
        if let Some(text) = correlation {
            let bytes = STANDARD.decode(&text).map_err(|error| misfit(CORRELATION_DATA, text, error))?;
            properties.correlation_data = Some(bytes.into());
        }
        for (key, value) in &self.user {
            properties.user.push((text(USER_PROPERTY, key)?, text(USER_PROPERTY, value)?));
        }
        Ok(properties)
    }
}

const TOPIC: &str = "topic";
const FORMAT: &str = "payload_format_indicator";
const CONTENT_TYPE: &str = "content_type";
const RESPONSE_TOPIC: &str = "response_topic";
const CORRELATION_DATA: &str = "correlation_data";
const EXPIRY: &str = "message_expiry";
const USER_PROPERTY: &str = "user_properties";

/// The topic's template, and whether it is one of the server's own.
fn topic(text: &Text, version: Version, checker: &mut Checker<'_>) -> (Option<Template>, bool) {
    let reserved = text.text.starts_with("$$");
    if text.text.starts_with('$') && !reserved && !text.text.starts_with("${") {
        let reason = format!("topic: {:?}: write the topics that begin with $ as $$", text.text);
        checker.mistake(text.start, reason);
    }
    let unescaped = if reserved { text.text[1..].to_owned() } else { text.text.clone() };
    let template = checker.name_template(TOPIC, &Text { text: unescaped, start: text.start }, version);
    if let Some(Err(error)) = template.as_ref().and_then(Template::constant).map(TopicName::new) {
        checker.mistake(text.start, format!("topic: {:?}: {error}", text.text));
    }
    (template, reserved)
}

fn payload_is_utf8(text: String) -> Result<bool, FailureReason> {
    match text.as_str() {
        "UTF8_DATA" => Ok(true),
        "UNSPECIFIED_BYTES" => Ok(false),
        _ => Err(misfit(FORMAT, text, "it is neither UNSPECIFIED_BYTES nor UTF8_DATA")),
    }
}

fn seconds(text: String) -> Result<u32, FailureReason> {
    text.parse().map_err(|_| misfit(EXPIRY, text, "it is no whole number of seconds below 4294967296"))
}

fn response(text: String) -> Result<String, FailureReason> {
    match TopicName::new(text.as_str()) {
        Ok(_) => Ok(text),
        Err(error) => Err(misfit(RESPONSE_TOPIC, text, error)),
    }
}

fn misfit(field: &'static str, text: String, problem: impl ToString) -> FailureReason {
    FailureReason::Field {
        field,
        text: shortened(text),
        problem: format!("does not fit: {}", problem.to_string()),
    }
}
