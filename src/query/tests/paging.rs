//! Pages and their tokens.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};

use super::fixture::TestSource;
use super::{engine, request};
use crate::clock::{Clock, ManualClock};
use crate::query::{Datum, Engine, Page, QueryError, QueryOptions, QueryRequest};

/// Numbers from 0 to 2499, each with a text of so many characters.
fn numbers(width: usize) -> TestSource {
    let schema = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("text", DataType::Utf8View, true),
    ]));
    let texts = StringViewArray::from_iter_values((0..2_500).map(|_| "x".repeat(width)));
    let batch =
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(0..2_500)), Arc::new(texts)]);
    TestSource::default().with_memory("d", "t", vec![batch.expect("a batch")])
}

const ALL: &str = "SELECT n FROM d.t ORDER BY n";

fn next(sql: &str, page: &Page, max_rows: Option<usize>) -> QueryRequest {
    QueryRequest {
        sql: sql.to_owned(),
        max_rows,
        next_token: page.next_token.clone(),
        ..QueryRequest::default()
    }
}

fn invalid_token<T: std::fmt::Debug>(result: &Result<T, QueryError>) -> bool {
    matches!(result, Err(QueryError::Validation(text)) if text == "Invalid pagination token.")
}

#[tokio::test]
async fn pages_follow_one_another_and_end() {
    let engine = engine(numbers(1), QueryOptions::default());
    let first = engine.query(QueryRequest { max_rows: Some(1_000), ..request(ALL) }).await.expect("a page");
    assert_eq!(first.rows.len(), 1_000);
    assert!(first.query_id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()));
    assert!(first.bytes_scanned > 0 && first.bytes_metered == 10_000_000);
    let second = engine.query(next(ALL, &first, Some(1_000))).await.expect("a page");
    assert_eq!(second.rows[0], vec![Datum::Scalar("1000".to_owned())]);
    assert_eq!((&second.query_id, &second.columns), (&first.query_id, &first.columns));
    let third = engine.query(next(ALL, &second, Some(1_000))).await.expect("a page");
    assert_eq!((third.rows.len(), &third.next_token), (500, &None));
    assert!((third.progress - 100.0).abs() < f64::EPSILON);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_result_that_fits_exactly_has_no_token() {
    let engine = engine(numbers(1), QueryOptions::default());
    let sql = "SELECT n FROM d.t LIMIT 10";
    let page = engine.query(QueryRequest { max_rows: Some(10), ..request(sql) }).await.expect("a page");
    assert_eq!((page.rows.len(), page.next_token), (10, None));
}

#[tokio::test]
async fn a_token_gives_its_page_again_until_the_next_one_is_used() {
    let engine = engine(numbers(1), QueryOptions { token_uses: 3, ..QueryOptions::default() });
    let first = engine.query(request(ALL)).await.expect("a page");
    let second = engine.query(next(ALL, &first, None)).await.expect("a page");
    let again = engine.query(next(ALL, &first, None)).await.expect("the same page");
    assert_eq!(again, second);
    assert_ne!(second.next_token, first.next_token);
    engine.query(next(ALL, &first, None)).await.expect("a third use");
    assert!(invalid_token(&engine.query(next(ALL, &first, None)).await), "a fourth use");
    let third = engine.query(next(ALL, &second, None)).await.expect("a page");
    assert!(invalid_token(&engine.query(next(ALL, &first, None)).await), "an older token");
    assert_eq!(engine.query(next(ALL, &second, None)).await.expect("the last page again"), third);
}

#[tokio::test]
async fn a_token_belongs_to_its_query_text() {
    let engine = engine(numbers(1), QueryOptions::default());
    let first = engine.query(request(ALL)).await.expect("a page");
    assert!(invalid_token(&engine.query(next("SELECT n FROM d.t", &first, None)).await));
    for token in ["", "x", "地区地区地区地区地区地区地区", &"0".repeat(64)] {
        let request = QueryRequest { next_token: Some(token.to_owned()), ..request(ALL) };
        assert!(invalid_token(&engine.query(request).await), "{token}");
    }
    engine.query(next(ALL, &first, None)).await.expect("the token is still good");
}

#[tokio::test]
async fn a_token_belongs_to_whoever_got_it() {
    let engine = engine(numbers(1), QueryOptions::default());
    let of = |principal: Option<&str>, request: QueryRequest| QueryRequest {
        principal: principal.map(str::to_owned),
        ..request
    };
    let first = engine.query(of(Some("one"), request(ALL))).await.expect("a page");
    for other in [Some("other"), None] {
        assert!(invalid_token(&engine.query(of(other, next(ALL, &first, None))).await), "{other:?}");
    }
    engine.query(of(Some("one"), next(ALL, &first, None))).await.expect("the token is still good");
}

#[tokio::test]
async fn tokens_expire() {
    let source = numbers(1);
    let clock = Arc::new(ManualClock::new(source.now()));
    let options =
        QueryOptions { token_lifetime: Duration::from_secs(10), threads: 2, ..QueryOptions::default() };
    let engine =
        Engine::new(Arc::new(source), options, Arc::clone(&clock) as Arc<dyn Clock>).expect("an engine");
    let first = engine.query(request(ALL)).await.expect("a page");
    clock.set(clock.now().saturating_add(9_000_000_000));
    let second = engine.query(next(ALL, &first, None)).await.expect("a page");
    clock.set(clock.now().saturating_add(10_000_000_000));
    assert!(invalid_token(&engine.query(next(ALL, &second, None)).await));
}

#[tokio::test]
async fn the_result_unused_for_longest_gives_way() {
    let source = numbers(1);
    let clock = Arc::new(ManualClock::new(source.now()));
    let options = QueryOptions { cursors: 2, threads: 2, ..QueryOptions::default() };
    let engine =
        Engine::new(Arc::new(source), options, Arc::clone(&clock) as Arc<dyn Clock>).expect("an engine");
    let mut pages = Vec::new();
    for _ in 0..3 {
        clock.set(clock.now().saturating_add(1));
        pages.push(engine.query(request(ALL)).await.expect("a page"));
    }
    assert!(invalid_token(&engine.query(next(ALL, &pages[0], None)).await));
    engine.query(next(ALL, &pages[1], None)).await.expect("a page");
    engine.query(next(ALL, &pages[2], None)).await.expect("a page");
}

#[tokio::test]
async fn pages_hold_no_more_bytes_than_they_may() {
    let engine = engine(numbers(10_000), QueryOptions { page_bytes: 100_000, ..QueryOptions::default() });
    let page = engine.query(request("SELECT text FROM d.t")).await.expect("a page");
    assert_eq!(page.rows.len(), 9);
    assert!(page.next_token.is_some());
}

#[tokio::test]
async fn a_row_larger_than_a_page_is_an_error() {
    let engine = engine(numbers(10_000), QueryOptions { page_bytes: 5_000, ..QueryOptions::default() });
    let result = engine.query(request("SELECT text FROM d.t")).await;
    let expected = "Query aborted as max page response size has been exceeded by the output result row";
    assert_eq!(result, Err(QueryError::Execution(expected.to_owned())));
}

#[tokio::test]
async fn metadata_is_paged_too() {
    let engine = engine(numbers(1), QueryOptions::default());
    let sql = "DESCRIBE d.t";
    let first = engine.query(QueryRequest { max_rows: Some(1), ..request(sql) }).await.expect("a page");
    assert_eq!((first.rows.len(), first.bytes_metered), (1, 0));
    let second = engine.query(next(sql, &first, Some(1))).await.expect("a page");
    assert_eq!((second.rows.len(), second.next_token), (1, None));
}

#[tokio::test]
async fn a_page_given_up_half_way_ends_its_result() {
    let source = numbers(1);
    let clock = Arc::new(ManualClock::new(source.now()));
    let options = QueryOptions { timeout: Duration::from_secs(1), threads: 4, ..QueryOptions::default() };
    let engine = Engine::new(Arc::new(source), options, clock).expect("an engine");
    // The rows of the first half are there at once, those of the second half never come.
    let sql = "SELECT n FROM d.t UNION ALL SELECT a.n FROM d.t a, d.t b, d.t c WHERE a.n + b.n * c.n < -1";
    let first = engine.query(QueryRequest { max_rows: Some(1), ..request(sql) }).await.expect("a page");
    let second = engine.query(next(sql, &first, Some(1_000_000))).await;
    assert!(matches!(&second, Err(QueryError::Exhausted(text)) if text.contains("timed out")), "{second:?}");
    // What was pulled for the lost page is lost: the result must not go on behind it.
    let again = engine.query(next(sql, &first, Some(1_000_000))).await;
    assert!(invalid_token(&again), "{again:?}");
}
