//! How long a start takes and how much memory an idle daemon has: on an empty folder, and after a kill
//! with a full log, against reading the log, both from the disk.
//!
//! `cargo bench --bench start -- --rounds 11 --log-mb 64`
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

mod support;

use std::time::{Duration, Instant};

use support::http::{Client, timestream_head};
use support::{Folder, Tidemill, argument, configure, files, forget, median, read_all, tsbs};

/// Rows are spread over tables, or else the first would be written to Parquet and leave the log.
const TABLES: usize = 8;

fn main() {
    empty(argument("rounds", 11));
    full(argument("restarts", 5), argument("log-mb", 64));
}

fn empty(rounds: usize) {
    let (mut starts, mut resident, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let folder = Folder::new("start");
        configure(&folder);
        let tidemill = Tidemill::start(&folder);
        starts.push(tidemill.started_within.as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(300));
        resident.extend(tidemill.server.memory_kb("VmRSS").map(|kb| kb as f64 / 1024.0));
        own.extend(tidemill.server.memory_kb("RssAnon").map(|kb| kb as f64 / 1024.0));
    }
    println!("empty folder, median of {rounds}:");
    println!("  ready after {:.1} ms", median(&starts));
    println!(
        "  idle: {:.1} MB resident, {:.1} MB of it not the program file",
        median(&resident),
        median(&own)
    );
}

fn full(restarts: usize, log_mb: u64) {
    let folder = Folder::new("restart");
    configure(&folder);
    fill(&folder, log_mb << 20);
    let wal = folder.path("data/wal");
    let bytes: u64 = files(&wal).iter().map(|(_, bytes)| bytes).sum();
    let (mut starts, mut reads, mut disk_reads) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..restarts {
        let read = || {
            let before = Instant::now();
            assert!(read_all(&wal) >= bytes, "the log does not shrink between kills");
            before.elapsed().as_secs_f64()
        };
        forget(&wal);
        disk_reads.push(read());
        reads.push(read());
        // Both read the log from the disk.
        forget(&wal);
        // Killed before it can write its tables, so that the next start finds the same log.
        let tidemill = Tidemill::start(&folder);
        starts.push(tidemill.started_within.as_secs_f64());
        let resident = tidemill.server.memory_kb("VmRSS").unwrap_or(0) / 1024;
        let (start, read) = (starts[round], disk_reads[round]);
        println!("restart {}: {start:.2} s, read {read:.3} s, {resident} MB resident", round + 1);
    }
    let (start, read, cached) = (median(&starts), median(&disk_reads), median(&reads));
    let per_gb = start / bytes as f64 * f64::from(1 << 30);
    println!("kill with {} MB of log, median of {restarts}:", bytes >> 20);
    println!("  ready after {start:.2} s, {per_gb:.1} s for a GB");
    println!("  reading the log from the disk {read:.3} s, ratio {:.1}", start / read);
    println!("  reading it from memory {cached:.3} s, ratio {:.1}", start / cached);
}

/// Writes rows until the log has `bytes`, and kills the daemon.
fn fill(folder: &Folder, bytes: u64) {
    let tidemill = Tidemill::start(folder);
    let mut client = Client::connect(tidemill.http).expect("a connection");
    client.timestream("CreateDatabase", br#"{"DatabaseName":"bench"}"#).expect("a database");
    let mut tables: Vec<_> = (0..TABLES).map(|table| tsbs::write_records(&format!("cpu{table}"))).collect();
    for table in 0..TABLES {
        let body = format!("{{\"DatabaseName\":\"bench\",\"TableName\":\"cpu{table}\"}}");
        client.timestream("CreateTable", body.as_bytes()).expect("a table");
    }
    let head = timestream_head("WriteRecords");
    let wal = folder.path("data/wal");
    for turn in 0.. {
        for requests in &mut tables {
            for (index, request) in requests.iter_mut().enumerate() {
                client.post(&head, request.at(index, turn)).expect("an answer of 2xx");
            }
            if files(&wal).iter().map(|(_, bytes)| bytes).sum::<u64>() >= bytes {
                return;
            }
        }
    }
}
