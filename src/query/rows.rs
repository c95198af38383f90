//! Record batches as rows of the Query API: `ColumnInfo` and `Datum`, free of JSON.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, StringViewArray, StructArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Float64Type, Schema};
use datafusion::common::{Result, internal_err};

use super::error::failed;
use super::functions::Counts;
use super::select_list::DUPLICATE;
use super::sql_type::SqlType;
use super::wire_text;
use crate::clock::Timestamp;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInfo {
    /// The column's name; the inside of an array or a timeseries and an unnamed field of a row have
    /// none.
    pub name: Option<String>,
    /// Its type.
    pub column_type: ColumnType,
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// One value.
    Scalar(ScalarType),
    /// Values of one type.
    Array(Box<ColumnInfo>),
    /// Values of one type, each with its time.
    TimeSeries(Box<ColumnInfo>),
    /// Values of several types.
    Row(Vec<ColumnInfo>),
}

/// `ScalarType` of the Query API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarType {
    /// UTF-8 text.
    Varchar,
    /// True or false.
    Boolean,
    /// A signed 64-bit integer.
    Bigint,
    /// A 64-bit IEEE 754 number.
    Double,
    /// A moment.
    Timestamp,
    /// A day.
    Date,
    /// A time of day.
    Time,
    /// A length of time in days to nanoseconds.
    IntervalDayToSecond,
    /// A length of time in months.
    IntervalYearToMonth,
    /// The type of a bare NULL.
    Unknown,
    /// A signed 32-bit integer.
    Integer,
}

impl ScalarType {
    /// The name the API uses.
    pub const fn api_name(self) -> &'static str {
        match self {
            Self::Varchar => "VARCHAR",
            Self::Boolean => "BOOLEAN",
            Self::Bigint => "BIGINT",
            Self::Double => "DOUBLE",
            Self::Timestamp => "TIMESTAMP",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::IntervalDayToSecond => "INTERVAL_DAY_TO_SECOND",
            Self::IntervalYearToMonth => "INTERVAL_YEAR_TO_MONTH",
            Self::Unknown => "UNKNOWN",
            Self::Integer => "INTEGER",
        }
    }
}

/// A value of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datum {
    /// NULL.
    Null,
    /// One value, as the wire spells it.
    Scalar(String),
    /// An array.
    Array(Vec<Self>),
    /// A row.
    Row(Vec<Self>),
    /// Times, as the wire spells them, and values.
    TimeSeries(Vec<(String, Self)>),
}

impl Datum {
    /// The moment that the value of a TIMESTAMP column is; nothing for NULL.
    pub fn moment(&self) -> Option<Timestamp> {
        match self {
            Self::Scalar(text) => wire_text::parse_timestamp(text).map(Timestamp::from_nanos),
            _ => None,
        }
    }

    /// About how many bytes the value takes on the wire.
    pub(crate) fn wire_bytes(&self) -> usize {
        const FRAME: usize = 24;
        FRAME
            + match self {
                Self::Null => 0,
                Self::Scalar(text) => text.len(),
                Self::Array(values) | Self::Row(values) => values.iter().map(Self::wire_bytes).sum(),
                Self::TimeSeries(points) => {
                    points.iter().map(|(time, value)| FRAME + time.len() + value.wire_bytes()).sum()
                }
            }
    }
}

impl ColumnInfo {
    /// A VARCHAR column.
    pub(crate) fn varchar(name: &str) -> Self {
        Self { name: Some(name.to_owned()), column_type: ColumnType::Scalar(ScalarType::Varchar) }
    }

    fn of(name: Option<String>, of: &SqlType) -> Self {
        let inner = |of: &SqlType| Box::new(Self::of(None, of));
        let column_type = match of {
            SqlType::Array(item) => ColumnType::Array(inner(item)),
            SqlType::TimeSeries(value) => ColumnType::TimeSeries(inner(value)),
            SqlType::Row(fields) => {
                ColumnType::Row(fields.iter().map(|(name, of)| Self::of(name.clone(), of)).collect())
            }
            SqlType::Unknown => ColumnType::Scalar(ScalarType::Unknown),
            SqlType::Boolean => ColumnType::Scalar(ScalarType::Boolean),
            SqlType::Integer => ColumnType::Scalar(ScalarType::Integer),
            SqlType::Bigint => ColumnType::Scalar(ScalarType::Bigint),
            SqlType::Double => ColumnType::Scalar(ScalarType::Double),
            SqlType::Varchar => ColumnType::Scalar(ScalarType::Varchar),
            SqlType::Date => ColumnType::Scalar(ScalarType::Date),
            SqlType::Time => ColumnType::Scalar(ScalarType::Time),
            SqlType::Timestamp => ColumnType::Scalar(ScalarType::Timestamp),
            SqlType::DaySecond => ColumnType::Scalar(ScalarType::IntervalDayToSecond),
            SqlType::YearMonth => ColumnType::Scalar(ScalarType::IntervalYearToMonth),
        };
        Self { name, column_type }
    }
}

/// The columns of a result: the names of the plan the user's text became, the types of the plan that
/// runs. The first does not know yet what a CASE or a UNION of several types comes to.
pub(crate) fn columns(named: &Schema, typed: &Schema) -> Result<Arc<[ColumnInfo]>> {
    if named.fields().len() != typed.fields().len() {
        return internal_err!("a plan of {} columns has {}", named.fields().len(), typed.fields().len());
    }
    let column = |(named, field): (&FieldRef, &FieldRef)| {
        let name = named.name().split(DUPLICATE).next().unwrap_or_default().to_owned();
        match SqlType::of(field.data_type()) {
            Some(of) => Ok(ColumnInfo::of(Some(name), &of)),
            None => Err(failed(format!(
                "column '{name}' has the type {}, which Timestream cannot return",
                field.data_type()
            ))),
        }
    };
    named.fields().iter().zip(typed.fields()).map(column).collect()
}

/// A column ready to be read value by value.
pub(crate) struct Column {
    nulls: Option<NullBuffer>,
    values: Values,
}

enum Values {
    Null,
    Boolean(BooleanArray),
    Double(Float64Array),
    Varchar(StringViewArray),
    Counts(ArrayRef, fn(i64) -> String),
    List(ListArray, Box<Column>),
    Row(Vec<Column>),
    Series(ListArray, Box<Column>, Box<Column>),
}

impl Column {
    /// Prepares `array`; its type has passed [`columns`].
    pub(crate) fn new(array: &ArrayRef) -> Result<Self> {
        let of = SqlType::of(array.data_type())
            .ok_or_else(|| failed(format!("Timestream has no type for {}", array.data_type())))?;
        let array = match of {
            SqlType::Array(_) | SqlType::Row(_) | SqlType::TimeSeries(_) => Arc::clone(array),
            _ => cast(array, &of.arrow())?,
        };
        let counts = |text| Values::Counts(Arc::clone(&array), text);
        let values = match of {
            SqlType::Unknown => Values::Null,
            SqlType::Boolean => Values::Boolean(array.as_boolean().clone()),
            SqlType::Double => Values::Double(array.as_primitive::<Float64Type>().clone()),
            SqlType::Varchar => Values::Varchar(array.as_string_view().clone()),
            SqlType::Integer | SqlType::Bigint => counts(|value| value.to_string()),
            SqlType::Timestamp => counts(wire_text::timestamp),
            SqlType::Date => counts(|days| wire_text::date(days.try_into().unwrap_or_default())),
            SqlType::Time => counts(wire_text::time),
            SqlType::DaySecond => counts(wire_text::day_second),
            SqlType::YearMonth => {
                counts(|months| wire_text::year_month(months.try_into().unwrap_or_default()))
            }
            SqlType::Array(_) => {
                let list = list(&array)?;
                let inner = Self::new(list.values())?;
                Values::List(list, Box::new(inner))
            }
            SqlType::Row(_) => Values::Row(fields(array.as_struct())?),
            SqlType::TimeSeries(_) => {
                let list = list(&array)?;
                let mut point = fields(list.values().as_struct())?;
                match (point.pop(), point.pop()) {
                    (Some(value), Some(time)) => Values::Series(list, Box::new(time), Box::new(value)),
                    _ => return Err(failed("a point of a timeseries has a time and a value")),
                }
            }
        };
        Ok(Self { nulls: array.nulls().cloned(), values })
    }

    /// The value in `row`.
    pub(crate) fn datum(&self, row: usize) -> Datum {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Datum::Null;
        }
        match &self.values {
            Values::Null => Datum::Null,
            Values::Boolean(array) => Datum::Scalar(array.value(row).to_string()),
            Values::Double(array) => Datum::Scalar(wire_text::double(array.value(row))),
            Values::Varchar(array) => Datum::Scalar(array.value(row).to_owned()),
            Values::Counts(array, text) => Datum::Scalar(text(Counts::of(array).at(row))),
            Values::List(list, inner) => Datum::Array(range(list, row).map(|i| inner.datum(i)).collect()),
            Values::Row(fields) => Datum::Row(fields.iter().map(|field| field.datum(row)).collect()),
            Values::Series(list, time, value) => Datum::TimeSeries(
                range(list, row)
                    .map(|i| {
                        let time = match time.datum(i) {
                            Datum::Scalar(text) => text,
                            _ => String::new(),
                        };
                        (time, value.datum(i))
                    })
                    .collect(),
            ),
        }
    }
}

fn list(array: &ArrayRef) -> Result<ListArray> {
    let item = match array.data_type() {
        DataType::List(_) => return Ok(array.as_list::<i32>().clone()),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Arc::clone(item),
        other => return Err(failed(format!("{other} is no array"))),
    };
    Ok(cast(array, &DataType::List(item))?.as_list::<i32>().clone())
}

fn fields(row: &StructArray) -> Result<Vec<Column>> {
    row.columns().iter().map(Column::new).collect()
}

#[expect(clippy::cast_sign_loss, reason = "offsets of a list are not negative")]
fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}
