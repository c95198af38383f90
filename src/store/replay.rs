//! Rows of the log go back to memory.
//!
//! What was accepted once is not checked again, and a row of a series that is there already, with the names of
//! the row before, becomes no record on its way: a start reads millions of them.

use std::slice;

use super::layout::Fit;
use super::series::SeriesKey;
use super::table::Live;
use super::wal::entry::LoggedRow;
use super::write;

/// Appends a row to the active memtable, growing the columns.
pub(crate) fn append(live: &mut Live, key: &mut SeriesKey, row: &LoggedRow<'_>) {
    if !append_known(live, key, row) {
        write::append(live, key, None, row.record());
    }
}

/// Appends a row if its columns and its series are there; answers whether they are.
fn append_known(live: &mut Live, key: &mut SeriesKey, row: &LoggedRow<'_>) -> bool {
    let Some(layout) = &live.layout else { return false };
    let single = match row.attributes {
        None => live.schema.single(row.values[0].measure_type()),
        Some(_) => None,
    };
    let places = match (layout.fit_row(row), &single) {
        (Fit::Whole, _) => layout.places(),
        (Fit::Dimensions, Some(place)) => slice::from_ref(place),
        _ => return false,
    };
    key.set_texts(layout.order(), row.measure_name, row.dimension_values);
    let Some(series) = live.active.index().find(key.bytes()) else { return false };
    let values = places.iter().zip(row.values).map(|(place, value)| (*place, value.value()));
    let dimensions = row.dimension_values.len();
    let columns = live.schema.values();
    live.active.push(series, row.time, row.version, dimensions, |out| out.extend(values), columns);
    true
}
