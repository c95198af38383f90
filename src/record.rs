//! Rows on their way to a table: Timestream's record, after all defaults and merges.
//!
//! The identity of a row is its set of dimensions, its measure name and its time (spec 4.1). Nothing
//! here is checked against a table: `store` does that when the batch is written.
//!
//! Names are shared texts: a fleet repeats a few of them in every record, and whoever makes records
//! makes each name once.

mod mapping;
mod text;

use std::sync::Arc;

use crate::clock::Timestamp;

pub use mapping::{AttributeMapping, MixedMeasureMapping, MultiMeasureMappings};
pub use text::TimeUnit;

/// The version of a record that names none (spec 4.1).
pub const DEFAULT_VERSION: i64 = 1;

/// The longest dimension name, in bytes (spec 5.2).
pub const DIMENSION_NAME_BYTES_MAX: usize = 60;
/// The longest measure or attribute name, in bytes (spec 5.2).
pub const MEASURE_NAME_BYTES_MAX: usize = 256;
/// The longest VARCHAR measure value, in bytes (spec 4.3).
pub const VARCHAR_BYTES_MAX: usize = 2048;

/// Why a text cannot name a dimension or a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("it is empty")]
    Empty,
    /// The name is too long.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// The name has a character that names may not have.
    #[error("it contains a colon, a double quote or a control character")]
    Character,
    /// The name, or its beginning, belongs to the system (spec 5.2).
    #[error("time and names that begin with ts_, measure_name or measure_value are reserved")]
    Reserved,
}

/// Checks the name of a dimension (spec 5.2).
///
/// # Errors
/// When a column of a table cannot be called so.
pub fn check_dimension_name(name: &str) -> Result<(), NameError> {
    check_name(name, DIMENSION_NAME_BYTES_MAX)?;
    check_not_reserved(name)
}

/// Checks the name of an attribute of a multi-measure record, a column as a dimension is (spec 5.2).
///
/// # Errors
/// When a column of a table cannot be called so.
pub fn check_attribute_name(name: &str) -> Result<(), NameError> {
    check_name(name, MEASURE_NAME_BYTES_MAX)?;
    check_not_reserved(name)
}

/// Checks a measure name, which is a value of the column `measure_name` and so may be a reserved word.
///
/// # Errors
/// When it is empty, too long or has a character names may not have.
pub fn check_measure_name(name: &str) -> Result<(), NameError> {
    check_name(name, MEASURE_NAME_BYTES_MAX)
}

fn check_not_reserved(name: &str) -> Result<(), NameError> {
    let prefixes = ["ts_", "measure_name", "measure_value"];
    let reserved = name == "time" || prefixes.iter().any(|prefix| name.starts_with(prefix));
    if reserved { Err(NameError::Reserved) } else { Ok(()) }
}

fn check_name(name: &str, bytes_max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > bytes_max {
        return Err(NameError::TooLong(bytes_max));
    }
    if name.chars().any(|c| matches!(c, ':' | '"') || c.is_control()) {
        return Err(NameError::Character);
    }
    Ok(())
}

/// A name and a value that tell one series from another. Dimension values are VARCHAR.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimension {
    /// The dimension's name, a column of the table.
    pub name: Arc<str>,
    /// Its value.
    pub value: String,
}

/// The type of a measure value, as the API spells it in `MeasureValueType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MeasureType {
    /// A 64-bit IEEE 754 number, finite.
    Double,
    /// A signed 64-bit integer.
    Bigint,
    /// UTF-8 text.
    Varchar,
    /// True or false.
    Boolean,
    /// A moment; only inside a multi-measure record (spec 4.3).
    Timestamp,
}

impl MeasureType {
    /// The lower-case name SQL uses, as in `measure_value::double`.
    pub const fn sql_name(self) -> &'static str {
        match self {
            Self::Double => "double",
            Self::Bigint => "bigint",
            Self::Varchar => "varchar",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
        }
    }
}

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub enum MeasureValue {
    /// DOUBLE, finite.
    Double(f64),
    /// BIGINT.
    Bigint(i64),
    /// VARCHAR.
    Varchar(String),
    /// BOOLEAN.
    Boolean(bool),
    /// TIMESTAMP.
    Timestamp(Timestamp),
}

impl MeasureValue {
    /// The value's type.
    pub const fn measure_type(&self) -> MeasureType {
        match self {
            Self::Double(_) => MeasureType::Double,
            Self::Bigint(_) => MeasureType::Bigint,
            Self::Varchar(_) => MeasureType::Varchar,
            Self::Boolean(_) => MeasureType::Boolean,
            Self::Timestamp(_) => MeasureType::Timestamp,
        }
    }
}

/// One attribute of a multi-measure record; its name is a column of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// The attribute's name.
    pub name: Arc<str>,
    /// Its value.
    pub value: MeasureValue,
}

/// What a record measures.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// One value, kept in the column `measure_value::<type>`.
    Single(MeasureValue),
    /// `MeasureValueType` MULTI: several named values in one row.
    Multi(Vec<Attribute>),
}

/// One row on its way to a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The dimensions; names are unique, the order is the sender's. Shared by the records of one
    /// reading.
    pub dimensions: Arc<[Dimension]>,
    /// The measure's name.
    pub measure_name: Arc<str>,
    /// The measured value or values.
    pub measure: Measure,
    /// The row's time.
    pub time: Timestamp,
    /// The version; a higher one replaces the row (spec 4.5).
    pub version: i64,
}

/// Records for one table, written together.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteBatch {
    /// The database's name.
    pub database: Arc<str>,
    /// The table's name.
    pub table: Arc<str>,
    /// The records, in the sender's order.
    pub records: Vec<Record>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_by_what_they_become() {
        assert_eq!(check_dimension_name("time"), Err(NameError::Reserved));
        assert_eq!(check_dimension_name("ts_x"), Err(NameError::Reserved));
        assert_eq!(check_dimension_name("measure_value::double"), Err(NameError::Character));
        assert_eq!(check_dimension_name(&"ä".repeat(31)), Err(NameError::TooLong(60)));
        assert_eq!(check_dimension_name("地区"), Ok(()));
        assert_eq!(check_attribute_name(&"a".repeat(256)), Ok(()));
        assert_eq!(check_attribute_name(&"a".repeat(257)), Err(NameError::TooLong(256)));
        assert_eq!(check_attribute_name("measure_name"), Err(NameError::Reserved));
        assert_eq!(check_measure_name("time"), Ok(()));
        assert_eq!(check_measure_name("a:b"), Err(NameError::Character));
        assert_eq!(check_measure_name(""), Err(NameError::Empty));
    }
}
