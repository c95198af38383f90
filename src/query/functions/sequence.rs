//! `sequence(start, stop, step)` over numbers and moments.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, Int64Builder, ListBuilder, TimestampNanosecondBuilder,
};
use datafusion::common::Result;

use super::calendar::add_months;
use super::scalar::Call;
use crate::query::duration::DAY;
use crate::query::error::failed;

/// Most entries of a sequence.
pub(super) const ENTRIES_MAX: usize = 10_000;

/// How many entries there are from `start` to `stop`, both included.
fn entries(start: i64, stop: i64, step: i64) -> Result<i128> {
    if step == 0 {
        return Err(failed("step must not be zero"));
    }
    let way = i128::from(stop) - i128::from(start);
    if way.signum() * i128::from(step.signum()) < 0 {
        return Err(failed(
            "sequence stop value should be greater than or equal to start value if step is greater than zero \
             otherwise stop value should be less than or equal to start value",
        ));
    }
    bounded(way / i128::from(step) + 1)
}

fn bounded(entries: i128) -> Result<i128> {
    match usize::try_from(entries) {
        Ok(count) if count <= ENTRIES_MAX => Ok(entries),
        _ => {
            Err(failed(format!("result of sequence function must not have more than {ENTRIES_MAX} entries")))
        }
    }
}

fn rows<B: ArrayBuilder>(
    call: &Call<'_>,
    values: B,
    mut code: impl FnMut(usize, &mut B) -> Result<()>,
) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(values);
    for row in 0..call.rows {
        let valid = call.all_valid(row);
        if valid {
            let before = lists.values().len();
            code(row, lists.values())?;
            call.allowance.check()?;
            call.allowance.grow((lists.values().len() - before) * size_of::<i64>())?;
        }
        lists.append(valid);
    }
    Ok(Arc::new(lists.finish()))
}

/// Whole numbers; without a step, one up or one down.
pub(super) fn numbers(call: &Call<'_>, step: Option<usize>) -> Result<ArrayRef> {
    rows(call, Int64Builder::new(), |row, values| {
        let (start, stop) = (call.count(0).at(row), call.count(1).at(row));
        let step = step.map_or(if start > stop { -1 } else { 1 }, |step| call.count(step).at(row));
        let mut next = start;
        for _ in 0..entries(start, stop, step)? {
            values.append_value(next);
            next = next.saturating_add(step);
        }
        Ok(())
    })
}

/// Moments a length of time apart; without a step, a day.
pub(super) fn moments(call: &Call<'_>, step: Option<usize>) -> Result<ArrayRef> {
    rows(call, TimestampNanosecondBuilder::new(), |row, values| {
        let (start, stop) = (call.count(0).at(row), call.count(1).at(row));
        let step = step.map_or(DAY, |step| call.count(step).at(row));
        let mut next = start;
        for _ in 0..entries(start, stop, step)? {
            values.append_value(next);
            next = next.saturating_add(step);
        }
        Ok(())
    })
}

/// Moments whole months apart, each counted from the start, so that the end of a month is not lost.
pub(super) fn months(call: &Call<'_>) -> Result<ArrayRef> {
    rows(call, TimestampNanosecondBuilder::new(), |row, values| {
        let (start, stop, step) = (call.count(0).at(row), call.count(1).at(row), call.count(2).at(row));
        // Only the signs of the first entry matter here.
        entries(start, stop, step.signum().saturating_mul(i64::MAX))?;
        for entry in 0_i64.. {
            let days = add_months(start.div_euclid(DAY), entry.saturating_mul(step));
            let moment = days.and_then(|days| days.checked_mul(DAY)?.checked_add(start.rem_euclid(DAY)));
            let Some(moment) = moment else { break };
            if (step > 0 && moment > stop) || (step < 0 && moment < stop) {
                break;
            }
            bounded(i128::from(entry) + 1)?;
            values.append_value(moment);
        }
        Ok(())
    })
}
