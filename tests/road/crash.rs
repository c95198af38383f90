//! What is acknowledged is stored, whatever happens to the process.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::QoS;
use serde_json::json;

use crate::aws;
use crate::daemon::Site;
use crate::publish::{Outcome, Protocol, publish, stream};

const CONNECTIONS: usize = 8;
const PUBLISHES_EACH: u64 = 1_250;
const ROWS: &str = "SELECT device_id, measure_value::bigint FROM iot.telemetry";

/// Writes batches of ten rows until one is not answered; what was sent and what was acknowledged.
fn write_until_killed(address: SocketAddr) -> Outcome {
    let mut outcome = Outcome::default();
    for batch in 0.. {
        let numbers = batch * 10..batch * 10 + 10;
        let record = |n: u64| json!({ "MeasureValue": n.to_string(), "Time": (n + 1).to_string() });
        let request = json!({ "DatabaseName": "iot", "TableName": "telemetry",
            "CommonAttributes": {
                "Dimensions": [{ "Name": "device_id", "Value": "http" }],
                "MeasureName": "n", "MeasureValueType": "BIGINT",
            },
            "Records": numbers.clone().map(record).collect::<Vec<_>>(),
        });
        outcome.sent.extend(numbers.clone());
        match aws::call(address, "WriteRecords", &request) {
            Some((200, _)) => outcome.acknowledged.extend(numbers),
            // The table comes with the first message.
            Some((404, _)) => {}
            other => {
                assert!(other.is_none(), "{other:?}");
                return outcome;
            }
        }
    }
    outcome
}

/// Publishes from all connections, writes over HTTP beside them, and kills the daemon `after` a while;
/// then everything acknowledged must have its row, and no row may be one that was never sent. Returns
/// how many messages were acknowledged.
fn kill_under_load(after: Duration) -> usize {
    let site = Site::new();
    site.rule("crash", "SELECT n FROM 'crash/+'", "");
    let daemon = site.start();
    let address = daemon.mqtt;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let streams: Vec<_> =
        (0..CONNECTIONS).map(|device| runtime.spawn(stream(address, device, PUBLISHES_EACH))).collect();
    let http = daemon.http;
    let writer = std::thread::spawn(move || write_until_killed(http));
    std::thread::sleep(after);
    daemon.kill();

    let written = writer.join().expect("a writer that ended");
    let rows = |numbers: &HashSet<u64>| -> HashSet<(String, String)> {
        numbers.iter().map(|n| ("http".to_owned(), n.to_string())).collect()
    };
    let (mut sent, mut acknowledged) = (rows(&written.sent), rows(&written.acknowledged));
    let over_http = acknowledged.len();
    for (device, outcome) in streams.into_iter().enumerate() {
        let outcome = runtime.block_on(outcome).expect("a stream that ended");
        sent.extend(outcome.sent.iter().map(|n| (device.to_string(), n.to_string())));
        acknowledged.extend(outcome.acknowledged.iter().map(|n| (device.to_string(), n.to_string())));
    }
    let over_mqtt = acknowledged.len() - over_http;
    if over_mqtt == 0 || over_http == 0 {
        return 0;
    }
    let daemon = site.start();
    let found = daemon.rows(ROWS);
    let stored: HashSet<_> = found.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(stored.len(), found.len(), "a message became more than one row");
    assert!(
        acknowledged.is_subset(&stored),
        "{} acknowledged rows are lost",
        (&acknowledged - &stored).len()
    );
    assert!(stored.is_subset(&sent), "{} rows were never sent", (&stored - &sent).len());
    over_mqtt
}

#[test]
fn a_kill_in_the_middle_loses_nothing_acknowledged() {
    let all = CONNECTIONS * usize::try_from(PUBLISHES_EACH).expect("a small count");
    // How far the clients get in a given time depends on the machine; look for the middle.
    let mut after = Duration::from_millis(250);
    for _ in 0..8 {
        let acknowledged = kill_under_load(after);
        if acknowledged == 0 {
            after *= 2;
        } else if acknowledged == all {
            after /= 2;
        } else {
            return;
        }
    }
    panic!("the daemon was never killed in the middle of the load");
}

#[test]
fn rows_are_the_same_after_a_restart_and_in_parquet() {
    let site = Site::new();
    site.rule("all", "SELECT * FROM 'iot/topic'", "");
    let daemon = site.start();
    for n in 0..50 {
        let payload =
            format!(r#"{{"device_id":"d{}","a":{n},"b":{}.5,"c":"ä{n}","e":{}}}"#, n % 3, n, n % 2 == 0);
        publish(daemon.mqtt, Protocol::V5, QoS::AtLeastOnce, "iot/topic", &payload);
    }
    let multi = json!({ "DatabaseName": "iot", "TableName": "telemetry", "Records": [{
        "Dimensions": [{ "Name": "host", "Value": "h" }], "MeasureName": "m", "MeasureValueType": "MULTI",
        "Time": "1636986409", "TimeUnit": "SECONDS", "MeasureValues": [
            { "Name": "x", "Value": "1", "Type": "BIGINT" }, { "Name": "at", "Value": "5", "Type": "TIMESTAMP" },
        ],
    }] });
    daemon.done("WriteRecords", &multi);
    let all = "SELECT * FROM iot.telemetry ORDER BY time, measure_name";
    let before = daemon.rows(all);
    assert_eq!(before.len(), 50 * 5 + 1);
    assert!(site.files("data", ".parquet").is_empty(), "nothing is in Parquet yet");

    daemon.kill();
    let daemon = site.start();
    assert_eq!(daemon.rows(all), before, "after a kill and a restart");

    daemon.signal("USR1");
    let flushed = || !site.files("data", ".parquet").is_empty();
    let started = std::time::Instant::now();
    while !flushed() {
        assert!(started.elapsed() < crate::daemon::PATIENCE, "no Parquet appeared");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(daemon.rows(all), before, "from Parquet");
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(site.start().rows(all), before, "from Parquet after a restart");
}
