//! Functions of Trino that Timestream does not document and queries use all the same.
//!
//! Each does what Trino says it does. What would return a type Timestream has no wire shape for (maps,
//! binary, JSON, colours) is not here.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringViewBuilder};
use datafusion::common::Result;

use super::scalar::{Call, Def, def};
use crate::query::error::failed;

/// `name(double) -> double`
macro_rules! double {
    ($name:literal, $code:expr) => {
        def($name, &[(concat!($name, "(double) -> double"), |call| call.double_to_double($code))])
    };
}

/// `name(bigint, bigint) -> bigint`
macro_rules! shift {
    ($name:literal, $code:expr) => {
        def(
            $name,
            &[(concat!($name, "(bigint, bigint) -> bigint"), |call| {
                call.map::<_, Int64Array>(|row| {
                    let (bits, by) = (call.bigint(0).value(row), call.bigint(1).value(row));
                    let by = u32::try_from(by).map_err(|_| failed("Shift must be positive"))?;
                    Ok(Some($code(bits, by)))
                })
            })],
        )
    };
}

pub(super) const FUNCTIONS: &[Def] = &[
    double!("sinh", f64::sinh),
    shift!("bitwise_left_shift", |bits: i64, by| bits.checked_shl(by).unwrap_or(0)),
    shift!("bitwise_right_shift", |bits: i64, by| {
        bits.cast_unsigned().checked_shr(by).unwrap_or(0).cast_signed()
    }),
    shift!("bitwise_right_shift_arithmetic", |bits: i64, by: u32| bits >> by.min(63)),
    def(
        "log",
        &[("log(double, double) -> double", |call| {
            call.map::<_, Float64Array>(|row| {
                Ok(Some(call.double(1).value(row).ln() / call.double(0).value(row).ln()))
            })
        })],
    ),
    def("width_bucket", &[("width_bucket(double, double, double, bigint) -> bigint", width_bucket)]),
    def(
        "starts_with",
        &[("starts_with(varchar, varchar) -> boolean", |call| {
            call.map::<_, BooleanArray>(|row| {
                Ok(Some(call.text(0).value(row).starts_with(call.text(1).value(row))))
            })
        })],
    ),
    def(
        "ends_with",
        &[("ends_with(varchar, varchar) -> boolean", |call| {
            call.map::<_, BooleanArray>(|row| {
                Ok(Some(call.text(0).value(row).ends_with(call.text(1).value(row))))
            })
        })],
    ),
    def("translate", &[("translate(varchar, varchar, varchar) -> varchar", translate)]),
    def("concat_ws", &[("concat_ws(varchar, varchar...) -> varchar", concat_ws)]),
    def(
        "soundex",
        &[("soundex(varchar) -> varchar", |call| {
            call.map_text(|row| soundex(call.text(0).value(row)).map(Some))
        })],
    ),
    def("to_base64", &[("to_base64(varchar) -> varchar", to_base64)]),
    def("from_base64", &[("from_base64(varchar) -> varchar", from_base64)]),
    def(
        "human_readable_seconds",
        &[("human_readable_seconds(double) -> varchar", |call| {
            call.map_text(|row| Ok(Some(readable_seconds(call.double(0).value(row)))))
        })],
    ),
];

/// The bucket of a value among so many of one width; 0 below the first, one more than there are above.
fn width_bucket(call: &Call<'_>) -> Result<ArrayRef> {
    call.map::<_, Int64Array>(|row| {
        let (value, low, high) =
            (call.double(0).value(row), call.double(1).value(row), call.double(2).value(row));
        let buckets = call.bigint(3).value(row);
        if buckets <= 0 {
            return Err(failed("bucketCount must be greater than 0"));
        }
        if [value, low, high].iter().any(|number| !number.is_finite()) || (high - low) == 0.0 {
            return Err(failed("the operands of width_bucket must be finite and the bounds must differ"));
        }
        let (low, high, value) = if low < high { (low, high, value) } else { (-low, -high, -value) };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a place within buckets"
        )]
        let place = ((value - low) * buckets as f64 / (high - low)).floor() as i64;
        Ok(Some(match value {
            _ if value < low => 0,
            _ if value >= high => buckets.saturating_add(1),
            _ => place.saturating_add(1),
        }))
    })
}

fn translate(call: &Call<'_>) -> Result<ArrayRef> {
    call.map_text(|row| {
        let from: Vec<char> = call.text(1).value(row).chars().collect();
        let to: Vec<char> = call.text(2).value(row).chars().collect();
        let mut whole = call.allowance.text();
        for c in call.text(0).value(row).chars() {
            let spelled = match from.iter().position(|one| *one == c) {
                Some(place) => to.get(place).copied(),
                None => Some(c),
            };
            if let Some(c) = spelled {
                whole.push(c.encode_utf8(&mut [0; 4]))?;
            }
        }
        Ok(Some(whole.finish()))
    })
}

fn concat_ws(call: &Call<'_>) -> Result<ArrayRef> {
    // NULLs are left out, so rows with one are not skipped as elsewhere.
    let mut texts = StringViewBuilder::with_capacity(call.rows);
    for row in 0..call.rows {
        call.allowance.check()?;
        if call.args[0].is_null(row) {
            texts.append_null();
            continue;
        }
        let mut whole = call.allowance.text();
        let given = (1..call.args.len()).filter(|i| call.args[*i].is_valid(row));
        for (place, i) in given.enumerate() {
            whole.push(if place > 0 { call.text(0).value(row) } else { "" })?;
            whole.push(call.text(i).value(row))?;
        }
        let whole = whole.finish();
        call.allowance.grow(whole.len())?;
        texts.append_value(whole);
    }
    Ok(Arc::new(texts.finish()))
}

/// How a word sounds: its first letter and three digits. Letters that sound alike and stand together, or
/// with an H or a W between them, count once.
fn soundex(word: &str) -> Result<String> {
    const DIGITS: &[u8; 26] = b"01230120022455012623010202";
    let letters = word.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_uppercase);
    let mut code = String::with_capacity(4);
    let mut last = b'0';
    for letter in letters {
        let place = u32::from(letter).wrapping_sub(u32::from('A'));
        let digit = usize::try_from(place).ok().and_then(|place| DIGITS.get(place));
        let digit = *digit.ok_or_else(|| failed(format!("The character is not mapped: {letter}")))?;
        match code.len() {
            0 => code.push(letter),
            4 => break,
            _ if matches!(letter, 'H' | 'W') => continue,
            _ if digit != b'0' && digit != last => code.push(char::from(digit)),
            _ => {}
        }
        last = digit;
    }
    if !code.is_empty() {
        code.push_str(&"000"[code.len() - 1..]);
    }
    Ok(code)
}

fn to_base64(call: &Call<'_>) -> Result<ArrayRef> {
    call.map_text(|row| {
        let text = call.text(0).value(row);
        call.allowance.value(text.len() / 3 * 4 + 4)?;
        Ok(Some(STANDARD.encode(text)))
    })
}

fn from_base64(call: &Call<'_>) -> Result<ArrayRef> {
    call.map_text(|row| {
        let bytes = STANDARD.decode(call.text(0).value(row));
        let bytes = bytes.map_err(|_| failed("from_base64() takes base64 text"))?;
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| failed("from_base64() found bytes that are no UTF-8 text"))
    })
}

/// `1 day, 2 hours, 3 minutes, 4 seconds`
fn readable_seconds(seconds: f64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of seconds, saturating"
    )]
    let mut rest = seconds.round().abs() as u64;
    let mut words = Vec::new();
    for (unit, length) in UNITS {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            words.push(format!("{count} {unit}{}", if count == 1 { "" } else { "s" }));
        }
    }
    if words.is_empty() { "0 seconds".to_owned() } else { words.join(", ") }
}
