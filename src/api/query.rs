//! Query, CancelQuery and PrepareQuery: the engine's answers as the wire has them (spec 6).
//!
//! `page` writes a page, `insights` what a query has read, `repeats` keeps answers for requests that
//! are sent again.

mod insights;
mod page;
mod repeats;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Context;
use super::authentication::Caller;
use super::error::ApiError;
use super::shape::{Pattern, Shape, optional, required};
use crate::query::{Cancelled, PreparedColumn, QueryRequest};
use crate::store::Compatibility;
pub(crate) use insights::{RateControl, response as insights_response};
pub(crate) use repeats::Repeats;
use repeats::Token;

/// A query's text.
const QUERY_STRING: Shape = Shape::Text(1, 262_144);
const QUERY: Shape = Shape::Structure(&[
    required("QueryString", QUERY_STRING).sensitive(),
    optional("ClientToken", Shape::Text(32, 128)).sensitive(),
    optional("NextToken", Shape::Text(1, 2048)),
    optional("MaxRows", Shape::Integer(1, 1000)),
    optional("QueryInsights", INSIGHTS),
]);
const INSIGHTS: Shape =
    Shape::Structure(&[required("Mode", Shape::Choice(&["ENABLED_WITH_RATE_CONTROL", "DISABLED"]))]);
const CANCEL: Shape = Shape::Structure(&[required("QueryId", Shape::Matching(Pattern::QueryId, 1, 64))]);
const PREPARE: Shape = Shape::Structure(&[
    required("QueryString", QUERY_STRING).sensitive(),
    optional("ValidateOnly", Shape::Boolean),
]);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Query {
    query_string: String,
    client_token: Option<String>,
    next_token: Option<String>,
    max_rows: Option<usize>,
    query_insights: Option<QueryInsights>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueryInsights {
    mode: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Cancel {
    query_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Prepare {
    query_string: String,
    validate_only: Option<bool>,
}

/// Query, for the caller if there is one that has signed.
pub(crate) async fn query(
    context: &Context,
    caller: Option<&Caller>,
    input: Value,
) -> Result<Bytes, ApiError> {
    let Query { query_string, client_token, next_token, max_rows, query_insights } =
        super::json::read(&QUERY, input)?;
    let insights = query_insights.is_some_and(|insights| insights.mode != "DISABLED");
    // SDKs make a new token for every page; there it means nothing (spec 2.1).
    let token = client_token.filter(|_| next_token.is_none());
    let asked = Sha256::digest(format!("{max_rows:?} {insights} {query_string}")).into();
    let principal = caller.map(|caller| caller.0.access_key_id.clone());
    let token = token.map(|token| Token { principal: principal.clone(), token });
    let request = QueryRequest { sql: query_string, max_rows, next_token, insights, principal };
    match token {
        Some(token) => context.repeats.once(&token, asked, || run(context, request)).await,
        None => run(context, request).await,
    }
}

async fn run(context: &Context, request: QueryRequest) -> Result<Bytes, ApiError> {
    if request.insights && context.compatibility == Compatibility::Aws {
        context.insights_rate.take()?;
    }
    let page = context.engine.query(request).await?;
    let insights = match &page.insights {
        Some(found) => Some(insights::response(context, found).await),
        None => None,
    };
    Ok(page::text(&page, insights).into())
}

/// CancelQuery. A second request for the same query is told so.
pub(crate) fn cancel(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Cancel { query_id } = super::json::read(&CANCEL, input)?;
    Ok(match context.engine.cancel(&query_id)? {
        Cancelled::Now => json!({}),
        Cancelled::Before => {
            json!({ "CancellationMessage": format!("The query {query_id} has been cancelled already.") })
        }
    })
}

/// PrepareQuery, which plans a query and runs nothing.
pub(crate) async fn prepare(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Prepare { query_string, validate_only } = super::json::read(&PREPARE, input)?;
    // AWS stores no prepared queries either (spec 2.4).
    if validate_only != Some(true) {
        return Err(ApiError::validation("PrepareQuery stores no queries: set ValidateOnly to true."));
    }
    let prepared = context.engine.prepare(&query_string).await?;
    let parameter = |name: String| json!({ "Name": name, "Type": { "ScalarType": "TIMESTAMP" } });
    Ok(json!({
        "QueryString": query_string,
        "Columns": prepared.columns.iter().map(column).collect::<Vec<Value>>(),
        "Parameters": prepared.parameters.into_iter().map(parameter).collect::<Vec<Value>>(),
    }))
}

fn column(column: &PreparedColumn) -> Value {
    let mut answer = Map::new();
    if let Some(name) = &column.info.name {
        answer.insert("Name".into(), json!(name));
    }
    answer.insert("Type".into(), json!(column.info.column_type));
    if let Some((database, table)) = &column.table {
        answer.insert("DatabaseName".into(), json!(database));
        answer.insert("TableName".into(), json!(table));
    }
    answer.insert("Aliased".into(), json!(column.aliased));
    Value::Object(answer)
}
