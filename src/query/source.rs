//! Where a query's rows come from: the little of a store that queries need.
//!
//! [`Source`] keeps the engine testable over rows in memory and files in a temporary folder; the
//! store is the implementation that ships.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use object_store::ObjectStore;
use object_store::path::Path;
use roaring::RoaringBitmap;

use crate::clock::Timestamp;
use crate::store::{ColumnKind, Part, Store, StoreError};

/// Databases, tables and what is in them.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// The names of all databases, sorted.
    fn databases(&self) -> Vec<String>;

    /// The names of a database's tables, sorted; nothing if there is no such database.
    fn tables(&self, database: &str) -> Option<Vec<String>>;

    /// A table as it is now. What is written later does not show in it.
    fn snapshot(&self, database: &str, table: &str) -> Result<Snapshot, SourceError>;

    /// The measures of a table, sorted by name.
    fn measures(&self, database: &str, table: &str) -> Result<Vec<MeasureRow>, SourceError>;

    /// The store in which the paths of [`SourcePart`] are valid.
    fn object_store(&self) -> Arc<dyn ObjectStore>;
}

/// Why a table cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// There is no such database.
    #[error("there is no such database")]
    NoDatabase,
    /// There is no such table.
    #[error("there is no such table")]
    NoTable,
    /// The table cannot be read now.
    #[error("{0}")]
    Unavailable(String),
}

/// One moment of one table.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The columns in the order of `SELECT *`, as Arrow sees them.
    pub schema: SchemaRef,
    /// What `DESCRIBE` says about each column of `schema`: its Timestream attribute type.
    pub attributes: Vec<&'static str>,
    /// The rows not yet in a part. A batch may lack columns of `schema`.
    pub memory: Vec<RecordBatch>,
    /// The Parquet files. A file may lack columns of `schema`.
    pub parts: Vec<SourcePart>,
    /// Rows of parts before this moment must not be seen: they are past retention.
    pub oldest: Option<Timestamp>,
    /// Keeps the files where they are: held until the last page of the last query that reads them.
    pub hold: Arc<dyn Any + Send + Sync>,
}

/// One immutable Parquet file of a table.
#[derive(Debug, Clone)]
pub struct SourcePart {
    /// Where it lies in the source's object store.
    pub path: Path,
    /// How long it is.
    pub bytes: u64,
    /// How many rows it has, superseded ones included.
    pub rows: u64,
    /// The earliest time in it.
    pub time_min: Timestamp,
    /// The latest time in it.
    pub time_max: Timestamp,
    /// The rows, in file order, that a newer version replaced and that no query may see.
    pub superseded: Option<Arc<RoaringBitmap>>,
}

/// One row of `SHOW MEASURES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasureRow {
    /// The measure's name.
    pub name: String,
    /// Its type in lower case, `multi` for a multi-measure name.
    pub data_type: String,
    /// The dimensions seen with it.
    pub dimensions: Vec<String>,
}

// ---- the store as a source ----

impl From<StoreError> for SourceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DatabaseNotFound { .. } => Self::NoDatabase,
            StoreError::TableNotFound { .. } => Self::NoTable,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl Source for Store {
    fn databases(&self) -> Vec<String> {
        self.list_databases().into_iter().map(|database| database.name).collect()
    }

    fn tables(&self, database: &str) -> Option<Vec<String>> {
        let tables = self.list_tables(Some(database)).ok()?;
        Some(tables.into_iter().map(|table| table.name).collect())
    }

    fn snapshot(&self, database: &str, table: &str) -> Result<Snapshot, SourceError> {
        let taken = Self::snapshot(self, database, table)?;
        let attributes = taken.schema.columns().iter().map(|column| attribute(column.kind)).collect();
        Ok(Snapshot {
            schema: taken.schema.arrow(),
            attributes,
            memory: taken.memory,
            parts: taken.parts.iter().map(|part| source_part(part)).collect(),
            oldest: taken.oldest,
            hold: Arc::new(taken.parts),
        })
    }

    fn measures(&self, database: &str, table: &str) -> Result<Vec<MeasureRow>, SourceError> {
        let mut measures: Vec<MeasureRow> = Self::snapshot(self, database, table)?
            .schema
            .measures()
            .into_iter()
            .map(|measure| MeasureRow {
                name: measure.name,
                data_type: measure.data_type.to_owned(),
                dimensions: measure.dimensions,
            })
            .collect();
        measures.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(measures)
    }

    fn object_store(&self) -> Arc<dyn ObjectStore> {
        Self::object_store(self)
    }
}

/// What `DESCRIBE` calls a column.
fn attribute(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Dimension => "DIMENSION",
        ColumnKind::MeasureName => "MEASURE_NAME",
        ColumnKind::Time => "TIMESTAMP",
        ColumnKind::MeasureValue(_) => "MEASURE_VALUE",
        ColumnKind::Multi(_) => "MULTI",
    }
}

fn source_part(part: &Part) -> SourcePart {
    SourcePart {
        path: part.path().clone(),
        bytes: part.bytes(),
        rows: part.rows(),
        time_min: part.time_min(),
        time_max: part.time_max(),
        superseded: part.superseded().map(Arc::clone),
    }
}
