//! Rows on their way to a table: Timestream's record, after all defaults and merges.
//!
//! The identity of a row is its set of dimensions, its measure name and its time (spec 4.1). Nothing
//! here is checked against a table: `store` does that when the batch is written.

use crate::clock::Timestamp;

/// The version of a record that names none (spec 4.1).
pub const DEFAULT_VERSION: i64 = 1;

/// A name and a value that tell one series from another. Dimension values are VARCHAR.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimension {
    /// The dimension's name, a column of the table.
    pub name: String,
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
    pub name: String,
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
    /// The dimensions; names are unique, the order is the sender's.
    pub dimensions: Vec<Dimension>,
    /// The measure's name.
    pub measure_name: String,
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
    pub database: String,
    /// The table's name.
    pub table: String,
    /// The records, in the sender's order.
    pub records: Vec<Record>,
}
