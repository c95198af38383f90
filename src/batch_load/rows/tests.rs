//! Rows of files become records, and reasons.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::batch_load::csv::{Csv, Place, Step};
use crate::batch_load::model::DataModel;

/// The records of a file, or the reasons of its rows, in its order.
fn load(model: Value, configuration: Value, file: &str) -> Vec<Result<Vec<Record>, String>> {
    let model: DataModel = serde_json::from_value(model).expect("a data model");
    let configuration: CsvConfiguration = serde_json::from_value(configuration).expect("a configuration");
    let mapping = model.check().expect("a mapping");
    let mut csv = Csv::new(&configuration, Place::default());
    csv.feed(Some(Bytes::from(file.to_owned())));
    assert_eq!(csv.step(), Ok(Step::Row));
    let mut rows = match Rows::new(&mapping, &configuration, 7, &csv.row().1) {
        Ok(rows) => rows,
        Err(reason) => return vec![Err(reason)],
    };
    let mut all = Vec::new();
    loop {
        match csv.step().expect("rows") {
            Step::End => return all,
            Step::Hungry => csv.feed(None),
            Step::Row => {
                let mut records = Vec::new();
                all.push(rows.read(&csv.row().1, &mut records).map(|()| records));
            }
        }
    }
}

/// The same in short: `dimensions measure=value at time`.
fn shown(model: Value, configuration: Value, file: &str) -> Vec<String> {
    let value = |value: &MeasureValue| match value {
        MeasureValue::Double(value) => value.to_string(),
        MeasureValue::Bigint(value) => value.to_string(),
        MeasureValue::Varchar(value) => format!("{value:?}"),
        MeasureValue::Boolean(value) => value.to_string(),
        MeasureValue::Timestamp(value) => format!("@{}", value.nanos()),
    };
    let record = |record: &Record| {
        assert_eq!(record.version, 7);
        let dimensions: Vec<String> =
            record.dimensions.iter().map(|one| format!("{}:{}", one.name, one.value)).collect();
        let measure = match &record.measure {
            Measure::Single(one) => value(one),
            Measure::Multi(many) => {
                let many: Vec<String> =
                    many.iter().map(|one| format!("{}={}", one.name, value(&one.value))).collect();
                format!("[{}]", many.join(" "))
            }
        };
        format!("{} {} {measure} {}", dimensions.join(","), record.measure_name, record.time.nanos())
    };
    load(model, configuration, file)
        .into_iter()
        .flat_map(|row| match row {
            Ok(records) => records.iter().map(record).collect(),
            Err(reason) => vec![format!("! {reason}")],
        })
        .collect()
}

fn multi() -> Value {
    json!({
        "TimeColumn": "t",
        "TimeUnit": "SECONDS",
        "DimensionMappings": [{ "SourceColumn": "host" }, { "SourceColumn": "az", "DestinationColumn": "zone" }],
        "MultiMeasureMappings": {
            "TargetMultiMeasureName": "m",
            "MultiMeasureAttributeMappings": [
                { "SourceColumn": "cpu" },
                { "SourceColumn": "state", "TargetMultiMeasureAttributeName": "s", "MeasureValueType": "VARCHAR" },
                { "SourceColumn": "seen", "MeasureValueType": "TIMESTAMP" },
            ],
        },
    })
}

#[test]
fn a_row_is_one_multi_measure_record() {
    let file = "state,cpu,host,az,t,seen,other\nup,1.5,a,z,10,3,x\n,2,a,z,11,,\nup,,b,,12,,\n";
    assert_eq!(
        shown(multi(), json!({}), file),
        [
            "host:a,zone:z m [cpu=1.5 s=\"up\" seen=@3000000000] 10000000000",
            "host:a,zone:z m [cpu=2] 11000000000",
            "host:b m [s=\"up\"] 12000000000",
        ]
    );
}

#[test]
fn bad_rows_have_reasons_and_the_others_stay() {
    let file =
        "state,cpu,host,az,t,seen\n,1,a,z,x,\n,x,a,z,1,\n,,a,z,1,\na,b\n,NaN,a,z,1,\n,1,a,z,-1,\n,1,a,z,1,\n";
    assert_eq!(
        shown(multi(), json!({}), file),
        [
            "! The value of the time column 't' is no whole number.",
            "! The value of the column 'cpu' is not a valid double.",
            "! The row has no measure value.",
            "! The row does not have 6 columns as the header has.",
            "! The value of the column 'cpu' is not a valid double.",
            "! The value of the time column 't' is no whole number.",
            "host:a,zone:z m [cpu=1] 1000000000",
        ]
    );
}

#[test]
fn headers_must_have_every_column_once() {
    let missing = shown(multi(), json!({}), "state,cpu,host,az,time,seen\n");
    assert_eq!(
        missing,
        ["! The column 't' of the data model is not in the header: state, cpu, host, az, time, seen"]
    );
    let twice = shown(multi(), json!({}), "state,cpu,host,az,t,t,seen\n");
    assert_eq!(twice, ["! The header has the column 't' more than once."]);
}

#[test]
fn blanks_and_null_values() {
    let configuration = json!({ "NullValue": "-", "TrimWhiteSpace": true, "ColumnSeparator": "|" });
    let file = " state |cpu| host|az|t |seen\n - | 1.5 |a|-| 1|\n";
    assert_eq!(shown(multi(), configuration, file), ["host:a m [cpu=1.5] 1000000000"]);
    let file = "state,cpu,host,az,t,seen\n ,1,a, ,1,\n";
    let blank = json!({ "NullValue": " " });
    assert_eq!(shown(multi(), blank, file), ["host:a m [cpu=1] 1000000000"]);
    let untouched = shown(multi(), json!({}), file);
    assert_eq!(untouched, ["host:a,zone:  m [cpu=1 s=\" \"] 1000000000"]);
}

#[test]
fn the_measure_name_may_be_a_column() {
    let model = json!({
        "TimeColumn": "t",
        "DimensionMappings": [{ "SourceColumn": "host" }],
        "MeasureNameColumn": "name",
        "MultiMeasureMappings": { "MultiMeasureAttributeMappings": [{ "SourceColumn": "cpu" }] },
    });
    let file = "host,name,cpu,t\na,one,1,1\na,two,2,1\na,,2,1\na,x:y,2,1\n";
    assert_eq!(
        shown(model, json!({}), file),
        [
            "host:a one [cpu=1] 1000000",
            "host:a two [cpu=2] 1000000",
            "! The measure name in column 'name' is empty.",
            "! The measure name 'x:y' is invalid: it contains a colon, a double quote or a control character.",
        ]
    );
}

#[test]
fn mixed_mappings_make_a_record_each() {
    let model = json!({
        "TimeColumn": "t",
        "DimensionMappings": [{ "SourceColumn": "host" }],
        "MixedMeasureMappings": [
            { "SourceColumn": "cpu", "MeasureValueType": "DOUBLE" },
            { "SourceColumn": "up", "TargetMeasureName": "is_up", "MeasureValueType": "BOOLEAN" },
            { "TargetMeasureName": "both", "MeasureValueType": "MULTI",
              "MultiMeasureAttributeMappings": [{ "SourceColumn": "cpu", "MeasureValueType": "BIGINT" }] },
        ],
    });
    let file = "host,cpu,up,t\na,1,true,1\na,,false,1\na,,,1\n";
    assert_eq!(
        shown(model, json!({}), file),
        [
            "host:a cpu 1 1000000",
            "host:a is_up true 1000000",
            "host:a both [cpu=1] 1000000",
            "host:a is_up false 1000000",
            "! The row has no measure value.",
        ]
    );
}

#[test]
fn mixed_mappings_may_be_chosen_by_the_measure_name() {
    let model = json!({
        "TimeColumn": "t",
        "DimensionMappings": [{ "SourceColumn": "host" }],
        "MeasureNameColumn": "name",
        "MixedMeasureMappings": [
            { "MeasureName": "cpu", "SourceColumn": "value", "MeasureValueType": "DOUBLE" },
            { "MeasureName": "up", "SourceColumn": "value", "TargetMeasureName": "is_up", "MeasureValueType": "BOOLEAN" },
        ],
    });
    let file = "host,name,value,t\na,cpu,1,1\na,up,true,1\na,other,1,1\na,up,,1\n";
    assert_eq!(
        shown(model, json!({}), file),
        [
            "host:a cpu 1 1000000",
            "host:a is_up true 1000000",
            "! The row has no value for any mapping of its measure name.",
            "! The row has no value for any mapping of its measure name.",
        ]
    );
}

#[test]
fn data_models_are_refused_with_what_is_wrong() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut model = multi();
        change(&mut model);
        let model: DataModel = serde_json::from_value(model).expect("a data model");
        model.check().expect_err("refused").to_string()
    };
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(Change, &str); 9] = [
        (&|model| model["TimeColumn"] = Value::Null, "TimeColumn must be specified."),
        (
            &|model| model["DimensionMappings"] = json!([]),
            "DimensionMappings must have at least one mapping.",
        ),
        (
            &|model| model["DimensionMappings"][0] = json!({}),
            "SourceColumn of a dimension mapping must be specified.",
        ),
        (
            &|model| model["DimensionMappings"][1]["DestinationColumn"] = json!("host"),
            "The dimension 'host' is mapped more than once.",
        ),
        (
            &|model| model["DimensionMappings"][1]["DestinationColumn"] = json!("cpu"),
            "'cpu' cannot be both a dimension and a multi-measure attribute.",
        ),
        (
            &|model| model["DimensionMappings"][0]["SourceColumn"] = json!("ts_x"),
            "The dimension name 'ts_x' is invalid",
        ),
        (&|model| model["MultiMeasureMappings"] = Value::Null, "Exactly one of MultiMeasureMappings and"),
        (&|model| model["MeasureNameColumn"] = json!("x"), "exactly one of MeasureNameColumn and"),
        (
            &|model| {
                model["MultiMeasureMappings"] = Value::Null;
                model["MixedMeasureMappings"] =
                    json!([{ "SourceColumn": "x", "MeasureValueType": "TIMESTAMP" }]);
            },
            "TIMESTAMP is an invalid measure value type.",
        ),
    ];
    for (change, words) in cases {
        let text = refused(change);
        assert!(text.contains(words), "{text}");
    }
}
