//! Queries that are checked and not run, and the values of parameters.

use std::collections::BTreeMap;

use super::fixture::TestSource;
use super::{column_text, engine, request};
use crate::clock::Timestamp;
use crate::query::{Datum, Engine, QueryError, QueryOptions};

async fn hosts() -> Engine {
    let mut source = TestSource::default();
    let block = "table d.t\nhost dimension | measure_name | time | cpu double\n\
                 a | m | 2021-11-15 14:00:00 | 1\nflush\na | m | 2021-11-15 15:00:00 | 2";
    source.read_block(block).await;
    engine(source, QueryOptions::default())
}

#[tokio::test]
async fn a_prepared_query_tells_its_columns_and_parameters() {
    let engine = hosts().await;
    let sql = "SELECT host, cpu AS load, bin(@scheduled_runtime, 1h) AS at, max(time) FROM d.t \
               WHERE time BETWEEN @scheduled_runtime - 1h AND @until GROUP BY host, cpu";
    let prepared = engine.prepare(sql).await.expect("a plan");
    assert_eq!(prepared.parameters, ["scheduled_runtime", "until"]);
    let columns: Vec<String> = prepared.columns.iter().map(|column| column_text(&column.info)).collect();
    assert_eq!(columns, ["host VARCHAR", "load DOUBLE", "at TIMESTAMP", "_col3 TIMESTAMP"]);
    let aliased: Vec<bool> = prepared.columns.iter().map(|column| column.aliased).collect();
    assert_eq!(aliased, [false, true, true, false]);
    let from = Some(("d".to_owned(), "t".to_owned()));
    assert_eq!(prepared.columns[0].table, from);
    assert_eq!(prepared.columns[3].table, None);
    let star = engine.prepare("SELECT * FROM d.t").await.expect("a plan");
    assert!(star.columns.iter().all(|column| column.table == from && !column.aliased));
    assert_eq!(engine.prepare("DESCRIBE d.t").await.expect("a plan").columns.len(), 3);
    let wrong = engine.prepare("SELECT nope FROM d.t").await;
    assert_eq!(wrong, Err(QueryError::Validation("line 1:8: Column 'nope' does not exist".to_owned())));
}

#[tokio::test]
async fn parameters_stand_for_their_values() {
    let engine = hosts().await;
    let sql = "SELECT cpu FROM d.t WHERE time BETWEEN @scheduled_runtime - 30m AND @scheduled_runtime";
    let at = Timestamp::from_nanos(1_636_988_400_000_000_000);
    let parameters = BTreeMap::from([("scheduled_runtime".to_owned(), at)]);
    let page = engine.query_with(request(sql), parameters).await.expect("a page");
    assert_eq!(page.rows, vec![vec![Datum::Scalar("2.0".to_owned())]]);
    let without = engine.query(request(sql)).await;
    assert!(
        matches!(&without, Err(QueryError::Validation(text)) if text.starts_with("line 1:40: the parameter")),
        "{without:?}"
    );
}
