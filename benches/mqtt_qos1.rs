//! Publishes of QoS 1 through one rule into durable rows, against Mosquitto, which has no rule and
//! keeps nothing, and against the disk alone.
//!
//! `cargo bench --bench mqtt_qos1 -- --rounds 5 --messages 100000`
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::mqtt::{PAYLOAD_BYTES, Publisher, subscribe};
use support::peers::mosquitto;
use support::{Folder, Server, Tidemill, argument, configure, median, percentile, write_and_sync};

const CONNECTIONS: usize = 8;
const IN_FLIGHT: usize = 50;
const WARM_UP: usize = 100;

fn main() {
    let rounds: usize = argument("rounds", 5);
    let messages: usize = argument("messages", 100_000);
    let singles: usize = argument("singles", 1_000);
    if std::env::args().any(|argument| argument == "--alone") {
        return alone(rounds, messages);
    }
    let folder = Folder::new("mqtt");
    configure(&folder);
    let tidemill = Tidemill::start(&folder);
    let mut sides =
        vec![Side::new("tidemill: one rule, rows on disk", &tidemill.server, tidemill.mqtt, None)];
    let peers = [0, 1].map(|qos| (mosquitto(&folder, &format!("subscriber-{qos}")), qos));
    for ((server, address), qos) in &peers {
        let received = Arc::new(AtomicU64::new(0));
        subscribe(*address, 0, *qos, Arc::clone(&received)).expect("a subscriber");
        let name = format!("mosquitto: subscriber of QoS {qos}, nothing on disk");
        sides.push(Side::new(&name, server, *address, Some(received)));
    }
    for side in &mut sides {
        side.run(messages / 5);
        side.rates.clear();
    }
    for round in 0..rounds {
        for side in &mut sides {
            side.run(messages);
        }
        let rates = sides.iter().filter_map(|side| side.rates.last()).map(|rate| format!("{rate:.0}"));
        println!("round {}: {} messages/s", round + 1, rates.collect::<Vec<_>>().join(", "));
    }
    println!("{CONNECTIONS} connections x {IN_FLIGHT} in flight, {PAYLOAD_BYTES} B, median of {rounds}:");
    let ours = median(&sides[0].rates);
    for side in &sides {
        let rate = median(&side.rates);
        let received = side.received.as_ref().map_or(String::new(), |received| {
            format!(", {} of {} reached the subscriber", received.load(Ordering::Relaxed), side.sent)
        });
        let (name, cpu) = (&side.name, median(&side.cpu));
        println!(
            "  {name}: {rate:.0} messages/s, {cpu:.1} us of CPU each, ratio {:.2}{received}",
            ours / rate
        );
    }
    let sent = sides[0].sent;
    // The shipped rule makes two rows of a message.
    tidemill.must_have("iot.telemetry", 2 * sent);
    let bare = one_at_a_time(&folder, &tidemill, rounds, singles);
    println!("8 x 50: {:.1} acknowledgements for every append + fdatasync one after the other", ours * bare);
    tidemill.must_have("iot.telemetry", 2 * (sent + WARM_UP + rounds * singles));
}

/// Load for a profiler: Tidemill only.
fn alone(rounds: usize, messages: usize) {
    let folder = Folder::new("mqtt");
    configure(&folder);
    let tidemill = Tidemill::start(&folder);
    let mut side = Side::new("tidemill", &tidemill.server, tidemill.mqtt, None);
    (0..rounds).for_each(|_| side.run(messages));
    println!("{:.0} messages/s, {:.1} us of CPU each", median(&side.rates), median(&side.cpu));
}

/// One server and what was measured of it.
struct Side<'a> {
    name: String,
    server: &'a Server,
    publishers: Vec<Publisher>,
    received: Option<Arc<AtomicU64>>,
    sent: usize,
    rates: Vec<f64>,
    cpu: Vec<f64>,
}

impl<'a> Side<'a> {
    fn new(name: &str, server: &'a Server, address: SocketAddr, received: Option<Arc<AtomicU64>>) -> Self {
        let connect = |number| Publisher::connect(address, number).expect("a publisher");
        let publishers = (0..CONNECTIONS).map(connect).collect();
        Self {
            name: name.to_owned(),
            server,
            publishers,
            received,
            sent: 0,
            rates: Vec::new(),
            cpu: Vec::new(),
        }
    }

    /// Publishes `messages` over all connections; the clock stops when the last is acknowledged and,
    /// where there is a subscriber, has reached it.
    fn run(&mut self, messages: usize) {
        let each = messages / CONNECTIONS;
        let ticks = self.server.ticks();
        let before = Instant::now();
        std::thread::scope(|scope| {
            for publisher in &mut self.publishers {
                scope
                    .spawn(|| publisher.publish(each, IN_FLIGHT, &mut Vec::new()).expect("acknowledgements"));
            }
        });
        let mut took = before.elapsed();
        self.sent += each * CONNECTIONS;
        if let Some(received) = &self.received {
            // A broker may drop what it cannot deliver: then the last arrival counts.
            let mut there = received.load(Ordering::Relaxed);
            while there < self.sent as u64 {
                std::thread::sleep(Duration::from_millis(5));
                let now = received.load(Ordering::Relaxed);
                if now > there {
                    took = before.elapsed();
                } else if before.elapsed() > took + Duration::from_secs(1) {
                    break;
                }
                there = now;
            }
        }
        let count = (each * CONNECTIONS) as f64;
        self.rates.push(count / took.as_secs_f64());
        if let (Some(start), Some(end)) = (ticks, self.server.ticks()) {
            self.cpu.push((end - start) as f64 * 10_000.0 / count);
        }
    }
}

/// One connection that waits for every acknowledgement, against a loop that appends as many bytes as
/// the log got for a message and syncs. The answer is the seconds the latter takes.
fn one_at_a_time(folder: &Folder, tidemill: &Tidemill, rounds: usize, singles: usize) -> f64 {
    let mut publisher = Publisher::connect(tidemill.mqtt, CONNECTIONS).expect("a publisher");
    let wal = folder.path("data/wal");
    // The log reserves room ahead of what it holds: what is not zero is what was written.
    let bytes = || support::written(&wal);
    let start = bytes();
    publisher.publish(WARM_UP, 1, &mut Vec::new()).expect("acknowledgements");
    // A segment may have been removed meanwhile; any plausible size will do then.
    let size = usize::try_from(bytes().saturating_sub(start) / WARM_UP as u64).unwrap_or(0).clamp(100, 1_000);
    let (mut road, mut disk) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (mut ours, bare) = (Vec::new(), || write_and_sync(&folder.path("sync"), &vec![7; size], singles));
        publisher.publish(singles, 1, &mut ours).expect("acknowledgements");
        let bare = bare();
        println!("round {}: {:.3} ms, bare {:.3} ms", round + 1, median(&ours) * 1e3, median(&bare) * 1e3);
        road.push(ours);
        disk.push(bare);
    }
    let medians = |all: &[Vec<f64>]| all.iter().map(|each| median(each)).collect::<Vec<_>>();
    let tails = |all: &[Vec<f64>]| all.iter().map(|each| percentile(each, 99)).collect::<Vec<_>>();
    let (ours, bare) = (median(&medians(&road)), median(&medians(&disk)));
    println!("one connection, one in flight, {size} B in the log each, median of {rounds}:");
    println!("  tidemill: {:.3} ms, 99% within {:.3} ms", ours * 1e3, median(&tails(&road)) * 1e3);
    println!("  append + fdatasync: {:.3} ms, 99% within {:.3} ms", bare * 1e3, median(&tails(&disk)) * 1e3);
    println!("  ratio {:.2}", ours / bare);
    bare
}
