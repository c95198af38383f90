//! `tidemill rule explain`: what a rule would do with a message, without doing it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat};

use super::{MessageArguments, eval};
use crate::clock::Timestamp;
use crate::message::Message;
use crate::record::{Measure, MeasureValue, Record};
use crate::rules::{Effect, Outgoing, Rule, RuleOptions, RuleSet, StandIns};

/// Reads the rule and the message and prints what would happen.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the command's result")]
pub(super) fn explain(
    path: &Path,
    arguments: &MessageArguments,
    stand_ins: &StandIns,
) -> anyhow::Result<ExitCode> {
    let message = arguments.message()?;
    match read_rule(path, stand_ins) {
        Ok(rule) => {
            print!("{}", explanation(rule, &message));
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The rule in the file at `path`, or a sentence for each thing that is wrong with it.
pub(super) fn read_rule(path: &Path, stand_ins: &StandIns) -> Result<Rule, Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| vec![format!("{}: {error}", path.display())])?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let json = path.extension().is_some_and(|extension| extension == "json");
    let parsed = if json {
        Rule::parse_json_with(&name, &text, stand_ins)
    } else {
        Rule::parse_toml_with(&name, &text, stand_ins)
    };
    parsed.map_err(|error| {
        let place = |line: Option<u64>| line.map_or_else(String::new, |line| format!("{line}:"));
        let told = error.mistakes.iter();
        told.map(|mistake| format!("{}:{} {}", path.display(), place(mistake.line), mistake.reason)).collect()
    })
}

fn explanation(rule: Rule, message: &Message) -> String {
    let (name, filter) = (rule.name().to_string(), rule.topic_filter().map(str::to_owned));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "rule {name}, SQL {}: {}", rule.version(), rule.sql());
    for remark in rule.remarks() {
        let _ = writeln!(out, "remark: {remark}");
    }
    let disabled = rule.is_disabled();
    let rules = RuleSet::with_options(vec![rule], &RuleOptions::default());
    if !rules.reaches(&name, &message.topic) {
        let listens =
            filter.map_or_else(|| "has no FROM".to_owned(), |filter| format!("listens to {filter}"));
        let _ = writeln!(out, "nothing happens: the rule {listens} and does not see {}", message.topic);
        return out;
    }
    match rules.outgoing(&name, message) {
        None | Some(Outgoing::NotFired) => out.push_str("nothing happens: WHERE is not true\n"),
        Some(outgoing) => {
            let _ = writeln!(out, "outgoing {}", eval::printed(outgoing).unwrap_or_else(|reason| reason));
            if disabled {
                out.push_str("nothing happens: the rule is disabled\n");
            }
        }
    }
    for effect in rules.evaluate(message).iter().flat_map(|run| &run.effects) {
        describe(effect, &mut out);
    }
    out
}

fn describe(effect: &Effect, out: &mut String) {
    let _ = match effect {
        Effect::Write(write) => {
            let batch = &write.batch;
            let created = if write.create { ", made if missing" } else { "" };
            let _ = writeln!(out, "timestream {}.{}{created}", batch.database, batch.table);
            batch.records.iter().try_for_each(|record| describe_record(record, out))
        }
        Effect::Republish(republish) => {
            let text = String::from_utf8_lossy(&republish.payload);
            writeln!(out, "republish to {}: {text}", republish.topic)
        }
        Effect::Http(post) => {
            let text = String::from_utf8_lossy(&post.body);
            let headers: Vec<String> = post.headers.iter().map(|(name, _)| format!(", {name}: …")).collect();
            writeln!(out, "http POST {}{}: {text}", post.url, headers.concat())
        }
        Effect::File(line) => writeln!(out, "file {}: {}", line.path, line.line),
        Effect::Failed(failure) => {
            let action = failure.action.map_or_else(|| "the rule".to_owned(), |action| action.to_string());
            writeln!(out, "{action} fails: {}", failure.reason)
        }
    };
}

fn describe_record(record: &Record, out: &mut String) -> std::fmt::Result {
    write!(out, "  {}", record.measure_name)?;
    match &record.measure {
        Measure::Single(value) => write!(out, " {}", typed(value))?,
        Measure::Multi(attributes) => {
            for attribute in attributes {
                write!(out, " {}={}", attribute.name, typed(&attribute.value))?;
            }
        }
    }
    write!(out, ", time {}", iso(record.time))?;
    if record.version != crate::record::DEFAULT_VERSION {
        write!(out, ", version {}", record.version)?;
    }
    for dimension in record.dimensions.iter() {
        write!(out, ", {}={:?}", dimension.name, dimension.value)?;
    }
    out.push('\n');
    Ok(())
}

/// A value behind its type.
fn typed(value: &MeasureValue) -> String {
    let kind = value.measure_type().sql_name().to_uppercase();
    match value {
        MeasureValue::Double(number) => format!("{kind} {number:?}"),
        MeasureValue::Bigint(number) => format!("{kind} {number}"),
        MeasureValue::Varchar(text) => format!("{kind} {text:?}"),
        MeasureValue::Boolean(value) => format!("{kind} {value}"),
        MeasureValue::Timestamp(moment) => format!("{kind} {}", iso(*moment)),
    }
}

fn iso(moment: Timestamp) -> String {
    DateTime::from_timestamp_nanos(moment.nanos()).to_rfc3339_opts(SecondsFormat::Nanos, true)
}
