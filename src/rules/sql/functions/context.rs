//! Functions that look at the message around the payload (spec 3.3).

use std::borrow::Cow;

use super::transfer::to_base64;
use super::{Operand, Scope, Value, first};
use crate::rules::sql::eval::undefined;
use crate::rules::sql::number::Number;
use crate::rules::sql::value::Object;

/// topic(): the whole topic; topic(n): its nth level, counted from 1. Basic Ingest's first levels are
/// hidden.
pub(super) fn topic<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    let Some(level) = arguments.first() else { return scope.text(scope.topic()) };
    let wanted = level.number().and_then(Number::floor).and_then(|level| usize::try_from(level).ok());
    match wanted.and_then(|level| scope.topic().split('/').nth(level.checked_sub(1)?)) {
        Some(level) => scope.text(level),
        None => undefined(),
    }
}

/// The processing time in milliseconds.
pub(super) fn timestamp<'a>(_: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    Cow::Owned(Value::Int(scope.message().received.millis().into()))
}

/// The MQTT client id, or `n/a` for a message that did not come over MQTT.
pub(super) fn clientid<'a>(_: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    scope.text(scope.message().origin.client_id.as_deref().unwrap_or("n/a"))
}

pub(super) fn accountid<'a>(_: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    scope.text(scope.site().account_id)
}

/// Who the publisher proved to be; Undefined for one who proved nothing.
pub(super) fn principal<'a>(_: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    match scope.message().origin.principal.as_deref() {
        Some(principal) => scope.text(principal),
        None => undefined(),
    }
}

pub(super) fn sql_version<'a>(_: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    scope.text(scope.version().as_str())
}

pub(super) fn sourceip<'a>(_: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    match scope.message().origin.address {
        Some(address) => scope.text(address.to_string()),
        None => undefined(),
    }
}

/// One of MQTT 5's publish properties, by the name AWS gives it.
pub(super) fn get_mqtt_property<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    let name = first(arguments);
    let Value::Str(name) = &*name else { return undefined() };
    let properties = &scope.message().properties;
    let text: Option<Cow<'a, str>> = match name.as_str() {
        "content_type" => properties.content_type.as_deref().map(Cow::Borrowed),
        "response_topic" => properties.response_topic.as_deref().map(Cow::Borrowed),
        "correlation_data" => properties.correlation_data.as_ref().map(|data| to_base64(data).into()),
        "format_indicator" => Some(match properties.payload_is_utf8 {
            Some(true) => "UTF8_DATA".into(),
            _ => "UNSPECIFIED_BYTES".into(),
        }),
        _ => None,
    };
    text.map_or_else(undefined, |text| scope.text(text))
}

/// get_user_properties(key): all values of the key in order; without a key, an array of one-pair objects.
pub(super) fn get_user_properties<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    let properties = scope.message().properties.user.iter();
    let Some(wanted) = arguments.first() else {
        return scope.array(properties.map(|(key, value)| {
            let pair = Object::from_iter([(key.as_str().into(), Value::Str(value.clone()))]);
            Cow::Owned(Value::Object(Box::new(pair)))
        }));
    };
    let Value::Str(wanted) = &**wanted else { return undefined() };
    let mut values = properties.filter(|(key, _)| key == wanted).peekable();
    if values.peek().is_none() {
        return undefined();
    }
    scope.array(values.map(|(_, value)| Cow::Owned(Value::Str(value.clone()))))
}
