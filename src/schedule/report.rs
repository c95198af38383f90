//! The error report of a run: which records were refused, and why (spec 6.8).
//!
//! ```text
//! s3://<bucket>/<prefix>/<name>-<suffix>/<invocation time, s>/<Auto|Manual>/<start, ms>
//! {"reportId": "...", "errors": [{"reason": "...", "records": [{...}]}]}
//! ```

use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::definition::Definition;
use super::history::{ReportKey, Run, Trigger};
use crate::record::{Measure, MeasureType, MeasureValue, Record};

/// About how many bytes of records a report names; the others are counted.
const BYTES_MAX: usize = 4 << 20;
/// How many different reasons it tells.
const REASONS_MAX: usize = 1_000;

/// What was refused so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: IndexMap<String, Vec<Value>>,
    bytes: usize,
    refused: u64,
    told: u64,
}

impl Report {
    /// A record that was refused; nothing where a row became none.
    pub(super) fn add(&mut self, reason: String, record: Option<&Record>) {
        self.refused += 1;
        if self.bytes > BYTES_MAX || (self.errors.len() >= REASONS_MAX && !self.errors.contains_key(&reason))
        {
            return;
        }
        let told = record.map(entry);
        self.told += 1;
        self.bytes += reason.len() + told.as_ref().map_or(0, |told| told.to_string().len());
        self.errors.entry(reason).or_default().extend(told);
    }

    /// How many records and rows were refused.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// The reason told first.
    pub(super) fn first_reason(&self) -> Option<&str> {
        self.errors.keys().next().map(String::as_str)
    }

    /// The report as it is kept.
    pub(super) fn to_bytes(&self, id: &str) -> Bytes {
        let error =
            |(reason, records): (&String, &Vec<Value>)| json!({ "reason": reason, "records": records });
        let mut errors: Vec<Value> = self.errors.iter().map(error).collect();
        if self.refused > self.told {
            let more = self.refused - self.told;
            errors.push(json!({ "reason": format!("{more} more were rejected."), "records": [] }));
        }
        Bytes::from(json!({ "reportId": id, "errors": errors }).to_string())
    }
}

/// Where the report of a run goes.
pub(super) fn key(definition: &Definition, run: &Run) -> ReportKey {
    let location = &definition.request.error_report;
    let trigger = match run.trigger {
        Trigger::Auto => "Auto",
        Trigger::Manual => "Manual",
    };
    let seconds = run.invocation().nanos().div_euclid(1_000_000_000);
    let own = format!("{}/{seconds}/{trigger}/{}", definition.id, run.started().millis());
    let prefix = location.object_key_prefix.as_deref().map(|prefix| prefix.trim_end_matches('/'));
    let key = match prefix {
        Some(prefix) if !prefix.is_empty() => format!("{prefix}/{own}"),
        _ => own,
    };
    ReportKey { bucket: location.bucket_name.clone(), key }
}

fn entry(record: &Record) -> Value {
    let dimension = |(name, value): (&str, &str)| json!({ "name": name, "value": value, "dimensionValueType": "VARCHAR" });
    let dimensions: Vec<Value> =
        record.dimensions.iter().map(|own| dimension((&own.name, &own.value))).collect();
    let mut entry = json!({
        "dimensions": dimensions,
        "measureName": &*record.measure_name,
        "time": record.time.nanos(),
        "timeUnit": "NANOSECONDS",
        "version": record.version,
    });
    match &record.measure {
        Measure::Single(value) => {
            entry["measureValue"] = json!(text(value));
            entry["measureValueType"] = json!(api_name(value.measure_type()));
        }
        Measure::Multi(attributes) => {
            let value = |name: &str, value: &MeasureValue| json!({ "name": name, "value": text(value), "type": api_name(value.measure_type()) });
            let values: Vec<Value> = attributes.iter().map(|own| value(&own.name, &own.value)).collect();
            entry["measureValues"] = Value::Array(values);
            entry["measureValueType"] = json!("MULTI");
        }
    }
    entry
}

fn api_name(value: MeasureType) -> String {
    value.sql_name().to_ascii_uppercase()
}

fn text(value: &MeasureValue) -> String {
    match value {
        MeasureValue::Double(number) => number.to_string(),
        MeasureValue::Bigint(number) => number.to_string(),
        MeasureValue::Varchar(text) => text.clone(),
        MeasureValue::Boolean(truth) => truth.to_string(),
        MeasureValue::Timestamp(moment) => moment.nanos().to_string(),
    }
}
