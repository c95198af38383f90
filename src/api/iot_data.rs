//! IoT's data plane over HTTP: publishing and reading retained messages (spec 7.2).
//!
//! A publish goes the way of an MQTT publish and is answered once it is durable, whichever QoS it
//! has: an HTTP client waits for its answer anyway.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tracing::error;

use super::authentication::Caller;
use super::rest::{self, Parameters, Refusal, respond};
use super::server::Peer;
use super::{Context, paging};
use crate::message::{Message, Properties, QoS};
use crate::mqtt::Draft;
use crate::topic::TopicName;

/// AWS's limit for a payload (spec 6.5).
const PAYLOAD_BYTES_MAX: usize = 128 * 1024;
/// AWS's limits for what MQTT 5 adds to a message (spec 6.5).
const CONTENT_TYPE_BYTES_MAX: usize = 256;
const CORRELATION_DATA_BYTES_MAX: usize = 8 * 1024;
const USER_PROPERTIES_BYTES_MAX: usize = 8 * 1024;
/// The most retained messages a page of a list may have.
const RESULTS_MAX: usize = 250;

type Topic = Result<Path<String>, PathRejection>;

/// The paths of these operations.
pub(super) fn router() -> Router<Arc<Context>> {
    Router::new()
        .route("/topics/{*topic}", post(publish).fallback(rest::method_not_allowed))
        .route("/retainedMessage", get(list_retained).fallback(rest::method_not_allowed))
        .route("/retainedMessage/{*topic}", get(retained).fallback(rest::method_not_allowed))
}

async fn publish(
    State(context): State<Arc<Context>>,
    Extension(peer): Extension<Peer>,
    caller: Option<Extension<Caller>>,
    topic: Topic,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Response<Body> {
    let done = async {
        let topic = topic_name(topic)?;
        let parameters = Parameters::of(&uri);
        let qos = match parameters.text("qos").unwrap_or("0") {
            "0" => QoS::AtMostOnce,
            "1" => QoS::AtLeastOnce,
            other => return Err(Refusal::invalid(format!("qos must be 0 or 1, not {other:?}."))),
        };
        let retain = parameters.flag("retain")?.unwrap_or(false);
        let properties = properties(&parameters, &headers)?;
        let payload = rest::body(request, PAYLOAD_BYTES_MAX).await?;
        let principal = caller.map(|Extension(Caller(credential))| Arc::clone(&credential.name));
        let address = Some(peer.address);
        let draft = Draft { topic, payload, qos, retain, properties, address, principal };
        // A task of its own: a caller that hangs up must not keep a stored message from its subscribers.
        let broker = context.broker.clone();
        match tokio::spawn(async move { broker.accept(draft).await }).await {
            Ok(Ok(())) => Ok(Some(json!({ "message": "OK" }))),
            Ok(Err(error)) => Err(internal(error.to_string())),
            Err(failure) => {
                error!(%failure, "a publish over HTTP ended abnormally");
                Err(internal("The message could not be published."))
            }
        }
    };
    respond(done.await)
}

async fn retained(State(context): State<Arc<Context>>, topic: Topic) -> Response<Body> {
    let found = topic_name(topic).and_then(|topic| {
        let message = context.broker.retained(&topic).ok_or_else(|| {
            let message = format!("No retained message exists for topic: {topic}");
            Refusal::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
        })?;
        let mut answer = described(&message);
        answer["payload"] = json!(BASE64.encode(&message.payload));
        if !message.properties.user.is_empty() {
            let pairs = message.properties.user.iter();
            let pairs =
                pairs.map(|(key, value)| Value::Object(Map::from_iter([(key.clone(), json!(value))])));
            let text = Value::Array(pairs.collect()).to_string();
            answer["userProperties"] = json!(BASE64.encode(text));
        }
        Ok(Some(answer))
    });
    respond(found)
}

async fn list_retained(State(context): State<Arc<Context>>, uri: Uri) -> Response<Body> {
    respond(retained_page(&context, &Parameters::of(&uri)))
}

fn retained_page(context: &Context, parameters: &Parameters<'_>) -> Result<Option<Value>, Refusal> {
    let count = parameters.count("maxResults", RESULTS_MAX)?.unwrap_or(RESULTS_MAX);
    let after = match parameters.text("nextToken").filter(|token| !token.is_empty()) {
        None => None,
        Some(token) => Some(
            paging::decode(token)
                .and_then(|topic| TopicName::new(topic).ok())
                .ok_or_else(|| Refusal::invalid("nextToken was not made by this service."))?,
        ),
    };
    let mut page = context.broker.retained_after(after.as_ref(), count + 1);
    let more = page.len() > count;
    page.truncate(count);
    let topics = page.iter().map(|message| {
        let mut item = described(message);
        item["payloadSize"] = json!(message.payload.len());
        item
    });
    let mut answer = json!({ "retainedTopics": topics.collect::<Vec<Value>>() });
    if let Some(last) = page.last().filter(|_| more) {
        answer["nextToken"] = json!(paging::encode(last.topic.as_str()));
    }
    Ok(Some(answer))
}

fn described(message: &Message) -> Value {
    let qos = u8::from(message.qos != QoS::AtMostOnce);
    json!({ "topic": message.topic.as_str(), "qos": qos, "lastModifiedTime": message.received.millis() })
}

fn topic_name(topic: Topic) -> Result<TopicName, Refusal> {
    let Path(topic) = topic.map_err(|error| Refusal::invalid(error.body_text()))?;
    TopicName::new(topic.as_str()).map_err(|error| Refusal::invalid(format!("topic {topic:?}: {error}.")))
}

fn internal(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailureException", message)
}

fn properties(parameters: &Parameters<'_>, headers: &HeaderMap) -> Result<Properties, Refusal> {
    let header = |name| rest::header_text(headers, name);
    let payload_is_utf8 = match header("x-amz-mqtt5-payload-format-indicator")? {
        None => None,
        Some("UTF8_DATA") => Some(true),
        Some("UNSPECIFIED_BYTES") => Some(false),
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "payloadFormatIndicator must be UNSPECIFIED_BYTES or UTF8_DATA, not {other:?}."
            )));
        }
    };
    let expiry_seconds = parameters.text("messageExpiry").map(|text| {
        text.parse().map_err(|_| {
            Refusal::invalid(format!("messageExpiry must be a whole number of seconds, not {text:?}."))
        })
    });
    let content_type = parameters.text("contentType");
    if content_type.is_some_and(|text| text.len() > CONTENT_TYPE_BYTES_MAX) {
        return Err(too_long("contentType", CONTENT_TYPE_BYTES_MAX));
    }
    let response_topic = parameters.text("responseTopic").map(|text| {
        let checked = TopicName::new(text)
            .map_err(|error| Refusal::invalid(format!("responseTopic {text:?}: {error}.")));
        checked.map(|topic| topic.as_str().to_owned())
    });
    let correlation_data = match header("x-amz-mqtt5-correlation-data")? {
        None => None,
        Some(text) => Some(Bytes::from(decoded("correlationData", text, CORRELATION_DATA_BYTES_MAX)?)),
    };
    let user = match header("x-amz-mqtt5-user-properties")? {
        None => Vec::new(),
        Some(text) => user_properties(&decoded("userProperties", text, USER_PROPERTIES_BYTES_MAX)?)?,
    };
    Ok(Properties {
        payload_is_utf8,
        expiry_seconds: expiry_seconds.transpose()?,
        content_type: content_type.map(str::to_owned),
        response_topic: response_topic.transpose()?,
        correlation_data,
        user,
    })
}

fn too_long(name: &str, limit: usize) -> Refusal {
    Refusal::invalid(format!("{name} has at most {limit} bytes."))
}

fn decoded(name: &str, text: &str, limit: usize) -> Result<Vec<u8>, Refusal> {
    let bytes =
        BASE64.decode(text).map_err(|error| Refusal::invalid(format!("{name} is not base64: {error}.")))?;
    if bytes.len() > limit { Err(too_long(name, limit)) } else { Ok(bytes) }
}

/// User properties are an array of objects, each with one pair or more. Some SDKs take them as a text
/// and send that as a JSON string.
fn user_properties(bytes: &[u8]) -> Result<Vec<(String, String)>, Refusal> {
    let wrong = || Refusal::invalid("userProperties must be a JSON array of objects with text values.");
    let mut value: Value = serde_json::from_slice(bytes).map_err(|_| wrong())?;
    if let Value::String(text) = value {
        value = serde_json::from_str(&text).map_err(|_| wrong())?;
    }
    let Value::Array(objects) = value else { return Err(wrong()) };
    let mut pairs = Vec::new();
    for object in objects {
        let Value::Object(members) = object else { return Err(wrong()) };
        for (key, value) in members {
            let Value::String(value) = value else { return Err(wrong()) };
            pairs.push((key, value));
        }
    }
    Ok(pairs)
}
