//! Many rules on one topic against parsing the payload once per rule with `serde_json`.
//!
//! `cargo bench --bench rules`
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::hint::black_box;
use std::time::Instant;

use tidemill::clock::Timestamp;
use tidemill::message::{Message, Origin, Properties, QoS};
use tidemill::rules::{Rule, RuleSet};
use tidemill::topic::TopicName;

const RULES: usize = 300;
const TURNS: u32 = 2_000;
const ROUNDS: usize = 5;
const RULE: &str = include_str!("../rules/telemetry.toml");
const SENSOR: &str = r#"{"dataFormat":5,"rssi":-88,"temperature":24.04,"humidity":43.605,"pressure":101082,"accelerationX":40,"accelerationY":-20,"accelerationZ":1016,"battery":3007,"txPower":4,"movementCounter":219,"device_id":46216,"device_firmware_sku":46216}"#;

fn main() {
    let rule = |number| Rule::parse_toml(&format!("r{number}"), RULE).expect("the shipped rule");
    let rules = RuleSet::from_rules((0..RULES).map(rule).collect());
    let message = Message {
        topic: TopicName::new("iot/topic").expect("a topic"),
        payload: SENSOR.into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Properties::default(),
        origin: Origin { client_id: Some("sensor-1".into()), address: None },
        received: Timestamp::from_nanos(1_600_000_000_123_456_789),
    };
    assert_eq!(rules.evaluate(&message).len(), RULES, "every rule writes");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let evaluated = micros(&|| drop(black_box(rules.evaluate(&message))));
        let parsed = micros(&|| {
            for _ in 0..RULES {
                let value: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
                drop(black_box(value));
            }
        });
        let ratio = parsed / evaluated;
        println!(
            "round {round}: {RULES} rules {evaluated:.0} us, {RULES} parses {parsed:.0} us, ratio {ratio:.2}"
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio of {ROUNDS}: {:.2}", ratios[ROUNDS / 2]);
}

/// How long `work` takes on average.
fn micros(work: &dyn Fn()) -> f64 {
    let before = Instant::now();
    (0..TURNS).for_each(|_| work());
    before.elapsed().as_secs_f64() * 1e6 / f64::from(TURNS)
}
