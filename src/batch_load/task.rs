//! A batch load task: what was asked for, how far it is, and what the catalog keeps of it.

use serde::{Deserialize, Serialize};

use super::csv::{CsvConfiguration, Place};
use super::model::DataModel;
use super::report::Mistakes;
use crate::clock::Timestamp;

/// What to load, as the API has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Definition {
    /// Tells a repeated request from another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// The data model, or where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_model_configuration: Option<DataModelConfiguration>,
    /// The files.
    pub data_source_configuration: DataSourceConfiguration,
    /// Where the error report goes.
    pub report_configuration: ReportConfiguration,
    /// The table's database.
    pub target_database_name: String,
    /// The table.
    pub target_table_name: String,
    /// The version of all records; 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_version: Option<i64>,
}

/// The data model, or where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataModelConfiguration {
    /// The data model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_model: Option<DataModel>,
    /// The object with the data model as JSON.
    #[serde(rename = "DataModelS3Configuration", skip_serializing_if = "Option::is_none")]
    pub data_model_s3_configuration: Option<DataModelS3Configuration>,
}

/// The object with a data model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataModelS3Configuration {
    /// The bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket_name: Option<String>,
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_key: Option<String>,
}

/// The files to load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataSourceConfiguration {
    /// Where they are.
    #[serde(rename = "DataSourceS3Configuration")]
    pub data_source_s3_configuration: DataSourceS3Configuration,
    /// How they are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csv_configuration: Option<CsvConfiguration>,
    /// CSV.
    pub data_format: String,
}

/// Where files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataSourceS3Configuration {
    /// The bucket.
    pub bucket_name: String,
    /// How their keys begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_key_prefix: Option<String>,
}

/// Where the error report goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReportConfiguration {
    /// The place; without it there is no report.
    #[serde(rename = "ReportS3Configuration", skip_serializing_if = "Option::is_none")]
    pub report_s3_configuration: Option<ReportS3Configuration>,
}

/// A place for reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReportS3Configuration {
    /// The bucket.
    pub bucket_name: String,
    /// How their keys begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_key_prefix: Option<String>,
    /// SSE_S3 or SSE_KMS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_option: Option<String>,
    /// The key for SSE_KMS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
}

/// What a task is doing (spec 5.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskStatus {
    /// It waits for its turn.
    Created,
    /// It loads.
    InProgress,
    /// It has ended, with mistakes.
    Failed,
    /// It has ended without a mistake.
    Succeeded,
    /// Something that may pass keeps it from going on.
    ProgressStopped,
    /// It was resumed and waits for its turn.
    PendingResume,
}

impl TaskStatus {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Created,
        Self::InProgress,
        Self::Failed,
        Self::Succeeded,
        Self::ProgressStopped,
        Self::PendingResume,
    ];

    /// Whether the task counts against the quotas of tasks at once.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Created | Self::InProgress | Self::PendingResume)
    }

    /// The name the API uses.
    pub const fn api_name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::InProgress => "IN_PROGRESS",
            Self::Failed => "FAILED",
            Self::Succeeded => "SUCCEEDED",
            Self::ProgressStopped => "PROGRESS_STOPPED",
            Self::PendingResume => "PENDING_RESUME",
        }
    }
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Records that were read, and rows that could not be.
    pub processed: u64,
    /// Records in the table.
    pub ingested: u64,
    /// Rows that could not be read.
    pub parse_failures: u64,
    /// Records the table refused.
    pub ingestion_failures: u64,
    /// Files that could not be read, or not to their end.
    pub file_failures: u64,
    /// Bytes of rows.
    pub bytes: u64,
}

impl std::ops::AddAssign for Progress {
    fn add_assign(&mut self, further: Self) {
        self.processed += further.processed;
        self.ingested += further.ingested;
        self.parse_failures += further.parse_failures;
        self.ingestion_failures += further.ingestion_failures;
        self.file_failures += further.file_failures;
        self.bytes += further.bytes;
    }
}

/// A file of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct File {
    pub(super) key: String,
    pub(super) size: u64,
}

/// Everything about a task, as the catalog keeps it: the place and what is counted up to it change together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TaskState {
    pub(super) definition: Definition,
    /// The data model, also if it came from a bucket.
    pub(super) model: DataModel,
    pub(super) status: TaskStatus,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) resumable_until: Option<i64>,
    pub(super) error: Option<String>,
    pub(super) files: Vec<File>,
    /// How many files are done.
    pub(super) files_done: usize,
    /// The version of the file that is being read, and how far it is.
    pub(super) etag: Option<String>,
    pub(super) place: Place,
    pub(super) progress: Progress,
    pub(super) mistakes: Mistakes,
}

/// A task as the API describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// What was asked for, with defaults filled in.
    pub definition: Definition,
    /// What it is doing.
    pub status: TaskStatus,
    /// How far it is.
    pub progress: Progress,
    /// Why it failed or stopped.
    pub error: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When its state changed last.
    pub updated: Timestamp,
    /// Until when it can be resumed, if it can.
    pub resumable_until: Option<Timestamp>,
}

/// A task as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSummary {
    /// Its id.
    pub id: String,
    /// The table's database.
    pub database: String,
    /// The table.
    pub table: String,
    /// What it is doing.
    pub status: TaskStatus,
    /// When it was created.
    pub created: Timestamp,
    /// When its state changed last.
    pub updated: Timestamp,
    /// Until when it can be resumed, if it can.
    pub resumable_until: Option<Timestamp>,
}

impl TaskState {
    /// The line of this task in a list.
    pub(super) fn summary(&self, id: &str) -> TaskSummary {
        TaskSummary {
            id: id.to_owned(),
            database: self.definition.target_database_name.clone(),
            table: self.definition.target_table_name.clone(),
            status: self.status,
            created: Timestamp::from_nanos(self.created),
            updated: Timestamp::from_nanos(self.updated),
            resumable_until: self.resumable_until.map(Timestamp::from_nanos),
        }
    }

    /// The description of this task.
    pub(super) fn describe(&self, id: &str) -> Task {
        Task {
            id: id.to_owned(),
            definition: self.definition.clone(),
            status: self.status,
            progress: self.progress,
            error: self.error.clone(),
            created: Timestamp::from_nanos(self.created),
            updated: Timestamp::from_nanos(self.updated),
            resumable_until: self.resumable_until.map(Timestamp::from_nanos),
        }
    }
}
