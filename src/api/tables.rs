//! CreateTable, DescribeTable, ListTables, UpdateTable and DeleteTable (spec 2.2, 2.4).

use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::error::ApiError;
use super::paging::{self, MAX_RESULTS, PAGING_TOKEN};
use super::shape::{FILLED_STRING, Pattern, RESOURCE_NAME, STRING, Shape, optional, required};
use super::tags::{TAGS, Tag, pairs};
use crate::record::check_dimension_name;
use crate::store::{
    MagneticWrites, PartitionKey, PartitionKeyItem, Retention, Table, TableOptions, TableStatus, TableUpdate,
};

const RETENTION: Shape = Shape::Structure(&[
    required("MemoryStoreRetentionPeriodInHours", Shape::Integer(1, 8766)),
    required("MagneticStoreRetentionPeriodInDays", Shape::Integer(1, 73_000)),
]);
const S3_CONFIGURATION: Shape = Shape::Structure(&[
    optional("BucketName", Shape::Matching(Pattern::Bucket, 3, 63)),
    optional("ObjectKeyPrefix", Shape::Matching(Pattern::ObjectKey, 1, 928)),
    optional("EncryptionOption", Shape::Choice(&["SSE_S3", "SSE_KMS"])),
    optional("KmsKeyId", Shape::Text(1, 2048)),
]);
const REJECTED_DATA: Shape = Shape::Structure(&[optional("S3Configuration", S3_CONFIGURATION)]);
const MAGNETIC_WRITES: Shape = Shape::Structure(&[
    required("EnableMagneticStoreWrites", Shape::Boolean),
    optional("MagneticStoreRejectedDataLocation", REJECTED_DATA),
]);
const PARTITION_KEY: Shape = Shape::Structure(&[
    required("Type", Shape::Choice(&["DIMENSION", "MEASURE"])),
    optional("Name", FILLED_STRING),
    optional("EnforcementInRecord", Shape::Choice(&["REQUIRED", "OPTIONAL"])),
]);
const SCHEMA: Shape =
    Shape::Structure(&[optional("CompositePartitionKey", Shape::List(&PARTITION_KEY, 1, usize::MAX))]);
const CREATE: Shape = Shape::Structure(&[
    required("DatabaseName", RESOURCE_NAME),
    required("TableName", RESOURCE_NAME),
    optional("RetentionProperties", RETENTION),
    optional("MagneticStoreWriteProperties", MAGNETIC_WRITES),
    optional("Schema", SCHEMA),
    optional("Tags", TAGS),
]);
const UPDATE: Shape = Shape::Structure(&[
    required("DatabaseName", ANY_NAME),
    required("TableName", ANY_NAME),
    optional("RetentionProperties", RETENTION),
    optional("MagneticStoreWriteProperties", MAGNETIC_WRITES),
    optional("Schema", SCHEMA),
]);
/// Calls that read or delete check no pattern (spec 5.2); an unknown name is simply not found.
const ANY_NAME: Shape = STRING;
const NAMED: Shape = Shape::Structure(&[required("DatabaseName", ANY_NAME), required("TableName", ANY_NAME)]);
const LIST: Shape = Shape::Structure(&[
    optional("DatabaseName", ANY_NAME),
    optional("NextToken", PAGING_TOKEN),
    optional("MaxResults", MAX_RESULTS),
]);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    database_name: String,
    table_name: String,
    retention_properties: Option<RetentionProperties>,
    magnetic_store_write_properties: Option<MagneticStoreWriteProperties>,
    schema: Option<Schema>,
    tags: Option<Vec<Tag>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Update {
    database_name: String,
    table_name: String,
    retention_properties: Option<RetentionProperties>,
    magnetic_store_write_properties: Option<MagneticStoreWriteProperties>,
    schema: Option<Schema>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RetentionProperties {
    memory_store_retention_period_in_hours: u32,
    magnetic_store_retention_period_in_days: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MagneticStoreWriteProperties {
    enable_magnetic_store_writes: bool,
    magnetic_store_rejected_data_location: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Schema {
    composite_partition_key: Option<Vec<Key>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Key {
    #[serde(rename = "Type")]
    key_type: String,
    name: Option<String>,
    enforcement_in_record: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    database_name: String,
    table_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    database_name: Option<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

/// CreateTable.
pub(crate) async fn create(context: &Context, input: Value) -> Result<Value, ApiError> {
    let request: Create = super::json::read(&CREATE, input)?;
    let options = TableOptions {
        retention: request.retention_properties.map(Retention::from).unwrap_or_default(),
        magnetic_writes: request
            .magnetic_store_write_properties
            .map(MagneticWrites::from)
            .unwrap_or_default(),
        partition_key: partition_key(request.schema)?.unwrap_or_default(),
        tags: pairs(request.tags),
    };
    let (database, name) = (request.database_name, request.table_name);
    let created = context.blocking(move |store| store.create_table(&database, &name, options)).await?;
    Ok(json!({ "Table": described(context, &created) }))
}

/// DescribeTable.
pub(crate) async fn describe(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Named { database_name, table_name } = super::json::read(&NAMED, input)?;
    let found = context.blocking(move |store| store.describe_table(&database_name, &table_name)).await?;
    Ok(json!({ "Table": described(context, &found) }))
}

/// ListTables, of one database or of all, sorted by database and name.
pub(crate) async fn list(context: &Context, input: Value) -> Result<Value, ApiError> {
    let List { database_name, next_token, max_results } = super::json::read(&LIST, input)?;
    let tables = context.blocking(move |store| store.list_tables(database_name.as_deref())).await?;
    // Below every character of a name, so that keys sort as the list does.
    let key = |table: &Table| format!("{}\0{}", table.database, table.name);
    let (page, next) = paging::Request { next_token, max_results }.cut(tables, key)?;
    Ok(paging::answer("Tables", page.iter().map(|table| described(context, table)).collect(), next))
}

/// UpdateTable: what is absent stays as it is. Queries and writes see the change at once.
pub(crate) async fn update(context: &Context, input: Value) -> Result<Value, ApiError> {
    let request: Update = super::json::read(&UPDATE, input)?;
    let update = TableUpdate {
        retention: request.retention_properties.map(Retention::from),
        magnetic_writes: request.magnetic_store_write_properties.map(MagneticWrites::from),
        partition_key: partition_key(request.schema)?,
    };
    let (database, name) = (request.database_name, request.table_name);
    let updated = context.blocking(move |store| store.update_table(&database, &name, update)).await?;
    Ok(json!({ "Table": described(context, &updated) }))
}

/// DeleteTable, with all its rows.
pub(crate) async fn delete(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Named { database_name, table_name } = super::json::read(&NAMED, input)?;
    context.blocking(move |store| store.delete_table(&database_name, &table_name)).await?;
    Ok(json!({}))
}

impl From<RetentionProperties> for Retention {
    fn from(given: RetentionProperties) -> Self {
        Self {
            memory_store_hours: given.memory_store_retention_period_in_hours,
            magnetic_store_days: given.magnetic_store_retention_period_in_days,
        }
    }
}

impl From<MagneticStoreWriteProperties> for MagneticWrites {
    fn from(given: MagneticStoreWriteProperties) -> Self {
        let mut location = given.magnetic_store_rejected_data_location;
        let bucket = location.as_mut().and_then(|location| location.get_mut("S3Configuration"));
        if let Some(bucket) = bucket.and_then(Value::as_object_mut) {
            bucket.entry("EncryptionOption").or_insert_with(|| json!("SSE_S3"));
        }
        Self { enabled: given.enable_magnetic_store_writes, rejected_data_location: location }
    }
}

/// The partition key a request gives a table. AWS knows keys of one element only (spec 4.8).
fn partition_key(schema: Option<Schema>) -> Result<Option<PartitionKey>, ApiError> {
    let Some(keys) = schema.and_then(|schema| schema.composite_partition_key) else {
        return Ok(None);
    };
    let Ok([key]) = <[Key; 1]>::try_from(keys) else {
        return Err(ApiError::validation("A CompositePartitionKey has exactly one element."));
    };
    let item = match (key.key_type.as_str(), key.name, key.enforcement_in_record) {
        ("MEASURE", None, None) => PartitionKeyItem::Measure,
        ("MEASURE", ..) => {
            let message = "A partition key of type MEASURE has neither Name nor EnforcementInRecord.";
            return Err(ApiError::validation(message));
        }
        (_, Some(name), enforcement) => {
            check_dimension_name(&name).map_err(|why| {
                ApiError::validation(format!("The dimension name '{name}' is invalid: {why}."))
            })?;
            PartitionKeyItem::Dimension { name, required: enforcement.as_deref() == Some("REQUIRED") }
        }
        (_, None, _) => {
            return Err(ApiError::validation("A partition key of type DIMENSION needs a Name."));
        }
    };
    Ok(Some(PartitionKey(vec![item])))
}

fn described(context: &Context, table: &Table) -> Value {
    let mut magnetic_writes = json!({ "EnableMagneticStoreWrites": table.magnetic_writes.enabled });
    if let Some(location) = &table.magnetic_writes.rejected_data_location {
        magnetic_writes["MagneticStoreRejectedDataLocation"] = location.clone();
    }
    let status = match table.status {
        TableStatus::Active => "ACTIVE",
    };
    json!({
        "Arn": context.arns.table(&table.database, &table.name),
        "TableName": table.name,
        "DatabaseName": table.database,
        "TableStatus": status,
        "RetentionProperties": {
            "MemoryStoreRetentionPeriodInHours": table.retention.memory_store_hours,
            "MagneticStoreRetentionPeriodInDays": table.retention.magnetic_store_days,
        },
        "MagneticStoreWriteProperties": magnetic_writes,
        "Schema": { "CompositePartitionKey": table.partition_key.0.iter().map(key).collect::<Vec<_>>() },
        "CreationTime": table.created.epoch_seconds(),
        "LastUpdatedTime": table.updated.epoch_seconds(),
    })
}

fn key(item: &PartitionKeyItem) -> Value {
    match item {
        PartitionKeyItem::Measure => json!({ "Type": "MEASURE" }),
        PartitionKeyItem::Dimension { name, required } => {
            let enforcement = if *required { "REQUIRED" } else { "OPTIONAL" };
            json!({ "Type": "DIMENSION", "Name": name, "EnforcementInRecord": enforcement })
        }
    }
}
