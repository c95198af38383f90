//! Functions of moments and lengths of time (spec 4.8). Everything is UTC.

use datafusion::arrow::array::{ArrayRef, Date32Array, TimestampNanosecondArray};
use datafusion::common::Result;
use datafusion::logical_expr::Volatility;

use super::calendar::{self, Length, Unit};
use super::scalar::{Call, Def, def};
use crate::query::duration::DAY;
use crate::query::error::failed;

pub(super) const FUNCTIONS: &[Def] = &[
    Def {
        name: "ago",
        forms: &[
            ("ago(interval day to second, timestamp) -> timestamp", |call| {
                shifted(call, |now, length| now.checked_sub(length))
            }),
            ("ago(interval year to month, timestamp) -> timestamp", |call| {
                shifted(call, |now, months| {
                    let days = calendar::add_months(now.div_euclid(DAY), months.checked_neg()?)?;
                    days.checked_mul(DAY)?.checked_add(now.rem_euclid(DAY))
                })
            }),
        ],
        volatility: Volatility::Immutable,
        wrong_call_is_syntax: true,
    },
    def(
        "bin",
        &[
            ("bin(timestamp, interval day to second) -> timestamp", bin),
            ("bin(timestamp, interval year to month) -> timestamp", bin_months),
        ],
    ),
    def(
        "date_trunc",
        &[
            ("date_trunc(varchar, timestamp) -> timestamp", |call| {
                call.map::<_, TimestampNanosecondArray>(|row| {
                    truncate(unit(call, row)?, call.count(1).at(row)).map(Some)
                })
            }),
            ("date_trunc(varchar, date) -> date", |call| {
                call.map::<_, Date32Array>(|row| {
                    let days = calendar::truncate(call.count(1).at(row), unit(call, row)?);
                    days.and_then(|days| days.try_into().ok()).map(Some).ok_or_else(|| wrong_unit(call, row))
                })
            }),
        ],
    ),
];

fn shifted(call: &Call<'_>, code: impl Fn(i64, i64) -> Option<i64>) -> Result<ArrayRef> {
    let (lengths, now) = (call.count(0), call.count(1));
    call.map::<_, TimestampNanosecondArray>(|row| {
        let moment = code(now.at(row), lengths.at(row));
        moment.map(Some).ok_or_else(|| failed("ago() reaches beyond the earliest timestamp"))
    })
}

/// Bins are anchored at the epoch; times before it are floored too.
fn bin(call: &Call<'_>) -> Result<ArrayRef> {
    let (moments, widths) = (call.count(0), call.count(1));
    call.map::<_, TimestampNanosecondArray>(|row| {
        let (moment, width) = (moments.at(row), widths.at(row));
        if width <= 0 {
            return Err(failed("the interval of bin() must be greater than zero"));
        }
        let binned = moment.checked_sub(moment.rem_euclid(width));
        binned.map(Some).ok_or_else(|| failed("bin() reaches beyond the earliest timestamp"))
    })
}

/// Bins of whole months, counted from January 1970.
fn bin_months(call: &Call<'_>) -> Result<ArrayRef> {
    use chrono::Datelike;
    let (moments, widths) = (call.count(0), call.count(1));
    call.map::<_, TimestampNanosecondArray>(|row| {
        let width = widths.at(row);
        if width <= 0 {
            return Err(failed("the interval of bin() must be greater than zero"));
        }
        let binned = calendar::date(moments.at(row).div_euclid(DAY)).and_then(|date| {
            let month = (i64::from(date.year()) - 1970) * 12 + i64::from(date.month0());
            calendar::add_months(0, month.div_euclid(width) * width)?.checked_mul(DAY)
        });
        binned.map(Some).ok_or_else(|| failed("bin() reaches beyond the earliest timestamp"))
    })
}

fn wrong_unit(call: &Call<'_>, row: usize) -> datafusion::common::DataFusionError {
    failed(format!("'{}' is not a valid unit", call.text(0).value(row)))
}

fn unit(call: &Call<'_>, row: usize) -> Result<Unit> {
    Unit::named(call.text(0).value(row)).ok_or_else(|| wrong_unit(call, row))
}

fn truncate(unit: Unit, moment: i64) -> Result<i64> {
    let truncated = match unit.length() {
        Length::Nanos(nanos) if nanos <= DAY => moment.checked_sub(moment.rem_euclid(nanos)),
        _ => calendar::truncate(moment.div_euclid(DAY), unit).and_then(|days| days.checked_mul(DAY)),
    };
    truncated.ok_or_else(|| failed("timestamp out of range"))
}
