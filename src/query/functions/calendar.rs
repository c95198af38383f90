//! Months, weeks and days of the proleptic Gregorian calendar, counted from 1970-01-01.

use chrono::{Datelike, Months, NaiveDate};

/// The date `days` after 1970-01-01.
pub(super) fn date(days: i64) -> Option<NaiveDate> {
    NaiveDate::from_epoch_days(i32::try_from(days).ok()?)
}

/// Days from 1970-01-01 to `date`.
pub(super) fn days(date: NaiveDate) -> i64 {
    date.to_epoch_days().into()
}

/// `days` moved by whole months; the day is held at the month's end (31 January + 1 month is the last
/// of February).
pub(super) fn add_months(from: i64, months: i64) -> Option<i64> {
    let magnitude = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    let from = date(from)?;
    let moved = match months < 0 {
        true => from.checked_sub_months(magnitude),
        false => from.checked_add_months(magnitude),
    };
    moved.map(days)
}

/// The first day of the unit `days` lies in; nothing for a unit shorter than a day.
pub(super) fn truncate(from: i64, unit: Unit) -> Option<i64> {
    let date = date(from)?;
    let first = |month| NaiveDate::from_ymd_opt(date.year(), month, 1).map(days);
    match unit {
        Unit::Day => Some(from),
        Unit::Week => Some(from - i64::from(date.weekday().num_days_from_monday())),
        Unit::Month => first(date.month()),
        Unit::Quarter => first((date.month() - 1) / 3 * 3 + 1),
        Unit::Year => first(1),
        _ => None,
    }
}

/// A unit of `date_trunc`, `date_add` and `date_diff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Nanosecond,
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    /// The unit called `name`, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "nanosecond" => Self::Nanosecond,
            "microsecond" => Self::Microsecond,
            "millisecond" => Self::Millisecond,
            "second" => Self::Second,
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "quarter" => Self::Quarter,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// How many nanoseconds it has, or how many months.
    pub(super) fn length(self) -> Length {
        use crate::query::duration::{DAY, HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND};
        match self {
            Self::Nanosecond => Length::Nanos(1),
            Self::Microsecond => Length::Nanos(MICROSECOND),
            Self::Millisecond => Length::Nanos(MILLISECOND),
            Self::Second => Length::Nanos(SECOND),
            Self::Minute => Length::Nanos(MINUTE),
            Self::Hour => Length::Nanos(HOUR),
            Self::Day => Length::Nanos(DAY),
            Self::Week => Length::Nanos(7 * DAY),
            Self::Month => Length::Months(1),
            Self::Quarter => Length::Months(3),
            Self::Year => Length::Months(12),
        }
    }
}

/// How long a [`Unit`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Nanos(i64),
    Months(i64),
}

/// A date by its week (`2022-W10-1`, `2022-W10`) or by its day of the year (`2022-198`), in days.
pub(super) fn parse_week_or_ordinal(text: &str) -> Option<i32> {
    let (year, rest) = text.split_once('-')?;
    let year: i32 = (year.len() == 4).then(|| year.parse().ok())??;
    let date = match rest.strip_prefix('W') {
        Some(week) => {
            let (week, day) = week.split_once('-').unwrap_or((week, "1"));
            let weekday = chrono::Weekday::try_from(day.parse::<u8>().ok()?.checked_sub(1)?).ok()?;
            NaiveDate::from_isoywd_opt(year, week.parse().ok()?, weekday)?
        }
        None => NaiveDate::from_yo_opt(year, (rest.len() == 3).then(|| rest.parse().ok())??)?,
    };
    Some(date.to_epoch_days())
}
