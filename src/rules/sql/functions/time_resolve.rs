//! What was read from a text, field by field, becomes a moment, by java.time's SMART rules: the 31st of a
//! shorter month is its last day, 24:00 is the next day's midnight, a date alone is its first moment, a time
//! without a zone is UTC; fields that contradict one another are no moment.

use std::collections::BTreeMap;

use chrono::{Datelike as _, Days, NaiveDate, NaiveDateTime, NaiveTime};

use super::zone::Zone;

/// A field of a date or a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    /// 0 before Christ, 1 after.
    Era,
    /// With years before the year 1 counted on below 0.
    Year,
    YearOfEra,
    Quarter,
    Month,
    Day,
    DayOfYear,
    /// Monday is 1.
    DayOfWeek,
    /// 0 before noon, 1 after.
    HalfDay,
    /// 1 to 12.
    HourOfHalfDay1,
    /// 0 to 11.
    HourOfHalfDay0,
    /// 1 to 24.
    Hour1,
    /// 0 to 23.
    Hour,
    Minute,
    Second,
    Nano,
    MilliOfDay,
    NanoOfDay,
}

/// The fields read so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    values: BTreeMap<Field, i64>,
    zone: Option<Zone>,
    offset: Option<i32>,
}

impl Fields {
    /// Sets a field; `None` when it has another value already.
    pub(super) fn set(&mut self, field: Field, value: i64) -> Option<()> {
        (*self.values.entry(field).or_insert(value) == value).then_some(())
    }

    /// Sets the zone; `None` when there is another already.
    pub(super) fn set_zone(&mut self, zone: Zone) -> Option<()> {
        (*self.zone.get_or_insert(zone) == zone).then_some(())
    }

    /// Sets the offset in seconds; `None` when there is another already.
    pub(super) fn set_offset(&mut self, seconds: i32) -> Option<()> {
        (*self.offset.get_or_insert(seconds) == seconds).then_some(())
    }

    /// The moment in milliseconds since 1970.
    pub(super) fn millis(&self) -> Option<i64> {
        let date = self.date()?;
        let local = match self.time()? {
            (time, false) => date.and_time(time),
            (time, true) => date.checked_add_days(Days::new(1))?.and_time(time),
        };
        self.utc(local).map(|utc| utc.and_utc().timestamp_millis())
    }

    fn utc(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let zone = self.zone.or(self.offset.map(Zone::Fixed)).unwrap_or(Zone::UTC);
        zone.utc_of(local)
    }

    fn get(&self, field: Field) -> Option<i64> {
        self.values.get(&field).copied()
    }

    /// A field within its bounds: `Some(None)` when it is absent, `None` when it lies outside.
    fn within(&self, field: Field, low: u32, high: u32) -> Option<Option<u32>> {
        match self.get(field) {
            None => Some(None),
            Some(value) => {
                let value = u32::try_from(value).ok()?;
                (low..=high).contains(&value).then_some(Some(value))
            }
        }
    }

    fn year(&self) -> Option<i32> {
        let proleptic = match (self.get(Field::YearOfEra), self.get(Field::Era)) {
            (Some(year), era) if year > 0 => Some(if era == Some(0) { 1 - year } else { year }),
            (Some(_), _) => return None,
            (None, _) => None,
        };
        let year = match (self.get(Field::Year), proleptic) {
            (Some(year), Some(other)) if year != other => return None,
            (year, other) => year.or(other)?,
        };
        i32::try_from(year).ok()
    }

    fn date(&self) -> Option<NaiveDate> {
        let year = self.year()?;
        let month = self.within(Field::Month, 1, 12)?;
        let day = self.within(Field::Day, 1, 31)?;
        let day_of_year = self.within(Field::DayOfYear, 1, 366)?;
        let date = match (month, day, day_of_year) {
            (Some(month), Some(day), _) => last_possible(year, month, day)?,
            (_, _, Some(day)) => NaiveDate::from_yo_opt(year, day)?,
            _ => return None,
        };
        let agrees = |field, actual: u32| self.get(field).is_none_or(|value| value == i64::from(actual));
        let consistent = agrees(Field::Month, date.month())
            && (day.is_none() || month.is_some() || agrees(Field::Day, date.day()))
            && agrees(Field::DayOfYear, date.ordinal())
            && agrees(Field::DayOfWeek, date.weekday().number_from_monday())
            && agrees(Field::Quarter, date.month0() / 3 + 1);
        consistent.then_some(date)
    }

    /// The time of the day, and whether it is 24:00; midnight when there is no hour.
    fn time(&self) -> Option<(NaiveTime, bool)> {
        let minute = self.within(Field::Minute, 0, 59)?;
        let second = self.within(Field::Second, 0, 59)?;
        let nano = self.within(Field::Nano, 0, 999_999_999)?;
        if let Some(nanos) = self.nano_of_day()? {
            let time = NaiveTime::from_num_seconds_from_midnight_opt(
                u32::try_from(nanos / 1_000_000_000).ok()?,
                u32::try_from(nanos % 1_000_000_000).ok()?,
            );
            return Some((time?, false));
        }
        let Some(hour) = self.hour()? else { return Some((NaiveTime::MIN, false)) };
        // A second without its minute says nothing about the time of the day.
        if minute.is_none() && (second.is_some() || nano.is_some()) || second.is_none() && nano.is_some() {
            return Some((NaiveTime::MIN, false));
        }
        let (minute, second, nano) = (minute.unwrap_or(0), second.unwrap_or(0), nano.unwrap_or(0));
        if hour == 24 {
            return (minute == 0 && second == 0 && nano == 0).then_some((NaiveTime::MIN, true));
        }
        NaiveTime::from_hms_nano_opt(hour, minute, second, nano).map(|time| (time, false))
    }

    fn nano_of_day(&self) -> Option<Option<i64>> {
        let day = 86_400_000_000_000_i64;
        let nanos = match (self.get(Field::NanoOfDay), self.get(Field::MilliOfDay)) {
            (Some(nanos), _) => nanos,
            (None, Some(millis)) => millis.checked_mul(1_000_000)?,
            (None, None) => return Some(None),
        };
        (0..day).contains(&nanos).then_some(Some(nanos))
    }

    fn hour(&self) -> Option<Option<u32>> {
        let of_day = self.within(Field::Hour, 0, 24)?;
        let from_1 = self.within(Field::Hour1, 1, 24)?.map(|hour| hour % 24);
        let half = self.get(Field::HalfDay).and_then(|half| u32::try_from(half).ok());
        let from_0 = self.within(Field::HourOfHalfDay0, 0, 11)?;
        let to_12 = self.within(Field::HourOfHalfDay1, 1, 12)?.map(|hour| hour % 12);
        if from_0.zip(to_12).is_some_and(|(one, other)| one != other) {
            return None;
        }
        let of_half = from_0.or(to_12).zip(half).map(|(hour, half)| half * 12 + hour);
        let mut hours = [of_day, from_1, of_half].into_iter().flatten();
        let Some(hour) = hours.next() else { return Some(None) };
        let noon = half.is_none_or(|half| hour == 24 || half == hour / 12);
        (noon && hours.all(|other| other == hour)).then_some(Some(hour))
    }
}

/// The day, or the month's last one if it has no such day.
fn last_possible(year: i32, month: u32, day: u32) -> Option<NaiveDate> {
    (day.min(28)..=day).rev().find_map(|day| NaiveDate::from_ymd_opt(year, month, day))
}
