//! Accumulators of decimals for values of another type: no number of rows fills them. What they are given is
//! widened, and the result brought back.

use std::fmt;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array};
use datafusion::arrow::datatypes::Decimal128Type;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// How values become decimals, and results values again.
pub(super) trait Wide: fmt::Debug + Send + Sync + 'static {
    fn widened(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>>;

    /// The result of one group.
    fn one(&self, result: Option<i128>) -> Result<ScalarValue>;

    /// The results of many groups.
    fn many(&self, results: &Decimal128Array) -> Result<ArrayRef>;
}

/// An accumulator by one of decimals.
#[derive(Debug)]
pub(super) struct ByDecimals<W, T: ?Sized> {
    pub(super) values: W,
    pub(super) wide: Box<T>,
}

impl<W: Wide> Accumulator for ByDecimals<W, dyn Accumulator> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.wide.update_batch(&self.values.widened(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.wide.evaluate()? {
            ScalarValue::Decimal128(result, ..) => self.values.one(result),
            other => internal_err!("the result of decimals is {other}"),
        }
    }

    fn size(&self) -> usize {
        self.wide.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.wide.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.wide.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.wide.retract_batch(&self.values.widened(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.wide.supports_retract_batch()
    }
}

impl<W: Wide> GroupsAccumulator for ByDecimals<W, dyn GroupsAccumulator> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.wide.update_batch(&self.values.widened(values)?, groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.values.many(self.wide.evaluate(emit_to)?.as_primitive::<Decimal128Type>())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.wide.state(emit_to)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.wide.merge_batch(states, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.wide.convert_to_state(&self.values.widened(values)?, filter)
    }

    fn size(&self) -> usize {
        self.wide.size()
    }
}
