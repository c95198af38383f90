//! How many bytes a point takes on disk: the same TSBS readings in Tidemill as multi-measure and as
//! single-measure records, in VictoriaMetrics and in InfluxDB, after each has written and merged its files.
//!
//! `cargo bench --bench space -- --steps 360`
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::http::{Client, timestream_head};
use support::tsbs::{HOSTS, Walk};
use support::{Folder, Tidemill, argument, configure, files, peers};

const GAUGES: usize = 10;
/// How long a folder must keep its size to be done with.
const QUIET: Duration = Duration::from_secs(25);
/// Longer than this nothing is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let steps: usize = argument("steps", 360);
    let points = (steps * HOSTS * GAUGES) as f64;
    let report = |name: &str, bytes: u64| {
        println!("  {name}: {:.3} bytes per point, {:.1} MB", bytes as f64 / points, bytes as f64 / 1e6);
    };
    println!("{HOSTS} hosts, {GAUGES} gauges, {steps} steps of 10 s, {points:.0} points:");
    for (name, multi) in [("tidemill, multi-measure", true), ("tidemill, single-measure", false)] {
        report(name, tidemill(steps, multi));
    }
    let folder = Folder::new("space");
    let (server, address) = peers::victoria_metrics(&folder);
    load(steps, address, peers::WRITE_HEAD, |walk| vec![walk.line_protocol()]);
    let mut client = Client::connect(address).expect("a connection");
    for call in ["force_flush", "force_merge"] {
        client.post(&format!("POST /internal/{call} HTTP/1.1\r\n"), b"").expect("an answer of 2xx");
    }
    report("victoria-metrics", settled(&folder.path("victoria/data")));
    drop(server);
    let (server, address) = peers::influxdb(&folder);
    load(steps, address, peers::WRITE_HEAD, |walk| vec![walk.line_protocol()]);
    report("influxdb", settled(&folder.path("influx/data")));
    drop(server);
}

fn tidemill(steps: usize, multi: bool) -> u64 {
    let folder = Folder::new("space");
    configure(&folder);
    let tidemill = Tidemill::start(&folder);
    let mut client = Client::connect(tidemill.http).expect("a connection");
    client.timestream("CreateDatabase", br#"{"DatabaseName":"bench"}"#).expect("a database");
    client.timestream("CreateTable", br#"{"DatabaseName":"bench","TableName":"cpu"}"#).expect("a table");
    load(steps, tidemill.http, &timestream_head("WriteRecords"), |walk| walk.write_records("cpu", multi));
    tidemill.must_have("bench.cpu", steps * HOSTS * if multi { 1 } else { GAUGES });
    tidemill.server.signal("USR1");
    let bytes = settled(&folder.path("data/tables"));
    let parts = files(&folder.path("data/tables")).iter().filter(|(path, _)| is_part(path)).count();
    println!("  ({parts} parts)");
    bytes
}

fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

fn load(steps: usize, address: std::net::SocketAddr, head: &str, bodies: impl Fn(&Walk) -> Vec<String>) {
    let mut client = Client::connect(address).expect("a connection");
    let mut walk = Walk::new();
    for _ in 0..steps {
        for body in bodies(&walk) {
            client.post(head, body.as_bytes()).expect("an answer of 2xx");
        }
        walk.step();
    }
}

/// The size of a folder once it does not change any more.
fn settled(folder: &Path) -> u64 {
    let size = || files(folder).iter().map(|(_, bytes)| bytes).sum::<u64>();
    let (mut last, mut since, begin) = (size(), Instant::now(), Instant::now());
    while since.elapsed() < QUIET && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(500));
        let now = size();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}
