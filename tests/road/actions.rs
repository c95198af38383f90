//! Rules that act: messages, files, requests and dead letters, with the built binary.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rumqttc::QoS;
use rumqttc::v5;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::daemon::{PATIENCE, Site};
use crate::publish::{Protocol, publish};

fn rule(site: &Site, name: &str, text: &str) {
    std::fs::write(site.path("rules").join(format!("{name}.toml")), text).expect("a written rule");
}

fn lines(site: &Site, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(site.path(file)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Subscribes to `filter`, runs `act` and returns the first message that comes.
fn hear(address: SocketAddr, filter: &str, act: impl FnOnce() + Send) -> Publish {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut options = v5::MqttOptions::new("listener", address.ip().to_string(), address.port());
        options.set_keep_alive(Duration::from_secs(30));
        let (client, mut events) = v5::AsyncClient::new(options, 10);
        client.subscribe(filter, v5::mqttbytes::QoS::AtLeastOnce).await.expect("a queued request");
        let mut act = Some(act);
        let listening = async {
            loop {
                match events.poll().await.expect("a connection") {
                    v5::Event::Incoming(Packet::SubAck(_)) => {
                        let act = act.take().expect("one SUBACK");
                        // `act` runs a runtime of its own, so it needs a thread of its own.
                        std::thread::scope(|scope| drop(scope.spawn(act)));
                    }
                    v5::Event::Incoming(Packet::Publish(message)) => return message,
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, listening).await.expect("a message")
    })
}

/// A server that answers every request with `status` and `body` and hands over what it was sent.
fn server(status: u16, body: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a connection");
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            // The bodies of these tests end with a brace and nothing else does.
            while request.last() != Some(&b'}') {
                let read = socket.read(&mut buffer).expect("a request");
                request.extend_from_slice(&buffer[..read]);
            }
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            socket.write_all(answer.as_bytes()).expect("a client that listens");
            if sender.send(String::from_utf8(request).expect("UTF-8")).is_err() {
                return;
            }
        }
    });
    (address, requests)
}

#[test]
fn a_republished_message_reaches_rules_subscribers_and_files() {
    let site = Site::new();
    rule(
        &site,
        "hot",
        "sql = \"SELECT t FROM 'in/+' WHERE t > 30\"\n[[actions]]\n[actions.republish]\ntopic = \"hot/${topic(2)}\"\n\
         qos = 1\nheaders = { content_type = \"application/json\", user_properties = [{ key = \"rule\", value = \"hot\" }] }",
    );
    rule(
        &site,
        "log",
        "sql = \"SELECT t, topic(2) AS device FROM 'hot/#'\"\nactions = [{ file = { path = \"hot.jsonl\" } }, \
         { timestream = { database_name = \"iot\", table_name = \"hot\", measures = [\"t\"], numeric = \"double\" } }]",
    );
    let daemon = site.start();
    let mqtt = daemon.mqtt;
    let heard = hear(mqtt, "hot/#", || {
        publish(mqtt, Protocol::V311, QoS::AtLeastOnce, "in/cold", r#"{"t":30}"#);
        publish(mqtt, Protocol::V5, QoS::AtLeastOnce, "in/a", r#"{"t":31.00}"#);
    });
    assert_eq!((&heard.topic[..], &heard.payload[..]), (&b"hot/a"[..], &br#"{"t":31}"#[..]));
    let properties = heard.properties.expect("properties");
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.user_properties, [("rule".to_owned(), "hot".to_owned())]);
    assert_eq!(lines(&site, "files/hot.jsonl"), [json!({"t": 31, "device": "a"})]);
    // A whole number first, then one with a fraction: one type all the same.
    publish(mqtt, Protocol::V5, QoS::AtLeastOnce, "in/a", r#"{"t":31.5}"#);
    let rows = daemon.rows("SELECT measure_value::double FROM iot.hot ORDER BY time");
    assert_eq!(rows, [["31.0"], ["31.5"]]);
}

#[test]
fn one_bad_message_is_kept_and_does_not_block_the_next() {
    let site = Site::new();
    site.rule("r", "SELECT v FROM 'in'", "");
    let daemon = site.start();
    publish(daemon.mqtt, Protocol::V311, QoS::AtLeastOnce, "in", "no JSON");
    publish(daemon.mqtt, Protocol::V5, QoS::AtLeastOnce, "in", r#"{"v":1}"#);
    publish(daemon.mqtt, Protocol::V5, QoS::AtLeastOnce, "$aws/rules/nobody/x", r#"{"v":1}"#);
    publish(daemon.mqtt, Protocol::V5, QoS::AtLeastOnce, "$aws/rules/r/x", r#"{"v":2,"device_id":"a"}"#);
    let rows = daemon.rows("SELECT device_id, measure_value::bigint FROM iot.telemetry");
    assert_eq!(rows, [["a", "2"]]);
    let letters = lines(&site, "data/dead_letters.jsonl");
    let told: Vec<(&Value, &Value)> =
        letters.iter().map(|letter| (&letter["topic"], &letter["failures"][0]["failedAction"])).collect();
    let sql = json!("SqlEvaluation");
    assert_eq!(
        told,
        [
            (&json!("in"), &sql),
            (&json!("in"), &json!("TimestreamAction")),
            (&json!("$aws/rules/nobody/x"), &sql)
        ]
    );
    assert_eq!(letters[0]["base64OriginalPayload"], "bm8gSlNPTg==");
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(site.start().stop(), Some(0), "the store does not mind the file");
}

#[test]
fn requests_are_posted_and_what_fails_reaches_the_error_action() {
    let site = Site::new();
    let (good, requests) = server(200, "");
    let (bad, _refused) = server(410, "");
    for (name, address) in [("good", good), ("bad", bad)] {
        let text = format!(
            "sql = \"SELECT v FROM 'in/{name}'\"\nactions = [{{ http = {{ url = \"http://{address}/${{topic(2)}}\" }} }}]\n\
             error_action = {{ republish = {{ topic = \"errors/${{topic()}}\" }} }}"
        );
        rule(&site, name, &text);
    }
    let daemon = site.start();
    let mqtt = daemon.mqtt;
    publish(mqtt, Protocol::V5, QoS::AtLeastOnce, "in/good", r#"{"v":1}"#);
    let request = requests.recv_timeout(PATIENCE).expect("a request");
    assert!(
        request.starts_with("POST /good HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{\"v\":1}"),
        "{request}"
    );
    let heard =
        hear(mqtt, "errors/#", || publish(mqtt, Protocol::V5, QoS::AtLeastOnce, "in/bad", r#"{"v":2}"#));
    assert_eq!(&heard.topic[..], b"errors/in/bad");
    let document: Value = serde_json::from_slice(&heard.payload).expect("JSON");
    assert_eq!(document["failures"][0]["errorMessage"], "the answer is 410 Gone (attempts: 1)");
    assert_eq!(document["clientId"], "device-5");
    assert_eq!(lines(&site, "data/dead_letters.jsonl"), Vec::<Value>::new());
}

#[test]
fn a_statement_asks_a_function_and_rows_hold_its_answer() {
    const FUNCTION: &str = "arn:aws:lambda:eu-west-1:000000000000:function:place";
    let site = Site::new();
    let (address, requests) = server(200, "{\"place\": \"hall\", \"offset\": 0.5}");
    let sql = format!("aws_lambda('{FUNCTION}', {{'device': device_id}})");
    site.rule("r", &format!("SET @f = {sql} SELECT t + @f.offset AS t, @f.place AS place FROM 'in'"), "");
    let (status, _, error) = site.run(&["check"]);
    assert_ne!(status, Some(0));
    assert!(error.contains("[rules.lambda] of the configuration"), "{error}");

    site.configure(&format!(
        "[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [rules.lambda]\n\"{FUNCTION}\" = \"http://{address}/2015-03-31/functions/function/invocations\"\n"
    ));
    assert_eq!(site.run(&["check"]).0, Some(0));
    let daemon = site.start();
    let payload = r#"{"t":20,"device_id":"a"}"#;
    publish(daemon.mqtt, Protocol::V5, QoS::AtLeastOnce, "in", payload);
    let request = requests.recv_timeout(PATIENCE).expect("a request");
    assert!(request.starts_with("POST /2015-03-31/functions/function/invocations HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"device\":\"a\"}"), "{request}");
    let rows =
        "SELECT measure_value::double, measure_value::varchar FROM iot.telemetry ORDER BY measure_name DESC";
    assert_eq!(daemon.rows(rows), [["20.5", "-"], ["-", "hall"]]);
    assert_eq!(daemon.stop(), Some(0));

    std::fs::write(site.path("payload"), payload).expect("a payload");
    let (rule, payload) = (site.path("rules/r.toml"), site.path("payload"));
    let arguments = [rule.to_str(), Some("--topic"), Some("in"), Some("--payload"), payload.to_str()];
    let arguments: Vec<&str> = arguments.into_iter().flatten().collect();
    let (_, told, _) = site.run(&[&["rule", "explain"][..], &arguments].concat());
    assert!(told.contains("needs a call of aws_lambda that a dry run does not make"), "{told}");
}

#[test]
fn an_orderly_stop_keeps_the_requests_that_were_not_sent() {
    let site = Site::new();
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let text = format!(
        "sql = \"SELECT v FROM 'in'\"\nactions = [{{ http = {{ url = \"http://{address}/\", timeout_ms = 300 }} }}]"
    );
    rule(&site, "r", &text);
    let daemon = site.start();
    for number in 0..12 {
        publish(daemon.mqtt, Protocol::V5, QoS::AtLeastOnce, "in", &format!("{{\"v\":{number}}}"));
    }
    assert_eq!(daemon.stop(), Some(0));
    until("twelve dead letters", || lines(&site, "data/dead_letters.jsonl").len() == 12);
}
