//! `tidemill rule eval --cases`: many statements, each with its own message; a line in, a line out.
//!
//! A line is an object with `sql`, `topic`, `payload` and, if need be, `id`, `sql_version`,
//! `payload_text`, `payload_encoding`, `rule_name` and `context`; other members are passed over. The
//! answer is `{"id": …, "result": …}`, where `"undefined"` stands for no outgoing payload, or
//! `{"id": …, "error": "…"}`. A line that is no case is answered with its number and an error; it stops nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CLIENT_ID, eval};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::message::{Message, Origin, Properties, QoS};
use crate::rules::{RuleOptions, StandIns, Version};
use crate::topic::TopicName;

#[derive(Debug, Deserialize)]
struct Case {
    #[serde(default)]
    id: Value,
    sql: String,
    sql_version: Option<String>,
    topic: String,
    payload: Option<Value>,
    /// The payload as it is, where JSON in JSON would not keep it.
    payload_text: Option<String>,
    payload_encoding: Option<String>,
    /// The rule's name, for topics of Basic Ingest.
    rule_name: Option<String>,
    #[serde(default)]
    context: Surroundings,
}

/// What a statement can ask about beside topic and payload.
#[derive(Debug, Default, Deserialize)]
struct Surroundings {
    client_id: Option<String>,
    account_id: Option<String>,
    source_ip: Option<IpAddr>,
    /// `http`: the message did not come over MQTT.
    protocol: Option<String>,
    /// The processing time in milliseconds since 1970.
    now: Option<i64>,
    principal: Option<String>,
    trace_id: Option<String>,
    mqtt5: Option<Mqtt5>,
}

#[derive(Debug, Deserialize)]
struct Mqtt5 {
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data_base64: Option<String>,
    format_indicator: Option<u8>,
    #[serde(default)]
    user_properties: Vec<(String, String)>,
}

/// Evaluates every line of the file at `path`, which is standard input if it is `-`.
pub(super) fn cases(path: &Path, stand_ins: &StandIns) -> anyhow::Result<ExitCode> {
    let input: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).with_context(|| format!("--cases {}", path.display()))?;
        Box::new(BufReader::new(file))
    };
    let mut out = BufWriter::new(io::stdout().lock());
    answer(input, &mut out, stand_ins)
        .and_then(|()| out.flush())
        .context("cannot go on reading or writing")?;
    Ok(ExitCode::SUCCESS)
}

fn answer(input: impl BufRead, out: &mut impl Write, stand_ins: &StandIns) -> io::Result<()> {
    for (number, line) in (1_u64..).zip(input.split(b'\n')) {
        let line = line?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Case>(&line) {
            Ok(case) => {
                let id = case.id.clone();
                match evaluate(case, stand_ins) {
                    // Written out by hand, so that numbers keep the text the rule gave them.
                    Ok(result) => writeln!(out, "{{\"id\":{id},\"result\":{result}}}")?,
                    Err(reason) => writeln!(out, "{}", json!({ "id": id, "error": reason }))?,
                }
            }
            Err(error) => {
                let id =
                    serde_json::from_slice::<Value>(&line).map_or(Value::Null, |case| case["id"].clone());
                let reason = format!("this line is no case: {error}");
                writeln!(out, "{}", json!({ "id": id, "line": number, "error": reason }))?;
            }
        }
    }
    Ok(())
}

fn evaluate(case: Case, stand_ins: &StandIns) -> Result<String, String> {
    let name = case.rule_name.as_deref().unwrap_or("rule");
    let version = case.sql_version.as_deref().unwrap_or(Version::V2016.as_str());
    let rule = eval::statement(name, &case.sql, version, stand_ins).map_err(|error| error.to_string())?;
    let mut options = RuleOptions::default();
    if let Some(account) = &case.context.account_id {
        options.account_id.clone_from(account);
    }
    let result = eval::outgoing(rule, &message(case)?, options)?;
    Ok(if result == eval::UNDEFINED { json!(eval::UNDEFINED).to_string() } else { result })
}

fn message(case: Case) -> Result<Message, String> {
    let payload = match (case.payload_text, case.payload) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(Value::String(text))) if case.payload_encoding.as_deref() == Some("base64") => {
            BASE64.decode(text).map_err(|error| format!("the payload is not base64: {error}"))?
        }
        (None, payload) => payload.map_or_else(Vec::new, |payload| payload.to_string().into_bytes()),
    };
    let Surroundings { client_id, source_ip, protocol, now, principal, trace_id, mqtt5, .. } = case.context;
    let trace_id = trace_id.map(|text| text.parse().map_err(|error| format!("trace_id {text:?}: {error}")));
    let over_mqtt = protocol.as_deref() != Some("http");
    let client_id = over_mqtt.then(|| client_id.unwrap_or_else(|| CLIENT_ID.to_owned()).into());
    Ok(Message {
        topic: TopicName::new(case.topic.as_str())
            .map_err(|error| format!("topic {:?}: {error}", case.topic))?,
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: mqtt5.map_or_else(|| Ok(Properties::default()), properties)?,
        origin: Origin {
            client_id,
            address: source_ip,
            principal: principal.map(Into::into),
            trace_id: trace_id.transpose()?,
        },
        received: now.map_or_else(|| SystemClock.now(), Timestamp::from_millis),
    })
}

fn properties(given: Mqtt5) -> Result<Properties, String> {
    let correlation_data = given.correlation_data_base64.map(|text| BASE64.decode(text).map(Bytes::from));
    Ok(Properties {
        payload_is_utf8: given.format_indicator.map(|indicator| indicator == 1),
        expiry_seconds: None,
        content_type: given.content_type,
        response_topic: given.response_topic,
        correlation_data: correlation_data
            .transpose()
            .map_err(|error| format!("correlation_data_base64 is not base64: {error}"))?,
        user: given.user_properties,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_answer_whatever_it_is() {
        let input = concat!(
            r#"{"id":"a","sql":"SELECT x FROM 'a/b'","sql_version":"2015-10-08","topic":"a/b","payload":{"x":1},"payload_text":"{\"x\": 10.0}"}"#,
            "\n\n",
            r#"{"id":2,"sql":"SELECT x FROM 'other'","topic":"a/b","payload":{}}"#,
            "\n",
            r#"{"id":"bad","sql":"SEECT","topic":"a","payload":{}}"#,
            "\nnot JSON\n",
            r#"{"id":"short"}"#,
            "\n\u{fffd}\n",
            r#"{"id":"topic","sql":"SELECT * FROM 'a'","topic":"a/+","payload":{}}"#,
            "\n",
            r#"{"id":"bi","sql":"SELECT VALUE topic(2) FROM 'z'","topic":"$aws/rules/R1/a/x","payload":{},"rule_name":"R1"}"#,
            "\n",
            r#"{"id":"b64","sql":"SELECT VALUE encode(*, 'base64') FROM 'a'","topic":"a","payload":"/wA=","payload_encoding":"base64"}"#,
            "\n",
            r#"{"id":"ctx","sql":"SELECT clientid() AS c, accountid() AS a, sourceip() AS s, timestamp() AS t, get_user_properties('k') AS u, get_mqtt_property('correlation_data') AS d FROM 'a'","topic":"a","payload":{},"context":{"protocol":"http","account_id":"1","source_ip":"::1","now":7,"mqtt5":{"user_properties":[["k","v"]],"correlation_data_base64":"AQ=="}}}"#,
        );
        let mut out = Vec::new();
        answer(input.as_bytes(), &mut out, &StandIns::default()).expect("written");
        let out = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = out.lines().collect();
        let [a, other, bad, noise, short, replacement, topic, ingest, base64, surroundings] = lines[..]
        else {
            panic!("{lines:#?}")
        };
        assert_eq!(a, r#"{"id":"a","result":{"x":10.0}}"#);
        assert_eq!(other, r#"{"id":2,"result":"undefined"}"#);
        assert!(bad.starts_with(r#"{"error":"sql: "#) && bad.ends_with(r#","id":"bad"}"#), "{bad}");
        assert!(noise.contains(r#""id":null,"line":5"#), "{noise}");
        assert!(short.contains("missing field `sql`") && short.contains(r#""id":"short""#), "{short}");
        assert!(replacement.contains("this line is no case"), "{replacement}");
        assert!(topic.contains("wildcards"), "{topic}");
        assert_eq!(ingest, r#"{"id":"bi","result":"x"}"#);
        assert_eq!(base64, r#"{"id":"b64","result":"/wA="}"#);
        let expected = r#"{"id":"ctx","result":{"c":"n/a","a":"1","s":"::1","t":7,"u":["v"],"d":"AQ=="}}"#;
        assert_eq!(surroundings, expected);
    }
}
