//! `greatest` and `least` (spec 4.1).

use datafusion::arrow::array::{Array, ArrayRef, UInt32Array};
use datafusion::arrow::compute::{concat, take};
use datafusion::arrow::row::Row;
use datafusion::common::Result;

use super::array::keys;
use super::scalar::{Call, Def, def};
use crate::query::error::failed;

pub(super) const FUNCTIONS: &[Def] = &[
    def("greatest", &[("greatest(T...) -> T", |call| best(call, |a, b| a > b))]),
    def("least", &[("least(T...) -> T", |call| best(call, |a, b| a < b))]),
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
