//! What is acknowledged is stored, whatever happens to the process.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rumqttc::QoS;
use serde_json::json;

use crate::aws;
use crate::daemon::{Daemon, PATIENCE, Site};
use crate::publish::{Outcome, Protocol, publish, stream};

const CONNECTIONS: u64 = 8;
/// More than any round gets to.
const PUBLISHES_EACH: u64 = 1_000_000;
const ROWS: &str = "SELECT device_id, measure_value::bigint FROM iot.telemetry";

/// What was sent and what was acknowledged in all rounds so far, as device and number.
#[derive(Debug, Default)]
struct History {
    sent: HashSet<(String, String)>,
    acknowledged: HashSet<(String, String)>,
}

impl History {
    fn add(&mut self, device: &str, outcome: &Outcome) {
        let rows = |numbers: &HashSet<u64>| -> Vec<_> {
            numbers.iter().map(|n| (device.to_owned(), n.to_string())).collect()
        };
        self.sent.extend(rows(&outcome.sent));
        self.acknowledged.extend(rows(&outcome.acknowledged));
    }

    /// Everything acknowledged must have its row, once, and no row may be one that was never sent.
    fn judge(&self, found: &[Vec<String>], story: &str) {
        let stored: HashSet<_> = found.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        assert_eq!(stored.len(), found.len(), "{story}: a message became more than one row");
        let lost: Vec<_> = self.acknowledged.difference(&stored).take(5).collect();
        assert!(lost.is_empty(), "{story}: acknowledged and lost: {lost:?} and maybe more");
        let made_up: Vec<_> = stored.difference(&self.sent).take(5).collect();
        assert!(made_up.is_empty(), "{story}: stored and never sent: {made_up:?} and maybe more");
    }
}

/// Writes batches of ten rows from number `first` on until one is not answered; what was sent and what
/// was acknowledged.
fn write_until_killed(address: SocketAddr, first: u64) -> Outcome {
    let mut outcome = Outcome::default();
    for batch in first.. {
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

/// The number in the environment variable `name`, else `default`.
fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// The next of a row of numbers that look like chance (splitmix64).
fn chance(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) % below
}

/// Publishes from all connections and writes over HTTP beside them, moves rows to Parquet now and then,
/// and kills the daemon after a while.
fn kill_under_load(daemon: Daemon, round: u64, seed: &mut u64, history: &mut History) {
    let address = daemon.mqtt;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let devices = round * CONNECTIONS..(round + 1) * CONNECTIONS;
    let streams: Vec<_> = devices
        .map(|device| {
            let device = usize::try_from(device).expect("small");
            (device, runtime.spawn(stream(address, device, PUBLISHES_EACH)))
        })
        .collect();
    let (http, first) = (daemon.http, round * PUBLISHES_EACH);
    let writer = std::thread::spawn(move || write_until_killed(http, first));
    let end = Instant::now() + Duration::from_millis(300 + chance(seed, 900));
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(chance(seed, 300)));
        daemon.signal("USR1");
    }
    daemon.kill();
    history.add("http", &writer.join().expect("a writer that ended"));
    for (device, outcome) in streams {
        history.add(&device.to_string(), &runtime.block_on(outcome).expect("a stream that ended"));
    }
}

/// `TIDEMILL_ROUNDS` makes it long, `TIDEMILL_SEED` another story.
#[test]
fn kills_under_load_lose_nothing_acknowledged() {
    let seed = asked("TIDEMILL_SEED", 1);
    let mut state = seed;
    let site = Site::new();
    site.rule("crash", "SELECT n FROM 'crash/+'", "");
    let mut history = History::default();
    for round in 0..asked("TIDEMILL_ROUNDS", 3) {
        kill_under_load(site.start(), round, &mut state, &mut history);
        let story = format!("seed {seed}, round {round}");
        println!("{story}: {} sent, {} acknowledged", history.sent.len(), history.acknowledged.len());
        let daemon = site.start();
        history.judge(&daemon.rows(ROWS), &story);
        // By turns the next round begins behind a kill and behind an orderly stop.
        if round % 2 == 0 {
            assert_eq!(daemon.stop(), Some(0), "{story}");
        } else {
            daemon.kill();
        }
    }
    let over_http = history.acknowledged.iter().filter(|(device, _)| device == "http").count();
    assert!(over_http > 0 && history.acknowledged.len() > over_http, "both roads were loaded");
    assert!(history.acknowledged.len() < history.sent.len(), "no kill came in the middle");
    assert!(!site.files("data", ".parquet").is_empty(), "rows went to Parquet meanwhile");
}

const SUM: &str = "SELECT sum(measure_value::bigint) FROM iot.telemetry WHERE device_id = 'http'";

/// Writes 2,000 rows and moves them to Parquet; their sum, and the file they are in.
fn rows_in_parquet(site: &Site) -> (Vec<Vec<String>>, PathBuf) {
    site.rule("all", "SELECT n FROM 'd/+'", "");
    let daemon = site.start();
    // Makes the table.
    publish(daemon.mqtt, Protocol::V5, QoS::AtLeastOnce, "d/1", r#"{"n":5,"device_id":"d"}"#);
    for hundred in 0..20_u64 {
        let record =
            |n: u64| json!({ "MeasureValue": (n * 7_919 % 65_521).to_string(), "Time": n.to_string() });
        let request = json!({ "DatabaseName": "iot", "TableName": "telemetry",
            "CommonAttributes": {
                "Dimensions": [{ "Name": "device_id", "Value": "http" }],
                "MeasureName": "n", "MeasureValueType": "BIGINT",
            },
            "Records": (hundred * 100 + 1..hundred * 100 + 101).map(record).collect::<Vec<_>>(),
        });
        daemon.done("WriteRecords", &request);
    }
    let sum = daemon.rows(SUM);
    daemon.signal("USR1");
    let started = Instant::now();
    // One of the day of the message, one of the day of the rows.
    while site.files("data", ".parquet").len() < 2 {
        assert!(started.elapsed() < PATIENCE, "no Parquet appeared");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(daemon.rows(SUM), sum);
    assert_eq!(daemon.stop(), Some(0));
    let bytes = |path: &PathBuf| std::fs::metadata(path).expect("there").len();
    let largest = site.files("data", ".parquet").into_iter().max_by_key(bytes);
    (sum, largest.expect("some"))
}

#[test]
fn a_flipped_bit_in_a_part_is_an_error_and_never_a_sum() {
    let site = Site::new();
    let (sum, part) = rows_in_parquet(&site);
    let name = part.file_name().expect("a name").to_str().expect("ours");
    let whole = std::fs::read(&part).expect("readable");
    let mut damaged = whole.clone();
    damaged[whole.len() / 3] ^= 0x10;
    std::fs::write(&part, &damaged).expect("written");

    let daemon = site.start();
    for sql in [SUM, "SELECT * FROM iot.telemetry WHERE measure_value::bigint > 3 ORDER BY time"] {
        let (status, body) = daemon.call("Query", &json!({ "QueryString": sql }));
        assert_eq!(status, 500, "{sql}: {body}");
        assert!(body["message"].as_str().is_some_and(|text| text.contains(name)), "{sql}: {body}");
    }
    let mut health = ureq::get(format!("http://{}/health", daemon.http)).call().expect("an answer");
    let health = health.body_mut().read_to_string().expect("text");
    assert!(health.contains("degraded") && health.contains(name), "{health}");
    let log = std::fs::read_to_string(site.path("log")).expect("a log");
    assert!(log.contains("a part is damaged") && log.contains(name), "{log}");
    std::fs::write(&part, &whole).expect("restored");
    assert_eq!(daemon.rows(SUM), sum, "once the file is back");
    std::fs::write(&part, &damaged).expect("written");
    assert_eq!(daemon.stop(), Some(0));
    let (code, out, error) = site.run(&["check", "--store"]);
    assert_eq!(code, Some(2), "{out}{error}");
    assert!(format!("{out}{error}").contains(name), "{out}{error}");
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
    let started = Instant::now();
    while !flushed() {
        assert!(started.elapsed() < PATIENCE, "no Parquet appeared");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(daemon.rows(all), before, "from Parquet");
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(site.start().rows(all), before, "from Parquet after a restart");
}
