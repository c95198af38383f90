//! Values as Timestream spells them on the wire, and texts as it reads them (spec 3).
//!
//! Clients parse these with fixed patterns: a timestamp always has nine fraction digits, a double is
//! printed the way Java prints it.

use std::fmt::Write;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Timelike};

use super::duration::{DAY, HOUR, MINUTE, SECOND};

/// Java's `Double.toString`: the shortest digits that read back the same, plain from 10⁻³ to 10⁷. Where one
/// digit would do it is the nearest two, which differ from the one and a zero only among the least doubles.
pub(crate) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{value:?}");
    }
    let shortest = format!("{value:e}");
    if shortest.contains('.') {
        return shortest.replace('e', "E");
    }
    let nearest = format!("{value:.1e}");
    match nearest.parse() == Ok(value) {
        true => nearest.replace('e', "E"),
        false => shortest.replace('e', ".0E"),
    }
}

/// `2021-05-06 06:35:38.000000000`
pub(crate) fn timestamp(nanos: i64) -> String {
    moment(nanos, ' ')
}

/// `2021-05-06T06:35:38.000000000Z`
pub(crate) fn iso_timestamp(nanos: i64) -> String {
    let mut text = moment(nanos, 'T');
    text.push('Z');
    text
}

fn moment(nanos: i64, between: char) -> String {
    let mut text = String::with_capacity(32);
    push_date(&mut text, DateTime::from_timestamp_nanos(nanos).date_naive());
    text.push(between);
    push_time(&mut text, nanos.rem_euclid(DAY).unsigned_abs());
    text
}

/// `2021-05-06`, from days since 1970-01-01.
pub(crate) fn date(days: i32) -> String {
    let Some(date) = NaiveDate::from_epoch_days(days) else { return days.to_string() };
    let mut text = String::with_capacity(10);
    push_date(&mut text, date);
    text
}

/// `06:35:38.000000000`, from nanoseconds since midnight.
pub(crate) fn time(nanos: i64) -> String {
    let mut text = String::with_capacity(18);
    push_time(&mut text, nanos.unsigned_abs());
    text
}

fn push_date(text: &mut String, date: NaiveDate) {
    match u64::try_from(date.year()) {
        Ok(year @ 0..=9999) => push_digits::<4>(text, year),
        _ => text.push_str(&format!("{:04}", date.year())),
    }
    text.push('-');
    push_digits::<2>(text, date.month().into());
    text.push('-');
    push_digits::<2>(text, date.day().into());
}

fn push_time(text: &mut String, nanos: u64) {
    let unit = i64::unsigned_abs;
    push_digits::<2>(text, nanos / unit(HOUR));
    text.push(':');
    push_digits::<2>(text, nanos / unit(MINUTE) % 60);
    text.push(':');
    push_digits::<2>(text, nanos / unit(SECOND) % 60);
    text.push('.');
    push_digits::<9>(text, nanos % unit(SECOND));
}

/// The last `N` decimal digits of a number. Answers are full of times, and `format!` takes several times as
/// long.
fn push_digits<const N: usize>(text: &mut String, mut number: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).expect("one digit");
        number /= 10;
    }
    text.push_str(std::str::from_utf8(&digits).expect("digits are ASCII"));
}

/// `1 21:00:00.000000000`
pub(crate) fn day_second(nanos: i64) -> String {
    let magnitude = i128::from(nanos).unsigned_abs();
    let unit = |nanos: i64| u128::from(nanos.unsigned_abs());
    let mut text = String::with_capacity(24);
    let sign = if nanos < 0 { "-" } else { "" };
    let _ = write!(
        text,
        "{sign}{} {:02}:{:02}:{:02}.{:09}",
        magnitude / unit(DAY),
        magnitude / unit(HOUR) % 24,
        magnitude / unit(MINUTE) % 60,
        magnitude / unit(SECOND) % 60,
        magnitude % unit(SECOND)
    );
    text
}

/// `2-7`
pub(crate) fn year_month(months: i32) -> String {
    let sign = if months < 0 { "-" } else { "" };
    let magnitude = months.unsigned_abs();
    format!("{sign}{}-{}", magnitude / 12, magnitude % 12)
}

/// Reads a timestamp in any of the spellings Timestream takes: a date, a date and a time to the
/// minute, second or any fraction of it, parted by a blank or `T`, with or without an offset. Digits
/// below the nanosecond are dropped. Nothing if it is none, or lies outside 1677 to 2262.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let (day, rest) = text.split_at_checked(10)?;
    let date = parse_naive_date(day)?;
    let (nanos, offset) = match rest.strip_prefix(['T', 't', ' ']) {
        None if rest.is_empty() => (0, 0),
        None => return None,
        Some(rest) => {
            let end = rest.find(['Z', 'z', '+', '-', ' ']).unwrap_or(rest.len());
            let (clock, zone) = rest.split_at(end);
            (parse_time(clock)?, parse_offset(zone.trim())?)
        }
    };
    let days = i64::from(date.to_epoch_days());
    let local = i128::from(days) * i128::from(DAY) + i128::from(nanos);
    i64::try_from(local - i128::from(offset)).ok()
}

fn parse_naive_date(text: &str) -> Option<NaiveDate> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let right = year.len() == 4 && month.len() == 2 && day.len() == 2 && parts.next().is_none();
    right.then(|| NaiveDate::from_ymd_opt(digits(year)?, digits(month)?, digits(day)?))?
}

fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Days since 1970-01-01 of `2021-05-06`.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    parse_naive_date(text.trim()).map(|date| date.to_epoch_days())
}

/// Nanoseconds since midnight of `06:35`, `06:35:38` or `06:35:38.123`.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let mut parts = text.trim().split(':');
    let (hours, minutes) = (digits(parts.next()?)?, digits(parts.next()?)?);
    let (seconds, fraction) =
        parts.next().map_or(("0", ""), |rest| rest.split_once('.').unwrap_or((rest, "")));
    if parts.next().is_some() {
        return None;
    }
    let time = NaiveTime::from_hms_opt(hours, minutes, digits(seconds)?)?;
    let fraction: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(i64::from(time.num_seconds_from_midnight()) * SECOND + digits::<i64>(&fraction)?)
}

/// Nanoseconds east of Greenwich of ``, `Z`, `UTC`, `+05:00`, `+0500` or `+05`.
pub(crate) fn parse_offset(text: &str) -> Option<i64> {
    if text.is_empty() || text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") {
        return Some(0);
    }
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None if rest.len() == 4 => rest.split_at(2),
        None => (rest, "0"),
    };
    let (hours, minutes): (i64, i64) = (digits(hours)?, digits(minutes)?);
    (hours <= 18 && minutes < 60).then_some(sign * (hours * HOUR + minutes * MINUTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_java_prints_them() {
        for (value, text) in [
            (1.0, "1.0"),
            (35.2, "35.2"),
            (40.232_656_725_296_536, "40.232656725296536"),
            (1.655_487_883_771_000_1e9, "1.6554878837710001E9"),
            (1e7, "1.0E7"),
            (9_999_999.0, "9999999.0"),
            (9.99e-4, "9.99E-4"),
            (0.001, "0.001"),
            (1e21, "1.0E21"),
            (1e23, "1.0E23"),
            (9.999_999_999_999_997e22, "9.999999999999997E22"),
            (2e-4, "2.0E-4"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (5e-324, "4.9E-324"),
            (-5e-324, "-4.9E-324"),
            (1e-323, "9.9E-324"),
            (1.5e-323, "1.5E-323"),
            (2e-323, "2.0E-323"),
            (3e-323, "3.0E-323"),
            (1e-322, "9.9E-323"),
            (1e-321, "1.0E-321"),
            (-0.0, "-0.0"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(double(value), text);
        }
    }

    #[test]
    fn moments_and_lengths_have_nine_digits() {
        assert_eq!(timestamp(1_620_282_938_000_000_000), "2021-05-06 06:35:38.000000000");
        assert_eq!(timestamp(-1), "1969-12-31 23:59:59.999999999");
        assert_eq!(timestamp(i64::MIN), "1677-09-21 00:12:43.145224192");
        assert_eq!(day_second(DAY + 21 * HOUR), "1 21:00:00.000000000");
        assert_eq!(day_second(42_800_000), "0 00:00:00.042800000");
        assert_eq!(day_second(-1), "-0 00:00:00.000000001");
        assert_eq!(year_month(31), "2-7");
        assert_eq!(time(HOUR), "01:00:00.000000000");
    }

    #[test]
    fn timestamps_are_read_in_every_spelling_seen() {
        let moment = parse_timestamp("2021-11-15 14:26:49.000000000");
        assert!(moment.is_some());
        for text in ["2021-11-15T14:26:49Z", "2021-11-15 14:26:49", "2021-11-15T19:26:49.000+05:00"] {
            assert_eq!(parse_timestamp(text), moment, "{text}");
        }
        assert_eq!(parse_timestamp("1970-01-01 00:05:58.646325 +0000"), Some(358_646_325_000));
        assert_eq!(parse_timestamp("1970-01-02"), Some(DAY));
        assert_eq!(parse_timestamp("1970-01-01 01:00"), Some(HOUR));
        for text in ["", "now", "2021-13-01", "2021-11-15x", "2021-11-15 25:00", "9999-01-01", "2021-1-1"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
