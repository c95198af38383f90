//! Growth without a table around it.

use super::*;
use crate::clock::Timestamp;
use crate::record::{Attribute, MeasureValue};

/// A record with these dimensions, at the beginning of time.
pub(in crate::store) fn record(dimensions: &[&str], measure_name: &str, measure: Measure) -> Record {
    let dimension = |name: &&str| Dimension { name: (*name).into(), value: "v".to_owned() };
    Record {
        dimensions: dimensions.iter().map(dimension).collect(),
        measure_name: measure_name.into(),
        measure,
        time: Timestamp::from_nanos(0),
        version: 1,
    }
}

fn single(value: f64) -> Measure {
    Measure::Single(MeasureValue::Double(value))
}

#[test]
fn growing_covers_the_record_and_changes_nothing_else() {
    let mut schema = TableSchema::default();
    let first = record(&["a"], "m", single(1.0));
    assert!(!schema.covers(&first));
    schema.grow(&first);
    assert!(schema.covers(&first));
    let before = schema.arrow();
    let wider = record(&["b", "a"], "m", single(1.0));
    assert!(!schema.covers(&wider));
    schema.grow(&wider);
    assert_eq!(before.fields().len() + 1, schema.arrow().fields().len());
    assert_eq!((schema.dimension("a"), schema.dimension("b")), (Some(0), Some(1)));
    // The same dimensions, but new for this measure: SHOW MEASURES tells.
    let other = record(&["a"], "n", single(1.0));
    assert!(!schema.covers(&other));
    schema.grow(&other);
    let dimensions: Vec<usize> = schema.measures().iter().map(|measure| measure.dimensions.len()).collect();
    assert_eq!(dimensions, [2, 1]);
}

#[test]
fn arrow_types_are_those_queries_expect() {
    let mut schema = TableSchema::default();
    let attribute = |name: &str, value| Attribute { name: name.into(), value };
    schema.grow(&record(
        &["d"],
        "m",
        Measure::Multi(vec![
            attribute("v", MeasureValue::Varchar(String::new())),
            attribute("t", MeasureValue::Timestamp(Timestamp::from_nanos(0))),
            attribute("b", MeasureValue::Boolean(true)),
            attribute("i", MeasureValue::Bigint(0)),
        ]),
    ));
    schema.grow(&record(&["d"], "s", single(0.0)));
    let shown: Vec<String> = schema
        .arrow()
        .fields()
        .iter()
        .map(|field| format!("{} {} {}", field.name(), field.data_type(), field.is_nullable()))
        .collect();
    assert_eq!(
        shown,
        [
            "d Utf8View true",
            "measure_name Utf8View false",
            "time Timestamp(ns) false",
            "v Utf8View true",
            "t Timestamp(ns) true",
            "b Boolean true",
            "i Int64 true",
            "measure_value::double Float64 true",
        ]
    );
}
