//! IoT's paths over a socket: requests as SDKs send them, and what they are answered.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::http::Request as HttpRequest;

use super::*;
use crate::batch_load::BatchLoads;
use crate::buckets::{BucketOptions, Buckets};
use crate::clock::{Clock, ManualClock, ProcessingTime, SystemClock, Timestamp};
use crate::mqtt::{Broker, BrokerOptions, BrokerParts, NoJournal, Recollection};
use crate::pipeline::{Pipeline, PipelineOptions, PipelineParts};
use crate::query::QueryOptions;
use crate::rules::{RuleFolder, RuleOptions, RuleSet};
use crate::schedule::{ScheduleOptions, ScheduleParts};
use crate::store::StoreOptions;

const ARN: &str = "arn:aws:iot:eu-west-1:123456789012:rule/";

/// Every room of a daemon but the listener for MQTT.
struct Site {
    folder: TempDir,
    address: SocketAddr,
    rooms: Rooms,
    stop: Shutdown,
}

/// What came back: status, the error's name, and the JSON, null if there was no body.
type Answer = (u16, Option<String>, Value);

impl Site {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let rules = folder.path().join("rules");
        std::fs::create_dir(&rules).expect("a folder");
        std::fs::write(rules.join("mine.toml"), "sql = \"SELECT t FROM 'mine/+'\"\n").expect("a file");
        let mut files = RuleFolder::new(&rules);
        files.refresh().expect("a readable folder");

        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_123)));
        let data = folder.path().join("data");
        let options = StoreOptions { compatibility: Compatibility::Local, ..StoreOptions::new(data.clone()) };
        let store = Store::open(options, Arc::clone(&clock)).await.expect("a store");
        let times = Arc::new(ProcessingTime::default());
        let (republished, _) = tokio::sync::mpsc::channel(1);
        let (clock_of, times_of) = (Arc::clone(&clock), Arc::clone(&times));
        let parts = PipelineParts { store: store.clone(), clock: clock_of, times: times_of, republished };
        let options = PipelineOptions {
            dead_letters: data.clone(),
            files: data.join("files"),
            hops_max: 1,
            function_timeout: Duration::from_secs(1),
        };
        let pipeline = Pipeline::new(RuleSet::from_rules(Vec::new()), parts, options);
        let swapped = pipeline.clone();
        let swap = Box::new(move |rules| swapped.swap_rules(rules));
        let rulebook =
            Rulebook::open(files, &data.join("rules"), RuleOptions::default(), Arc::clone(&clock), swap)
                .expect("a rulebook");
        let ingest = Arc::new(pipeline.clone());
        let broker = {
            let journal = Arc::new(NoJournal);
            let parts = BrokerParts { ingest, journal, clock: Arc::clone(&clock), times };
            Broker::new(BrokerOptions::default(), parts, Recollection::default())
        };
        let engine = Engine::new(Arc::new(store.clone()), QueryOptions::default(), Arc::clone(&clock));
        let engine = engine.expect("an engine");
        let buckets = Buckets::new(BucketOptions { path: folder.path().join("buckets"), endpoint: None });
        let loading = Shutdown::new();
        let batch_loads = BatchLoads::open(store.clone(), buckets.clone(), Arc::clone(&clock), loading);
        let batch_loads = batch_loads.await.expect("the tasks");
        let parts = ScheduleParts { store: store.clone(), engine: engine.clone(), buckets, clock };
        let schedules = Schedules::open(ScheduleOptions::default(), parts).expect("schedules");
        let upstreams = Vec::new();
        let rooms = Rooms { store, engine, batch_loads, broker, upstreams, rulebook, pipeline, schedules };

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let options = ApiOptions {
            region: "eu-west-1".into(),
            account_id: "123456789012".into(),
            compatibility: Compatibility::Local,
            http: HttpOptions::default(),
        };
        let (api, stop) =
            (Api::new(options, rooms.clone(), Guard::open(Arc::new(SystemClock))), Shutdown::new());
        let stopped = stop.clone();
        stop.spawn(async move { api.serve(listener, None, stopped).await });
        Self { folder, address, rooms, stop }
    }

    /// Sends a request with a body, or without.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = HttpRequest::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let agent = ureq::Agent::from(ureq::Agent::config_builder().http_status_as_error(false).build());
            let mut response =
                if matches!(request.method_ref().map(|method| method.as_str()), Some("GET" | "DELETE")) {
                    agent.run(request.body(()).expect("a request"))
                } else {
                    agent.run(request.body(body).expect("a request"))
                }
                .expect("an answer");
            let code = response
                .headers()
                .get("x-amzn-errortype")
                .map(|code| code.to_str().expect("text").to_owned());
            let text = response.body_mut().read_to_string().expect("text");
            let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") };
            (response.status().as_u16(), code, body)
        });
        asked.await.expect("no panic")
    }

    async fn get(&self, path: &str) -> Value {
        let (status, _, body) = self.send("GET", path, &[], "").await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Sends a request that must succeed without a body.
    async fn done(&self, method: &str, path: &str, body: &Value) {
        let answer = self.send(method, path, &[], &body.to_string()).await;
        assert_eq!(answer, (200, None, Value::Null), "{method} {path}");
    }

    /// Sends a request that must be refused; the text of the refusal.
    async fn refused(&self, method: &str, path: &str, body: &str, status: u16, code: &str) -> String {
        let (got, name, answer) = self.send(method, path, &[], body).await;
        assert_eq!((got, name.as_deref()), (status, Some(code)), "{method} {path}: {answer}");
        answer["message"].as_str().expect("a text").to_owned()
    }

    async fn stop(self) {
        assert_eq!(self.stop.stop(Duration::from_secs(5)).await, 0);
        self.rooms.engine.shutdown().await;
        self.rooms.store.close().await.expect("closed");
    }
}

fn payload() -> Value {
    json!({
        "sql": "SELECT t FROM 'plant/+'",
        "description": "d",
        "actions": [{ "timestream": {
            "roleArn": "arn:aws:iam::123456789012:role/r",
            "databaseName": "iot",
            "tableName": "readings",
            "dimensions": [{ "name": "device", "value": "${topic(2)}" }],
        } }],
        "ruleDisabled": false,
        "awsIotSqlVersion": "2016-03-23",
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_lives_through_the_api() {
    let site = Site::start().await;
    let tags = ("x-amz-tagging", "team=a&cost%20centre=7");
    let answer = site.send("POST", "/rules/r_1", &[tags], &payload().to_string()).await;
    assert_eq!(answer, (200, None, Value::Null));

    let mut rule = payload();
    rule["ruleName"] = json!("r_1");
    rule["createdAt"] = json!(1_700_000_000.123);
    assert_eq!(site.get("/rules/r_1").await, json!({ "ruleArn": format!("{ARN}r_1"), "rule": rule }));
    let tags = site.get("/tags?resourceArn=arn:aws:iot:us-east-2:1:rule/r_1").await;
    assert_eq!(
        tags,
        json!({ "tags": [{ "Key": "cost centre", "Value": "7" }, { "Key": "team", "Value": "a" }] })
    );
    let tagging = json!({ "resourceArn": format!("{ARN}r_1"), "tags": [{ "Key": "team", "Value": "b" }] });
    assert_eq!(site.send("POST", "/tags", &[], &tagging.to_string()).await.2, json!({}));
    let untagging = json!({ "resourceArn": format!("{ARN}r_1"), "tagKeys": ["cost centre"] });
    assert_eq!(site.send("POST", "/untag", &[], &untagging.to_string()).await.2, json!({}));
    let tags = site.get("/tags?resourceArn=arn:aws:iot:us-east-2:1:rule/r_1").await;
    assert_eq!(tags, json!({ "tags": [{ "Key": "team", "Value": "b" }] }));

    // It is live: what is published now becomes a row, answered when it is durable.
    assert_eq!(site.send("POST", "/topics/plant%2Fp1?qos=1", &[], r#"{"t": 1.5}"#).await.0, 200);
    assert!(site.rooms.store.has_table("iot", "readings"));

    site.done("POST", "/rules/r_1/disable", &json!({})).await;
    assert_eq!(site.get("/rules/r_1").await["rule"]["ruleDisabled"], true);
    site.done("POST", "/rules/r_1/enable", &json!({})).await;
    site.done("PATCH", "/rules/r_1", &json!({ "sql": "SELECT t FROM 'other'", "actions": [] })).await;
    let rule = site.get("/rules/r_1").await["rule"].clone();
    assert_eq!(rule["sql"], "SELECT t FROM 'other'");
    assert_eq!((&rule["awsIotSqlVersion"], &rule["description"]), (&json!("2015-10-08"), &Value::Null));
    site.done("DELETE", "/rules/r_1", &Value::Null).await;
    site.refused("GET", "/rules/r_1", "", 401, "UnauthorizedException").await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_listed_page_by_page() {
    let site = Site::start().await;
    for (name, filter) in [("b", "a/+"), ("a", "a/b"), ("c", "x/#")] {
        let rule =
            json!({ "sql": format!("SELECT * FROM '{filter}'"), "actions": [], "ruleDisabled": name == "c" });
        site.done("POST", &format!("/rules/{name}"), &rule).await;
    }
    let names = |answer: &Value| -> Vec<String> {
        let rules = answer["rules"].as_array().expect("rules");
        rules.iter().map(|rule| rule["ruleName"].as_str().expect("a name").to_owned()).collect()
    };
    let first = site.get("/rules?maxResults=3").await;
    assert_eq!(names(&first), ["a", "b", "c"]);
    let item = json!({ "ruleArn": format!("{ARN}a"), "ruleName": "a", "topicPattern": "a/b",
        "ruleDisabled": false, "createdAt": 1_700_000_000.123 });
    assert_eq!(first["rules"][0], item);
    let token = first["nextToken"].as_str().expect("a token");
    let last = site.get(&format!("/rules?maxResults=3&nextToken={token}")).await;
    assert_eq!((names(&last), &last["nextToken"]), (vec!["mine".to_owned()], &Value::Null));
    assert_eq!(names(&site.get("/rules?topic=a%2Fb").await), ["a", "b"]);
    assert_eq!(names(&site.get("/rules?topic=a%2F%2B").await), ["b"]);
    assert_eq!(names(&site.get("/rules?ruleDisabled=true").await), ["c"]);
    for query in ["maxResults=0", "maxResults=10001", "nextToken=zz", "ruleDisabled=1"] {
        site.refused("GET", &format!("/rules?{query}"), "", 400, "InvalidRequestException").await;
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_aws_s() {
    let site = Site::start().await;
    let good = payload().to_string();
    site.done("POST", "/rules/r", &payload()).await;
    let (status, code, body) = site.send("POST", "/rules/r", &[], &good).await;
    assert_eq!((status, code.as_deref()), (409, Some("ResourceAlreadyExistsException")));
    assert_eq!((&body["resourceId"], &body["resourceArn"]), (&json!("r"), &json!(format!("{ARN}r"))));

    let invalid = "InvalidRequestException";
    let huge = format!(r#"{{"sql": "SELECT * FROM 'a'", "description": "{}"}}"#, "x".repeat(128 * 1024));
    let cases = [
        ("POST", "/rules/a-b", &*good, 400, invalid, "Value 'a-b' at 'ruleName'"),
        (
            "POST",
            "/rules/x",
            r#"{"sql": "SEECT * FROM 'a'", "actions": []}"#,
            400,
            "SqlParseException",
            "sql: ",
        ),
        (
            "POST",
            "/rules/x",
            r#"{"sql": "SELECT * FROM 'a'", "actions": [{"s3": {}}]}"#,
            400,
            invalid,
            "`s3`",
        ),
        ("POST", "/rules/x", "not JSON", 400, invalid, "line 1"),
        ("POST", "/rules/x", &huge, 400, invalid, "at most 131072 bytes"),
        ("PATCH", "/rules/x", &good, 401, "UnauthorizedException", "Access to topic rule 'x' was denied"),
        ("DELETE", "/rules/x", "", 401, "UnauthorizedException", "Access to topic rule 'x'"),
        ("POST", "/rules/x/enable", "", 401, "UnauthorizedException", "Access to topic rule 'x'"),
        ("POST", "/rules/mine", &good, 409, "ResourceAlreadyExistsException", "mine.toml"),
        ("PATCH", "/rules/mine", &good, 400, invalid, "mine.toml: change that file"),
        ("DELETE", "/rules/mine", "", 400, invalid, "mine.toml: change that file"),
        ("POST", "/rules/mine/disable", "", 400, invalid, "mine.toml: change that file"),
        ("PUT", "/rules/x", "", 405, "MethodNotAllowedException", "no such operation"),
        ("GET", "/endpoint?endpointType=iot:Jobs", "", 400, invalid, "\"iot:Jobs\""),
        ("GET", "/tags?resourceArn=x", "", 400, invalid, "must look like arn:aws:iot:eu-west-1:"),
        ("POST", "/topics/a%2F%23", "", 400, invalid, "wildcards"),
        ("POST", "/topics/a?qos=2", "", 400, invalid, "qos must be 0 or 1"),
        ("POST", "/topics/a?retain=yes", "", 400, invalid, "retain must be true or false"),
        ("POST", "/topics/a?messageExpiry=-1", "", 400, invalid, "messageExpiry"),
        ("POST", "/topics/a", &huge, 413, "RequestEntityTooLargeException", "131072"),
        ("GET", "/retainedMessage/a", "", 404, "ResourceNotFoundException", "topic: a"),
        ("GET", "/retainedMessage?maxResults=251", "", 400, invalid, "maxResults"),
        ("GET", "/retainedMessage?nextToken=x", "", 400, invalid, "nextToken"),
    ];
    for (method, path, body, status, code, expected) in cases {
        let message = site.refused(method, path, body, status, code).await;
        assert!(message.contains(expected), "{method} {path}: {message}");
    }
    let unchanged = std::fs::read_to_string(site.folder.path().join("rules/mine.toml")).expect("the file");
    assert_eq!(unchanged, "sql = \"SELECT t FROM 'mine/+'\"\n");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_carries_what_mqtt_5_carries() {
    let site = Site::start().await;
    let user = BASE64.encode(r#"[{"k":"1"},{"k":"2"}]"#);
    let headers = [
        ("x-amz-mqtt5-user-properties", user.as_str()),
        ("x-amz-mqtt5-payload-format-indicator", "UTF8_DATA"),
        ("x-amz-mqtt5-correlation-data", "AQI="),
    ];
    let path = "/topics/%2Fa%20b%2Fc?qos=1&retain=true&contentType=text%2Fplain&responseTopic=r%2F1&messageExpiry=60";
    assert_eq!(site.send("POST", path, &headers, "hello").await.0, 200);
    let topic = crate::topic::TopicName::new("/a b/c").expect("a topic");
    let message = site.rooms.broker.retained(&topic).expect("retained");
    let given = &message.properties;
    assert_eq!(given.user, [("k".to_owned(), "1".to_owned()), ("k".to_owned(), "2".to_owned())]);
    assert_eq!((given.payload_is_utf8, given.expiry_seconds), (Some(true), Some(60)));
    assert_eq!(
        (given.content_type.as_deref(), given.response_topic.as_deref()),
        (Some("text/plain"), Some("r/1"))
    );
    assert_eq!(given.correlation_data.as_deref(), Some([1, 2].as_slice()));
    assert_eq!((message.origin.client_id.clone(), message.origin.address), (None, Some(site.address.ip())));

    let expected = json!({ "topic": "/a b/c", "qos": 1, "lastModifiedTime": 1_700_000_000_123_u64,
        "payload": BASE64.encode("hello"), "userProperties": BASE64.encode(r#"[{"k":"1"},{"k":"2"}]"#) });
    assert_eq!(site.get("/retainedMessage/%2Fa%20b%2Fc").await, expected);

    // Slashes as they are, and user properties as a text within the JSON.
    let quoted = BASE64.encode(r#""[{\"k\":\"v\"}]""#);
    let headers = [("x-amz-mqtt5-user-properties", quoted.as_str())];
    assert_eq!(site.send("POST", "/topics//x/y?retain=true", &headers, "1").await.0, 200);
    let first = site.get("/retainedMessage?maxResults=1").await;
    assert_eq!(first["retainedTopics"][0]["topic"], "/a b/c");
    assert_eq!(first["retainedTopics"][0]["payloadSize"], 5);
    let token = first["nextToken"].as_str().expect("a token");
    let last = site.get(&format!("/retainedMessage?maxResults=1&nextToken={token}")).await;
    assert_eq!((&last["retainedTopics"][0]["topic"], &last["nextToken"]), (&json!("/x/y"), &Value::Null));
    for bad in [
        "x-amz-mqtt5-user-properties",
        "x-amz-mqtt5-correlation-data",
        "x-amz-mqtt5-payload-format-indicator",
    ] {
        let (status, code, _) = site.send("POST", "/topics/a", &[(bad, "!")], "").await;
        assert_eq!((status, code.as_deref()), (400, Some("InvalidRequestException")), "{bad}");
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_tells_about_itself() {
    let site = Site::start().await;
    let host = site.address.to_string();
    for kind in ["", "?endpointType=iot:Data-ATS", "?endpointType=iot%3AData"] {
        assert_eq!(site.get(&format!("/endpoint{kind}")).await, json!({ "endpointAddress": host }));
    }
    assert_eq!(site.get("/health").await, json!({ "status": "ok" }));
    std::fs::write(site.folder.path().join("rules/mine.toml"), "sql = 1").expect("a file");
    site.rooms.rulebook.look();
    let health = site.get("/health").await;
    assert_eq!(health["status"], "degraded");
    let problem = health["reasons"][0].as_str().expect("a text");
    assert!(problem.contains("mine.toml:1: ") && problem.contains("stays in use"), "{problem}");

    site.done("POST", "/rules/r", &payload()).await;
    site.send("POST", "/topics/plant%2Fp", &[], r#"{"t": 9223372036854775808}"#).await;
    let told = site.get("/metrics.json").await;
    assert_eq!(told["metrics"]["tidemill_messages_received_total"], 1);
    assert_eq!(told["metrics"]["tidemill_rules"][1], json!({ "origin": "api", "value": 1 }));
    assert_eq!(told["problems"], health["reasons"]);
    for (name, expected) in [
        ("tidemill_batch_load_tasks", json!({ "status": "CREATED", "value": 0 })),
        ("tidemill_scheduled_queries", json!({ "state": "ENABLED", "value": 0 })),
        ("tidemill_scheduled_query_runs_total", json!({ "status": "AUTO_TRIGGER_SUCCESS", "value": 0 })),
    ] {
        assert_eq!(told["metrics"][name][0], expected, "{name}");
    }
    let of_rule = |name: &str| {
        let rules = told["rules"].as_array().expect("rules");
        rules.iter().find(|rule| rule["rule"] == name).expect("the rule").clone()
    };
    let counted = of_rule("r");
    assert_eq!(
        (&counted["matched"], &counted["fired"], &counted["records"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(counted["actions"]["timestream"], json!({ "successes": 0, "failures": 1 }));
    let error = &counted["lastError"];
    assert!(error["text"].as_str().is_some_and(|text| text.contains("is outside the range")), "{error}");
    assert_eq!(error["at"], 1_700_000_000.123);
    let address = site.address;
    let text = tokio::task::spawn_blocking(move || {
        let mut response = ureq::get(format!("http://{address}/metrics")).call().expect("an answer");
        let kind = response.headers()["content-type"].to_str().expect("text").to_owned();
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
        response.body_mut().read_to_string().expect("text")
    });
    let text = text.await.expect("no panic");
    let expected = "# HELP tidemill_rules Rules in use, by what defines them.\n# TYPE tidemill_rules gauge\n\
        tidemill_rules{origin=\"file\"} 1\ntidemill_rules{origin=\"api\"} 1\n";
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains(
            "# TYPE tidemill_messages_received_total counter\ntidemill_messages_received_total 1\n"
        )
    );
    site.stop().await;
}
