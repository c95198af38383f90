//! Time zones: found by the ids Joda-Time and java.time take, and what offset they have when.

use std::str::FromStr as _;

use chrono::{LocalResult, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _};
use chrono_tz::{OffsetName as _, Tz};

use super::zone_names;

/// The largest offset either library takes, in seconds.
const OFFSET_SECONDS_MAX: i32 = 18 * 3600;

/// A time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// A zone of the tz database.
    Named(Tz),
    /// A fixed offset in seconds.
    Fixed(i32),
}

impl Zone {
    /// Greenwich.
    pub(super) const UTC: Self = Self::Named(Tz::UTC);

    /// The zone with this id, as Joda-Time has them: a name of the tz database or an offset such as
    /// `+01:00`, also behind UTC, UT or GMT.
    pub(super) fn joda(id: &str) -> Option<Self> {
        if let Ok(zone) = Tz::from_str(id) {
            return Some(Self::Named(zone));
        }
        let offset = ["UTC", "UT", "GMT", ""].into_iter().find_map(|prefix| id.strip_prefix(prefix))?;
        let (seconds, length) = any_offset(offset)?;
        (length == offset.len()).then_some(if seconds == 0 { Self::UTC } else { Self::Fixed(seconds) })
    }

    /// The zone at the start of `text`, as java.time reads an id (`VV`), and how many bytes it takes.
    pub(super) fn read_id(text: &str) -> Option<(Self, usize)> {
        if text.starts_with(['+', '-']) {
            let (seconds, length) = Offset::ID.read(text)?;
            return Some((Self::Fixed(seconds), length));
        }
        if let Some(prefix) = ["UTC", "GMT", "UT"].into_iter().find(|prefix| text.starts_with(prefix)) {
            return Some(match Offset::ID.read(&text[prefix.len()..]) {
                Some((seconds, length)) => (Self::Fixed(seconds), prefix.len() + length),
                None => (Self::UTC, prefix.len()),
            });
        }
        Self::read_name(text).or_else(|| text.starts_with('Z').then_some((Self::UTC, 1)))
    }

    /// As [`Zone::read_id`], or a name such as PST or Pacific Standard Time (`z`).
    pub(super) fn read_text(text: &str) -> Option<(Self, usize)> {
        let named = zone_names::read(text).and_then(|(id, length)| Some((Tz::from_str(id).ok()?, length)));
        let by_id = Self::read_id(text);
        match (named, by_id) {
            (Some((zone, length)), by_id) if by_id.is_none_or(|(_, other)| length > other) => {
                Some((Self::Named(zone), length))
            }
            (_, by_id) => by_id,
        }
    }

    /// The longest name of the tz database at the start of `text`.
    fn read_name(text: &str) -> Option<(Self, usize)> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
        let longest = text.bytes().take(64).take_while(|byte| legal(*byte)).count();
        (1..=longest)
            .rev()
            .find_map(|length| Tz::from_str(&text[..length]).ok().map(|zone| (Self::Named(zone), length)))
    }

    /// The offset in seconds at a moment in UTC.
    pub(super) fn offset_at(self, utc: NaiveDateTime) -> i32 {
        match self {
            Self::Named(zone) => zone.offset_from_utc_datetime(&utc).fix().local_minus_utc(),
            Self::Fixed(seconds) => seconds,
        }
    }

    /// The moment in UTC that clocks here call `local`. Of two such moments it is the earlier; a time that
    /// clocks pass over is moved by the gap, as java.time does.
    pub(super) fn utc_of(self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let seconds = match self {
            Self::Fixed(seconds) => seconds,
            Self::Named(zone) => match zone.offset_from_local_datetime(&local) {
                LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => {
                    offset.fix().local_minus_utc()
                }
                LocalResult::None => self.offset_before_gap(zone, local)?,
            },
        };
        local.checked_sub_signed(TimeDelta::seconds(i64::from(seconds)))
    }

    fn offset_before_gap(self, zone: Tz, local: NaiveDateTime) -> Option<i32> {
        // No zone ever skipped more than a day.
        (1..=25).find_map(|hours| {
            let before = local.checked_sub_signed(TimeDelta::hours(hours))?;
            let offset = zone.offset_from_local_datetime(&before).latest()?;
            Some(offset.fix().local_minus_utc())
        })
    }

    /// The zone's id.
    pub(super) fn id(self) -> String {
        match self {
            Self::Named(zone) => zone.name().to_owned(),
            Self::Fixed(seconds) => print_offset(seconds, true),
        }
    }

    /// The name clocks go by at a moment in UTC, such as CST or Central Standard Time.
    pub(super) fn name_at(self, utc: NaiveDateTime, long: bool) -> String {
        let seconds = self.offset_at(utc);
        let name = match self {
            Self::Fixed(_) => None,
            Self::Named(zone) => {
                let offset = zone.offset_from_utc_datetime(&utc);
                let letters = offset.abbreviation().filter(|name| !name.starts_with(['+', '-']));
                let short = letters.or_else(|| zone_names::short(zone.name(), seconds));
                let name =
                    if long { short.and_then(|short| zone_names::long(short, seconds)) } else { short };
                name.map(str::to_owned)
            }
        };
        name.unwrap_or_else(|| print_offset(seconds, true))
    }
}

/// `+0130`, or `+01:30`.
pub(super) fn print_offset(seconds: i32, colon: bool) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes, rest) = (seconds.abs() / 3600, seconds.abs() / 60 % 60, seconds.abs() % 60);
    let colon = if colon { ":" } else { "" };
    match rest {
        0 => format!("{sign}{hours:02}{colon}{minutes:02}"),
        rest => format!("{sign}{hours:02}{colon}{minutes:02}{colon}{rest:02}"),
    }
}

/// How an offset is written, in the terms of java.time's patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    /// Whether colons stand between the parts.
    pub(super) colon: bool,
    /// Whether minutes have to be there.
    pub(super) minutes: bool,
    /// Whether seconds may be there.
    pub(super) seconds: bool,
}

impl Offset {
    /// As in a zone's id: `+01:00`, `+01:00:30`.
    const ID: Self = Self { colon: true, minutes: true, seconds: true };

    /// The offset at the start of `text`, in seconds, and how many bytes it takes.
    pub(super) fn read(self, text: &str) -> Option<(i32, usize)> {
        let sign = match text.as_bytes().first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let mut at = 1;
        let hours = two_digits(text, at)?;
        at += 2;
        let mut part = |required: bool| {
            let colon = usize::from(self.colon);
            let separated = !self.colon || text.as_bytes().get(at) == Some(&b':');
            match two_digits(text, at + colon).filter(|value| separated && *value < 60) {
                Some(value) => {
                    at += 2 + colon;
                    Some(Some(value))
                }
                None => (!required).then_some(None),
            }
        };
        let minutes = part(self.minutes)?;
        let seconds = if self.seconds && minutes.is_some() { part(false)? } else { None };
        let total = hours * 3600 + minutes.unwrap_or(0) * 60 + seconds.unwrap_or(0);
        (total <= OFFSET_SECONDS_MAX).then_some((sign * total, at))
    }
}

fn two_digits(text: &str, at: usize) -> Option<i32> {
    let digits = text.as_bytes().get(at..at + 2)?;
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
    Some(digit(digits[0])? * 10 + digit(digits[1])?)
}

/// With colons or without, and with a lone digit for the hours.
fn any_offset(text: &str) -> Option<(i32, usize)> {
    if let [sign @ (b'+' | b'-'), hour @ b'0'..=b'9'] = text.as_bytes() {
        let seconds = i32::from(hour - b'0') * 3600;
        return Some((if *sign == b'-' { -seconds } else { seconds }, 2));
    }
    let colon = text.as_bytes().get(3) == Some(&b':');
    Offset { colon, minutes: false, seconds: true }.read(text)
}
