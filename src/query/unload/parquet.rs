//! Rows as Parquet with the types AWS gives them (spec 1.4).
//!
//! Timestamps are INT96, which is what engines around S3 read and Arrow's writer does not write; so columns
//! are written leaf by leaf. A value's levels are those of the format: how much of its path is there
//! (definition) and at which list it goes on (repetition).

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimestampNanosecondType,
};
use datafusion::common::{DataFusionError, Result};
use datafusion::parquet::basic::{Compression, GzipLevel, LogicalType, Repetition, Type as Physical};
use datafusion::parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type as Int32Leaf, Int64Type as Int64Leaf, Int96,
    Int96Type,
};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use datafusion::parquet::schema::types::{Type, TypePtr};

use super::Output;
use crate::query::duration::DAY;
use crate::query::error::failed;
use crate::query::rows::{Column, Datum};
use crate::query::sql_type::SqlType;

/// The Julian day of 1970-01-01.
const EPOCH_DAY: i64 = 2_440_588;
/// Bytes of values after which a row group is written.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// A file that is being written.
pub(super) struct ParquetFile {
    types: Vec<SqlType>,
    writer: SerializedFileWriter<Shared>,
    out: Shared,
    leaves: Vec<Leaf>,
}

/// What the writer has written and nobody has taken yet.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn take(&self, least: usize) -> Vec<u8> {
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.len() < least { Vec::new() } else { std::mem::take(&mut *ready) }
    }
}

fn broken(error: ParquetError) -> DataFusionError {
    DataFusionError::ParquetError(Box::new(error))
}

impl ParquetFile {
    /// A file for columns of these names and types.
    pub(super) fn new(names: &[String], types: &[SqlType], gzip: bool) -> Result<Self> {
        let fields = names.iter().zip(types).map(|(name, of)| field(name, of)).collect::<Result<Vec<_>>>()?;
        let schema = Type::group_type_builder("schema").with_fields(fields).build().map_err(broken)?;
        let compression =
            if gzip { Compression::GZIP(GzipLevel::default()) } else { Compression::UNCOMPRESSED };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_created_by("Amazon Timestream compatible, tidemill".to_owned())
            .build();
        let out = Shared::default();
        let writer = SerializedFileWriter::new(out.clone(), Arc::new(schema), Arc::new(properties));
        let writer = writer.map_err(broken)?;
        let leaves = types.iter().flat_map(leaves_of).collect();
        Ok(Self { types: types.to_vec(), writer, out, leaves })
    }

    fn bytes(&self) -> usize {
        self.leaves.iter().map(Leaf::bytes).sum()
    }
}

impl Output for ParquetFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows: Vec<Slot> =
            (0..batch.num_rows()).map(|row| Slot { def: 0, rep: 0, at: Some(row) }).collect();
        let mut leaves = self.leaves.iter_mut();
        for (array, of) in batch.columns().iter().zip(&self.types) {
            collect(array, of, &rows, 0, &mut leaves)?;
        }
        if self.bytes() >= ROW_GROUP_BYTES { self.let_go() } else { Ok(()) }
    }

    fn held(&self) -> usize {
        self.bytes()
    }

    fn let_go(&mut self) -> Result<()> {
        if self.bytes() == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().map_err(broken)?;
        for leaf in &mut self.leaves {
            let column = group.next_column().map_err(broken)?;
            let column = column.ok_or_else(|| failed("a Parquet file lacks a column"))?;
            leaf.write(column).map_err(broken)?;
        }
        group.close().map(drop).map_err(broken)
    }

    fn take(&mut self, least: usize) -> Vec<u8> {
        self.out.take(least)
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<u8>> {
        self.let_go()?;
        self.writer.finish().map_err(broken)?;
        Ok(self.out.take(0))
    }
}

fn field(name: &str, of: &SqlType) -> Result<TypePtr> {
    let primitive = |physical: Physical, logical: Option<LogicalType>| {
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
    };
    let list = |element: TypePtr| {
        let repeated = Type::group_type_builder("list")
            .with_repetition(Repetition::REPEATED)
            .with_fields(vec![element])
            .build()?;
        Type::group_type_builder(name)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(Some(LogicalType::List))
            .with_fields(vec![Arc::new(repeated)])
            .build()
    };
    let group = |name: &str, fields: Vec<TypePtr>| {
        Type::group_type_builder(name).with_repetition(Repetition::OPTIONAL).with_fields(fields).build()
    };
    let built = match of {
        SqlType::Boolean => primitive(Physical::BOOLEAN, None),
        SqlType::Integer => primitive(Physical::INT32, None),
        SqlType::Bigint => primitive(Physical::INT64, None),
        SqlType::Double => primitive(Physical::DOUBLE, None),
        SqlType::Date => primitive(Physical::INT32, Some(LogicalType::Date)),
        SqlType::Timestamp => primitive(Physical::INT96, None),
        SqlType::Varchar | SqlType::DaySecond | SqlType::YearMonth | SqlType::Time | SqlType::Unknown => {
            primitive(Physical::BYTE_ARRAY, Some(LogicalType::String))
        }
        SqlType::Array(item) => list(field("element", item)?),
        SqlType::TimeSeries(value) => {
            let point = vec![field("time", &SqlType::Timestamp)?, field("value", value)?];
            group("element", point).and_then(|point| list(Arc::new(point)))
        }
        SqlType::Row(fields) => {
            let named = fields.iter().enumerate();
            let named = named.map(|(i, (name, of))| field(&super::field_name(name.as_deref(), i), of));
            group(name, named.collect::<Result<_>>()?)
        }
    };
    built.map(Arc::new).map_err(broken)
}

/// Where a value stands: its levels, and its place in the array if it is there.
#[derive(Debug, Clone, Copy)]
struct Slot {
    def: i16,
    rep: i16,
    at: Option<usize>,
}

/// Values of one leaf that wait for their row group.
struct Leaf {
    of: SqlType,
    values: Values,
    defs: Vec<i16>,
    reps: Option<Vec<i16>>,
}

enum Values {
    Boolean(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Moments(Vec<Int96>),
    Texts(Vec<ByteArray>, usize),
}

/// The leaves of a type, in the order of the schema.
fn leaves_of(of: &SqlType) -> Vec<Leaf> {
    fn add(of: &SqlType, repeated: bool, leaves: &mut Vec<Leaf>) {
        match of {
            SqlType::Array(item) => add(item, true, leaves),
            SqlType::TimeSeries(value) => {
                add(&SqlType::Timestamp, true, leaves);
                add(value, true, leaves);
            }
            SqlType::Row(fields) => fields.iter().for_each(|(_, of)| add(of, repeated, leaves)),
            scalar => {
                let reps = repeated.then(Vec::new);
                leaves.push(Leaf { of: scalar.clone(), values: Values::of(scalar), defs: Vec::new(), reps });
            }
        }
    }
    let mut leaves = Vec::new();
    add(of, false, &mut leaves);
    leaves
}

/// Appends the values of `array` in `slots` to its leaves. `lists` counts the lists around it.
fn collect<'l>(
    array: &ArrayRef,
    of: &SqlType,
    slots: &[Slot],
    lists: i16,
    leaves: &mut impl Iterator<Item = &'l mut Leaf>,
) -> Result<()> {
    // Everything is optional: what is there is one level deeper.
    let there = |slot: &Slot| match slot.at {
        Some(at) if array.is_null(at) => Slot { at: None, ..*slot },
        Some(_) => Slot { def: slot.def + 1, ..*slot },
        None => *slot,
    };
    let slots: Vec<Slot> = slots.iter().map(there).collect();
    match of {
        SqlType::Array(item) => {
            let list = list(array)?;
            let items = items(&list, &slots, lists + 1);
            collect(list.values(), item, &items, lists + 1, leaves)
        }
        SqlType::TimeSeries(value) => {
            let list = list(array)?;
            // The points are groups that are always there.
            let mut points = items(&list, &slots, lists + 1);
            for point in points.iter_mut().filter(|point| point.at.is_some()) {
                point.def += 1;
            }
            let fields = list.values().as_struct();
            collect(fields.column(0), &SqlType::Timestamp, &points, lists + 1, leaves)?;
            collect(fields.column(1), value, &points, lists + 1, leaves)
        }
        SqlType::Row(fields) => {
            let row = array.as_struct();
            for (column, (_, of)) in row.columns().iter().zip(fields) {
                collect(column, of, &slots, lists, leaves)?;
            }
            Ok(())
        }
        _ => match leaves.next() {
            Some(leaf) => leaf.add(array, &slots),
            None => Err(failed("a row has more values than its Parquet file")),
        },
    }
}

fn list(array: &ArrayRef) -> Result<ListArray> {
    match array.data_type() {
        DataType::List(_) => Ok(array.as_list::<i32>().clone()),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Ok(cast(array, &DataType::List(Arc::clone(item)))?.as_list::<i32>().clone())
        }
        other => Err(failed(format!("{other} is no array"))),
    }
}

/// The slots of the items of lists; a list that is empty or not there keeps one.
fn items(list: &ListArray, slots: &[Slot], depth: i16) -> Vec<Slot> {
    let offsets = list.value_offsets();
    let mut items = Vec::with_capacity(slots.len());
    for slot in slots {
        let Some(at) = slot.at else {
            items.push(*slot);
            continue;
        };
        let range = index(offsets[at])..index(offsets[at + 1]);
        if range.is_empty() {
            items.push(Slot { at: None, ..*slot });
        }
        for (number, item) in range.enumerate() {
            let rep = if number == 0 { slot.rep } else { depth };
            items.push(Slot { def: slot.def + 1, rep, at: Some(item) });
        }
    }
    items
}

fn index(offset: i32) -> usize {
    usize::try_from(offset).expect("offsets of a list are not negative")
}

impl Values {
    fn of(of: &SqlType) -> Self {
        match of {
            SqlType::Boolean => Self::Boolean(Vec::new()),
            SqlType::Integer | SqlType::Date => Self::Int32(Vec::new()),
            SqlType::Bigint => Self::Int64(Vec::new()),
            SqlType::Double => Self::Double(Vec::new()),
            SqlType::Timestamp => Self::Moments(Vec::new()),
            _ => Self::Texts(Vec::new(), 0),
        }
    }
}

impl Leaf {
    fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Boolean(values) => values.len(),
            Values::Int32(values) => values.len() * 4,
            Values::Int64(values) => values.len() * 8,
            Values::Double(values) => values.len() * 8,
            Values::Moments(values) => values.len() * 12,
            Values::Texts(values, bytes) => values.len() * size_of::<ByteArray>() + bytes,
        };
        values + self.defs.len() * 2 + self.reps.as_ref().map_or(0, |reps| reps.len() * 2)
    }

    fn add(&mut self, array: &ArrayRef, slots: &[Slot]) -> Result<()> {
        self.defs.extend(slots.iter().map(|slot| slot.def));
        if let Some(reps) = &mut self.reps {
            reps.extend(slots.iter().map(|slot| slot.rep));
        }
        let places = slots.iter().filter_map(|slot| slot.at);
        let array = cast(array, &self.of.arrow())?;
        match &mut self.values {
            Values::Boolean(values) => values.extend(places.map(|at| array.as_boolean().value(at))),
            Values::Int32(values) if self.of == SqlType::Date => {
                values.extend(places.map(|at| array.as_primitive::<Date32Type>().value(at)));
            }
            Values::Int32(values) => {
                values.extend(places.map(|at| array.as_primitive::<Int32Type>().value(at)));
            }
            Values::Int64(values) => {
                values.extend(places.map(|at| array.as_primitive::<Int64Type>().value(at)));
            }
            Values::Double(values) => {
                values.extend(places.map(|at| array.as_primitive::<Float64Type>().value(at)));
            }
            Values::Moments(values) => {
                let array = array.as_primitive::<TimestampNanosecondType>();
                values.extend(places.map(|at| moment(array.value(at))));
            }
            Values::Texts(values, bytes) if self.of == SqlType::Varchar => {
                let array = array.as_string_view();
                for at in places {
                    *bytes += array.value(at).len();
                    values.push(array.value(at).into());
                }
            }
            Values::Texts(values, bytes) => {
                let column = Column::new(&array)?;
                for at in places {
                    let Datum::Scalar(text) = column.datum(at) else { continue };
                    *bytes += text.len();
                    values.push(text.as_str().into());
                }
            }
        }
        Ok(())
    }

    /// Writes what waits as the leaf's part of a row group.
    fn write(&mut self, mut column: SerializedColumnWriter<'_>) -> std::result::Result<(), ParquetError> {
        let (defs, reps) = (Some(self.defs.as_slice()), self.reps.as_deref());
        match &mut self.values {
            Values::Boolean(values) => column.typed::<BoolType>().write_batch(values, defs, reps)?,
            Values::Int32(values) => column.typed::<Int32Leaf>().write_batch(values, defs, reps)?,
            Values::Int64(values) => column.typed::<Int64Leaf>().write_batch(values, defs, reps)?,
            Values::Double(values) => column.typed::<DoubleType>().write_batch(values, defs, reps)?,
            Values::Moments(values) => column.typed::<Int96Type>().write_batch(values, defs, reps)?,
            Values::Texts(values, _) => column.typed::<ByteArrayType>().write_batch(values, defs, reps)?,
        };
        column.close()?;
        self.values = Values::of(&self.of);
        self.defs.clear();
        if let Some(reps) = &mut self.reps {
            reps.clear();
        }
        Ok(())
    }
}

/// Nanoseconds of the day, low half first, and the Julian day.
fn moment(nanos: i64) -> Int96 {
    let (day, of_day) = (nanos.div_euclid(DAY) + EPOCH_DAY, nanos.rem_euclid(DAY));
    let half = |value: i64| u32::try_from(value & 0xFFFF_FFFF).expect("32 bits");
    let mut moment = Int96::new();
    moment.set_data(half(of_day), half(of_day >> 32), half(day));
    moment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_back() {
        for nanos in [0, 1, -1, DAY, 1_620_282_938_123_456_789, i64::MIN, i64::MAX] {
            assert_eq!(moment(nanos).to_nanos(), nanos);
        }
    }
}
