//! Single calls over HTTP against moto's server on the same calls: requests a second and how long one takes.
//!
//! `cargo bench --bench requests -- --rounds 5 --requests 2000 --moto-requests 200`
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

use support::http::{Client, signed_head};
use support::tsbs::{self, Request};
use support::{Folder, Server, Tidemill, argument, configure, free_address, median, percentile};

/// Each sends its next request when the one before is answered.
const CONNECTIONS: usize = 4;

const CREATE: [(&str, &str); 3] = [
    ("CreateDatabase", r#"{"DatabaseName":"bench"}"#),
    ("CreateTable", r#"{"DatabaseName":"bench","TableName":"cpu"}"#),
    ("CreateTable", r#"{"DatabaseName":"bench","TableName":"one"}"#),
];

const QUERY: &str = "SELECT time, usage_user, usage_system FROM bench.cpu WHERE hostname = 'host_7' AND measure_name = 'cpu' \
                     ORDER BY time DESC LIMIT 10";

fn main() {
    let rounds: usize = argument("rounds", 5);
    let requests: usize = argument("requests", 2_000);
    let folder = Folder::new("requests");
    configure(&folder);
    let tidemill = Tidemill::start(&folder);
    let moto = moto();
    let sides = [
        Side { name: "tidemill", address: tidemill.http, requests },
        Side { name: "moto", address: moto.1, requests: argument("moto-requests", 200) },
    ];
    for side in &sides {
        let mut client = Client::connect(side.address).expect("a connection");
        for (operation, body) in CREATE {
            client.post(&signed_head(operation), body.as_bytes()).expect("an answer of 2xx");
        }
    }
    let calls = [
        Call { name: "WriteRecords, 1 record", operation: "WriteRecords", bodies: single_records() },
        Call {
            name: "WriteRecords, 100 records",
            operation: "WriteRecords",
            bodies: Bodies::Requests(tsbs::write_records("cpu")),
        },
        Call {
            name: "Query, the newest rows of a host",
            operation: "Query",
            bodies: Bodies::Fixed(question(QUERY)),
        },
        Call { name: "Query, SELECT 1", operation: "Query", bodies: Bodies::Fixed(question("SELECT 1")) },
    ];
    println!("{CONNECTIONS} connections, median of {rounds} rounds:");
    for call in &calls {
        let mut turns = [0; 2];
        let mut measured: [Vec<Measured>; 2] = Default::default();
        for round in 0..=rounds {
            for (place, side) in sides.iter().enumerate() {
                let found = side.run(call, turns[place]);
                turns[place] += side.requests;
                // The first is a warm-up.
                if round > 0 {
                    measured[place].push(found);
                }
            }
        }
        println!("{}:", call.name);
        let medians = measured.map(|rounds| Measured {
            rate: median(&rounds.iter().map(|found| found.rate).collect::<Vec<_>>()),
            half: median(&rounds.iter().map(|found| found.half).collect::<Vec<_>>()),
            slowest: median(&rounds.iter().map(|found| found.slowest).collect::<Vec<_>>()),
        });
        for (side, found) in sides.iter().zip(&medians) {
            let Measured { rate, half, slowest } = found;
            println!("  {}: {rate:.0} requests/s, p50 {half:.2} ms, p99 {slowest:.2} ms", side.name);
        }
        println!(
            "  ratio {:.1}, of p99 {:.3}",
            medians[0].rate / medians[1].rate,
            medians[0].slowest / medians[1].slowest
        );
    }
    drop(moto);
}

/// moto as it is installed from PyPI.
fn moto() -> (Server, SocketAddr) {
    let address = free_address();
    let mut command = Command::new(argument("moto", "moto_server".to_owned()));
    command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
    (Server::start(&mut command, address), address)
}

struct Call {
    name: &'static str,
    operation: &'static str,
    bodies: Bodies,
}

enum Bodies {
    Fixed(String),
    /// In turn, with times of their own.
    Requests(Vec<Request>),
}

/// A record a request, of a thousand hosts in turn.
fn single_records() -> Bodies {
    Bodies::Requests(tsbs::requests_of(1_000, |request, host| {
        request.text("{\"DatabaseName\":\"bench\",\"TableName\":\"one\",\"Records\":[{\"Dimensions\":[{\"Name\":\"host\",\"Value\":\"");
        request.text(&format!(
            "h{host}\"}}],\"MeasureName\":\"temperature\",\"MeasureValue\":\"21.5\",\"Time\":\""
        ));
        request.time();
        request.text("\"}]}");
    }))
}

fn question(sql: &str) -> String {
    format!("{{\"QueryString\":\"{sql}\"}}")
}

struct Side {
    name: &'static str,
    address: SocketAddr,
    requests: usize,
}

#[derive(Default)]
struct Measured {
    /// Requests a second.
    rate: f64,
    /// Milliseconds within which half of the requests were answered.
    half: f64,
    /// The same for 99 of a hundred.
    slowest: f64,
}

impl Side {
    /// Sends the call from all connections; `turn` is how many were sent before.
    fn run(&self, call: &Call, turn: usize) -> Measured {
        let each = self.requests / CONNECTIONS;
        let head = signed_head(call.operation);
        let before = Instant::now();
        let times: Vec<f64> = std::thread::scope(|scope| {
            let senders = (0..CONNECTIONS).map(|connection| {
                let head = &head;
                scope.spawn(move || send(self.address, head, call, turn + connection * each, each))
            });
            let senders: Vec<_> = senders.collect();
            senders.into_iter().flat_map(|sender| sender.join().expect("no panic")).collect()
        });
        let rate = times.len() as f64 / before.elapsed().as_secs_f64();
        Measured { rate, half: percentile(&times, 50), slowest: percentile(&times, 99) }
    }
}

/// Milliseconds of `count` calls, one after the other.
fn send(address: SocketAddr, head: &str, call: &Call, first: usize, count: usize) -> Vec<f64> {
    let mut client = Client::connect(address).expect("a connection");
    let mut bodies = match &call.bodies {
        Bodies::Fixed(_) => Vec::new(),
        Bodies::Requests(requests) => requests.clone(),
    };
    let timed = |n: usize| {
        let body = match &call.bodies {
            Bodies::Fixed(body) => body.as_bytes(),
            Bodies::Requests(_) => {
                let index = n % bodies.len();
                let turn = n / bodies.len();
                bodies[index].at(index, turn)
            }
        };
        let before = Instant::now();
        client.post(head, body).expect("an answer of 2xx");
        before.elapsed().as_secs_f64() * 1_000.0
    };
    (first..first + count).map(timed).collect()
}
