//! IoT's control plane, as far as it concerns rules.
//!
//! A rule made here is live when the call returns. Rules of the user's files can be read through this
//! API, but only the user changes them.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri, header};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::error;

use super::rest::{self, Parameters, Refusal, respond};
use super::{Context, paging};
use crate::rulebook::{RuleEntry, Rulebook, RulebookError, Tags};
use crate::topic::{TopicFilter, TopicName};

/// AWS's quota for a rule.
const PAYLOAD_BYTES_MAX: usize = 128 * 1024;
/// The longest rule name.
const NAME_BYTES_MAX: usize = 128;
/// The most rules a page of a list may have; without `maxResults` a page has as many.
const RESULTS_MAX: usize = 10_000;
/// The most tags of a rule.
const TAGS_MAX: usize = 50;
/// The longest key of a tag, in characters, and the longest value.
const TAG_CHARACTERS_MAX: (usize, usize) = (128, 256);

type Answer = Result<Option<Value>, Refusal>;
type Name = Result<Path<String>, PathRejection>;

/// The paths of these operations.
pub(super) fn router() -> Router<Arc<Context>> {
    let rule = post(create).patch(replace).get(describe).delete(delete);
    Router::new()
        .route("/rules", get(list).fallback(rest::method_not_allowed))
        .route("/rules/{name}", rule.fallback(rest::method_not_allowed))
        .route("/rules/{name}/enable", post(enable).fallback(rest::method_not_allowed))
        .route("/rules/{name}/disable", post(disable).fallback(rest::method_not_allowed))
        .route("/endpoint", get(describe_endpoint).fallback(rest::method_not_allowed))
        .route("/tags", get(list_tags).post(tag).fallback(rest::method_not_allowed))
        .route("/untag", post(untag).fallback(rest::method_not_allowed))
}

async fn create(State(context): State<Arc<Context>>, name: Name, request: Request) -> Response<Body> {
    let done = async {
        let name = rule_name(name)?;
        let tags = match rest::header_text(request.headers(), "x-amz-tagging")? {
            Some(text) => form_urlencoded::parse(text.as_bytes()).into_owned().collect(),
            None => Tags::new(),
        };
        check_tags(&tags)?;
        let payload = payload(request).await?;
        change(&context, move |book| book.create(&name, &payload, tags)).await
    };
    respond(done.await)
}

async fn replace(State(context): State<Arc<Context>>, name: Name, request: Request) -> Response<Body> {
    let done = async {
        let name = rule_name(name)?;
        let payload = payload(request).await?;
        change(&context, move |book| book.replace(&name, &payload)).await
    };
    respond(done.await)
}

async fn delete(State(context): State<Arc<Context>>, name: Name) -> Response<Body> {
    let done = async {
        let name = rule_name(name)?;
        change(&context, move |book| book.delete(&name)).await
    };
    respond(done.await)
}

async fn enable(State(context): State<Arc<Context>>, name: Name) -> Response<Body> {
    respond(set_enabled(&context, name, true).await)
}

async fn disable(State(context): State<Arc<Context>>, name: Name) -> Response<Body> {
    respond(set_enabled(&context, name, false).await)
}

async fn set_enabled(context: &Context, name: Name, enabled: bool) -> Answer {
    let name = rule_name(name)?;
    change(context, move |book| book.set_enabled(&name, enabled)).await
}

async fn describe(State(context): State<Arc<Context>>, name: Name) -> Response<Body> {
    let described = rule_name(name).and_then(|name| {
        let entry = context.rulebook.get(&name).ok_or_else(|| denied(&name))?;
        let mut rule = entry.rule.definition().clone();
        rule["ruleName"] = json!(name);
        if let Some(created) = entry.created {
            rule["createdAt"] = json!(created.epoch_seconds());
        }
        Ok(Some(json!({ "ruleArn": context.arns.topic_rule(&name), "rule": rule })))
    });
    respond(described)
}

async fn list(State(context): State<Arc<Context>>, uri: Uri) -> Response<Body> {
    respond(list_rules(&context, &Parameters::of(&uri)))
}

fn list_rules(context: &Context, parameters: &Parameters<'_>) -> Answer {
    let mut entries = context.rulebook.list();
    if let Some(disabled) = parameters.flag("ruleDisabled")? {
        entries.retain(|entry| entry.rule.is_disabled() == disabled);
    }
    if let Some(topic) = parameters.text("topic") {
        entries.retain(|entry| listens_to(entry, topic));
    }
    let page = paging::Request {
        next_token: parameters.text("nextToken").map(str::to_owned),
        max_results: Some(parameters.count("maxResults", RESULTS_MAX)?.unwrap_or(RESULTS_MAX)),
    };
    let cut = page.cut(entries, |entry| entry.rule.name().to_string());
    let (entries, next) = cut.map_err(|_| Refusal::invalid("nextToken was not made by this service."))?;
    let rules = entries.iter().map(|entry| {
        let name = entry.rule.name();
        let mut item = json!({
            "ruleArn": context.arns.topic_rule(name),
            "ruleName": **name,
            "ruleDisabled": entry.rule.is_disabled(),
        });
        if let Some(filter) = entry.rule.topic_filter() {
            item["topicPattern"] = json!(filter);
        }
        if let Some(created) = entry.created {
            item["createdAt"] = json!(created.epoch_seconds());
        }
        item
    });
    let mut answer = json!({ "rules": rules.collect::<Vec<Value>>() });
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(Some(answer))
}

/// Whether a rule is meant by the `topic` of a list: its very FROM, or a topic it sees.
fn listens_to(entry: &RuleEntry, topic: &str) -> bool {
    let Some(filter) = entry.rule.topic_filter() else { return false };
    let sees = |topic| TopicFilter::new(filter).is_ok_and(|filter| filter.matches_for_rule(&topic));
    filter == topic || TopicName::new(topic).is_ok_and(sees)
}

/// The address the caller came to: everything a device or an SDK asks for is on this port, except
/// MQTT, which has its own. SDKs put the scheme before it.
async fn describe_endpoint(uri: Uri, headers: HeaderMap) -> Response<Body> {
    let kind = Parameters::of(&uri).text("endpointType").unwrap_or("iot:Data").to_owned();
    let answer = match kind.as_str() {
        "iot:Data" | "iot:Data-ATS" | "iot:Data-Beta" => {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
            host.map(|host| Some(json!({ "endpointAddress": host })))
                .ok_or_else(|| Refusal::invalid("The Host header is missing."))
        }
        other => Err(Refusal::invalid(format!(
            "There is no endpoint of the type {other:?} here; there are iot:Data and iot:Data-ATS."
        ))),
    };
    respond(answer)
}

async fn list_tags(State(context): State<Arc<Context>>, uri: Uri) -> Response<Body> {
    let parameters = Parameters::of(&uri);
    let listed = named_by(&context, parameters.text("resourceArn").unwrap_or("")).and_then(|name| {
        let entry = context.rulebook.get(&name).ok_or_else(|| unknown_resource(&name))?;
        let tags = entry.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value }));
        Ok(Some(json!({ "tags": tags.collect::<Vec<Value>>() })))
    });
    respond(listed)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TagRequest {
    resource_arn: String,
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UntagRequest {
    resource_arn: String,
    tag_keys: Vec<String>,
}

async fn tag(State(context): State<Arc<Context>>, request: Request) -> Response<Body> {
    let done = async {
        let TagRequest { resource_arn, tags } = read(request).await?;
        let name = named_by(&context, &resource_arn)?;
        let mut all = context.rulebook.get(&name).ok_or_else(|| unknown_resource(&name))?.tags;
        let tags: Tags = tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
        all.extend(tags.clone());
        check_tags(&all)?;
        change(&context, move |book| book.change_tags(&name, |all| all.extend(tags))).await
    };
    respond(done.await.map(|_| Some(json!({}))))
}

async fn untag(State(context): State<Arc<Context>>, request: Request) -> Response<Body> {
    let done = async {
        let UntagRequest { resource_arn, tag_keys } = read(request).await?;
        let name = named_by(&context, &resource_arn)?;
        context.rulebook.get(&name).ok_or_else(|| unknown_resource(&name))?;
        change(&context, move |book| {
            book.change_tags(&name, |all| all.retain(|key, _| !tag_keys.contains(key)))
        })
        .await
    };
    respond(done.await.map(|_| Some(json!({}))))
}

/// Runs a change, which writes to the disk, where it holds up no socket.
async fn change(
    context: &Context,
    change: impl FnOnce(&Rulebook) -> Result<(), RulebookError> + Send + 'static,
) -> Answer {
    let book = context.rulebook.clone();
    match tokio::task::spawn_blocking(move || change(&book)).await {
        Ok(done) => done.map(|()| None).map_err(|error| refused(context, error)),
        Err(failure) => {
            error!(%failure, "changing the rules ended abnormally");
            Err(internal("The request could not be completed."))
        }
    }
}

fn refused(context: &Context, error: RulebookError) -> Refusal {
    let text = error.to_string();
    match error {
        RulebookError::Exists { name, .. } => {
            let arn = context.arns.topic_rule(&name);
            Refusal::new(StatusCode::CONFLICT, "ResourceAlreadyExistsException", text)
                .with("resourceId", name)
                .with("resourceArn", arn)
        }
        RulebookError::Unknown { name } => denied(&name),
        RulebookError::InFile { .. } | RulebookError::Full { .. } => Refusal::invalid(text),
        RulebookError::Invalid(error) if error.mistakes.iter().any(|mistake| mistake.in_statement) => {
            Refusal::new(StatusCode::BAD_REQUEST, "SqlParseException", text)
        }
        RulebookError::Invalid(_) => Refusal::invalid(text),
        RulebookError::Disk { .. } => {
            error!(error = text, "a rule could not be written down");
            internal("The rule could not be written down; nothing was changed.")
        }
    }
}

/// AWS does not say whether a rule exists to those who may not see it, and so never that it does not.
fn denied(name: &str) -> Refusal {
    let message = format!("Access to topic rule '{name}' was denied");
    Refusal::new(StatusCode::UNAUTHORIZED, "UnauthorizedException", message)
}

fn internal(message: &str) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalException", message)
}

fn unknown_resource(name: &str) -> Refusal {
    let message = format!("There is no topic rule {name}.");
    Refusal::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
}

fn rule_name(name: Name) -> Result<String, Refusal> {
    let Path(name) = name.map_err(|error| Refusal::invalid(error.body_text()))?;
    let legal = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if legal && (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(name);
    }
    Err(Refusal::invalid(format!(
        "1 validation error detected: Value '{name}' at 'ruleName' failed to satisfy constraint: Member must \
         satisfy regular expression pattern: ^[a-zA-Z0-9_]+$ and have length between 1 and {NAME_BYTES_MAX}"
    )))
}

/// The name in the ARN of a rule. Region and account are the caller's business.
fn named_by(context: &Context, arn: &str) -> Result<String, Refusal> {
    let name = match arn.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn", _, "iot", _, _, resource] => resource.strip_prefix("rule/"),
        _ => None,
    };
    name.map(str::to_owned).ok_or_else(|| {
        let like = context.arns.topic_rule("my_rule");
        Refusal::invalid(format!("resourceArn {arn:?} names no topic rule; it must look like {like}."))
    })
}

fn check_tags(tags: &Tags) -> Result<(), Refusal> {
    let (key_max, value_max) = TAG_CHARACTERS_MAX;
    let fits = |(key, value): (&String, &String)| {
        (1..=key_max).contains(&key.chars().count()) && value.chars().count() <= value_max
    };
    if tags.len() <= TAGS_MAX && tags.iter().all(fits) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "A rule has at most {TAGS_MAX} tags; a key has 1 to {key_max} characters, a value at most {value_max}."
    )))
}

async fn payload(request: Request) -> Result<String, Refusal> {
    let too_large = |_| Refusal::invalid(format!("A rule has at most {PAYLOAD_BYTES_MAX} bytes."));
    let bytes = rest::body(request, PAYLOAD_BYTES_MAX).await.map_err(too_large)?;
    String::from_utf8(bytes.into()).map_err(|_| Refusal::invalid("The body is not UTF-8 text."))
}

async fn read<T: for<'de> Deserialize<'de>>(request: Request) -> Result<T, Refusal> {
    let bytes = rest::body(request, PAYLOAD_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| Refusal::invalid(format!("The body is wrong: {error}")))
}
