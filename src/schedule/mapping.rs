//! From rows of a result to records of the target: which column becomes what (spec 6.8).
//!
//! A mapping is made from the target's configuration and the columns of the result; every mistake
//! that can be told from these is told when the scheduled query is created. What depends on a row, such as
//! a time that is NULL, is a failure of that row alone.

use std::collections::HashSet;
use std::sync::Arc;

use super::definition::Target;
use crate::clock::Timestamp;
use crate::query::{ColumnInfo, ColumnType, Datum, ScalarType};
use crate::record::{
    Attribute, AttributeMapping, Dimension, Measure, MeasureType, MeasureValue, MixedMeasureMapping, Record,
    check_attribute_name, check_dimension_name, check_measure_name,
};

/// How rows become records.
#[derive(Debug)]
pub(super) struct Mapping {
    time: usize,
    dimensions: Vec<(Arc<str>, usize)>,
    measures: Measures,
}

#[derive(Debug)]
enum Measures {
    /// One record for each row.
    Multi { name: Name, attributes: Vec<Column> },
    /// A record for each mapping.
    Each(Vec<Single>),
    /// A record for the mapping whose name a row has in this column.
    Named { column: usize, mappings: Vec<(String, Single)> },
}

#[derive(Debug)]
enum Name {
    Fixed(Arc<str>),
    Column(usize),
}

/// A column that becomes a value.
#[derive(Debug)]
struct Column {
    name: Arc<str>,
    index: usize,
    value_type: MeasureType,
}

/// A mapping of mixed measures.
#[derive(Debug)]
enum Single {
    One(Column),
    Multi(Arc<str>, Vec<Column>),
}

/// What a mapping writes: for checks against the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written<'a> {
    pub(super) dimensions: Vec<&'a str>,
    pub(super) attributes: Vec<(&'a str, MeasureType)>,
    /// Names and types of single measures.
    pub(super) measures: Vec<(&'a str, MeasureType)>,
}

/// Why a row is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RowError {
    #[error("The value of the time column is NULL.")]
    NoTime,
    #[error("The value of the measure name column is NULL.")]
    NoMeasureName,
    #[error("No mapping has the measure name {0}.")]
    UnknownMeasure(String),
    #[error("The value {value} of the measure {measure} is no {expected}.")]
    Value { measure: String, value: String, expected: &'static str },
}

impl Mapping {
    /// The mapping of a result with `columns` to `target`.
    ///
    /// # Errors
    /// What is wrong with it, for the person who wrote it.
    pub(super) fn new(target: &Target, columns: &[ColumnInfo]) -> Result<Self, String> {
        let result = Columns(columns);
        let time = result.find("TimeColumn", &target.time_column, &[ScalarType::Timestamp])?;
        let mut dimensions = Vec::with_capacity(target.dimension_mappings.len());
        for mapping in &target.dimension_mappings {
            let name = &mapping.name;
            check_dimension_name(name)
                .map_err(|error| format!("The dimension name {name:?} is invalid: {error}."))?;
            let index = result.find("DimensionMappings", name, &[ScalarType::Varchar])?;
            dimensions.push((Arc::from(name.as_str()), index));
        }
        unique("dimension", dimensions.iter().map(|(name, _)| &**name))?;
        let measures = match (&target.multi_measure_mappings, &target.mixed_measure_mappings) {
            (Some(multi), None) => {
                let name = match (&multi.target_multi_measure_name, &target.measure_name_column) {
                    (Some(name), None) => Name::Fixed(measure_name(name)?),
                    (None, Some(column)) => Name::Column(result.measure_name(column)?),
                    _ => {
                        return Err("Exactly one of MeasureNameColumn and TargetMultiMeasureName must be \
                                    specified with MultiMeasureMappings."
                            .to_owned());
                    }
                };
                Measures::Multi {
                    name,
                    attributes: result.attributes(&multi.multi_measure_attribute_mappings)?,
                }
            }
            (None, Some(mixed)) => result.mixed(mixed, target.measure_name_column.as_deref())?,
            _ => {
                return Err(
                    "Exactly one of MultiMeasureMappings and MixedMeasureMappings must be specified."
                        .to_owned(),
                );
            }
        };
        let mapping = Self { time, dimensions, measures };
        mapping.check_names()?;
        Ok(mapping)
    }

    /// Dimensions and attributes are columns of one table.
    fn check_names(&self) -> Result<(), String> {
        let Written { dimensions, attributes, .. } = self.written();
        let dimensions: HashSet<&str> = dimensions.into_iter().collect();
        match attributes.iter().find(|(name, _)| dimensions.contains(name)) {
            Some((name, _)) => Err(format!("{name} is mapped to a dimension and to an attribute.")),
            None => Ok(()),
        }
    }

    /// What it writes.
    pub(super) fn written(&self) -> Written<'_> {
        let dimensions = self.dimensions.iter().map(|(name, _)| &**name).collect();
        let mut written = Written { dimensions, attributes: Vec::new(), measures: Vec::new() };
        let singles: Vec<&Single> = match &self.measures {
            Measures::Multi { attributes, .. } => {
                written.attributes.extend(attributes.iter().map(Column::named));
                Vec::new()
            }
            Measures::Each(singles) => singles.iter().collect(),
            Measures::Named { mappings, .. } => mappings.iter().map(|(_, single)| single).collect(),
        };
        for single in singles {
            match single {
                Single::One(column) => written.measures.push(column.named()),
                Single::Multi(_, columns) => written.attributes.extend(columns.iter().map(Column::named)),
            }
        }
        written
    }

    /// The records of a row. NULLs leave out what they are the value of; a row of nothing but NULLs is
    /// no record.
    pub(super) fn records(&self, row: &[Datum], version: i64, out: &mut Vec<Record>) -> Result<(), RowError> {
        let time = row[self.time].moment().ok_or(RowError::NoTime)?;
        let mut dimensions = Vec::with_capacity(self.dimensions.len());
        for (name, index) in &self.dimensions {
            if let Datum::Scalar(value) = &row[*index] {
                dimensions.push(Dimension { name: Arc::clone(name), value: value.clone() });
            }
        }
        let row = Row { values: row, time, version, dimensions: dimensions.into() };
        match &self.measures {
            Measures::Multi { name, attributes } => {
                let name = match name {
                    Name::Fixed(name) => Arc::clone(name),
                    Name::Column(index) => row.name(*index)?.into(),
                };
                out.extend(row.multi(&name, attributes)?);
            }
            Measures::Each(singles) => {
                for single in singles {
                    out.extend(row.single(single)?);
                }
            }
            Measures::Named { column, mappings } => {
                let name = row.name(*column)?;
                let found = mappings.iter().find(|(known, _)| known == name);
                let (_, single) = found.ok_or_else(|| RowError::UnknownMeasure(name.to_owned()))?;
                out.extend(row.single(single)?);
            }
        }
        Ok(())
    }
}

impl Column {
    fn named(&self) -> (&str, MeasureType) {
        (&self.name, self.value_type)
    }
}

/// A row on its way to records.
struct Row<'a> {
    values: &'a [Datum],
    time: Timestamp,
    version: i64,
    dimensions: Arc<[Dimension]>,
}

impl Row<'_> {
    fn name(&self, index: usize) -> Result<&str, RowError> {
        match &self.values[index] {
            Datum::Scalar(name) => Ok(name),
            _ => Err(RowError::NoMeasureName),
        }
    }

    fn single(&self, single: &Single) -> Result<Option<Record>, RowError> {
        match single {
            Single::Multi(name, attributes) => self.multi(name, attributes),
            Single::One(column) => {
                let value = self.value(column)?;
                Ok(value.map(|value| self.record(&column.name, Measure::Single(value))))
            }
        }
    }

    fn multi(&self, name: &Arc<str>, columns: &[Column]) -> Result<Option<Record>, RowError> {
        let mut attributes = Vec::with_capacity(columns.len());
        for column in columns {
            if let Some(value) = self.value(column)? {
                attributes.push(Attribute { name: Arc::clone(&column.name), value });
            }
        }
        Ok((!attributes.is_empty()).then(|| self.record(name, Measure::Multi(attributes))))
    }

    fn record(&self, name: &Arc<str>, measure: Measure) -> Record {
        Record {
            dimensions: Arc::clone(&self.dimensions),
            measure_name: Arc::clone(name),
            measure,
            time: self.time,
            version: self.version,
        }
    }

    fn value(&self, column: &Column) -> Result<Option<MeasureValue>, RowError> {
        let Datum::Scalar(text) = &self.values[column.index] else { return Ok(None) };
        let value = match column.value_type {
            MeasureType::Double => text.parse().ok().map(MeasureValue::Double),
            MeasureType::Bigint => text.parse().ok().map(MeasureValue::Bigint),
            MeasureType::Boolean => text.parse().ok().map(MeasureValue::Boolean),
            MeasureType::Varchar => Some(MeasureValue::Varchar(text.clone())),
            MeasureType::Timestamp => self.values[column.index].moment().map(MeasureValue::Timestamp),
        };
        value.map(Some).ok_or_else(|| RowError::Value {
            measure: column.name.to_string(),
            value: text.chars().take(64).collect(),
            expected: column.value_type.sql_name(),
        })
    }
}

/// The columns of a result.
struct Columns<'a>(&'a [ColumnInfo]);

impl Columns<'_> {
    /// The column of this name, which must have one of the types, or none yet.
    fn find(&self, member: &str, name: &str, types: &[ScalarType]) -> Result<usize, String> {
        let found = self.0.iter().position(|column| column.name.as_deref() == Some(name));
        let index = found.ok_or_else(|| format!("{member}: the query's result has no column {name:?}."))?;
        let matches = match &self.0[index].column_type {
            ColumnType::Scalar(scalar) => *scalar == ScalarType::Unknown || types.contains(scalar),
            _ => false,
        };
        if matches {
            return Ok(index);
        }
        let given = match &self.0[index].column_type {
            ColumnType::Scalar(scalar) => scalar.api_name(),
            ColumnType::Array(_) => "ARRAY",
            ColumnType::TimeSeries(_) => "TIMESERIES",
            ColumnType::Row(_) => "ROW",
        };
        let expected: Vec<&str> = types.iter().map(|scalar| scalar.api_name()).collect();
        let expected = expected.join(" or ");
        Err(format!("{member}: the column {name:?} of the query's result is {given}, not {expected}."))
    }

    fn measure_name(&self, name: &str) -> Result<usize, String> {
        self.find("MeasureNameColumn", name, &[ScalarType::Varchar])
    }

    fn attributes(&self, mappings: &[AttributeMapping]) -> Result<Vec<Column>, String> {
        let mut columns = Vec::with_capacity(mappings.len());
        for mapping in mappings {
            let name = mapping.name();
            check_attribute_name(name)
                .map_err(|error| format!("The multi-measure attribute name {name:?} is invalid: {error}."))?;
            columns.push(self.value(&mapping.source_column, name, mapping.value_type())?);
        }
        unique("multi-measure attribute", columns.iter().map(|column| &*column.name))?;
        Ok(columns)
    }

    fn value(&self, source: &str, name: &str, value_type: &str) -> Result<Column, String> {
        let (value_type, types): (_, &[ScalarType]) = match value_type {
            "BIGINT" => (MeasureType::Bigint, &[ScalarType::Bigint, ScalarType::Integer]),
            "BOOLEAN" => (MeasureType::Boolean, &[ScalarType::Boolean]),
            "DOUBLE" => (MeasureType::Double, &[ScalarType::Double]),
            "VARCHAR" => (MeasureType::Varchar, &[ScalarType::Varchar]),
            "TIMESTAMP" => (MeasureType::Timestamp, &[ScalarType::Timestamp]),
            other => return Err(format!("{other} is no measure value type of one column.")),
        };
        let index = self.find("SourceColumn", source, types)?;
        Ok(Column { name: name.into(), index, value_type })
    }

    fn mixed(&self, mappings: &[MixedMeasureMapping], name_column: Option<&str>) -> Result<Measures, String> {
        let Some(column) = name_column else {
            let singles =
                mappings.iter().map(|mapping| self.single(mapping)).collect::<Result<Vec<_>, _>>()?;
            unique("measure", singles.iter().map(Single::name))?;
            return Ok(Measures::Each(singles));
        };
        let column = self.measure_name(column)?;
        let mut named = Vec::with_capacity(mappings.len());
        for mapping in mappings {
            let Some(name) = &mapping.measure_name else {
                return Err(
                    "MeasureName is required in every MixedMeasureMapping when MeasureNameColumn is \
                            specified."
                        .to_owned(),
                );
            };
            named.push((name.clone(), self.single(mapping)?));
        }
        unique("MeasureName", named.iter().map(|(name, _)| name.as_str()))?;
        Ok(Measures::Named { column, mappings: named })
    }

    fn single(&self, mapping: &MixedMeasureMapping) -> Result<Single, String> {
        let own = mapping.name();
        let attributes = mapping.multi_measure_attribute_mappings.as_deref();
        if mapping.measure_value_type == "MULTI" {
            let name = own.ok_or("TargetMeasureName or MeasureName is required for a MULTI measure.")?;
            let attributes = attributes
                .filter(|attributes| !attributes.is_empty())
                .ok_or("MultiMeasureAttributeMappings is required for a MULTI measure.")?;
            return Ok(Single::Multi(measure_name(name)?, self.attributes(attributes)?));
        }
        if attributes.is_some() {
            return Err("MultiMeasureAttributeMappings is for measures of type MULTI only.".to_owned());
        }
        let source =
            mapping.source_column.as_deref().ok_or("SourceColumn is required unless a measure is MULTI.")?;
        let name = own.unwrap_or(source);
        measure_name(name)?;
        if mapping.measure_value_type == "TIMESTAMP" {
            return Err("TIMESTAMP is an invalid measure value type.".to_owned());
        }
        Ok(Single::One(self.value(source, name, &mapping.measure_value_type)?))
    }
}

impl Single {
    fn name(&self) -> &str {
        match self {
            Self::One(column) => &column.name,
            Self::Multi(name, _) => name,
        }
    }
}

fn measure_name(name: &str) -> Result<Arc<str>, String> {
    check_measure_name(name).map_err(|error| format!("The measure name {name:?} is invalid: {error}."))?;
    Ok(name.into())
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("The {what} {name} is specified more than once."));
        }
    }
    Ok(())
}
