//! Functions on numbers.
//!
//! Roots, powers, logarithms and angles are computed in double precision, as on AWS; an imaginary or
//! infinite result is Undefined. Everything else is exact.

use std::borrow::Cow;

use super::{Operand, Scope, Value, first};
use crate::rules::sql::eval::undefined;
use crate::rules::sql::number::{DIGITS_MAX, Decimal, Number, bounded_int};
use crate::rules::sql::operator::Operator;

/// A function of one number, by its Int and its Decimal case.
fn exact<'a>(arguments: Vec<Operand<'a>>, apply: impl Fn(Number) -> Value) -> Operand<'a> {
    Cow::Owned(first(arguments).number().map_or(Value::Undefined, apply))
}

fn int(value: Option<i128>) -> Value {
    value.map_or(Value::Undefined, Value::Int)
}

fn pair(arguments: &[Operand<'_>]) -> Option<(Number, Number)> {
    match arguments {
        [left, right] => left.number().zip(right.number()),
        _ => None,
    }
}

/// A function of one number in double precision.
fn real<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>, apply: fn(f64) -> f64) -> Operand<'a> {
    let argument = first(arguments).number();
    from_real(argument.map(|number| apply(number.decimal().to_f64())), scope)
}

/// A function of two numbers in double precision.
fn real_pair<'a>(arguments: &[Operand<'a>], scope: &Scope<'a>, apply: fn(f64, f64) -> f64) -> Operand<'a> {
    let result = pair(arguments).map(|(a, b)| apply(a.decimal().to_f64(), b.decimal().to_f64()));
    from_real(result, scope)
}

fn from_real<'a>(result: Option<f64>, scope: &Scope<'a>) -> Operand<'a> {
    let decimal = result.and_then(Decimal::from_f64);
    Cow::Owned(decimal.map(|decimal| scope.version().value(Number::Decimal(decimal))).into())
}

pub(super) fn abs<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    exact(arguments, |number| match number {
        Number::Int(value) => Value::Int(value.abs()),
        Number::Decimal(value) => scope.version().value(Number::Decimal(value.magnitude())),
    })
}

pub(super) fn sign<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    exact(arguments, |number| Value::Int(number.decimal().sign()))
}

pub(super) fn ceil<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    exact(arguments, |number| int(number.decimal().ceil()))
}

pub(super) fn floor<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    exact(arguments, |number| int(number.floor()))
}

pub(super) fn round<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    exact(arguments, |number| int(number.decimal().round()))
}

/// trunc(x, n): n takes no strings, and is moved into 0..=34.
pub(super) fn trunc<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    let [number, places] = arguments.as_slice() else { return undefined() };
    let places = match **places {
        Value::Int(_) | Value::Decimal(_) => places.number(),
        _ => None,
    };
    let result = number.number().zip(places).map(|(number, places)| match number {
        Number::Int(value) => Value::Int(value),
        Number::Decimal(value) => {
            let cut = value.truncated(places.floor_within(0, DIGITS_MAX));
            scope.version().value(Number::Decimal(cut))
        }
    });
    Cow::Owned(result.into())
}

pub(super) fn remainder<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    Cow::Owned(match arguments.as_slice() {
        [left, right] => Operator::Remainder.apply(left, right, scope.version()),
        _ => Value::Undefined,
    })
}

fn bits<'a>(arguments: &[Operand<'a>], apply: fn(i128, i128) -> i128) -> Operand<'a> {
    let operands = pair(arguments).and_then(|(left, right)| left.floor().zip(right.floor()));
    let result = operands.map(|(left, right)| apply(left, right));
    Cow::Owned(int(result.and_then(bounded_int)))
}

pub(super) fn bitand<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    bits(&arguments, |left, right| left & right)
}

pub(super) fn bitor<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    bits(&arguments, |left, right| left | right)
}

pub(super) fn bitxor<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    bits(&arguments, |left, right| left ^ right)
}

pub(super) fn bitnot<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    exact(arguments, |number| int(number.floor().map(|value| !value)))
}

pub(super) fn power<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    real_pair(&arguments, scope, f64::powf)
}

pub(super) fn atan2<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    real_pair(&arguments, scope, f64::atan2)
}

macro_rules! real_functions {
    ($($name:ident = $apply:expr;)*) => {$(
        pub(super) fn $name<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
            real(arguments, scope, $apply)
        }
    )*};
}

real_functions! {
    sqrt = f64::sqrt;
    exp = f64::exp;
    ln = f64::ln;
    log = f64::log10;
    sin = f64::sin;
    cos = f64::cos;
    tan = f64::tan;
    asin = f64::asin;
    acos = f64::acos;
    atan = f64::atan;
    sinh = f64::sinh;
    cosh = f64::cosh;
    tanh = f64::tanh;
}
