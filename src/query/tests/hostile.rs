//! Texts that mean harm, and queries that take more than they should get.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};

use super::fixture::TestSource;
use super::{engine, request};
use crate::clock::ManualClock;
use crate::query::{Datum, Engine, QueryError, QueryOptions};

/// `n` rows of a number and a double.
pub(super) fn rows(n: i64) -> TestSource {
    let schema = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("x", DataType::Float64, true),
    ]));
    #[expect(clippy::cast_precision_loss, reason = "a test")]
    let doubles = Float64Array::from_iter_values((0..n).map(|n| n as f64));
    let batch =
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(0..n)), Arc::new(doubles)]);
    TestSource::default().with_memory("d", "t", vec![batch.expect("a batch")])
}

#[tokio::test]
async fn deep_and_long_texts_are_refused_and_harm_nothing() {
    let engine = engine(rows(1), QueryOptions::default());
    let deep = |open: &str, close: &str, n: usize| format!("SELECT {}1{}", open.repeat(n), close.repeat(n));
    let texts = [
        deep("(", ")", 100_000),
        deep("(", "", 100_000),
        deep("-", "", 200_000),
        deep("NOT ", "", 50_000),
        deep("abs(", ")", 30_000),
        deep("ARRAY[", "]", 30_000),
        deep("CASE WHEN true THEN ", " END", 9_000),
        format!("SELECT {}1", "(SELECT ".repeat(20_000)),
        format!("SELECT 1{}", " AND 1".repeat(40_000)),
        format!("SELECT 1{}", "+1".repeat(100_000)),
        format!("SELECT 1{}", " IS NULL".repeat(30_000)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(15_000)),
        format!("SELECT 1 FROM d.t{}", ", d.t".repeat(40_000)),
        format!("SELECT a{}", "[1]".repeat(80_000)),
        format!("SELECT a{}", ".b".repeat(120_000)),
        format!("SELECT '{}'", "x".repeat(300_000)),
        String::new(),
        "\u{0}".to_owned(),
        "SELECT \"".to_owned(),
        "/*".repeat(1_000),
    ];
    for text in texts {
        let result = engine.query(request(&text)).await;
        let start: String = text.chars().take(40).collect();
        assert!(matches!(result, Err(QueryError::Validation(_))), "{start}: {result:?}");
    }
    assert!(engine.query(request("SELECT 1")).await.is_ok());
}

#[tokio::test]
async fn texts_at_the_edge_of_what_is_allowed_are_answered() {
    let engine = engine(rows(1), QueryOptions::default());
    let deep = format!("SELECT {}1{}", "(".repeat(90), ")".repeat(90));
    assert_eq!(engine.query(request(&deep)).await.map(|page| page.rows.len()), Ok(1));
    let chain = format!("SELECT n FROM d.t WHERE n = 0{}", " OR n = 1".repeat(900));
    assert_eq!(engine.query(request(&chain)).await.map(|page| page.rows.len()), Ok(1));
    let list: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let long = format!("SELECT n FROM d.t WHERE n IN ({})", list.join(", "));
    assert_eq!(engine.query(request(&long)).await.map(|page| page.rows.len()), Ok(1));
}

fn limited(source: TestSource, options: QueryOptions) -> Engine {
    let clock = Arc::new(ManualClock::new(source.now()));
    let first_page_within = Duration::from_secs(120);
    Engine::new(Arc::new(source), QueryOptions { threads: 2, first_page_within, ..options }, clock)
        .expect("an engine")
}

#[tokio::test]
async fn a_join_that_does_not_look_up_ends_in_time_and_leaves_its_place() {
    let options =
        QueryOptions { timeout: Duration::from_millis(300), concurrency: 1, ..QueryOptions::default() };
    let engine = limited(rows(60_000), options);
    let sql = "SELECT count(*) FROM d.t a CROSS JOIN d.t b WHERE a.x * b.x < -1";
    let begin = Instant::now();
    let result = engine.query(request(sql)).await;
    assert!(matches!(&result, Err(QueryError::Exhausted(text)) if text.contains("timed out")), "{result:?}");
    assert!(begin.elapsed() < Duration::from_secs(2));
    // The only place is free again as soon as the join has noticed.
    let begin = Instant::now();
    while engine.query(request("SELECT 1")).await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the join goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn one_query_more_than_may_wait_is_throttled() {
    let options =
        QueryOptions { concurrency: 1, queue: 1, timeout: Duration::from_secs(2), ..QueryOptions::default() };
    let engine = limited(rows(60_000), options);
    let slow = "SELECT count(*) FROM d.t a CROSS JOIN d.t b WHERE a.x * b.x < -1";
    let start = || {
        let engine = engine.clone();
        tokio::spawn(async move { engine.query(request(slow)).await })
    };
    let (running, waiting) = (start(), start());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let result = engine.query(request("SELECT 1")).await;
    assert!(matches!(result, Err(QueryError::Throttled(_))), "{result:?}");
    running.abort();
    waiting.abort();
    engine.shutdown().await;
}

#[tokio::test]
async fn a_query_gets_no_more_memory_than_there_is() {
    let engine = limited(rows(200_000), QueryOptions { memory_bytes: 1 << 20, ..QueryOptions::default() });
    let sql = "SELECT cardinality(array_agg(a.n)) FROM d.t a JOIN d.t b ON a.n = b.n";
    let result = engine.query(request(sql)).await;
    assert!(matches!(&result, Err(QueryError::Exhausted(text)) if text.contains("memory")), "{result:?}");
    let engine = limited(rows(200_000), QueryOptions { memory_bytes: 8 << 20, ..QueryOptions::default() });
    let groups = "SELECT count(*) FROM (SELECT n, count(*) AS c FROM d.t GROUP BY n ORDER BY c, n)";
    let page = engine.query(request(groups)).await.expect("groups and sorts spill");
    assert_eq!(page.rows, vec![vec![Datum::Scalar("200000".to_owned())]]);
}

#[tokio::test]
async fn an_engine_that_stops_answers_and_lets_go() {
    let engine = limited(rows(60_000), QueryOptions::default());
    let worker = engine.clone();
    let slow = "SELECT count(*) FROM d.t a CROSS JOIN d.t b WHERE a.x * b.x < -1";
    let running = tokio::spawn(async move { worker.query(request(slow)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    engine.shutdown().await;
    let result = running.await.expect("an answer");
    assert!(matches!(result, Err(QueryError::Unavailable(_))), "{result:?}");
    assert!(matches!(engine.query(request("SELECT 1")).await, Err(QueryError::Unavailable(_))));
}

#[tokio::test]
async fn queries_that_take_the_planner_long_are_refused() {
    let engine = limited(rows(1), QueryOptions::default());
    let many = |n: usize, part: &dyn Fn(usize) -> String, between: &str| {
        (0..n).map(part).collect::<Vec<_>>().join(between)
    };
    let view = |i: usize| match i {
        0 => "c0 AS (SELECT 1 AS x)".to_owned(),
        _ => format!("c{i} AS (SELECT a.x FROM c{p} a, c{p} b)", p = i - 1),
    };
    let texts = [
        format!("SELECT {}", many(40_000, &|i| i.to_string(), ",")),
        format!("WITH c AS (SELECT 1 AS x) SELECT 1 FROM {}", many(1_000, &|i| format!("c a{i}"), ",")),
        format!("SELECT {} FROM d.t", many(1_000, &|_| "n".to_owned(), "+")),
        many(1_000, &|i| format!("SELECT {i}"), " UNION ALL "),
        format!("WITH {} SELECT x FROM c23", many(24, &view, ", ")),
    ];
    for text in texts {
        let begin = Instant::now();
        let result = engine.query(request(&text)).await;
        assert!(matches!(result, Err(QueryError::Validation(_))), "{result:?}");
        assert!(begin.elapsed() < Duration::from_secs(2));
    }
    let views = format!("WITH {} SELECT count(x) AS n FROM c6", many(7, &view, ", "));
    assert_eq!(engine.query(request(&views)).await.map(|page| page.rows.len()), Ok(1));
}

#[tokio::test]
async fn functions_refuse_to_make_more_than_a_row_or_a_batch_may_hold() {
    // How long a busy machine takes to get there is not the question.
    let patient = QueryOptions { timeout: Duration::from_secs(300), ..QueryOptions::default() };
    let engine = limited(rows(60_000), patient);
    let texts = [
        "SELECT length(replace(lpad('a',1000000,'b'),'b',lpad('a',1000000,'b')))",
        "SELECT length(array_join(repeat(lpad('a',1000000,'b'),10000),','))",
        "SELECT length(array_join(repeat('a',10000),lpad('a',1000000,'b')))",
        // Of a column, not of literals: those are tried again whenever the optimizer comes by.
        "SELECT length(regexp_replace(lpad(cast(n AS varchar),1000000,'b'),'b',lpad('a',1000000,'b'))) \
         FROM d.t WHERE n = 1",
        "SELECT length(regexp_replace(lpad(cast(n AS varchar),50000,'b'),'(b)', g -> lpad('a',1000000,'b'))) \
         FROM d.t WHERE n = 1",
        "SELECT reduce(sequence(1,33),'x',(s,x)->s||s,s->length(s))",
        "SELECT reduce(sequence(1,33),ARRAY[n],(s,x)->s||s,s->cardinality(s)) FROM d.t WHERE n = 1",
        "SELECT cardinality(transform(sequence(1,10000),x->sequence(1,10000)))",
        "SELECT cardinality(transform(a,x->cardinality(a))) FROM (SELECT array_agg(n) a FROM d.t)",
        "SELECT reduce(create_time_series(from_milliseconds(a),a),'x',(s,x)->s||s,s->length(s)) \
         FROM unnest(sequence(1,33)) t(a)",
        "SELECT sum(length(concat(a.t,a.t,a.t,a.t,cast(b.n AS varchar)))) FROM \
         (SELECT lpad(max('a'),1000000,'b') t FROM d.t) a, d.t b",
        "SELECT sum(cardinality(sequence(n,n+9999))) FROM d.t",
        "SELECT sum(cardinality(repeat(n,10000))) FROM d.t",
        "SELECT cardinality(array_distinct(transform(sequence(1,10000),x->t))) \
         FROM (SELECT lpad(max('a'),1000000,'b') t FROM d.t)",
        "SELECT cardinality(split(concat(t,t,t,t,t,t,t,t),'b')) FROM (SELECT lpad('a',1000000,'b') t)",
        "SELECT cardinality(a) FROM (SELECT concat(a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a) a FROM \
         (SELECT concat(a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a) a FROM (SELECT sequence(1,10000) a)))",
        "SELECT cardinality(zip(a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a)) FROM \
         (SELECT repeat(n,10000) a FROM d.t WHERE n < 2000)",
    ];
    for text in texts {
        let begin = Instant::now();
        let result = engine.query(request(text)).await;
        println!("{:?} {text}", begin.elapsed());
        assert!(matches!(&result, Err(QueryError::Execution(e)) if e.contains("MiB")), "{text}: {result:?}");
    }
}

#[tokio::test]
async fn work_that_multiplies_is_refused() {
    let engine = limited(rows(10), QueryOptions::default());
    for text in [
        "SELECT levenshtein_distance(lpad('a',1000000,'b'),lpad('c',1000000,'d'))",
        "SELECT regexp_like(lpad('a',1000000,'b'),'((b?){50}c){100}')",
    ] {
        let result = engine.query(request(text)).await;
        assert!(
            matches!(&result, Err(QueryError::Execution(e)) if e.contains("too l")),
            "{text}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_function_that_runs_long_leaves_its_place() {
    let options =
        QueryOptions { timeout: Duration::from_millis(300), concurrency: 1, ..QueryOptions::default() };
    let engine = limited(rows(10_000), options);
    for slow in [
        "SELECT max(levenshtein_distance(lpad(chr(n % 50 + 65),9999,'b'),lpad('c',9999,'d'))) FROM d.t",
        "SELECT levenshtein_distance(lpad('a',9999,'b'),lpad('c',9999,'d')) + \
         reduce(sequence(1,10000),0,(s,x)->s+levenshtein_distance(lpad('a',9999,'b'),lpad('c',9999,'d')||\
         cast(x AS varchar)),s->s)",
        "SELECT cardinality(regexp_extract_all(lpad('A',1000000,'A'),'.*[^A-Z]|[A-Z]'))",
    ] {
        let result = engine.query(request(slow)).await;
        assert!(matches!(&result, Err(QueryError::Exhausted(e)) if e.contains("timed out")), "{result:?}");
        let begin = Instant::now();
        while engine.query(request("SELECT 1")).await.is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "the function goes on: {slow}");
        }
    }
}

#[tokio::test]
async fn a_query_whose_caller_goes_away_leaves_its_place() {
    let options = QueryOptions { concurrency: 1, ..QueryOptions::default() };
    let engine = limited(rows(60_000), options);
    for slow in [
        "SELECT count(*) FROM d.t a CROSS JOIN d.t b WHERE a.x * b.x < -1",
        "SELECT count(*) FROM d.t a JOIN d.t b ON a.n % 2 = b.n % 2 AND a.x + b.x < -1",
        "SELECT max(a.x) FROM (SELECT a.x FROM d.t a, d.t b, d.t c) a",
    ] {
        let other = engine.clone();
        let running = tokio::spawn(async move { other.query(request(slow)).await });
        tokio::time::sleep(Duration::from_millis(150)).await;
        running.abort();
        let begin = Instant::now();
        let after = engine.query(request("SELECT 1")).await;
        assert!(after.is_ok(), "{slow}: {after:?}");
        // A tenth of a second in an optimised build on a machine with nothing else to do.
        assert!(begin.elapsed() < Duration::from_secs(5), "{slow}: {:?}", begin.elapsed());
    }
}
