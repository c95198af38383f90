//! QueryInsightsResponse: what a query has read, with the ARNs of its tables (spec 6.6).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::Context;
use crate::api::error::ApiError;
use crate::query::Insights;
use crate::store::PartitionKeyItem;

/// How often AWS gives insights.
const EVERY: Duration = Duration::from_secs(1);

/// Lets one query a second have insights, as AWS does.
#[derive(Debug, Default)]
pub(crate) struct RateControl(Mutex<Option<Instant>>);

impl RateControl {
    /// Takes the turn of this second.
    ///
    /// # Errors
    /// ThrottlingException when somebody had it.
    pub(crate) fn take(&self) -> Result<(), ApiError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < EVERY) {
            return Err(ApiError::throttling("QueryInsights are limited to one query per second."));
        }
        *last = Some(Instant::now());
        Ok(())
    }
}

/// What a query has read, as the wire has it.
pub(crate) async fn response(context: &Context, found: &Insights) -> Value {
    let mut answer = json!({
        "QueryTableCount": found.tables,
        "OutputRows": found.output_rows,
        "OutputBytes": found.output_bytes,
    });
    if let Some(spatial) = &found.spatial {
        let max = json!({
            "Value": spatial.value,
            "TableArn": context.arns.table(&spatial.database, &spatial.table),
            "PartitionKey": partition_key(context, &spatial.database, &spatial.table).await,
        });
        answer["QuerySpatialCoverage"] = json!({ "Max": max });
    }
    if let Some(temporal) = &found.temporal {
        let arn = context.arns.table(&temporal.database, &temporal.table);
        answer["QueryTemporalRange"] = json!({ "Max": { "Value": temporal.value, "TableArn": arn } });
    }
    if let Some(written) = found.unloaded {
        answer["UnloadPartitionCount"] = json!(written.partitions);
        answer["UnloadWrittenRows"] = json!(written.rows);
        answer["UnloadWrittenBytes"] = json!(written.bytes);
    }
    answer
}

/// What the table is partitioned by: the measure name, or the dimension it was created with.
async fn partition_key(context: &Context, database: &str, table: &str) -> Vec<String> {
    let (database, table) = (database.to_owned(), table.to_owned());
    let described = context.blocking(move |store| store.describe_table(&database, &table)).await;
    // The table may have been deleted while the query ran.
    let keys = described.map(|table| table.partition_key.0).unwrap_or_default();
    let name = |key: PartitionKeyItem| match key {
        PartitionKeyItem::Measure => "measure_name".to_owned(),
        PartitionKeyItem::Dimension { name, .. } => name,
    };
    keys.into_iter().map(name).collect()
}
