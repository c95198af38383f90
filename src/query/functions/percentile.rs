//! `approx_percentile` of doubles: DataFusion's t-digest, but exact while the digest still has every value.
//!
//! A digest tells a percentile by going straight from one of its points to the next. As long as each point
//! is one value of the group, the value at rank ⌈p·n⌉ is at hand, which is what Timestream documents.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion::physical_expr::expressions::Literal;

use crate::query::error::invalid;

/// The function, of a column of doubles and a literal.
pub(super) fn digest() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Digest { stock: approx_percentile_cont_udaf() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Digest {
    stock: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Digest {
    fn name(&self) -> &str {
        "approx_percentile"
    }

    fn signature(&self) -> &Signature {
        self.stock.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.stock.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.stock.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let literal = args.exprs.get(1).and_then(|expr| expr.downcast_ref::<Literal>());
        let Some(ScalarValue::Float64(Some(percentile))) = literal.map(Literal::value) else {
            return Err(invalid("the percentile of a digest is a literal"));
        };
        if !(0.0..=1.0).contains(percentile) {
            return Err(invalid("Percentile must be between 0 and 1"));
        }
        Ok(Box::new(Exact { percentile: *percentile, inner: self.stock.accumulator(args)? }))
    }
}

#[derive(Debug)]
struct Exact {
    percentile: f64,
    inner: Box<dyn Accumulator>,
}

impl Exact {
    /// The value at the rank, if every point of the digest is one value.
    fn exact(&mut self) -> Result<Option<f64>> {
        // The points stand last: the mean and the weight of each.
        let Some(ScalarValue::List(points)) = self.inner.state()?.pop() else { return Ok(None) };
        if points.is_null(0) {
            return Ok(None);
        }
        let points = points.value(0);
        let Some(points) = points.as_primitive_opt::<Float64Type>() else { return Ok(None) };
        let (mut values, mut single) = (Vec::with_capacity(points.len() / 2), true);
        for point in points.values().chunks_exact(2) {
            values.push(point[0]);
            single &= (point[1] - 1.0).abs() < f64::EPSILON;
        }
        if !single {
            return Ok(None);
        }
        values.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among a hundred values"
        )]
        let rank = (self.percentile * values.len() as f64).ceil() as usize;
        Ok(values.get(rank.saturating_sub(1)).copied())
    }
}

impl Accumulator for Exact {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.exact()? {
            Some(value) => Ok(ScalarValue::Float64(Some(value))),
            None => self.inner.evaluate(),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }
}
