//! `approx_distinct`: DataFusion's, for every type there is.
//!
//! DataFusion sketches integers, texts and moments. Any other value is counted by its text, which is
//! another for another value.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};

use crate::query::error::invalid;
use crate::query::sql_type::SqlType;

/// The function.
pub(super) fn approx_distinct() -> AggregateUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    AggregateUDF::from(ApproxDistinct { stock: approx_distinct_udaf(), signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ApproxDistinct {
    stock: Arc<AggregateUDF>,
    signature: Signature,
}

impl AggregateUDFImpl for ApproxDistinct {
    fn name(&self) -> &str {
        "approx_distinct"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [of] if !of.is_nested() => self.stock.return_type(types),
            [of] => Err(invalid(format!("approx_distinct does not count {}", SqlType::name_of(of)))),
            _ => Err(invalid("approx_distinct takes a value and, as a literal, its standard error")),
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let counted = |of: &DataType| match SqlType::of(of) {
            Some(SqlType::Integer | SqlType::Bigint | SqlType::Varchar | SqlType::Timestamp) => of.clone(),
            Some(SqlType::Array(_) | SqlType::Row(_) | SqlType::TimeSeries(_)) | None => of.clone(),
            Some(_) => DataType::Utf8View,
        };
        Ok(types.iter().map(counted).collect())
    }

    fn is_nullable(&self) -> bool {
        self.stock.is_nullable()
    }

    fn default_value(&self, of: &DataType) -> Result<ScalarValue> {
        self.stock.default_value(of)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.stock.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.stock.accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.stock.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.stock.create_groups_accumulator(args)
    }
}
