//! Batch loads: CreateBatchLoadTask, DescribeBatchLoadTask, ListBatchLoadTasks and ResumeBatchLoadTask (spec 2.2,
//! 5.7).

use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::error::ApiError;
use super::paging::{self, PAGING_TOKEN};
use super::shape::{LONG, Pattern, RESOURCE_NAME, Shape, optional, required};
use crate::batch_load::{BatchLoadError, Definition, Progress, Task, TaskSummary};

const COLUMN: Shape = Shape::Text(1, usize::MAX);
const COLUMN_256: Shape = Shape::Text(1, 256);
const CHARACTER: Shape = Shape::Text(1, 1);
const BUCKET: Shape = Shape::Matching(Pattern::Bucket, 3, 63);
const KEY: Shape = Shape::Matching(Pattern::ObjectKey, 1, 1024);
const UNITS: Shape = Shape::Choice(&["MILLISECONDS", "SECONDS", "MICROSECONDS", "NANOSECONDS"]);
const SCALARS: Shape = Shape::Choice(&["DOUBLE", "BIGINT", "BOOLEAN", "VARCHAR", "TIMESTAMP"]);
const TYPES: Shape = Shape::Choice(&["DOUBLE", "BIGINT", "VARCHAR", "BOOLEAN", "TIMESTAMP", "MULTI"]);
const STATUSES: Shape =
    Shape::Choice(&["CREATED", "IN_PROGRESS", "FAILED", "SUCCEEDED", "PROGRESS_STOPPED", "PENDING_RESUME"]);
const TASK_ID: Shape = Shape::Matching(Pattern::TaskId, 3, 32);

const DIMENSION: Shape =
    Shape::Structure(&[optional("SourceColumn", COLUMN), optional("DestinationColumn", COLUMN)]);
const ATTRIBUTE: Shape = Shape::Structure(&[
    required("SourceColumn", COLUMN),
    optional("TargetMultiMeasureAttributeName", COLUMN),
    optional("MeasureValueType", SCALARS),
]);
const ATTRIBUTES: Shape = Shape::List(&ATTRIBUTE, 1, usize::MAX);
const MULTI: Shape = Shape::Structure(&[
    optional("TargetMultiMeasureName", COLUMN),
    required("MultiMeasureAttributeMappings", ATTRIBUTES),
]);
const MIXED: Shape = Shape::Structure(&[
    optional("MeasureName", COLUMN),
    optional("SourceColumn", COLUMN),
    optional("TargetMeasureName", COLUMN),
    required("MeasureValueType", TYPES),
    optional("MultiMeasureAttributeMappings", ATTRIBUTES),
]);
const MODEL: Shape = Shape::Structure(&[
    optional("TimeColumn", COLUMN_256),
    optional("TimeUnit", UNITS),
    required("DimensionMappings", Shape::List(&DIMENSION, 1, usize::MAX)),
    optional("MultiMeasureMappings", MULTI),
    optional("MixedMeasureMappings", Shape::List(&MIXED, 1, usize::MAX)),
    optional("MeasureNameColumn", COLUMN_256),
]);
const MODEL_PLACE: Shape = Shape::Structure(&[optional("BucketName", BUCKET), optional("ObjectKey", KEY)]);
const CSV: Shape = Shape::Structure(&[
    optional("ColumnSeparator", CHARACTER),
    optional("EscapeChar", CHARACTER),
    optional("QuoteChar", CHARACTER),
    optional("NullValue", COLUMN_256),
    optional("TrimWhiteSpace", Shape::Boolean),
]);
const SOURCE_PLACE: Shape =
    Shape::Structure(&[required("BucketName", BUCKET), optional("ObjectKeyPrefix", KEY)]);
const REPORT_PLACE: Shape = Shape::Structure(&[
    required("BucketName", BUCKET),
    optional("ObjectKeyPrefix", Shape::Matching(Pattern::ObjectKey, 1, 928)),
    optional("EncryptionOption", Shape::Choice(&["SSE_S3", "SSE_KMS"])),
    optional("KmsKeyId", Shape::Text(1, 2048)),
]);
const CREATE: Shape = Shape::Structure(&[
    optional("ClientToken", Shape::Text(1, 64)).sensitive(),
    optional(
        "DataModelConfiguration",
        Shape::Structure(&[optional("DataModel", MODEL), optional("DataModelS3Configuration", MODEL_PLACE)]),
    ),
    required(
        "DataSourceConfiguration",
        Shape::Structure(&[
            required("DataSourceS3Configuration", SOURCE_PLACE),
            optional("CsvConfiguration", CSV),
            required("DataFormat", Shape::Choice(&["CSV"])),
        ]),
    ),
    required("ReportConfiguration", Shape::Structure(&[optional("ReportS3Configuration", REPORT_PLACE)])),
    required("TargetDatabaseName", RESOURCE_NAME),
    required("TargetTableName", RESOURCE_NAME),
    optional("RecordVersion", LONG),
]);
const NAMED: Shape = Shape::Structure(&[required("TaskId", TASK_ID)]);
const LIST: Shape = Shape::Structure(&[
    optional("NextToken", PAGING_TOKEN),
    optional("MaxResults", Shape::Integer(1, 100)),
    optional("TaskStatus", STATUSES),
]);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    task_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    next_token: Option<String>,
    max_results: Option<usize>,
    task_status: Option<String>,
}

/// CreateBatchLoadTask.
pub(crate) async fn create(context: &Context, input: Value) -> Result<Value, ApiError> {
    let definition: Definition = super::json::read(&CREATE, input)?;
    Ok(json!({ "TaskId": context.batch_loads.create(definition).await? }))
}

/// DescribeBatchLoadTask.
pub(crate) fn describe(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Named { task_id } = super::json::read(&NAMED, input)?;
    Ok(json!({ "BatchLoadTaskDescription": described(&context.batch_loads.describe(&task_id)?) }))
}

/// ListBatchLoadTasks, the newest first.
pub(crate) fn list(context: &Context, input: Value) -> Result<Value, ApiError> {
    let List { next_token, max_results, task_status } = super::json::read(&LIST, input)?;
    let mut tasks = context.batch_loads.list();
    if let Some(status) = task_status {
        tasks.retain(|task| task.status.api_name() == status);
    }
    // Tokens are compared as texts: the newer, the smaller.
    let key = |task: &TaskSummary| format!("{:020} {}", i64::MAX - task.created.nanos(), task.id);
    tasks.sort_by_key(key);
    let (tasks, next) = paging::Request { next_token, max_results }.cut(tasks, key)?;
    Ok(paging::answer("BatchLoadTasks", tasks.iter().map(listed).collect(), next))
}

/// ResumeBatchLoadTask.
pub(crate) async fn resume(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Named { task_id } = super::json::read(&NAMED, input)?;
    context.batch_loads.resume(&task_id).await?;
    Ok(json!({}))
}

fn listed(task: &TaskSummary) -> Value {
    let mut answer = json!({
        "TaskId": task.id,
        "TaskStatus": task.status.api_name(),
        "DatabaseName": task.database,
        "TableName": task.table,
        "CreationTime": task.created.epoch_seconds(),
        "LastUpdatedTime": task.updated.epoch_seconds(),
    });
    if let Some(until) = task.resumable_until {
        answer["ResumableUntil"] = json!(until.epoch_seconds());
    }
    answer
}

fn described(task: &Task) -> Value {
    // The definition is written as it came, without the token.
    let mut answer = json!(Definition { client_token: None, ..task.definition.clone() });
    answer["TaskId"] = json!(task.id);
    answer["TaskStatus"] = json!(task.status.api_name());
    answer["ProgressReport"] = progress(&task.progress);
    answer["CreationTime"] = json!(task.created.epoch_seconds());
    answer["LastUpdatedTime"] = json!(task.updated.epoch_seconds());
    if let Some(until) = task.resumable_until {
        answer["ResumableUntil"] = json!(until.epoch_seconds());
    }
    if let Some(error) = &task.error {
        answer["ErrorMessage"] = json!(error.chars().take(2048).collect::<String>());
    }
    answer
}

fn progress(progress: &Progress) -> Value {
    json!({
        "RecordsProcessed": progress.processed,
        "RecordsIngested": progress.ingested,
        "ParseFailures": progress.parse_failures,
        "RecordIngestionFailures": progress.ingestion_failures,
        "FileFailures": progress.file_failures,
        "BytesMetered": progress.bytes,
    })
}

impl From<BatchLoadError> for ApiError {
    fn from(error: BatchLoadError) -> Self {
        let text = error.to_string();
        match error {
            BatchLoadError::Invalid(_) => Self::validation(text),
            BatchLoadError::AccessDenied(_) => Self::access_denied(text),
            BatchLoadError::NotFound(_) => Self::not_found(text),
            BatchLoadError::Conflict(_) => Self::conflict(text),
            BatchLoadError::Quota(_) => Self::quota_exceeded(text),
            BatchLoadError::Unavailable(_) => Self::internal(text),
            BatchLoadError::Store(error) => error.into(),
        }
    }
}
