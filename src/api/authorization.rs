//! What a caller may do: the action and the resources of a request, by AWS's names, against its policy.
//!
//! The action of a Timestream operation is its name, but for Query and PrepareQuery, whose statements
//! say what they read: `timestream:Select` on each table, and so on. Which resource a request is for is
//! only looked up when the policy asks for it. What is not known here is an action that only `*` allows.

use std::fmt;

use axum::http::Method;
use axum::http::request::Parts;
use serde::Deserialize;

use super::authentication::Service;
use super::error::ApiError;
use super::rest::Parameters;
use super::{Context, json};
use crate::access::{BoundPolicy, Credential, Decision, percent_decoded};
use crate::query::Reach;

/// An action and what it is done to: the part of an ARN behind the account, `*` for everything.
struct Deed {
    service: &'static str,
    action: String,
    resource: String,
}

impl Deed {
    fn timestream(action: impl fmt::Display, resource: impl Into<String>) -> Self {
        let service = "timestream";
        Self { service, action: format!("{service}:{action}"), resource: resource.into() }
    }

    fn iot(action: &str, resource: impl Into<String>) -> Self {
        Self { service: "iot", action: format!("iot:{action}"), resource: resource.into() }
    }
}

/// A deed the caller's policy does not allow.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) action: String,
    user: String,
    resource: String,
    explicitly: bool,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, user, resource, explicitly } = self;
        write!(f, "User: {user} is not authorized to perform: {action} on resource: {resource} ")?;
        if *explicitly {
            write!(f, "with an explicit deny in an identity-based policy")
        } else {
            write!(f, "because no identity-based policy allows the {action} action")
        }
    }
}

/// Why a request is not carried out.
pub(super) enum Failure {
    Denied(Denied),
    /// What it is for cannot be read, so that nobody can say whether it is allowed.
    Unreadable(ApiError),
}

/// Whether `policy` allows the request.
///
/// # Errors
/// When it does not.
pub(super) async fn check(
    context: &Context,
    service: Service,
    parts: &Parts,
    body: &[u8],
    credential: &Credential,
    policy: &BoundPolicy,
) -> Result<(), Failure> {
    let deeds = match service {
        Service::Timestream => timestream(context, parts, body, policy).await.map_err(Failure::Unreadable)?,
        Service::Iot | Service::IotData => iot(parts, body).map_err(Failure::Unreadable)?,
        Service::Own => Vec::new(),
    };
    for deed in deeds {
        let decision = policy.decide(&deed.action, deed.service, &deed.resource);
        if decision != Decision::Allowed {
            return Err(Failure::Denied(Denied {
                user: context.arns.user(&credential.name),
                resource: context.arns.any(deed.service, &deed.resource),
                action: deed.action,
                explicitly: decision == Decision::Denied,
            }));
        }
    }
    Ok(())
}

/// The members of Timestream's requests that name what they are for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Named {
    database_name: Option<String>,
    table_name: Option<String>,
    target_database_name: Option<String>,
    target_table_name: Option<String>,
    scheduled_query_arn: Option<String>,
    #[serde(rename = "ResourceARN")]
    resource_arn: Option<String>,
    /// Of CreateScheduledQuery.
    name: Option<String>,
    query_string: Option<String>,
}

impl Named {
    fn resource(&self) -> String {
        let database = self.database_name.as_ref().or(self.target_database_name.as_ref());
        let table = self.table_name.as_ref().or(self.target_table_name.as_ref());
        match (database, table) {
            (Some(database), Some(table)) => return format!("database/{database}/table/{table}"),
            (Some(database), None) => return format!("database/{database}"),
            _ => {}
        }
        if let Some(arn) = self.resource_arn.as_ref().or(self.scheduled_query_arn.as_ref()) {
            return behind_account(arn);
        }
        self.name.as_ref().map_or_else(|| "*".to_owned(), |name| format!("scheduled-query/{name}"))
    }
}

fn behind_account(arn: &str) -> String {
    arn.splitn(6, ':').nth(5).unwrap_or("*").to_owned()
}

async fn timestream(
    context: &Context,
    parts: &Parts,
    body: &[u8],
    policy: &BoundPolicy,
) -> Result<Vec<Deed>, ApiError> {
    let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    // What names no operation is answered as such whoever asks.
    let Some((_, operation)) = target.and_then(|target| target.rsplit_once('.')) else {
        return Ok(Vec::new());
    };
    let reads = matches!(operation, "Query" | "PrepareQuery");
    let actions: &[&str] = if reads {
        &["Select", "SelectValues", "ListDatabases", "ListTables", "ListMeasures", "DescribeTable", "Unload"]
    } else {
        &[operation]
    };
    let allowed =
        |action: &&str| policy.decide_everywhere(&format!("timestream:{action}")) == Some(Decision::Allowed);
    if actions.iter().all(allowed) {
        return Ok(Vec::new());
    }
    let named: Named = if body.is_empty() {
        Named::default()
    } else {
        serde_json::from_slice(body)
            .map_err(|error| ApiError::serialization(format!("The request body cannot be read: {error}")))?
    };
    if !reads {
        return Ok(vec![Deed::timestream(operation, named.resource())]);
    }
    let Some(sql) = named.query_string else { return Ok(Vec::new()) };
    let reached = context.engine.reach(&sql).await?;
    Ok(reached.into_iter().map(deed).collect())
}

/// What AWS calls what a statement does.
fn deed(reach: Reach) -> Deed {
    let table = |(database, table): (String, String)| format!("database/{database}/table/{table}");
    match reach {
        Reach::Table(name) => Deed::timestream("Select", table(name)),
        Reach::Unload(Some(name)) => Deed::timestream("Unload", table(name)),
        Reach::Unload(None) => Deed::timestream("Unload", "*"),
        Reach::NoTable => Deed::timestream("SelectValues", "*"),
        Reach::Databases => Deed::timestream("ListDatabases", "*"),
        Reach::Tables(Some(database)) => Deed::timestream("ListTables", format!("database/{database}")),
        Reach::Tables(None) => Deed::timestream("ListTables", "*"),
        Reach::Measures(name) => Deed::timestream("ListMeasures", table(name)),
        Reach::Columns(name) => Deed::timestream("DescribeTable", table(name)),
    }
}

fn iot(parts: &Parts, body: &[u8]) -> Result<Vec<Deed>, ApiError> {
    let path = parts.uri.path();
    let (first, rest) = path.strip_prefix('/').unwrap_or(path).split_once('/').unwrap_or((&path[1..], ""));
    let parameters = Parameters::of(&parts.uri);
    let decoded = |text: &str| String::from_utf8_lossy(&percent_decoded(text)).into_owned();
    let (method, one) = (&parts.method, |deed: Deed| Ok(vec![deed]));
    match (first, rest) {
        ("rules", "") if method == Method::GET => one(Deed::iot("ListTopicRules", "*")),
        ("rules", rest) => {
            let (name, verb) = rest.split_once('/').unwrap_or((rest, ""));
            let action = match (method.as_str(), verb) {
                ("POST", "") => "CreateTopicRule",
                ("PATCH", "") => "ReplaceTopicRule",
                ("GET", "") => "GetTopicRule",
                ("DELETE", "") => "DeleteTopicRule",
                ("POST", "enable") => "EnableTopicRule",
                ("POST", "disable") => "DisableTopicRule",
                _ => UNKNOWN,
            };
            one(Deed::iot(action, format!("rule/{}", decoded(name))))
        }
        ("endpoint", "") => one(Deed::iot("DescribeEndpoint", "*")),
        ("tags", "") if method == Method::GET => {
            let arn = parameters.text("resourceArn").map_or_else(|| "*".to_owned(), behind_account);
            one(Deed::iot("ListTagsForResource", arn))
        }
        ("tags" | "untag", "") => {
            let action = if first == "tags" { "TagResource" } else { "UntagResource" };
            let body = json::parse(body)?;
            one(Deed::iot(
                action,
                body["resourceArn"].as_str().map_or_else(|| "*".to_owned(), behind_account),
            ))
        }
        ("topics", topic) => {
            let resource = format!("topic/{}", decoded(topic));
            let mut deeds = vec![Deed::iot("Publish", resource.clone())];
            if parameters.text("retain").is_some_and(|retain| retain != "false") {
                deeds.push(Deed::iot("RetainPublish", resource));
            }
            Ok(deeds)
        }
        ("retainedMessage", "") => one(Deed::iot("ListRetainedMessages", "*")),
        ("retainedMessage", topic) => {
            one(Deed::iot("GetRetainedMessage", format!("topic/{}", decoded(topic))))
        }
        ("connections", rest) => {
            let (client, verb) = rest.split_once('/').unwrap_or((rest, ""));
            let action = match (method.as_str(), verb) {
                ("DELETE", "") => "DeleteConnection",
                ("GET", "") => "GetConnection",
                ("GET", "subscriptions") => "ListSubscriptions",
                ("POST", "messages") => "SendDirectMessage",
                _ => UNKNOWN,
            };
            one(Deed::iot(action, format!("client/{}", decoded(client))))
        }
        _ => one(Deed::iot(UNKNOWN, "*")),
    }
}

/// What no operation is called.
const UNKNOWN: &str = "UnknownOperation";
