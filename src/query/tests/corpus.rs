//! The corpus: what people and clients really send, over tables made for it.
//!
//! The queries do not ship with the sources; `TIDEMILL_CORPUS` names the folder they lie in, and without
//! it the test says so and passes. What does ship is `tests/queries/corpus`: the tables, what stands for
//! the placeholders of templates, and the few queries that fail here, each with its answer. A query that
//! is on no list must answer, one that is must fail with just these words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fixture::TestSource;
use super::unload::unloading;
use super::{all_pages, folder, request};
use crate::clock::Timestamp;
use crate::query::{Engine, QueryError};

fn corpus() -> Option<Vec<Value>> {
    let folder = match std::env::var_os("TIDEMILL_CORPUS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
    };
    let text = std::fs::read_to_string(folder.join("timestream-queries.jsonl")).ok()?;
    Some(text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect())
}

fn file(name: &str) -> String {
    let path = folder().join("corpus").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines `this => that` of a file, without comments.
fn pairs(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter(|line| !line.starts_with("# ") && !line.is_empty());
    lines.map(|line| line.split_once(" => ").unwrap_or_else(|| panic!("no ' => ': {line}"))).collect()
}

/// A query with its placeholders filled in: first what `values` says, then a name for each that is left.
fn filled(entry: &Value, values: &[(&str, &str)]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut sql = text(&entry["sql"]);
    let placeholders = entry["placeholders"].as_array().into_iter().flatten();
    let mut placeholders: Vec<&str> = placeholders.filter_map(Value::as_str).collect();
    if placeholders.is_empty() {
        return sql;
    }
    for (from, to) in values {
        sql = sql.replace(from, to);
    }
    placeholders.sort_by_key(|placeholder| std::cmp::Reverse(placeholder.len()));
    for placeholder in placeholders {
        let of_a_date = placeholder.len() == 2 && placeholder.starts_with('%') && sql.contains("'%Y");
        if !of_a_date && !placeholder.starts_with('@') {
            sql = sql.replace(placeholder, "x1");
        }
    }
    sql
}

/// How the corpus fared.
#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    with_rows: usize,
    failed_as_marked: usize,
    listed: usize,
    unloads: usize,
    wrong: Vec<String>,
}

impl Tally {
    async fn ask(&mut self, engine: &Engine, entry: &Value, sql: &str, expected: Option<&str>) {
        let id = entry["id"].as_str().unwrap_or_default();
        self.unloads += usize::from(sql.trim_start().to_ascii_uppercase().starts_with("UNLOAD"));
        let result = match sql.contains("@scheduled_runtime") {
            true => {
                let runtime = Timestamp::from_nanos(1_636_700_400_000_000_000);
                let parameters = BTreeMap::from([("scheduled_runtime".to_owned(), runtime)]);
                engine.query_with(request(sql), parameters).await
            }
            false => all_pages(engine, sql).await,
        };
        let marked = !entry["expect_error"].is_null();
        match (&result, expected) {
            (Ok(page), None) if !marked => {
                self.answered += 1;
                self.with_rows += usize::from(!page.rows.is_empty());
            }
            (Err(QueryError::Validation(_) | QueryError::Execution(_)), None) if marked => {
                self.failed_as_marked += 1
            }
            (Err(error), Some(words)) if error.to_string() == words => self.listed += 1,
            _ => self.wrong.push(match result {
                Ok(_) => format!("{id} => an answer"),
                Err(error) => format!("{id} => {error}\n{sql}"),
            }),
        }
    }
}

#[tokio::test]
async fn the_corpus_answers_but_for_what_is_listed() {
    let Some(entries) = corpus() else {
        println!("skipped: the corpus is not here (TIDEMILL_CORPUS names its folder)");
        return;
    };
    let (tables, values, failures) = (file("tables.txt"), file("values.txt"), file("failures.txt"));
    let mut source = TestSource::default();
    for block in tables.split("\n\n") {
        source.read_block(block).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let engine = unloading(source, folder.path(), &["bucket", "unloads", "my_timestream_unloads"]);
    let values = pairs(&values);
    let failures: BTreeMap<&str, &str> = pairs(&failures).into_iter().collect();
    let mut tally = Tally::default();
    for entry in &entries {
        let id = entry["id"].as_str().unwrap_or_default();
        tally.ask(&engine, entry, &filled(entry, &values), failures.get(id).copied()).await;
    }
    let Tally { answered, with_rows, failed_as_marked, listed, unloads, wrong } = tally;
    println!(
        "{} queries: {answered} answered ({with_rows} with rows), {failed_as_marked} failed as marked, \
         {listed} failed as listed; {unloads} are UNLOAD",
        entries.len()
    );
    assert!(wrong.is_empty(), "{} of the corpus:\n{}", wrong.len(), wrong.join("\n"));
    assert!(with_rows * 10 >= answered * 9, "the tables of the corpus are too empty");
    assert_eq!(unloads, 8, "an UNLOAD of the corpus was not tried");
    assert_eq!(listed, failures.len(), "a query that is listed as failing is not in the corpus");
}
