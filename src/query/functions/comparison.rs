//! `greatest`, `least`, and comparisons of doubles that may be NaN (spec 4.1).

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, UInt32Array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::kernels::cmp::eq;
use datafusion::arrow::compute::{and_kleene, concat, take};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::row::Row;
use datafusion::common::Result;

use super::array::keys;
use super::lambda::{index, range};
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
    // Of arrays and rows.
    def("__equal", &[("=(T, T) -> boolean", |call| Ok(Arc::new(equal(&call.args[0], &call.args[1])?)))]),
    ieee!("__eq", "=(double, double) -> boolean", |a: f64, b: f64| a.partial_cmp(&b)
        == Some(Ordering::Equal)),
    ieee!("__ne", "<>(double, double) -> boolean", |a: f64, b: f64| a.partial_cmp(&b)
        != Some(Ordering::Equal)),
    ieee!("__lt", "<(double, double) -> boolean", |a: f64, b: f64| a < b),
    ieee!("__le", "<=(double, double) -> boolean", |a: f64, b: f64| a <= b),
    ieee!("__gt", ">(double, double) -> boolean", |a: f64, b: f64| a > b),
    ieee!("__ge", ">=(double, double) -> boolean", |a: f64, b: f64| a >= b),
];

/// Whether values are equal, row by row: not if a part differs, and nobody knows if a part is NULL.
fn equal(left: &ArrayRef, right: &ArrayRef) -> Result<BooleanArray> {
    let rows = left.len();
    let parts = match (left.data_type(), right.data_type()) {
        (DataType::Struct(_), DataType::Struct(_)) => {
            let mut parts = BooleanArray::from(vec![true; rows]);
            let columns = left.as_struct().columns().iter().zip(right.as_struct().columns());
            for (one, other) in columns {
                parts = and_kleene(&parts, &equal(one, other)?)?;
            }
            parts
        }
        (DataType::List(_), DataType::List(_)) => equal_lists(left.as_list(), right.as_list())?,
        (DataType::Float64, DataType::Float64) => {
            let (one, other) = (left.as_primitive::<Float64Type>(), right.as_primitive::<Float64Type>());
            one.iter().zip(other).map(|(one, other)| Some(one? == other?)).collect()
        }
        (DataType::Null, _) | (_, DataType::Null) => BooleanArray::new_null(rows),
        _ => eq(left, right)?,
    };
    let nulls = NullBuffer::union(parts.nulls(), NullBuffer::union(left.nulls(), right.nulls()).as_ref());
    Ok(BooleanArray::new(parts.values().clone(), nulls))
}

fn equal_lists(left: &ListArray, right: &ListArray) -> Result<BooleanArray> {
    let (mut places, mut lengths) = ([vec![], vec![]], Vec::with_capacity(left.len()));
    for row in 0..left.len() {
        let ranges = [range(left, row), range(right, row)];
        let known = left.is_valid(row) && right.is_valid(row) && ranges[0].len() == ranges[1].len();
        lengths.push(known.then_some(ranges[0].len()));
        for (places, range) in places.iter_mut().zip(ranges).filter(|_| known) {
            for place in range {
                places.push(index(place)?);
            }
        }
    }
    let [one, other] = places.map(UInt32Array::from);
    let equal = equal(&take(left.values(), &one, None)?, &take(right.values(), &other, None)?)?;
    let mut from = 0;
    let lists = lengths.into_iter().map(|length| {
        let Some(length) = length else { return Some(false) };
        let parts = equal.slice(from, length);
        from += length;
        match parts.false_count() {
            0 => (parts.null_count() == 0).then_some(true),
            _ => Some(false),
        }
    });
    Ok(lists.collect())
}

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
