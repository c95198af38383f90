//! Mathematical functions.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array};
use datafusion::common::Result;
use datafusion::logical_expr::Volatility;
use uuid::Uuid;

use super::scalar::{Call, Code, Def, def};
use crate::query::error::failed;

/// `name(double) -> double`
macro_rules! double {
    ($name:literal, $code:expr) => {
        def($name, &[(concat!($name, "(double) -> double"), |call| call.double_to_double($code))])
    };
}

/// `name() -> double`
macro_rules! constant {
    ($name:literal, $value:expr) => {
        def(
            $name,
            &[(concat!($name, "() -> double"), |call| {
                Ok(Arc::new(Float64Array::from(vec![$value; call.rows])))
            })],
        )
    };
}

/// `name(double) -> boolean`
macro_rules! test {
    ($name:literal, $code:expr) => {
        def(
            $name,
            &[(concat!($name, "(double) -> boolean"), |call| {
                call.map::<_, BooleanArray>(|row| Ok(Some($code(call.double(0).value(row)))))
            })],
        )
    };
}

const RAISE: &[(&str, Code)] = &[("power(double, double) -> double", |call| {
    call.map::<_, Float64Array>(|row| Ok(Some(call.double(0).value(row).powf(call.double(1).value(row)))))
})];

const RANDOM: &[(&str, Code)] = &[
    ("random() -> double", |call| {
        Ok(Arc::new((0..call.rows).map(|_| Some(unit_interval())).collect::<Float64Array>()))
    }),
    ("random(integer) -> integer", |call| {
        call.map::<_, Int32Array>(|row| Ok(i32::try_from(below(call.integer(0).value(row).into())?).ok()))
    }),
    ("random(bigint) -> bigint", |call| {
        call.map::<_, Int64Array>(|row| below(call.bigint(0).value(row)).map(Some))
    }),
    ("random(bigint, bigint) -> bigint", |call| {
        call.map::<_, Int64Array>(|row| {
            let (from, to) = (call.bigint(0).value(row), call.bigint(1).value(row));
            let width = to.checked_sub(from).filter(|width| *width > 0);
            let width = width.ok_or_else(|| failed("start value must be less than stop value"))?;
            Ok(Some(from + below(width)?))
        })
    }),
];

const ROUND_UP: &[(&str, Code)] = &[
    ("ceiling(integer) -> integer", same),
    ("ceiling(bigint) -> bigint", same),
    ("ceiling(double) -> double", |call| call.double_to_double(f64::ceil)),
];

pub(super) const FUNCTIONS: &[Def] = &[
    double!("cbrt", f64::cbrt),
    double!("sqrt", f64::sqrt),
    double!("exp", f64::exp),
    double!("ln", f64::ln),
    double!("log2", f64::log2),
    double!("log10", f64::log10),
    double!("degrees", f64::to_degrees),
    double!("radians", f64::to_radians),
    double!("acos", f64::acos),
    double!("asin", f64::asin),
    double!("atan", f64::atan),
    double!("cos", f64::cos),
    double!("cosh", f64::cosh),
    double!("sin", f64::sin),
    double!("tan", f64::tan),
    double!("tanh", f64::tanh),
    def(
        "truncate",
        &[
            ("truncate(double) -> double", |call| call.double_to_double(f64::trunc)),
            ("truncate(double, bigint) -> double", |call| {
                call.map::<_, Float64Array>(|row| {
                    Ok(Some(truncated(call.double(0).value(row), call.bigint(1).value(row))))
                })
            }),
        ],
    ),
    constant!("e", std::f64::consts::E),
    constant!("pi", std::f64::consts::PI),
    constant!("infinity", f64::INFINITY),
    constant!("nan", f64::NAN),
    test!("is_finite", f64::is_finite),
    test!("is_infinite", f64::is_infinite),
    test!("is_nan", f64::is_nan),
    def(
        "atan2",
        &[("atan2(double, double) -> double", |call| {
            call.map::<_, Float64Array>(|row| {
                Ok(Some(call.double(0).value(row).atan2(call.double(1).value(row))))
            })
        })],
    ),
    def("pow", RAISE),
    def("power", RAISE),
    def(
        "abs",
        &[
            ("abs(integer) -> integer", |call| {
                call.map::<_, Int32Array>(|row| in_range(call.integer(0).value(row).checked_abs()))
            }),
            ("abs(bigint) -> bigint", |call| {
                call.map::<_, Int64Array>(|row| in_range(call.bigint(0).value(row).checked_abs()))
            }),
            ("abs(double) -> double", |call| call.double_to_double(f64::abs)),
        ],
    ),
    def("ceil", ROUND_UP),
    def("ceiling", ROUND_UP),
    def(
        "floor",
        &[
            ("floor(integer) -> integer", same),
            ("floor(bigint) -> bigint", same),
            ("floor(double) -> double", |call| call.double_to_double(f64::floor)),
        ],
    ),
    def(
        "round",
        &[
            ("round(integer) -> integer", same),
            ("round(bigint) -> bigint", same),
            ("round(double) -> double", |call| call.double_to_double(f64::round)),
            ("round(integer, bigint) -> integer", |call| {
                call.map::<_, Int32Array>(|row| {
                    let rounded = round_whole(call.integer(0).value(row).into(), call.bigint(1).value(row));
                    in_range(rounded.and_then(|rounded| rounded.try_into().ok()))
                })
            }),
            ("round(bigint, bigint) -> bigint", |call| {
                call.map::<_, Int64Array>(|row| {
                    in_range(round_whole(call.bigint(0).value(row), call.bigint(1).value(row)))
                })
            }),
            ("round(double, bigint) -> double", |call| {
                call.map::<_, Float64Array>(|row| {
                    Ok(Some(round_double(call.double(0).value(row), call.bigint(1).value(row))))
                })
            }),
        ],
    ),
    def(
        "sign",
        &[
            ("sign(integer) -> integer", |call| {
                call.map::<_, Int32Array>(|row| Ok(Some(call.integer(0).value(row).signum())))
            }),
            ("sign(bigint) -> bigint", |call| {
                call.map::<_, Int64Array>(|row| Ok(Some(call.bigint(0).value(row).signum())))
            }),
            ("sign(double) -> double", |call| {
                call.double_to_double(
                    |value| if value == 0.0 || value.is_nan() { value } else { value.signum() },
                )
            }),
        ],
    ),
    def(
        "mod",
        &[
            ("mod(integer, integer) -> integer", |call| {
                call.map::<_, Int32Array>(|row| {
                    remainder(call.integer(1).value(row) == 0, || {
                        call.integer(0).value(row).wrapping_rem(call.integer(1).value(row))
                    })
                })
            }),
            ("mod(bigint, bigint) -> bigint", |call| {
                call.map::<_, Int64Array>(|row| {
                    remainder(call.bigint(1).value(row) == 0, || {
                        call.bigint(0).value(row).wrapping_rem(call.bigint(1).value(row))
                    })
                })
            }),
            ("mod(double, double) -> double", |call| {
                call.map::<_, Float64Array>(|row| {
                    Ok(Some(call.double(0).value(row) % call.double(1).value(row)))
                })
            }),
        ],
    ),
    Def { name: "rand", forms: RANDOM, volatility: Volatility::Volatile, wrong_call_is_syntax: false },
    Def { name: "random", forms: RANDOM, volatility: Volatility::Volatile, wrong_call_is_syntax: false },
    def(
        "from_base",
        &[("from_base(varchar, bigint) -> bigint", |call| {
            call.map::<_, Int64Array>(|row| {
                let (digits, base) = (call.text(0).value(row), radix(call.bigint(1).value(row))?);
                let number = i64::from_str_radix(digits, base);
                number.map(Some).map_err(|_| failed(format!("Not a valid base-{base} number: {digits}")))
            })
        })],
    ),
    def(
        "to_base",
        &[("to_base(bigint, bigint) -> varchar", |call| {
            call.map_text(|row| {
                Ok(Some(in_base(call.bigint(0).value(row), radix(call.bigint(1).value(row))?)))
            })
        })],
    ),
];

fn same(call: &Call<'_>) -> Result<ArrayRef> {
    Ok(Arc::clone(&call.args[0]))
}

fn in_range<T>(value: Option<T>) -> Result<Option<T>> {
    match value {
        Some(value) => Ok(Some(value)),
        None => Err(failed("numeric value out of range")),
    }
}

fn remainder<T>(by_zero: bool, code: impl Fn() -> T) -> Result<Option<T>> {
    if by_zero { Err(failed("Division by zero")) } else { Ok(Some(code())) }
}

/// Half away from zero; places after the point change nothing, places before it make zeros.
fn round_whole(value: i64, places: i64) -> Option<i64> {
    if places >= 0 {
        return Some(value);
    }
    let Some(unit) = u32::try_from(-places).ok().and_then(|zeros| 10_i64.checked_pow(zeros)) else {
        return Some(0);
    };
    let rest = value % unit;
    let down = value - rest;
    match i128::from(rest).abs() * 2 >= i128::from(unit) {
        true => down.checked_add(unit * rest.signum()),
        false => Some(down),
    }
}

/// Half away from zero. What is too large to be scaled has no digit after the point to round.
fn round_double(value: f64, places: i64) -> f64 {
    let Ok(places) = i32::try_from(places) else { return value };
    if !value.is_finite() {
        return value;
    }
    let factor = 10_f64.powi(places.abs());
    if !factor.is_finite() {
        return if places > 0 { value } else { 0.0 };
    }
    let scaled = if places >= 0 { value * factor } else { value / factor };
    if !scaled.is_finite() {
        return value;
    }
    let rounded = scaled.round();
    if places >= 0 { rounded / factor } else { rounded * factor }
}

/// Without the digits behind so many places after the point.
fn truncated(value: f64, places: i64) -> f64 {
    let rounded = round_double(value, places);
    if rounded.abs() <= value.abs() || !value.is_finite() {
        return rounded;
    }
    let Ok(exponent) = i32::try_from(places) else { return value };
    let factor = 10_f64.powi(exponent.abs());
    if places >= 0 { (value * factor).trunc() / factor } else { (value / factor).trunc() * factor }
}

fn radix(base: i64) -> Result<u32> {
    match u32::try_from(base) {
        Ok(base @ 2..=36) => Ok(base),
        _ => Err(failed("Radix must be between 2 and 36")),
    }
}

fn in_base(number: i64, base: u32) -> String {
    let mut digits = Vec::new();
    let mut rest = number.unsigned_abs();
    loop {
        let digit = u32::try_from(rest % u64::from(base)).unwrap_or_default();
        digits.extend(char::from_digit(digit, base));
        rest /= u64::from(base);
        if rest == 0 {
            break;
        }
    }
    digits.extend((number < 0).then_some('-'));
    digits.into_iter().rev().collect()
}

/// Random bits come from where the names of queries come from.
fn bits() -> u64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    // Version and variant stand at fixed places; each half hides what the other shows.
    high.rotate_left(32) ^ low
}

#[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
fn unit_interval() -> f64 {
    (bits() >> 11) as f64 / (1_u64 << 53) as f64
}

fn below(bound: i64) -> Result<i64> {
    match u64::try_from(bound) {
        Ok(bound) if bound > 0 => {
            let scaled = (u128::from(bits()) * u128::from(bound)) >> 64;
            Ok(i64::try_from(scaled).unwrap_or_default())
        }
        _ => Err(failed("bound must be positive")),
    }
}
