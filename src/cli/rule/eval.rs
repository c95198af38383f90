//! `tidemill rule eval`: one statement over one message.

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use serde_json::json;

use super::{OriginArguments, message};
use crate::message::Message;
use crate::rules::{Outgoing, Rule, RuleError, RuleOptions, RuleSet, StandIns, Version};

/// The name of a rule made of a bare statement.
const NAME: &str = "statement";
/// What stands for no outgoing payload.
pub(super) const UNDEFINED: &str = "undefined";

/// The arguments of a single evaluation.
#[derive(Debug, Args)]
pub(crate) struct Single {
    /// The statement
    #[arg(long, required_unless_present = "cases")]
    sql: Option<String>,
    /// The topic the message is published to
    #[arg(long, required_unless_present = "cases")]
    topic: Option<String>,
    /// The file with the payload; `-` is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "cases")]
    payload: Option<PathBuf>,
    /// The version of the language: 2016-03-23, 2015-10-08 or beta
    #[arg(long, value_name = "VERSION", default_value = Version::V2016.as_str())]
    sql_version: String,
    #[command(flatten)]
    origin: OriginArguments,
}

/// Evaluates the statement and prints what comes of it.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the command's result")]
pub(super) fn eval(arguments: &Single, stand_ins: &StandIns) -> anyhow::Result<ExitCode> {
    let Single { sql: Some(sql), topic: Some(topic), payload: Some(payload), sql_version, origin } =
        arguments
    else {
        anyhow::bail!("--sql, --topic and --payload belong together");
    };
    let message = message(topic, payload, origin)?;
    let outcome = statement(NAME, sql, sql_version, stand_ins).map_err(|error| error.to_string());
    match outcome.and_then(|rule| outgoing(rule, &message, RuleOptions::default())) {
        Ok(text) => {
            println!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        Err(reason) => {
            eprintln!("{reason}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// A rule without actions.
pub(super) fn statement(
    name: &str,
    sql: &str,
    version: &str,
    stand_ins: &StandIns,
) -> Result<Rule, RuleError> {
    let payload = json!({ "sql": sql, "awsIotSqlVersion": version, "actions": [] });
    Rule::parse_json_with(name, &payload.to_string(), stand_ins)
}

/// What `rule` makes of `message` as JSON; `undefined` if there is nothing to send. Bytes that are no
/// JSON are a text if they can be, or else an object that holds them in base64.
///
/// # Errors
/// When the rule fails.
pub(super) fn outgoing(rule: Rule, message: &Message, options: RuleOptions) -> Result<String, String> {
    let name = rule.name().to_string();
    let rules = RuleSet::with_options(vec![rule], &options);
    if !rules.reaches(&name, &message.topic) {
        return Ok(UNDEFINED.to_owned());
    }
    printed(rules.outgoing(&name, message).unwrap_or(Outgoing::NotFired))
}

/// An outgoing payload as one line.
///
/// # Errors
/// When the statement failed, or needs what a dry run does not ask for.
pub(super) fn printed(outgoing: Outgoing) -> Result<String, String> {
    match outgoing {
        Outgoing::NotFired | Outgoing::Undefined => Ok(UNDEFINED.to_owned()),
        Outgoing::Json(text) => Ok(text),
        Outgoing::Bytes(bytes) => Ok(match std::str::from_utf8(&bytes) {
            Ok(text) => json!(text).to_string(),
            Err(_) => json!({ "base64": BASE64.encode(&bytes) }).to_string(),
        }),
        Outgoing::Failed(reason) => Err(reason.to_string()),
        Outgoing::Asks(call) => Err(format!("the statement needs {}", call.unanswered())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::message::{Origin, Properties, QoS};
    use crate::topic::TopicName;

    fn evaluated(sql: &str, payload: &'static [u8]) -> Result<String, String> {
        let message = Message {
            topic: TopicName::new("a/b").expect("a topic"),
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: Properties::default(),
            origin: Origin::default(),
            received: Timestamp::from_millis(5),
        };
        let rule =
            statement("r", sql, "2015-10-08", &StandIns::default()).map_err(|error| error.to_string())?;
        outgoing(rule, &message, RuleOptions::default())
    }

    #[test]
    fn what_is_printed_is_the_outgoing_payload() {
        let cases: [(&str, &[u8], &str); 8] = [
            ("SELECT x, timestamp() AS t FROM 'a/+'", br#"{"x": 10.0}"#, r#"{"x":10.0,"t":5}"#),
            ("SELECT VALUE x FROM 'a/+'", br#"{"x": "e\n"}"#, r#""e\n""#),
            ("SELECT VALUE y FROM 'a/+'", br#"{"x": 1}"#, "undefined"),
            ("SELECT x FROM 'a/+' WHERE x > 1", br#"{"x": 1}"#, "undefined"),
            ("SELECT x FROM 'other'", br#"{"x": 1}"#, "undefined"),
            ("SELECT y FROM 'a/b'", br#"{"x": 1}"#, "{}"),
            ("SELECT * FROM 'a/b'", b"plain", r#""plain""#),
            ("SELECT * FROM 'a/b'", b"\xff\x00", r#"{"base64":"/wA="}"#),
        ];
        for (sql, payload, expected) in cases {
            assert_eq!(evaluated(sql, payload).as_deref(), Ok(expected), "{sql}");
        }
        let error = evaluated("SELECT FROM", b"{}").expect_err("refused");
        assert!(error.starts_with("sql: "), "{error}");
    }
}
