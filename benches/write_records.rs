//! WriteRecords with 100 records of ten measures over HTTP, durable when answered, against
//! VictoriaMetrics taking the same rows as line protocol, durable some seconds later, and InfluxDB, durable
//! when answered.
//!
//! `cargo bench --bench write_records -- --rounds 5 --requests 1000`
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

mod support;

use std::net::SocketAddr;
use std::time::Instant;

use support::http::{Client, timestream_head};
use support::tsbs::{REQUESTS, ROWS, Request};
use support::{Folder, Server, Tidemill, argument, configure, median, peers, tsbs};

/// Divides the requests of one reading of all hosts, so that a host stays with its connection.
const CONNECTIONS: usize = 4;

fn main() {
    let rounds: usize = argument("rounds", 5);
    let requests: usize = argument("requests", 1_000);
    let folder = Folder::new("write");
    configure(&folder);
    let tidemill = Tidemill::start(&folder);
    create(&tidemill).expect("a table");
    let head = timestream_head("WriteRecords");
    let ours = Side::new("tidemill: on disk when answered", &tidemill.server, tidemill.http, head);
    let mut sides = vec![ours.sending(&tsbs::write_records("cpu"))];
    let alone = std::env::args().any(|argument| argument == "--alone");
    let peers =
        if alone { Vec::new() } else { vec![peers::victoria_metrics(&folder), peers::influxdb(&folder)] };
    let names = ["victoria-metrics: in memory when answered", "influxdb: on disk when answered"];
    for ((server, address), name) in peers.iter().zip(names) {
        let side = Side::new(name, server, *address, peers::WRITE_HEAD.to_owned());
        sides.push(side.sending(&tsbs::line_protocol()));
    }
    for side in &mut sides {
        side.run(requests / 5);
        side.rates.clear();
    }
    for round in 0..rounds {
        for side in &mut sides {
            side.run(requests);
        }
        let rates = sides.iter().filter_map(|side| side.rates.last()).map(|rate| format!("{rate:.0}"));
        println!("round {}: {} rows/s", round + 1, rates.collect::<Vec<_>>().join(", "));
    }
    println!("{CONNECTIONS} connections, {ROWS} rows of 10 values a request, median of {rounds}:");
    let ours = median(&sides[0].rates);
    for side in &sides {
        let (name, rate, cpu) = (&side.name, median(&side.rates), median(&side.cpu));
        let memory = |line| side.server.memory_kb(line).unwrap_or(0) / 1024;
        let (now, most) = (memory("VmRSS"), memory("VmHWM"));
        println!(
            "  {name}: {rate:.0} rows/s, {cpu:.1} us of CPU each, ratio {:.2}, {now} MB, at most {most} MB",
            ours / rate
        );
    }
    tidemill.must_have("bench.cpu", sides[0].rows());
}

fn create(tidemill: &Tidemill) -> std::io::Result<()> {
    let mut client = Client::connect(tidemill.http)?;
    client.timestream("CreateDatabase", br#"{"DatabaseName":"bench"}"#)?;
    client.timestream("CreateTable", br#"{"DatabaseName":"bench","TableName":"cpu"}"#)?;
    Ok(())
}

/// One server and what was measured of it.
struct Side<'a> {
    name: &'static str,
    server: &'a Server,
    head: String,
    senders: Vec<Sender>,
    rates: Vec<f64>,
    cpu: Vec<f64>,
}

/// One connection, the requests it sends in turn, and how many it has sent.
struct Sender {
    client: Client,
    requests: Vec<(usize, Request)>,
    sent: usize,
}

impl<'a> Side<'a> {
    fn new(name: &'static str, server: &'a Server, address: SocketAddr, head: String) -> Self {
        let sender = |_| Sender {
            client: Client::connect(address).expect("a connection"),
            requests: Vec::with_capacity(REQUESTS / CONNECTIONS),
            sent: 0,
        };
        let senders = (0..CONNECTIONS).map(sender).collect();
        Self { name, server, head, senders, rates: Vec::new(), cpu: Vec::new() }
    }

    fn sending(mut self, requests: &[Request]) -> Self {
        for (index, request) in requests.iter().enumerate() {
            self.senders[index % CONNECTIONS].requests.push((index, request.clone()));
        }
        self
    }

    fn rows(&self) -> usize {
        self.senders.iter().map(|sender| sender.sent * ROWS).sum()
    }

    fn run(&mut self, requests: usize) {
        let each = requests / CONNECTIONS;
        let (head, ticks) = (&self.head, self.server.ticks());
        let before = Instant::now();
        std::thread::scope(|scope| {
            for sender in &mut self.senders {
                scope.spawn(move || {
                    for _ in 0..each {
                        sender.send(head);
                    }
                });
            }
        });
        let rows = (each * CONNECTIONS * ROWS) as f64;
        self.rates.push(rows / before.elapsed().as_secs_f64());
        if let (Some(start), Some(end)) = (ticks, self.server.ticks()) {
            self.cpu.push((end - start) as f64 * 10_000.0 / rows);
        }
    }
}

impl Sender {
    fn send(&mut self, head: &str) {
        let count = self.requests.len();
        let (index, request) = &mut self.requests[self.sent % count];
        let body = request.at(*index, self.sent / count);
        self.client.post(head, body).expect("an answer of 2xx");
        self.sent += 1;
    }
}
