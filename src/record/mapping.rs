//! How columns become measures, in AWS's shapes: what the data model of a batch load and the target of a
//! scheduled query have in common (spec 2.2.1, 2.3.1). What of it may be absent is the business of either.

use serde::{Deserialize, Serialize};

/// Columns that become one multi-measure record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MultiMeasureMappings {
    /// The measure's name, where no column has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_multi_measure_name: Option<String>,
    /// Its attributes.
    pub multi_measure_attribute_mappings: Vec<AttributeMapping>,
}

/// A column that becomes an attribute of a multi-measure record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeMapping {
    /// The column.
    pub source_column: String,
    /// The attribute, if it has another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_multi_measure_attribute_name: Option<String>,
    /// The attribute's type; DOUBLE where none has to be said, as for a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure_value_type: Option<String>,
}

/// A column, or several, that become a record of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MixedMeasureMapping {
    /// The value of the measure name's column in the rows this is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure_name: Option<String>,
    /// The column with the value, unless the type is `MULTI`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_column: Option<String>,
    /// The measure's name in the table, if it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_measure_name: Option<String>,
    /// The measure's type, which may be `MULTI`.
    pub measure_value_type: String,
    /// Attributes, if the type is `MULTI`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_measure_attribute_mappings: Option<Vec<AttributeMapping>>,
}

impl AttributeMapping {
    /// The attribute's name.
    pub fn name(&self) -> &str {
        self.target_multi_measure_attribute_name.as_deref().unwrap_or(&self.source_column)
    }

    /// The name of the attribute's type.
    pub fn value_type(&self) -> &str {
        self.measure_value_type.as_deref().unwrap_or("DOUBLE")
    }
}

impl MixedMeasureMapping {
    /// The measure's name, if it is said apart from the column's.
    pub fn name(&self) -> Option<&str> {
        self.target_measure_name.as_deref().or(self.measure_name.as_deref())
    }
}
