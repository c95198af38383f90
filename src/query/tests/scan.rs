//! What a scan reads, and what it leaves alone.

use std::sync::Arc;

use super::fixture::TestSource;
use super::{all_pages, engine};
use crate::clock::{ManualClock, Timestamp};
use crate::query::{Datum, Engine, Page, QueryError, QueryOptions};

const TABLE: &str = "table d.t
host dimension | measure_name | time | measure_value::double double
a | cpu | 2021-11-15 00:00:01 | 1
b | cpu | 2021-11-15 00:00:02 | 2
flush
c | cpu | 2021-11-16 00:00:01 | 3
flush
d | cpu | 2021-11-17 00:00:01 | 4";

/// Answers `sql` over [`TABLE`], with a third part of the 14th whose file is lost.
async fn ask(sql: &str) -> Result<Page, QueryError> {
    let mut source = TestSource::default();
    source.read_block(TABLE).await;
    let lost = Timestamp::from_nanos(1_636_848_000_000_000_000);
    source.lose_part("d", "t", lost);
    all_pages(&engine(source, QueryOptions::default()), sql).await
}

#[tokio::test]
async fn parts_outside_the_time_range_are_not_opened() {
    for filter in [
        "time >= '2021-11-15'",
        "time BETWEEN '2021-11-15 00:00:00' AND '2021-11-20'",
        "time > TIMESTAMP '2021-11-16 00:00:00' - 1d",
        "'2021-11-15' < time AND time < now()",
        "time > from_milliseconds(1636934400000)",
        "time >= bin(TIMESTAMP '2021-11-15 12:00:00', 1d)",
        "(time > '2021-11-16' OR time = '2021-11-15 00:00:01')",
        "time IN ('2021-11-16 00:00:01', '2021-11-15 00:00:01')",
        "time > ago(48d) AND now() > time",
        "bin(time, 1h) >= '2021-11-15'",
        "bin(time, 1d) BETWEEN '2021-11-15' AND '2021-11-17'",
        "bin(time, 1h) = '2021-11-16 00:00:00'",
        "date_trunc('day', time) > TIMESTAMP '2021-11-14'",
        "cast(time AS date) = DATE '2021-11-16'",
        "date(time) IN (DATE '2021-11-16', DATE '2021-11-17')",
    ] {
        let page = ask(&format!("SELECT host FROM d.t WHERE {filter}")).await;
        assert!(page.is_ok(), "{filter}: {page:?}");
    }
    let error = ask("SELECT host FROM d.t").await.expect_err("the lost part is read");
    assert!(
        matches!(&error, QueryError::Unavailable(text) if text.contains("could not be read")),
        "{error:?}"
    );
}

#[tokio::test]
async fn bytes_of_parts_and_of_rows_in_memory_are_counted() {
    let day = |day| format!("SELECT * FROM d.t WHERE time >= '2021-11-{day}'");
    let memory = ask(&day(17)).await.expect("a page");
    assert_eq!(memory.rows.len(), 1);
    assert!((1..10_000).contains(&memory.bytes_scanned), "{}", memory.bytes_scanned);
    let one = ask(&day(16)).await.expect("a page");
    let two = ask(&day(15)).await.expect("a page");
    assert!(one.bytes_scanned > 0 && two.bytes_scanned > one.bytes_scanned);
}

#[tokio::test]
async fn filters_on_time_go_through_views_joins_and_groups() {
    for sql in [
        "WITH v AS (SELECT host, time, measure_value::double AS cpu FROM d.t), w AS (SELECT * FROM v) \
         SELECT host, max(cpu) FROM w WHERE time >= '2021-11-15' GROUP BY host",
        "SELECT a.host FROM d.t a JOIN d.t b ON a.host = b.host WHERE a.time >= '2021-11-15' AND b.time > \
         ago(48d)",
        "SELECT a.host FROM d.t a, d.t b WHERE a.time >= '2021-11-15' AND a.time = b.time",
        "SELECT t, count(*) FROM (SELECT bin(time, 1h) AS t FROM d.t) WHERE t >= '2021-11-15' GROUP BY t",
        "SELECT bin(time, 1h) AS time FROM d.t WHERE time >= '2021-11-15' UNION SELECT time FROM d.t WHERE \
         time > '2021-11-16'",
    ] {
        let page = ask(sql).await;
        assert!(page.is_ok(), "{sql}: {page:?}");
    }
}

#[tokio::test]
async fn the_newest_rows_are_found_in_the_newest_parts() {
    let mut source = TestSource::default();
    source.read_block(TABLE).await;
    source.lose_part("d", "t", Timestamp::from_nanos(1_636_848_000_000_000_000));
    // One thread: with two, the second may open a part before the first has told what it need not look for.
    let options = QueryOptions { threads: 1, ..QueryOptions::default() };
    let clock = Arc::new(ManualClock::new(source.now()));
    let engine = Engine::new(Arc::new(source), options, clock).expect("an engine");
    for sql in [
        "SELECT host, time FROM d.t ORDER BY time DESC LIMIT 2",
        "SELECT * FROM d.t WHERE measure_name = 'cpu' ORDER BY time DESC LIMIT 1",
    ] {
        let page = all_pages(&engine, sql).await;
        assert!(page.is_ok(), "{sql}: {page:?}");
    }
}

/// Sixteen hosts of four rows each in one part, two rows to a row group.
async fn hosts() -> Engine {
    let mut source = TestSource::default();
    let mut block = "table d.t\nhost dimension | measure_name | time | note varchar\n".to_owned();
    for host in 0..16 {
        for second in 0..4 {
            let note: String = (0..600)
                .map(|i| char::from(b'a' + u8::try_from((i * i + host * second) % 26).unwrap()))
                .collect();
            block.push_str(&format!("h{host:02} | m{} | 2021-11-15 00:0{second}:00 | {note}\n", host % 2));
        }
    }
    block.push_str("flush");
    source.read_block(&block).await;
    engine(source, QueryOptions::default())
}

#[tokio::test]
async fn what_dimensions_and_measures_rule_out_is_not_read() {
    let engine = hosts().await;
    let bytes = |sql: &'static str| {
        let engine = engine.clone();
        async move { all_pages(&engine, sql).await.expect("a page").bytes_scanned }
    };
    let all = bytes("SELECT * FROM d.t").await;
    for sql in [
        "SELECT * FROM d.t WHERE host = 'h07'",
        "SELECT * FROM d.t WHERE host = 'h07x'",
        "SELECT * FROM d.t WHERE host IN ('h01', 'h02') AND time < '2021-11-15 00:02:00'",
        "WITH v AS (SELECT * FROM d.t) SELECT * FROM v WHERE host = 'h07'",
        "SELECT a.note FROM d.t a JOIN (VALUES 'h07') AS w(host) ON a.host = w.host",
        "SELECT max(time) FROM d.t WHERE host = 'h07'",
        "SELECT host, time FROM d.t WHERE measure_name = 'm1' AND host < 'h03' ORDER BY time DESC LIMIT 1",
    ] {
        let part = bytes(sql).await;
        assert!(part * 2 < all, "{part} of {all} bytes: {sql}");
    }
    for sql in ["SELECT count(*) FROM d.t", "SELECT max(time), min(time) FROM d.t"] {
        assert_eq!(bytes(sql).await, 0, "{sql} needs no file");
    }
}

#[tokio::test]
async fn what_is_known_of_a_part_leaves_superseded_rows_out() {
    let mut source = TestSource::default();
    let block = "table d.t\nhost dimension | measure_name | time | n bigint\n\
                 a | m | 2021-11-15 00:00:01 | 1\na | m | 2021-11-15 00:00:02 | 2\nflush\nsuperseded 1\n\
                 a | m | 2021-11-15 00:00:02 | 3";
    source.read_block(block).await;
    let engine = engine(source, QueryOptions::default());
    let sql = "SELECT count(*), max(time), sum(n) FROM d.t";
    let page = all_pages(&engine, sql).await.expect("a page");
    let expected = ["2", "2021-11-15 00:00:02.000000000", "4"].map(|text| Datum::Scalar(text.to_owned()));
    assert_eq!(page.rows, vec![expected.to_vec()]);
}

/// Parts of row groups of one measure and of two, one with a superseded row, and rows in memory.
async fn measures(rows_alone: usize) -> Engine {
    let mut block =
        "table d.t\nhost dimension | rack dimension | measure_name | time | n bigint\n".to_owned();
    for part in 0..3 {
        for row in 0..14 {
            let measure = ["a", "a", "a", "a", "a", "b", "b", "b", "b", "b", "b", "c", "c", "c"][row];
            let rack = ["r1", "r2", "NULL"][row / 2 % 3];
            block.push_str(&format!(
                "h{} | {rack} | {measure} | 2021-11-1{part} 00:00:{row:02} | {row}\n",
                row % 2
            ));
        }
        block.push_str(["flush\n", "flush\nsuperseded 3 8\n", ""][part]);
    }
    let mut source = TestSource::default();
    source.read_block(&block).await;
    let engine = engine(source, QueryOptions { rows_alone, ..QueryOptions::default() });
    // Row groups are known once they were read.
    all_pages(&engine, "SELECT * FROM d.t").await.expect("a page");
    engine
}

#[tokio::test]
async fn row_groups_of_one_measure_are_not_asked_and_all_others_are() {
    let (one_scan, apart) = (measures(usize::MAX).await, measures(0).await);
    for sql in [
        "SELECT * FROM d.t WHERE measure_name = 'a' ORDER BY time",
        "SELECT n FROM d.t WHERE measure_name = 'b' ORDER BY 1",
        "SELECT count(*), sum(n), min(time), max(time) FROM d.t WHERE measure_name IN ('a', 'c')",
        "SELECT count(*) FROM d.t WHERE measure_name = 'c' OR measure_name = 'b'",
        "SELECT count(*) FROM d.t WHERE measure_name = 'none'",
        "SELECT count(*) FROM d.t WHERE measure_name = 'a' AND rack = 'r1'",
        "SELECT host, rack, n FROM d.t WHERE rack = 'r2' AND n > 2 ORDER BY time",
        "SELECT time, n FROM d.t WHERE measure_name = 'b' AND time > '2021-11-10 00:00:07' ORDER BY time",
        "SELECT time FROM d.t WHERE measure_name = 'b' ORDER BY time DESC LIMIT 3",
        "SELECT count(*) FROM (SELECT * FROM d.t WHERE measure_name = 'b' LIMIT 10)",
        "SELECT host, bin(time, 1d), max(n) FROM d.t WHERE measure_name = 'b' GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT x.n, y.n FROM d.t x JOIN d.t y ON x.host = y.host AND x.time = y.time + 1s - 1s WHERE \
         x.measure_name = 'a' AND y.measure_name IN ('a', 'b') ORDER BY x.time",
        "SELECT n FROM d.t WHERE measure_name = 'a' AND n IN (SELECT n FROM d.t WHERE measure_name = 'a' AND \
         time > '2021-11-11') ORDER BY time",
    ] {
        let expected = all_pages(&one_scan, sql).await.expect("a page");
        let found = all_pages(&apart, sql).await.expect("a page");
        assert_eq!(found.rows, expected.rows, "{sql}");
    }
    let sql = "SELECT n FROM d.t WHERE measure_name = 'b' AND time < '2021-11-11'";
    let asked = all_pages(&one_scan, sql).await.expect("a page").bytes_scanned;
    let passed = all_pages(&apart, sql).await.expect("a page").bytes_scanned;
    assert!(passed < asked, "{passed} and {asked} bytes: the measure names are read all the same");
}
