//! `sum`: DataFusion's, but a sum of integers that is no BIGINT fails and does not wrap.
//!
//! Integers are added up as decimals of 38 digits, which no number of rows fills, and the result is
//! brought back to BIGINT. An intermediate sum may so be larger than the final one, whatever the order
//! of the rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Decimal128Array, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};

use super::decimals::{ByDecimals, Wide};
use crate::query::error::failed;

/// What integers are added up as.
const WIDE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// The function.
pub(super) fn sum() -> AggregateUDF {
    AggregateUDF::from(Sum { stock: sum_udaf() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    stock: Arc<AggregateUDF>,
}

fn wide_field() -> FieldRef {
    Arc::new(Field::new("sum", WIDE, true))
}

fn is_integer(of: &FieldRef) -> bool {
    *of.data_type() == DataType::Int64
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.stock.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.stock.return_type(types)
    }

    fn state_fields(&self, mut args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if is_integer(&args.return_field) {
            args.return_field = wide_field();
        }
        self.stock.state_fields(args)
    }

    fn accumulator(&self, mut args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if !is_integer(&args.return_field) {
            return self.stock.accumulator(args);
        }
        args.return_field = wide_field();
        Ok(Box::new(ByDecimals { values: Integers, wide: self.stock.accumulator(args)? }))
    }

    fn create_sliding_accumulator(&self, mut args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if !is_integer(&args.return_field) {
            return self.stock.create_sliding_accumulator(args);
        }
        // DataFusion's own adds up distinct integers of a sliding frame as they are, and would wrap.
        if args.is_distinct {
            return Ok(Box::new(Distinct::default()));
        }
        args.return_field = wide_field();
        Ok(Box::new(ByDecimals { values: Integers, wide: self.stock.create_sliding_accumulator(args)? }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.stock.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, mut args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if !is_integer(&args.return_field) {
            return self.stock.create_groups_accumulator(args);
        }
        args.return_field = wide_field();
        Ok(Box::new(ByDecimals { values: Integers, wide: self.stock.create_groups_accumulator(args)? }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn narrowed(sum: i128) -> Result<i64> {
    i64::try_from(sum).map_err(|_| failed(format!("bigint sum overflow: {sum}")))
}

#[derive(Debug)]
struct Integers;

impl Wide for Integers {
    fn widened(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        values.iter().map(|values| Ok(cast(values, &WIDE)?)).collect()
    }

    fn one(&self, sum: Option<i128>) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(sum.map(narrowed).transpose()?))
    }

    fn many(&self, sums: &Decimal128Array) -> Result<ArrayRef> {
        let sums = sums.iter().map(|sum| sum.map(narrowed).transpose());
        Ok(Arc::new(sums.collect::<Result<Int64Array>>()?))
    }
}

/// The sum of the distinct integers of a frame, with how often each is in it.
#[derive(Debug, Default)]
struct Distinct {
    counts: HashMap<i64, usize>,
    sum: i128,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in cast(&values[0], &DataType::Int64)?.as_primitive::<Int64Type>().iter().flatten() {
            let count = self.counts.entry(value).or_default();
            *count += 1;
            if *count == 1 {
                self.sum += i128::from(value);
            }
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in cast(&values[0], &DataType::Int64)?.as_primitive::<Int64Type>().iter().flatten() {
            if let Entry::Occupied(mut entry) = self.counts.entry(value) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                    self.sum -= i128::from(value);
                }
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = (!self.counts.is_empty()).then(|| narrowed(self.sum)).transpose()?;
        Ok(ScalarValue::Int64(sum))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<(i64, usize)>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(failed("a sum over a frame has no state"))
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        Err(failed("a sum over a frame has no state"))
    }
}
