//! Schedule expressions: `rate(5 minutes)` and `cron(0 10 ? * MON-FRI *)`, UTC (spec 6.8).
//!
//! croner finds the moments. Its language is wider than AWS's and differs in places, so a cron expression
//! is read by AWS's grammar first, field by field, and handed on in plain numbers: weekdays from 1, which is
//! Sunday, a step always with its range, `L` among the weekdays as Saturday, years from 1970 to 2199.

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::clock::Timestamp;

/// The longest expression, in characters (spec 2.3.1).
const CHARS_MAX: usize = 256;
/// The longest period of a rate, in minutes: a hundred years.
const RATE_MINUTES_MAX: i64 = 100 * 366 * 24 * 60;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;

/// Why a text is no schedule expression; for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid ScheduleExpression {given:?}: {reason}")]
pub struct ExpressionError {
    given: String,
    reason: String,
}

/// When a scheduled query runs.
#[derive(Debug, Clone)]
pub(super) struct Expression(Times);

#[derive(Debug, Clone)]
enum Times {
    /// Every so many nanoseconds, counted from the creation.
    Rate(i64),
    Cron(Box<Cron>),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is none, or when it names no moment at all.
    pub(super) fn parse(text: &str) -> Result<Self, ExpressionError> {
        let refused =
            |reason: String| ExpressionError { given: text.chars().take(CHARS_MAX).collect(), reason };
        if text.chars().count() > CHARS_MAX {
            return Err(refused(format!("it is longer than {CHARS_MAX} characters")));
        }
        let inner =
            |name: &str| text.trim().strip_prefix(name)?.trim_start().strip_prefix('(')?.strip_suffix(')');
        match (inner("rate"), inner("cron")) {
            (Some(rate), _) => Ok(Self(Times::Rate(period(rate).map_err(refused)?))),
            (_, Some(fields)) => Ok(Self(Times::Cron(Box::new(cron(fields).map_err(refused)?)))),
            _ => Err(refused("it is neither rate(value unit) nor cron(fields)".to_owned())),
        }
    }

    /// The first moment after `after` for a query created at `created`.
    pub(super) fn next(&self, created: Timestamp, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Times::Rate(period) => {
                let first = whole_seconds(created);
                let passed = after.nanos().saturating_sub(first).max(0) / period;
                first.checked_add(period.checked_mul(passed + 1)?).map(Timestamp::from_nanos)
            }
            Times::Cron(cron) => {
                let after = DateTime::<Utc>::from_timestamp_nanos(after.nanos());
                let next = cron.find_next_occurrence(&after, false).ok()?;
                next.timestamp_nanos_opt().map(Timestamp::from_nanos)
            }
        }
    }

    /// The last moment that is not after `now`, for a query created at `created`.
    pub(super) fn latest(&self, created: Timestamp, now: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Times::Rate(period) => {
                let first = whole_seconds(created);
                let passed = now.nanos().saturating_sub(first) / period;
                (passed > 0).then(|| Timestamp::from_nanos(first + period * passed))
            }
            Times::Cron(cron) => {
                let now = DateTime::<Utc>::from_timestamp_nanos(now.nanos());
                let latest = cron.find_previous_occurrence(&now, true).ok()?.timestamp_nanos_opt()?;
                (latest > created.nanos()).then(|| Timestamp::from_nanos(latest))
            }
        }
    }
}

/// Invocation times are whole seconds, as notifications and SDKs carry them.
fn whole_seconds(moment: Timestamp) -> i64 {
    moment.nanos().div_euclid(SECOND) * SECOND
}

fn period(text: &str) -> Result<i64, String> {
    let (value, unit) = text.trim().split_once(char::is_whitespace).unwrap_or((text, ""));
    let minutes = match unit.trim() {
        "minute" | "minutes" => 1,
        "hour" | "hours" => 60,
        "day" | "days" => 24 * 60,
        _ => return Err("a rate is a whole number and minute(s), hour(s) or day(s)".to_owned()),
    };
    let value = number(value).and_then(|value| i64::from(value).checked_mul(minutes));
    match value {
        Some(minutes) if (1..=RATE_MINUTES_MAX).contains(&minutes) => Ok(minutes * MINUTE),
        Some(0) => Err("the least rate is 1 minute".to_owned()),
        _ => Err("a rate is a whole number and minute(s), hour(s) or day(s)".to_owned()),
    }
}

fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// A field of a cron expression.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// Names for the numbers from `least` on.
    names: &'static [&'static str],
    days: Days,
}

/// Which further wildcards a field takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Days {
    None,
    OfMonth,
    OfWeek,
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const fn field(name: &'static str, least: u32, most: u32) -> Field {
    Field { name, least, most, names: &[], days: Days::None }
}

const FIELDS: [Field; 6] = [
    field("minutes", 0, 59),
    field("hours", 0, 23),
    Field { days: Days::OfMonth, ..field("day-of-month", 1, 31) },
    Field { names: MONTHS, ..field("month", 1, 12) },
    Field { names: WEEKDAYS, days: Days::OfWeek, ..field("day-of-week", 1, 7) },
    field("year", 1970, 2199),
];

fn cron(text: &str) -> Result<Cron, String> {
    let written: Vec<&str> = text.split_whitespace().collect();
    if written.len() != FIELDS.len() {
        return Err(format!("a cron expression has 6 fields, not {}", written.len()));
    }
    if (written[2] == "?") == (written[4] == "?") {
        return Err("one of day-of-month and day-of-week must be ?, and the other must not".to_owned());
    }
    let mut plain = vec!["0".to_owned()];
    for (field, written) in FIELDS.iter().zip(written) {
        plain.push(field.plain(written)?);
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .build();
    let cron = parser.parse(&plain.join(" ")).map_err(|error| error.to_string())?;
    match cron.find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, true) {
        Ok(_) => Ok(cron),
        Err(_) => Err("no moment matches it".to_owned()),
    }
}

impl Field {
    /// The field as croner takes it.
    fn plain(&self, written: &str) -> Result<String, String> {
        if written == "?" && self.days != Days::None {
            return Ok("*".to_owned());
        }
        if written == "*" && self.most < 2199 {
            return Ok("*".to_owned());
        }
        let items: Option<Vec<String>> =
            written.split(',').map(|item| self.item(&item.to_ascii_uppercase())).collect();
        match items {
            // croner keeps `L` for the whole field, where it would change what `W` means.
            Some(items)
                if self.days == Days::OfMonth
                    && items.len() > 1
                    && items.iter().any(|item| item.contains(['L', 'W'])) =>
            {
                Err(format!("{}: L and W stand alone", self.name))
            }
            Some(items) => Ok(items.join(",")),
            None => Err(format!(
                "{}: {written:?} is not a value from {} to {}, a range, a step or a list of these{}",
                self.name,
                self.least,
                self.most,
                match self.days {
                    Days::None => "",
                    Days::OfMonth => ", ?, L, LW or a day and W",
                    Days::OfWeek => ", ?, L, a day and L, or a day, # and 1 to 5",
                }
            )),
        }
    }

    fn item(&self, item: &str) -> Option<String> {
        match self.days {
            Days::OfMonth if matches!(item, "L" | "LW") => return Some(item.to_owned()),
            Days::OfMonth if item.ends_with('W') => {
                return self.value(item.strip_suffix('W')?).map(|day| format!("{day}W"));
            }
            // The last day of a week is Saturday.
            Days::OfWeek if item == "L" => return Some(self.most.to_string()),
            Days::OfWeek if item.ends_with('L') => {
                return self.value(item.strip_suffix('L')?).map(|day| format!("{day}L"));
            }
            Days::OfWeek if item.contains('#') => {
                let (day, nth) = item.split_once('#')?;
                let nth = number(nth).filter(|nth| (1..=5).contains(nth))?;
                return self.value(day).map(|day| format!("{day}#{nth}"));
            }
            _ => {}
        }
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some((range, step)) => (range, Some(number(step).filter(|step| (1..=self.most).contains(step))?)),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None if range == "*" => (self.least, self.most),
            None => {
                let first = self.value(range)?;
                (first, if step.is_some() { self.most } else { first })
            }
        };
        match step {
            _ if first > last => None,
            Some(step) if first + step <= last => Some(format!("{first}-{last}/{step}")),
            Some(_) => Some(first.to_string()),
            None if first == last => Some(first.to_string()),
            None => Some(format!("{first}-{last}")),
        }
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| *name == text);
        let named = named.and_then(|place| u32::try_from(place).ok()).map(|place| place + self.least);
        named.or_else(|| number(text)).filter(|value| (self.least..=self.most).contains(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let moment = text.parse::<DateTime<Utc>>().expect("a moment");
        Timestamp::from_nanos(moment.timestamp_nanos_opt().expect("in range"))
    }

    fn text(moment: Timestamp) -> String {
        DateTime::<Utc>::from_timestamp_nanos(moment.nanos()).format("%Y-%m-%d %H:%M:%S%.f").to_string()
    }

    /// The next moments from 2024-01-01 on, a Monday.
    fn next(expression: &str, many: usize) -> Vec<String> {
        let expression = Expression::parse(expression).expect("an expression");
        let created = at("2024-01-01T00:00:00Z");
        let mut after = created;
        let mut found = Vec::new();
        while found.len() < many
            && let Some(moment) = expression.next(created, after)
        {
            found.push(text(moment));
            after = moment;
        }
        found
    }

    #[test]
    fn cron_means_what_it_means_on_aws() {
        let cases: &[(&str, &[&str])] = &[
            ("cron(0 10 * * ? *)", &["2024-01-01 10:00:00", "2024-01-02 10:00:00"]),
            ("cron(15 12 ? * 1 *)", &["2024-01-07 12:15:00", "2024-01-14 12:15:00"]),
            ("cron(0 18 ? * MON-FRI *)", &["2024-01-01 18:00:00", "2024-01-02 18:00:00"]),
            (
                "cron(0/30 8-9 ? * 7 *)",
                &["2024-01-06 08:00:00", "2024-01-06 08:30:00", "2024-01-06 09:00:00"],
            ),
            ("cron(1/20 0 1 * ? *)", &["2024-01-01 00:01:00", "2024-01-01 00:21:00", "2024-01-01 00:41:00"]),
            ("cron(0 0 L * ? *)", &["2024-01-31 00:00:00", "2024-02-29 00:00:00", "2024-03-31 00:00:00"]),
            ("cron(0 0 ? * L *)", &["2024-01-06 00:00:00", "2024-01-13 00:00:00"]),
            ("cron(0 0 ? * 6L *)", &["2024-01-26 00:00:00", "2024-02-23 00:00:00"]),
            ("cron(0 0 ? * FRIL *)", &["2024-01-26 00:00:00", "2024-02-23 00:00:00"]),
            ("cron(0 0 ? * 3#2 *)", &["2024-01-09 00:00:00", "2024-02-13 00:00:00"]),
            ("cron(0 0 ? * tue#5 *)", &["2024-01-30 00:00:00", "2024-04-30 00:00:00"]),
            // The sixth of January is a Saturday, the seventh a Sunday.
            ("cron(0 0 6W * ? *)", &["2024-01-05 00:00:00", "2024-02-06 00:00:00"]),
            ("cron(0 0 7W JAN ? *)", &["2024-01-08 00:00:00", "2025-01-07 00:00:00"]),
            // The first of June 2024 is a Saturday: W does not leave the month.
            ("cron(0 0 1W 6 ? 2024)", &["2024-06-03 00:00:00"]),
            ("cron(0 0 LW 3 ? 2024)", &["2024-03-29 00:00:00"]),
            (
                "cron(0 0 1 1,JUL ? 2026-2027)",
                &["2026-01-01 00:00:00", "2026-07-01 00:00:00", "2027-01-01 00:00:00"],
            ),
            ("cron(0 0 29 2 ? 2025/2)", &[]),
            ("cron( 0  0 31 */6 ? * )", &["2024-01-31 00:00:00", "2024-07-31 00:00:00"]),
            ("cron(0 0 1 1 ? 2199)", &["2199-01-01 00:00:00"]),
        ];
        for (expression, moments) in cases {
            if moments.is_empty() {
                assert!(Expression::parse(expression).is_err(), "{expression}");
            } else {
                assert_eq!(next(expression, moments.len()), *moments, "{expression}");
            }
        }
        assert_eq!(next("cron(0 0 1 1 ? 2023)", 1), [""; 0], "what is past does not come again");
    }

    #[test]
    fn rates_count_from_the_creation() {
        let rate = Expression::parse("rate(5 minutes)").expect("a rate");
        let created = at("2024-01-01T00:00:07.5Z");
        assert_eq!(rate.next(created, created).map(text).as_deref(), Some("2024-01-01 00:05:07"));
        assert_eq!(
            rate.next(created, at("2024-01-01T00:05:07Z")).map(text).as_deref(),
            Some("2024-01-01 00:10:07")
        );
        assert_eq!(rate.latest(created, at("2024-01-01T00:05:06Z")), None);
        let late = at("2024-01-01T01:00:00Z");
        assert_eq!(rate.latest(created, late).map(text).as_deref(), Some("2024-01-01 00:55:07"));
        assert_eq!(
            rate.next(created, at("2023-01-01T00:00:00Z")).map(text).as_deref(),
            Some("2024-01-01 00:05:07")
        );
        for (text, minutes) in [("rate(1 minute)", 1), ("rate(2 hours)", 120), (" rate( 1   day ) ", 1440)] {
            let first = Expression::parse(text).expect("a rate").next(created, created).expect("a moment");
            assert_eq!(first.nanos() - whole_seconds(created), minutes * MINUTE, "{text}");
        }
    }

    #[test]
    fn the_latest_moment_of_a_cron_expression_is_after_the_creation() {
        let daily = Expression::parse("cron(0 10 * * ? *)").expect("an expression");
        let created = at("2024-01-01T10:00:00Z");
        assert_eq!(daily.latest(created, at("2024-01-02T09:59:59Z")), None);
        let latest = |now| daily.latest(created, at(now)).map(text);
        assert_eq!(latest("2024-01-02T10:00:00Z").as_deref(), Some("2024-01-02 10:00:00"));
        assert_eq!(latest("2024-01-09T09:00:00Z").as_deref(), Some("2024-01-08 10:00:00"));
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        for (given, reason) in [
            ("", "neither rate(value unit) nor cron(fields)"),
            ("5 minutes", "neither"),
            ("at(2024-01-01T00:00:00)", "neither"),
            ("rate(5 minutes", "neither"),
            ("rate(0 minutes)", "the least rate is 1 minute"),
            ("rate(-1 minutes)", "a whole number"),
            ("rate(1.5 hours)", "a whole number"),
            ("rate(5 seconds)", "a whole number"),
            ("rate(5)", "a whole number"),
            ("rate(99999999999 days)", "a whole number"),
            ("rate(999999999 days)", "a whole number"),
            ("cron(* * * * *)", "has 6 fields, not 5"),
            ("cron(0 0 0 * * ? *)", "has 6 fields, not 7"),
            ("cron(0 0 * * * *)", "one of day-of-month and day-of-week must be ?"),
            ("cron(0 0 ? * ? *)", "one of day-of-month and day-of-week must be ?"),
            ("cron(60 0 * * ? *)", "minutes: \"60\" is not a value from 0 to 59"),
            ("cron(0 24 * * ? *)", "hours: \"24\""),
            ("cron(0 0 0 * ? *)", "day-of-month: \"0\""),
            ("cron(0 0 32 * ? *)", "day-of-month"),
            ("cron(0 0 L-3 * ? *)", "day-of-month"),
            ("cron(0 0 L,15W * ? *)", "L and W stand alone"),
            ("cron(0 0 1 13 ? *)", "month: \"13\""),
            ("cron(0 0 1 JUNE ? *)", "month"),
            ("cron(0 0 ? * 0 *)", "day-of-week: \"0\""),
            ("cron(0 0 ? * 8 *)", "day-of-week"),
            ("cron(0 0 ? * MON#6 *)", "day-of-week"),
            ("cron(0 0 ? * +MON *)", "day-of-week"),
            ("cron(0 0 ? * SUN *) x", "neither"),
            ("cron(0 0 1 1 ? 1969)", "year: \"1969\" is not a value from 1970 to 2199"),
            ("cron(0 0 1 1 ? 2200)", "year"),
            ("cron(5-1 0 * * ? *)", "minutes"),
            ("cron(*/0 0 * * ? *)", "minutes"),
            ("cron(/5 0 * * ? *)", "minutes"),
            ("cron(, 0 * * ? *)", "minutes"),
            ("cron(@daily 0 * * ? *)", "minutes"),
            ("cron(? 0 * * ? *)", "minutes"),
            ("cron(0 0 30 2 ? *)", "no moment matches it"),
        ] {
            let error = Expression::parse(given).expect_err(given).to_string();
            assert!(error.starts_with("Invalid ScheduleExpression "), "{error}");
            assert!(error.contains(reason), "{error} lacks {reason}");
        }
        assert!(Expression::parse(&"r".repeat(10_000)).expect_err("long").to_string().len() < 400);
    }
}
