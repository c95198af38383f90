//! `CAST`, `TRY_CAST`, `typeof`, rows, and the literals that have no literal in SQL.
//!
//! One cast for all types, by Trino's rules (spec 3.4): doubles round to integers, rows are cast by
//! position and not by name, text is read as the wire spells it. A value that cannot be cast is an
//! error, or NULL under `TRY_CAST`.

use std::hash::Hash;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, DurationNanosecondArray, Float64Array, Int32Array,
    Int64Array, IntervalYearMonthArray, ListArray, StringViewArray, StructArray, Time64NanosecondArray,
    TimestampNanosecondArray, new_null_array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::lambda::range;
use super::scalar::{Counts, Def, def};
use crate::query::duration::{self, DAY, Duration};
use crate::query::error::{failed, invalid};
use crate::query::sql_type::SqlType;
use crate::query::wire_text;

pub(super) const FUNCTIONS: &[Def] = &[
    def(
        "__day_second",
        &[("interval(varchar) -> interval day to second", |call| {
            call.map::<_, DurationNanosecondArray>(|row| Ok(call.text(0).value(row).parse().ok()))
        })],
    ),
    def(
        "__year_month",
        &[("interval(varchar) -> interval year to month", |call| {
            call.map::<_, IntervalYearMonthArray>(|row| Ok(call.text(0).value(row).parse().ok()))
        })],
    ),
    def(
        "typeof",
        &[("typeof(T) -> varchar", |call| {
            let name = call.args.first().map(|arg| SqlType::name_of(arg.data_type())).unwrap_or_default();
            Ok(Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(name, call.rows))))
        })],
    ),
];

/// The functions whose result type a definition cannot say.
pub(super) fn special() -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::from(Cast { lenient: false, signature: Signature::any(2, Volatility::Immutable) }),
        ScalarUDF::from(Cast { lenient: true, signature: Signature::any(2, Volatility::Immutable) }),
        ScalarUDF::from(ParseDuration(Signature::any(1, Volatility::Immutable))),
    ]
}

/// `__cast(value, 'type')`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Cast {
    lenient: bool,
    signature: Signature,
}

fn literal<'a>(args: &'a ReturnFieldArgs<'_>, i: usize) -> Option<&'a str> {
    match args.scalar_arguments.get(i)? {
        Some(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) => Some(text),
        _ => None,
    }
}

fn nullable(name: &str, of: DataType) -> FieldRef {
    Arc::new(Field::new(name, of, true))
}

impl ScalarUDFImpl for Cast {
    fn name(&self) -> &str {
        if self.lenient { "__try_cast" } else { "__cast" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(invalid("a cast needs its type"))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let to = literal(&args, 1).and_then(SqlType::parse);
        let to = to.ok_or_else(|| invalid("a cast needs a type"))?;
        let given = args.arg_fields.first().map_or(DataType::Null, |field| field.data_type().clone());
        let castable = SqlType::of(&given).is_some_and(|from| can_cast(&from, &to));
        match castable {
            true => Ok(nullable(self.name(), to.arrow())),
            false => Err(invalid(format!("Cannot cast {} to {to}", SqlType::name_of(&given)))),
        }
    }

    /// Where Arrow casts as Trino does, DataFusion may see the cast and prune through it.
    fn simplify(&self, mut args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let [value, Expr::Literal(ScalarValue::Utf8(Some(to)) | ScalarValue::Utf8View(Some(to)), _)] =
            args.as_slice()
        else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let (from, to) = (info.get_data_type(value)?, SqlType::parse(to));
        let (Some(known), Some(to)) = (SqlType::of(&from), to) else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        use SqlType::{Bigint, Double, Integer};
        if from == to.arrow() {
            return Ok(ExprSimplifyResult::Simplified(args.swap_remove(0)));
        }
        match (&known, &to) {
            (Integer, Bigint | Double) | (Bigint, Double) => {
                let value = args.swap_remove(0);
                Ok(ExprSimplifyResult::Simplified(datafusion::logical_expr::cast(value, to.arrow())))
            }
            _ => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = SqlType::of(args.return_field.data_type()).ok_or_else(|| invalid("a cast needs a type"))?;
        match args.args.first() {
            Some(ColumnarValue::Array(array)) => {
                Ok(ColumnarValue::Array(cast_array(array, &to, self.lenient)?))
            }
            Some(ColumnarValue::Scalar(scalar)) => {
                let cast = cast_array(&scalar.to_array()?, &to, self.lenient)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&cast, 0)?))
            }
            None => Err(invalid("a cast needs a value")),
        }
    }
}

/// Whether any value of `from` can be cast.
fn can_cast(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::{
        Array, Bigint, Boolean, Date, DaySecond, Double, Integer, Row, Time, TimeSeries, Timestamp, Unknown,
        Varchar, YearMonth,
    };
    match (from, to) {
        (Unknown, _) => true,
        (from, to) if from == to => true,
        (Boolean | Integer | Bigint | Double, Boolean | Integer | Bigint | Double | Varchar) => true,
        (Varchar, Boolean | Integer | Bigint | Double | Date | Time | Timestamp) => true,
        (Date, Timestamp | Varchar) | (Time, Varchar) => true,
        (Timestamp, Date | Time | Varchar) => true,
        (DaySecond | YearMonth, Varchar) => true,
        (Array(from), Array(to)) => can_cast(from, to),
        (Row(from), Row(to)) => {
            from.len() == to.len() && from.iter().zip(to).all(|((_, from), (_, to))| can_cast(from, to))
        }
        (TimeSeries(value), Array(to)) => match to.as_ref() {
            Row(fields) => matches!(fields.as_slice(),
                [(_, Timestamp), (_, of)] if can_cast(value, of)),
            _ => false,
        },
        _ => false,
    }
}

/// Every value of `array` as a `to`.
pub(crate) fn cast_array(array: &ArrayRef, to: &SqlType, lenient: bool) -> Result<ArrayRef> {
    let target = to.arrow();
    if *array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    let Some(from) = SqlType::of(array.data_type()) else {
        return Err(invalid(format!("Cannot cast {} to {to}", array.data_type())));
    };
    // Arrow knows several widths of what SQL has one of.
    let plain = match from {
        SqlType::Array(_) | SqlType::Row(_) | SqlType::TimeSeries(_) => Arc::clone(array),
        _ => cast(array, &from.arrow())?,
    };
    if from == *to {
        match to {
            SqlType::Array(_) | SqlType::Row(_) | SqlType::TimeSeries(_) => {}
            _ => return Ok(plain),
        }
    }
    match (&from, to) {
        (SqlType::Unknown, _) => Ok(new_null_array(&target, array.len())),
        (SqlType::Array(_) | SqlType::TimeSeries(_), SqlType::Array(item)) => {
            let list = plain.as_list::<i32>();
            let values = cast_array(list.values(), item, lenient)?;
            let DataType::List(field) = target else { return Err(invalid("an array is a list")) };
            let nulls = match lenient {
                true => NullBuffer::union(list.nulls(), whole_lists(list, &values).as_ref()),
                false => list.nulls().cloned(),
            };
            Ok(Arc::new(ListArray::try_new(field, list.offsets().clone(), values, nulls)?))
        }
        (SqlType::Row(_), SqlType::Row(fields)) => {
            let row = plain.as_struct();
            let columns = row.columns().iter().zip(fields);
            let columns = columns.map(|(column, (_, of))| cast_array(column, of, lenient));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let DataType::Struct(named) = target else { return Err(invalid("a row is a struct")) };
            let nulls = match lenient {
                true => NullBuffer::union(row.nulls(), Some(&whole_rows(row, &columns))),
                false => row.nulls().cloned(),
            };
            Ok(Arc::new(StructArray::try_new(named, columns, nulls)?))
        }
        (from, to) => Values { array: &plain, from, lenient }.cast(to),
    }
}

/// The arrays of which no element was lost on its way to `values`: one that was makes the whole NULL.
fn whole_lists(list: &ListArray, values: &ArrayRef) -> Option<NullBuffer> {
    let before = list.values();
    let kept = |at: usize| before.is_null(at) || values.is_valid(at);
    let whole = (0..list.len()).map(|row| range(list, row).all(kept));
    (values.null_count() > before.null_count()).then(|| whole.collect::<Vec<bool>>().into())
}

/// The same for rows and their fields.
fn whole_rows(row: &StructArray, columns: &[ArrayRef]) -> NullBuffer {
    let kept =
        |at: usize| row.columns().iter().zip(columns).all(|(old, new)| old.is_null(at) || new.is_valid(at));
    (0..row.len()).map(kept).collect::<Vec<bool>>().into()
}

/// A column of simple values on their way to another type.
struct Values<'a> {
    array: &'a ArrayRef,
    from: &'a SqlType,
    lenient: bool,
}

impl Values<'_> {
    fn cast(&self, to: &SqlType) -> Result<ArrayRef> {
        match to {
            SqlType::Boolean => self.each::<_, BooleanArray>(to, |row| self.boolean(row)),
            SqlType::Integer => {
                self.each::<_, Int32Array>(to, |row| self.whole(row).and_then(|value| value.try_into().ok()))
            }
            SqlType::Bigint => self.each::<_, Int64Array>(to, |row| self.whole(row)),
            SqlType::Double => self.each::<_, Float64Array>(to, |row| self.double(row)),
            SqlType::Varchar => self.each::<_, StringViewArray>(to, |row| Some(self.text(row))),
            SqlType::Date => self.each::<_, Date32Array>(to, |row| match self.from {
                SqlType::Timestamp => self.counts().at(row).div_euclid(DAY).try_into().ok(),
                _ => wire_text::parse_date(self.varchar(row).get(..10)?)
                    .filter(|_| wire_text::parse_timestamp(self.varchar(row)).is_some()),
            }),
            SqlType::Time => self.each::<_, Time64NanosecondArray>(to, |row| match self.from {
                SqlType::Timestamp => Some(self.counts().at(row).rem_euclid(DAY)),
                _ => wire_text::parse_time(self.varchar(row)),
            }),
            SqlType::Timestamp => self.each::<_, TimestampNanosecondArray>(to, |row| match self.from {
                SqlType::Date => self.counts().at(row).checked_mul(DAY),
                _ => wire_text::parse_timestamp(self.varchar(row)),
            }),
            _ => Err(invalid(format!("Cannot cast {} to {to}", self.from))),
        }
    }

    fn each<T, A>(&self, to: &SqlType, code: impl Fn(usize) -> Option<T>) -> Result<ArrayRef>
    where
        A: Array + FromIterator<Option<T>> + 'static,
    {
        let one = |row| {
            if self.array.is_null(row) {
                return Ok(None);
            }
            match code(row) {
                None if !self.lenient => {
                    let quote = if *self.from == SqlType::Varchar { "'" } else { "" };
                    Err(failed(format!("Cannot cast {quote}{}{quote} to {to}", self.text(row))))
                }
                value => Ok(value),
            }
        };
        Ok(Arc::new((0..self.array.len()).map(one).collect::<Result<A>>()?))
    }

    fn counts(&self) -> Counts<'_> {
        Counts::of(self.array)
    }

    fn varchar(&self, row: usize) -> &str {
        self.array.as_string_view().value(row)
    }

    fn float(&self, row: usize) -> f64 {
        self.array.as_primitive::<Float64Type>().value(row)
    }

    fn boolean(&self, row: usize) -> Option<bool> {
        match self.from {
            SqlType::Boolean => Some(self.array.as_boolean().value(row)),
            SqlType::Double => Some(self.float(row) != 0.0),
            SqlType::Varchar => match self.varchar(row).to_ascii_lowercase().as_str() {
                "t" | "true" | "1" => Some(true),
                "f" | "false" | "0" => Some(false),
                _ => None,
            },
            _ => Some(self.counts().at(row) != 0),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
    fn whole(&self, row: usize) -> Option<i64> {
        match self.from {
            SqlType::Boolean => Some(self.array.as_boolean().value(row).into()),
            SqlType::Double => {
                let rounded = self.float(row).round();
                (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0)
                    .contains(&rounded)
                    .then_some(rounded as i64)
            }
            SqlType::Varchar => self.varchar(row).parse().ok(),
            _ => Some(self.counts().at(row)),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "so does Trino")]
    fn double(&self, row: usize) -> Option<f64> {
        match self.from {
            SqlType::Boolean => Some(f64::from(u8::from(self.array.as_boolean().value(row)))),
            SqlType::Double => Some(self.float(row)),
            SqlType::Varchar => match self.varchar(row) {
                "NaN" => Some(f64::NAN),
                "Infinity" | "+Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                digits if digits.contains(['n', 'N']) => None,
                digits => digits.parse().ok(),
            },
            _ => Some(self.counts().at(row) as f64),
        }
    }

    fn text(&self, row: usize) -> String {
        match self.from {
            SqlType::Boolean => self.array.as_boolean().value(row).to_string(),
            SqlType::Double => wire_text::double(self.float(row)),
            SqlType::Varchar => self.varchar(row).to_owned(),
            SqlType::Timestamp => wire_text::timestamp(self.counts().at(row)),
            SqlType::Date => wire_text::date(self.counts().at(row).try_into().unwrap_or_default()),
            SqlType::Time => wire_text::time(self.counts().at(row)),
            SqlType::DaySecond => wire_text::day_second(self.counts().at(row)),
            SqlType::YearMonth => wire_text::year_month(self.counts().at(row).try_into().unwrap_or_default()),
            _ => self.counts().at(row).to_string(),
        }
    }
}

/// `parse_duration(text)`: a literal tells which kind of interval it makes; any other text makes days
/// to seconds.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ParseDuration(Signature);

impl ScalarUDFImpl for ParseDuration {
    fn name(&self) -> &str {
        "parse_duration"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(invalid("parse_duration needs its text"))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let given: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        match given.first().and_then(SqlType::of) {
            Some(SqlType::Varchar | SqlType::Unknown) => {}
            _ => return Err(super::scalar::wrong_call(self.name(), &given, &[], true).into()),
        }
        let of = match literal(&args, 0).and_then(duration::parse) {
            Some(Duration::YearMonth(_)) => SqlType::YearMonth,
            _ => SqlType::DaySecond,
        };
        Ok(nullable(self.name(), of.arrow()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = ColumnarValue::values_to_arrays(&args.args)?;
        let texts = cast(&texts[0], &DataType::Utf8View)?;
        let rows = texts.as_string_view().iter().map(|text| match text {
            None => Ok(None),
            Some(text) => match duration::parse(text) {
                Some(parsed) => Ok(Some(parsed)),
                None => Err(failed(format!("Invalid duration: '{text}'"))),
            },
        });
        let rows: Vec<Option<Duration>> = rows.collect::<Result<_>>()?;
        let result: ArrayRef = match args.return_field.data_type() {
            DataType::Interval(_) => Arc::new(rows.iter().map(months).collect::<IntervalYearMonthArray>()),
            _ => {
                let nanos = rows.iter().map(|row| match row {
                    None => Ok(None),
                    Some(Duration::DaySecond(nanos)) => Ok(Some(*nanos)),
                    Some(Duration::YearMonth(_)) => {
                        Err(failed("a duration that is not a literal cannot be in years or months"))
                    }
                });
                Arc::new(nanos.collect::<Result<DurationNanosecondArray>>()?)
            }
        };
        let scalar = matches!(args.args.as_slice(), [ColumnarValue::Scalar(_)]);
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

fn months(row: &Option<Duration>) -> Option<i32> {
    match row {
        Some(Duration::YearMonth(months)) => Some(*months),
        _ => None,
    }
}
