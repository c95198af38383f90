//! Timestream's types, and how Arrow holds each.
//!
//! | SQL | Arrow |
//! | --- | --- |
//! | `integer`, `bigint`, `double`, `boolean` | Int32, Int64, Float64, Boolean |
//! | `varchar` | Utf8View (Utf8 inside lists and where functions of DataFusion make it) |
//! | `timestamp`, `date`, `time` | Timestamp(ns, no zone), Date32, Time64(ns) |
//! | `interval day to second` | Duration(ns) |
//! | `interval year to month` | Interval(YearMonth) |
//! | `array(T)` | List |
//! | `row(a T, ...)` | Struct; a field without a name is called [`UNNAMED`] and its number |
//! | `timeseries(T)` | List of Struct(time: Timestamp **not null**, value: T) |
//!
//! A timeseries is told from an array of rows by that one "not null" and nothing else: Arrow metadata
//! does not survive `CASE`, `COALESCE` and `array_agg`, and no field of a row a user makes is not null.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};

/// First character of the name of a row's field that has none. It cannot be typed by accident.
pub(crate) const UNNAMED: char = '\u{1}';

/// A type as the user knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SqlType {
    Unknown,
    Boolean,
    Integer,
    Bigint,
    Double,
    Varchar,
    Date,
    Time,
    Timestamp,
    DaySecond,
    YearMonth,
    Array(Box<Self>),
    Row(Vec<(Option<String>, Self)>),
    TimeSeries(Box<Self>),
}

/// Arrow's type of a timestamp.
pub(crate) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);
/// Arrow's type of a time of day.
pub(crate) const TIME: DataType = DataType::Time64(TimeUnit::Nanosecond);
/// Arrow's type of an interval of days to seconds.
pub(crate) const DAY_SECOND: DataType = DataType::Duration(TimeUnit::Nanosecond);
/// Arrow's type of an interval of years to months.
pub(crate) const YEAR_MONTH: DataType = DataType::Interval(IntervalUnit::YearMonth);

impl SqlType {
    /// The type Arrow calls `data_type`; nothing if no value of it can reach a user.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Null => Self::Unknown,
            DataType::Boolean => Self::Boolean,
            DataType::Int8 | DataType::Int16 | DataType::Int32 => Self::Integer,
            DataType::Int64 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Self::Bigint
            }
            DataType::Float32 | DataType::Float64 => Self::Double,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Varchar,
            DataType::Date32 => Self::Date,
            DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, _) => Self::Timestamp,
            DataType::Duration(_) => Self::DaySecond,
            DataType::Interval(IntervalUnit::YearMonth) => Self::YearMonth,
            DataType::Interval(_) => Self::DaySecond,
            DataType::List(_) if series_value(data_type).is_some() => {
                Self::TimeSeries(Box::new(Self::of(series_value(data_type)?.data_type())?))
            }
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                Self::Array(Box::new(Self::of(item.data_type())?))
            }
            DataType::Struct(fields) => Self::Row(
                fields
                    .iter()
                    .map(|field| Some((field_name(field), Self::of(field.data_type())?)))
                    .collect::<Option<_>>()?,
            ),
            _ => return None,
        })
    }

    /// The type that holds values of both, if one can be had by widening.
    pub(crate) fn wider(&self, other: &Self) -> Option<Self> {
        let widened = match (self, other) {
            (one, other) if one == other => one,
            (Self::Unknown, known) | (known, Self::Unknown) => known,
            (Self::Integer, wide @ (Self::Bigint | Self::Double))
            | (wide @ (Self::Bigint | Self::Double), Self::Integer)
            | (Self::Bigint, wide @ Self::Double)
            | (wide @ Self::Double, Self::Bigint)
            | (Self::Date, wide @ Self::Timestamp)
            | (wide @ Self::Timestamp, Self::Date) => wide,
            (Self::Array(one), Self::Array(other)) => {
                return Some(Self::Array(Box::new(one.wider(other)?)));
            }
            (Self::Row(ones), Self::Row(others)) if ones.len() == others.len() => {
                let fields = ones.iter().zip(others).map(|((name, one), (other_name, other))| {
                    Some((name.clone().filter(|name| Some(name) == other_name.as_ref()), one.wider(other)?))
                });
                return Some(Self::Row(fields.collect::<Option<_>>()?));
            }
            _ => return None,
        };
        Some(widened.clone())
    }

    /// How Arrow holds this type.
    pub(crate) fn arrow(&self) -> DataType {
        match self {
            Self::Unknown => DataType::Null,
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int32,
            Self::Bigint => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Varchar => DataType::Utf8View,
            Self::Date => DataType::Date32,
            Self::Time => TIME,
            Self::Timestamp => TIMESTAMP,
            Self::DaySecond => DAY_SECOND,
            Self::YearMonth => YEAR_MONTH,
            Self::Array(item) => list_of(item.arrow()),
            Self::Row(fields) => {
                let name = |(i, (name, of)): (usize, &(Option<String>, Self))| {
                    let name = name.clone().unwrap_or_else(|| unnamed(i));
                    Field::new(name, of.arrow(), true)
                };
                DataType::Struct(fields.iter().enumerate().map(name).collect())
            }
            Self::TimeSeries(value) => series_of(value.arrow()),
        }
    }

    /// The name of `data_type` for an error text, in the user's words where there are any.
    pub(crate) fn name_of(data_type: &DataType) -> String {
        Self::of(data_type).map_or_else(|| data_type.to_string(), |known| known.to_string())
    }

    /// Reads a type as `CAST` spells it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = TypeText { rest: text.trim() };
        let parsed = words.read(0)?;
        words.rest.trim().is_empty().then_some(parsed)
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Boolean => f.write_str("boolean"),
            Self::Integer => f.write_str("integer"),
            Self::Bigint => f.write_str("bigint"),
            Self::Double => f.write_str("double"),
            Self::Varchar => f.write_str("varchar"),
            Self::Date => f.write_str("date"),
            Self::Time => f.write_str("time"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::DaySecond => f.write_str("interval day to second"),
            Self::YearMonth => f.write_str("interval year to month"),
            Self::Array(item) => write!(f, "array({item})"),
            Self::TimeSeries(value) => write!(f, "timeseries({value})"),
            Self::Row(fields) => {
                f.write_str("row(")?;
                for (i, (name, of)) in fields.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    match name {
                        Some(name) => write!(f, "{comma}{name} {of}")?,
                        None => write!(f, "{comma}{of}")?,
                    }
                }
                f.write_str(")")
            }
        }
    }
}

/// What is left of a type's text.
struct TypeText<'a> {
    rest: &'a str,
}

impl TypeText<'_> {
    fn word(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let end = quoted.find('"')?;
            self.rest = quoted.get(end + 1..)?;
            return Some(quoted.get(..end)?.to_owned());
        }
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn sign(&mut self, sign: char) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Skips a precision or a length, which Timestream's types do not have: `varchar(10)`.
    fn precision(&mut self) -> Option<()> {
        if self.sign('(') {
            self.word()?.parse::<u32>().ok()?;
            self.sign(')').then_some(())?;
        }
        Some(())
    }

    fn read(&mut self, depth: usize) -> Option<SqlType> {
        if depth > 50 {
            return None;
        }
        let name = self.word()?.to_ascii_lowercase();
        let simple = match name.as_str() {
            "array" => return Some(SqlType::Array(Box::new(self.bracketed(depth)?))),
            "timeseries" => return Some(SqlType::TimeSeries(Box::new(self.bracketed(depth)?))),
            "row" => return self.row(depth),
            "interval" => return self.interval(),
            "boolean" => SqlType::Boolean,
            "int" | "integer" => SqlType::Integer,
            "bigint" => SqlType::Bigint,
            "double" => SqlType::Double,
            "varchar" => SqlType::Varchar,
            "date" => SqlType::Date,
            "time" => SqlType::Time,
            "timestamp" => SqlType::Timestamp,
            "unknown" => SqlType::Unknown,
            _ => return None,
        };
        self.precision()?;
        Some(simple)
    }

    fn bracketed(&mut self, depth: usize) -> Option<SqlType> {
        self.sign('(').then_some(())?;
        let item = self.read(depth + 1)?;
        self.sign(')').then_some(item)
    }

    fn row(&mut self, depth: usize) -> Option<SqlType> {
        self.sign('(').then_some(())?;
        let mut fields = Vec::new();
        loop {
            // `row(bigint, double)` names no fields, `row(a bigint, b double)` does.
            let before = self.rest;
            let unnamed = self.read(depth + 1).filter(|_| {
                let next = self.rest.trim_start();
                next.starts_with(',') || next.starts_with(')')
            });
            match unnamed {
                Some(of) => fields.push((None, of)),
                None => {
                    self.rest = before;
                    let name = self.word()?;
                    fields.push((Some(name), self.read(depth + 1)?));
                }
            }
            if !self.sign(',') {
                break;
            }
        }
        self.sign(')').then_some(SqlType::Row(fields))
    }

    fn interval(&mut self) -> Option<SqlType> {
        let words = [self.word()?, self.word()?, self.word()?].map(|word| word.to_ascii_lowercase());
        match [words[0].as_str(), words[1].as_str(), words[2].as_str()] {
            ["day", "to", "second"] => Some(SqlType::DaySecond),
            ["year", "to", "month"] => Some(SqlType::YearMonth),
            _ => None,
        }
    }
}

/// The name of a row's field that has none.
pub(crate) fn unnamed(position: usize) -> String {
    format!("{UNNAMED}{position}")
}

/// The name of a row's field, if it has one.
fn field_name(field: &Field) -> Option<String> {
    (!field.name().starts_with(UNNAMED)).then(|| field.name().clone())
}

/// An array of `item`.
pub(crate) fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// The two fields of a point of a timeseries.
pub(crate) fn point_fields(value: DataType) -> Fields {
    Fields::from(vec![Field::new("time", TIMESTAMP, false), Field::new("value", value, true)])
}

/// A timeseries of `value`.
pub(crate) fn series_of(value: DataType) -> DataType {
    list_of(DataType::Struct(point_fields(value)))
}

/// The value field of a timeseries; nothing if `data_type` is none.
pub(crate) fn series_value(data_type: &DataType) -> Option<&FieldRef> {
    let DataType::List(item) = data_type else { return None };
    let DataType::Struct(fields) = item.data_type() else { return None };
    let [time, value] = fields.as_ref() else { return None };
    let is_series = time.name() == "time"
        && value.name() == "value"
        && !time.is_nullable()
        && *time.data_type() == TIMESTAMP;
    is_series.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_cast_spells_them_and_print_as_typeof_does() {
        for (text, printed) in [
            ("INT", "integer"),
            ("varchar(20)", "varchar"),
            ("ROW(sum DOUBLE, count INTEGER)", "row(sum double, count integer)"),
            ("row(bigint, array(double))", "row(bigint, array(double))"),
            ("row(time timestamp)", "row(time timestamp)"),
            ("interval day to second", "interval day to second"),
            ("array(row(\"a b\" date))", "array(row(a b date))"),
        ] {
            assert_eq!(SqlType::parse(text).map(|of| of.to_string()).as_deref(), Some(printed), "{text}");
        }
        for text in ["decimal(3, 2)", "array(int", "row()", "bigint bigint", ""] {
            assert_eq!(SqlType::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_row_of_the_user_is_never_taken_for_a_timeseries() {
        let row = SqlType::parse("array(row(time timestamp, value double))").expect("a type");
        assert_eq!(SqlType::of(&row.arrow()), Some(row));
        let series = SqlType::TimeSeries(Box::new(SqlType::Double));
        assert_eq!(SqlType::of(&series.arrow()), Some(series));
    }
}
