//! What holds for every statement and every payload. More of both with TIDEMILL_CASES=100000.

use std::time::{Duration, Instant};

use super::super::sql::payload::read_json;
use super::super::{FailureReason, Outgoing, Rule, RuleSet, Version};
use super::generate::{Noise, cases, payload, statement};
use super::message;

fn rules(sql: &str, version: Version) -> Result<RuleSet, String> {
    let template = if version == Version::V2015 { "${a}" } else { "${a}-${get((SELECT VALUE * FROM l), 0)}" };
    let text = serde_json::json!({
        "sql": sql,
        "awsIotSqlVersion": version.as_str(),
        "actions": [{"timestream": {
            "databaseName": "d",
            "tableName": "t",
            "dimensions": [{"name": "n", "value": template}],
        }}],
    });
    match Rule::parse_json("rule", &text.to_string()) {
        Ok(rule) => Ok(RuleSet::from_rules(vec![rule])),
        Err(error) => Err(error.to_string()),
    }
}

/// The statements are sound, so nothing may be refused; and whatever they ask for, asking twice gives the
/// same, soon.
#[test]
fn evaluation_never_panics_ends_and_repeats() {
    let mut fired = 0;
    let count = cases(1_500);
    for seed in 0..count {
        let mut noise = Noise::new(u64::try_from(seed).expect("a seed"));
        let (sql, payload) = (statement(&mut noise), payload(&mut noise));
        let rules = rules(&sql, Version::V2016).unwrap_or_else(|error| panic!("{seed}: {sql}\n{error}"));
        let message = message("iot/topic", payload.clone());
        let started = Instant::now();
        let (first, effects) = (rules.outgoing("rule", &message), rules.evaluate(&message));
        let took = started.elapsed();
        assert!(took < Duration::from_secs(10), "{seed}: {sql} over {payload} took {took:?}");
        assert_eq!(first, rules.outgoing("rule", &message), "{seed}: {sql} over {payload}");
        assert_eq!(effects, rules.evaluate(&message), "{seed}: {sql} over {payload}");
        if let Some(Outgoing::Json(text)) = &first {
            assert!(read_json(text.as_bytes(), Version::V2015).is_some(), "{seed}: {sql} is no JSON: {text}");
            fired += 1;
        }
    }
    assert!(fired > count / 3, "only {fired} of {count} statements yield anything");
}

/// 2015-10-08 refuses what it lacks with a sentence, and evaluates the rest.
#[test]
fn the_first_version_takes_or_refuses_every_statement() {
    let (mut taken, count) = (0, cases(1_500));
    for seed in 0..count {
        let mut noise = Noise::new(u64::try_from(seed).expect("a seed"));
        let sql = statement(&mut noise);
        match rules(&sql, Version::V2015) {
            Ok(rules) => {
                rules.evaluate(&message("iot/topic", payload(&mut noise)));
                taken += 1;
            }
            Err(error) => {
                let newer = error.lines().all(|line| line.contains("needs aws_iot_sql_version 2016-03-23"));
                assert!(newer, "{seed}: {sql}\n{error}");
            }
        }
    }
    assert!(taken > count / 50, "only {taken} of {count} statements are of this version");
}

#[test]
fn what_is_selected_whole_arrives_whole() {
    let whole = |sql: &str| {
        let rule = Rule::parse_toml("rule", &format!("sql = \"{sql}\"")).expect("a rule");
        RuleSet::from_rules(vec![rule])
    };
    let same = [
        whole("SELECT * FROM 'iot/topic'"),
        whole("SELECT VALUE * FROM 'iot/topic'"),
        whole("SET @p = get_or_default(*, 1) SELECT VALUE @p FROM 'iot/topic'"),
        whole("SELECT VALUE (SELECT * FROM *) FROM 'iot/topic'"),
        whole("SELECT VALUE (SELECT VALUE e FROM * AS e) FROM 'iot/topic'"),
    ];
    for seed in 0..cases(500) {
        let mut noise = Noise::new(u64::try_from(seed).expect("a seed"));
        let text = payload(&mut noise);
        let Some(value) = read_json(text.as_bytes(), Version::V2016) else { panic!("{text} is JSON") };
        if !text.starts_with(['{', '[']) {
            continue;
        }
        for rules in &same {
            let outgoing = rules.outgoing("rule", &message("iot/topic", text.clone()));
            assert_eq!(outgoing, Some(Outgoing::Json(value.to_json())), "{text}");
        }
    }
}

/// The worst a statement can ask for, within the bounds of its length. Takes some seconds without
/// optimisation, because every statement uses up its whole budget.
#[test]
fn the_budget_ends_what_would_take_for_ever() {
    let numbers = |count: usize, number: &str| format!("{{\"l\":[{}]}}", vec![number; count].join(","));
    let loops =
        "SELECT EXISTS (SELECT * FROM l AS a WHERE EXISTS (SELECT * FROM l AS b WHERE a + b = 'no')) AS x";
    let deep = "SELECT EXISTS (SELECT * FROM l AS a WHERE EXISTS (SELECT * FROM l AS b WHERE EXISTS (SELECT * FROM l AS c WHERE EXISTS (SELECT * FROM l AS d WHERE a * b / c % d = 'no')))) AS x";
    let text = format!("{{\"l\":[1,2,3],\"t\":\"{}\"}}", "7".repeat(900_000));
    let many = |part: &str| {
        let parts: Vec<String> = (0..1_500).map(|number| format!("{part} AS x{number}")).collect();
        format!("SELECT {}", parts.join(", "))
    };
    let hard = [
        (loops.to_owned(), numbers(60_000, "1")),
        (deep.to_owned(), numbers(50_000, "1.0E-999")),
        (deep.to_owned(), numbers(20_000, "9.999999999999999999999999999999999E999")),
        ("SELECT EXISTS (SELECT * FROM l AS a WHERE l = a OR l IN l) AS x".to_owned(), numbers(60_000, "1")),
        ("SELECT EXISTS (SELECT * FROM l AS a WHERE [l] = [l]) AS x".to_owned(), numbers(2_000, "1")),
        (many("length(*)"), numbers(60_000, "1")),
        (many("(t > 1)"), text.clone()),
        (many("(t = t)"), text.clone()),
        (many("cast(t AS int)"), text.clone()),
        (many("indexof(t, 'x')"), text.clone()),
        (many("CASE t WHEN t THEN 1 END"), text),
        (many("(l IN l)"), numbers(60_000, "1")),
        (many("(SELECT VALUE a FROM l AS a WHERE a = 2)"), numbers(60_000, "1")),
        (format!("SELECT {}", vec!["l.*"; 10_000].join(", ")), r#"{"l":{"a":1}}"#.to_owned()),
        (many("l.a.b.c"), numbers(60_000, "1")),
    ];
    for (sql, payload) in hard {
        let rules = rules(&format!("{sql} FROM 'iot/topic'"), Version::V2016).expect("a rule");
        let message = message("iot/topic", payload);
        let started = Instant::now();
        let effects = rules.evaluate(&message);
        let took = started.elapsed();
        let head: String = sql.chars().take(60).collect();
        println!("{took:?} {head} {effects:.60?}");
        assert!(took < Duration::from_secs(20), "{head} took {took:?}");
    }
    let rules = rules(&format!("{loops} FROM 'iot/topic'"), Version::V2016).expect("a rule");
    let effects = format!("{:?}", rules.evaluate(&message("iot/topic", numbers(2_000, "1"))));
    let expected = FailureReason::TooManySteps { limit: 1_000_000 };
    assert!(effects.contains(&format!("{expected:?}")), "{effects}");
}
