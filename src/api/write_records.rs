//! WriteRecords: the request becomes a `WriteBatch` (spec 4).
//!
//! `request` is what may be written, `names` what records of a request have in common.
//!
//! Two classes of failure (spec 4.4): what is wrong with the request fails it whole, here; what is
//! wrong with a record against its table is the store's to say, record by record.

mod names;
mod request;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::error::ApiError;
use crate::record::{
    Attribute, DEFAULT_VERSION, Dimension, Measure, MeasureType, MeasureValue, Record, TimeUnit,
    VARCHAR_BYTES_MAX, WriteBatch, check_attribute_name, check_dimension_name, check_measure_name,
};
use crate::store::{Compatibility, Written};
use names::Names;
use request::{Attributes, NamedValue, REQUEST, Request, TypedValue};

/// WriteRecords. Answers once every accepted record is durable.
pub(crate) async fn write(context: &Context, body: &[u8]) -> Result<Value, ApiError> {
    let batch = batch_of(body, context.compatibility)?;
    let written = context.store.submit(batch).await?.await?;
    answer(&written)
}

fn answer(written: &Written) -> Result<Value, ApiError> {
    if !written.rejected.is_empty() {
        return Err(ApiError::rejected_records(&written.rejected));
    }
    Ok(json!({ "RecordsIngested": {
        "Total": written.memory_store + written.magnetic_store,
        "MemoryStore": written.memory_store,
        "MagneticStore": written.magnetic_store,
    } }))
}

/// The records of a request. One that is in order is read straight from its bytes; any other goes
/// through a tree of values, so that the shape can say what is wrong where.
fn batch_of(body: &[u8], compatibility: Compatibility) -> Result<WriteBatch, ApiError> {
    match Request::read(body) {
        Some(request) => batch(&request, compatibility),
        None => tree_batch(super::json::parse(body)?, compatibility),
    }
}

fn tree_batch(input: Value, compatibility: Compatibility) -> Result<WriteBatch, ApiError> {
    REQUEST.check(&input)?;
    let request = Request::deserialize(&input).map_err(|error| ApiError::serialization(error.to_string()))?;
    batch(&request, compatibility)
}

fn batch(request: &Request<'_>, compatibility: Compatibility) -> Result<WriteBatch, ApiError> {
    let nothing = Attributes::default();
    let common = request.common_attributes.as_ref().unwrap_or(&nothing);
    let mut reader = RecordReader {
        common,
        compatibility,
        measure_name: "".into(),
        dimension_names: Names::default(),
        attribute_names: Names::default(),
        dimensions: Arc::new([]),
    };
    let mut records = Vec::with_capacity(request.records.len());
    for record in &request.records {
        records.push(reader.record(record)?);
    }
    Ok(WriteBatch { database: (*request.database_name).into(), table: (*request.table_name).into(), records })
}

/// Turns what was written into records. Keeps the names and the dimensions of the record before, for
/// most records repeat them.
struct RecordReader<'r, 'b> {
    common: &'r Attributes<'b>,
    compatibility: Compatibility,
    measure_name: Arc<str>,
    dimension_names: Names,
    attribute_names: Names,
    dimensions: Arc<[Dimension]>,
}

impl RecordReader<'_, '_> {
    /// What `own` says, and what the common attributes say where it is silent; dimensions of both (spec 4.2).
    fn record(&mut self, own: &Attributes<'_>) -> Result<Record, ApiError> {
        let common = self.common;
        let unit = own.time_unit.as_deref().or(common.time_unit.as_deref());
        let unit = unit.and_then(TimeUnit::of_api_name).unwrap_or_default();
        let time = own.time.as_deref().or(common.time.as_deref());
        let time = time
            .and_then(|time| unit.moment(time))
            .filter(|time| time.nanos() >= 0)
            .ok_or_else(|| ApiError::validation("Invalid time for record."))?;
        let reading = Reading { unit, compatibility: self.compatibility };
        let version = own.version.or(common.version).unwrap_or(DEFAULT_VERSION);
        if version < 1 {
            return Err(ApiError::validation(format!(
                "Invalid record version {version}. It must be at least 1."
            )));
        }
        let measure_name = self.measure_name(own)?;
        // A record with a value of its own does not also inherit the other kind of value.
        let own_value = own.measure_value.is_some() || own.measure_values.is_some();
        let valued = if own_value { own } else { common };
        let (value, values) = (valued.measure_value.as_deref(), valued.measure_values.as_deref());
        let value_type = own.measure_value_type.as_deref().or(common.measure_value_type.as_deref());
        let measure = match value_type.unwrap_or("DOUBLE") {
            "MULTI" => multi(value, values.unwrap_or_default(), &mut self.attribute_names, reading)?,
            scalar => single(value, values.unwrap_or_default(), scalar, reading)?,
        };
        let dimensions = self.dimensions(own)?;
        Ok(Record { dimensions, measure_name, measure, time, version })
    }

    fn measure_name(&mut self, own: &Attributes<'_>) -> Result<Arc<str>, ApiError> {
        let name = own
            .measure_name
            .as_deref()
            .or(self.common.measure_name.as_deref())
            .ok_or_else(|| ApiError::validation("A measure name is required for a record."))?;
        if *self.measure_name != *name {
            check_measure_name(name).map_err(|why| {
                ApiError::validation(format!("The measure name '{name}' is invalid: {why}."))
            })?;
            self.measure_name = name.into();
        }
        Ok(Arc::clone(&self.measure_name))
    }

    fn dimensions(&mut self, own: &Attributes<'_>) -> Result<Arc<[Dimension]>, ApiError> {
        let common = self.common.dimensions.as_deref().unwrap_or_default();
        let written = common.iter().chain(own.dimensions.as_deref().unwrap_or_default());
        let count = written.clone().count();
        // AWS refuses a record without dimensions; emulators take it, and so does "local".
        if count == 0 && self.compatibility == Compatibility::Aws {
            return Err(ApiError::validation("At least one dimension is required for a record."));
        }
        let same = self.dimensions.len() == count
            && self
                .dimensions
                .iter()
                .zip(written.clone())
                .all(|(before, written)| *before.name == *written.name && before.value == *written.value);
        if !same {
            let names = written.clone().map(|dimension| &*dimension.name);
            let names = self
                .dimension_names
                .of(names, count, check_dimension_name)
                .map_err(|(name, fault)| fault.of("dimension name", "dimension", name))?;
            let dimension = |(name, written): (&Arc<str>, &NamedValue<'_>)| Dimension {
                name: Arc::clone(name),
                value: (*written.value).to_owned(),
            };
            self.dimensions = names.iter().zip(written).map(dimension).collect();
        }
        Ok(Arc::clone(&self.dimensions))
    }
}

/// How the values of a record are read.
#[derive(Debug, Clone, Copy)]
struct Reading {
    unit: TimeUnit,
    compatibility: Compatibility,
}

fn single(
    value: Option<&str>,
    values: &[TypedValue<'_>],
    value_type: &str,
    reading: Reading,
) -> Result<Measure, ApiError> {
    if value_type == "TIMESTAMP" {
        return Err(ApiError::validation("TIMESTAMP is an invalid measure value type."));
    }
    if !values.is_empty() {
        return Err(ApiError::validation("MeasureValues requires the measure value type MULTI."));
    }
    let value = value.ok_or_else(|| ApiError::validation("A measure value is required for a record."))?;
    Ok(Measure::Single(parsed(value, value_type, reading)?))
}

fn multi(
    value: Option<&str>,
    values: &[TypedValue<'_>],
    names: &mut Names,
    reading: Reading,
) -> Result<Measure, ApiError> {
    if value.is_some() {
        return Err(ApiError::validation("MeasureValue is not allowed with the measure value type MULTI."));
    }
    if values.is_empty() {
        return Err(ApiError::validation("MeasureValues is required for the measure value type MULTI."));
    }
    let names = names
        .of(values.iter().map(|value| &*value.name), values.len(), check_attribute_name)
        .map_err(|(name, fault)| fault.of("measure name", "measure", name))?;
    let mut attributes = Vec::with_capacity(values.len());
    for (name, TypedValue { value, value_type, .. }) in names.iter().zip(values) {
        attributes.push(Attribute { name: Arc::clone(name), value: parsed(value, value_type, reading)? });
    }
    Ok(Measure::Multi(attributes))
}

/// How much of a value that cannot be read is repeated in the answer, in characters.
const ECHO_CHARS_MAX: usize = 64;

/// The value `text` stands for (spec 4.3). A TIMESTAMP counts in the record's time unit; AWS takes no
/// negative zero.
fn parsed(text: &str, value_type: &str, reading: Reading) -> Result<MeasureValue, ApiError> {
    let storable = |value: &MeasureValue| {
        let negative_zero = |number: f64| number == 0.0 && number.is_sign_negative();
        let refused = reading.compatibility == Compatibility::Aws;
        !matches!(value, MeasureValue::Double(number) if refused && negative_zero(*number))
    };
    let value = MeasureType::of_api_name(value_type)
        .and_then(|of| MeasureValue::parse(text, of, reading.unit))
        .filter(storable);
    value.ok_or_else(|| match (value_type, text.char_indices().nth(ECHO_CHARS_MAX)) {
        ("VARCHAR", _) => ApiError::validation(format!(
            "A varchar measure value has at most {VARCHAR_BYTES_MAX} bytes, this one has {}.",
            text.len()
        )),
        (_, end) => {
            let shown = end.map_or(text, |(end, _)| &text[..end]);
            let value_type = value_type.to_lowercase();
            ApiError::validation(format!("Invalid value {shown} for {value_type} measure value type."))
        }
    })
}

#[cfg(test)]
#[path = "write_records/tests.rs"]
mod tests;
