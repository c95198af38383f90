//! `greatest`, `least`, and comparisons of doubles that may be NaN.

use std::cmp::Ordering;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use datafusion::arrow::compute::{concat, take};
use datafusion::arrow::row::Row;
use datafusion::common::Result;

use super::array::keys;
use super::scalar::{Call, Def, def};
use crate::query::error::failed;

/// A comparison of doubles as IEEE 754 has it: NaN equals nothing, and nothing is above or below it.
macro_rules! ieee {
    ($name:literal, $form:literal, $code:expr) => {
        def(
            $name,
            &[($form, |call| {
                let code = $code;
                call.map::<_, BooleanArray>(|row| {
                    Ok(Some(code(call.double(0).value(row), call.double(1).value(row))))
                })
            })],
        )
    };
}

pub(super) const FUNCTIONS: &[Def] = &[
    def("greatest", &[("greatest(T...) -> T", |call| best(call, |a, b| a > b))]),
    def("least", &[("least(T...) -> T", |call| best(call, |a, b| a < b))]),
    ieee!("__eq", "=(double, double) -> boolean", |a: f64, b: f64| a.partial_cmp(&b)
        == Some(Ordering::Equal)),
    ieee!("__ne", "<>(double, double) -> boolean", |a: f64, b: f64| a.partial_cmp(&b)
        != Some(Ordering::Equal)),
    ieee!("__lt", "<(double, double) -> boolean", |a: f64, b: f64| a < b),
    ieee!("__le", "<=(double, double) -> boolean", |a: f64, b: f64| a <= b),
    ieee!("__gt", ">(double, double) -> boolean", |a: f64, b: f64| a > b),
    ieee!("__ge", ">=(double, double) -> boolean", |a: f64, b: f64| a >= b),
];

/// The operand that beats the others; NULL if one is NULL.
fn best(call: &Call<'_>, beats: impl Fn(Row<'_>, Row<'_>) -> bool) -> Result<ArrayRef> {
    let columns: Vec<&ArrayRef> = call.args.iter().collect();
    let keys = keys(&columns)?;
    let places = (0..call.rows).map(|row| {
        let all = || 0..columns.len();
        let best = all().reduce(|best, next| match beats(keys[next].row(row), keys[best].row(row)) {
            true => next,
            false => best,
        });
        let place = best.filter(|_| call.all_valid(row)).map(|column| column * call.rows + row);
        place.map(u32::try_from).transpose().map_err(|_| failed("too many operands"))
    });
    let places: UInt32Array = places.collect::<Result<_>>()?;
    let sources: Vec<&dyn Array> = columns.iter().map(|column| column.as_ref()).collect();
    Ok(take(&concat(&sources)?, &places, None)?)
}
