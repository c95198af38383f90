//! Runs the cases of `tests/rules/*.toml`: a rule and a message in, the effects out.
//!
//! With UPDATE=1 in the environment the expectations are rewritten instead of compared.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::super::{Effect, FileLine, HttpPost, Outgoing, Republish, Rule, RuleSet};
use super::message;
use crate::message::Properties;
use crate::record::{Measure, MeasureValue, Record};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "iot_topic")]
    topic: String,
    #[serde(default)]
    payload: String,
    /// A rule in TOML; or
    rule: Option<String>,
    /// a rule in JSON; or
    json: Option<String>,
    /// a rule file of the repository; or
    file: Option<PathBuf>,
    /// a statement, for a rule without actions.
    sql: Option<String>,
    expect: Spanned<String>,
}

fn iot_topic() -> String {
    "iot/topic".to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(case: &Case) -> String {
    let parsed = match (&case.rule, &case.json, &case.file, &case.sql) {
        (Some(text), None, None, None) => Rule::parse_toml("rule", text),
        (None, Some(text), None, None) => Rule::parse_json("rule", text),
        (None, None, Some(path), None) => {
            let text = std::fs::read_to_string(root().join(path)).expect("the rule file");
            Rule::parse_toml("telemetry", &text)
        }
        (None, None, None, Some(sql)) => Rule::parse_toml("rule", &format!("sql = '''{sql}'''")),
        _ => panic!("{}: a case has one of rule, json, file and sql", case.name),
    };
    let rule = match parsed {
        Ok(rule) => rule,
        Err(error) => return format!("refused {}\n", error.to_string().replace('\n', "\nrefused ")),
    };
    let (name, actions) = (rule.name().to_string(), rule.action_count());
    let rules = RuleSet::from_rules(vec![rule]);
    let message = message(&case.topic, case.payload.clone());
    let mut out = String::new();
    for run in rules.evaluate(&message) {
        for effect in run.effects {
            print_effect(&run.rule, &effect, &mut out);
        }
    }
    if actions == 0 {
        let outgoing = match rules.outgoing(&name, &message).expect("the rule") {
            Outgoing::Json(text) => text,
            other => format!("{other:?}"),
        };
        writeln!(out, "{outgoing}").expect("a String takes everything");
    }
    out
}

fn print_effect(rule: &str, effect: &Effect, out: &mut String) {
    match effect {
        Effect::Write(write) => {
            let create = if write.create { ", created if missing" } else { "" };
            writeln!(out, "write {}.{}{create}", write.batch.database, write.batch.table).expect("room");
            for record in &write.batch.records {
                print_record(record, out);
            }
        }
        Effect::Failed(failure) => {
            let action = failure.action.map(|action| format!("/{action}")).unwrap_or_default();
            writeln!(out, "failed {rule}{action}: {}", failure.reason).expect("room");
        }
        Effect::Republish(message) => print_republish(message, out),
        Effect::Http(post) => {
            let HttpPost { url, headers, body, timeout_ms, retries } = post;
            writeln!(out, "post {url}, {timeout_ms} ms, {retries} retries").expect("room");
            headers.iter().for_each(|(name, value)| writeln!(out, "  {name}: {value}").expect("room"));
            writeln!(out, "  {}", String::from_utf8_lossy(body)).expect("room");
        }
        Effect::File(line) => {
            let FileLine { path, line, bytes_max, keep } = line;
            writeln!(out, "append to {path}, {bytes_max} bytes, {keep} kept\n  {line}").expect("room");
        }
    }
}

fn print_republish(message: &Republish, out: &mut String) {
    writeln!(out, "republish to {} as {:?}", message.topic, message.qos).expect("room");
    let properties = &message.properties;
    if *properties != Properties::default() {
        let correlation = properties.correlation_data.as_deref().map(String::from_utf8_lossy);
        writeln!(
            out,
            "  utf8 {:?}, expiry {:?}, type {:?}, response {:?}, correlation {correlation:?}, user {:?}",
            properties.payload_is_utf8,
            properties.expiry_seconds,
            properties.content_type,
            properties.response_topic,
            properties.user
        )
        .expect("room");
    }
    writeln!(out, "  {}", String::from_utf8_lossy(&message.payload)).expect("room");
}

fn print_record(record: &Record, out: &mut String) {
    let dimensions: Vec<String> =
        record.dimensions.iter().map(|one| format!("{}={:?}", one.name, one.value)).collect();
    let measure = match &record.measure {
        Measure::Single(value) => print_value(value),
        Measure::Multi(attributes) => attributes
            .iter()
            .map(|attribute| format!("{} {}", attribute.name, print_value(&attribute.value)))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let (name, time, version) = (&record.measure_name, record.time.nanos(), record.version);
    writeln!(out, "  {name}: {measure} at {time} version {version} [{}]", dimensions.join(", "))
        .expect("room");
}

fn print_value(value: &MeasureValue) -> String {
    let kind = value.measure_type().sql_name().to_uppercase();
    match value {
        MeasureValue::Double(value) => format!("{kind} {value:?}"),
        MeasureValue::Bigint(value) => format!("{kind} {value}"),
        MeasureValue::Varchar(value) => format!("{kind} {value:?}"),
        MeasureValue::Boolean(value) => format!("{kind} {value}"),
        MeasureValue::Timestamp(value) => format!("{kind} {}", value.nanos()),
    }
}

/// What we decided where AWS says nothing is a table of the documentation, and each row of it is tested.
#[test]
fn every_decision_has_a_case() {
    let text = std::fs::read_to_string(root().join("tests/rules/decisions.toml")).expect("the cases");
    let file: File = toml::from_str(&text).expect("cases");
    let page = std::fs::read_to_string(root().join("docs/rules.md")).expect("the page");
    let section = page.split("### Where AWS's pages disagree or say nothing\n").nth(1).expect("the table");
    let section = section.split("\n#").next().expect("its end");
    let rows: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).skip(2).collect();
    assert!(rows.len() > 30, "{rows:?}");
    let untested: Vec<&&str> =
        rows.iter().filter(|row| !file.case.iter().any(|case| case.name.starts_with(**row))).collect();
    assert!(untested.is_empty(), "no case for {untested:?}");
    let stray: Vec<&str> = file.case.iter().map(|case| case.name.as_str()).collect();
    let stray: Vec<&&str> =
        stray.iter().filter(|name| !rows.iter().any(|row| name.starts_with(row))).collect();
    assert!(stray.is_empty(), "not in docs/rules.md: {stray:?}");
}

#[test]
fn every_case_has_its_effects() {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root().join("tests/rules"))
        .expect("the case folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no case files");
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = String::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a case file");
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut updated = text.clone();
        for case in file.case.iter().rev() {
            let got = run(case);
            if update {
                assert!(!got.contains("'''"), "{}: an outcome with ''' cannot be written", case.name);
                updated.replace_range(case.expect.span(), &format!("'''\n{got}'''"));
            } else if got != *case.expect.get_ref() {
                let expected = case.expect.get_ref();
                write!(wrong, "\n{}\n--- expected\n{expected}--- got\n{got}", case.name).expect("room");
            }
        }
        if updated != text {
            std::fs::write(&path, updated).expect("the case file can be written");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
