//! Starting and stopping as an operator does: every mistake is one sentence and exit code 2.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rumqttc::QoS;
use serde_json::json;

use crate::daemon::{PATIENCE, Site};
use crate::publish::{Protocol, publish};

const ANY_PORTS: &str = "[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n";

/// Starts with `config`, expects a refusal and returns its sentence.
fn refused(site: &Site, config: &str) -> String {
    site.configure(config);
    let (code, out, error) = site.run(&[]);
    assert_eq!((code, &out[..]), (Some(2), ""), "{error}");
    let last = error.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("tidemill: "), "{error}");
    last
}

#[test]
fn mistakes_are_sentences_that_name_key_or_path() {
    let site = Site::new();
    let sentence = refused(&site, &format!("{ANY_PORTS}[stor]\npath = \"x\""));
    assert!(
        sentence.contains("config.toml, line 5") && sentence.contains("unknown field `stor`"),
        "{sentence}"
    );

    let sentence = refused(&site, "[mqtt]\nlisten = \"1883\"");
    assert!(sentence.contains("mqtt.listen: `1883` is not an IP address and port"), "{sentence}");

    let sentence = refused(&site, &format!("{ANY_PORTS}[rules]\npath = \"nowhere\""));
    assert!(sentence.contains("rules.path: ") && sentence.contains("nowhere"), "{sentence}");

    std::fs::write(site.path("file"), "").expect("a written file");
    let sentence = refused(&site, &format!("{ANY_PORTS}[store]\npath = \"file/data\""));
    assert!(sentence.contains("store.path: ") && sentence.contains("file/data"), "{sentence}");

    std::fs::remove_file(site.path("config.toml")).expect("a removed file");
    let (code, _, error) = site.run(&["serve"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("cannot read the configuration file") && error.contains("config.toml"), "{error}");
}

#[test]
fn a_port_in_use_is_named() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    for (key, other) in [("mqtt", "http"), ("http", "mqtt")] {
        let config = format!("[{key}]\nlisten = \"{address}\"\n[{other}]\nlisten = \"127.0.0.1:0\"");
        let sentence = refused(&site, &config);
        assert!(sentence.contains(&format!("{key}.listen: cannot listen on {address}: ")), "{sentence}");
    }
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused() {
    let site = Site::new();
    let first = site.start();
    let sentence = refused(&site, ANY_PORTS);
    assert!(sentence.contains("store.path: ") && sentence.contains("data"), "{sentence}");
    first.done("ListDatabases", &json!({}));
    assert_eq!(first.stop(), Some(0));
    assert_eq!(site.start().stop(), Some(0));
}

#[test]
fn signals_drain_and_stop() {
    let site = Site::new();
    for signal in ["TERM", "INT"] {
        assert_eq!(site.start().stop_with(signal), Some(0), "{signal}");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let site = Site::new();
    let daemon = site.start();
    // A request whose body never comes is one the daemon has to wait for.
    let mut request = TcpStream::connect(daemon.http).expect("a connection");
    let head =
        "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: Timestream_20181101.Query\r\nContent-Length: 9\r\n\r\n{";
    request.write_all(head.as_bytes()).expect("a half-sent request");
    // Time enough for the request to be taken up.
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    daemon.signal("TERM");
    while !log(&site).contains("a second signal stops at once") {
        assert!(started.elapsed() < PATIENCE, "the first signal was not heard");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(daemon.stop_with("TERM"), Some(1));
    assert!(started.elapsed() < Duration::from_secs(8), "it waited although it was told not to");
}

fn log(site: &Site) -> String {
    std::fs::read_to_string(site.path("log")).expect("a log")
}

#[test]
fn check_validates_configuration_and_rules_without_starting() {
    let site = Site::new();
    site.rule("good", "SELECT v FROM 'a/b'", "");
    let (code, out, error) = site.run(&["check"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("1 rules"), "{out}");
    assert!(!site.path("data").exists(), "check must not create the store");

    site.rule("bad", "SELECT v FROM a/b", "");
    let (code, _, error) = site.run(&["check"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("bad.toml"), "{error}");

    site.configure("acount_id = \"1\"");
    let (code, _, error) = site.run(&["check"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("acount_id"), "{error}");
}

#[test]
fn a_damaged_log_is_told_and_accepted_only_when_asked() {
    let site = Site::new();
    site.rule("r", "SELECT v FROM 'a'", "");
    for v in 0..2 {
        let daemon = site.start();
        let payload = format!(r#"{{"v":{v},"device_id":1}}"#);
        publish(daemon.mqtt, Protocol::V311, QoS::AtLeastOnce, "a", &payload);
        daemon.kill();
    }
    let (code, out, error) = site.run(&["check", "--store"]);
    assert_eq!(code, Some(0), "{out}{error}");

    let log = site.files("data/wal", ".log").into_iter().min().expect("a log");
    let mut bytes = std::fs::read(&log).expect("a readable log");
    bytes[60] ^= 1;
    std::fs::write(&log, bytes).expect("a written log");
    let name = log.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    for arguments in [&["check", "--store"][..], &[]] {
        let (code, _, error) = site.run(arguments);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(&name), "{error}");
    }
    let (code, _, error) = site.run(&["check"]);
    assert_eq!(code, Some(0), "{error}");
    let mut accepted = site.command(&["serve", "--accept-loss"]).spawn().expect("a started daemon");
    let ready = BufReader::new(accepted.stdout.take().expect("a pipe")).lines().next();
    assert!(ready.is_some_and(|line| line.is_ok_and(|line| line.starts_with("ready "))));
    accepted.kill().expect("a killed daemon");
    accepted.wait().expect("an ended daemon");
    assert_eq!(site.start().stop(), Some(0), "once accepted, the loss is not asked about again");
}
