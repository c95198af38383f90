//! parse_time(pattern, milliseconds[, zone]): a moment as text, in Joda-Time's pattern letters, English
//! (spec 3.3).

use std::fmt::Write as _;

use chrono::{DateTime, Datelike as _, NaiveDateTime, TimeDelta, Timelike as _};

use super::time_pattern::{Dialect, Token, short, tokens};
use super::zone::{Zone, print_offset};
use super::{Binder, Expr, Operand, Prepared, Scope, literal};
use crate::clock::{MONTHS, WEEKDAYS};
use crate::rules::sql::eval::undefined;
use crate::rules::sql::number::Number;

/// The letters Joda-Time knows.
const LETTERS: &str = "GCYxweEyDMdaKhHkmsSzZ";

#[derive(Debug)]
struct ParseTime {
    /// The pattern, when it stands in the statement; `None` inside when it is none.
    pattern: Option<Option<Vec<Token>>>,
}

pub(super) fn prepare(arguments: &[Expr], _: &mut Binder<'_>) -> Result<Box<dyn Prepared>, String> {
    Ok(Box::new(ParseTime { pattern: literal(arguments, 0).map(read) }))
}

/// The pieces of a pattern; `None` when it has a letter that means nothing.
fn read(pattern: &str) -> Option<Vec<Token>> {
    let tokens = tokens(pattern, Dialect::Joda)?;
    let known = |token: &Token| match token {
        Token::Letters(letter, _) => LETTERS.contains(*letter),
        _ => true,
    };
    (!tokens.is_empty() && tokens.iter().all(known)).then_some(tokens)
}

impl Prepared for ParseTime {
    fn run<'a>(&'a self, arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
        formatted(self, &arguments).map_or_else(undefined, |text| scope.text(text))
    }
}

fn formatted(prepared: &ParseTime, arguments: &[Operand<'_>]) -> Option<String> {
    let parsed;
    let pattern = match &prepared.pattern {
        Some(prepared) => prepared.as_ref()?,
        None => {
            parsed = read(&arguments.first()?.text()?)?;
            &parsed
        }
    };
    let millis = arguments.get(1)?.number().and_then(Number::floor)?;
    let zone = match arguments.get(2) {
        Some(zone) => Zone::joda(&zone.text()?)?,
        None => Zone::UTC,
    };
    let utc = DateTime::from_timestamp_millis(i64::try_from(millis).ok()?)?.naive_utc();
    let offset = zone.offset_at(utc);
    let local = utc.checked_add_signed(TimeDelta::seconds(i64::from(offset)))?;
    let moment = Moment { utc, local, zone, offset };
    let mut text = String::new();
    for token in pattern {
        match token {
            Token::Text(plain) => text.push_str(plain),
            Token::Letters(letter, count) => moment.write(*letter, *count, &mut text),
            Token::Open | Token::Close => {}
        }
    }
    Some(text)
}

struct Moment {
    utc: NaiveDateTime,
    local: NaiveDateTime,
    zone: Zone,
    offset: i32,
}

impl Moment {
    fn write(&self, letter: char, count: usize, out: &mut String) {
        let local = self.local;
        let year = local.year();
        let year_of_era = if year > 0 { year } else { 1 - year };
        let hour = local.hour();
        match letter {
            'G' => out.push_str(if year > 0 { "AD" } else { "BC" }),
            'C' => number(year_of_era / 100, count, out),
            'Y' => write_year(year_of_era, count, out),
            'y' => write_year(year, count, out),
            'x' => write_year(local.iso_week().year(), count, out),
            'w' => number(local.iso_week().week(), count, out),
            'e' => number(local.weekday().number_from_monday(), count, out),
            'E' => name(WEEKDAYS[usize_of(local.weekday().num_days_from_monday())], count, out),
            'D' => number(local.ordinal(), count, out),
            'M' if count >= 3 => name(MONTHS[usize_of(local.month0())], count, out),
            'M' => number(local.month(), count, out),
            'd' => number(local.day(), count, out),
            'a' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            'K' => number(hour % 12, count, out),
            'h' => number((hour + 11) % 12 + 1, count, out),
            'H' => number(hour, count, out),
            'k' => number((hour + 23) % 24 + 1, count, out),
            'm' => number(local.minute(), count, out),
            's' => number(local.second(), count, out),
            'S' => fraction(local.nanosecond() / 1_000_000, count, out),
            'z' => out.push_str(&self.zone.name_at(self.utc, count >= 4)),
            'Z' if count >= 3 => out.push_str(&self.zone.id()),
            'Z' => out.push_str(&print_offset(self.offset, count == 2)),
            _ => {}
        }
    }
}

fn usize_of(value: u32) -> usize {
    usize::try_from(value).unwrap_or(0)
}

/// A number with at least `count` digits.
fn number(value: impl Into<i64>, count: usize, out: &mut String) {
    let value = value.into();
    let sign = if value < 0 { "-" } else { "" };
    write!(out, "{sign}{:0count$}", value.unsigned_abs()).expect("writing to a String cannot fail");
}

/// Two letters are a year's last two digits.
fn write_year(year: i32, count: usize, out: &mut String) {
    if count == 2 { number(year.abs() % 100, 2, out) } else { number(year, count, out) }
}

fn name(full: &'static str, count: usize, out: &mut String) {
    out.push_str(if count >= 4 { full } else { short(full) });
}

/// As many digits of the second's fraction as letters; what lies below is cut off.
fn fraction(millis: u32, count: usize, out: &mut String) {
    let digits = format!("{millis:03}");
    let padded = digits.chars().chain(std::iter::repeat('0'));
    out.extend(padded.take(count));
}
