//! Decimal numbers as AWS IoT SQL has them (spec 2.1): 34 digits, exponents within ±999.
//!
//! A [`Decimal`] is `Copy` and every one costs the same, whatever its exponent, so no payload can make
//! a number expensive. Sums, products and quotients that leave 128
//! bits go through `bigdecimal` and come back rounded half to even. A result too large to hold is
//! `None`, which the evaluator turns into Undefined; a result too small to hold is zero.

use std::cmp::Ordering;
use std::fmt;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, ToPrimitive};

/// The most digits an Int or a Decimal has.
pub(crate) const DIGITS_MAX: u32 = 34;
/// The largest exponent of a Decimal's first digit, in either direction.
const EXPONENT_MAX: i32 = 999;
/// The first integer with more than [`DIGITS_MAX`] digits.
const LIMIT: i128 = 10_i128.pow(DIGITS_MAX);

/// The powers of ten a double holds exactly, as far as readings need them.
const EXACT_POWERS: [f64; 12] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11];

/// A decimal number: `digits` x 10^-`scale`, with |`digits`| < 10^34 and a bounded `scale`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal {
    digits: i128,
    scale: i32,
}

/// An Int or a Decimal, the two kinds of number the language tells apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    /// A whole number of at most 34 digits.
    Int(i128),
    /// Any other number, and in 2015-10-08 also whole ones written with a point.
    Decimal(Decimal),
}

/// `value` if it has at most 34 digits.
pub(crate) const fn bounded_int(value: i128) -> Option<i128> {
    if value > -LIMIT && value < LIMIT { Some(value) } else { None }
}

/// 10^`exponent`, if it fits.
fn power_of_ten(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

fn digit_count(value: i128) -> u32 {
    value.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1)
}

impl Decimal {
    /// The whole number `value`.
    pub(crate) const fn from_int(value: i128) -> Self {
        Self { digits: value, scale: 0 }
    }

    /// `count` tenths, written with one decimal place: 10 is 1.0.
    pub(crate) const fn tenths(count: i128) -> Self {
        Self { digits: count, scale: 1 }
    }

    /// `digits` of which `places` stand behind the point: a number of at most 18 digits.
    pub(crate) fn short(digits: i64, places: usize) -> Self {
        Self { digits: digits.into(), scale: i32::try_from(places).unwrap_or(0) }
    }

    /// The shortest decimal that reads back as `value`; `None` for infinities and NaN.
    pub(crate) fn from_f64(value: f64) -> Option<Self> {
        if value.is_finite() { Self::parse(&format!("{value:?}")) } else { None }
    }

    /// Reads `-?digits[.digits][E[+-]digits]`, rounding to 34 digits in one pass over the text.
    /// `None` when the text is no number or the number is too large.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, body) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match body.find(['e', 'E']) {
            Some(at) => (&body[..at], parse_exponent(&body[at + 1..])?),
            None => (body, 0),
        };
        let mut reader = DigitReader::default();
        for byte in mantissa.bytes() {
            reader.push(byte)?;
        }
        let (digits, dropped, fraction) = reader.finish()?;
        let signed = if negative { -digits } else { digits };
        let scale = fraction.saturating_sub(dropped).saturating_sub(exponent);
        Self::bounded(signed, scale)
    }

    /// Brings `digits` x 10^-`scale` into range.
    fn bounded(mut digits: i128, mut scale: i64) -> Option<Self> {
        let excess = digit_count(digits).saturating_sub(DIGITS_MAX);
        if excess > 0 {
            digits = divide_half_even(digits, power_of_ten(excess)?);
            scale -= i64::from(excess);
            if digits.unsigned_abs() == LIMIT.unsigned_abs() {
                digits /= 10;
                scale -= 1;
            }
        }
        if digits == 0 {
            let kept = scale.clamp(0, i64::from(EXPONENT_MAX));
            return Some(Self { digits, scale: i32::try_from(kept).ok()? });
        }
        let exponent = i64::from(digit_count(digits)) - 1 - scale;
        if exponent > i64::from(EXPONENT_MAX) {
            return None;
        }
        if exponent < -i64::from(EXPONENT_MAX) {
            return Some(Self { digits: 0, scale: 0 });
        }
        Some(Self { digits, scale: i32::try_from(scale).ok()? })
    }

    fn to_big(self) -> BigDecimal {
        BigDecimal::new(BigInt::from(self.digits), i64::from(self.scale))
    }

    fn from_big(value: &BigDecimal) -> Option<Self> {
        let rounded = if value.digits() > u64::from(DIGITS_MAX) {
            let context = bigdecimal::Context::default()
                .with_prec(DIGITS_MAX)?
                .with_rounding_mode(bigdecimal::RoundingMode::HalfEven);
            context.round_decimal_ref(value)
        } else {
            value.clone()
        };
        let (digits, scale) = rounded.into_bigint_and_scale();
        Self::bounded(digits.to_i128()?, scale)
    }

    /// The same number with `scale` decimal places, if its digits fit 128 bits.
    fn rescaled(self, scale: i32) -> Option<i128> {
        let places = u32::try_from(scale.checked_sub(self.scale)?).ok()?;
        if self.digits == 0 {
            return Some(0);
        }
        self.digits.checked_mul(power_of_ten(places)?)
    }

    /// Whether the number is 0.
    pub(crate) const fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// -1, 0 or 1.
    pub(crate) const fn sign(self) -> i128 {
        self.digits.signum()
    }

    /// The number with its sign turned.
    pub(crate) const fn negated(self) -> Self {
        Self { digits: -self.digits, scale: self.scale }
    }

    /// The number without its sign.
    pub(crate) const fn magnitude(self) -> Self {
        Self { digits: self.digits.abs(), scale: self.scale }
    }

    /// `self + other`.
    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let exact =
            self.rescaled(scale).zip(other.rescaled(scale)).and_then(|(left, right)| left.checked_add(right));
        match exact {
            Some(digits) => Self::bounded(digits, i64::from(scale)),
            None => Self::from_big(&(self.to_big() + other.to_big())),
        }
    }

    /// `self - other`.
    pub(crate) fn minus(self, other: Self) -> Option<Self> {
        self.plus(other.negated())
    }

    /// `self * other`.
    pub(crate) fn times(self, other: Self) -> Option<Self> {
        match self.digits.checked_mul(other.digits) {
            Some(digits) => Self::bounded(digits, i64::from(self.scale) + i64::from(other.scale)),
            None => Self::from_big(&(self.to_big() * other.to_big())),
        }
    }

    /// `self / other`; `None` when `other` is 0. An exact quotient keeps as many places as the
    /// dividend has more than the divisor.
    pub(crate) fn divided_by(self, other: Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        let quotient = Self::from_big(&(self.to_big() / other.to_big()))?;
        Some(quotient.with_least_places(self.scale.saturating_sub(other.scale).max(0)))
    }

    /// What is left of `self` after taking away whole multiples of `other`, with the sign of `self`;
    /// `None` when `other` is 0.
    pub(crate) fn remainder(self, other: Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        Self::from_big(&(self.to_big() % other.to_big()))
    }

    /// Drops trailing zeros down to `places`, or adds them up to it while there is room.
    fn with_least_places(mut self, places: i32) -> Self {
        while self.scale > places && self.digits % 10 == 0 {
            self.digits /= 10;
            self.scale -= 1;
        }
        while self.scale < places && self.digits != 0 && digit_count(self.digits) < DIGITS_MAX {
            self.digits *= 10;
            self.scale += 1;
        }
        self
    }

    /// The number as an Int, if it is whole and has at most 34 digits.
    pub(crate) fn whole(self) -> Option<i128> {
        if self.digits == 0 {
            return Some(0);
        }
        match u32::try_from(self.scale) {
            Ok(0) => Some(self.digits),
            Ok(places) => {
                let unit = power_of_ten(places)?;
                (self.digits % unit == 0).then_some(self.digits / unit)
            }
            Err(_) => self.digits.checked_mul(power_of_ten(self.scale.unsigned_abs())?).and_then(bounded_int),
        }
    }

    /// Splits the number into its whole part, cut toward zero, and the rest; `None` when the whole
    /// part has more than 34 digits.
    fn split(self) -> Option<(i128, Self)> {
        let Ok(places) = u32::try_from(self.scale) else {
            return self.whole().map(|whole| (whole, Self::from_int(0)));
        };
        match power_of_ten(places) {
            Some(unit) => Some((self.digits / unit, Self { digits: self.digits % unit, scale: self.scale })),
            None => Some((0, self)),
        }
    }

    /// The largest Int that is not above the number.
    pub(crate) fn floor(self) -> Option<i128> {
        let (whole, rest) = self.split()?;
        bounded_int(whole - i128::from(rest.sign() < 0))
    }

    /// The smallest Int that is not below the number.
    pub(crate) fn ceil(self) -> Option<i128> {
        let (whole, rest) = self.split()?;
        bounded_int(whole + i128::from(rest.sign() > 0))
    }

    /// The nearest Int; halves go away from zero.
    pub(crate) fn round(self) -> Option<i128> {
        let (whole, rest) = self.split()?;
        let half = Self { digits: 5, scale: 1 };
        let away = rest.magnitude().compare(half) != Ordering::Less;
        bounded_int(whole + if away { rest.sign() } else { 0 })
    }

    /// The number cut to at most `places` decimal places, without trailing zeros.
    pub(crate) fn truncated(self, places: u32) -> Self {
        let mut cut = self;
        let excess = i64::from(self.scale) - i64::from(places);
        if excess > 0 {
            let unit = u32::try_from(excess).ok().and_then(power_of_ten);
            cut.digits = unit.map_or(0, |unit| self.digits / unit);
            cut.scale = i32::try_from(places).unwrap_or(self.scale);
        }
        cut.with_least_places(0)
    }

    /// The number as a double, rounded to nearest; beyond the range of doubles an infinity.
    pub(crate) fn to_f64(self) -> f64 {
        // Up to 2^53 and 10^22 both sides of the division are exact, so its one rounding is right.
        if let Ok(digits) = i32::try_from(self.digits)
            && let Some(unit) = usize::try_from(self.scale).ok().and_then(|scale| EXACT_POWERS.get(scale))
        {
            return f64::from(digits) / unit;
        }
        format!("{}e{}", self.digits, -i64::from(self.scale)).parse().unwrap_or(f64::NAN)
    }

    /// Compares two numbers by value: 1.0 equals 1.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        match self.rescaled(scale).zip(other.rescaled(scale)) {
            Some((left, right)) => left.cmp(&right),
            None => self.to_big().cmp(&other.to_big()),
        }
    }
}

/// Prints as the service does: plain while the exponent is small, else with one digit before the point.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits.unsigned_abs().to_string();
        let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
        let exponent = count - 1 - self.scale;
        if self.digits < 0 {
            f.write_str("-")?;
        }
        if self.scale == 0 {
            return f.write_str(&digits);
        }
        if self.scale > 0 && exponent >= -6 {
            let point = count - self.scale;
            return match usize::try_from(point) {
                Ok(point) if point > 0 => write!(f, "{}.{}", &digits[..point], &digits[point..]),
                _ => write!(f, "0.{}{digits}", "0".repeat(usize::try_from(-point).unwrap_or(0))),
            };
        }
        f.write_str(&digits[..1])?;
        if count > 1 {
            write!(f, ".{}", &digits[1..])?;
        }
        write!(f, "E{exponent:+}")
    }
}

impl Number {
    /// Reads a number as JSON or the language writes it: without point and exponent it is an Int.
    /// `None` when it is no number or too large.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let decimal = Decimal::parse(text)?;
        if text.contains(['.', 'e', 'E']) || decimal.scale != 0 {
            return Some(Self::Decimal(decimal));
        }
        Some(Self::Int(decimal.digits))
    }

    /// The number as a Decimal.
    pub(crate) const fn decimal(self) -> Decimal {
        match self {
            Self::Int(value) => Decimal::from_int(value),
            Self::Decimal(value) => value,
        }
    }

    /// The largest Int that is not above the number.
    pub(crate) fn floor(self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(value),
            Self::Decimal(value) => value.floor(),
        }
    }

    /// As [`Number::floor`], moved into `low..=high`.
    pub(crate) fn floor_within(self, low: u32, high: u32) -> u32 {
        let floor = self.floor().unwrap_or_else(|| self.decimal().sign() * LIMIT);
        let clamped = floor.clamp(i128::from(low), i128::from(high));
        u32::try_from(clamped).unwrap_or(high)
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Anything with more digits than an i64 holds is out of range in the same direction.
    let value = digits.parse::<i64>().unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    Some(if negative { -value } else { value })
}

fn divide_half_even(value: i128, unit: i128) -> i128 {
    let (quotient, rest) = (value / unit, value % unit);
    let away = match (rest.abs() * 2).cmp(&unit) {
        Ordering::Greater => true,
        Ordering::Equal => quotient % 2 != 0,
        Ordering::Less => false,
    };
    quotient + if away { value.signum() } else { 0 }
}

/// Collects the digits of a mantissa: the first 36 significant ones, and whether the rest is zero.
#[derive(Default)]
struct DigitReader {
    digits: i128,
    significant: u32,
    dropped: i64,
    sticky: bool,
    fraction: i64,
    seen: bool,
    pointed: bool,
}

impl DigitReader {
    const KEPT: u32 = DIGITS_MAX + 2;

    fn push(&mut self, byte: u8) -> Option<()> {
        if byte == b'.' && !self.pointed && self.seen {
            self.pointed = true;
            self.seen = false;
            return Some(());
        }
        let digit = i128::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        self.seen = true;
        self.fraction += i64::from(self.pointed);
        if self.significant == Self::KEPT {
            self.dropped += 1;
            self.sticky |= digit != 0;
        } else {
            self.digits = self.digits * 10 + digit;
            self.significant += u32::from(self.digits != 0);
        }
        Some(())
    }

    /// The digits, how many integer places were dropped from their end, and the decimal places.
    fn finish(self) -> Option<(i128, i64, i64)> {
        if !self.seen {
            return None;
        }
        // The digit below the last kept one decides a tie, so that a dropped non-zero digit counts.
        let nudge = i128::from(self.sticky && self.digits % 5 == 0);
        Some((self.digits + nudge, self.dropped, self.fraction))
    }
}

#[cfg(test)]
mod tests;
