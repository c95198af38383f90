//! Functions that make an array of arrays: `ngrams` and `combinations`.
//!
//! Timestream does not document them. A result is described by the places its elements come from, as in
//! `array`, and gathered in one go.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ListArray, UInt32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;

use super::bounded::Weights;
use super::lambda::{index, range};
use super::scalar::{Call, Def, def};
use crate::query::error::{failed, invalid};
use crate::query::limits::VALUE_BYTES_MAX;

/// Most elements of a group that `combinations` makes.
const COMBINED_MAX: usize = 5;
/// Most elements of all groups of one call of `combinations`.
const ELEMENTS_MAX: usize = 100_000;

pub(super) const FUNCTIONS: &[Def] = &[
    def("ngrams", &[("ngrams(array(T), bigint) -> array(array(T))", |call| groups(call, ngrams))]),
    def(
        "combinations",
        &[("combinations(array(T), bigint) -> array(array(T))", |call| groups(call, combinations))],
    ),
];

/// The groups of an array of so many elements, all of one size: their places one after another.
struct Groups {
    size: usize,
    count: usize,
    places: Vec<usize>,
}

/// Every run of `n` neighbours, or the whole array if it has fewer elements.
fn ngrams(length: usize, n: i64) -> Result<Groups> {
    let n = usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| failed("N must be positive"))?;
    let size = n.min(length);
    let count = length - size + 1;
    if count.saturating_mul(size) > VALUE_BYTES_MAX / size_of::<u64>() {
        return Err(failed("ngrams() makes too many elements of such a long array"));
    }
    Ok(Groups { size, count, places: (0..count).flat_map(|from| from..from + size).collect() })
}

/// Every choice of `n` elements; the one whose last place comes first is first.
fn combinations(length: usize, n: i64) -> Result<Groups> {
    let size =
        usize::try_from(n).map_err(|_| failed(format!("combination size must not be negative: {n}")))?;
    if size > COMBINED_MAX {
        return Err(failed(format!("combination size must not exceed {COMBINED_MAX}: {size}")));
    }
    if size > length {
        return Ok(Groups { size, count: 0, places: vec![] });
    }
    let count = (1..=size).try_fold(1_usize, |count, i| Some(count.checked_mul(length - size + i)? / i));
    let count = count
        .filter(|count| count.saturating_mul(size) <= ELEMENTS_MAX)
        .ok_or_else(|| failed("combinations exceed max size"))?;
    let mut places = Vec::with_capacity(count * size);
    let mut choice: Vec<usize> = (0..size).collect();
    loop {
        places.extend(&choice);
        // The first place that can move up does, and those before it start again.
        let limit = |i: usize| choice.get(i + 1).copied().unwrap_or(length);
        let Some(moved) = (0..size).find(|i| choice[*i] + 1 < limit(*i)) else { break };
        choice[moved] += 1;
        choice.iter_mut().take(moved).enumerate().for_each(|(i, place)| *place = i);
    }
    Ok(Groups { size, count, places })
}

fn groups(call: &Call<'_>, of: fn(usize, i64) -> Result<Groups>) -> Result<ArrayRef> {
    let DataType::List(group) = call.returns else { return Err(invalid("an array is a list")) };
    let DataType::List(item) = group.data_type() else { return Err(invalid("a group is a list")) };
    let list = call.list(0);
    let weights = Weights::of(list.values(), true);
    let (mut places, mut lengths) = (Vec::new(), Vec::new());
    let (mut counts, mut nulls) = (Vec::with_capacity(call.rows), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        call.allowance.check()?;
        let valid = call.all_valid(row);
        nulls.push(valid);
        if !valid {
            counts.push(0);
            continue;
        }
        let elements = range(list, row);
        let n = call.bigint(1).value(row);
        let groups = of(elements.len(), n)?;
        call.allowance.grow(groups.places.iter().map(|at| weights.at(elements.start + at)).sum())?;
        counts.push(groups.count);
        lengths.extend(std::iter::repeat_n(groups.size, groups.count));
        for at in groups.places {
            places.push(index(elements.start + at)?);
        }
    }
    let values = take(list.values(), &UInt32Array::from(places), None)?;
    let groups = ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(lengths), values, None)?;
    let offsets = OffsetBuffer::from_lengths(counts);
    Ok(Arc::new(ListArray::try_new(Arc::clone(group), offsets, Arc::new(groups), Some(nulls.into()))?))
}
