//! Some thousand rows of a memtable as Arrow arrays, sealed: shared by snapshots and the flush.
//!
//! Dimensions are kept per series and spread over the rows when a query first asks: views of
//! 16 bytes that point to one copy of the text.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use ahash::RandomState;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Array, Int64Builder, RecordBatch,
    StringViewBuilder, TimestampNanosecondArray, TimestampNanosecondBuilder, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampNanosecondType};

use super::schema::{TableSchema, ValueColumn, value_type};
use super::series::{Series, SeriesIndex};
use crate::clock::Timestamp;
use crate::record::{MeasureType, MeasureValue};

/// Rows that are not sealed yet. Their values lie side by side: a vector for each row would be made on
/// one thread and dropped on another, and allocators pay dearly for that.
#[derive(Debug, Default)]
pub(crate) struct OpenRows {
    rows: Vec<OpenRow>,
    values: Vec<(u16, MeasureValue)>,
}

#[derive(Debug)]
struct OpenRow {
    series: u32,
    time: i64,
    version: i64,
    /// Where its values end.
    end: usize,
}

impl OpenRows {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Forgets all rows and keeps their room: some megabytes, which to ask for again takes longer than to fill.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.values.clear();
    }

    /// Adds a row with the values that `put` appends, each with the place of its column; the answer is
    /// these values.
    pub(crate) fn push(
        &mut self,
        series: u32,
        time: i64,
        version: i64,
        put: impl FnOnce(&mut Vec<(u16, MeasureValue)>),
    ) -> &[(u16, MeasureValue)] {
        let start = self.values.len();
        put(&mut self.values);
        self.rows.push(OpenRow { series, time, version, end: self.values.len() });
        &self.values[start..]
    }

    pub(crate) fn version(&self, row: usize) -> i64 {
        self.rows[row].version
    }

    /// The values of a row.
    pub(crate) fn values(&self, row: usize) -> &[(u16, MeasureValue)] {
        let start = row.checked_sub(1).map_or(0, |before| self.rows[before].end);
        &self.values[start..self.rows[row].end]
    }
}

/// Sealed rows.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Which of `distinct` each row belongs to.
    series: UInt32Array,
    distinct: Vec<Arc<Series>>,
    time: TimestampNanosecondArray,
    version: Int64Array,
    values: Vec<Option<ArrayRef>>,
    keys: OnceLock<Keys>,
}

#[derive(Debug)]
struct Keys {
    measure_name: ArrayRef,
    dimensions: Vec<Option<ArrayRef>>,
}

impl Chunk {
    /// The first `count` of the open rows.
    pub(crate) fn seal(open: &OpenRows, count: usize, index: &SeriesIndex, columns: &[ValueColumn]) -> Self {
        let rows = &open.rows[..count];
        let mut local: HashMap<u32, u32, RandomState> = HashMap::default();
        let mut distinct = Vec::new();
        let mut series = Vec::with_capacity(rows.len());
        let mut builders: Vec<Option<ValueBuilder>> = Vec::new();
        builders.resize_with(columns.len(), || None);
        for (at, row) in rows.iter().enumerate() {
            let next = u32::try_from(distinct.len()).expect("fewer series than rows");
            series.push(*local.entry(row.series).or_insert_with(|| {
                distinct.push(Arc::clone(index.series(row.series)));
                next
            }));
            for (place, value) in open.values(at) {
                let place = usize::from(*place);
                let builder = builders[place].get_or_insert_with(|| ValueBuilder::new(columns[place].value));
                builder.pad(at);
                builder.push(value);
            }
        }
        let finish = |builder: Option<ValueBuilder>| {
            builder.map(|mut builder| {
                builder.pad(rows.len());
                builder.finish()
            })
        };
        Self {
            series: UInt32Array::from(series),
            distinct,
            time: rows.iter().map(|row| row.time).collect::<Vec<_>>().into(),
            version: rows.iter().map(|row| row.version).collect::<Vec<_>>().into(),
            values: builders.into_iter().map(finish).collect(),
            keys: OnceLock::new(),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.time.len()
    }

    pub(crate) fn version(&self, row: usize) -> i64 {
        self.version.value(row)
    }

    pub(crate) fn versions(&self) -> &Int64Array {
        &self.version
    }

    pub(crate) fn times(&self) -> &TimestampNanosecondArray {
        &self.time
    }

    /// A column of values; `None` when no row of the chunk has one.
    pub(crate) fn value(&self, place: usize) -> Option<&ArrayRef> {
        self.values.get(place)?.as_ref()
    }

    /// The values a row has.
    pub(crate) fn row_values(&self, row: usize) -> Vec<(u16, MeasureValue)> {
        let columns = (0..).zip(&self.values);
        columns.filter_map(|(place, column)| Some((place, value_at(column.as_ref()?, row)?))).collect()
    }

    /// All rows with the columns of `schema`, which may have grown since.
    pub(crate) fn batch(&self, schema: &TableSchema) -> RecordBatch {
        let keys = self.keys.get_or_init(|| self.spread());
        let rows = self.rows();
        let absent = |data_type| new_null_array(&data_type, rows);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.columns().len());
        for place in 0..schema.dimensions().len() {
            let column = keys.dimensions.get(place).cloned().flatten();
            columns.push(column.unwrap_or_else(|| absent(DataType::Utf8View)));
        }
        columns.push(Arc::clone(&keys.measure_name));
        columns.push(Arc::new(self.time.clone()));
        for (place, column) in schema.values().iter().enumerate() {
            columns.push(self.value(place).cloned().unwrap_or_else(|| absent(value_type(column.value))));
        }
        RecordBatch::try_new(schema.arrow(), columns).expect("every column has the schema's type and length")
    }

    fn spread(&self) -> Keys {
        let spread = |column: ArrayRef| take(&column, &self.series, None).expect("indices are in range");
        let places = self.distinct.iter().filter_map(|series| series.dimensions.last());
        let count = places.map(|(place, _)| usize::from(*place) + 1).max().unwrap_or(0);
        let dimensions =
            (0..count).map(|place| dimension_column(&self.distinct, place).map(spread)).collect();
        Keys { measure_name: spread(measure_name_column(&self.distinct)), dimensions }
    }
}

/// The measure names of some series.
pub(crate) fn measure_name_column(series: &[Arc<Series>]) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(series.len()).with_deduplicate_strings();
    for series in series {
        builder.append_value(&series.measure_name);
    }
    Arc::new(builder.finish())
}

/// One dimension of some series; `None` when none of them has it.
pub(crate) fn dimension_column(series: &[Arc<Series>], place: usize) -> Option<ArrayRef> {
    let place = u16::try_from(place).ok()?;
    let mut builder = StringViewBuilder::with_capacity(series.len()).with_deduplicate_strings();
    for series in series {
        builder.append_option(series.dimension(place));
    }
    let column = builder.finish();
    (column.null_count() < column.len()).then(|| Arc::new(column) as ArrayRef)
}

/// The value of a row of a column of values; `None` for NULL.
pub(crate) fn value_at(column: &ArrayRef, row: usize) -> Option<MeasureValue> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Float64 => MeasureValue::Double(column.as_primitive::<Float64Type>().value(row)),
        DataType::Int64 => MeasureValue::Bigint(column.as_primitive::<Int64Type>().value(row)),
        DataType::Boolean => MeasureValue::Boolean(column.as_boolean().value(row)),
        DataType::Utf8View => MeasureValue::Varchar(column.as_string_view().value(row).to_owned()),
        DataType::Utf8 => MeasureValue::Varchar(column.as_string::<i32>().value(row).to_owned()),
        DataType::Timestamp(_, _) => {
            let nanos = column.as_primitive_opt::<TimestampNanosecondType>()?.value(row);
            MeasureValue::Timestamp(Timestamp::from_nanos(nanos))
        }
        _ => return None,
    })
}

#[derive(Debug)]
enum ValueBuilder {
    Double(Float64Builder),
    Bigint(Int64Builder),
    Varchar(StringViewBuilder),
    Boolean(BooleanBuilder),
    Timestamp(TimestampNanosecondBuilder),
}

/// Runs the same call on whichever builder it is.
macro_rules! each {
    ($self:expr, $builder:ident => $call:expr) => {
        match $self {
            ValueBuilder::Double($builder) => $call,
            ValueBuilder::Bigint($builder) => $call,
            ValueBuilder::Varchar($builder) => $call,
            ValueBuilder::Boolean($builder) => $call,
            ValueBuilder::Timestamp($builder) => $call,
        }
    };
}

impl ValueBuilder {
    fn new(value: MeasureType) -> Self {
        match value {
            MeasureType::Double => Self::Double(Float64Builder::new()),
            MeasureType::Bigint => Self::Bigint(Int64Builder::new()),
            MeasureType::Varchar => Self::Varchar(StringViewBuilder::new()),
            MeasureType::Boolean => Self::Boolean(BooleanBuilder::new()),
            MeasureType::Timestamp => Self::Timestamp(TimestampNanosecondBuilder::new()),
        }
    }

    /// Fills with NULL up to row `rows`.
    fn pad(&mut self, rows: usize) {
        use arrow::array::ArrayBuilder;
        each!(self, builder => for _ in builder.len()..rows { builder.append_null() });
    }

    fn push(&mut self, value: &MeasureValue) {
        match (self, value) {
            (Self::Double(builder), MeasureValue::Double(value)) => builder.append_value(*value),
            (Self::Bigint(builder), MeasureValue::Bigint(value)) => builder.append_value(*value),
            (Self::Varchar(builder), MeasureValue::Varchar(value)) => builder.append_value(value),
            (Self::Boolean(builder), MeasureValue::Boolean(value)) => builder.append_value(*value),
            (Self::Timestamp(builder), MeasureValue::Timestamp(value)) => builder.append_value(value.nanos()),
            // Admission compares every value with the type of its column.
            (builder, _) => each!(builder, builder => builder.append_null()),
        }
    }

    fn finish(self) -> ArrayRef {
        each!(self, builder => { let mut builder = builder; Arc::new(builder.finish()) as ArrayRef })
    }
}
