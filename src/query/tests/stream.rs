//! Whole results for callers within the process.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::TestSource;
use crate::clock::{ManualClock, Timestamp};
use crate::query::{Datum, Engine, Parameters, QueryError, QueryOptions};

const LONG: Duration = Duration::from_secs(60);

fn engine(options: QueryOptions) -> Engine {
    let source = TestSource::default();
    let clock = Arc::new(ManualClock::new(source.now()));
    Engine::new(Arc::new(source), QueryOptions { threads: 2, ..options }, clock).expect("an engine")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_comes_in_pieces_and_takes_no_turn() {
    let engine =
        engine(QueryOptions { page_rows: 10, concurrency: 1, cursors: 1, ..QueryOptions::default() });
    let sql = "SELECT n FROM UNNEST(sequence(1, 25)) AS t (n)".to_owned();
    let mut stream = engine.stream(sql, Parameters::new(), LONG).await.expect("a stream");
    assert_eq!(stream.columns()[0].name.as_deref(), Some("n"));
    let mut sizes = Vec::new();
    while let Some(chunk) = stream.next().await.expect("a piece") {
        sizes.push(chunk.rows.len());
        assert_eq!(chunk.insights.output_rows, sizes.iter().sum::<usize>() as u64);
        assert_eq!(chunk.bytes_metered, 10_000_000);
        // Others have their turns and their cursors meanwhile.
        let page = engine.query(super::request("SELECT n FROM UNNEST(sequence(1, 25)) AS t (n)")).await;
        assert_eq!(page.expect("a page").rows.len(), 10);
    }
    assert_eq!(sizes, [10, 10, 5]);
    assert_eq!(stream.next().await, Ok(None));

    let at = Timestamp::from_nanos(1_000_000_007);
    let parameters = Parameters::from([("scheduled_runtime".to_owned(), at)]);
    let sql = "SELECT @scheduled_runtime AS at, NULL AS nothing".to_owned();
    let mut stream = engine.stream(sql, parameters, LONG).await.expect("a stream");
    let chunk = stream.next().await.expect("a piece").expect("rows");
    assert_eq!(chunk.rows[0].iter().map(Datum::moment).collect::<Vec<_>>(), [Some(at), None]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_come_before_rows_and_failures_between_them() {
    let engine = engine(QueryOptions { page_rows: 1, ..QueryOptions::default() });
    let open = |sql: &str| engine.stream(sql.to_owned(), Parameters::new(), LONG);
    let refused = open("SELECT nowhere").await.map(drop);
    assert!(matches!(&refused, Err(QueryError::Validation(_))), "{refused:?}");
    let refused = open("SELECT @scheduled_runtime").await.map(drop);
    assert!(matches!(&refused, Err(QueryError::Validation(_))), "{refused:?}");
    let mut stream = open("SELECT 6 / (3 - n) FROM UNNEST(sequence(1, 3)) AS t (n)").await.expect("a stream");
    let failed = stream.next().await;
    assert!(matches!(&failed, Err(QueryError::Execution(_))), "{failed:?}");
    engine.shutdown().await;
    assert!(matches!(open("SELECT 1").await.map(drop), Err(QueryError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_in_time() {
    let engine = engine(QueryOptions::default());
    let sql = "SELECT max(a.n * b.n * c.n) FROM UNNEST(sequence(1, 10000)) AS a (n) CROSS JOIN \
               UNNEST(sequence(1, 10000)) AS b (n) CROSS JOIN UNNEST(sequence(1, 10000)) AS c (n)";
    let opened = engine.stream(sql.to_owned(), Parameters::new(), Duration::from_millis(200)).await;
    let late = match opened {
        Ok(mut stream) => stream.next().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(&late, Err(QueryError::Exhausted(text)) if text.contains("timed out")), "{late:?}");
    engine.shutdown().await;
}
