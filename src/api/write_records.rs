//! WriteRecords: the request becomes a `WriteBatch` (spec 4).
//!
//! Two classes of failure (spec 4.4): what is wrong with the request fails it whole, here; what is
//! wrong with a record against its table is the store's to say, record by record.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::error::ApiError;
use super::shape::{Shape, optional, required};
use crate::clock::Timestamp;
use crate::record::{
    Attribute, DEFAULT_VERSION, Dimension, Measure, MeasureValue, Record, VARCHAR_BYTES_MAX, WriteBatch,
    check_attribute_name, check_dimension_name, check_measure_name,
};
use crate::store::{Compatibility, Written};

const TYPES: Shape = Shape::Choice(&["DOUBLE", "BIGINT", "VARCHAR", "BOOLEAN", "TIMESTAMP", "MULTI"]);
const UNITS: Shape = Shape::Choice(&["MILLISECONDS", "SECONDS", "MICROSECONDS", "NANOSECONDS"]);
const DIMENSION: Shape = Shape::Structure(&[
    required("Name", Shape::Text(1, usize::MAX)),
    required("Value", Shape::Text(0, usize::MAX)),
    optional("DimensionValueType", Shape::Choice(&["VARCHAR"])),
]);
const MEASURE_VALUE: Shape = Shape::Structure(&[
    required("Name", Shape::Text(1, usize::MAX)),
    required("Value", Shape::Text(1, VARCHAR_BYTES_MAX)),
    required("Type", TYPES),
]);
const RECORD: Shape = Shape::Structure(&[
    optional("Dimensions", Shape::List(&DIMENSION, 0, 128)),
    optional("MeasureName", Shape::Text(1, usize::MAX)),
    optional("MeasureValue", Shape::Text(1, VARCHAR_BYTES_MAX)),
    optional("MeasureValueType", TYPES),
    optional("MeasureValues", Shape::List(&MEASURE_VALUE, 0, 256)),
    optional("Time", Shape::Text(1, 256)),
    optional("TimeUnit", UNITS),
    optional("Version", Shape::Integer(i64::MIN, i64::MAX)),
]);
const REQUEST: Shape = Shape::Structure(&[
    required("DatabaseName", Shape::Name),
    required("TableName", Shape::Name),
    optional("CommonAttributes", RECORD),
    required("Records", Shape::List(&RECORD, 1, 100)),
]);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    database_name: String,
    table_name: String,
    #[serde(default)]
    common_attributes: Option<Attributes>,
    records: Vec<Attributes>,
}

/// A record as written, or what all records of a request share.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Attributes {
    dimensions: Option<Vec<NamedValue>>,
    measure_name: Option<String>,
    measure_value: Option<String>,
    measure_value_type: Option<String>,
    measure_values: Option<Vec<TypedValue>>,
    time: Option<String>,
    time_unit: Option<String>,
    version: Option<i64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NamedValue {
    name: String,
    value: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TypedValue {
    name: String,
    value: String,
    #[serde(rename = "Type")]
    value_type: String,
}

/// WriteRecords. Answers once every accepted record is durable.
pub(crate) async fn write(context: &Context, input: Value) -> Result<Value, ApiError> {
    let request: Request = super::json::read(&REQUEST, input)?;
    let batch = batch(request, context.compatibility)?;
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

fn batch(request: Request, compatibility: Compatibility) -> Result<WriteBatch, ApiError> {
    let common = request.common_attributes.unwrap_or_default();
    let records: Result<Vec<Record>, ApiError> =
        request.records.into_iter().map(|record| merged(record, &common).checked(compatibility)).collect();
    Ok(WriteBatch {
        database: request.database_name.into(),
        table: request.table_name.into(),
        records: records?,
    })
}

/// What `record` says, and what `common` says where it is silent; dimensions of both (spec 4.2).
fn merged(record: Attributes, common: &Attributes) -> Attributes {
    let mut dimensions = common.dimensions.clone().unwrap_or_default();
    dimensions.extend(record.dimensions.unwrap_or_default());
    // A record with a value of its own does not also inherit the other kind of value.
    let own_value = record.measure_value.is_some() || record.measure_values.is_some();
    let inherited = if own_value { &Attributes::default() } else { common };
    Attributes {
        dimensions: Some(dimensions),
        measure_name: record.measure_name.or_else(|| common.measure_name.clone()),
        measure_value: record.measure_value.or_else(|| inherited.measure_value.clone()),
        measure_value_type: record.measure_value_type.or_else(|| common.measure_value_type.clone()),
        measure_values: record.measure_values.or_else(|| inherited.measure_values.clone()),
        time: record.time.or_else(|| common.time.clone()),
        time_unit: record.time_unit.or_else(|| common.time_unit.clone()),
        version: record.version.or(common.version),
    }
}

impl Attributes {
    fn checked(self, compatibility: Compatibility) -> Result<Record, ApiError> {
        let nanos_per_unit = nanos_per_unit(self.time_unit.as_deref().unwrap_or("MILLISECONDS"));
        let time = self
            .time
            .as_deref()
            .and_then(|time| moment(time, nanos_per_unit))
            .filter(|time| time.nanos() >= 0)
            .ok_or_else(|| ApiError::validation("Invalid time for record."))?;
        let version = self.version.unwrap_or(DEFAULT_VERSION);
        if version < 1 {
            return Err(ApiError::validation(format!(
                "Invalid record version {version}. It must be at least 1."
            )));
        }
        let measure_name = self
            .measure_name
            .ok_or_else(|| ApiError::validation("A measure name is required for a record."))?;
        check_measure_name(&measure_name).map_err(|why| {
            ApiError::validation(format!("The measure name '{measure_name}' is invalid: {why}."))
        })?;
        let measure = match self.measure_value_type.as_deref().unwrap_or("DOUBLE") {
            "MULTI" => multi(self.measure_value.as_deref(), self.measure_values, nanos_per_unit)?,
            scalar => single(self.measure_value.as_deref(), self.measure_values, scalar)?,
        };
        let dimensions = dimensions(self.dimensions.unwrap_or_default(), compatibility)?;
        Ok(Record { dimensions, measure_name: measure_name.into(), measure, time, version })
    }
}

fn dimensions(written: Vec<NamedValue>, compatibility: Compatibility) -> Result<Arc<[Dimension]>, ApiError> {
    // AWS refuses a record without dimensions; emulators take it, and so does "local".
    if written.is_empty() && compatibility == Compatibility::Aws {
        return Err(ApiError::validation("At least one dimension is required for a record."));
    }
    let mut names = HashSet::with_capacity(written.len());
    for NamedValue { name, .. } in &written {
        check_dimension_name(name)
            .map_err(|why| ApiError::validation(format!("The dimension name '{name}' is invalid: {why}.")))?;
        if !names.insert(name.as_str()) {
            return Err(ApiError::validation(format!("The dimension '{name}' is given more than once.")));
        }
    }
    Ok(written.into_iter().map(|NamedValue { name, value }| Dimension { name: name.into(), value }).collect())
}

fn single(
    value: Option<&str>,
    values: Option<Vec<TypedValue>>,
    value_type: &str,
) -> Result<Measure, ApiError> {
    if value_type == "TIMESTAMP" {
        return Err(ApiError::validation("TIMESTAMP is an invalid measure value type."));
    }
    if values.is_some_and(|values| !values.is_empty()) {
        return Err(ApiError::validation("MeasureValues requires the measure value type MULTI."));
    }
    let value = value.ok_or_else(|| ApiError::validation("A measure value is required for a record."))?;
    Ok(Measure::Single(parsed(value, value_type, 1)?))
}

fn multi(
    value: Option<&str>,
    values: Option<Vec<TypedValue>>,
    nanos_per_unit: i64,
) -> Result<Measure, ApiError> {
    if value.is_some() {
        return Err(ApiError::validation("MeasureValue is not allowed with the measure value type MULTI."));
    }
    let values = values.unwrap_or_default();
    if values.is_empty() {
        return Err(ApiError::validation("MeasureValues is required for the measure value type MULTI."));
    }
    let mut names = HashSet::with_capacity(values.len());
    for TypedValue { name, .. } in &values {
        check_attribute_name(name)
            .map_err(|why| ApiError::validation(format!("The measure name '{name}' is invalid: {why}.")))?;
        if !names.insert(name.as_str()) {
            return Err(ApiError::validation(format!("The measure '{name}' is given more than once.")));
        }
    }
    let attributes: Result<Vec<Attribute>, ApiError> = values
        .into_iter()
        .map(|TypedValue { name, value, value_type }| {
            Ok(Attribute { name: name.into(), value: parsed(&value, &value_type, nanos_per_unit)? })
        })
        .collect();
    Ok(Measure::Multi(attributes?))
}

/// How much of a value that cannot be read is repeated in the answer, in characters.
const ECHO_CHARS_MAX: usize = 64;

/// The value `text` stands for (spec 4.3). A TIMESTAMP counts in the record's time unit.
fn parsed(text: &str, value_type: &str, nanos_per_unit: i64) -> Result<MeasureValue, ApiError> {
    let value = match value_type {
        "DOUBLE" => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(MeasureValue::Double),
        "BIGINT" => text.parse().ok().map(MeasureValue::Bigint),
        "BOOLEAN" if text.eq_ignore_ascii_case("true") => Some(MeasureValue::Boolean(true)),
        "BOOLEAN" if text.eq_ignore_ascii_case("false") => Some(MeasureValue::Boolean(false)),
        "VARCHAR" if text.len() <= VARCHAR_BYTES_MAX => Some(MeasureValue::Varchar(text.to_owned())),
        "TIMESTAMP" => moment(text, nanos_per_unit).map(MeasureValue::Timestamp),
        _ => None,
    };
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

fn moment(text: &str, nanos_per_unit: i64) -> Option<Timestamp> {
    text.parse::<i64>().ok()?.checked_mul(nanos_per_unit).map(Timestamp::from_nanos)
}

fn nanos_per_unit(unit: &str) -> i64 {
    match unit {
        "SECONDS" => 1_000_000_000,
        "MICROSECONDS" => 1_000,
        "NANOSECONDS" => 1,
        _ => 1_000_000,
    }
}

#[cfg(test)]
#[path = "write_records/tests.rs"]
mod tests;
