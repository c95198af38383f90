//! UNLOAD: the rows of a select as files in a bucket (spec 1.4).
//!
//! ```text
//! statement (options) -> the select's plan -> files (partitions) -> csv | parquet -> buckets
//!   -> metadata, manifest -> one row: how many rows, where metadata and manifest are
//! ```
//!
//! The work goes on behind the call that began it: a page waits for it for a while and is empty if it takes
//! longer; the next page waits again. Rows pass in batches; what is held of them is bounded, whatever the
//! number of partitions. A failed UNLOAD may leave files, but never a manifest.

mod csv;
mod files;
mod parquet;
mod statement;

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::deadline::Deadline;
use super::error::{QueryError, failed};
use super::insights::Unloaded;
use super::rows::{ColumnInfo, ColumnType, Datum, ScalarType};
use super::source::Snapshot;
use super::sql_type::SqlType;
use crate::buckets::{Bucket, BucketError};
use files::{FilePlan, Files, ResultFile};
pub(crate) use statement::{Unload, UnloadFormat, UnloadOptions, parse};

/// How long one UNLOAD may take (spec 1.4).
const UNLOAD_WITHIN: Duration = Duration::from_secs(3600);

/// A file in some format, fed with rows.
trait Output: Send {
    /// Appends rows.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;
    /// Bytes of rows that are held back, to be written together.
    fn held(&self) -> usize;
    /// Writes what is held back.
    fn let_go(&mut self) -> Result<()>;
    /// What was written since the last call, if it is at least this much.
    fn take(&mut self, least: usize) -> Vec<u8>;
    /// The end of the file.
    fn finish(self: Box<Self>) -> Result<Vec<u8>>;
}

/// An UNLOAD ready to run.
pub(crate) struct UnloadJob {
    pub(crate) stream: SendableRecordBatchStream,
    /// What the stream reads from.
    pub(crate) tables: Vec<Arc<Snapshot>>,
    pub(crate) columns: Arc<[ColumnInfo]>,
    pub(crate) types: Vec<SqlType>,
    pub(crate) bucket: Bucket,
    pub(crate) prefix: String,
    pub(crate) options: UnloadOptions,
    pub(crate) query_id: String,
    pub(crate) deadline: Deadline,
    pub(crate) turn: OwnedSemaphorePermit,
}

/// An UNLOAD that runs. Dropping it stops it.
pub(crate) struct RunningUnload {
    task: JoinSet<Result<(Vec<Datum>, Unloaded)>>,
    deadline: Deadline,
}

impl Drop for RunningUnload {
    fn drop(&mut self) {
        self.deadline.pass();
    }
}

/// The columns of the answer.
pub(crate) fn columns() -> Vec<ColumnInfo> {
    let rows =
        ColumnInfo { name: Some("rows".to_owned()), column_type: ColumnType::Scalar(ScalarType::Bigint) };
    vec![rows, ColumnInfo::varchar("metadataFile"), ColumnInfo::varchar("manifestFile")]
}

/// Checks that a select with these columns can be unloaded so, and returns their types.
pub(crate) fn check(
    options: &UnloadOptions,
    columns: &[ColumnInfo],
    schema: &Schema,
) -> Result<Vec<SqlType>, QueryError> {
    // Types without a name of Timestream's were refused when the columns were named.
    let types: Vec<SqlType> = schema
        .fields()
        .iter()
        .map(|field| SqlType::of(field.data_type()).unwrap_or(SqlType::Unknown))
        .collect();
    for (column, of) in columns.iter().zip(&types) {
        if has_no_form(of) {
            let name = column.name.as_deref().unwrap_or_default();
            return Err(QueryError::Validation(format!(
                "The column '{name}' has the type {of}, which UNLOAD does not support"
            )));
        }
    }
    let by = &options.partitioned_by;
    let last = columns.len().checked_sub(by.len()).map(|kept| &columns[kept..]);
    let fits = last.is_some_and(|last| {
        last.iter().zip(by).all(|(column, name)| column.name.as_deref() == Some(name.as_str()))
    });
    if !fits {
        return Err(QueryError::Validation(format!(
            "The columns of partitioned_by [{}] must be the last columns of the SELECT, in the same order",
            by.join(", ")
        )));
    }
    if by.len() == columns.len() {
        return Err(QueryError::Validation(
            "The SELECT must have at least one column that is not in partitioned_by".to_owned(),
        ));
    }
    let partitions = types.get(columns.len() - by.len()..).unwrap_or_default();
    let complex = partitions
        .iter()
        .zip(by)
        .find(|(of, _)| matches!(of, SqlType::Array(_) | SqlType::Row(_) | SqlType::TimeSeries(_)));
    match complex {
        Some((of, name)) => Err(QueryError::Validation(format!(
            "The column '{name}' of partitioned_by has the type {of}, of which no folder can be made"
        ))),
        None => Ok(types),
    }
}

/// Whether a type, or one inside it, is time or unknown.
fn has_no_form(of: &SqlType) -> bool {
    match of {
        SqlType::Time | SqlType::Unknown => true,
        SqlType::Array(inner) | SqlType::TimeSeries(inner) => has_no_form(inner),
        SqlType::Row(fields) => fields.iter().any(|(_, of)| has_no_form(of)),
        _ => false,
    }
}

/// What an error of a bucket means for the query.
pub(crate) fn outside(error: BucketError) -> QueryError {
    let text = error.to_string();
    match error {
        BucketError::Unavailable { .. } => QueryError::Unavailable(text),
        _ => QueryError::Validation(text),
    }
}

/// The name of a row's field in files: unnamed ones are called by their place.
fn field_name(name: Option<&str>, index: usize) -> String {
    name.map_or_else(|| format!("field{index}"), str::to_owned)
}

fn key_below(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

impl UnloadJob {
    /// Begins the work.
    pub(crate) fn start(self) -> RunningUnload {
        let deadline = self.deadline.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            match tokio::time::timeout(UNLOAD_WITHIN, self.run()).await {
                Ok(done) => done,
                Err(_) => Err(failed("Query timed out")),
            }
        });
        RunningUnload { task, deadline }
    }

    async fn run(self) -> Result<(Vec<Datum>, Unloaded)> {
        let Self { mut stream, tables, columns, types, bucket, prefix, options, query_id, turn, .. } = self;
        let kept = columns.len() - options.partitioned_by.len();
        let name = |column: &ColumnInfo| column.name.clone().unwrap_or_default();
        let names = columns[..kept].iter().map(name).collect();
        let plan = FilePlan { bucket, prefix, query_id, options, names, types: types[..kept].to_vec() };
        let mut files = Files::new(plan);
        while let Some(batch) = stream.next().await.transpose()? {
            files.write(&batch).await?;
        }
        drop((stream, tables));
        let (rows, partitions) = (files.rows, files.partitions_written());
        let (done, plan) = files.finish().await?;
        let bytes = done.iter().map(|file| file.bytes).sum();
        let name = format!("{}_{}", plan.query_id, Uuid::new_v4());
        let metadata = metadata(&columns);
        let metadata = plan.put(&format!("{name}_metadata.json"), metadata).await?;
        // The manifest says that the results are complete: it comes last.
        let manifest = manifest(&plan, &done, rows);
        let manifest = plan.put(&format!("{name}_manifest.json"), manifest).await?;
        drop(turn);
        let row = Vec::from([rows.to_string(), metadata, manifest].map(Datum::Scalar));
        Ok((row, Unloaded { partitions, rows, bytes }))
    }
}

impl RunningUnload {
    /// The row of the answer and what was written, if the work ends in time.
    pub(crate) async fn row(&mut self, within: Duration) -> Result<Option<(Vec<Datum>, Unloaded)>> {
        match tokio::time::timeout(within, self.task.join_next()).await {
            Err(_) => Ok(None),
            Ok(Some(Ok(done))) => done.map(Some),
            Ok(Some(Err(_)) | None) => Err(failed("the query failed inside the engine")),
        }
    }
}

/// The names and types of all columns, those of the partitions too.
fn metadata(columns: &[ColumnInfo]) -> String {
    json!({
        "ColumnInfo": columns,
        "Author": { "Name": "Amazon Timestream", "MetadataFileVersion": "1.0" },
    })
    .to_string()
}

/// The files with their sizes and rows.
fn manifest(plan: &FilePlan, files: &[ResultFile], rows: u64) -> String {
    let file = |file: &ResultFile| {
        json!({
            "url": plan.url(&file.key),
            "file_metadata": { "content_length_in_bytes": file.bytes, "row_count": file.rows },
        })
    };
    let format = match plan.options.format {
        UnloadFormat::Csv { .. } => "CSV",
        UnloadFormat::Parquet => "PARQUET",
    };
    json!({
        "result_files": files.iter().map(file).collect::<Vec<_>>(),
        "query_metadata": {
            "content_length_in_bytes": files.iter().map(|file| file.bytes).sum::<u64>(),
            "total_row_count": rows,
            "result_format": format,
            "result_version": "Amazon Timestream version 1.0.0",
        },
        "author": { "name": "Amazon Timestream", "manifest_file_version": "1.0" },
    })
    .to_string()
}
