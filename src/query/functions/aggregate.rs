//! Aggregate functions (spec 4.9).
//!
//! The common ones are DataFusion's. Those it lacks are rewritten to ones it has where that is the same
//! thing, and collected where it is not.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, UInt32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{SortOptions, sort_to_indices, take};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::AggregateFunctionSimplification;
use datafusion::logical_expr::{AggregateUDF, Expr, lit};

use super::collecting::{Aggregate, Group};
use super::{approx_distinct, average, percentile, series, sum};
use crate::query::error::{failed, invalid};

const FUNCTIONS: &[Aggregate] = &[
    series::CREATE_TIME_SERIES,
    Aggregate {
        name: "max_by",
        forms: &[("max_by(T, U) -> T", |group| by(group, true))],
        skips_null: &[1],
        simplify: Some(|| first_by(false)),
    },
    Aggregate {
        name: "min_by",
        forms: &[("min_by(T, U) -> T", |group| by(group, false))],
        skips_null: &[1],
        simplify: Some(|| first_by(true)),
    },
    Aggregate {
        name: "__max_by_n",
        forms: &[("max_by(T, U, bigint) -> array(T)", |group| by_n(group, true))],
        skips_null: &[1],
        simplify: None,
    },
    Aggregate {
        name: "__min_by_n",
        forms: &[("min_by(T, U, bigint) -> array(T)", |group| by_n(group, false))],
        skips_null: &[1],
        simplify: None,
    },
    Aggregate {
        name: "__max_n",
        forms: &[("max(T, bigint) -> array(T)", |group| extreme_n(group, true))],
        skips_null: &[0],
        simplify: None,
    },
    Aggregate {
        name: "__min_n",
        forms: &[("min(T, bigint) -> array(T)", |group| extreme_n(group, false))],
        skips_null: &[0],
        simplify: None,
    },
    Aggregate {
        name: "arbitrary",
        forms: &[("arbitrary(T) -> T", |group| ScalarValue::try_from_array(&group.args[0], 0))],
        skips_null: &[0],
        simplify: Some(arbitrary),
    },
    Aggregate {
        name: "any_value",
        forms: &[("any_value(T) -> T", |group| ScalarValue::try_from_array(&group.args[0], 0))],
        skips_null: &[0],
        simplify: Some(arbitrary),
    },
    // The one value of a scalar subquery.
    Aggregate {
        name: "__only",
        forms: &[("__only(T) -> T", |group| match group.rows {
            1 => ScalarValue::try_from_array(&group.args[0], 0),
            _ => Err(failed("Scalar sub-query has returned multiple rows")),
        })],
        skips_null: &[],
        simplify: None,
    },
    Aggregate {
        name: "count_if",
        forms: &[("count_if(boolean) -> bigint", |group| {
            let set = group.args[0].as_boolean().true_count();
            Ok(ScalarValue::Int64(i64::try_from(set).ok()))
        })],
        skips_null: &[0],
        simplify: Some(count_if),
    },
    Aggregate {
        name: "approx_percentile",
        forms: &[
            ("approx_percentile(T, double) -> T", |group| percentile(group, None, 1)),
            ("approx_percentile(T, array(double)) -> array(T)", |group| percentile(group, None, 1)),
            ("approx_percentile(T, bigint, double) -> T", |group| percentile(group, Some(1), 2)),
            ("approx_percentile(T, bigint, array(double)) -> array(T)", |group| {
                percentile(group, Some(1), 2)
            }),
            ("approx_percentile(T, bigint, double, double) -> T", |group| {
                let accuracy = group.args[3].as_primitive::<Float64Type>().value(0);
                match accuracy > 0.0 && accuracy < 1.0 {
                    true => percentile(group, Some(1), 2),
                    false => Err(failed("percentile accuracy must be strictly between 0 and 1")),
                }
            }),
        ],
        skips_null: &[0],
        simplify: Some(approx_percentile),
    },
    Aggregate {
        name: "geometric_mean",
        forms: &[("geometric_mean(double) -> double", |group| {
            let values = doubles(&group.args[0]);
            let logarithms: f64 = values.values().iter().map(|value| value.ln()).sum();
            Ok(ScalarValue::Float64(Some((logarithms / count(values.len())).exp())))
        })],
        skips_null: &[0],
        simplify: None,
    },
    Aggregate {
        name: "skewness",
        forms: &[("skewness(double) -> double", |group| {
            Ok(ScalarValue::Float64(skewness(&doubles(&group.args[0]))))
        })],
        skips_null: &[0],
        simplify: None,
    },
    Aggregate {
        name: "kurtosis",
        forms: &[("kurtosis(double) -> double", |group| {
            Ok(ScalarValue::Float64(kurtosis(&doubles(&group.args[0]))))
        })],
        skips_null: &[0],
        simplify: None,
    },
    Aggregate {
        name: "bitwise_xor_agg",
        forms: &[("bitwise_xor_agg(bigint) -> bigint", |group| Ok(folded(group, |a, b| a ^ b)))],
        skips_null: &[0],
        simplify: None,
    },
    Aggregate {
        name: "bitwise_and_agg",
        forms: &[("bitwise_and_agg(bigint) -> bigint", |group| Ok(folded(group, |a, b| a & b)))],
        skips_null: &[0],
        simplify: None,
    },
    Aggregate {
        name: "bitwise_or_agg",
        forms: &[("bitwise_or_agg(bigint) -> bigint", |group| Ok(folded(group, |a, b| a | b)))],
        skips_null: &[0],
        simplify: None,
    },
];

/// All aggregates, by the name they are called by.
pub(super) fn all() -> Vec<(&'static str, Arc<AggregateUDF>)> {
    use datafusion::functions_aggregate as stock;
    let mut all: Vec<(&'static str, Arc<AggregateUDF>)> =
        FUNCTIONS.iter().map(|function| (function.name, Arc::new(function.udaf()))).collect();
    all.extend([
        ("avg", Arc::new(average::average())),
        // The value of the first row, in the order the call asks for.
        ("__first", first_value_udaf()),
        ("count", count_udaf()),
        ("max", stock::min_max::max_udaf()),
        ("min", stock::min_max::min_udaf()),
        ("sum", Arc::new(sum::sum())),
        ("approx_distinct", Arc::new(approx_distinct::approx_distinct())),
        ("array_agg", stock::array_agg::array_agg_udaf()),
        ("bool_and", stock::bool_and_or::bool_and_udaf()),
        ("every", stock::bool_and_or::bool_and_udaf()),
        ("bool_or", stock::bool_and_or::bool_or_udaf()),
        ("grouping", stock::grouping::grouping_udaf()),
        ("corr", stock::correlation::corr_udaf()),
        ("covar_pop", stock::covariance::covar_pop_udaf()),
        ("covar_samp", stock::covariance::covar_samp_udaf()),
        ("regr_slope", stock::regr::regr_slope_udaf()),
        ("regr_intercept", stock::regr::regr_intercept_udaf()),
        ("regr_avgx", stock::regr::regr_avgx_udaf()),
        ("regr_avgy", stock::regr::regr_avgy_udaf()),
        ("regr_count", stock::regr::regr_count_udaf()),
        ("regr_r2", stock::regr::regr_r2_udaf()),
        ("regr_sxx", stock::regr::regr_sxx_udaf()),
        ("regr_sxy", stock::regr::regr_sxy_udaf()),
        ("regr_syy", stock::regr::regr_syy_udaf()),
        ("stddev_pop", stock::stddev::stddev_pop_udaf()),
        ("stddev_samp", stock::stddev::stddev_udaf()),
        ("stddev", stock::stddev::stddev_udaf()),
        ("var_pop", stock::variance::var_pop_udaf()),
        ("var_samp", stock::variance::var_samp_udaf()),
        ("variance", stock::variance::var_samp_udaf()),
    ]);
    all
}

/// `call` with another function and one condition more.
fn filtered(mut call: AggregateFunction, condition: Expr, func: Arc<AggregateUDF>) -> Expr {
    let filter = call.params.filter.take().map_or(condition.clone(), |before| before.and(condition));
    call.params.filter = Some(Box::new(filter));
    call.func = func;
    Expr::AggregateFunction(call)
}

/// `max_by(x, y)` is the first x in the order of y.
fn first_by(ascending: bool) -> AggregateFunctionSimplification {
    Box::new(move |mut call, _| {
        let key = call.params.args.pop().ok_or_else(|| invalid("two operands expected"))?;
        call.params.order_by = vec![key.clone().sort(ascending, false)];
        Ok(filtered(call, key.is_not_null(), first_value_udaf()))
    })
}

fn arbitrary() -> AggregateFunctionSimplification {
    Box::new(|call, _| {
        let value = call.params.args.first().cloned().ok_or_else(|| invalid("one operand expected"))?;
        Ok(filtered(call, value.is_not_null(), first_value_udaf()))
    })
}

fn count_if() -> AggregateFunctionSimplification {
    Box::new(|mut call, _| {
        if call.params.distinct {
            return Ok(Expr::AggregateFunction(call));
        }
        let condition = call.params.args.pop().ok_or_else(|| invalid("one operand expected"))?;
        call.params.args = vec![lit(1_i64)];
        Ok(filtered(call, condition, count_udaf()))
    })
}

/// One percentile of doubles is left to DataFusion's t-digest, whose memory does not grow with the
/// group.
fn approx_percentile() -> AggregateFunctionSimplification {
    Box::new(|mut call, info| {
        let digest = match call.params.args.as_slice() {
            [value, Expr::Literal(ScalarValue::Float64(Some(_)), _)] => {
                info.get_data_type(value)? == DataType::Float64
            }
            _ => false,
        };
        if digest && !call.params.distinct {
            call.func = percentile::digest();
        }
        Ok(Expr::AggregateFunction(call))
    })
}

fn ordered(keys: &ArrayRef, descending: bool) -> Result<UInt32Array> {
    Ok(sort_to_indices(keys, Some(SortOptions { descending, nulls_first: false }), None)?)
}

fn by(group: &Group<'_>, descending: bool) -> Result<ScalarValue> {
    let first = ordered(&group.args[1], descending)?.value(0);
    ScalarValue::try_from_array(&group.args[0], first as usize)
}

fn by_n(group: &Group<'_>, descending: bool) -> Result<ScalarValue> {
    let order = ordered(&group.args[1], descending)?;
    first_n(group, &order, 2, "third argument of max_by/min_by")
}

fn extreme_n(group: &Group<'_>, descending: bool) -> Result<ScalarValue> {
    let order = ordered(&group.args[0], descending)?;
    first_n(group, &order, 1, "second argument of max/min")
}

fn first_n(group: &Group<'_>, order: &UInt32Array, n: usize, called: &str) -> Result<ScalarValue> {
    let n = group.args[n].as_primitive::<Int64Type>().value(0);
    let n = usize::try_from(n).ok().filter(|n| (1..=10_000).contains(n));
    let n = n.ok_or_else(|| failed(format!("{called} must be a number from 1 to 10000")))?;
    let values = take(&group.args[0], &order.slice(0, n.min(group.rows)), None)?;
    one_list(group.returns, values)
}

/// `values` as the one value of an array type.
pub(super) fn one_list(of: &DataType, values: ArrayRef) -> Result<ScalarValue> {
    let DataType::List(item) = of else { return Err(invalid("an array is a list")) };
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    let list = ListArray::try_new(Arc::clone(item), offsets, values, None)?;
    Ok(ScalarValue::List(Arc::new(list)))
}

/// The value at rank ⌈p·n⌉ of the sorted values, each counted as often as its weight says.
fn percentile(group: &Group<'_>, weight: Option<usize>, rank: usize) -> Result<ScalarValue> {
    let order = ordered(&group.args[0], false)?;
    let weights = weight.map(|i| group.args[i].as_primitive::<Int64Type>());
    let mut reached = Vec::with_capacity(group.rows);
    let mut total = 0_i64;
    for row in order.values() {
        let weight = weights.map_or(1, |weights| weights.value(*row as usize));
        if weight < 1 {
            return Err(failed("percentile weight must be > 0"));
        }
        total = total.checked_add(weight).ok_or_else(|| failed("the weights are too large"))?;
        reached.push(total);
    }
    let at = |p: f64| -> Result<u32> {
        if !(0.0..=1.0).contains(&p) {
            return Err(failed("Percentile must be between 0 and 1"));
        }
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a rank of n rows")]
        let wanted = ((p * total as f64).ceil() as i64).max(1);
        let place = reached.partition_point(|sum| *sum < wanted).min(group.rows - 1);
        Ok(order.value(place))
    };
    match group.args[rank].data_type() {
        DataType::List(_) => {
            let ranks = group.args[rank].as_list::<i32>().value(0);
            let ranks = ranks.as_primitive::<Float64Type>().values().iter();
            let rows: UInt32Array = ranks.map(|p| at(*p).map(Some)).collect::<Result<_>>()?;
            one_list(group.returns, take(&group.args[0], &rows, None)?)
        }
        _ => {
            let ranks = group.args[rank].as_primitive::<Float64Type>();
            if ranks.is_null(0) {
                return Err(failed("Percentile cannot be null"));
            }
            let p = ranks.value(0);
            ScalarValue::try_from_array(&group.args[0], at(p)? as usize)
        }
    }
}

fn doubles(array: &ArrayRef) -> Float64Array {
    array.as_primitive::<Float64Type>().clone()
}

#[expect(clippy::cast_precision_loss, reason = "groups stay far below 2^53 rows")]
fn count(rows: usize) -> f64 {
    rows as f64
}

/// The third standardised moment of the population; nothing for fewer than three values. The moments are
/// brought up to date value by value, and so have the last digits Timestream documents.
fn skewness(values: &Float64Array) -> Option<f64> {
    if values.len() < 3 {
        return None;
    }
    let (mut n, mut mean, mut second, mut third) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
    for value in values.values() {
        n += 1.0;
        let step = value - mean;
        let share = step / n;
        let term = step * share * (n - 1.0);
        mean += share;
        third += term * share * (n - 2.0) - 3.0 * share * second;
        second += term;
    }
    Some(n.sqrt() * third / second.powf(1.5))
}

/// The excess kurtosis of a sample; nothing for fewer than four values.
fn kurtosis(values: &Float64Array) -> Option<f64> {
    let n = count(values.len());
    if values.len() < 4 {
        return None;
    }
    let mean = values.values().iter().sum::<f64>() / n;
    let sum = |power| values.values().iter().map(|value| (value - mean).powi(power)).sum::<f64>();
    let variance = sum(2) / (n - 1.0);
    let scaled = n * (n + 1.0) / ((n - 1.0) * (n - 2.0) * (n - 3.0)) * sum(4) / (variance * variance);
    Some(scaled - 3.0 * (n - 1.0) * (n - 1.0) / ((n - 2.0) * (n - 3.0)))
}

fn folded(group: &Group<'_>, code: fn(i64, i64) -> i64) -> ScalarValue {
    let values = group.args[0].as_primitive::<Int64Type>().values().iter().copied();
    ScalarValue::Int64(values.reduce(code))
}
