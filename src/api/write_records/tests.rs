//! Requests as clients send them, and the records or the refusals they become.

use serde_json::json;

use super::*;
use crate::clock::Timestamp;

fn records(request: &Value) -> Vec<Record> {
    records_as(request, Compatibility::Local).expect("accepted")
}

fn records_as(request: &Value, compatibility: Compatibility) -> Result<Vec<Record>, ApiError> {
    let bytes = batch_of(request.to_string().as_bytes(), compatibility);
    let tree = tree_batch(request.clone(), compatibility);
    assert_eq!(bytes, tree, "both ways give the same answer: {request}");
    bytes.map(|batch| batch.records)
}

fn refusal(record: Value) -> String {
    let request = json!({ "DatabaseName": "d", "TableName": "t", "Records": [record] });
    let error = records_as(&request, Compatibility::Aws).expect_err("refused");
    assert_eq!(error.status(), 400);
    error.body()["message"].as_str().expect("a text").to_owned()
}

fn cpu() -> Value {
    json!({
        "Dimensions": [{ "Name": "host", "Value": "h1" }],
        "MeasureName": "cpu", "MeasureValue": "60", "Time": "1636986409", "TimeUnit": "SECONDS",
    })
}

fn with(member: &str, value: Value) -> Value {
    let mut record = cpu();
    record[member] = value;
    record
}

#[test]
fn defaults_are_double_milliseconds_and_version_1() {
    let request = json!({ "DatabaseName": "d", "TableName": "t", "Records": [
        { "MeasureName": "cpu", "MeasureValue": "6e1", "Time": "1636986409000" }
    ] });
    let record = &records(&request)[0];
    assert_eq!(record.measure, Measure::Single(MeasureValue::Double(60.0)));
    assert_eq!(record.time, Timestamp::from_millis(1_636_986_409_000));
    assert_eq!((record.version, record.dimensions.len()), (1, 0));
}

#[test]
fn common_attributes_fill_and_dimensions_join() {
    let request = json!({ "DatabaseName": "d", "TableName": "t",
        "CommonAttributes": {
            "Dimensions": [{ "Name": "region", "Value": "eu" }],
            "MeasureValueType": "BIGINT", "Time": "5", "TimeUnit": "NANOSECONDS", "Version": 7,
        },
        "Records": [
            { "MeasureName": "a", "MeasureValue": "1", "Dimensions": [{ "Name": "host", "Value": "h" }] },
            { "MeasureName": "b", "MeasureValue": "true", "MeasureValueType": "BOOLEAN", "Time": "6" },
        ] });
    let records = records(&request);
    let names = |record: &Record| record.dimensions.iter().map(|d| d.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&records[0]), ["region", "host"]);
    assert_eq!(records[0].measure, Measure::Single(MeasureValue::Bigint(1)));
    assert_eq!(records[1].measure, Measure::Single(MeasureValue::Boolean(true)));
    assert_eq!((records[0].time.nanos(), records[1].time.nanos(), records[1].version), (5, 6, 7));
}

#[test]
fn multi_measure_timestamps_count_in_the_records_unit() {
    let request = json!({ "DatabaseName": "d", "TableName": "t",
        "CommonAttributes": { "MeasureName": "m", "MeasureValueType": "MULTI", "TimeUnit": "SECONDS" },
        "Records": [{ "Time": "1", "MeasureValues": [
            { "Name": "at", "Value": "-2", "Type": "TIMESTAMP" },
            { "Name": "ok", "Value": "True", "Type": "BOOLEAN" },
        ] }] });
    let Measure::Multi(attributes) = &records(&request)[0].measure else { panic!("not multi") };
    assert_eq!(attributes[0].value, MeasureValue::Timestamp(Timestamp::from_nanos(-2_000_000_000)));
    assert_eq!(attributes[1].value, MeasureValue::Boolean(true));
}

#[test]
fn refusals_use_the_texts_of_the_service() {
    let cases = [
        (with("Dimensions", json!([])), "At least one dimension is required for a record."),
        (with("Time", json!("1676919140.1")), "Invalid time for record."),
        (with("Time", json!("9223372036854775807")), "Invalid time for record."),
        (with("Time", json!("-1")), "Invalid time for record."),
        (with("Time", Value::Null), "Invalid time for record."),
        (with("MeasureValueType", json!("TIMESTAMP")), "TIMESTAMP is an invalid measure value type."),
        (with("MeasureValue", json!("NaN")), "Invalid value NaN for double measure value type."),
        (with("MeasureValue", json!("-inf")), "Invalid value -inf for double measure value type."),
        (with("MeasureValue", json!("-0.0")), "Invalid value -0.0 for double measure value type."),
        (with("Version", json!(0)), "Invalid record version 0."),
        (with("MeasureName", Value::Null), "A measure name is required for a record."),
        (with("MeasureValue", Value::Null), "A measure value is required for a record."),
        (with("MeasureValueType", json!("MULTI")), "MeasureValue is not allowed with"),
        (with("MeasureName", json!("a:b")), "The measure name 'a:b' is invalid: it contains a colon"),
    ];
    for (record, expected) in cases {
        let text = refusal(record.clone());
        assert!(text.starts_with(expected), "{text} for {record}");
    }
}

#[test]
fn values_that_do_not_parse_name_their_type() {
    for (value_type, value) in [("BIGINT", "None"), ("BIGINT", "1.5"), ("BOOLEAN", "1")] {
        let mut record = with("MeasureValueType", json!(value_type));
        record["MeasureValue"] = json!(value);
        let expected = format!("Invalid value {value} for {} measure value type.", value_type.to_lowercase());
        assert_eq!(refusal(record), expected);
    }
}

#[test]
fn dimension_names_must_be_unique_and_legal() {
    let host = json!({ "Name": "host", "Value": "h" });
    assert!(refusal(with("Dimensions", json!([host, host]))).contains("'host' is given more than once"));
    let reserved = json!([{ "Name": "time", "Value": "h" }]);
    assert!(refusal(with("Dimensions", reserved)).contains("'time' is invalid"));
}

#[test]
fn broken_shapes_are_refused_before_anything_is_read() {
    let hundred_and_one = json!({ "DatabaseName": "d", "TableName": "t", "Records": vec![cpu(); 101] });
    let error = records_as(&hundred_and_one, Compatibility::Local).expect_err("refused");
    let text = error.body()["message"].to_string();
    assert!(
        text.contains("at 'records' failed to satisfy constraint: Member must have length less than"),
        "{text}"
    );
    let text = refusal(with("MeasureValue", json!("")));
    assert!(text.contains("'records.1.member.measureValue'"), "{text}");
}

/// Requests that the tree reads and that are no match for the short way keep working, and the short
/// way is taken by what clients send.
#[test]
fn the_short_way_is_taken_when_nothing_is_unusual() {
    let request = |record: Value| {
        json!({ "DatabaseName": "d", "TableName": "t", "Records": [record], "Unknown": { "a": [1] } })
            .to_string()
    };
    let plain = [
        cpu(),
        with("MeasureName", json!("a \"quoted\" größe")),
        with("Version", json!(7)),
        with("Version", Value::Null),
        with("Unknown", json!({ "Name": [] })),
    ];
    for record in plain {
        let body = request(record);
        assert!(Request::read(body.as_bytes()).is_some(), "{body}");
    }
    let twice = r#"{"DatabaseName":"d","DatabaseName":"e","TableName":"t","Records":[{"MeasureName":"m",
        "MeasureValue":"1","Time":"1"}]}"#;
    assert!(Request::read(twice.as_bytes()).is_none());
    let batch = batch_of(twice.as_bytes(), Compatibility::Local).expect("the last one counts");
    assert_eq!(&*batch.database, "e");
}

#[test]
fn both_ways_refuse_alike() {
    let long = "x".repeat(VARCHAR_BYTES_MAX + 1);
    let umlauts = "ä".repeat(VARCHAR_BYTES_MAX);
    let dimension =
        |value_type: &str| json!([{ "Name": "a", "Value": "b", "DimensionValueType": value_type }]);
    let records = [
        with("MeasureValue", json!(long)),
        with("MeasureValue", json!(umlauts)),
        with("MeasureValue", json!(1)),
        with("MeasureValueType", json!("TEXT")),
        with("TimeUnit", json!("HOURS")),
        with("Time", json!("")),
        with("Time", json!("1".repeat(257))),
        with("Version", json!("1")),
        with("Version", json!(1.5)),
        with("Dimensions", dimension("DOUBLE")),
        with("Dimensions", dimension("VARCHAR")),
        with("Dimensions", json!([{ "Name": "", "Value": "" }])),
        with("Dimensions", json!([{ "Name": "a" }])),
        with("Dimensions", json!([null])),
        with("MeasureValues", json!([{ "Name": "a", "Value": "", "Type": "DOUBLE" }])),
        json!([]),
        Value::Null,
    ];
    for record in records {
        let request = json!({ "DatabaseName": "d", "TableName": "t", "Records": [record] });
        // The comparison is in there.
        drop(records_as(&request, Compatibility::Aws));
    }
    for request in [json!({}), json!([]), json!({ "DatabaseName": "a b", "TableName": "t", "Records": [] })] {
        assert!(records_as(&request, Compatibility::Local).is_err(), "{request}");
    }
}

#[test]
fn names_and_dimensions_of_a_request_are_made_once() {
    let record = |host: &str, value: &str| {
        json!({ "Dimensions": [{ "Name": "host", "Value": host }], "Time": "1", "MeasureName": "m",
            "MeasureValueType": "MULTI", "MeasureValues": [{ "Name": "a", "Value": value, "Type": "BIGINT" }] })
    };
    let request = json!({ "DatabaseName": "d", "TableName": "t",
        "Records": [record("x", "1"), record("x", "2"), record("y", "3")] });
    let records = records(&request);
    assert!(Arc::ptr_eq(&records[0].dimensions, &records[1].dimensions));
    assert!(Arc::ptr_eq(&records[1].dimensions[0].name, &records[2].dimensions[0].name));
    assert_eq!(records[2].dimensions[0].value, "y");
    let name = |record: &Record| match &record.measure {
        Measure::Multi(attributes) => Arc::clone(&attributes[0].name),
        Measure::Single(_) => panic!("not multi"),
    };
    assert!(Arc::ptr_eq(&name(&records[0]), &name(&records[2])));
}
