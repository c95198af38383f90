//! Rules while the daemon runs: files that change, rules made over HTTP, and the commands that try them out.

use std::fs;
use std::time::{Duration, Instant};

use rumqttc::QoS;
use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE, Site};
use crate::publish::{Protocol, publish};

const DEVICES: &str = "SELECT DISTINCT device_id FROM iot.telemetry ORDER BY device_id";

impl Daemon {
    /// Asks a path of the HTTP port.
    fn get(&self, path: &str) -> Value {
        let mut response = ureq::get(format!("http://{}{path}", self.http)).call().expect("an answer");
        serde_json::from_str(&response.body_mut().read_to_string().expect("text")).expect("JSON")
    }

    fn post(&self, path: &str, body: &Value) {
        let sent = ureq::post(format!("http://{}{path}", self.http)).send(body.to_string());
        assert_eq!(sent.expect("accepted").status(), 200, "{path}");
    }

    /// Waits until the rule files are as `looks` expects `/metrics.json` to say.
    fn when(&self, looks: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let told = self.get("/metrics.json");
            if looks(&told) {
                return told;
            }
            assert!(started.elapsed() < PATIENCE, "{told}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn has_rule(told: &Value, name: &str) -> bool {
    told["rules"].as_array().expect("rules").iter().any(|rule| rule["rule"] == name)
}

fn send(daemon: &Daemon, device: &str) {
    let payload = format!(r#"{{"device_id": "{device}", "t": 1.5}}"#);
    publish(daemon.mqtt, Protocol::V311, QoS::AtLeastOnce, "a/b", &payload);
}

#[test]
fn a_rule_file_is_read_again_while_the_daemon_runs() {
    let site = Site::new();
    let daemon = site.start();
    site.rule("one", "SELECT t FROM 'a/b'", "");
    daemon.when(|told| has_rule(told, "one"));
    send(&daemon, "first");

    fs::write(site.path("rules/one.toml"), "sql = \"SELECT\"\n").expect("a broken rule");
    let told = daemon.when(|told| told["problems"].as_array().is_some_and(|problems| !problems.is_empty()));
    let problem = told["problems"][0].as_str().expect("a text");
    assert!(problem.contains("one.toml:1: sql: ") && problem.contains("stays in use"), "{problem}");
    assert_eq!(daemon.get("/health")["reasons"], told["problems"]);
    send(&daemon, "second");
    assert_eq!(daemon.rows(DEVICES), [["first"], ["second"]], "the rule before goes on");

    fs::remove_file(site.path("rules/one.toml")).expect("a removed rule");
    daemon.when(|told| !has_rule(told, "one") && told["problems"] == json!([]));
    send(&daemon, "third");
    assert_eq!(daemon.rows(DEVICES).len(), 2);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_rule_made_over_http_outlives_a_power_cut() {
    let site = Site::new();
    let daemon = site.start();
    let rule = json!({
        "sql": "SELECT t FROM 'a/b'",
        "actions": [{ "timestream": { "databaseName": "iot", "tableName": "telemetry",
            "dimensions": [{ "name": "device_id", "value": "${device_id}" }] } }],
    });
    daemon.post("/rules/made", &rule);
    daemon.kill();

    let daemon = site.start();
    send(&daemon, "after");
    assert_eq!(daemon.rows(DEVICES), [["after"]]);
    assert_eq!(daemon.get("/rules/made")["rule"]["sql"], "SELECT t FROM 'a/b'");
    assert!(site.files("rules", "").is_empty(), "the user's folder is the user's");
    assert_eq!(site.files("data/rules", ".json").len(), 1);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_statement_is_tried_without_a_daemon() {
    let site = Site::new();
    fs::write(site.path("payload"), r#"{"device_id": "d", "t": 10.50}"#).expect("a payload");
    let payload = site.path("payload");
    let payload = payload.to_str().expect("a path");
    let eval = |sql: &str, more: &[&str]| {
        let mut arguments = vec!["rule", "eval", "--sql", sql, "--topic", "a/b", "--payload", payload];
        arguments.extend(more);
        site.run(&arguments)
    };
    let made =
        eval("SELECT t, clientid() AS c, timestamp() AS at FROM '#'", &["--client-id", "x", "--at", "7"]);
    assert_eq!(made, (Some(0), "{\"t\":10.50,\"c\":\"x\",\"at\":7}\n".to_owned(), String::new()));
    assert_eq!(eval("SELECT t FROM 'z'", &[]), (Some(0), "undefined\n".to_owned(), String::new()));
    let (code, out, error) = eval("SELECT t, FROM FROM 'a'", &["--sql-version", "2015-10-08"]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(error.starts_with("sql: line 1:"), "{error}");
    assert_eq!(site.run(&["rule", "eval", "--sql", "SELECT 1 AS x"]).0, Some(2), "arguments are missing");

    fs::write(
        site.path("cases"),
        "oops\n{\"id\":1,\"sql\":\"SELECT VALUE 1 FROM 'a'\",\"topic\":\"a\",\"payload\":{}}",
    )
    .expect("cases");
    let cases = site.path("cases");
    let (code, out, _) = site.run(&["rule", "eval", "--cases", cases.to_str().expect("a path")]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((code, lines.len(), lines[1]), (Some(0), 2, "{\"id\":1,\"result\":1}"));
}

#[test]
fn a_rule_is_explained_and_its_examples_are_run() {
    let site = Site::new();
    site.rule("one", "SELECT t, n, s FROM 'a/+'", "");
    let rule = site.path("rules/one.toml");
    fs::write(site.path("payload"), r#"{"device_id": "d", "t": 10.5, "n": 3, "s": "x"}"#).expect("a payload");
    let (rule, payload) = (rule.to_str().expect("a path").to_owned(), site.path("payload"));
    let payload = payload.to_str().expect("a path");
    let explain = |topic: &str| {
        site.run(&["rule", "explain", &rule, "--topic", topic, "--payload", payload, "--at", "1700000000000"])
    };
    let time = "2023-11-14T22:13:20.000000000Z";
    let expected = format!(
        "rule one, SQL 2016-03-23: SELECT t, n, s FROM 'a/+'\n\
         outgoing {{\"t\":10.5,\"n\":3,\"s\":\"x\"}}\n\
         timestream iot.telemetry, made if missing\n  \
         t DOUBLE 10.5, time {time}, device_id=\"d\"\n  \
         n BIGINT 3, time {time}, device_id=\"d\"\n  \
         s VARCHAR \"x\", time {time}, device_id=\"d\"\n"
    );
    assert_eq!(explain("a/b"), (Some(0), expected, String::new()));
    let (_, out, _) = explain("z");
    assert!(out.ends_with("nothing happens: the rule listens to a/+ and does not see z\n"), "{out}");

    let examples = "\n[[examples]]\ntopic = \"a/b\"\npayload = { t = 1.5 }\nexpect = { t = 1.5 }\n\
        [[examples]]\ntopic = \"a/b\"\npayload = '{\"n\": 3}'\nexpect = '{\"n\": 3.0}'\n";
    let text = fs::read_to_string(&rule).expect("the rule") + examples;
    fs::write(&rule, text).expect("a rule with examples");
    let (code, out, error) = site.run(&["rule", "test"]);
    let expected = "ok   one example 1\nFAIL one example 2\n     expected {\"n\":3.0}\n     got      {\"n\":3}\n\
        2 examples, 1 failed\n";
    assert_eq!((code, &*out, &*error), (Some(1), expected, ""));
    assert_eq!(site.run(&["rule", "test", &rule]).1, expected);
    fs::write(&rule, "oops").expect("a broken rule");
    let (code, out, error) = site.run(&["rule", "test"]);
    assert_eq!((code, &*out), (Some(1), "0 examples, 0 failed\n"));
    assert!(error.contains("one.toml:1: "), "{error}");
}
