//! What a broker does all day, against Mosquitto, which keeps nothing, and NATS with JetStream, which keeps
//! messages of QoS 1 in files: publishing with and without a rule that sees it, acknowledgements, fan-out, and
//! connections that say nothing.
//!
//! `cargo bench --bench broker -- --rounds 3 --messages 40000 --idle 10000`
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::mqtt::{self, Publisher, TOPIC, subscribe};
use support::peers::{mosquitto, nats};
use support::{Folder, PATIENCE, Server, Tidemill, argument, configure, median, percentile};

const CONNECTIONS: usize = 8;
const SUBSCRIBERS: usize = 50;
/// A topic no rule listens to, as long as the one of the shipped rule.
const ELSEWHERE: &str = "iot/other";

/// A broker and where to publish.
struct Side<'a> {
    name: &'static str,
    server: &'a Server,
    address: SocketAddr,
    topic: &'static str,
}

fn main() {
    let folder = Folder::new("broker");
    configure(&folder);
    let tidemill = Tidemill::start(&folder);
    let (mosquitto, mosquitto_address) = mosquitto(&folder, "bare");
    let (nats, nats_address) = nats(&folder);
    let side = |name, server, address, topic| Side { name, server, address, topic };
    let sides = [
        side("tidemill, one rule", &tidemill.server, tidemill.mqtt, TOPIC),
        side("tidemill, no rule", &tidemill.server, tidemill.mqtt, ELSEWHERE),
        side("mosquitto", &mosquitto, mosquitto_address, TOPIC),
        side("nats jetstream", &nats, nats_address, TOPIC),
    ];
    let rounds: usize = argument("rounds", 3);
    let messages: usize = argument("messages", 40_000);
    // First: a server that has had much to do has memory left for connections, and subscribers take places.
    idle(&[&sides[0], &sides[2], &sides[3]], argument("idle", 10_000));
    rates("QoS 0, 8 connections", &sides, rounds, |side, number| {
        let mut publishers = connect(side, number, 0);
        timed(|| {
            each(&mut publishers, |publisher| publisher.pour(messages / CONNECTIONS).expect("PINGRESP"));
            messages
        })
    });
    for window in [50, 1] {
        acknowledged(&sides, rounds, messages, window);
    }
    fan_out(&sides, rounds, messages / 10);
}

/// Runs `turn` on every side in turn and prints the median rates.
fn rates(what: &str, sides: &[Side], rounds: usize, mut turn: impl FnMut(&Side, usize) -> f64) {
    let mut all = vec![Vec::new(); sides.len()];
    for round in 0..=rounds {
        for (side, rates) in sides.iter().zip(&mut all) {
            let rate = turn(side, round);
            // The first turn is a warm-up.
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    println!("{what}, median of {rounds}:");
    for (side, rates) in sides.iter().zip(&all) {
        println!("  {}: {:.0}/s", side.name, median(rates));
    }
}

fn connect(side: &Side, round: usize, qos: u8) -> Vec<Publisher> {
    let number = |index| 1_000 * round + index;
    (0..CONNECTIONS)
        .map(|index| Publisher::to(side.address, number(index), side.topic, qos).expect("a publisher"))
        .collect()
}

/// Does `work` with every publisher at once.
fn each(publishers: &mut [Publisher], work: impl Fn(&mut Publisher) + Sync) {
    std::thread::scope(|scope| {
        for publisher in publishers {
            scope.spawn(|| work(publisher));
        }
    });
}

/// What `work` counts, per second.
fn timed(work: impl FnOnce() -> usize) -> f64 {
    let before = Instant::now();
    work() as f64 / before.elapsed().as_secs_f64()
}

/// Publishes of QoS 1, all connections with `window` in flight: rates, and how long acknowledgements take.
fn acknowledged(sides: &[Side], rounds: usize, messages: usize, window: usize) {
    let messages = if window == 1 { messages / 10 } else { messages };
    let mut latencies = vec![Vec::new(); sides.len()];
    let mut at = 0;
    rates(&format!("QoS 1, 8 connections x {window} in flight"), sides, rounds, |side, round| {
        let mut publishers = connect(side, round, 1);
        let taken = std::sync::Mutex::new(Vec::new());
        let rate = timed(|| {
            each(&mut publishers, |publisher| {
                let mut own = Vec::new();
                publisher.publish(messages / CONNECTIONS, window, &mut own).expect("acknowledgements");
                taken.lock().expect("no thread panics").extend(own);
            });
            messages
        });
        if round > 0 {
            latencies[at % sides.len()].extend(taken.into_inner().expect("no thread panics"));
        }
        at += 1;
        rate
    });
    for (side, taken) in sides.iter().zip(&latencies) {
        let (half, most) = (median(taken) * 1e3, percentile(taken, 99) * 1e3);
        println!("  {}: acknowledged within {half:.2} ms (p50), {most:.2} ms (p99)", side.name);
    }
}

/// One publisher of QoS 0, many subscribers: deliveries per second.
fn fan_out(sides: &[Side], rounds: usize, messages: usize) {
    // Where no rule listens nobody subscribes either.
    let sides: Vec<Side> = sides
        .iter()
        .filter(|side| side.topic == TOPIC)
        .map(|side| Side { name: side.name, server: side.server, address: side.address, topic: TOPIC })
        .collect();
    let received: Vec<Arc<AtomicU64>> = sides.iter().map(|_| Arc::default()).collect();
    for (side, received) in sides.iter().zip(&received) {
        for number in 0..SUBSCRIBERS {
            subscribe(side.address, number, 0, Arc::clone(received)).expect("a subscriber");
        }
    }
    let mut at = 0;
    let mut lost = vec![0; sides.len()];
    rates(&format!("one publisher, {SUBSCRIBERS} subscribers, deliveries"), &sides, rounds, |side, round| {
        let index = at % sides.len();
        at += 1;
        let before = received[index].load(Ordering::Relaxed);
        let mut publisher = Publisher::to(side.address, 5_000 + round, side.topic, 1).expect("a publisher");
        let began = Instant::now();
        publisher.publish(messages, 50, &mut Vec::new()).expect("acknowledgements");
        let (there, took) = settled(&received[index], before + (messages * SUBSCRIBERS) as u64, began);
        lost[index] += messages * SUBSCRIBERS - usize::try_from(there - before).unwrap_or(0);
        (there - before) as f64 / took.as_secs_f64()
    });
    for (side, lost) in sides.iter().zip(lost) {
        println!("  {}: {lost} deliveries dropped", side.name);
    }
}

/// Waits until `received` is `wanted` or nothing more comes; what it is then, and when that was.
fn settled(received: &AtomicU64, wanted: u64, began: Instant) -> (u64, Duration) {
    let (mut there, mut took) = (received.load(Ordering::Relaxed), began.elapsed());
    while there < wanted && began.elapsed() < took + Duration::from_secs(2) && took < PATIENCE {
        std::thread::sleep(Duration::from_millis(2));
        let now = received.load(Ordering::Relaxed);
        if now > there {
            (there, took) = (now, began.elapsed());
        }
    }
    (there, took)
}

/// Connections that have said CONNECT and nothing since: memory of the server for each.
fn idle(sides: &[&Side], count: usize) {
    println!("{count} idle connections:");
    for side in sides {
        let before = side.server.memory_kb("VmRSS").unwrap_or(0);
        let open = |number| mqtt::connect(side.address, &format!("idle-{number}"));
        let connections: Result<Vec<TcpStream>, _> = (0..count).map(open).collect();
        match connections {
            Ok(connections) => {
                std::thread::sleep(Duration::from_secs(1));
                let after = side.server.memory_kb("VmRSS").unwrap_or(0);
                let bytes = after.saturating_sub(before) as f64 * 1024.0 / count as f64;
                println!("  {}: {bytes:.0} B each, {} MB in all", side.name, after / 1024);
                drop(connections);
            }
            Err(error) => println!("  {}: {error}", side.name),
        }
    }
}
