//! Input nobody means well with: no statement and no payload may panic, hang or exhaust the stack.

use std::time::{Duration, Instant};

use super::super::{Effect, FailureReason, Rule, RuleOptions, RuleSet};
use super::generate::{Noise, cases};
use super::message;

const WORDS: &[&str] = &[
    "SELECT",
    "VALUE",
    "*",
    "FROM",
    "'iot/topic'",
    "WHERE",
    "AS",
    "a",
    "b.c",
    ".",
    ",",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "'k':",
    ":",
    "+",
    "-",
    "*",
    "/",
    "%",
    "=",
    "<>",
    "<",
    ">=",
    "AND",
    "OR",
    "NOT",
    "IN",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "cast(",
    "AS int)",
    "AS decimal)",
    "1",
    "2.50",
    "1E999",
    "1E-999",
    "'x'",
    "\"y\"",
    "NULL",
    "true",
    "false",
    "abs(",
    "concat(",
    "get(",
    "substring(",
    "replace(",
    "power(",
    "trunc(",
    "topic(",
    "lpad(",
    "chr(",
    "encode(",
    "decode(",
    "'base64'",
    "upper(",
    "EXISTS (SELECT",
    "(SELECT",
    "@x",
    "SET @x =",
    "||",
    "--",
    "é",
    "'",
    "\\",
    ";",
    "#",
    "${",
];

const PAYLOADS: &[&str] = &[
    r#"{"a":1,"b":{"c":[1,2.5,"x",null,{"d":true}]}}"#,
    r#"{"a":"1E999","b":{"c":-1E-999},"x":9999999999999999999999999999999999}"#,
    r#"{"a":"","b":{"c":"zm9v"}}"#,
    "[[[]],{}]",
    "80",
    "",
    r#"{"$serde_json::private::Number":"x"}"#,
    "{\"a\":\"\\ud800\"}",
];

/// A statement that may or may not be one: an expression of valid shape with noise in it.
fn statement(noise: &mut Noise) -> String {
    fn expr(noise: &mut Noise, depth: usize) -> String {
        if depth == 0 || noise.next().is_multiple_of(4) {
            return noise
                .pick(&[
                    "a", "b.c", "missing", "1", "-2.50", "'x'", "\"7\"", "NULL", "true", "[1, 'x']", "1E300",
                    "b",
                ])
                .to_owned();
        }
        let mut part = || expr(noise, depth - 1);
        let (x, y, z) = (part(), part(), part());
        match noise.next() % 14 {
            0 => format!("({x} + {y})"),
            1 => format!("({x} / {y} * {z})"),
            2 => format!("({x} % {y} - {z})"),
            3 => format!("({x} = {y} OR {z} < {x})"),
            4 => format!("(NOT {x} AND {y} IN {z})"),
            5 => format!("CASE {x} WHEN {y} THEN {z} ELSE {x} END"),
            6 => format!("concat({x}, {y}, {z})"),
            7 => format!("get({x}, {y})"),
            8 => format!("substring({x}, {y}, {z})"),
            9 => format!("replace({x}, {y}, {z})"),
            10 => format!("trunc({x}, {y})"),
            11 => format!("cast({x} AS {})", noise.pick(&["int", "decimal", "bool", "string"])),
            12 => format!(
                "{}({x})",
                noise.pick(&[
                    "abs", "floor", "round", "ceil", "sqrt", "exp", "length", "chr", "upper", "bitnot",
                    "sign"
                ])
            ),
            _ => format!(
                "{}({x}, {y})",
                noise.pick(&[
                    "power", "mod", "lpad", "indexof", "bitand", "atan2", "nanvl", "decode", "encode"
                ])
            ),
        }
    }
    let body = expr(noise, 4);
    format!("SELECT {body} AS x, * FROM 'iot/topic' WHERE NOT {} = 5", expr(noise, 2))
}

fn run(sql: &str, payload: &str) {
    let text = serde_json::json!({
        "sql": sql,
        "awsIotSqlVersion": "2016-03-23",
        "actions": [{"timestream": {"databaseName": "d", "tableName": "t", "dimensions": [{"name": "n", "value": "${a}"}]}}],
    });
    if let Ok(rule) = Rule::parse_json("rule", &text.to_string()) {
        let rules = RuleSet::from_rules(vec![rule]);
        let message = message("iot/topic", payload.to_owned());
        rules.evaluate(&message);
        rules.outgoing("rule", &message);
    }
}

#[test]
fn noise_never_panics() {
    let mut noise = Noise::new(1);
    for _ in 0..cases(2_000) {
        let payload = noise.pick(PAYLOADS);
        run(&statement(&mut noise), payload);
        let length = noise.next() % 24;
        let words: Vec<&str> = (0..length).map(|_| noise.pick(WORDS)).collect();
        run(&format!("SELECT {}", words.join(" ")), payload);
    }
}

#[test]
fn mutilated_rules_and_payloads_never_panic() {
    let mut noise = Noise::new(42);
    let rule = include_str!("../../../rules/telemetry.toml").as_bytes();
    for _ in 0..cases(2_000) {
        let mut text = rule.to_vec();
        for _ in 0..=noise.next() % 4 {
            let at = noise.next() % text.len();
            match noise.next() % 3 {
                0 => text[at] = u8::try_from(noise.next() % 128).expect("ASCII"),
                1 => drop(text.drain(at..(at + 1 + noise.next() % 8).min(text.len()))),
                _ => text.insert(at, b"'\"{}[]()$.\\"[noise.next() % 11]),
            }
        }
        let rule = Rule::parse_toml("rule", &String::from_utf8_lossy(&text));
        let mut payload = PAYLOADS[noise.next() % PAYLOADS.len()].as_bytes().to_vec();
        if !payload.is_empty() {
            let at = noise.next() % payload.len();
            payload[at] = u8::try_from(noise.next() % 256).expect("a byte");
        }
        if let Ok(rule) = rule {
            RuleSet::from_rules(vec![rule]).evaluate(&message("iot/topic", payload));
        }
    }
}

/// Deep and long statements on a thread with the stack of a runtime's worker.
#[test]
fn no_statement_overflows_the_stack_or_takes_long() {
    let deep = |open: &str, middle: &str, close: &str, times: usize| {
        format!("SELECT {}{middle}{} AS x FROM 'a'", open.repeat(times), close.repeat(times))
    };
    let mut statements = vec![
        format!("SELECT {} AS x FROM 'a'", vec!["a"; 60_000].join("+")),
        format!("SELECT {} AS x FROM 'a'", vec!["a"; 1_000].join("+")),
        format!("SELECT {} AS x FROM 'a'", vec!["a"; 60_000].join(".")),
        format!("SELECT {} FROM 'a'", vec!["a"; 60_000].join(",")),
        format!("SELECT {} AS x FROM 'a'", vec!["a"; 20_000].join(" IN ")),
        format!("SELECT a AS {} FROM 'a'", vec!["a"; 60_000].join(".")),
        format!("SELECT * FROM '{}'", "+/".repeat(60_000)),
        format!("SELECT a{}b FROM 'a'", " ".repeat(120_000)),
        format!("SELECT f({} FROM 'a'", vec!["a.b.c"; 20_000].join(",")),
        "SELECT ".repeat(18_000),
        "(SELECT ".repeat(15_000),
        "SELECT (".repeat(15_000),
        format!("SELECT {} FROM 'a'", vec!["f(a AS x"; 14_000].join(", ")),
        format!("SELECT {} FROM 'a'", vec!["a b"; 30_000].join(", ")),
        format!("SELECT {} FROM 'a'", vec!["(SELECT a b FROM c"; 6_000].join(", ")),
        format!("SELECT {} AS x FROM 'a'", vec!["(SELECT a FROM b)"; 7_000].join(" + ")),
        format!("SET {} SELECT 1 AS x", vec!["@a = 1"; 15_000].join(", ")),
        format!("SELECT * FROM 'a' {}", "/* */".repeat(20_000)),
        "'".repeat(120_000),
    ];
    for times in [30, 60, 5_000, 30_000] {
        for (open, close) in [
            ("(", ")"),
            ("[", "]"),
            ("abs(", ")"),
            ("NOT ", ""),
            ("- ", ""),
            ("CASE ", " WHEN 1 THEN 2 END"),
            ("{'a':", "}"),
            ("cast(", " AS int)"),
            ("get(a, ", ").b"),
            ("a.b(", ")"),
            ("f(x).a.(", ")"),
            ("{'a':1}.a.(", ")"),
            ("a IN (", ")"),
            ("(SELECT ", " FROM l)"),
            ("(SELECT VALUE a FROM ", ")"),
            ("EXISTS (SELECT * FROM l WHERE ", ")"),
            ("(SELECT a, b c, (", ")"),
            ("[{'k': ", "}]"),
        ] {
            statements.push(deep(open, "a", close, times.min(120_000 / (open.len() + close.len()))));
            statements.push(deep(open, "%", "", times.min(120_000 / open.len())));
        }
    }
    let worker = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || {
        for sql in statements {
            let started = Instant::now();
            run(&sql, r#"{"a":1}"#);
            let head: String = sql.chars().take(40).collect();
            assert!(started.elapsed() < Duration::from_secs(5), "{head} took {:?}", started.elapsed());
        }
    });
    worker.expect("a thread").join().expect("no statement overflows");
}

#[test]
fn a_payload_beyond_the_limit_is_reported_unread() {
    let rule = Rule::parse_toml("rule", "sql = \"SELECT * FROM 'iot/topic'\"").expect("a rule");
    let options = RuleOptions { payload_bytes_max: 4, ..RuleOptions::default() };
    let runs = RuleSet::with_options(vec![rule], &options).evaluate(&message("iot/topic", "12345"));
    let [Effect::Failed(failure)] = runs[0].effects.as_slice() else { panic!("{runs:?}") };
    assert_eq!(failure.reason, FailureReason::PayloadTooLarge { bytes: 5, limit: 4 });
}
