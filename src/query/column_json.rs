//! A column as the Query API and the metadata file of an UNLOAD write it (spec 3.1).

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::rows::{ColumnInfo, ColumnType};

/// A column's name and type; elements of arrays and time series have no name.
impl Serialize for ColumnInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(name) = &self.name {
            map.serialize_entry("Name", name)?;
        }
        map.serialize_entry("Type", &self.column_type)?;
        map.end()
    }
}

impl Serialize for ColumnType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Scalar(scalar) => map.serialize_entry("ScalarType", scalar.api_name())?,
            Self::Array(element) => map.serialize_entry("ArrayColumnInfo", element)?,
            Self::TimeSeries(value) => map.serialize_entry("TimeSeriesMeasureValueColumnInfo", value)?,
            Self::Row(fields) => map.serialize_entry("RowColumnInfo", fields)?,
        }
        map.end()
    }
}
