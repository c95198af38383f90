//! Functions of moments and lengths of time (spec 4.8). Everything is UTC.

use std::sync::Arc;

use chrono::Datelike;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Float64Array, Int64Array, StringViewArray, Time64NanosecondArray,
    TimestampNanosecondArray,
};
use datafusion::arrow::datatypes::TimestampNanosecondType;
use datafusion::common::Result;
use datafusion::logical_expr::Volatility;

use super::calendar::{self, Length, Unit};
use super::scalar::{Call, Code, Def, def};
use crate::query::duration::{DAY, HOUR, MILLISECOND, MINUTE, SECOND};
use crate::query::error::failed;
use crate::query::wire_text;

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
                if call.is_constant(0)
                    && let Ok(unit) = unit(call, 0)
                    && let Length::Nanos(length) = unit.length()
                    && length <= DAY
                {
                    return steps(call, 1, length, |moment| truncate(unit, moment));
                }
                call.map::<_, TimestampNanosecondArray>(|row| {
                    truncate(unit(call, row)?, call.count(1).at(row)).map(Some)
                })
            }),
            ("date_trunc(varchar, time) -> time", |call| {
                call.map::<_, Time64NanosecondArray>(|row| match unit(call, row)?.length() {
                    Length::Nanos(nanos) if nanos < DAY => {
                        let time = call.count(1).at(row);
                        Ok(Some(time - time.rem_euclid(nanos)))
                    }
                    _ => Err(wrong_unit(call, row)),
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
    def(
        "current_timezone",
        &[("current_timezone() -> varchar", |call| {
            Ok(Arc::new(StringViewArray::from(vec!["UTC"; call.rows])))
        })],
    ),
    def(
        "date",
        &[
            ("date(date) -> date", |call| Ok(Arc::clone(&call.args[0]))),
            ("date(timestamp) -> date", |call| {
                call.map::<_, Date32Array>(|row| days(call.count(0).at(row).div_euclid(DAY)))
            }),
        ],
    ),
    def(
        "last_day_of_month",
        &[
            ("last_day_of_month(date) -> date", |call| {
                call.map::<_, Date32Array>(|row| last_day(call.count(0).at(row)))
            }),
            ("last_day_of_month(timestamp) -> date", |call| {
                call.map::<_, Date32Array>(|row| last_day(call.count(0).at(row).div_euclid(DAY)))
            }),
        ],
    ),
    def(
        "from_iso8601_timestamp",
        &[("from_iso8601_timestamp(varchar) -> timestamp", |call| {
            call.map::<_, TimestampNanosecondArray>(|row| {
                let text = call.text(0).value(row);
                let moment = wire_text::parse_timestamp(text);
                moment.map(Some).ok_or_else(|| failed(format!("Invalid format: \"{text}\"")))
            })
        })],
    ),
    def(
        "from_iso8601_date",
        &[("from_iso8601_date(varchar) -> date", |call| {
            call.map::<_, Date32Array>(|row| {
                let text = call.text(0).value(row);
                wire_text::parse_date(text)
                    .or_else(|| calendar::parse_week_or_ordinal(text))
                    .map(Some)
                    .ok_or_else(|| failed(format!("Invalid format: \"{text}\"")))
            })
        })],
    ),
    def(
        "to_iso8601",
        &[
            ("to_iso8601(date) -> varchar", |call| {
                call.map_text(|row| Ok(call.count(0).at(row).try_into().ok().map(wire_text::date)))
            }),
            ("to_iso8601(timestamp) -> varchar", |call| {
                call.map_text(|row| Ok(Some(wire_text::iso_timestamp(call.count(0).at(row)))))
            }),
        ],
    ),
    def(
        "from_milliseconds",
        &[("from_milliseconds(bigint) -> timestamp", |call| {
            call.map::<_, TimestampNanosecondArray>(|row| {
                moment(call.bigint(0).value(row).checked_mul(MILLISECOND))
            })
        })],
    ),
    def(
        "from_nanoseconds",
        &[("from_nanoseconds(bigint) -> timestamp", |call| {
            call.map::<_, TimestampNanosecondArray>(|row| Ok(Some(call.bigint(0).value(row))))
        })],
    ),
    def(
        "from_unixtime",
        &[("from_unixtime(double) -> timestamp", |call| {
            call.map::<_, TimestampNanosecondArray>(|row| from_unixtime(call.double(0).value(row)))
        })],
    ),
    def(
        "to_milliseconds",
        &[
            ("to_milliseconds(interval day to second) -> bigint", |call| counted(call, MILLISECOND)),
            ("to_milliseconds(timestamp) -> bigint", |call| counted(call, MILLISECOND)),
        ],
    ),
    def(
        "to_nanoseconds",
        &[
            ("to_nanoseconds(interval day to second) -> bigint", |call| counted(call, 1)),
            ("to_nanoseconds(timestamp) -> bigint", |call| counted(call, 1)),
        ],
    ),
    def(
        "to_unixtime",
        &[("to_unixtime(timestamp) -> double", |call| {
            #[expect(clippy::cast_precision_loss, reason = "the documented result shows this very loss")]
            call.map::<_, Float64Array>(|row| Ok(Some(call.count(0).at(row) as f64 / 1e9)))
        })],
    ),
    def(
        "date_add",
        &[
            ("date_add(varchar, bigint, timestamp) -> timestamp", |call| {
                call.map::<_, TimestampNanosecondArray>(|row| {
                    moment(added(unit(call, row)?, call.bigint(1).value(row), call.count(2).at(row)))
                })
            }),
            ("date_add(varchar, bigint, date) -> date", |call| {
                call.map::<_, Date32Array>(|row| {
                    let unit = unit(call, row)?;
                    if matches!(unit.length(), Length::Nanos(nanos) if nanos < DAY) {
                        return Err(wrong_unit(call, row));
                    }
                    let midnight = call.count(2).at(row).checked_mul(DAY);
                    let moved = midnight.and_then(|at| added(unit, call.bigint(1).value(row), at));
                    days(moved.ok_or_else(|| failed("date out of range"))?.div_euclid(DAY))
                })
            }),
            ("date_add(varchar, bigint, time) -> time", |call| {
                call.map::<_, Time64NanosecondArray>(|row| match unit(call, row)?.length() {
                    Length::Nanos(nanos) if nanos < DAY => {
                        let moved = i128::from(nanos) * i128::from(call.bigint(1).value(row));
                        let time = (i128::from(call.count(2).at(row)) + moved).rem_euclid(DAY.into());
                        Ok(i64::try_from(time).ok())
                    }
                    _ => Err(wrong_unit(call, row)),
                })
            }),
        ],
    ),
    def(
        "date_diff",
        &[
            ("date_diff(varchar, timestamp, timestamp) -> bigint", |call| difference(call, 1)),
            ("date_diff(varchar, date, date) -> bigint", |call| difference(call, DAY)),
            ("date_diff(varchar, time, time) -> bigint", |call| difference(call, 1)),
        ],
    ),
    def("year", YEAR),
    def(
        "quarter",
        &[
            ("quarter(timestamp) -> bigint", |call| {
                of_date(call, DAY, |date| (date.month0() / 3 + 1).into())
            }),
            ("quarter(date) -> bigint", |call| of_date(call, 1, |date| (date.month0() / 3 + 1).into())),
        ],
    ),
    def("month", MONTH),
    def("week", WEEK),
    def("week_of_year", WEEK),
    def("day", DAY_OF_MONTH),
    def("day_of_month", DAY_OF_MONTH),
    def("day_of_week", DAY_OF_WEEK),
    def("dow", DAY_OF_WEEK),
    def("day_of_year", DAY_OF_YEAR),
    def("doy", DAY_OF_YEAR),
    def("year_of_week", YEAR_OF_WEEK),
    def("yow", YEAR_OF_WEEK),
    def(
        "hour",
        &[
            ("hour(timestamp) -> bigint", |call| of_clock(call, HOUR, 24)),
            ("hour(time) -> bigint", |call| of_clock(call, HOUR, 24)),
            ("hour(interval day to second) -> bigint", |call| of_length(call, HOUR, 24)),
        ],
    ),
    def(
        "minute",
        &[
            ("minute(timestamp) -> bigint", |call| of_clock(call, MINUTE, 60)),
            ("minute(time) -> bigint", |call| of_clock(call, MINUTE, 60)),
            ("minute(interval day to second) -> bigint", |call| of_length(call, MINUTE, 60)),
        ],
    ),
    def(
        "second",
        &[
            ("second(timestamp) -> bigint", |call| of_clock(call, SECOND, 60)),
            ("second(time) -> bigint", |call| of_clock(call, SECOND, 60)),
            ("second(interval day to second) -> bigint", |call| of_length(call, SECOND, 60)),
        ],
    ),
    def(
        "millisecond",
        &[
            ("millisecond(timestamp) -> bigint", |call| of_clock(call, MILLISECOND, 1_000)),
            ("millisecond(time) -> bigint", |call| of_clock(call, MILLISECOND, 1_000)),
            ("millisecond(interval day to second) -> bigint", |call| of_length(call, MILLISECOND, 1_000)),
        ],
    ),
    def(
        "nanosecond",
        &[
            ("nanosecond(timestamp) -> bigint", |call| of_clock(call, 1, SECOND)),
            ("nanosecond(time) -> bigint", |call| of_clock(call, 1, SECOND)),
            ("nanosecond(interval day to second) -> bigint", |call| of_length(call, 1, SECOND)),
        ],
    ),
];

const YEAR: &[(&str, Code)] = &[
    ("year(timestamp) -> bigint", |call| of_date(call, DAY, |date| date.year().into())),
    ("year(date) -> bigint", |call| of_date(call, 1, |date| date.year().into())),
    ("year(interval year to month) -> bigint", |call| {
        call.map::<_, Int64Array>(|row| Ok(Some(call.count(0).at(row) / 12)))
    }),
];

const MONTH: &[(&str, Code)] = &[
    ("month(timestamp) -> bigint", |call| of_date(call, DAY, |date| date.month().into())),
    ("month(date) -> bigint", |call| of_date(call, 1, |date| date.month().into())),
    ("month(interval year to month) -> bigint", |call| {
        call.map::<_, Int64Array>(|row| Ok(Some(call.count(0).at(row) % 12)))
    }),
];

const WEEK: &[(&str, Code)] = &[
    ("week(timestamp) -> bigint", |call| of_date(call, DAY, |date| date.iso_week().week().into())),
    ("week(date) -> bigint", |call| of_date(call, 1, |date| date.iso_week().week().into())),
];

const DAY_OF_MONTH: &[(&str, Code)] = &[
    ("day(timestamp) -> bigint", |call| of_date(call, DAY, |date| date.day().into())),
    ("day(date) -> bigint", |call| of_date(call, 1, |date| date.day().into())),
    ("day(interval day to second) -> bigint", |call| {
        call.map::<_, Int64Array>(|row| Ok(Some(call.count(0).at(row) / DAY)))
    }),
];

const DAY_OF_WEEK: &[(&str, Code)] = &[
    ("day_of_week(timestamp) -> bigint", |call| {
        of_date(call, DAY, |date| date.weekday().number_from_monday().into())
    }),
    ("day_of_week(date) -> bigint", |call| {
        of_date(call, 1, |date| date.weekday().number_from_monday().into())
    }),
];

const DAY_OF_YEAR: &[(&str, Code)] = &[
    ("day_of_year(timestamp) -> bigint", |call| of_date(call, DAY, |date| date.ordinal().into())),
    ("day_of_year(date) -> bigint", |call| of_date(call, 1, |date| date.ordinal().into())),
];

const YEAR_OF_WEEK: &[(&str, Code)] = &[
    ("year_of_week(timestamp) -> bigint", |call| of_date(call, DAY, |date| date.iso_week().year().into())),
    ("year_of_week(date) -> bigint", |call| of_date(call, 1, |date| date.iso_week().year().into())),
];

/// A part of the date of a timestamp, or of a date if `unit` is one.
fn of_date(call: &Call<'_>, unit: i64, part: fn(chrono::NaiveDate) -> i64) -> Result<ArrayRef> {
    let moments = call.count(0);
    call.map::<_, Int64Array>(|row| Ok(calendar::date(moments.at(row).div_euclid(unit)).map(part)))
}

/// A part of the time of day.
fn of_clock(call: &Call<'_>, unit: i64, of: i64) -> Result<ArrayRef> {
    let moments = call.count(0);
    call.map::<_, Int64Array>(|row| Ok(Some(moments.at(row).div_euclid(unit).rem_euclid(of))))
}

/// A part of a length of time, negative if that is.
fn of_length(call: &Call<'_>, unit: i64, of: i64) -> Result<ArrayRef> {
    let lengths = call.count(0);
    call.map::<_, Int64Array>(|row| Ok(Some(lengths.at(row) / unit % of)))
}

fn counted(call: &Call<'_>, unit: i64) -> Result<ArrayRef> {
    call.map::<_, Int64Array>(|row| Ok(Some(call.count(0).at(row).div_euclid(unit))))
}

fn days(days: i64) -> Result<Option<i32>> {
    days.try_into().map(Some).map_err(|_| failed("date out of range"))
}

fn moment(nanos: Option<i64>) -> Result<Option<i64>> {
    nanos.map(Some).ok_or_else(|| failed("timestamp out of range"))
}

fn last_day(of: i64) -> Result<Option<i32>> {
    let first = calendar::truncate(of, Unit::Month).and_then(|first| calendar::add_months(first, 1));
    days(first.ok_or_else(|| failed("date out of range"))? - 1)
}

/// To the nearest millisecond: a double of today's seconds cannot tell much more.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn from_unixtime(seconds: f64) -> Result<Option<i64>> {
    if !(-9.3e9..9.3e9).contains(&seconds) {
        return Err(failed("timestamp out of range"));
    }
    moment(((seconds * 1e3).round() as i64).checked_mul(MILLISECOND))
}

fn added(unit: Unit, count: i64, to: i64) -> Option<i64> {
    match unit.length() {
        Length::Nanos(nanos) => to.checked_add(nanos.checked_mul(count)?),
        Length::Months(months) => {
            let days = calendar::add_months(to.div_euclid(DAY), months.checked_mul(count)?)?;
            days.checked_mul(DAY)?.checked_add(to.rem_euclid(DAY))
        }
    }
}

/// Whole units from the first to the second; `nanos` is how many nanoseconds one of the operands'
/// counts is.
fn difference(call: &Call<'_>, nanos: i64) -> Result<ArrayRef> {
    let (from, to) = (call.count(1), call.count(2));
    call.map::<_, Int64Array>(|row| {
        let at = |count: i64| count.checked_mul(nanos).ok_or_else(|| failed("date out of range"));
        let (from, to) = (at(from.at(row))?, at(to.at(row))?);
        match unit(call, row)?.length() {
            Length::Nanos(unit) => {
                Ok(i64::try_from((i128::from(to) - i128::from(from)) / i128::from(unit)).ok())
            }
            Length::Months(unit) => Ok(months_between(from, to).map(|months| months / unit)),
        }
    })
}

/// Whole months: as many as can be added to `from` without passing `to`.
fn months_between(from: i64, to: i64) -> Option<i64> {
    let month = |moment: i64| {
        calendar::date(moment.div_euclid(DAY))
            .map(|date| i64::from(date.year()) * 12 + i64::from(date.month0()))
    };
    let months = month(to)? - month(from)?;
    let reached = added(Unit::Month, months, from)?;
    Some(match (months > 0 && reached > to, months < 0 && reached < to) {
        (true, _) => months - 1,
        (_, true) => months + 1,
        _ => months,
    })
}

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
    if call.is_constant(1) {
        let width = widths.at(0);
        return steps(call, 0, width, |moment| bin_start(moment, width));
    }
    call.map::<_, TimestampNanosecondArray>(|row| bin_start(moments.at(row), widths.at(row)).map(Some))
}

fn bin_start(moment: i64, width: i64) -> Result<i64> {
    if width <= 0 {
        return Err(failed("the interval of bin() must be greater than zero"));
    }
    let start = moment.checked_sub(moment.rem_euclid(width));
    start.ok_or_else(|| failed("bin() reaches beyond the earliest timestamp"))
}

/// Where the steps of one length begin that the timestamps of an operand fall in. Rows of one series lie
/// side by side in the order of their times, so most fall in the step of the row before: comparing is
/// cheaper than dividing.
fn steps(
    call: &Call<'_>,
    operand: usize,
    length: i64,
    start: impl Fn(i64) -> Result<i64>,
) -> Result<ArrayRef> {
    call.allowance.check()?;
    let moments = call.args[operand].as_primitive::<TimestampNanosecondType>();
    let mut starts = Vec::with_capacity(moments.len());
    let mut step = 0..0;
    for (row, moment) in moments.values().iter().enumerate() {
        if !step.contains(moment) {
            step = match start(*moment) {
                Ok(start) => start..start.saturating_add(length),
                // What stands under a NULL means nothing.
                Err(_) if moments.is_null(row) => 0..0,
                Err(error) => return Err(error),
            };
        }
        starts.push(step.start);
    }
    Ok(Arc::new(TimestampNanosecondArray::new(starts.into(), moments.nulls().cloned())))
}

/// Bins of whole months, counted from January 1970.
fn bin_months(call: &Call<'_>) -> Result<ArrayRef> {
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
