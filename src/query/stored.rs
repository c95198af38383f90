//! The store as queries see it.

use std::sync::Arc;

use object_store::ObjectStore;

use super::source::{MeasureRow, Snapshot, Source, SourceError, SourcePart};
use crate::store::{ColumnKind, Store, StoreError, TableSnapshot};

impl Source for Store {
    fn databases(&self) -> Vec<String> {
        self.list_databases().into_iter().map(|database| database.name).collect()
    }

    fn tables(&self, database: &str) -> Option<Vec<String>> {
        let tables = self.list_tables(Some(database)).ok()?;
        Some(tables.into_iter().map(|table| table.name).collect())
    }

    fn snapshot(&self, database: &str, table: &str) -> Result<Snapshot, SourceError> {
        let TableSnapshot { schema, memory, parts, .. } = Self::snapshot(self, database, table)?;
        let attributes = schema.columns().iter().map(|column| attribute(column.kind)).collect();
        let parts = parts.into_iter().map(|part| SourcePart {
            path: part.path().clone(),
            bytes: part.bytes(),
            rows: part.rows(),
            time_min: part.time_min(),
            time_max: part.time_max(),
            superseded: part.superseded().cloned(),
            pin: part,
        });
        Ok(Snapshot { schema: schema.arrow(), attributes, memory, parts: parts.collect() })
    }

    fn measures(&self, database: &str, table: &str) -> Result<Vec<MeasureRow>, SourceError> {
        let measures = Self::snapshot(self, database, table)?.schema.measures().into_iter();
        let row = |measure: crate::store::MeasureInfo| MeasureRow {
            name: measure.name,
            data_type: measure.data_type.to_owned(),
            dimensions: measure.dimensions,
        };
        Ok(measures.map(row).collect())
    }

    fn object_store(&self) -> Arc<dyn ObjectStore> {
        Self::object_store(self)
    }
}

/// The attribute type DESCRIBE names (spec 1.3).
fn attribute(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Dimension => "DIMENSION",
        ColumnKind::MeasureName => "MEASURE_NAME",
        ColumnKind::Time => "TIMESTAMP",
        ColumnKind::MeasureValue(_) => "MEASURE_VALUE",
        ColumnKind::Multi(_) => "MULTI",
    }
}

impl From<StoreError> for SourceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DatabaseNotFound { .. } => Self::NoDatabase,
            StoreError::TableNotFound { .. } => Self::NoTable,
            other => Self::Unavailable(other.to_string()),
        }
    }
}
