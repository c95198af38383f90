//! Lengths of time as the user writes them: `15m`, `parse_duration('42.8 ms')`, `INTERVAL '2' DAY`.
//!
//! Timestream has two kinds that do not mix: days to seconds, counted in nanoseconds, and years to
//! months, counted in months.

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duration {
    /// Nanoseconds.
    DaySecond(i64),
    /// Months.
    YearMonth(i32),
}

pub(crate) const MICROSECOND: i64 = 1_000;
pub(crate) const MILLISECOND: i64 = 1_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// What one of a duration literal's units is long; nothing for a word that is no unit.
pub(crate) fn literal_unit(unit: &str) -> Option<Duration> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "ns" | "nanosecond" => Duration::DaySecond(1),
        "us" | "microsecond" => Duration::DaySecond(MICROSECOND),
        "ms" | "millisecond" => Duration::DaySecond(MILLISECOND),
        "s" | "second" => Duration::DaySecond(SECOND),
        "m" | "minute" => Duration::DaySecond(MINUTE),
        "h" | "hour" => Duration::DaySecond(HOUR),
        "d" | "day" => Duration::DaySecond(DAY),
        "month" => Duration::YearMonth(1),
        "y" | "year" => Duration::YearMonth(12),
        _ => return None,
    })
}

/// `number` times `unit`, exactly: what lies below a nanosecond is dropped. Nothing if it is no
/// number or too long a time; months are whole.
pub(crate) fn times(number: &str, unit: Duration) -> Option<Duration> {
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction = fraction.get(..fraction.len().min(18))?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let signed = if negative { -scaled } else { scaled };
    Some(match unit {
        Duration::DaySecond(nanos) => {
            Duration::DaySecond(i64::try_from(signed.checked_mul(nanos.into())? / scale).ok()?)
        }
        Duration::YearMonth(months) => {
            Duration::YearMonth(i32::try_from(signed.checked_mul(months.into())? / scale).ok()?)
        }
    })
}

/// Reads `42.8ms` or `42.8 ms`, the texts `parse_duration` takes.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-')?;
    let (number, unit) = text.split_at(end);
    times(number, literal_unit(unit.trim_start())?)
}

/// Reads the text of an `INTERVAL` literal: `'2' DAY`, `'2-7' YEAR TO MONTH`,
/// `'1 2:03:04.5' DAY TO SECOND`. `fields` are the words after it, in lower case.
pub(crate) fn parse_interval(text: &str, fields: &[&str]) -> Option<Duration> {
    let text = text.trim();
    match fields {
        ["week"] => times(text, Duration::DaySecond(7 * DAY)),
        ["quarter"] => times(text, Duration::YearMonth(3)),
        [unit] => times(text, literal_unit(unit)?),
        ["year", "to", "month"] => {
            let (negative, rest) = sign(text);
            let (years, months) = rest.split_once('-')?;
            let months = years.parse::<i32>().ok()?.checked_mul(12)?.checked_add(months.parse().ok()?)?;
            Some(Duration::YearMonth(if negative { -months } else { months }))
        }
        [from, "to", to] => clock_interval(text, from, to),
        _ => None,
    }
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// `D H:M:S.f` or any run of neighbours of it.
fn clock_interval(text: &str, from: &str, to: &str) -> Option<Duration> {
    const UNITS: [(&str, i64); 4] = [("day", DAY), ("hour", HOUR), ("minute", MINUTE), ("second", SECOND)];
    let place = |name: &str| UNITS.iter().position(|(unit, _)| *unit == name);
    let units = UNITS.get(place(from)?..=place(to)?)?;
    let (negative, rest) = sign(text);
    let parts: Vec<&str> = rest.split([' ', ':']).filter(|part| !part.is_empty()).collect();
    if parts.len() != units.len() {
        return None;
    }
    let mut total = 0_i64;
    for (part, (_, unit)) in parts.iter().zip(units) {
        let Duration::DaySecond(nanos) = times(part, Duration::DaySecond(*unit))? else { return None };
        total = total.checked_add(nanos)?;
    }
    Some(Duration::DaySecond(if negative { -total } else { total }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_units_make_exact_lengths() {
        assert_eq!(parse("42.8ms"), Some(Duration::DaySecond(42_800_000)));
        assert_eq!(parse("1 day"), Some(Duration::DaySecond(DAY)));
        assert_eq!(parse("72.5h"), Some(Duration::DaySecond(72 * HOUR + 30 * MINUTE)));
        assert_eq!(parse("5y"), Some(Duration::YearMonth(60)));
        for bad in ["", "h", "1", "1 fortnight", "1.2.3s", "99999999999999d", "--1s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn interval_literals_are_read_in_all_their_forms() {
        assert_eq!(parse_interval("2", &["day"]), Some(Duration::DaySecond(2 * DAY)));
        assert_eq!(parse_interval("-2", &["hour"]), Some(Duration::DaySecond(-2 * HOUR)));
        assert_eq!(parse_interval("2-7", &["year", "to", "month"]), Some(Duration::YearMonth(31)));
        let day_to_second = parse_interval("1 2:03:04.5", &["day", "to", "second"]);
        assert_eq!(
            day_to_second,
            Some(Duration::DaySecond(DAY + 2 * HOUR + 3 * MINUTE + 4 * SECOND + 500 * MILLISECOND))
        );
        assert_eq!(parse_interval("1:2", &["day", "to", "second"]), None);
    }
}
