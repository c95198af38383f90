//! The data model of a batch load: which columns of a file become the time, dimensions and measures.
//!
//! Two types: [`DataModel`] is written as the API and files in a bucket have it, [`Mapping`] has passed
//! every check.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::record::{
    AttributeMapping, MeasureType, MixedMeasureMapping, MultiMeasureMappings, NameError, TimeUnit,
    check_attribute_name, check_dimension_name, check_measure_name,
};

/// A data model as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataModel {
    /// The column with the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_column: Option<String>,
    /// What the time counts; milliseconds by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_unit: Option<String>,
    /// The dimensions.
    pub dimension_mappings: Vec<DimensionMapping>,
    /// One multi-measure record per row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_measure_mappings: Option<MultiMeasureMappings>,
    /// Several records per row, or the one that the measure name asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixed_measure_mappings: Option<Vec<MixedMeasureMapping>>,
    /// The column with the measure name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure_name_column: Option<String>,
}

/// A column that becomes a dimension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DimensionMapping {
    /// The file's column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_column: Option<String>,
    /// The dimension's name; by default the column's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_column: Option<String>,
}

/// Why a data model was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ModelError(String);

/// A checked data model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) time: String,
    pub(super) unit: TimeUnit,
    pub(super) dimensions: Vec<Source>,
    pub(super) measure_name: Option<String>,
    pub(super) measures: Measures,
}

/// A column and the name of what it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) column: String,
    pub(super) name: Arc<str>,
}

/// A column and the value it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) source: Source,
    pub(super) of: MeasureType,
}

/// The records of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Measures {
    /// One; without a name it is in the measure name column.
    Multi { name: Option<Arc<str>>, attributes: Vec<Value> },
    /// Those that are for the row's measure name, or all.
    Mixed(Vec<Mixed>),
}

/// One of several records of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mixed {
    /// The measure name of the rows it is for.
    pub(super) when: Option<String>,
    pub(super) name: Arc<str>,
    pub(super) value: MixedValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MixedValue {
    Single(Value),
    Multi(Vec<Value>),
}

fn wrong(text: impl Into<String>) -> ModelError {
    ModelError(text.into())
}

impl DataModel {
    /// Reads the data model of a file in a bucket.
    ///
    /// # Errors
    /// When it is no such JSON.
    pub fn read(json: &[u8]) -> Result<Self, ModelError> {
        serde_json::from_slice(json).map_err(|error| wrong(format!("The data model cannot be read: {error}")))
    }

    /// Puts in what is meant where nothing is said, as a description of the task shows it (spec 2.1).
    pub(super) fn fill_in(&mut self) {
        self.time_unit.get_or_insert_with(|| "MILLISECONDS".to_owned());
        for mapping in &mut self.dimension_mappings {
            if mapping.destination_column.is_none() {
                mapping.destination_column.clone_from(&mapping.source_column);
            }
        }
        let multi = self.multi_measure_mappings.iter_mut();
        let multi = multi.flat_map(|multi| &mut multi.multi_measure_attribute_mappings);
        let mixed = self.mixed_measure_mappings.iter_mut().flatten();
        let mixed = mixed.filter_map(|mixed| mixed.multi_measure_attribute_mappings.as_mut()).flatten();
        for mapping in multi.chain(mixed) {
            mapping.target_multi_measure_attribute_name.get_or_insert_with(|| mapping.source_column.clone());
        }
    }

    /// Checks everything that can be checked without a file.
    pub(super) fn check(&self) -> Result<Mapping, ModelError> {
        let time = given(self.time_column.as_deref(), "TimeColumn")?.to_owned();
        let unit = match self.time_unit.as_deref() {
            None => TimeUnit::default(),
            Some(name) => TimeUnit::of_api_name(name)
                .ok_or_else(|| wrong(format!("The TimeUnit {name} is unknown.")))?,
        };
        if self.dimension_mappings.is_empty() {
            return Err(wrong("DimensionMappings must have at least one mapping."));
        }
        let dimension = |mapping: &DimensionMapping| {
            let column = given(mapping.source_column.as_deref(), "SourceColumn of a dimension mapping")?;
            let name = mapping.destination_column.as_deref().unwrap_or(column);
            source(column, name, "dimension", check_dimension_name)
        };
        let dimensions = self.dimension_mappings.iter().map(dimension).collect::<Result<Vec<_>, _>>()?;
        check_unique(dimensions.iter().map(|dimension| &*dimension.name), "dimension")?;
        let measure_name = self.measure_name_column.clone();
        let measures = match (&self.multi_measure_mappings, &self.mixed_measure_mappings) {
            (Some(multi), None) => multi_measure(multi, measure_name.is_some())?,
            (None, Some(mixed)) if !mixed.is_empty() => {
                let check = |mapping| mixed_measure(mapping, measure_name.is_some());
                Measures::Mixed(mixed.iter().map(check).collect::<Result<_, _>>()?)
            }
            _ => {
                return Err(wrong(
                    "Exactly one of MultiMeasureMappings and MixedMeasureMappings must be specified.",
                ));
            }
        };
        let mapping = Mapping { time, unit, dimensions, measure_name, measures };
        let names: HashSet<&str> = mapping.dimensions.iter().map(|dimension| &*dimension.name).collect();
        if let Some(both) = mapping.attributes().find(|attribute| names.contains(&*attribute.source.name)) {
            let name = &both.source.name;
            return Err(wrong(format!("'{name}' cannot be both a dimension and a multi-measure attribute.")));
        }
        Ok(mapping)
    }
}

impl Mapping {
    fn attributes(&self) -> impl Iterator<Item = &Value> {
        let (multi, mixed): (&[Value], &[Mixed]) = match &self.measures {
            Measures::Multi { attributes, .. } => (attributes.as_slice(), &[]),
            Measures::Mixed(mixed) => (&[], mixed.as_slice()),
        };
        let mixed = mixed.iter().flat_map(|mixed| match &mixed.value {
            MixedValue::Single(_) => &[][..],
            MixedValue::Multi(attributes) => attributes.as_slice(),
        });
        multi.iter().chain(mixed)
    }
}

fn multi_measure(mappings: &MultiMeasureMappings, has_name_column: bool) -> Result<Measures, ModelError> {
    let name = match (&mappings.target_multi_measure_name, has_name_column) {
        (Some(name), false) => Some(measure_name(name)?),
        (None, true) => None,
        _ => {
            return Err(wrong(
                "With MultiMeasureMappings exactly one of MeasureNameColumn and TargetMultiMeasureName must \
                 be specified.",
            ));
        }
    };
    Ok(Measures::Multi { name, attributes: attributes(&mappings.multi_measure_attribute_mappings)? })
}

fn mixed_measure(mapping: &MixedMeasureMapping, has_name_column: bool) -> Result<Mixed, ModelError> {
    let when = match (&mapping.measure_name, has_name_column) {
        (Some(name), true) => Some(name.clone()),
        (None, true) => {
            return Err(wrong("MeasureName is required where MeasureNameColumn is specified."));
        }
        (_, false) => None,
    };
    let name = mapping.name().or(mapping.source_column.as_deref());
    let name = measure_name(given(name, "TargetMeasureName of a mapping")?)?;
    let mappings = mapping.multi_measure_attribute_mappings.as_deref();
    let value = match (mapping.measure_value_type.as_str(), mappings) {
        ("MULTI", Some(mappings)) => MixedValue::Multi(attributes(mappings)?),
        ("MULTI", None) => {
            return Err(wrong("MultiMeasureAttributeMappings is required for the type MULTI."));
        }
        (_, Some(_)) => {
            return Err(wrong("MultiMeasureAttributeMappings requires the measure value type MULTI."));
        }
        ("TIMESTAMP", None) => return Err(wrong("TIMESTAMP is an invalid measure value type.")),
        (of, None) => {
            let column = given(mapping.source_column.as_deref(), "SourceColumn of a measure mapping")?;
            let source = Source { column: column.to_owned(), name: Arc::clone(&name) };
            MixedValue::Single(Value { source, of: measure_type(of)? })
        }
    };
    Ok(Mixed { when, name, value })
}

fn attributes(mappings: &[AttributeMapping]) -> Result<Vec<Value>, ModelError> {
    if mappings.is_empty() {
        return Err(wrong("MultiMeasureAttributeMappings must have at least one mapping."));
    }
    let attribute = |mapping: &AttributeMapping| {
        let column = given(Some(&mapping.source_column), "SourceColumn of an attribute mapping")?;
        let source = source(column, mapping.name(), "multi-measure attribute", check_attribute_name)?;
        Ok(Value { source, of: measure_type(mapping.value_type())? })
    };
    let attributes = mappings.iter().map(attribute).collect::<Result<Vec<_>, ModelError>>()?;
    check_unique(attributes.iter().map(|attribute| &*attribute.source.name), "multi-measure attribute")?;
    Ok(attributes)
}

fn measure_type(name: &str) -> Result<MeasureType, ModelError> {
    MeasureType::of_api_name(name).ok_or_else(|| wrong(format!("The MeasureValueType {name} is unknown.")))
}

fn measure_name(name: &str) -> Result<Arc<str>, ModelError> {
    check_measure_name(name)
        .map_err(|why| wrong(format!("The measure name '{}' is invalid: {why}.", shown(name))))?;
    Ok(name.into())
}

fn source(
    column: &str,
    name: &str,
    what: &str,
    check: fn(&str) -> Result<(), NameError>,
) -> Result<Source, ModelError> {
    check(name).map_err(|why| wrong(format!("The {what} name '{}' is invalid: {why}.", shown(name))))?;
    Ok(Source { column: column.to_owned(), name: name.into() })
}

fn given<'t>(text: Option<&'t str>, what: &str) -> Result<&'t str, ModelError> {
    text.filter(|text| !text.is_empty()).ok_or_else(|| wrong(format!("{what} must be specified.")))
}

fn check_unique<'n>(mut names: impl Iterator<Item = &'n str>, what: &str) -> Result<(), ModelError> {
    let mut seen = HashSet::new();
    match names.find(|name| !seen.insert(*name)) {
        Some(name) => Err(wrong(format!("The {what} '{}' is mapped more than once.", shown(name)))),
        None => Ok(()),
    }
}

/// A name fit for a sentence.
fn shown(name: &str) -> &str {
    name.char_indices().nth(80).map_or(name, |(end, _)| &name[..end])
}
