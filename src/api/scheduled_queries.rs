//! CreateScheduledQuery, DescribeScheduledQuery, ListScheduledQueries, UpdateScheduledQuery,
//! DeleteScheduledQuery and ExecuteScheduledQuery (spec 2.3, 6.8).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Context;
use super::error::ApiError;
use super::paging::{self, PAGING_TOKEN};
use super::query::insights_response;
use super::shape::{self, Pattern, STRING, Shape, optional, required};
use super::tags::{TAGS, Tag, pairs};
use crate::clock::Timestamp;
use crate::schedule::{Described, ReportLocation, Request, Run, State, Target};

const ARN: Shape = Shape::Text(1, 2048);
const VALUE_TYPES: &[&str] = &["BIGINT", "BOOLEAN", "DOUBLE", "VARCHAR", "TIMESTAMP"];
const MIXED_TYPES: &[&str] = &["BIGINT", "BOOLEAN", "DOUBLE", "VARCHAR", "MULTI"];

const DIMENSION: Shape = Shape::Structure(&[
    required("Name", STRING),
    required("DimensionValueType", Shape::Choice(&["VARCHAR"])),
]);
const ATTRIBUTE: Shape = Shape::Structure(&[
    required("SourceColumn", STRING),
    optional("TargetMultiMeasureAttributeName", STRING),
    required("MeasureValueType", Shape::Choice(VALUE_TYPES)),
]);
const ATTRIBUTES: Shape = Shape::List(&ATTRIBUTE, 1, usize::MAX);
const MULTI: Shape = Shape::Structure(&[
    optional("TargetMultiMeasureName", STRING),
    required("MultiMeasureAttributeMappings", ATTRIBUTES),
]);
const MIXED: Shape = Shape::Structure(&[
    optional("MeasureName", STRING),
    optional("SourceColumn", STRING),
    optional("TargetMeasureName", STRING),
    required("MeasureValueType", Shape::Choice(MIXED_TYPES)),
    optional("MultiMeasureAttributeMappings", ATTRIBUTES),
]);
const TIMESTREAM: Shape = Shape::Structure(&[
    required("DatabaseName", STRING),
    required("TableName", STRING),
    required("TimeColumn", STRING),
    required("DimensionMappings", Shape::List(&DIMENSION, 0, usize::MAX)),
    optional("MultiMeasureMappings", MULTI),
    optional("MixedMeasureMappings", Shape::List(&MIXED, 1, usize::MAX)),
    optional("MeasureNameColumn", STRING),
]);
const S3: Shape = Shape::Structure(&[
    required("BucketName", Shape::Matching(Pattern::Bucket, 3, 63)),
    optional("ObjectKeyPrefix", Shape::Matching(Pattern::ObjectKey, 1, 896)),
    optional("EncryptionOption", Shape::Choice(&["SSE_S3", "SSE_KMS"])),
]);
const CREATE: Shape = Shape::Structure(&[
    required("Name", Shape::Matching(Pattern::ObjectKey, 1, 64)),
    required("QueryString", Shape::Text(1, 262_144)).sensitive(),
    required(
        "ScheduleConfiguration",
        Shape::Structure(&[required("ScheduleExpression", Shape::Text(1, 256))]),
    ),
    required(
        "NotificationConfiguration",
        Shape::Structure(&[required("SnsConfiguration", Shape::Structure(&[required("TopicArn", ARN)]))]),
    ),
    optional("TargetConfiguration", Shape::Structure(&[required("TimestreamConfiguration", TIMESTREAM)])),
    optional("ClientToken", Shape::Text(32, 128)).sensitive(),
    required("ScheduledQueryExecutionRoleArn", ARN),
    optional("Tags", TAGS),
    optional("KmsKeyId", Shape::Text(1, 2048)),
    required("ErrorReportConfiguration", Shape::Structure(&[required("S3Configuration", S3)])),
]);
const NAMED: Shape = Shape::Structure(&[required("ScheduledQueryArn", ARN)]);
const UPDATE: Shape = Shape::Structure(&[
    required("ScheduledQueryArn", ARN),
    required("State", Shape::Choice(&["ENABLED", "DISABLED"])),
]);
const EXECUTE: Shape = Shape::Structure(&[
    required("ScheduledQueryArn", ARN),
    required("InvocationTime", Shape::Moment),
    optional("ClientToken", Shape::Text(32, 128)).sensitive(),
    optional(
        "QueryInsights",
        Shape::Structure(&[required("Mode", Shape::Choice(&["ENABLED_WITH_RATE_CONTROL", "DISABLED"]))]),
    ),
]);
const LIST: Shape =
    Shape::Structure(&[optional("MaxResults", Shape::Integer(1, 1000)), optional("NextToken", PAGING_TOKEN)]);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    name: String,
    query_string: String,
    schedule_configuration: ScheduleConfiguration,
    notification_configuration: NotificationConfiguration,
    target_configuration: Option<TargetConfiguration>,
    client_token: Option<String>,
    scheduled_query_execution_role_arn: String,
    tags: Option<Vec<Tag>>,
    kms_key_id: Option<String>,
    error_report_configuration: ErrorReportConfiguration,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ScheduleConfiguration {
    schedule_expression: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NotificationConfiguration {
    sns_configuration: SnsConfiguration,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SnsConfiguration {
    topic_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TargetConfiguration {
    timestream_configuration: Target,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorReportConfiguration {
    #[serde(rename = "S3Configuration")]
    s3_configuration: ReportLocation,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    scheduled_query_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Update {
    scheduled_query_arn: String,
    state: State,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Execute {
    scheduled_query_arn: String,
    invocation_time: Value,
    query_insights: Option<QueryInsights>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueryInsights {
    mode: String,
}

/// CreateScheduledQuery.
pub(crate) async fn create(context: &Context, input: Value) -> Result<Value, ApiError> {
    let create: Create = super::json::read(&CREATE, input)?;
    let request = Request {
        name: create.name,
        query: create.query_string,
        expression: create.schedule_configuration.schedule_expression,
        topic_arn: create.notification_configuration.sns_configuration.topic_arn,
        target: create.target_configuration.map(|target| target.timestream_configuration),
        role_arn: create.scheduled_query_execution_role_arn,
        kms_key_id: create.kms_key_id,
        error_report: create.error_report_configuration.s3_configuration,
        client_token: create.client_token,
    };
    let id = context.schedules.create(request, pairs(create.tags)).await?;
    Ok(json!({ "Arn": context.schedules.arn(&id) }))
}

/// DescribeScheduledQuery.
pub(crate) async fn describe(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Named { scheduled_query_arn } = super::json::read(&NAMED, input)?;
    let described = context.schedules.describe(context.arns.scheduled_query(&scheduled_query_arn)?)?;
    Ok(json!({ "ScheduledQuery": description(context, &described).await }))
}

/// ListScheduledQueries, sorted by name.
pub(crate) async fn list(context: &Context, input: Value) -> Result<Value, ApiError> {
    let paging::Request { next_token, max_results } = super::json::read(&LIST, input)?;
    let after = paging::position(next_token)?;
    let (page, more) = context.schedules.list(after.as_deref(), max_results.unwrap_or(RESULTS_PER_PAGE));
    let next = page.last().filter(|_| more).map(|last| paging::encode(&last.definition.id));
    let queries = page.iter().map(|described| summary(context, described)).collect();
    Ok(paging::answer("ScheduledQueries", queries, next))
}

/// How many queries a page has by default: 1,000, the most a caller may ask for.
const RESULTS_PER_PAGE: usize = 1_000;

/// UpdateScheduledQuery.
pub(crate) async fn update(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Update { scheduled_query_arn, state } = super::json::read(&UPDATE, input)?;
    context.schedules.update(context.arns.scheduled_query(&scheduled_query_arn)?, state).await?;
    Ok(json!({}))
}

/// DeleteScheduledQuery.
pub(crate) async fn delete(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Named { scheduled_query_arn } = super::json::read(&NAMED, input)?;
    context.schedules.delete(context.arns.scheduled_query(&scheduled_query_arn)?).await?;
    Ok(json!({}))
}

/// ExecuteScheduledQuery: the run is accepted, and its end shows in DescribeScheduledQuery.
pub(crate) async fn execute(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Execute { scheduled_query_arn, invocation_time, query_insights } =
        super::json::read(&EXECUTE, input)?;
    let time = shape::moment(&invocation_time)
        .ok_or_else(|| ApiError::validation("The InvocationTime is out of range."))?;
    let insights = query_insights.is_some_and(|insights| insights.mode != "DISABLED");
    let id = context.arns.scheduled_query(&scheduled_query_arn)?;
    context.schedules.execute(id, time, insights).await?;
    Ok(json!({}))
}

/// `ScheduledQuery`.
fn summary(context: &Context, described: &Described) -> Value {
    let Described { definition, next, last, .. } = described;
    let request = &definition.request;
    let mut summary = Object::default();
    summary.put("Arn", context.schedules.arn(&definition.id));
    summary.put("Name", &request.name);
    summary.put("CreationTime", definition.created().epoch_seconds());
    summary.put("State", definition.state.api_name());
    summary.put("PreviousInvocationTime", last.as_ref().map(|run| run.invocation().epoch_seconds()));
    summary.put("NextInvocationTime", next.map(Timestamp::epoch_seconds));
    summary.put("ErrorReportConfiguration", json!({ "S3Configuration": request.error_report }));
    let destination = |target: &Target| json!({ "TimestreamDestination": { "DatabaseName": target.database_name, "TableName": target.table_name } });
    summary.put("TargetDestination", request.target.as_ref().map(destination));
    summary.put("LastRunStatus", last.as_ref().map(Run::status));
    summary.0.into()
}

/// `ScheduledQueryDescription`.
async fn description(context: &Context, described: &Described) -> Value {
    let Described { definition, next, last, failed } = described;
    let request = &definition.request;
    let mut described = Object::default();
    described.put("Arn", context.schedules.arn(&definition.id));
    described.put("Name", &request.name);
    described.put("QueryString", &request.query);
    described.put("CreationTime", definition.created().epoch_seconds());
    described.put("State", definition.state.api_name());
    described.put("PreviousInvocationTime", last.as_ref().map(|run| run.invocation().epoch_seconds()));
    described.put("NextInvocationTime", next.map(Timestamp::epoch_seconds));
    described.put("ScheduleConfiguration", json!({ "ScheduleExpression": request.expression }));
    described
        .put("NotificationConfiguration", json!({ "SnsConfiguration": { "TopicArn": request.topic_arn } }));
    let target = request.target.as_ref().map(|target| json!({ "TimestreamConfiguration": target }));
    described.put("TargetConfiguration", target);
    described.put("ScheduledQueryExecutionRoleArn", &request.role_arn);
    described.put("KmsKeyId", request.kms_key_id.as_ref());
    described.put("ErrorReportConfiguration", json!({ "S3Configuration": request.error_report }));
    if let Some(last) = last {
        described.put("LastRunSummary", run(context, last).await);
    }
    let mut failures = Vec::with_capacity(failed.len());
    for failed in failed {
        failures.push(run(context, failed).await);
    }
    described.put("RecentlyFailedRuns", failures);
    described.0.into()
}

/// `ScheduledQueryRunSummary`.
async fn run(context: &Context, run: &Run) -> Value {
    let stats = run.stats;
    let mut summary = Object::default();
    summary.put("InvocationTime", run.invocation().epoch_seconds());
    summary.put("TriggerTime", run.started().epoch_seconds());
    summary.put("RunStatus", run.status());
    summary.put(
        "ExecutionStats",
        json!({
            "ExecutionTimeInMillis": stats.execution_ms,
            "DataWrites": stats.data_writes,
            "BytesMetered": stats.bytes_metered,
            "CumulativeBytesScanned": stats.bytes_scanned,
            "RecordsIngested": stats.records_ingested,
            "QueryResultRows": stats.result_rows,
        }),
    );
    if let Some(insights) = &run.insights {
        summary.put("QueryInsightsResponse", insights_response(context, insights).await);
    }
    let report = run.report.as_ref().map(
        |report| json!({ "S3ReportLocation": { "BucketName": report.bucket, "ObjectKey": report.key } }),
    );
    summary.put("ErrorReportLocation", report);
    summary.put("FailureReason", run.failure.as_ref());
    summary.0.into()
}

/// An object without members that are absent.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, name: &str, value: impl Serialize) {
        let value = json!(value);
        if !value.is_null() {
            self.0.insert(name.to_owned(), value);
        }
    }
}
