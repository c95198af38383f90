//! What the values of aggregates over window frames take from the memory of all queries.
//!
//! DataFusion accounts for what groups hold, and for nothing that a window function makes: an array for
//! each of ten thousand rows, each one element longer than the last, is fifty million elements.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};

/// The aggregates whose values grow with their frame.
const GROWING: &[&str] =
    &["array_agg", "create_time_series", "__max_by_n", "__min_by_n", "__max_n", "__min_n"];

/// The memory that the values of one query's frames take, until the query ends. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct FrameMemory(Arc<MemoryReservation>);

impl FrameMemory {
    /// Nothing yet.
    pub(crate) fn of(pool: &Arc<dyn MemoryPool>) -> Self {
        Self(Arc::new(MemoryConsumer::new("values of window frames").register(pool)))
    }

    /// `aggregate`, which takes from this memory if its values can grow.
    pub(crate) fn watch(&self, aggregate: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
        match GROWING.contains(&aggregate.name()) {
            true => {
                let memory = self.clone();
                Arc::new(AggregateUDF::from(Watched { stock: aggregate, memory: Memory(memory) }))
            }
            false => aggregate,
        }
    }
}

/// An aggregate that tells what it makes.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Watched {
    stock: Arc<AggregateUDF>,
    memory: Memory,
}

/// All calls of a query share it, so it tells none from another.
#[derive(Debug, Clone)]
struct Memory(FrameMemory);

impl PartialEq for Memory {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memory {}

impl std::hash::Hash for Memory {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl Watched {
    fn watched(&self, inner: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
        Box::new(Watching { inner, memory: self.memory.0.clone(), values: 0 })
    }
}

impl AggregateUDFImpl for Watched {
    fn name(&self) -> &str {
        self.stock.name()
    }

    fn signature(&self) -> &Signature {
        self.stock.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.stock.return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        self.stock.return_field(fields)
    }

    fn is_nullable(&self) -> bool {
        self.stock.is_nullable()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.stock.coerce_types(types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.stock.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(self.watched(self.stock.accumulator(args)?))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(self.watched(self.stock.create_sliding_accumulator(args)?))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.stock.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.stock.create_groups_accumulator(args)
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        beneficial_ordering: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let stock = self.stock.as_ref().clone().with_beneficial_ordering(beneficial_ordering)?;
        let memory = self.memory.clone();
        Ok(stock.map(|stock| Arc::new(Self { stock: Arc::new(stock), memory }) as Arc<dyn AggregateUDFImpl>))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.stock.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.stock.reverse_udf() {
            ReversedUDAF::Reversed(stock) => ReversedUDAF::Reversed(self.memory.0.watch(stock)),
            other => other,
        }
    }

    fn default_value(&self, of: &DataType) -> Result<ScalarValue> {
        self.stock.default_value(of)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.stock.supports_null_handling_clause()
    }
}

/// The rows of one group, or of one frame after another.
#[derive(Debug)]
struct Watching {
    inner: Box<dyn Accumulator>,
    memory: FrameMemory,
    values: usize,
}

impl Accumulator for Watching {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    /// A group has one value, which DataFusion accounts for; a frame has the next one.
    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.inner.evaluate()?;
        self.values += 1;
        if self.values > 1 {
            self.memory.0.try_grow(value.size())?;
        }
        Ok(value)
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

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}
