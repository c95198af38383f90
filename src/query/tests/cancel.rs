//! Cancelling, and queries that work on their first rows longer than anyone waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fixture::TestSource;
use super::hostile::rows;
use super::request;
use crate::clock::ManualClock;
use crate::query::{Cancelled, Engine, Page, QueryError, QueryOptions, QueryRequest};

/// Its first rows come at once, the fourth does not come.
const STUCK: &str = "SELECT n FROM UNNEST(sequence(1, 3)) AS t (n) UNION ALL SELECT max(a.n * b.n * c.n) FROM \
                     UNNEST(sequence(1, 10000)) AS a (n) CROSS JOIN UNNEST(sequence(1, 10000)) AS b (n) \
                     CROSS JOIN UNNEST(sequence(1, 10000)) AS c (n)";

/// No row comes at all.
const SILENT: &str = "SELECT max(a.n * b.n * c.n) FROM UNNEST(sequence(1, 10000)) AS a (n) CROSS JOIN \
                      UNNEST(sequence(1, 10000)) AS b (n) CROSS JOIN UNNEST(sequence(1, 10000)) AS c (n)";

/// Queries that take long, each by another kind of work, over a table of 100,000 rows.
const HEAVY: &[(&str, &str)] = &[
    ("a product", "SELECT count(*) FROM d.t a CROSS JOIN d.t b WHERE a.x * b.x < -1"),
    ("a join of many to many", "SELECT max(a.x + b.x) FROM d.t a JOIN d.t b ON a.n % 2 = b.n % 2"),
    ("an outer join", "SELECT count(b.n) FROM d.t a LEFT JOIN d.t b ON a.x < b.x - 1000000"),
    (
        "a sort",
        "SELECT max(y) FROM (SELECT a.x * b.x AS y, row_number() OVER (ORDER BY a.x * b.x) AS r \
         FROM d.t a CROSS JOIN (SELECT x FROM d.t LIMIT 200) b) WHERE r > 5",
    ),
    (
        "groups",
        "SELECT count(*) FROM (SELECT a.n + b.n * 100000 AS k, count(*) FROM d.t a CROSS JOIN \
         (SELECT n FROM d.t LIMIT 200) b GROUP BY a.n + b.n * 100000)",
    ),
    (
        "distinct values",
        "SELECT count(DISTINCT a.x * b.x) FROM d.t a CROSS JOIN (SELECT x FROM d.t LIMIT 200) b",
    ),
    (
        "long lists",
        "SELECT sum(cardinality(array_sort(l))) FROM (SELECT b.n AS k, array_agg(a.x) AS l FROM d.t a CROSS JOIN \
         (SELECT n FROM d.t LIMIT 50) b GROUP BY b.n)",
    ),
    (
        "lists of windows",
        "SELECT sum(cardinality(l)) FROM (SELECT array_agg(n) OVER (ORDER BY n ROWS 5000 PRECEDING) AS l FROM d.t)",
    ),
    (
        "regular expressions",
        "SELECT count_if(regexp_like(lpad(CAST(n AS varchar), 2000, 'ab'), '(a|b|ab)*c')) FROM d.t",
    ),
    ("a lambda", "SELECT sum(reduce(sequence(n, n + 9999), 0, (s, x) -> s + x % 7, s -> s)) FROM d.t"),
    (
        "a comparator",
        "SELECT sum(cardinality(array_sort(sequence(n, n + 9999), (a, b) -> IF(a < b, 1, -1)))) FROM d.t",
    ),
    (
        "series",
        "SELECT sum(cardinality(interpolate_linear(s, sequence(from_milliseconds(0), from_milliseconds(999), 1ms)))) \
         FROM d.t CROSS JOIN (SELECT create_time_series(from_milliseconds(n * 5), x) AS s FROM d.t WHERE n < 200)",
    ),
];

/// Most time that work may go on once it is told to stop. It takes a tenth of a second and less in an
/// optimised build on a machine with nothing else to do; CI's is neither.
const STOPS_WITHIN: Duration = Duration::from_secs(2);

fn engine(options: QueryOptions) -> Engine {
    engine_over(TestSource::default(), options)
}

fn engine_over(source: TestSource, options: QueryOptions) -> Engine {
    let clock = Arc::new(ManualClock::new(source.now()));
    Engine::new(Arc::new(source), QueryOptions { threads: 2, concurrency: 1, ..options }, clock)
        .expect("an engine")
}

/// How long it takes until the only place of the engine is free.
async fn until_free(engine: &Engine) -> Duration {
    let begin = Instant::now();
    while engine.query(request("SELECT 1")).await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the query goes on");
    }
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_work_stops_when_it_is_told_to() {
    let patience = Duration::from_millis(50);
    let options = QueryOptions { first_page_within: patience, ..QueryOptions::default() };
    let engine = engine_over(rows(100_000), options);
    for (what, sql) in HEAVY {
        let first = engine.query(request(sql)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(first.next_token.is_some(), "{what}: {first:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(engine.cancel(&first.query_id), Ok(Cancelled::Now), "{what}");
        let took = until_free(&engine).await;
        println!("{what} stops within {took:?}");
        assert!(took < STOPS_WITHIN, "{what} goes on for {took:?}");
        assert!(is_cancelled(&engine.query(after(&first, sql)).await), "{what}");
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_work_stops_when_its_time_is_over() {
    let timeout = Duration::from_millis(300);
    let engine = engine_over(rows(100_000), QueryOptions { timeout, ..QueryOptions::default() });
    for (what, sql) in HEAVY {
        let begin = Instant::now();
        let result = engine.query(request(sql)).await;
        assert!(matches!(&result, Err(QueryError::Exhausted(_))), "{what}: {result:?}");
        let took = begin.elapsed();
        let took = took.saturating_sub(timeout) + until_free(&engine).await;
        println!("{what} stops {took:?} after its time");
        assert!(took < STOPS_WITHIN, "{what} goes on for {took:?}");
    }
    engine.shutdown().await;
}

fn after(page: &Page, sql: &str) -> QueryRequest {
    QueryRequest { next_token: page.next_token.clone(), ..request(sql) }
}

fn is_cancelled<T: std::fmt::Debug>(result: &Result<T, QueryError>) -> bool {
    matches!(result, Err(QueryError::Conflict(text)) if text.contains("cancelled"))
}

/// The only place is free again: the work has stopped.
async fn has_place(engine: &Engine) {
    let begin = Instant::now();
    engine.query(request("SELECT 1")).await.expect("a turn");
    // A tenth of a second in an optimised build on a machine with nothing else to do.
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_being_made_is_cancelled() {
    let engine = engine(QueryOptions::default());
    let first = engine.query(QueryRequest { max_rows: Some(1), ..request(STUCK) }).await.expect("a page");
    assert_eq!(first.rows.len(), 1);
    let (other, next) = (engine.clone(), after(&first, STUCK));
    let polling = tokio::spawn(async move { other.query(next).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(engine.cancel(&first.query_id), Ok(Cancelled::Now));
    assert!(is_cancelled(&polling.await.expect("no panic")));
    has_place(&engine).await;
    assert_eq!(engine.cancel(&first.query_id), Ok(Cancelled::Before));
    assert!(is_cancelled(&engine.query(after(&first, STUCK)).await));
    assert!(matches!(engine.cancel("AEDNONE"), Err(QueryError::Validation(_))));
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_without_rows_yet_answers_with_its_columns() {
    let patience = Duration::from_millis(50);
    let engine = engine(QueryOptions { first_page_within: patience, ..QueryOptions::default() });
    let first = engine.query(request(SILENT)).await.expect("a page");
    assert_eq!((first.rows.len(), first.columns.len()), (0, 1));
    let second = engine.query(after(&first, SILENT)).await.expect("a page");
    assert_eq!((second.rows.len(), &second.query_id), (0, &first.query_id));
    assert_ne!(second.next_token, first.next_token);
    let again = engine.query(after(&first, SILENT)).await.expect("the same page");
    assert_eq!(again.next_token, second.next_token);
    // Whoever goes away while it waits takes nothing away from whoever asks next.
    let given_up = tokio::time::timeout(patience / 5, engine.query(after(&second, SILENT))).await;
    assert!(given_up.is_err());
    let third = engine.query(after(&second, SILENT)).await.expect("a page");
    assert_eq!(engine.cancel(&first.query_id), Ok(Cancelled::Now));
    assert!(is_cancelled(&engine.query(after(&third, SILENT)).await));
    has_place(&engine).await;
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_takes_long_is_seen_to_its_end() {
    let engine = engine(QueryOptions { first_page_within: Duration::ZERO, ..QueryOptions::default() });
    let sql = "SELECT count(*) FROM UNNEST(sequence(1, 3000)) AS a (n) CROSS JOIN UNNEST(sequence(1, 3000)) AS b (n) \
               WHERE a.n * b.n > 0";
    let mut page = engine.query(request(sql)).await.expect("a page");
    let mut pages = 1;
    while page.next_token.is_some() {
        page = engine.query(after(&page, sql)).await.expect("a page");
        pages += 1;
    }
    assert!(pages > 1);
    assert_eq!(page.rows, [[crate::query::Datum::Scalar("9000000".to_owned())]]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_has_to_ask_for_a_query_to_end_in_time() {
    let engine = engine(QueryOptions {
        first_page_within: Duration::from_millis(20),
        timeout: Duration::from_millis(500),
        ..QueryOptions::default()
    });
    let first = engine.query(request(SILENT)).await.expect("a page");
    tokio::time::sleep(Duration::from_millis(600)).await;
    let begin = Instant::now();
    // Its place is free as soon as the work has noticed.
    while engine.query(request("SELECT 1")).await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the query goes on");
    }
    let result = engine.query(after(&first, SILENT)).await;
    assert!(result.as_ref().is_err_and(|error| error.to_string().contains("timed out")), "{result:?}");
    engine.shutdown().await;
}
