//! The road of one real sensor reading, from PUBLISH to the row a query returns.

use rumqttc::QoS;

use crate::daemon::{PATIENCE, Site};
use crate::publish::{Protocol, publish};

const READING: &str = r#"{"dataFormat":5,"rssi":-88,"temperature":24.04,"humidity":43.605,"pressure":101082,"accelerationX":40,"accelerationY":-20,"accelerationZ":1016,"battery":3007,"txPower":4,"movementCounter":219,"device_id":46216,"device_firmware_sku":46216}"#;
const DOUBLES: &str = "SELECT device_id, measure_name, measure_value::double, time FROM iot.telemetry ORDER BY measure_name, time";

fn shipped_rule(site: &Site) {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/telemetry.toml");
    std::fs::copy(shipped, site.path("rules/telemetry.toml")).expect("the shipped rule");
}

#[test]
fn the_shipped_rule_makes_two_rows_of_a_reading() {
    for protocol in [Protocol::V311, Protocol::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let site = Site::new();
            shipped_rule(&site);
            let daemon = site.start();
            let before = now();
            publish(daemon.mqtt, protocol, qos, "iot/topic", READING);
            let rows = daemon.rows_when(DOUBLES, 2);
            let values: Vec<_> = rows.iter().map(|row| (&row[0][..], &row[1][..], &row[2][..])).collect();
            let expected = [("46216", "humidity", "43.605"), ("46216", "temperature", "24.04")];
            assert_eq!(values, expected, "{protocol:?} {qos:?}");
            assert_processing_time(&rows[0][3], before);
            let columns = daemon.rows("DESCRIBE iot.telemetry");
            let names: Vec<_> = columns.iter().map(|row| &row[0][..]).collect();
            assert_eq!(names, ["device_id", "measure_name", "time", "measure_value::double"]);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test compares with the machine's clock")]
fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

fn assert_processing_time(time: &str, before: chrono::DateTime<chrono::Utc>) {
    let time = chrono::NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S%.f").expect("a timestamp");
    let age = time.and_utc().signed_duration_since(before);
    let patience = chrono::TimeDelta::from_std(PATIENCE).expect("a short time");
    assert!(age >= chrono::TimeDelta::zero() && age < patience, "{time} is not between then and now");
}

#[test]
fn aliases_and_integers_follow_the_statement() {
    let site = Site::new();
    site.rule("r", "SELECT humidity AS relative_humidity, battery, rssi FROM 'iot/topic'", "");
    let daemon = site.start();
    publish(daemon.mqtt, Protocol::V5, QoS::AtLeastOnce, "iot/topic", READING);
    let rows = daemon.rows(
        "SELECT measure_name, measure_value::double, measure_value::bigint FROM iot.telemetry ORDER BY 1",
    );
    let expected = [["battery", "-", "3007"], ["relative_humidity", "43.605", "-"], ["rssi", "-", "-88"]];
    assert_eq!(rows, expected);
}

#[test]
fn a_rule_can_take_the_time_from_the_payload() {
    let site = Site::new();
    site.rule("r", "SELECT v FROM 'iot/#'", "timestamp = { value = \"${ts}\", unit = \"SECONDS\" }");
    let daemon = site.start();
    let payload = r#"{"v":1.5,"ts":1636986409,"device_id":"a"}"#;
    publish(daemon.mqtt, Protocol::V311, QoS::AtLeastOnce, "iot/größe", payload);
    assert_eq!(daemon.rows("SELECT time FROM iot.telemetry"), [["2021-11-15 14:26:49.000000000"]]);
}

#[test]
fn every_kind_of_value_has_its_type() {
    let site = Site::new();
    let sql = "SELECT d, i, b, s, o, a FROM 'kinds' WHERE i > 4 AND NOT b = false";
    site.rule("r", sql, "");
    let daemon = site.start();
    let reading = |i: i64| {
        format!(r#"{{"d":24.04,"i":{i},"b":true,"s":"text","o":{{"x":1}},"a":[1,"b"],"device_id":1}}"#)
    };
    publish(daemon.mqtt, Protocol::V5, QoS::AtLeastOnce, "kinds", &reading(4));
    publish(daemon.mqtt, Protocol::V5, QoS::AtLeastOnce, "kinds", &reading(5));
    let rows = daemon.rows(
        "SELECT measure_name, measure_value::double, measure_value::bigint, measure_value::boolean, \
         measure_value::varchar FROM iot.telemetry ORDER BY 1",
    );
    let expected = [
        ["a", "-", "-", "-", "[1,\"b\"]"],
        ["b", "-", "-", "true", "-"],
        ["d", "24.04", "-", "-", "-"],
        ["i", "-", "5", "-", "-"],
        ["o", "-", "-", "-", "{\"x\":1}"],
        ["s", "-", "-", "-", "text"],
    ];
    assert_eq!(rows, expected);
}

#[test]
fn two_rules_see_one_message_and_a_broken_file_stops_neither() {
    let site = Site::new();
    site.rule("first", "SELECT temperature FROM 'iot/+'", "");
    site.rule("second", "SELECT rssi FROM 'iot/topic'", "");
    std::fs::write(site.path("rules/broken.toml"), "sql = \"SELECT FROM\"").expect("a written file");
    let daemon = site.start();
    publish(daemon.mqtt, Protocol::V311, QoS::AtLeastOnce, "iot/topic", READING);
    let rows = daemon.rows("SELECT measure_name FROM iot.telemetry ORDER BY 1");
    assert_eq!(rows, [["rssi"], ["temperature"]]);
}

#[test]
fn an_action_that_fails_runs_the_error_action() {
    let site = Site::new();
    let error_action = "[error_action.timestream]\ndatabase_name = \"iot\"\ntable_name = \"errors\"\n\
                        dimensions = [{ name = \"source\", value = \"${topic()}\" }]";
    site.rule("r", "SELECT v FROM 'iot/topic'", error_action);
    let daemon = site.start();
    // The dimension's template has no value.
    publish(daemon.mqtt, Protocol::V5, QoS::AtLeastOnce, "iot/topic", r#"{"v":1}"#);
    let rows = daemon.rows(
        "SELECT source, measure_value::varchar FROM iot.errors WHERE measure_name IN ('ruleName', 'failures') \
         ORDER BY measure_name",
    );
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[0][1].contains("TimestreamAction") && rows[0][1].contains("device_id"), "{rows:?}");
    assert_eq!(rows[1], ["iot/topic", "r"]);
}
