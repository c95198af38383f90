//! The room's tests over whole queries: files of `tests/queries` against an engine over rows in memory
//! and Parquet files in an object store in memory.

mod cancel;
mod corpus;
mod fixture;
mod hostile;
mod page;
mod paging;
mod prepare;
mod random;
mod road;
mod scan;
mod stream;
mod unload;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fixture::TestSource;

use super::{ColumnInfo, ColumnType, Datum, Engine, Page, QueryError, QueryOptions, QueryRequest};
use crate::clock::ManualClock;

/// An engine of two threads over `source`.
fn engine(source: TestSource, options: QueryOptions) -> Engine {
    let clock = Arc::new(ManualClock::new(source.now()));
    let patience = Duration::from_secs(120);
    let options = QueryOptions { threads: 2, timeout: patience, first_page_within: patience, ..options };
    Engine::new(Arc::new(source), options, clock).expect("an engine")
}

fn request(sql: &str) -> QueryRequest {
    QueryRequest { sql: sql.to_owned(), ..QueryRequest::default() }
}

/// All pages of a query in one.
async fn all_pages(engine: &Engine, sql: &str) -> Result<Page, QueryError> {
    let mut page = engine.query(request(sql)).await?;
    while let Some(token) = page.next_token.take() {
        let next = engine.query(QueryRequest { next_token: Some(token), ..request(sql) }).await?;
        page.rows.extend(next.rows);
        page.next_token = next.next_token;
    }
    Ok(page)
}

fn type_text(of: &ColumnType) -> String {
    match of {
        ColumnType::Scalar(scalar) => scalar.api_name().to_owned(),
        ColumnType::Array(item) => format!("ARRAY({})", type_text(&item.column_type)),
        ColumnType::TimeSeries(value) => format!("TIMESERIES({})", type_text(&value.column_type)),
        ColumnType::Row(fields) => {
            let fields: Vec<String> = fields.iter().map(column_text).collect();
            format!("ROW({})", fields.join(", "))
        }
    }
}

fn column_text(column: &ColumnInfo) -> String {
    match &column.name {
        Some(name) => format!("{name} {}", type_text(&column.column_type)),
        None => type_text(&column.column_type),
    }
}

fn datum_text(datum: &Datum) -> String {
    let joined = |values: &[Datum]| values.iter().map(datum_text).collect::<Vec<_>>().join(", ");
    match datum {
        Datum::Null => "NULL".to_owned(),
        Datum::Scalar(text) if text.trim() != text || text.is_empty() => format!("'{text}'"),
        Datum::Scalar(text) => text.clone(),
        Datum::Array(values) => format!("[{}]", joined(values)),
        Datum::Row(values) => format!("({})", joined(values)),
        Datum::TimeSeries(points) => {
            let points = points.iter().map(|(time, value)| format!("{time}: {}", datum_text(value)));
            format!("{{{}}}", points.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What a test file expects of a query.
fn outcome(result: &Result<Page, QueryError>, sorted: bool) -> String {
    let mut text = String::new();
    match result {
        Ok(page) => {
            let columns: Vec<String> = page.columns.iter().map(column_text).collect();
            let _ = writeln!(text, "{}", columns.join(" | "));
            let row = |row: &Vec<Datum>| row.iter().map(datum_text).collect::<Vec<_>>().join(" | ");
            let mut rows: Vec<String> = page.rows.iter().map(row).collect();
            if sorted {
                rows.sort();
            }
            for row in rows {
                let _ = writeln!(text, "{row}");
            }
        }
        Err(error) => {
            let kind = match error {
                QueryError::Validation(_) => "validation",
                QueryError::Execution(_) | QueryError::Exhausted(_) => "execution",
                QueryError::Conflict(_) => "conflict",
                QueryError::Throttled(_) => "throttled",
                QueryError::Unavailable(_) => "unavailable",
                QueryError::Internal(_) => "internal",
            };
            let _ = writeln!(text, "{kind} error: {error}");
        }
    }
    text
}

/// The files of queries, or those in a folder of the caller's.
fn folder() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/queries");
    std::env::var_os("TIDEMILL_QUERIES").map_or_else(own, PathBuf::from)
}

/// Runs one file. Blocks are parted by empty lines; `fixture` reads the ones that say what is in the
/// tables. A block of a query begins with `query` (or `query sorted`, where the order of the rows is
/// not promised), then its text, then `----`, then what comes back.
async fn run_file(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).expect("a readable test file");
    let mut source = TestSource::default();
    for block in text.split("\n\n") {
        source.read_block(block).await;
    }
    let engine = engine(source, QueryOptions::default());
    let (mut rewritten, mut wrong) = (Vec::new(), Vec::new());
    for block in text.split("\n\n") {
        let lines = block.trim_matches('\n');
        let Some((head, expected)) = lines.split_once("\n----") else {
            rewritten.push(lines.to_owned());
            continue;
        };
        let begin = head.lines().position(|line| line.starts_with("query")).expect("a query");
        let sql: Vec<&str> = head.lines().skip(begin + 1).collect();
        let sorted = head.lines().nth(begin) == Some("query sorted");
        let found = outcome(&all_pages(&engine, &sql.join("\n")).await, sorted);
        if found.trim_end() != expected.trim() {
            wrong.push(format!("{head}\n---- expected\n{}\n---- found\n{found}", expected.trim()));
        }
        rewritten.push(format!("{head}\n----\n{}", found.trim_end()));
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, rewritten.join("\n\n") + "\n").expect("a writable test file");
        return Ok(());
    }
    engine.shutdown().await;
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}:\n{}", path.display(), wrong.join("\n\n"))) }
}

#[tokio::test]
async fn files_of_queries_answer_as_written() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("tests/queries")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for file in files {
        wrong.extend(run_file(&file).await.err());
    }
    assert!(wrong.is_empty(), "{}\n(UPDATE=1 writes what was found)", wrong.join("\n\n"));
}
