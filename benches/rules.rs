//! Rules over one message against `serde_json` parsing the same payload once per rule.
//!
//! `cargo bench --bench rules`. One line per number of rules: how many rules are evaluated in a second,
//! what one of them costs, what a parse costs in the same round, and how often a message allocates.
//! Allocations are counted by the C library's own `libmemusage.so`, in a second process that runs the
//! same work a known number of times; where that library is missing the column stays empty.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "measurements are printed")]

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tidemill::clock::Timestamp;
use tidemill::message::{Message, Origin, Properties, QoS};
use tidemill::rules::{Rule, RuleSet};
use tidemill::topic::TopicName;

const ROUNDS: usize = 5;
/// How long one side of a round runs.
const TURN: Duration = Duration::from_millis(200);
/// The shipped rule: two attributes, two templates, two records.
const SHIPPED: &str = include_str!("../rules/telemetry.toml");
/// A rule without an action: the language alone.
const SIMPLE: &str = "sql = \"SELECT temperature, humidity FROM 'iot/topic' WHERE temperature > 20\"";
const NESTED: &str = "sql = \"SELECT (SELECT VALUE n * 2 FROM list AS n WHERE n > 3) AS big, EXISTS (SELECT * \
                      FROM list AS n WHERE n = 9) AS nine FROM 'iot/topic'\"";
const SENSOR: &str = r#"{"dataFormat":5,"rssi":-88,"temperature":24.04,"humidity":43.605,"pressure":101082,"accelerationX":40,"accelerationY":-20,"accelerationZ":1016,"battery":3007,"txPower":4,"movementCounter":219,"device_id":46216,"device_firmware_sku":46216}"#;
const LISTS: &str = r#"{"id":"a","list":[1,2,3,4,5,6,7,8,9,10]}"#;
/// Where Debian and Fedora keep the counter.
const COUNTERS: [&str; 2] = ["/lib/x86_64-linux-gnu/libmemusage.so", "/usr/lib64/libmemusage.so"];

/// Rules and the message they see.
struct Work {
    name: &'static str,
    rules: RuleSet,
    /// How many of the rules see the message.
    seen: u32,
    message: Message,
}

impl Work {
    /// `count` times the rule `text` on the message's own topic.
    fn together(name: &'static str, text: &str, count: u32, payload: &'static str) -> Self {
        let rule = |number| Rule::parse_toml(&format!("r{number}"), text).expect("a rule");
        let rules = RuleSet::from_rules((0..count).map(rule).collect());
        Self { name, rules, seen: count, message: message(payload) }
    }

    /// The shipped rule once on the message's topic, and `count` - 1 times on other topics.
    fn apart(name: &'static str, count: u32) -> Self {
        let rule = |number: u32| {
            let filter = if number == 0 { "iot/topic".to_owned() } else { format!("site/{number}/+") };
            let text = SHIPPED.replace("'iot/topic'", &format!("'{filter}'"));
            Rule::parse_toml(&format!("r{number}"), &text).expect("a rule")
        };
        let rules = RuleSet::from_rules((0..count).map(rule).collect());
        Self { name, rules, seen: 1, message: message(SENSOR) }
    }

    fn all() -> Vec<Self> {
        vec![
            Self::together("1 on one topic", SHIPPED, 1, SENSOR),
            Self::together("10 on one topic", SHIPPED, 10, SENSOR),
            Self::together("300 on one topic", SHIPPED, 300, SENSOR),
            Self::together("8000 on one topic", SHIPPED, 8_000, SENSOR),
            Self::apart("8000, 1 sees it", 8_000),
            Self::together("300 without action", SIMPLE, 300, SENSOR),
            Self::together("300 nested SELECT", NESTED, 300, LISTS),
        ]
    }

    fn evaluate(&self) {
        drop(black_box(self.rules.evaluate(&self.message)));
    }

    /// As many parses as rules see the message.
    fn parse(&self) {
        for _ in 0..self.seen {
            let value: serde_json::Value = serde_json::from_slice(&self.message.payload).expect("JSON");
            drop(black_box(value));
        }
    }
}

fn message(payload: &'static str) -> Message {
    Message {
        topic: TopicName::new("iot/topic").expect("a topic"),
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Properties::default(),
        origin: Origin { client_id: Some("sensor-1".into()), ..Origin::default() },
        received: Timestamp::from_nanos(1_600_000_000_123_456_789),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--count") {
        let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
        let work = &Work::all()[number(at + 1)];
        (0..number(at + 2)).for_each(|_| work.evaluate());
        return;
    }
    println!(
        "{:<20} {:>14} {:>10} {:>12} {:>7} {:>12}",
        "rules", "evaluations/s", "ns/rule", "ns/parse", "ratio", "allocations"
    );
    for (place, work) in Work::all().iter().enumerate() {
        let mut rounds: Vec<(f64, f64)> =
            (0..ROUNDS).map(|_| (nanos(&|| work.evaluate()), nanos(&|| work.parse()))).collect();
        rounds.sort_by(|left, right| (left.1 / left.0).total_cmp(&(right.1 / right.0)));
        let seen = f64::from(work.seen);
        let (evaluated, parsed) = (rounds[ROUNDS / 2].0 / seen, rounds[ROUNDS / 2].1 / seen);
        let counted = allocations(place).map_or_else(|| "-".to_owned(), |count| format!("{count:.1}"));
        let (rate, ratio) = (1e9 / evaluated, parsed / evaluated);
        println!(
            "{:<20} {rate:>14.0} {evaluated:>10.0} {parsed:>12.0} {ratio:>7.2} {counted:>12}",
            work.name
        );
    }
}

/// How long `work` takes on average.
fn nanos(work: &dyn Fn()) -> f64 {
    work();
    let (before, mut turns) = (Instant::now(), 0_u32);
    while before.elapsed() < TURN {
        work();
        turns += 1;
    }
    before.elapsed().as_secs_f64() * 1e9 / f64::from(turns)
}

/// How many blocks the work at `place` takes from the allocator for one message: the difference between
/// two runs of different length, so that starting counts for nothing.
fn allocations(place: usize) -> Option<f64> {
    const SHORT: u32 = 2;
    const LONG: u32 = 22;
    let counter = COUNTERS.iter().find(|path| Path::new(path).exists())?;
    let count = |turns: u32| {
        let program = std::env::current_exe().ok()?;
        let mut command = Command::new(program);
        command.args(["--count", &place.to_string(), &turns.to_string()]).env("LD_PRELOAD", counter);
        let said = String::from_utf8(command.output().ok()?.stderr).ok()?;
        calls(&said)
    };
    Some((count(LONG)? - count(SHORT)?) / f64::from(LONG - SHORT))
}

/// The calls of malloc, realloc and calloc in what the counter prints.
fn calls(said: &str) -> Option<f64> {
    let rows = said.lines().filter(|line| line.contains("alloc|"));
    let numbers = rows.map(|line| {
        let columns = line.split('|').nth(1)?;
        columns.split_whitespace().find_map(|word| word.parse::<f64>().ok())
    });
    let numbers: Option<Vec<f64>> = numbers.collect();
    if numbers.is_none() {
        eprintln!("the counter's output is not understood: {said}");
    }
    numbers.map(|numbers| numbers.iter().sum())
}
