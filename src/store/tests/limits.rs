//! How columns grow, what stops them, and that a refused record leaves nothing behind.

use super::fixture::{Machine, measured, multi, rejections, row, rows};
use crate::record::{Measure, MeasureValue, Record};
use crate::store::{ColumnKind, DatabaseOptions, Limits, StoreError, TableOptions, TableSnapshot};

fn double(value: f64) -> Measure {
    Measure::Single(MeasureValue::Double(value))
}

fn names(snapshot: &TableSnapshot) -> Vec<&str> {
    snapshot.schema.columns().iter().map(|column| column.name.as_str()).collect()
}

#[tokio::test]
async fn columns_grow_in_the_order_of_writes() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let empty = store.snapshot("db", "t").expect("there");
    assert_eq!(names(&empty), ["measure_name", "time"]);
    let batch = vec![
        measured(&[("z", "1")], "b", 1, 1, double(1.0)),
        measured(&[("a", "1"), ("z", "1")], "c", 1, 1, multi(&[("y", MeasureValue::Bigint(1))])),
        measured(&[("a", "1")], "a", 1, 1, Measure::Single(MeasureValue::Boolean(true))),
    ];
    assert_eq!(rejections(&store, batch).await, []);
    let snapshot = store.snapshot("db", "t").expect("there");
    let columns = ["z", "a", "measure_name", "time", "measure_value::double", "y", "measure_value::boolean"];
    assert_eq!(names(&snapshot), columns);
    assert_eq!(snapshot.schema.columns()[0].kind, ColumnKind::Dimension);
    let measures = snapshot.schema.measures();
    let shown: Vec<_> =
        measures.iter().map(|m| (m.name.as_str(), m.data_type, m.dimensions.join(","))).collect();
    let text = |text: &str| text.to_owned();
    assert_eq!(shown, [("a", "boolean", text("a")), ("b", "double", text("z")), ("c", "multi", text("z,a"))]);
    assert_eq!(names(&empty), ["measure_name", "time"], "an older snapshot keeps its columns");
}

#[tokio::test]
async fn types_are_fixed_by_the_first_write() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let with = |time, measure| measured(&[("host", "a")], "m", time, 1, measure);
    let many = |time, attributes: &[(&str, MeasureValue)]| {
        measured(&[("host", "a")], "multi", time, 1, multi(attributes))
    };
    let batch = vec![
        with(1, double(1.0)),
        with(2, Measure::Single(MeasureValue::Bigint(1))),
        with(3, multi(&[("x", MeasureValue::Bigint(1))])),
        many(4, &[("x", MeasureValue::Bigint(1))]),
        many(5, &[("x", MeasureValue::Double(1.0))]),
        many(6, &[("host", MeasureValue::Double(1.0))]),
        measured(&[("x", "a")], "m", 7, 1, double(1.0)),
        measured(&[("fresh", "a")], "other", 8, 1, multi(&[("fresh", MeasureValue::Bigint(1))])),
    ];
    let told = rejections(&store, batch).await;
    let texts = [
        (1, "The measure m has type double in this table and cannot take a value of type bigint."),
        (2, "The measure m has type double in this table and cannot take a value of type multi."),
        (
            4,
            "The multi-measure attribute x has type bigint in this table and cannot take a value of type double.",
        ),
        (5, "The multi-measure attribute host has the name of a dimension of this table."),
        (6, "The dimension x has the name of a multi-measure attribute of this table."),
        (7, "The multi-measure attribute fresh has the name of a dimension of this table."),
    ];
    assert_eq!(told, texts.map(|(index, text)| (index, text.to_owned())));
    store.flush().await.expect("flushed");
    store.close().await.expect("healthy");
    let store = machine.open().await;
    let again = rejections(&store, vec![with(9, Measure::Single(MeasureValue::Bigint(1)))]).await;
    assert_eq!(again.len(), 1, "after a restart too");
    let columns = ["host", "measure_name", "time", "measure_value::double", "x"];
    assert_eq!(names(&store.snapshot("db", "t").expect("there")), columns, "refused records leave no column");
    assert_eq!(rows(&store).await.len(), 2);
}

#[tokio::test]
async fn tables_have_as_many_columns_as_awss() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let dimension = |n: usize| measured(&[(&format!("d{n}"), "x")], "m", 1, 1, double(1.0));
    let told = rejections(&store, (0..129).map(dimension).collect()).await;
    assert_eq!(told, [(128, "The table would have more than 128 dimensions.".to_owned())]);
    let attribute = |n: u16| {
        measured(
            &[("d0", "x")],
            "many",
            2 + i64::from(n),
            1,
            multi(&[(&format!("a{n}"), MeasureValue::Bigint(1))]),
        )
    };
    let told = rejections(&store, (0..1_025).map(attribute).collect()).await;
    assert_eq!(
        told,
        [(1_024, "The table would have more than 1024 different multi-measure attributes.".to_owned())]
    );
    let measure = |n: usize| measured(&[("d0", "x")], &format!("m{n}"), 1, 1, double(1.0));
    let told = rejections(&store, (0..8_191).map(measure).collect()).await;
    assert_eq!(told, [(8_190, "The table would have more than 8192 measure names.".to_owned())]);
    let before = rows(&store).await;
    assert_eq!(before.len(), 128 + 1_024 + 8_190);
    store.flush().await.expect("flushed");
    assert_eq!(rows(&store).await, before);
}

#[tokio::test]
async fn records_that_are_wrong_in_themselves_are_told_why() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let long = "x".repeat(300);
    let named = |name: &str| measured(&[(name, "v")], "m", 1, 1, double(1.0));
    let with = |measure| measured(&[("host", "a")], "m", 1, 1, measure);
    let cases: Vec<(Record, &str)> = vec![
        (row("a", 1, 0, 1), "The record version 0 is invalid. A version must be at least 1."),
        (with(double(f64::NAN)), "The value of m is not a finite number."),
        (
            with(Measure::Multi(vec![])),
            "A multi-measure record must have 1 to 256 measure values, this one has 0.",
        ),
        (
            named("time"),
            "The dimension name \"time\" is invalid: time and names that begin with ts_, measure_name or \
             measure_value are reserved.",
        ),
        (named(""), "The dimension name \"\" is invalid: it is empty."),
        (
            named("ts_version"),
            "The dimension name \"ts_version\" is invalid: time and names that begin with ts_, measure_name \
             or measure_value are reserved.",
        ),
        (
            measured(&[("a", "1"), ("a", "1")], "m", 1, 1, double(1.0)),
            "The dimension a is specified more than once.",
        ),
        (
            with(multi(&[("x", MeasureValue::Bigint(1)), ("x", MeasureValue::Bigint(1))])),
            "The measure x is specified more than once.",
        ),
        (
            with(Measure::Single(MeasureValue::Timestamp(super::fixture::NOW))),
            "TIMESTAMP is an invalid measure value type.",
        ),
    ];
    let (records, texts): (Vec<Record>, Vec<&str>) = cases.into_iter().unzip();
    let told: Vec<String> = rejections(&store, records).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(told, texts);
    let told = rejections(&store, vec![measured(&[], &long, 1, 1, double(1.0)), named(&long)]).await;
    assert!(told[0].1.ends_with("is invalid: it is longer than 256 bytes."), "{told:?}");
    assert!(told[1].1.ends_with("is invalid: it is longer than 60 bytes."), "{told:?}");
    assert_eq!(told.len(), 2);
    assert!(rows(&store).await.is_empty());
    assert_eq!(names(&store.snapshot("db", "t").expect("there")), ["measure_name", "time"]);
}

#[tokio::test]
async fn lower_limits_stop_growth_and_leave_what_is_there() {
    let mut machine = Machine::with_table().await;
    let store = machine.open().await;
    let two = |time| {
        let attributes = [("x", MeasureValue::Bigint(1)), ("y", MeasureValue::Bigint(1))];
        measured(&[("a", "1"), ("b", "1")], "m", time, 1, multi(&attributes))
    };
    assert_eq!(rejections(&store, vec![two(1)]).await, []);
    store.close().await.expect("healthy");
    machine.options.limits = Limits {
        databases_per_account: 1,
        tables_per_account: 1,
        dimensions_per_table: 1,
        measure_names_per_table: 1,
        unique_attributes_per_table: 1,
        attributes_per_record: 2,
        ..Limits::AWS
    };
    let store = machine.open().await;
    let one = |dimension: &str, attribute: &str| {
        measured(&[(dimension, "1")], "m", 3, 1, multi(&[(attribute, MeasureValue::Bigint(1))]))
    };
    let three =
        [("x", MeasureValue::Bigint(1)), ("y", MeasureValue::Bigint(1)), ("z", MeasureValue::Bigint(1))];
    let told = rejections(
        &store,
        vec![
            two(2),
            one("c", "x"),
            one("a", "z"),
            measured(&[("a", "1")], "n", 3, 1, multi(&[("x", MeasureValue::Bigint(1))])),
            measured(&[("a", "1")], "m", 3, 1, multi(&three)),
            one("a", "x"),
        ],
    );
    let texts = [
        (1, "The table would have more than 1 dimensions."),
        (2, "The table would have more than 1 different multi-measure attributes."),
        (3, "The table would have more than 1 measure names."),
        (4, "A multi-measure record must have 1 to 2 measure values, this one has 3."),
    ];
    assert_eq!(told.await, texts.map(|(index, text)| (index, text.to_owned())));
    let database = store.create_database("other", DatabaseOptions::default()).expect_err("one is there");
    assert_eq!(database.to_string(), "There are 1 databases, and at most 1 are allowed.");
    let table = store.create_table("db", "u", TableOptions::default()).expect_err("one is there");
    assert!(matches!(table, StoreError::QuotaExceeded(_)), "{table}");
    store.delete_table("db", "t").expect("there");
    store.create_table("db", "u", TableOptions::default()).expect("there is room again");
}

#[tokio::test]
async fn wider_tables_than_awss_come_back_from_parts() {
    let mut machine = Machine::with_table().await;
    machine.options.limits = Limits::MOST;
    let store = machine.open().await;
    let attributes: Vec<(String, MeasureValue)> =
        (0..1_500).map(|n| (format!("a{n}"), MeasureValue::Bigint(n))).collect();
    let attributes: Vec<(&str, MeasureValue)> =
        attributes.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    assert_eq!(rejections(&store, vec![measured(&[("d", "x")], "m", 1, 1, multi(&attributes))]).await, []);
    let before = rows(&store).await;
    store.flush().await.expect("flushed");
    store.close().await.expect("healthy");
    assert_eq!(rows(&machine.open().await).await, before);
}
