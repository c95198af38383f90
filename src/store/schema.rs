//! The columns of a table and how they grow: by writes only, and never back.
//!
//! Dimensions and multi-measure attributes share one name space; the type of a measure and of an
//! attribute is fixed by its first write (spec 4.7). Every column keeps its place for ever, so a
//! place is how the rest of the store names it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::error::RejectReason;
use super::layout::Fit;
use super::limits::Limits;
use crate::record::{Dimension, Measure, MeasureType, Record};

/// The column of the measure's name.
pub(crate) const MEASURE_NAME: &str = "measure_name";
/// The column of the row's time.
pub(crate) const TIME: &str = "time";
/// The column of parts that keeps the version; no user's column may start with `ts_`.
pub(crate) const VERSION: &str = "ts_version";

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// A dimension, VARCHAR.
    Dimension,
    /// `measure_name`.
    MeasureName,
    /// `time`.
    Time,
    /// `measure_value::<type>`, the values of single-measure records.
    MeasureValue(MeasureType),
    /// An attribute of multi-measure records.
    Multi(MeasureType),
}

impl ColumnKind {
    /// The Arrow type of the column in snapshots.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Dimension | Self::MeasureName => DataType::Utf8View,
            Self::Time => DataType::Timestamp(TimeUnit::Nanosecond, None),
            Self::MeasureValue(value) | Self::Multi(value) => value_type(value),
        }
    }
}

/// The Arrow type of a measured value.
pub(crate) fn value_type(value: MeasureType) -> DataType {
    match value {
        MeasureType::Double => DataType::Float64,
        MeasureType::Bigint => DataType::Int64,
        MeasureType::Varchar => DataType::Utf8View,
        MeasureType::Boolean => DataType::Boolean,
        MeasureType::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, None),
    }
}

/// A column as queries see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
}

/// A measure, as SHOW MEASURES lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasureInfo {
    /// Its name.
    pub name: String,
    /// `double`, `bigint`, `varchar`, `boolean` or `multi`.
    pub data_type: &'static str,
    /// The dimensions it was ever written with, in column order.
    pub dimensions: Vec<String>,
}

/// A column of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueColumn {
    pub(crate) name: String,
    pub(crate) value: MeasureType,
    pub(crate) multi: bool,
}

impl ValueColumn {
    pub(crate) fn kind(&self) -> ColumnKind {
        if self.multi { ColumnKind::Multi(self.value) } else { ColumnKind::MeasureValue(self.value) }
    }
}

/// What a measure name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MeasureKind {
    Single(MeasureType),
    Multi,
}

impl MeasureKind {
    pub(crate) fn of(measure: &Measure) -> Self {
        match measure {
            Measure::Single(value) => Self::Single(value.measure_type()),
            Measure::Multi(_) => Self::Multi,
        }
    }

    pub(crate) const fn sql_name(self) -> &'static str {
        match self {
            Self::Single(value) => value.sql_name(),
            Self::Multi => "multi",
        }
    }
}

/// A measure name of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeasureEntry {
    pub(crate) name: String,
    pub(crate) kind: MeasureKind,
    /// Bit n is set when it was written with dimension n.
    pub(crate) dimensions: u128,
}

/// The columns of a table at one moment.
#[derive(Debug, Clone, Default)]
pub struct TableSchema {
    dimensions: Vec<String>,
    values: Vec<ValueColumn>,
    measures: Vec<MeasureEntry>,
    dimension_at: HashMap<String, u16>,
    attribute_at: HashMap<String, u16>,
    measure_at: HashMap<String, u16>,
    attributes: usize,
    views: OnceLock<Views>,
}

/// What queries ask for, made when first asked.
#[derive(Debug, Clone)]
struct Views {
    columns: Vec<Column>,
    arrow: SchemaRef,
}

/// The name of the column for single-measure values of a type.
pub(crate) fn single_column(value: MeasureType) -> &'static str {
    match value {
        MeasureType::Double => "measure_value::double",
        MeasureType::Bigint => "measure_value::bigint",
        MeasureType::Varchar => "measure_value::varchar",
        MeasureType::Boolean => "measure_value::boolean",
        MeasureType::Timestamp => "measure_value::timestamp",
    }
}

impl TableSchema {
    /// The columns in the order of SELECT *: dimensions, `measure_name`, `time`, values.
    pub fn columns(&self) -> &[Column] {
        &self.views().columns
    }

    /// The same columns as an Arrow schema.
    pub fn arrow(&self) -> SchemaRef {
        Arc::clone(&self.views().arrow)
    }

    /// The measures, sorted by name.
    pub fn measures(&self) -> Vec<MeasureInfo> {
        let mut measures: Vec<MeasureInfo> = self.measures.iter().map(|entry| self.info(entry)).collect();
        measures.sort_by(|a, b| a.name.cmp(&b.name));
        measures
    }

    fn info(&self, entry: &MeasureEntry) -> MeasureInfo {
        let written = self.dimensions.iter().enumerate().filter(|(n, _)| entry.dimensions >> n & 1 == 1);
        MeasureInfo {
            name: entry.name.clone(),
            data_type: entry.kind.sql_name(),
            dimensions: written.map(|(_, name)| name.clone()).collect(),
        }
    }

    fn views(&self) -> &Views {
        self.views.get_or_init(|| {
            let column = |name: &str, kind| Column { name: name.to_owned(), kind };
            let mut columns: Vec<Column> =
                self.dimensions.iter().map(|name| column(name, ColumnKind::Dimension)).collect();
            columns.push(column(MEASURE_NAME, ColumnKind::MeasureName));
            columns.push(column(TIME, ColumnKind::Time));
            columns.extend(self.values.iter().map(|value| column(&value.name, value.kind())));
            let fields: Vec<Field> = columns
                .iter()
                .map(|column| {
                    let required = matches!(column.kind, ColumnKind::MeasureName | ColumnKind::Time);
                    Field::new(&column.name, column.kind.data_type(), !required)
                })
                .collect();
            Views { columns, arrow: Arc::new(Schema::new(fields)) }
        })
    }

    pub(crate) fn dimensions(&self) -> &[String] {
        &self.dimensions
    }

    pub(crate) fn values(&self) -> &[ValueColumn] {
        &self.values
    }

    pub(crate) fn measure_entries(&self) -> &[MeasureEntry] {
        &self.measures
    }

    /// The place of a dimension.
    pub(crate) fn dimension(&self, name: &str) -> Option<u16> {
        self.dimension_at.get(name).copied()
    }

    /// The place of an attribute among the values.
    pub(crate) fn attribute(&self, name: &str) -> Option<u16> {
        self.attribute_at.get(name).copied()
    }

    /// The place of the column of single values of a type among the values.
    pub(crate) fn single(&self, value: MeasureType) -> Option<u16> {
        // At most four such columns exist, and they are early.
        let at = self.values.iter().position(|column| !column.multi && column.value == value)?;
        u16::try_from(at).ok()
    }

    /// Whether the record fits the columns, or may grow them. What it has in common with a row of the
    /// table is not looked at again.
    pub(crate) fn check(&self, record: &Record, fit: Fit, limits: &Limits) -> Result<(), RejectReason> {
        match fit {
            Fit::Whole => return Ok(()),
            Fit::Dimensions => {}
            Fit::Nothing => self.check_dimensions(&record.dimensions, limits.dimensions_per_table)?,
        }
        self.check_measure(record, limits.measure_names_per_table)?;
        match &record.measure {
            Measure::Multi(_) => self.check_attributes(record, limits.unique_attributes_per_table),
            Measure::Single(_) => Ok(()),
        }
    }

    fn check_dimensions(&self, dimensions: &[Dimension], max: usize) -> Result<(), RejectReason> {
        let mut new = 0;
        for dimension in dimensions {
            if self.dimension_at.contains_key(&*dimension.name) {
                continue;
            }
            if self.attribute_at.contains_key(&*dimension.name) {
                return Err(RejectReason::DimensionIsAttribute { name: dimension.name.to_string() });
            }
            new += 1;
        }
        if new > 0 && self.dimensions.len() + new > max {
            return Err(RejectReason::TooManyDimensions { max });
        }
        Ok(())
    }

    fn check_measure(&self, record: &Record, max: usize) -> Result<(), RejectReason> {
        let given = MeasureKind::of(&record.measure);
        match self.measure_at.get(&*record.measure_name) {
            Some(&at) => {
                let existing = self.measures[usize::from(at)].kind;
                if existing == given {
                    return Ok(());
                }
                Err(RejectReason::MeasureType {
                    measure: record.measure_name.to_string(),
                    existing: existing.sql_name(),
                    given: given.sql_name(),
                })
            }
            None if self.measures.len() >= max => Err(RejectReason::TooManyMeasures { max }),
            None => Ok(()),
        }
    }

    fn check_attributes(&self, record: &Record, max: usize) -> Result<(), RejectReason> {
        let Measure::Multi(attributes) = &record.measure else { return Ok(()) };
        let mut new = 0;
        for attribute in attributes {
            let given = attribute.value.measure_type();
            if let Some(&at) = self.attribute_at.get(&*attribute.name) {
                let existing = self.values[usize::from(at)].value;
                if existing != given {
                    return Err(RejectReason::AttributeType {
                        attribute: attribute.name.to_string(),
                        existing: existing.sql_name(),
                        given: given.sql_name(),
                    });
                }
                continue;
            }
            let own = record.dimensions.iter().any(|dimension| dimension.name == attribute.name);
            if own || self.dimension_at.contains_key(&*attribute.name) {
                return Err(RejectReason::AttributeIsDimension { name: attribute.name.to_string() });
            }
            new += 1;
        }
        if new > 0 && self.attributes + new > max {
            return Err(RejectReason::TooManyAttributes { max });
        }
        Ok(())
    }

    /// Whether writing the record would add nothing.
    pub(crate) fn covers(&self, record: &Record) -> bool {
        let Some(&at) = self.measure_at.get(&*record.measure_name) else { return false };
        let written = self.measures[usize::from(at)].dimensions;
        let dimensions = record
            .dimensions
            .iter()
            .all(|dimension| self.dimension(&dimension.name).is_some_and(|at| written >> at & 1 == 1));
        dimensions
            && match &record.measure {
                Measure::Single(value) => self.single(value.measure_type()).is_some(),
                Measure::Multi(attributes) => {
                    attributes.iter().all(|attribute| self.attribute_at.contains_key(&*attribute.name))
                }
            }
    }

    /// Adds the columns of a record that passed [`TableSchema::check`].
    pub(crate) fn grow(&mut self, record: &Record) {
        self.views = OnceLock::new();
        let mut written = 0_u128;
        for dimension in &*record.dimensions {
            let at = match self.dimension(&dimension.name) {
                Some(at) => at,
                None => self.add_dimension(dimension.name.to_string()),
            };
            written |= 1 << at;
        }
        match &record.measure {
            Measure::Single(value) => {
                let value = value.measure_type();
                if self.single(value).is_none() {
                    let name = single_column(value).to_owned();
                    self.add_value(ValueColumn { name, value, multi: false });
                }
            }
            Measure::Multi(attributes) => {
                for attribute in attributes {
                    if !self.attribute_at.contains_key(&*attribute.name) {
                        let value = attribute.value.measure_type();
                        self.add_value(ValueColumn { name: attribute.name.to_string(), value, multi: true });
                    }
                }
            }
        }
        match self.measure_at.get(&*record.measure_name) {
            Some(&at) => self.measures[usize::from(at)].dimensions |= written,
            None => self.add_measure(MeasureEntry {
                name: record.measure_name.to_string(),
                kind: MeasureKind::of(&record.measure),
                dimensions: written,
            }),
        }
    }

    pub(crate) fn add_dimension(&mut self, name: String) -> u16 {
        let at = u16::try_from(self.dimensions.len()).expect("at most 128 dimensions");
        self.dimension_at.insert(name.clone(), at);
        self.dimensions.push(name);
        at
    }

    pub(crate) fn add_value(&mut self, column: ValueColumn) {
        if column.multi {
            let at = u16::try_from(self.values.len()).expect("the limits allow a few thousand value columns");
            self.attribute_at.insert(column.name.clone(), at);
            self.attributes += 1;
        }
        self.values.push(column);
    }

    pub(crate) fn add_measure(&mut self, entry: MeasureEntry) {
        let at = u16::try_from(self.measures.len()).expect("the limits allow 65,000 measures");
        self.measure_at.insert(entry.name.clone(), at);
        self.measures.push(entry);
    }
}

#[cfg(test)]
pub(super) mod tests;
