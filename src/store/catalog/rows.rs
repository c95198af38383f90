//! Databases and tables as rows of the catalog: JSON, so that a row can gain a member without a migration.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::store::error::StoreError;
use crate::store::options::{
    Database, MagneticWrites, PartitionKey, PartitionKeyItem, Retention, Table, TableStatus, Tag,
};
use crate::store::paths::TableId;

#[derive(Serialize, Deserialize)]
struct DatabaseRow {
    kms_key_id: Option<String>,
    tags: Vec<Tag>,
    created: i64,
    updated: i64,
}

#[derive(Serialize, Deserialize)]
struct TableRow {
    id: String,
    memory_store_hours: u32,
    magnetic_store_days: u32,
    magnetic_writes: bool,
    rejected_data_location: Option<serde_json::Value>,
    partition_key: Vec<KeyRow>,
    tags: Vec<Tag>,
    created: i64,
    updated: i64,
}

/// An item of the partition key; without a name it is the measure.
#[derive(Serialize, Deserialize)]
struct KeyRow {
    dimension: Option<String>,
    required: bool,
}

/// The row of a database, which its name is the key of.
pub(super) fn of_database(database: &Database) -> Vec<u8> {
    json(&DatabaseRow {
        kms_key_id: database.kms_key_id.clone(),
        tags: database.tags.clone(),
        created: database.created.nanos(),
        updated: database.updated.nanos(),
    })
}

/// The database called `name` that [`of_database`] wrote.
pub(super) fn database(name: String, row: &[u8]) -> Result<Database, StoreError> {
    Ok(parse::<DatabaseRow>(row)?.into_database(name))
}

/// The row of a table, which its database's name and its own are the key of.
pub(super) fn of_table(table: &Table) -> Vec<u8> {
    json(&TableRow::from(table))
}

/// The table called `name` that [`of_table`] wrote.
pub(super) fn table(database: String, name: String, row: &[u8]) -> Result<Table, StoreError> {
    parse::<TableRow>(row)?.into_table(database, name)
}

fn json(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).expect("rows have text keys only")
}

fn parse<'a, T: Deserialize<'a>>(row: &'a [u8]) -> Result<T, StoreError> {
    serde_json::from_slice(row).map_err(|error| StoreError::damaged("catalog.redb", 0, error))
}

impl DatabaseRow {
    fn into_database(self, name: String) -> Database {
        Database {
            name,
            kms_key_id: self.kms_key_id,
            tags: self.tags,
            table_count: 0,
            created: Timestamp::from_nanos(self.created),
            updated: Timestamp::from_nanos(self.updated),
        }
    }
}

impl From<&Table> for TableRow {
    fn from(table: &Table) -> Self {
        let key = |item: &PartitionKeyItem| match item {
            PartitionKeyItem::Measure => KeyRow { dimension: None, required: false },
            PartitionKeyItem::Dimension { name, required } => {
                KeyRow { dimension: Some(name.clone()), required: *required }
            }
        };
        Self {
            id: table.id.to_string(),
            memory_store_hours: table.retention.memory_store_hours,
            magnetic_store_days: table.retention.magnetic_store_days,
            magnetic_writes: table.magnetic_writes.enabled,
            rejected_data_location: table.magnetic_writes.rejected_data_location.clone(),
            partition_key: table.partition_key.0.iter().map(key).collect(),
            tags: table.tags.clone(),
            created: table.created.nanos(),
            updated: table.updated.nanos(),
        }
    }
}

impl TableRow {
    fn into_table(self, database: String, name: String) -> Result<Table, StoreError> {
        let id = TableId::parse(&self.id)
            .ok_or_else(|| StoreError::damaged("catalog.redb", 0, format!("{} is no table id", self.id)))?;
        let key = |row: KeyRow| match row.dimension {
            None => PartitionKeyItem::Measure,
            Some(name) => PartitionKeyItem::Dimension { name, required: row.required },
        };
        Ok(Table {
            database,
            name,
            id,
            status: TableStatus::Active,
            retention: Retention {
                memory_store_hours: self.memory_store_hours,
                magnetic_store_days: self.magnetic_store_days,
            },
            magnetic_writes: MagneticWrites {
                enabled: self.magnetic_writes,
                rejected_data_location: self.rejected_data_location,
            },
            partition_key: PartitionKey(self.partition_key.into_iter().map(key).collect()),
            tags: self.tags,
            created: Timestamp::from_nanos(self.created),
            updated: Timestamp::from_nanos(self.updated),
        })
    }
}
