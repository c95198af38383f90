//! A crowd that wishes the daemon ill: its memory stays within its bounds, honest clients beside it are
//! served all the while, and the daemon ends in order.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rumqttc::QoS;

use crate::daemon::{Daemon, PATIENCE, Site};
use crate::publish::{Protocol, publish};

/// What the daemon may hold beside what it had when it was idle, by the limits below: queues 8 MiB, retained
/// 4 MiB, packets and buffers of the sockets that are open at once, and what the allocator keeps.
const GROWTH_MAX: u64 = 160 * 1024 * 1024;

const LIMITS: &str = "[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
    [mqtt.limits]\nconnections_max = 4000\nhandshake_seconds = 60\nabsent_sessions_max = 200\n\
    queued_bytes_max = \"8MiB\"\nabsent_bytes_max = \"4MiB\"\noutbound_bytes_max = \"1MiB\"\n\
    retained_messages_max = 1000\nretained_bytes_max = \"4MiB\"\nsubscriptions_total_max = 10000\n";

/// The next of a row of bytes that look like chance (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll().to_be_bytes()[3]).collect()
    }
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).expect("short").to_be_bytes()[..], text.as_bytes()].concat()
}

/// A packet of less than 16,384 bytes.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (low, high) = (body.len() % 128, body.len() / 128);
    let byte = |n: usize| u8::try_from(n).expect("below 256");
    [&[first, byte(low | 0x80), byte(high)][..], body].concat()
}

fn connect(client_id: &str, clean: bool) -> Vec<u8> {
    packet(0x10, &[&text("MQTT")[..], &[4, if clean { 2 } else { 0 }, 0, 0], &text(client_id)].concat())
}

fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1][..], &text(filter), &[qos]].concat())
}

fn retained(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x31, &[&text(topic)[..], payload].concat())
}

/// A socket that says `bytes`; what the daemon thinks of them is its business.
fn says(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the daemon accepts");
    stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    let _ = stream.write_all(bytes);
    stream
}

/// Reads until the daemon closes, or has nothing more to say for a while.
fn drain(mut stream: TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// An honest client's publish, from its connection to its acknowledgement, and how long that took.
fn honest(address: SocketAddr) -> Duration {
    let started = Instant::now();
    publish(address, Protocol::V5, QoS::AtLeastOnce, "honest", r#"{"n":1,"device_id":"honest"}"#);
    started.elapsed()
}

/// An honest client that was there before: one publish after another until told to stop. How long their
/// acknowledgements took.
fn steady(address: SocketAddr, stop: &AtomicBool) -> Vec<Duration> {
    let mut stream = says(address, &connect("steady", true));
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("a CONNACK");
    let body = [&text("honest")[..], &[0, 1], br#"{"n":1,"device_id":"steady"}"#].concat();
    let bytes = packet(0x32, &body);
    let mut waited = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        stream.write_all(&bytes).expect("a steady client is not cut off");
        stream.read_exact(&mut answer).expect("an acknowledgement");
        assert_eq!(answer, [0x40, 2, 0, 1]);
        waited.push(started.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    waited.sort_unstable();
    waited
}

fn half_open(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let whole = connect("half", true);
    (0..count).map(|n| says(address, &whole[..n % whole.len()])).collect()
}

fn giants(address: SocketAddr, dice: &mut Dice) {
    for first in [0x10, 0x30, 0x82, 0xA2, 0xE0] {
        let mut bytes = if first == 0x10 { Vec::new() } else { connect("giant", true) };
        bytes.extend([first, 0xFF, 0xFF, 0xFF, 0x7F]);
        bytes.extend(dice.bytes(100_000));
        drain(says(address, &bytes));
    }
}

fn noise(address: SocketAddr, dice: &mut Dice) {
    for n in 0..300 {
        let mut bytes = if n % 3 == 0 { Vec::new() } else { connect("noise", n % 2 == 0) };
        if n % 3 == 2 {
            bytes.extend(subscribe("größe/🌡/#", 2));
        }
        let length = usize::try_from(dice.roll() % 400).expect("small");
        bytes.extend(dice.bytes(length));
        drain(says(address, &bytes));
    }
}

/// Topics, filters and client ids that never come twice, and the packets only a server may send.
fn floods(address: SocketAddr) {
    let mut bytes = connect("retains", true);
    for n in 0..5_000 {
        bytes.extend(retained(&format!("flood/ä/{n}"), &[b'x'; 2_000]));
    }
    drain(says(address, &bytes));
    let mut bytes = connect("subscribes", true);
    for n in 0..20_000 {
        bytes.extend(subscribe(&format!("flood/{n}/+/#"), 1));
    }
    drain(says(address, &bytes));
    for n in 0..400 {
        let bytes = [connect(&format!("client-{n}"), false), subscribe("flood/#", 1), vec![0xE0, 0]].concat();
        drain(says(address, &bytes));
    }
    for first in [0x20, 0x90, 0xB0, 0xD0, 0x00, 0xF0] {
        drain(says(address, &[connect("server", true), vec![first, 0]].concat()));
    }
}

/// Subscribers that never read, and what is published for them.
fn slow_readers(address: SocketAddr) -> Vec<TcpStream> {
    let hello =
        |n: usize| [connect(&format!("slow-{n}"), n.is_multiple_of(2)), subscribe("slow", 1)].concat();
    let readers = (0..20).map(|n| says(address, &hello(n))).collect();
    let mut bytes = connect("loud", true);
    for _ in 0..4_000 {
        bytes.extend(packet(0x30, &[&text("slow")[..], &[b'x'; 8_000]].concat()));
    }
    drain(says(address, &bytes));
    readers
}

#[test]
fn a_hostile_crowd_costs_bounded_memory_and_nobody_else() {
    let site = Site::new();
    site.configure(LIMITS);
    site.rule("honest", "SELECT n FROM 'honest'", "");
    let daemon = site.start();
    let address = daemon.mqtt;
    honest(address);
    let idle = daemon.resident_bytes();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let steady = scope.spawn(|| steady(address, &stop));
        let crowd = std::panic::catch_unwind(AssertUnwindSafe(|| crowd(&daemon, idle)));
        stop.store(true, Ordering::Relaxed);
        let waited = steady.join().expect("a steady client is served");
        let (median, longest) = (waited[waited.len() / 2], waited[waited.len() - 1]);
        println!("{} steady publishes: median {median:?}, longest {longest:?}", waited.len());
        if let Err(panic) = crowd {
            std::panic::resume_unwind(panic);
        }
        assert!(waited.len() > 20 && longest < PATIENCE / 6, "a steady client waited {longest:?}");
    });
    assert_eq!(daemon.stop(), Some(0));
}

/// Everybody who wishes it ill, one after another.
#[expect(clippy::print_stdout, reason = "how close it came is told")]
fn crowd(daemon: &Daemon, idle: u64) {
    let address = daemon.mqtt;
    let mut dice = Dice(0x0068_6F73_7469_6C65);
    let mut slowest = Duration::ZERO;
    let mut check = |what: &str| {
        slowest = slowest.max(honest(address));
        let grown = daemon.resident_bytes().saturating_sub(idle);
        println!("{what}: {} MiB more than idle", grown >> 20);
        assert!(grown < GROWTH_MAX, "{what}: {grown} bytes more than idle");
    };
    let half_open = half_open(address, 3_000);
    check("half-open connections");
    giants(address, &mut dice);
    check("giant lengths");
    noise(address, &mut dice);
    check("noise");
    floods(address);
    check("floods");
    let readers = slow_readers(address);
    check("slow readers");
    assert!(slowest < PATIENCE / 6, "an honest client waited {slowest:?}");
    let metrics = daemon.metrics();
    let number = |name: &str| -> u64 {
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
        line.trim().parse().expect("a number")
    };
    assert_eq!(number("tidemill_mqtt_retained_messages "), 1_000);
    assert!(number("tidemill_mqtt_subscriptions ") <= 10_000);
    assert!(number("tidemill_mqtt_retained_refused_total ") >= 4_000);
    assert!(number("tidemill_mqtt_disconnects_total{reason=\"violation\"} ") > 5);
    assert!(number("tidemill_mqtt_queued_bytes ") <= 8 << 20);
    drop((half_open, readers));
}
