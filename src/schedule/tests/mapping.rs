//! Which columns become what, and which mappings are refused.

use serde_json::{Value, json};

use super::super::definition::Target;
use super::super::mapping::Mapping;
use crate::query::{ColumnInfo, ColumnType, Datum, ScalarType};
use crate::record::{Measure, MeasureValue, Record};

fn column(name: &str, scalar: ScalarType) -> ColumnInfo {
    ColumnInfo { name: Some(name.to_owned()), column_type: ColumnType::Scalar(scalar) }
}

fn columns() -> Vec<ColumnInfo> {
    vec![
        column("t", ScalarType::Timestamp),
        column("host", ScalarType::Varchar),
        column("name", ScalarType::Varchar),
        column("n", ScalarType::Integer),
        column("x", ScalarType::Double),
        column("up", ScalarType::Boolean),
        column("at", ScalarType::Timestamp),
        column("nothing", ScalarType::Unknown),
        column("day", ScalarType::Date),
        ColumnInfo {
            name: Some("list".to_owned()),
            column_type: ColumnType::Array(Box::new(column("", ScalarType::Double))),
        },
    ]
}

fn target(own: &Value) -> Target {
    let mut target = json!({
        "DatabaseName": "d", "TableName": "t", "TimeColumn": "t",
        "DimensionMappings": [{ "Name": "host", "DimensionValueType": "VARCHAR" }],
    });
    for (key, value) in own.as_object().expect("an object") {
        target[key] = value.clone();
    }
    serde_json::from_value(target).expect("a target")
}

fn row(values: [&str; 9]) -> Vec<Datum> {
    let datum = |text: &&str| if text.is_empty() { Datum::Null } else { Datum::Scalar((*text).to_owned()) };
    values.iter().map(datum).chain([Datum::Null]).collect()
}

/// Records as text: measure name, dimensions, value.
fn records(own: &Value, values: [&str; 9]) -> Result<Vec<String>, String> {
    let mapping = Mapping::new(&target(own), &columns()).expect("a mapping");
    let mut records = Vec::new();
    mapping.records(&row(values), 3, &mut records).map_err(|error| error.to_string())?;
    let value = |value: &MeasureValue| match value {
        MeasureValue::Double(value) => format!("{value:?}"),
        MeasureValue::Bigint(value) => value.to_string(),
        MeasureValue::Varchar(value) => value.clone(),
        MeasureValue::Boolean(value) => value.to_string(),
        MeasureValue::Timestamp(value) => value.nanos().to_string(),
    };
    let text = |record: &Record| {
        assert_eq!((record.version, record.time.nanos()), (3, 1_000_000_000));
        let dimensions: Vec<&str> = record.dimensions.iter().map(|own| own.value.as_str()).collect();
        let values: Vec<String> = match &record.measure {
            Measure::Single(own) => vec![value(own)],
            Measure::Multi(own) => {
                own.iter().map(|own| format!("{}={}", own.name, value(&own.value))).collect()
            }
        };
        format!("{}[{}] {}", record.measure_name, dimensions.join(","), values.join(" "))
    };
    Ok(records.iter().map(text).collect())
}

const T: &str = "1970-01-01 00:00:01.000000000";

fn multi() -> Value {
    json!({ "MeasureNameColumn": "name", "MultiMeasureMappings": { "MultiMeasureAttributeMappings": [
        { "SourceColumn": "n", "MeasureValueType": "BIGINT" },
        { "SourceColumn": "x", "TargetMultiMeasureAttributeName": "value", "MeasureValueType": "DOUBLE" },
        { "SourceColumn": "up", "MeasureValueType": "BOOLEAN" },
        { "SourceColumn": "at", "MeasureValueType": "TIMESTAMP" },
        { "SourceColumn": "nothing", "MeasureValueType": "VARCHAR" },
    ] } })
}

#[test]
fn a_row_is_one_record_of_several_measures() {
    let full = [T, "h", "m", "-7", "1.0E10", "true", "1970-01-01 00:00:00.000000005", "", "2024-01-01"];
    assert_eq!(records(&multi(), full).expect("records"), ["m[h] n=-7 value=10000000000.0 up=true at=5"]);
    let sparse = [T, "", "m", "", "0.5", "", "", "", ""];
    assert_eq!(records(&multi(), sparse).expect("records"), ["m[] value=0.5"]);
    assert!(records(&multi(), [T, "h", "m", "", "", "", "", "", ""]).expect("no records").is_empty());
    let nameless = records(&multi(), [T, "h", "", "1", "", "", "", "", ""]);
    assert_eq!(nameless.expect_err("refused"), "The value of the measure name column is NULL.");
    let timeless = records(&multi(), ["", "h", "m", "1", "", "", "", "", ""]);
    assert_eq!(timeless.expect_err("refused"), "The value of the time column is NULL.");
}

#[test]
fn mixed_measures_are_records_of_their_own() {
    let each = json!({ "MixedMeasureMappings": [
        { "SourceColumn": "n", "MeasureValueType": "BIGINT" },
        { "SourceColumn": "x", "TargetMeasureName": "value", "MeasureValueType": "DOUBLE" },
        { "TargetMeasureName": "both", "MeasureValueType": "MULTI", "MultiMeasureAttributeMappings": [
            { "SourceColumn": "n", "TargetMultiMeasureAttributeName": "count", "MeasureValueType": "BIGINT" },
            { "SourceColumn": "up", "MeasureValueType": "BOOLEAN" },
        ] },
    ] });
    let full = [T, "h", "m", "7", "0.5", "false", "", "", ""];
    assert_eq!(
        records(&each, full).expect("records"),
        ["n[h] 7", "value[h] 0.5", "both[h] count=7 up=false"]
    );
    let sparse = [T, "h", "m", "", "0.5", "", "", "", ""];
    assert_eq!(records(&each, sparse).expect("records"), ["value[h] 0.5"]);
}

#[test]
fn a_row_says_which_of_the_mixed_measures_it_is() {
    let named = json!({ "MeasureNameColumn": "name", "MixedMeasureMappings": [
        { "MeasureName": "load", "SourceColumn": "x", "MeasureValueType": "DOUBLE" },
        { "MeasureName": "count", "SourceColumn": "n", "TargetMeasureName": "readings", "MeasureValueType": "BIGINT" },
    ] });
    assert_eq!(
        records(&named, [T, "h", "load", "7", "0.5", "", "", "", ""]).expect("records"),
        ["load[h] 0.5"]
    );
    assert_eq!(
        records(&named, [T, "h", "count", "7", "0.5", "", "", "", ""]).expect("records"),
        ["readings[h] 7"]
    );
    let unknown = records(&named, [T, "h", "other", "7", "", "", "", "", ""]).expect_err("refused");
    assert_eq!(unknown, "No mapping has the measure name other.");
}

#[test]
fn mistakes_are_told_before_a_row_is_there() {
    let attribute = |source: &str, name: &str, value_type: &str| {
        json!({ "TargetMultiMeasureName": "m", "MultiMeasureAttributeMappings": [
            { "SourceColumn": source, "TargetMultiMeasureAttributeName": name, "MeasureValueType": value_type }
        ] })
    };
    let one = |own: Value| json!({ "MixedMeasureMappings": [own] });
    for (own, reason) in [
        (json!({}), "Exactly one of MultiMeasureMappings and MixedMeasureMappings"),
        (
            json!({ "MultiMeasureMappings": attribute("n", "n", "BIGINT"), "MixedMeasureMappings": [] }),
            "Exactly one of MultiMeasureMappings and MixedMeasureMappings",
        ),
        (
            json!({ "MultiMeasureMappings": attribute("n", "n", "BIGINT"), "MeasureNameColumn": "name" }),
            "Exactly one of MeasureNameColumn and TargetMultiMeasureName",
        ),
        (
            json!({ "MultiMeasureMappings": attribute("q", "n", "BIGINT") }),
            "SourceColumn: the query's result has no column \"q\".",
        ),
        (
            json!({ "MultiMeasureMappings": attribute("n", "n", "DOUBLE") }),
            "SourceColumn: the column \"n\" of the query's result is INTEGER, not DOUBLE.",
        ),
        (json!({ "MultiMeasureMappings": attribute("list", "n", "DOUBLE") }), "is ARRAY, not DOUBLE"),
        (json!({ "MultiMeasureMappings": attribute("day", "n", "TIMESTAMP") }), "is DATE, not TIMESTAMP"),
        (json!({ "MultiMeasureMappings": attribute("n", "time", "BIGINT") }), "name \"time\" is invalid"),
        (
            json!({ "MultiMeasureMappings": attribute("n", "host", "BIGINT") }),
            "host is mapped to a dimension and to an attribute",
        ),
        (
            json!({ "MultiMeasureMappings": attribute("n", "n", "BIGINT"), "TimeColumn": "host" }),
            "TimeColumn: the column \"host\" of the query's result is VARCHAR, not TIMESTAMP.",
        ),
        (
            json!({ "MultiMeasureMappings": attribute("n", "n", "BIGINT"), "DimensionMappings": [
                { "Name": "n", "DimensionValueType": "VARCHAR" }
            ] }),
            "DimensionMappings: the column \"n\" of the query's result is INTEGER, not VARCHAR.",
        ),
        (
            json!({ "MultiMeasureMappings": attribute("n", "n", "BIGINT"), "DimensionMappings": [
                { "Name": "host", "DimensionValueType": "VARCHAR" }, { "Name": "host", "DimensionValueType": "VARCHAR" }
            ] }),
            "The dimension host is specified more than once.",
        ),
        (one(json!({ "MeasureValueType": "DOUBLE" })), "SourceColumn is required"),
        (one(json!({ "MeasureValueType": "MULTI" })), "TargetMeasureName or MeasureName is required"),
        (
            one(json!({ "MeasureValueType": "MULTI", "MeasureName": "m" })),
            "MultiMeasureAttributeMappings is required",
        ),
        (
            one(json!({ "MeasureValueType": "BIGINT", "SourceColumn": "n", "TargetMeasureName": "a:b" })),
            "The measure name \"a:b\" is invalid",
        ),
        (
            json!({ "MeasureNameColumn": "name", "MixedMeasureMappings": [{ "MeasureValueType": "BIGINT", "SourceColumn": "n" }] }),
            "MeasureName is required in every MixedMeasureMapping",
        ),
        (
            json!({ "MeasureNameColumn": "n", "MixedMeasureMappings": [] }),
            "MeasureNameColumn: the column \"n\"",
        ),
        (
            json!({ "MixedMeasureMappings": [
                { "MeasureValueType": "BIGINT", "SourceColumn": "n" }, { "MeasureValueType": "DOUBLE", "SourceColumn": "x", "TargetMeasureName": "n" }
            ] }),
            "The measure n is specified more than once.",
        ),
    ] {
        let error = Mapping::new(&target(&own), &columns()).expect_err(reason);
        assert!(error.contains(reason), "{error} lacks {reason}");
    }
}
