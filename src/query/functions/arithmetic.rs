//! `+ - * / %` on integers, moments and lengths of time. `operators` calls these; doubles stay with
//! DataFusion.

use datafusion::arrow::array::{
    ArrayRef, Date32Array, Datum, DurationNanosecondArray, Int32Array, Int64Array, IntervalYearMonthArray,
    Time64NanosecondArray, TimestampNanosecondArray,
};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result};

use super::calendar::add_months;
use super::scalar::{Call, Def, def};
use crate::query::duration::DAY;
use crate::query::error::failed;
use crate::query::sql_type::SqlType;

pub(super) const FUNCTIONS: &[Def] = &[
    def(
        "__add",
        &[
            ("+(integer, integer) -> integer", |call| integers(call, "addition", "+", numeric::add)),
            ("+(bigint, bigint) -> bigint", |call| integers(call, "addition", "+", numeric::add)),
            ("+(double, double) -> double", |call| doubles(call, numeric::add)),
            ("+(timestamp, interval day to second) -> timestamp", |call| shift_timestamp(call, 0, 1, 1)),
            ("+(interval day to second, timestamp) -> timestamp", |call| shift_timestamp(call, 1, 0, 1)),
            ("+(timestamp, interval year to month) -> timestamp", |call| {
                shift_timestamp_months(call, 0, 1, 1)
            }),
            ("+(interval year to month, timestamp) -> timestamp", |call| {
                shift_timestamp_months(call, 1, 0, 1)
            }),
            ("+(date, interval day to second) -> date", |call| shift_date(call, 0, 1, 1)),
            ("+(interval day to second, date) -> date", |call| shift_date(call, 1, 0, 1)),
            ("+(date, interval year to month) -> date", |call| shift_date_months(call, 0, 1, 1)),
            ("+(interval year to month, date) -> date", |call| shift_date_months(call, 1, 0, 1)),
            ("+(time, interval day to second) -> time", |call| shift_time(call, 0, 1, 1)),
            ("+(interval day to second, time) -> time", |call| shift_time(call, 1, 0, 1)),
            ("+(interval day to second, interval day to second) -> interval day to second", |call| {
                lengths(call, i64::checked_add)
            }),
            ("+(interval year to month, interval year to month) -> interval year to month", |call| {
                months(call, i64::checked_add)
            }),
        ],
    ),
    def(
        "__subtract",
        &[
            ("-(integer, integer) -> integer", |call| integers(call, "subtraction", "-", numeric::sub)),
            ("-(bigint, bigint) -> bigint", |call| integers(call, "subtraction", "-", numeric::sub)),
            ("-(double, double) -> double", |call| doubles(call, numeric::sub)),
            ("-(timestamp, interval day to second) -> timestamp", |call| shift_timestamp(call, 0, 1, -1)),
            ("-(timestamp, interval year to month) -> timestamp", |call| {
                shift_timestamp_months(call, 0, 1, -1)
            }),
            ("-(date, interval day to second) -> date", |call| shift_date(call, 0, 1, -1)),
            ("-(date, interval year to month) -> date", |call| shift_date_months(call, 0, 1, -1)),
            ("-(time, interval day to second) -> time", |call| shift_time(call, 0, 1, -1)),
            ("-(interval day to second, interval day to second) -> interval day to second", |call| {
                lengths(call, i64::checked_sub)
            }),
            ("-(interval year to month, interval year to month) -> interval year to month", |call| {
                months(call, i64::checked_sub)
            }),
            ("-(date, date) -> interval day to second", |call| {
                lengths(call, |a, b| a.checked_sub(b)?.checked_mul(DAY))
            }),
            ("-(time, time) -> interval day to second", |call| lengths(call, i64::checked_sub)),
            ("-(timestamp, timestamp) -> interval day to second", |call| lengths(call, i64::checked_sub)),
        ],
    ),
    def(
        "__multiply",
        &[
            ("*(integer, integer) -> integer", |call| integers(call, "multiplication", "*", numeric::mul)),
            ("*(bigint, bigint) -> bigint", |call| integers(call, "multiplication", "*", numeric::mul)),
            ("*(double, double) -> double", |call| doubles(call, numeric::mul)),
            ("*(interval day to second, bigint) -> interval day to second", |call| {
                lengths(call, i64::checked_mul)
            }),
            ("*(bigint, interval day to second) -> interval day to second", |call| {
                lengths(call, i64::checked_mul)
            }),
            ("*(interval day to second, double) -> interval day to second", |call| {
                scaled(call, 0, 1, |a, b| a * b)
            }),
            ("*(double, interval day to second) -> interval day to second", |call| {
                scaled(call, 1, 0, |a, b| a * b)
            }),
            ("*(interval year to month, bigint) -> interval year to month", |call| {
                months(call, i64::checked_mul)
            }),
            ("*(bigint, interval year to month) -> interval year to month", |call| {
                months(call, i64::checked_mul)
            }),
        ],
    ),
    def(
        "__divide",
        &[
            ("/(integer, integer) -> integer", |call| integers(call, "division", "/", numeric::div)),
            ("/(bigint, bigint) -> bigint", |call| integers(call, "division", "/", numeric::div)),
            ("/(double, double) -> double", |call| doubles(call, numeric::div)),
            ("/(interval day to second, double) -> interval day to second", |call| {
                // What stands under a NULL means nothing.
                let by_zero = |row: usize| call.all_valid(row) && call.double(1).value(row) == 0.0;
                if (0..call.rows).any(by_zero) {
                    return Err(failed("Division by zero"));
                }
                scaled(call, 0, 1, |a, b| a / b)
            }),
        ],
    ),
    def(
        "__modulus",
        &[
            ("%(integer, integer) -> integer", |call| integers(call, "modulus", "%", numeric::rem)),
            ("%(bigint, bigint) -> bigint", |call| integers(call, "modulus", "%", numeric::rem)),
            ("%(double, double) -> double", |call| doubles(call, numeric::rem)),
        ],
    ),
    def(
        "__negate",
        &[
            ("-(integer) -> integer", |call| {
                call.map::<_, Int32Array>(|row| {
                    let value = call.integer(0).value(row);
                    value.checked_neg().map(Some).ok_or_else(|| negated("integer", value.into()))
                })
            }),
            ("-(bigint) -> bigint", |call| {
                call.map::<_, Int64Array>(|row| {
                    let value = call.bigint(0).value(row);
                    value.checked_neg().map(Some).ok_or_else(|| negated("bigint", value))
                })
            }),
            ("-(interval day to second) -> interval day to second", |call| {
                call.map::<_, DurationNanosecondArray>(|row| in_range(call.count(0).at(row).checked_neg()))
            }),
            ("-(interval year to month) -> interval year to month", |call| {
                call.map::<_, IntervalYearMonthArray>(|row| narrow(call.count(0).at(row).checked_neg()))
            }),
        ],
    ),
];

type Kernel = fn(&dyn Datum, &dyn Datum) -> std::result::Result<ArrayRef, ArrowError>;

/// Arrow's checked kernels, with Trino's words for what goes wrong.
fn integers(call: &Call<'_>, name: &str, sign: &str, kernel: Kernel) -> Result<ArrayRef> {
    let [left, right] = call.args else { return Err(failed("two operands expected")) };
    kernel(left, right).map_err(|error| match error {
        ArrowError::DivideByZero => failed("Division by zero"),
        ArrowError::ArithmeticOverflow(_) => {
            let overflows = |row: &usize| {
                let one = |array: &ArrayRef| array.slice(*row, 1);
                kernel(&one(left), &one(right)).is_err()
            };
            let row = (0..call.rows).find(overflows).unwrap_or_default();
            let (a, b) = (call.count(0).at(row), call.count(1).at(row));
            let of = SqlType::name_of(left.data_type());
            failed(format!("{of} {name} overflow: {a} {sign} {b}"))
        }
        other => other.into(),
    })
}

/// Doubles come here only beside an operand whose type was not known in time; IEEE has no errors.
fn doubles(call: &Call<'_>, kernel: Kernel) -> Result<ArrayRef> {
    let [left, right] = call.args else { return Err(failed("two operands expected")) };
    Ok(kernel(left, right)?)
}

fn negated(of: &str, value: i64) -> DataFusionError {
    failed(format!("{of} negation overflow: {value}"))
}

fn in_range(value: Option<i64>) -> Result<Option<i64>> {
    match value {
        Some(value) => Ok(Some(value)),
        None => Err(failed("time or interval out of range")),
    }
}

fn narrow(value: Option<i64>) -> Result<Option<i32>> {
    match value.map(i32::try_from) {
        Some(Ok(value)) => Ok(Some(value)),
        _ => Err(failed("date or interval out of range")),
    }
}

fn shift_timestamp(call: &Call<'_>, moment: usize, length: usize, sign: i64) -> Result<ArrayRef> {
    let (moments, lengths) = (call.count(moment), call.count(length));
    call.map::<_, TimestampNanosecondArray>(|row| {
        in_range(lengths.at(row).checked_mul(sign).and_then(|length| moments.at(row).checked_add(length)))
    })
}

fn shift_timestamp_months(call: &Call<'_>, moment: usize, length: usize, sign: i64) -> Result<ArrayRef> {
    let (moments, lengths) = (call.count(moment), call.count(length));
    call.map::<_, TimestampNanosecondArray>(|row| {
        let moment = moments.at(row);
        let months = lengths.at(row).checked_mul(sign);
        let days = months.and_then(|months| add_months(moment.div_euclid(DAY), months));
        in_range(days.and_then(|days| days.checked_mul(DAY)?.checked_add(moment.rem_euclid(DAY))))
    })
}

fn shift_date(call: &Call<'_>, date: usize, length: usize, sign: i64) -> Result<ArrayRef> {
    let (dates, lengths) = (call.count(date), call.count(length));
    call.map::<_, Date32Array>(|row| {
        let length = lengths.at(row);
        if length % DAY != 0 {
            return Err(failed("Cannot add hour, minutes or seconds to a date"));
        }
        narrow(dates.at(row).checked_add(length / DAY * sign))
    })
}

fn shift_date_months(call: &Call<'_>, date: usize, length: usize, sign: i64) -> Result<ArrayRef> {
    let (dates, lengths) = (call.count(date), call.count(length));
    call.map::<_, Date32Array>(|row| narrow(add_months(dates.at(row), lengths.at(row) * sign)))
}

/// A time of day wraps around midnight.
fn shift_time(call: &Call<'_>, time: usize, length: usize, sign: i64) -> Result<ArrayRef> {
    let (times, lengths) = (call.count(time), call.count(length));
    call.map::<_, Time64NanosecondArray>(|row| {
        Ok(Some((times.at(row) + sign * (lengths.at(row) % DAY)).rem_euclid(DAY)))
    })
}

fn lengths(call: &Call<'_>, code: impl Fn(i64, i64) -> Option<i64>) -> Result<ArrayRef> {
    let (left, right) = (call.count(0), call.count(1));
    call.map::<_, DurationNanosecondArray>(|row| in_range(code(left.at(row), right.at(row))))
}

fn months(call: &Call<'_>, code: impl Fn(i64, i64) -> Option<i64>) -> Result<ArrayRef> {
    let (left, right) = (call.count(0), call.count(1));
    call.map::<_, IntervalYearMonthArray>(|row| narrow(code(left.at(row), right.at(row))))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a factor with a fraction makes the length approximate; the range is checked"
)]
fn scaled(call: &Call<'_>, length: usize, factor: usize, code: fn(f64, f64) -> f64) -> Result<ArrayRef> {
    let (lengths, factors) = (call.count(length), call.double(factor));
    call.map::<_, DurationNanosecondArray>(|row| {
        let scaled = code(lengths.at(row) as f64, factors.value(row)).round();
        in_range((scaled.abs() < 9.2e18).then_some(scaled as i64))
    })
}
