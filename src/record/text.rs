//! The texts in which times and values come, from the API as from files (spec 4.3).

use super::{MeasureType, MeasureValue, VARCHAR_BYTES_MAX};
use crate::clock::Timestamp;

/// What a time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeUnit {
    /// SECONDS.
    Seconds,
    /// MILLISECONDS, which is meant where nothing is said.
    #[default]
    Milliseconds,
    /// MICROSECONDS.
    Microseconds,
    /// NANOSECONDS.
    Nanoseconds,
}

impl TimeUnit {
    /// The unit the API calls `name`.
    pub fn of_api_name(name: &str) -> Option<Self> {
        Some(match name {
            "SECONDS" => Self::Seconds,
            "MILLISECONDS" => Self::Milliseconds,
            "MICROSECONDS" => Self::Microseconds,
            "NANOSECONDS" => Self::Nanoseconds,
            _ => return None,
        })
    }

    /// Nanoseconds of one unit.
    pub const fn nanos(self) -> i64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Milliseconds => 1_000_000,
            Self::Microseconds => 1_000,
            Self::Nanoseconds => 1,
        }
    }

    /// The moment that `text`, a whole number of units, stands for.
    pub fn moment(self, text: &str) -> Option<Timestamp> {
        text.parse::<i64>().ok()?.checked_mul(self.nanos()).map(Timestamp::from_nanos)
    }
}

impl MeasureType {
    /// The type the API calls `name`; MULTI is none, for it is several values.
    pub fn of_api_name(name: &str) -> Option<Self> {
        Some(match name {
            "DOUBLE" => Self::Double,
            "BIGINT" => Self::Bigint,
            "VARCHAR" => Self::Varchar,
            "BOOLEAN" => Self::Boolean,
            "TIMESTAMP" => Self::Timestamp,
            _ => return None,
        })
    }
}

impl MeasureValue {
    /// The value that `text` stands for. A TIMESTAMP counts in `unit`. Nothing if it stands for none; a
    /// VARCHAR is then longer than [`VARCHAR_BYTES_MAX`].
    pub fn parse(text: &str, of: MeasureType, unit: TimeUnit) -> Option<Self> {
        match of {
            MeasureType::Double => {
                text.parse().ok().filter(|number: &f64| number.is_finite()).map(Self::Double)
            }
            MeasureType::Bigint => text.parse().ok().map(Self::Bigint),
            MeasureType::Boolean if text.eq_ignore_ascii_case("true") => Some(Self::Boolean(true)),
            MeasureType::Boolean if text.eq_ignore_ascii_case("false") => Some(Self::Boolean(false)),
            MeasureType::Boolean => None,
            MeasureType::Varchar => (text.len() <= VARCHAR_BYTES_MAX).then(|| Self::Varchar(text.to_owned())),
            MeasureType::Timestamp => unit.moment(text).map(Self::Timestamp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_api_takes_them() {
        let parse = |text, of| MeasureValue::parse(text, of, TimeUnit::Seconds);
        assert_eq!(parse("-1.5e3", MeasureType::Double), Some(MeasureValue::Double(-1500.0)));
        assert_eq!(parse("True", MeasureType::Boolean), Some(MeasureValue::Boolean(true)));
        let moment = Timestamp::from_nanos(2_000_000_000);
        assert_eq!(parse("2", MeasureType::Timestamp), Some(MeasureValue::Timestamp(moment)));
        let long = "x".repeat(2049);
        assert_eq!(parse(&long, MeasureType::Varchar), None);
        for (text, of) in [
            ("NaN", MeasureType::Double),
            ("inf", MeasureType::Double),
            ("1.0", MeasureType::Bigint),
            ("yes", MeasureType::Boolean),
            ("9223372036854775807", MeasureType::Timestamp),
            ("", MeasureType::Bigint),
        ] {
            assert_eq!(parse(text, of), None, "{text}");
        }
    }
}
