//! Runs the tables of `tests/rules/functions/*.toml`: calls of functions and their values.
//!
//! A table has `rows` of an expression and its value as JSON text, or `undefined`. `numbers` are calls whose `?`
//! takes what the specification's class N1 takes, `texts` those whose `?` takes what class S takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use super::super::sql::{function_names, function_names_elsewhere};
use super::super::{Outgoing, Rule, RuleSet, StandIns};
use super::generate::called;
use super::message;
use crate::message::Message;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    function: Vec<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    #[serde(default = "newest")]
    version: String,
    #[serde(default = "empty")]
    payload: String,
    #[serde(default)]
    message: Circumstances,
    #[serde(default)]
    numbers: Vec<String>,
    #[serde(default)]
    texts: Vec<String>,
    #[serde(default)]
    rows: Vec<(String, String)>,
}

/// What surrounds the payload, where it differs from the usual.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Circumstances {
    http: bool,
    principal: Option<String>,
    trace_id: Option<String>,
    topic: Option<String>,
    utf8: Option<bool>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<String>,
    user: Vec<(String, String)>,
}

fn newest() -> String {
    "2016-03-23".to_owned()
}

fn empty() -> String {
    "{}".to_owned()
}

/// What class N1 does not convert.
const NO_NUMBERS: [&str; 10] =
    ["true", "'abc'", "''", "'+5'", "'.5'", "' 5'", "[1]", "{'a': 1}", "NULL", "missing"];
/// Numbers, and the texts that class N1 reads as the same.
const NUMBERS: [(&str, &str); 5] =
    [("0.5", "'0.5'"), ("0", "'0'"), ("1", "'1'"), ("0.25", "'25E-2'"), ("-1", "'-1'")];
/// Values, and the string forms that class S takes for them.
const TEXTS: [(&str, &str); 6] = [
    ("12", "'12'"),
    ("-1.50", "'-1.50'"),
    ("true", "'true'"),
    ("['a', 1, null, 2.50]", r#"'["a",1,null,2.50]'"#),
    ("{'a': {'b': false}}", r#"'{"a":{"b":false}}'"#),
    ("''", "''"),
];
const NO_TEXTS: [&str; 2] = ["NULL", "missing"];

fn table_message(table: &Table) -> Message {
    let given = &table.message;
    let mut message = message(given.topic.as_deref().unwrap_or("iot/topic"), table.payload.clone());
    if given.http {
        message.origin.client_id = None;
    }
    message.origin.principal = given.principal.as_deref().map(Into::into);
    message.origin.trace_id = given.trace_id.as_deref().map(|text| text.parse().expect("a UUID"));
    message.properties.payload_is_utf8 = given.utf8;
    message.properties.content_type = given.content_type.clone();
    message.properties.response_topic = given.response_topic.clone();
    message.properties.correlation_data = given.correlation_data.clone().map(Into::into);
    message.properties.user = given.user.clone();
    message
}

/// The value of `expr`: JSON text, `undefined`, or why there is none.
fn value(expr: &str, table: &Table, files: &StandIns) -> String {
    let rule = serde_json::json!({
        "sql": format!("SELECT VALUE {expr} FROM 'iot/topic'"),
        "awsIotSqlVersion": table.version,
        "actions": [],
    });
    match Rule::parse_json_with("rule", &rule.to_string(), files) {
        Err(error) => format!("refused {error}"),
        Ok(rule) => match RuleSet::from_rules(vec![rule]).outgoing("rule", &table_message(table)) {
            Some(Outgoing::Json(text)) => text,
            Some(Outgoing::Undefined) => "undefined".to_owned(),
            other => format!("{other:?}"),
        },
    }
}

fn run(table: &Table, files: &StandIns, wrong: &mut String) {
    let mut expect = |expr: &str, wanted: &str| {
        let got = value(expr, table, files);
        if got != wanted {
            writeln!(wrong, "{expr}\n  expected {wanted}\n  got      {got}").expect("room");
        }
    };
    for (expr, wanted) in &table.rows {
        expect(expr, wanted);
    }
    for call in &table.numbers {
        for none in NO_NUMBERS {
            expect(&call.replace('?', none), "undefined");
        }
        for (number, text) in NUMBERS {
            expect(&call.replace('?', text), &value(&call.replace('?', number), table, files));
        }
    }
    for call in &table.texts {
        for none in NO_TEXTS {
            expect(&call.replace('?', none), "undefined");
        }
        for (given, text) in TEXTS {
            expect(&call.replace('?', given), &value(&call.replace('?', text), table, files));
        }
    }
}

#[test]
fn every_function_does_what_its_table_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/functions");
    let echo = ("arn:aws:lambda:us-east-1:1:function:echo".to_owned(), "http://127.0.0.1:9".into());
    let files =
        StandIns { secrets: Some(root.join("secrets")), functions: [echo].into(), ..StandIns::default() };
    let mut untested: BTreeSet<&str> = function_names().map(|(name, _)| name).collect();
    let mut wrong = String::new();
    for entry in std::fs::read_dir(&root).expect("the folder of tables") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a table");
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for table in &file.function {
            run(table, &files, &mut wrong);
            assert!(!table.rows.is_empty(), "{} has no rows", table.name);
            untested.remove(table.name.as_str());
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(untested.is_empty(), "no table for {untested:?}");
}

/// The page names every function, and only those, with the right mark for those 2015-10-08 lacks.
#[test]
fn the_page_names_every_function() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules-functions.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let mut documented: BTreeMap<String, bool> = BTreeMap::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()) {
        if row == "Function" || row.starts_with("---") {
            continue;
        }
        // `decode with 'base64' (16)` is about decode.
        let names = row.split(" with ").next().unwrap_or(row).trim_end_matches(" (16)");
        for name in names.split(' ') {
            documented.insert(name.to_lowercase(), row.ends_with("(16)"));
        }
    }
    let functions = function_names().map(|(name, since_2016)| (name.to_owned(), since_2016));
    let elsewhere = function_names_elsewhere().map(|name| (name.to_owned(), false));
    // A keyword to the parser, a function to AWS's reference.
    let expected = functions.chain(elsewhere).chain([("cast".to_owned(), false)]);
    assert_eq!(documented, expected.collect::<BTreeMap<_, _>>());
}

#[test]
fn functions_of_other_services_are_refused_with_a_sentence() {
    for name in function_names_elsewhere() {
        let sql = format!("SELECT {name}('a', 'b', 'c') AS x FROM 'iot/topic'");
        let error = Rule::parse_toml("rule", &format!("sql = \"{sql}\"")).expect_err(name).to_string();
        assert!(error.contains(&format!("line 1:8: {name}() ")) && error.len() > 80, "{error}");
    }
}

/// What is generated calls every function that needs nothing beside the message.
#[test]
fn generated_statements_call_every_function() {
    let called: BTreeSet<String> = called().map(str::to_lowercase).collect();
    let missing: Vec<&str> = function_names()
        .map(|(name, _)| name)
        .filter(|name| !called.contains(*name) && !matches!(*name, "aws_lambda" | "get_secret"))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
