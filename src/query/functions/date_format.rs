//! Dates and times in formats of the user's choice: MySQL's (`%Y-%m-%d`), Joda's and Java's
//! (`yyyy-MM-dd`, `uuuu-LL-dd`).
//!
//! Both are read into the same list of [`Piece`]s; one writer and one reader serve them all.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike, Weekday};
use datafusion::arrow::array::{ArrayRef, TimestampNanosecondArray};
use datafusion::common::Result;

use super::scalar::{Call, Def, def};
use crate::clock::{MONTHS, WEEKDAYS};
use crate::query::duration::{DAY, HOUR, MINUTE, SECOND};
use crate::query::error::failed;
use crate::query::wire_text;

type Read = fn(&str) -> Result<Vec<Piece>>;

pub(super) const FUNCTIONS: &[Def] = &[
    def("date_format", &[("date_format(timestamp, varchar) -> varchar", |call| format(call, mysql))]),
    def("date_parse", &[("date_parse(varchar, varchar) -> timestamp", |call| parse(call, mysql))]),
    def("format_datetime", &[("format_datetime(timestamp, varchar) -> varchar", |call| format(call, joda))]),
    def("parse_datetime", &[("parse_datetime(varchar, varchar) -> timestamp", |call| parse(call, joda))]),
];

/// A part of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// A number of at least so many digits.
    Number(Part, usize),
    /// So many digits of the fraction of a second.
    Fraction(usize),
    /// A year of two digits.
    ShortYear,
    MonthName {
        short: bool,
    },
    WeekdayName {
        short: bool,
    },
    AmPm,
    Era,
    /// The letters of a zone.
    Zone,
    /// An offset of hours and minutes, with a colon between them or not.
    Offset {
        colon: bool,
    },
    /// The same, where none at all is `Z`.
    OffsetOrZ,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    Month,
    Day,
    DayOfYear,
    Hour24,
    Hour12,
    /// 1 to 24.
    Hour24FromOne,
    /// 0 to 11.
    Hour12FromZero,
    Minute,
    Second,
    Week,
    WeekYear,
    Weekday,
    Century,
}

/// Zones of North America and Europe by their letters, in hours east of Greenwich.
const ZONES: [(&str, i64); 14] = [
    ("UTC", 0),
    ("GMT", 0),
    ("UT", 0),
    ("Z", 0),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
    ("CET", 1),
    ("CEST", 2),
];

fn mysql(format: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            pieces.push(Piece::Literal(c.to_string()));
            continue;
        }
        let Some(specifier) = rest.next() else { return Err(failed("a date format must not end in %")) };
        use Part::{Day, DayOfYear, Hour12, Hour24, Minute, Month, Second, Week, WeekYear, Year};
        let number = |part, digits| Piece::Number(part, digits);
        let literal = |text: &str| Piece::Literal(text.to_owned());
        pieces.extend(match specifier {
            'a' => vec![Piece::WeekdayName { short: true }],
            'b' => vec![Piece::MonthName { short: true }],
            'c' => vec![number(Month, 1)],
            'd' => vec![number(Day, 2)],
            'e' => vec![number(Day, 1)],
            'f' => vec![Piece::Fraction(6)],
            'H' => vec![number(Hour24, 2)],
            'h' | 'I' => vec![number(Hour12, 2)],
            'i' => vec![number(Minute, 2)],
            'j' => vec![number(DayOfYear, 3)],
            'k' => vec![number(Hour24, 1)],
            'l' => vec![number(Hour12, 1)],
            'M' => vec![Piece::MonthName { short: false }],
            'm' => vec![number(Month, 2)],
            'p' => vec![Piece::AmPm],
            'r' => vec![
                number(Hour12, 2),
                literal(":"),
                number(Minute, 2),
                literal(":"),
                number(Second, 2),
                literal(" "),
                Piece::AmPm,
            ],
            'S' | 's' => vec![number(Second, 2)],
            'T' => vec![number(Hour24, 2), literal(":"), number(Minute, 2), literal(":"), number(Second, 2)],
            'v' => vec![number(Week, 2)],
            'W' => vec![Piece::WeekdayName { short: false }],
            'x' => vec![number(WeekYear, 4)],
            'Y' => vec![number(Year, 4)],
            'y' => vec![Piece::ShortYear],
            'w' | 'D' | 'U' | 'u' | 'V' | 'X' => {
                return Err(failed(format!("%{specifier} not currently supported in date format string")));
            }
            other => vec![Piece::Literal(other.to_string())],
        });
    }
    Ok(pieces)
}

/// Joda's letters and those of `java.time` that differ: `u` for the year, `L` for the month.
fn joda(pattern: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\'' {
            let mut literal = String::new();
            while let Some(c) = rest.next() {
                if c != '\'' {
                    literal.push(c);
                } else if rest.next_if_eq(&'\'').is_some() {
                    literal.push('\'');
                } else {
                    break;
                }
            }
            pieces.push(Piece::Literal(if literal.is_empty() { "'".to_owned() } else { literal }));
            continue;
        }
        if !c.is_ascii_alphabetic() {
            pieces.push(Piece::Literal(c.to_string()));
            continue;
        }
        let mut count = 1;
        while rest.next_if_eq(&c).is_some() {
            count += 1;
        }
        pieces.push(match (c, count) {
            ('y' | 'u' | 'Y', 2) => Piece::ShortYear,
            ('y' | 'u' | 'Y', _) => Piece::Number(Part::Year, count),
            ('x', _) => Piece::Number(Part::WeekYear, count),
            ('C', _) => Piece::Number(Part::Century, count),
            ('G', _) => Piece::Era,
            ('M' | 'L', 1 | 2) => Piece::Number(Part::Month, count),
            ('M' | 'L', _) => Piece::MonthName { short: count == 3 },
            ('d', _) => Piece::Number(Part::Day, count),
            ('D', _) => Piece::Number(Part::DayOfYear, count),
            ('H', _) => Piece::Number(Part::Hour24, count),
            ('k', _) => Piece::Number(Part::Hour24FromOne, count),
            ('h', _) => Piece::Number(Part::Hour12, count),
            ('K', _) => Piece::Number(Part::Hour12FromZero, count),
            ('m', _) => Piece::Number(Part::Minute, count),
            ('s', _) => Piece::Number(Part::Second, count),
            ('S', _) => Piece::Fraction(count),
            ('w', _) => Piece::Number(Part::Week, count),
            ('e', _) => Piece::Number(Part::Weekday, count),
            ('E', _) => Piece::WeekdayName { short: count <= 3 },
            ('a', _) => Piece::AmPm,
            ('Z', 1 | 2) => Piece::Offset { colon: count == 2 },
            ('z' | 'Z', _) => Piece::Zone,
            ('X', _) => Piece::OffsetOrZ,
            _ => return Err(failed(format!("Illegal pattern component: {c}"))),
        });
    }
    Ok(pieces)
}

fn format(call: &Call<'_>, read: Read) -> Result<ArrayRef> {
    let moments = call.count(0);
    let mut known: Option<(String, Vec<Piece>)> = None;
    call.map_text(|row| {
        let pieces = cached(&mut known, call.text(1).value(row), read)?;
        let moment = DateTime::from_timestamp_nanos(moments.at(row)).naive_utc();
        let mut text = String::new();
        pieces.iter().for_each(|piece| write(piece, moment, &mut text));
        Ok(Some(text))
    })
}

/// The pieces of `format`; mostly it is the one of the row before.
fn cached<'a>(known: &'a mut Option<(String, Vec<Piece>)>, format: &str, read: Read) -> Result<&'a [Piece]> {
    if known.as_ref().is_none_or(|(text, _)| text != format) {
        *known = Some((format.to_owned(), read(format)?));
    }
    Ok(known.as_ref().map(|(_, pieces)| pieces.as_slice()).unwrap_or_default())
}

fn write(piece: &Piece, at: NaiveDateTime, text: &mut String) {
    let name = |name: &str, short: bool| if short { name.chars().take(3).collect() } else { name.to_owned() };
    match piece {
        Piece::Literal(literal) => text.push_str(literal),
        Piece::Number(part, digits) => {
            let (value, digits) = (part.of(at), *digits);
            text.push_str(&format!("{value:0digits$}"));
        }
        Piece::Fraction(digits) => {
            let fraction = format!("{:09}", at.nanosecond());
            text.extend(fraction.chars().chain(std::iter::repeat('0')).take(*digits));
        }
        Piece::ShortYear => text.push_str(&format!("{:02}", at.year().rem_euclid(100))),
        Piece::MonthName { short } => text.push_str(&name(MONTHS[at.month0() as usize], *short)),
        Piece::WeekdayName { short } => {
            text.push_str(&name(WEEKDAYS[at.weekday().num_days_from_monday() as usize], *short));
        }
        Piece::AmPm => text.push_str(if at.hour() < 12 { "AM" } else { "PM" }),
        Piece::Era => text.push_str("AD"),
        Piece::Zone => text.push_str("UTC"),
        Piece::Offset { colon } => text.push_str(if *colon { "+00:00" } else { "+0000" }),
        Piece::OffsetOrZ => text.push('Z'),
    }
}

impl Part {
    fn of(self, at: NaiveDateTime) -> i64 {
        match self {
            Self::Year => at.year().into(),
            Self::Month => at.month().into(),
            Self::Day => at.day().into(),
            Self::DayOfYear => at.ordinal().into(),
            Self::Hour24 => at.hour().into(),
            Self::Hour24FromOne => (if at.hour() == 0 { 24 } else { at.hour() }).into(),
            Self::Hour12 => at.hour12().1.into(),
            Self::Hour12FromZero => (at.hour() % 12).into(),
            Self::Minute => at.minute().into(),
            Self::Second => at.second().into(),
            Self::Week => at.iso_week().week().into(),
            Self::WeekYear => at.iso_week().year().into(),
            Self::Weekday => at.weekday().number_from_monday().into(),
            Self::Century => (at.year() / 100).into(),
        }
    }
}

fn parse(call: &Call<'_>, read: Read) -> Result<ArrayRef> {
    let mut known: Option<(String, Vec<Piece>)> = None;
    call.map::<_, TimestampNanosecondArray>(|row| {
        let text = call.text(0).value(row);
        let pieces = cached(&mut known, call.text(1).value(row), read)?;
        let moment = Parsed::read(text, pieces).and_then(|parsed| parsed.moment());
        moment.map(Some).ok_or_else(|| failed(format!("Invalid format: \"{text}\"")))
    })
}

/// What a text said so far.
#[derive(Debug)]
struct Parsed {
    year: i32,
    month: u32,
    day: u32,
    day_of_year: Option<u32>,
    week_year: Option<i32>,
    week: Option<u32>,
    weekday: Option<u8>,
    hour: i64,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    nanos: i64,
    offset: i64,
}

impl Parsed {
    fn read(text: &str, pieces: &[Piece]) -> Option<Self> {
        let mut parsed = Self {
            year: 1970,
            month: 1,
            day: 1,
            day_of_year: None,
            week_year: None,
            week: None,
            weekday: None,
            hour: 0,
            afternoon: None,
            minute: 0,
            second: 0,
            nanos: 0,
            offset: 0,
        };
        let mut rest = text;
        for (i, piece) in pieces.iter().enumerate() {
            // Digits that stand side by side are told apart by how many there should be.
            let packed =
                matches!(pieces.get(i + 1), Some(Piece::Number(..) | Piece::Fraction(_) | Piece::ShortYear));
            rest = parsed.piece(piece, rest, packed)?;
        }
        rest.is_empty().then_some(parsed)
    }

    /// Reads one piece and returns what follows it.
    fn piece<'t>(&mut self, piece: &Piece, text: &'t str, packed: bool) -> Option<&'t str> {
        match piece {
            Piece::Literal(literal) => text.strip_prefix(literal.as_str()),
            Piece::Number(part, digits) => {
                let most = if packed { *digits } else { 4.max(*digits) };
                let (number, rest) = split_digits(
                    text,
                    if matches!(part, Part::Year | Part::WeekYear) { most } else { most.min(3.max(*digits)) },
                )?;
                self.set(*part, number.parse().ok()?)?;
                Some(rest)
            }
            Piece::Fraction(_) => {
                let (digits, rest) = split_digits(text, 9)?;
                let padded: String = digits.chars().chain("000000000".chars()).take(9).collect();
                self.nanos = padded.parse().ok()?;
                Some(rest)
            }
            Piece::ShortYear => {
                let (digits, rest) = split_digits(text, 2)?;
                let year: i32 = digits.parse().ok()?;
                self.year = if year < 70 { 2000 + year } else { 1900 + year };
                Some(rest)
            }
            Piece::MonthName { short } => {
                let (number, rest) = split_name(text, &MONTHS, *short)?;
                self.month = u32::try_from(number + 1).ok()?;
                Some(rest)
            }
            Piece::WeekdayName { short } => split_name(text, &WEEKDAYS, *short).map(|(_, rest)| rest),
            Piece::AmPm => {
                let (word, rest) = text.split_at_checked(2)?;
                self.afternoon = Some(match word.to_ascii_uppercase().as_str() {
                    "AM" => false,
                    "PM" => true,
                    _ => return None,
                });
                Some(rest)
            }
            Piece::Era => {
                let (word, rest) = text.split_at_checked(2)?;
                word.eq_ignore_ascii_case("AD").then_some(rest)
            }
            Piece::Zone | Piece::Offset { .. } | Piece::OffsetOrZ => {
                let end = text.find(char::is_whitespace).unwrap_or(text.len());
                let (zone, rest) = text.split_at(end);
                let named = ZONES.iter().find(|(name, _)| name.eq_ignore_ascii_case(zone));
                self.offset =
                    named.map(|(_, hours)| hours * HOUR).or_else(|| wire_text::parse_offset(zone))?;
                Some(rest)
            }
        }
    }

    fn set(&mut self, part: Part, value: i64) -> Option<()> {
        match part {
            Part::Year => self.year = value.try_into().ok()?,
            Part::Month => self.month = value.try_into().ok()?,
            Part::Day => self.day = value.try_into().ok()?,
            Part::DayOfYear => self.day_of_year = Some(value.try_into().ok()?),
            Part::Hour24 => self.hour = (value < 24).then_some(value)?,
            Part::Hour24FromOne => self.hour = (value <= 24).then_some(value % 24)?,
            Part::Hour12 | Part::Hour12FromZero => {
                self.hour = (value <= 12).then_some(value % 12)?;
                self.afternoon.get_or_insert(false);
            }
            Part::Minute => self.minute = (value < 60).then_some(value)?,
            Part::Second => self.second = (value < 60).then_some(value)?,
            Part::Week => self.week = Some(value.try_into().ok()?),
            Part::WeekYear => self.week_year = Some(value.try_into().ok()?),
            Part::Weekday => self.weekday = Some(value.try_into().ok()?),
            Part::Century => return None,
        }
        Some(())
    }

    fn moment(&self) -> Option<i64> {
        let date = match (self.day_of_year, self.week_year, self.week) {
            (Some(day), ..) => NaiveDate::from_yo_opt(self.year, day)?,
            (None, None, None) => NaiveDate::from_ymd_opt(self.year, self.month, self.day)?,
            (None, year, week) => {
                let weekday =
                    Weekday::try_from(self.weekday.map_or(Some(0), |day| day.checked_sub(1))?).ok()?;
                NaiveDate::from_isoywd_opt(year.unwrap_or(self.year), week.unwrap_or(1), weekday)?
            }
        };
        let hour = if self.afternoon == Some(true) { self.hour % 12 + 12 } else { self.hour };
        let clock = hour * HOUR + self.minute * MINUTE + self.second * SECOND + self.nanos - self.offset;
        i64::from(date.to_epoch_days()).checked_mul(DAY)?.checked_add(clock)
    }
}

fn split_digits(text: &str, most: usize) -> Option<(&str, &str)> {
    let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    (digits > 0).then(|| text.split_at(digits))
}

fn split_name<'t>(text: &'t str, names: &[&str], short: bool) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(i, name)| {
        let wanted = if short { name.get(..3)? } else { name };
        let (begin, rest) = text.split_at_checked(wanted.len())?;
        begin.eq_ignore_ascii_case(wanted).then_some((i, rest))
    })
}
