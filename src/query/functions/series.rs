//! Timeseries: made by `CREATE_TIME_SERIES`, filled up by interpolation, and measured (spec 4.11).
//!
//! A timeseries is sorted by time and has each time once; every function here may rely on it. What AWS
//! leaves open is decided so: points without a value are left out when a series is made; an interpolated
//! time outside the series has no value and is left out; an empty series gives NULL.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, ListArray, StructArray, TimestampNanosecondArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{sort_to_indices, take};
use datafusion::arrow::datatypes::{DataType, Float64Type, TimestampNanosecondType};
use datafusion::common::{Result, ScalarValue};

use super::aggregate::one_list;
use super::collecting::{Aggregate, Group};
use super::scalar::{Call, Def, def};
use super::spline::Spline;
use crate::query::error::{failed, invalid};
use crate::query::sql_type::{point_fields, series_of};
use crate::query::wire_text;

pub(super) const CREATE_TIME_SERIES: Aggregate = Aggregate {
    name: "create_time_series",
    forms: &[("create_time_series(timestamp, T) -> timeseries(T)", create)],
    skips_null: &[0, 1],
    simplify: None,
};

fn create(group: &Group<'_>) -> Result<ScalarValue> {
    let order = sort_to_indices(&group.args[0], None, None)?;
    let columns = [take(&group.args[0], &order, None)?, take(&group.args[1], &order, None)?];
    let times = columns[0].as_primitive::<TimestampNanosecondType>().values();
    if let Some(pair) = times.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(failed(format!(
            "Duplicate timestamp {} in a timeseries: GROUP BY every dimension that tells series apart",
            wire_text::timestamp(pair[0])
        )));
    }
    let fields = point_fields(columns[1].data_type().clone());
    one_list(group.returns, Arc::new(StructArray::try_new(fields, columns.to_vec(), None)?))
}

pub(super) const FUNCTIONS: &[Def] = &[
    def(
        "interpolate_linear",
        &[
            ("interpolate_linear(timeseries(double), array(timestamp)) -> timeseries(double)", |call| {
                at_times(call, |series, _| Box::new(move |time| series.linear(time)))
            }),
            ("interpolate_linear(timeseries(double), timestamp) -> double", |call| {
                at_time(call, |series, time, _| series.linear(time))
            }),
        ],
    ),
    def(
        "interpolate_locf",
        &[
            ("interpolate_locf(timeseries(double), array(timestamp)) -> timeseries(double)", |call| {
                at_times(call, |series, _| Box::new(move |time| series.last_before(time)))
            }),
            ("interpolate_locf(timeseries(double), timestamp) -> double", |call| {
                at_time(call, |series, time, _| series.last_before(time))
            }),
        ],
    ),
    def(
        "interpolate_fill",
        &[
            (
                "interpolate_fill(timeseries(double), array(timestamp), double) -> timeseries(double)",
                |call| {
                    at_times(call, |series, fill| Box::new(move |time| Some(series.at(time).unwrap_or(fill))))
                },
            ),
            ("interpolate_fill(timeseries(double), timestamp, double) -> double", |call| {
                at_time(call, |series, time, fill| Some(series.at(time).unwrap_or(fill)))
            }),
        ],
    ),
    def(
        "interpolate_spline_cubic",
        &[
            (
                "interpolate_spline_cubic(timeseries(double), array(timestamp)) -> timeseries(double)",
                |call| {
                    at_times(call, |series, _| {
                        let spline = Spline::natural(series.times, series.values);
                        Box::new(move |time| spline.at(time))
                    })
                },
            ),
            ("interpolate_spline_cubic(timeseries(double), timestamp) -> double", |call| {
                at_time(call, |series, time, _| Spline::natural(series.times, series.values).at(time))
            }),
        ],
    ),
    def(
        "derivative_linear",
        &[("derivative_linear(timeseries(double), interval day to second) -> timeseries(double)", |call| {
            derivative(call, |_| true)
        })],
    ),
    def(
        "non_negative_derivative_linear",
        &[(
            "non_negative_derivative_linear(timeseries(double), interval day to second) -> timeseries(double)",
            |call| derivative(call, |rate| rate >= 0.0),
        )],
    ),
    def(
        "integral_trapezoidal",
        &[
            ("integral_trapezoidal(timeseries(double)) -> double", |call| {
                integral(call, |_| crate::query::duration::SECOND)
            }),
            ("integral_trapezoidal(timeseries(double), interval day to second) -> double", |call| {
                let units = call.count(1);
                integral(call, |row| units.at(row))
            }),
        ],
    ),
    def(
        "correlate_pearson",
        &[("correlate_pearson(timeseries(double), timeseries(double)) -> double", |call| {
            correlate(call, pearson)
        })],
    ),
    def(
        "correlate_spearman",
        &[("correlate_spearman(timeseries(double), timeseries(double)) -> double", |call| {
            correlate(call, |a, b| pearson(&ranks(a), &ranks(b)))
        })],
    ),
];

/// What a point of a timeseries of doubles takes.
const POINT_BYTES: usize = size_of::<i64>() + size_of::<f64>();

/// One timeseries of doubles.
#[derive(Clone, Copy)]
struct Series<'a> {
    times: &'a [i64],
    values: &'a [f64],
}

impl Series<'_> {
    fn at(&self, time: i64) -> Option<f64> {
        self.values.get(self.times.binary_search(&time).ok()?).copied()
    }

    fn last_before(&self, time: i64) -> Option<f64> {
        let after = self.times.partition_point(|at| *at <= time);
        self.values.get(after.checked_sub(1)?).copied()
    }

    fn linear(&self, time: i64) -> Option<f64> {
        let after = match self.times.binary_search(&time) {
            Ok(exact) => return self.values.get(exact).copied(),
            Err(after) => after,
        };
        let before = after.checked_sub(1)?;
        let (from, to) = (*self.values.get(before)?, *self.values.get(after)?);
        let (start, end) = (*self.times.get(before)?, *self.times.get(after)?);
        Some(from + (to - from) * (span(start, time) / span(start, end)))
    }
}

/// Nanoseconds from one time to another.
#[expect(clippy::cast_precision_loss, reason = "a share of a length of time is approximate anyway")]
pub(super) fn span(from: i64, to: i64) -> f64 {
    (i128::from(to) - i128::from(from)) as f64
}

/// A column of timeseries.
struct Column<'a> {
    list: &'a ListArray,
    times: &'a TimestampNanosecondArray,
    values: &'a Float64Array,
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self> {
        let list = array.as_list::<i32>();
        let points = list.values().as_struct();
        match points.columns() {
            [times, values] => {
                Ok(Self { list, times: times.as_primitive(), values: values.as_primitive::<Float64Type>() })
            }
            _ => Err(invalid("a point of a timeseries has a time and a value")),
        }
    }

    /// The series in `row`; nothing if it is NULL or empty.
    fn series(&self, row: usize) -> Option<Series<'a>> {
        let range = range(self.list, row);
        if self.list.is_null(row) || range.is_empty() {
            return None;
        }
        Some(Series { times: &self.times.values()[range.clone()], values: &self.values.values()[range] })
    }
}

#[expect(clippy::cast_sign_loss, reason = "offsets of a list are not negative")]
fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

/// Timeseries of doubles on their way into a column.
#[derive(Default)]
struct Builder {
    times: Vec<i64>,
    values: Vec<f64>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl Builder {
    fn point(&mut self, time: i64, value: f64) {
        self.times.push(time);
        self.values.push(value);
    }

    /// Ends a row that began with `start` points.
    fn end(&mut self, start: usize, valid: bool) {
        self.lengths.push(self.times.len() - start);
        self.valid.push(valid);
    }

    fn finish(self) -> Result<ArrayRef> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from(self.times)),
            Arc::new(Float64Array::from(self.values)),
        ];
        let points = StructArray::try_new(point_fields(DataType::Float64), columns, None)?;
        let DataType::List(item) = series_of(DataType::Float64) else {
            return Err(invalid("a timeseries is a list"));
        };
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let nulls = NullBuffer::from(self.valid);
        Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(points), Some(nulls))?))
    }
}

type At<'a> = Box<dyn Fn(i64) -> Option<f64> + 'a>;

/// The value at every wanted time.
fn at_times<F>(call: &Call<'_>, interpolation: F) -> Result<ArrayRef>
where
    F: for<'a> Fn(Series<'a>, f64) -> At<'a>,
{
    let (series, wanted) = (Column::new(&call.args[0])?, call.list(1));
    let wanted_times = wanted.values().as_primitive::<TimestampNanosecondType>();
    let mut built = Builder::default();
    for row in 0..call.rows {
        call.allowance.check()?;
        let start = built.times.len();
        let found = series.series(row).filter(|_| call.all_valid(row));
        if let Some(series) = found {
            let fill = if call.args.len() > 2 { call.double(2).value(row) } else { f64::NAN };
            let at = interpolation(series, fill);
            for i in range(wanted, row).filter(|i| wanted_times.is_valid(*i)) {
                let time = wanted_times.value(i);
                if let Some(value) = at(time) {
                    built.point(time, value);
                }
            }
            call.allowance.grow((built.times.len() - start) * POINT_BYTES)?;
        }
        built.end(start, found.is_some());
    }
    built.finish()
}

fn at_time(call: &Call<'_>, interpolation: impl Fn(Series<'_>, i64, f64) -> Option<f64>) -> Result<ArrayRef> {
    let (series, times) = (Column::new(&call.args[0])?, call.count(1));
    call.map::<_, Float64Array>(|row| {
        let fill = if call.args.len() > 2 { call.double(2).value(row) } else { f64::NAN };
        Ok(series.series(row).and_then(|series| interpolation(series, times.at(row), fill)))
    })
}

/// The rate of change per unit at every point but the first.
fn derivative(call: &Call<'_>, wanted: impl Fn(f64) -> bool) -> Result<ArrayRef> {
    let (series, units) = (Column::new(&call.args[0])?, call.count(1));
    let mut built = Builder::default();
    for row in 0..call.rows {
        call.allowance.check()?;
        let start = built.times.len();
        let found = series.series(row).filter(|_| call.all_valid(row));
        if let Some(series) = found {
            let points = series.times.windows(2).zip(series.values.windows(2));
            for (times, values) in points {
                let rate = (values[1] - values[0]) / span(times[0], times[1]) * span(0, units.at(row));
                if wanted(rate) {
                    built.point(times[1], rate);
                }
            }
        }
        built.end(start, found.is_some());
    }
    built.finish()
}

fn integral(call: &Call<'_>, unit: impl Fn(usize) -> i64) -> Result<ArrayRef> {
    let series = Column::new(&call.args[0])?;
    call.map::<_, Float64Array>(|row| {
        let Some(series) = series.series(row) else { return Ok(None) };
        let unit = unit(row);
        if unit <= 0 {
            return Err(failed("the interval of integral_trapezoidal() must be greater than zero"));
        }
        let points = series.times.windows(2).zip(series.values.windows(2));
        let area =
            |(times, values): (&[i64], &[f64])| (values[0] + values[1]) / 2.0 * span(times[0], times[1]);
        Ok(Some(points.map(area).fold(0.0, |sum: f64, area: f64| sum + area) / span(0, unit)))
    })
}

fn correlate(call: &Call<'_>, code: impl Fn(&[f64], &[f64]) -> f64) -> Result<ArrayRef> {
    let (left, right) = (Column::new(&call.args[0])?, Column::new(&call.args[1])?);
    call.map::<_, Float64Array>(|row| {
        let (Some(left), Some(right)) = (left.series(row), right.series(row)) else { return Ok(None) };
        if left.times != right.times {
            return Err(failed(
                "timeseries must have the same timestamps to be correlated: interpolate them first",
            ));
        }
        Ok(Some(code(left.values, right.values)))
    })
}

#[expect(clippy::cast_precision_loss, reason = "a series stays far below 2^53 points")]
fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let products = |x: &[f64], mean_x: f64, y: &[f64], mean_y: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum()
    };
    let covariance = products(a, mean_a, b, mean_b);
    covariance / (products(a, mean_a, a, mean_a) * products(b, mean_b, b, mean_b)).sqrt()
}

/// The place of each value among all, equal values sharing the middle of their places.
#[expect(clippy::cast_precision_loss, reason = "a series stays far below 2^53 points")]
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|i| values[**i] == values[order[start]]).count().max(1);
        let rank = (2 * start + same + 1) as f64 / 2.0;
        order[start..start + same].iter().for_each(|i| ranks[*i] = rank);
        start += same;
    }
    ranks
}
