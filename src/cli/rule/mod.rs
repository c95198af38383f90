//! `tidemill rule`: rules without a daemon. What is asked for goes to standard output, complaints to
//! standard error; exit code 1 says that a statement, a rule or an example is wrong.

mod cases;
mod eval;
mod examples;
mod explain;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, Subcommand};

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::Config;
use crate::message::{Message, Origin, Properties, QoS};
use crate::rules::StandIns;
use crate::topic::TopicName;

/// The client id of messages for which none is given.
const CLIENT_ID: &str = "client";

#[derive(Debug, Subcommand)]
pub(super) enum RuleCommand {
    /// Print what a statement makes of a message: one line of JSON, or `undefined`
    Eval {
        #[command(flatten)]
        single: eval::Single,
        /// Evaluate a file of cases instead, a JSON object on each line; print one result line for each
        #[arg(long, value_name = "FILE", conflicts_with_all = ["sql", "topic", "payload"])]
        cases: Option<PathBuf>,
    },
    /// Show what a rule would do with a message: records, types, dimensions, time
    Explain {
        /// The rule's file, TOML or JSON
        #[arg(value_name = "FILE")]
        rule: PathBuf,
        #[command(flatten)]
        message: MessageArguments,
    },
    /// Run the examples that stand in rule files
    Test {
        /// A rule file or a folder of them; without it the folder the configuration names
        #[arg(value_name = "PATH")]
        path: Option<PathBuf>,
    },
}

/// A message on the command line.
#[derive(Debug, Args)]
pub(super) struct MessageArguments {
    /// The topic the message is published to
    #[arg(long)]
    topic: String,
    /// The file with the payload; `-` is standard input
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
    #[command(flatten)]
    origin: OriginArguments,
}

/// Where and when a message came from.
#[derive(Debug, Args)]
pub(super) struct OriginArguments {
    /// The MQTT client id of the publisher
    #[arg(long, value_name = "ID", default_value = CLIENT_ID)]
    client_id: String,
    /// When the message arrived, in milliseconds since 1970; without it, now
    #[arg(long, value_name = "MILLIS", allow_negative_numbers = true)]
    at: Option<i64>,
}

/// Runs a command.
///
/// # Errors
/// When what the command line names cannot be used.
pub(super) fn run(command: RuleCommand, config: &Path) -> anyhow::Result<ExitCode> {
    match command {
        RuleCommand::Eval { cases: Some(path), .. } => cases::cases(&path, &stand_ins(config)),
        RuleCommand::Eval { single, cases: None } => eval::eval(&single, &stand_ins(config)),
        RuleCommand::Explain { rule, message } => explain::explain(&rule, &message, &stand_ins(config)),
        RuleCommand::Test { path } => examples::test(path.as_deref(), config),
    }
}

/// What the configuration says stands in for other services. A statement can be tried without one.
fn stand_ins(config: &Path) -> StandIns {
    Config::load(config).map_or_else(|_| StandIns::default(), |config| config.rules.stand_ins())
}

impl MessageArguments {
    fn message(&self) -> anyhow::Result<Message> {
        message(&self.topic, &self.payload, &self.origin)
    }
}

fn message(topic: &str, payload: &Path, origin: &OriginArguments) -> anyhow::Result<Message> {
    Ok(Message {
        topic: TopicName::new(topic).with_context(|| format!("--topic {topic:?}"))?,
        payload: read(payload).with_context(|| format!("--payload {}", payload.display()))?,
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Properties::default(),
        origin: Origin { client_id: Some(origin.client_id.as_str().into()), ..Origin::default() },
        received: origin.at.map_or_else(|| SystemClock.now(), Timestamp::from_millis),
    })
}

fn read(path: &Path) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.read_to_end(&mut bytes)?;
    }
    Ok(bytes.into())
}
