//! CreateDatabase, DescribeDatabase, ListDatabases, UpdateDatabase and DeleteDatabase (spec 2.2, 2.4).

use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::error::ApiError;
use super::paging::{self, MAX_RESULTS, PAGING_TOKEN};
use super::shape::{RESOURCE_NAME, STRING, Shape, optional, required};
use super::tags::{TAGS, Tag, pairs};
use crate::store::{Database, DatabaseOptions};

const CREATE: Shape = Shape::Structure(&[
    required("DatabaseName", RESOURCE_NAME),
    optional("KmsKeyId", Shape::Text(1, 2048)),
    optional("Tags", TAGS),
]);
const NAMED: Shape = Shape::Structure(&[required("DatabaseName", STRING)]);
const UPDATE: Shape =
    Shape::Structure(&[required("DatabaseName", STRING), required("KmsKeyId", Shape::Text(1, 2048))]);
const LIST: Shape =
    Shape::Structure(&[optional("NextToken", PAGING_TOKEN), optional("MaxResults", MAX_RESULTS)]);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    database_name: String,
    kms_key_id: Option<String>,
    tags: Option<Vec<Tag>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    database_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Update {
    database_name: String,
    kms_key_id: String,
}

/// CreateDatabase.
pub(crate) async fn create(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Create { database_name, kms_key_id, tags } = super::json::read(&CREATE, input)?;
    let options = DatabaseOptions { kms_key_id, tags: pairs(tags) };
    let created = context.blocking(move |store| store.create_database(&database_name, options)).await?;
    Ok(json!({ "Database": described(context, &created) }))
}

/// DescribeDatabase.
pub(crate) async fn describe(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Named { database_name } = super::json::read(&NAMED, input)?;
    let found = context.blocking(move |store| store.describe_database(&database_name)).await?;
    Ok(json!({ "Database": described(context, &found) }))
}

/// ListDatabases, sorted by name.
pub(crate) async fn list(context: &Context, input: Value) -> Result<Value, ApiError> {
    let request: paging::Request = super::json::read(&LIST, input)?;
    let databases = context.blocking(|store| Ok(store.list_databases())).await?;
    let (page, next) = request.cut(databases, |database| database.name.clone())?;
    let databases: Vec<Value> = page.iter().map(|database| described(context, database)).collect();
    Ok(paging::answer("Databases", databases, next))
}

/// UpdateDatabase: the key it names, for nothing else can change.
pub(crate) async fn update(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Update { database_name, kms_key_id } = super::json::read(&UPDATE, input)?;
    let updated =
        context.blocking(move |store| store.update_database(&database_name, Some(kms_key_id))).await?;
    Ok(json!({ "Database": described(context, &updated) }))
}

/// DeleteDatabase; the database must be empty.
pub(crate) async fn delete(context: &Context, input: Value) -> Result<Value, ApiError> {
    let Named { database_name } = super::json::read(&NAMED, input)?;
    context.blocking(move |store| store.delete_database(&database_name)).await?;
    Ok(json!({}))
}

fn described(context: &Context, database: &Database) -> Value {
    let kms_key = database.kms_key_id.clone().unwrap_or_else(|| context.arns.default_kms_key());
    json!({
        "Arn": context.arns.database(&database.name),
        "DatabaseName": database.name,
        "TableCount": database.table_count,
        "KmsKeyId": kms_key,
        "CreationTime": database.created.epoch_seconds(),
        "LastUpdatedTime": database.updated.epoch_seconds(),
    })
}
