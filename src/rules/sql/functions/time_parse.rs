//! time_to_epoch(text, pattern): a text as milliseconds since 1970, in java.time's pattern letters (JDK 11),
//! English (spec 3.3).
//!
//! Reading follows `DateTimeFormatter.ofPattern`: a strict parse, numbers side by side share their digits
//! (`yyyyMMddHHmmss`), `[…]` may be absent; what was read is then made a moment by `time_resolve`. Week-based
//! letters (`Y w W e c F`) and padding (`p`) are not read; a pattern with one of them is none.

use std::borrow::Cow;

use super::time_pattern::{Dialect, Token, short, tokens};
use super::time_resolve::{Field, Fields};
use super::zone::{Offset, Zone};
use super::{Binder, Expr, Operand, Prepared, Scope, Value, literal};
use crate::clock::{MONTHS, WEEKDAYS};
use crate::rules::sql::eval::undefined;

/// How deep `[…]` may nest.
const DEPTH_MAX: usize = 16;
/// The longest text that is read, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;

#[derive(Debug)]
struct TimeToEpoch {
    /// The pattern, when it stands in the statement; `None` inside when it is none.
    pattern: Option<Option<Pattern>>,
}

pub(super) fn prepare(arguments: &[Expr], _: &mut Binder<'_>) -> Result<Box<dyn Prepared>, String> {
    Ok(Box::new(TimeToEpoch { pattern: literal(arguments, 1).map(Pattern::new) }))
}

impl Prepared for TimeToEpoch {
    fn run<'a>(&'a self, arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
        let [text, pattern] = arguments.as_slice() else { return undefined() };
        let (Some(text), Some(pattern)) = (text.text(), pattern.text()) else { return undefined() };
        let millis = match &self.pattern {
            Some(prepared) => prepared.as_ref().and_then(|pattern| pattern.read(&text)),
            None => Pattern::new(&pattern).and_then(|pattern| pattern.read(&text)),
        };
        Cow::Owned(millis.map_or(Value::Undefined, |millis| Value::Int(millis.into())))
    }
}

/// A checked pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Number(Number),
    /// One of these names, from this value on.
    Name {
        field: Field,
        names: Vec<&'static str>,
        first: i64,
    },
    /// `VV`, or with names `z`.
    Zone {
        names: bool,
    },
    /// An offset, and the text of none.
    Offset {
        form: Offset,
        zero: &'static str,
    },
    /// `GMT+8`, or in full `GMT+08:00`.
    LocalizedOffset {
        full: bool,
    },
    Optional(Vec<Piece>),
}

/// A number and the room it leaves to numbers right behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number {
    field: Field,
    least: usize,
    most: usize,
    sign: Sign,
    kind: Kind,
    /// Digits that belong to the fixed-width numbers right behind this one.
    reserved: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// A minus may stand.
    Minus,
    /// A minus may stand; a plus has to when there are more digits than letters.
    PlusBeyond,
    /// None may stand.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Two digits of a year from 2000 to 2099.
    TwoDigitYear,
    /// Digits behind the point of a second.
    Fraction,
}

impl Pattern {
    /// Checks `text`; `None` when it is no pattern.
    pub(super) fn new(text: &str) -> Option<Self> {
        let mut open: Vec<Sequence> = vec![Sequence::default()];
        for token in tokens(text, Dialect::JavaTime)? {
            let depth = open.len();
            let innermost = open.last_mut()?;
            match token {
                Token::Text(text) => innermost.push(Piece::Text(text)),
                Token::Letters(letter, count) => innermost.letters(letter, count)?,
                Token::Open if depth > DEPTH_MAX => return None,
                Token::Open => open.push(Sequence::default()),
                Token::Close if depth == 1 => return None,
                Token::Close => close(&mut open)?,
            }
        }
        while open.len() > 1 {
            close(&mut open)?;
        }
        open.pop().map(|sequence| Self(sequence.pieces))
    }

    /// The milliseconds since 1970 of the moment `text` names.
    pub(super) fn read(&self, text: &str) -> Option<i64> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut fields = Fields::default();
        let end = read_all(&self.0, text, 0, &mut fields)?;
        if end == text.len() { fields.millis() } else { None }
    }
}

fn close(open: &mut Vec<Sequence>) -> Option<()> {
    let inner = open.pop()?;
    open.last_mut()?.push(Piece::Optional(inner.pieces));
    Some(())
}

/// The pieces of a pattern or of one optional part, while they are collected.
#[derive(Debug, Default)]
struct Sequence {
    pieces: Vec<Piece>,
    /// The number that numbers right behind it share digits with.
    adjacent: Option<usize>,
}

impl Sequence {
    fn push(&mut self, piece: Piece) {
        self.pieces.push(piece);
        self.adjacent = None;
    }

    /// A number with a fixed width takes room from the number of any width before it.
    fn number(&mut self, number: Number) {
        let fixed = number.least == number.most && number.sign == Sign::None;
        let base = self.adjacent;
        self.push(Piece::Number(number));
        self.adjacent = match base.and_then(|at| self.pieces.get_mut(at)) {
            Some(Piece::Number(before)) if fixed => {
                before.reserved += number.most;
                base
            }
            _ => Some(self.pieces.len() - 1),
        };
    }

    fn letters(&mut self, letter: char, count: usize) -> Option<()> {
        let plain =
            |field, least, most, sign| Number { field, least, most, sign, kind: Kind::Plain, reserved: 0 };
        let field = numeric_field(letter);
        match (letter, count) {
            ('u' | 'y', 2) => {
                let year = plain(field?, 2, 2, Sign::None);
                self.number(Number { kind: Kind::TwoDigitYear, ..year });
            }
            ('u' | 'y', 1..=3) => self.number(plain(field?, count, 19, Sign::Minus)),
            ('u' | 'y', 4..=19) => self.number(plain(field?, count, 19, Sign::PlusBeyond)),
            ('M' | 'L' | 'Q' | 'q' | 'd' | 'h' | 'H' | 'k' | 'K' | 'm' | 's', 1) => {
                self.number(plain(field?, 1, 19, Sign::Minus));
            }
            ('M' | 'L' | 'Q' | 'q' | 'd' | 'h' | 'H' | 'k' | 'K' | 'm' | 's', 2) => {
                self.number(plain(field?, 2, 2, Sign::None));
            }
            ('D', 1) => self.number(plain(field?, 1, 19, Sign::Minus)),
            ('D', 2..=3) => self.number(plain(field?, count, 3, Sign::None)),
            ('A' | 'n' | 'N', 1..=19) => self.number(plain(field?, count, 19, Sign::None)),
            ('S', 1..=9) => {
                let digits = plain(Field::Nano, count, count, Sign::None);
                self.number(Number { kind: Kind::Fraction, ..digits });
            }
            ('M' | 'L', 3..=5) => self.name(Field::Month, &MONTHS, 1, count),
            ('E', 1..=5) => self.name(Field::DayOfWeek, &WEEKDAYS, 1, count.max(3)),
            ('Q' | 'q', 3) => self.names(Field::Quarter, &["Q1", "Q2", "Q3", "Q4"], 1),
            ('Q' | 'q', 4) => {
                self.names(Field::Quarter, &["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"], 1);
            }
            ('a', 1) => self.names(Field::HalfDay, &["AM", "PM"], 0),
            ('G', 1..=3) => self.names(Field::Era, &["BC", "AD"], 0),
            ('G', 4) => self.names(Field::Era, &["Before Christ", "Anno Domini"], 0),
            ('G', 5) => self.names(Field::Era, &["B", "A"], 0),
            ('V', 2) => self.push(Piece::Zone { names: false }),
            ('z', 1..=4) => self.push(Piece::Zone { names: true }),
            ('X' | 'x' | 'Z', 1..=5) => self.push(offset(letter, count)),
            ('O', 1 | 4) => self.push(Piece::LocalizedOffset { full: count == 4 }),
            _ => return None,
        }
        Some(())
    }

    fn name(&mut self, field: Field, names: &[&'static str], first: i64, count: usize) {
        let names: Vec<&'static str> = match count {
            3 => names.iter().map(|name| short(name)).collect(),
            4 => names.to_vec(),
            _ => names.iter().map(|name| &name[..1]).collect(),
        };
        self.names(field, &names, first);
    }

    fn names(&mut self, field: Field, names: &[&'static str], first: i64) {
        self.push(Piece::Name { field, names: names.to_vec(), first });
    }
}

const fn numeric_field(letter: char) -> Option<Field> {
    Some(match letter {
        'u' => Field::Year,
        'y' => Field::YearOfEra,
        'M' | 'L' => Field::Month,
        'Q' | 'q' => Field::Quarter,
        'd' => Field::Day,
        'D' => Field::DayOfYear,
        'h' => Field::HourOfHalfDay1,
        'K' => Field::HourOfHalfDay0,
        'k' => Field::Hour1,
        'H' => Field::Hour,
        'm' => Field::Minute,
        's' => Field::Second,
        'n' => Field::Nano,
        'A' => Field::MilliOfDay,
        'N' => Field::NanoOfDay,
        _ => return None,
    })
}

/// What X, x and Z mean by their number.
fn offset(letter: char, count: usize) -> Piece {
    let form = |colon, minutes, seconds| Offset { colon, minutes, seconds };
    let (form, zero) = match (letter, count) {
        ('Z', 4) => return Piece::LocalizedOffset { full: true },
        ('Z', 5) => (form(true, true, true), "Z"),
        ('Z', _) => (form(false, true, false), "+0000"),
        (_, 1) => (form(false, false, false), "+00"),
        (_, 2) => (form(false, true, false), "+0000"),
        (_, 3) => (form(true, true, false), "+00:00"),
        (_, 4) => (form(false, true, true), "+0000"),
        _ => (form(true, true, true), "+00:00"),
    };
    let zero = if letter == 'X' { "Z" } else { zero };
    Piece::Offset { form, zero }
}

/// Reads the pieces in order; where the text goes on.
fn read_all(pieces: &[Piece], text: &str, mut at: usize, fields: &mut Fields) -> Option<usize> {
    for piece in pieces {
        at = match piece {
            Piece::Optional(inner) => {
                let mut attempt = fields.clone();
                match read_all(inner, text, at, &mut attempt) {
                    Some(end) => {
                        *fields = attempt;
                        end
                    }
                    None => at,
                }
            }
            piece => read_one(piece, text, at, fields)?,
        };
    }
    Some(at)
}

fn read_one(piece: &Piece, text: &str, at: usize, fields: &mut Fields) -> Option<usize> {
    let rest = text.get(at..)?;
    Some(match piece {
        Piece::Text(wanted) => {
            rest.strip_prefix(wanted.as_str())?;
            at + wanted.len()
        }
        Piece::Number(number) => {
            let (value, length) = number.read(rest)?;
            fields.set(number.field, value)?;
            at + length
        }
        Piece::Name { field, names, first } => {
            let found = (*first..).zip(names).filter(|(_, name)| rest.starts_with(**name));
            // Of narrow names that are the same, the first month or day is meant.
            let longest = found.max_by_key(|(value, name)| (name.len(), -value));
            let (value, name) = longest?;
            fields.set(*field, value)?;
            at + name.len()
        }
        Piece::Zone { names } => {
            let (zone, length) = if *names { Zone::read_text(rest)? } else { Zone::read_id(rest)? };
            fields.set_zone(zone)?;
            at + length
        }
        Piece::Offset { form, zero } => {
            let (seconds, length) = if rest.starts_with(zero) { (0, zero.len()) } else { form.read(rest)? };
            fields.set_offset(seconds)?;
            at + length
        }
        Piece::LocalizedOffset { full } => {
            let (seconds, length) = localized_offset(rest.strip_prefix("GMT")?, *full)?;
            fields.set_offset(seconds)?;
            at + 3 + length
        }
        Piece::Optional(_) => return None,
    })
}

/// What may stand behind GMT.
fn localized_offset(rest: &str, full: bool) -> Option<(i32, usize)> {
    if !rest.starts_with(['+', '-']) {
        return Some((0, 0));
    }
    if full {
        return Offset { colon: true, minutes: true, seconds: true }.read(rest);
    }
    let digits = rest.bytes().skip(1).take_while(u8::is_ascii_digit).count();
    let form = Offset { colon: true, minutes: false, seconds: true };
    if digits == 1 {
        let padded = format!("{}0{}", &rest[..1], &rest[1..]);
        return form.read(&padded).map(|(seconds, length)| (seconds, length - 1));
    }
    form.read(rest)
}

impl Number {
    /// The number at the start of `text`, and how many bytes it takes.
    fn read(&self, text: &str) -> Option<(i64, usize)> {
        let (sign, digits_at) = match (text.as_bytes().first()?, self.sign) {
            (b'-', Sign::Minus | Sign::PlusBeyond) => (-1, 1),
            (b'+', Sign::PlusBeyond) => (1, 1),
            _ => (0, 0),
        };
        let digits = &text[digits_at..];
        let available = digits.bytes().take(self.most + self.reserved).take_while(u8::is_ascii_digit).count();
        let length = match self.reserved {
            0 => available.min(self.most),
            reserved => available.saturating_sub(reserved).max(self.least).min(available),
        };
        if length < self.least || length > self.most {
            return None;
        }
        let value: i64 = digits[..length].parse().ok()?;
        let beyond = length > self.least;
        if self.sign == Sign::PlusBeyond && sign != -1 && beyond != (sign == 1) {
            return None;
        }
        if sign == -1 && value == 0 {
            return None;
        }
        let value = match self.kind {
            Kind::Plain if sign == -1 => -value,
            Kind::Plain => value,
            Kind::TwoDigitYear => 2_000 + value,
            Kind::Fraction => value * 10_i64.pow(u32::try_from(9 - length).ok()?),
        };
        Some((value, digits_at + length))
    }
}

#[cfg(test)]
mod tests;
