//! Scheduled queries over a store in a temporary folder, with a clock that is moved by hand.

mod mapping;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::buckets::BucketOptions;
use crate::clock::ManualClock;
use crate::query::{QueryOptions, QueryRequest};
use crate::record::{Dimension, Measure, MeasureValue, Record, WriteBatch};
use crate::store::{DatabaseOptions, StoreOptions, TableOptions};

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
/// 2024-01-01 00:00:00
const START: i64 = 1_704_067_200 * SECOND;

/// A daemon without its sockets.
struct House {
    folder: TempDir,
    clock: Arc<ManualClock>,
    store: Store,
    engine: Engine,
    schedules: Schedules,
    stop: Shutdown,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(folder.path().join("buckets/reports")).expect("a bucket");
        let clock = Arc::new(ManualClock::new(Timestamp::from_nanos(START)));
        let house = Self::open(folder, clock).await;
        house.store.create_database("iot", DatabaseOptions::default()).expect("a database");
        house.store.create_table("iot", "raw", TableOptions::default()).expect("a table");
        house.store.create_table("iot", "sums", TableOptions::default()).expect("a table");
        house
    }

    async fn open(folder: TempDir, clock: Arc<ManualClock>) -> Self {
        let own: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let options = StoreOptions::new(folder.path().join("data"));
        let store = Store::open(options, Arc::clone(&own)).await.expect("a store");
        let engine = Engine::new(Arc::new(store.clone()), QueryOptions::default(), Arc::clone(&own));
        let engine = engine.expect("an engine");
        let buckets = Buckets::new(BucketOptions { path: folder.path().join("buckets"), endpoint: None });
        let parts = ScheduleParts { store: store.clone(), engine: engine.clone(), buckets, clock: own };
        let schedules = Schedules::open(ScheduleOptions::default(), parts).expect("schedules");
        let stop = Shutdown::new();
        let (keeper, stopping) = (schedules.clone(), stop.clone());
        stop.spawn(async move { keeper.keep(stopping).await });
        Self { folder, clock, store, engine, schedules, stop }
    }

    /// Ends everything as a crash would, for scheduled queries: no run comes to its end.
    async fn reopen(self) -> Self {
        self.stop.stop(Duration::from_secs(10)).await;
        self.schedules.stop(Duration::from_secs(10)).await;
        self.engine.shutdown().await;
        self.store.close().await.expect("closed");
        let Self { folder, clock, store, engine, schedules, .. } = self;
        drop((store, engine, schedules));
        Self::open(folder, clock).await
    }

    async fn write(&self, host: &str, time: i64, value: f64) {
        let record = Record {
            dimensions: vec![Dimension { name: "host".into(), value: host.to_owned() }].into(),
            measure_name: "cpu".into(),
            measure: Measure::Single(MeasureValue::Double(value)),
            time: Timestamp::from_nanos(time),
            version: 1,
        };
        let batch = WriteBatch { database: "iot".into(), table: "raw".into(), records: vec![record] };
        self.store.submit(batch).await.expect("taken").await.expect("durable");
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let request = QueryRequest { sql: sql.to_owned(), ..QueryRequest::default() };
        let page = self.engine.query(request).await.expect("an answer");
        let text = |datum: &crate::query::Datum| match datum {
            crate::query::Datum::Scalar(text) => text.clone(),
            other => format!("{other:?}"),
        };
        page.rows.iter().map(|row| row.iter().map(text).collect()).collect()
    }

    /// Waits until no run waits or is under way.
    async fn idle(&self) {
        for _ in 0..2_000 {
            self.schedules.inner.changed.notify_one();
            tokio::time::sleep(Duration::from_millis(5)).await;
            let due = self.schedules.inner.book().next_due();
            if self.schedules.counters().runs_ahead == 0 && due.is_none_or(|due| due > self.clock.now()) {
                return;
            }
        }
        panic!("runs did not end");
    }

    async fn at(&self, nanos: i64) {
        self.clock.set(Timestamp::from_nanos(nanos));
        self.idle().await;
    }

    fn last(&self, id: &str) -> Run {
        self.schedules.describe(id).expect("described").last.expect("a run")
    }
}

const QUERY: &str = "SELECT host, max(time) AS time, count(*) AS n, sum(measure_value::double) AS total \
                     FROM iot.raw WHERE time BETWEEN @scheduled_runtime - 5m AND @scheduled_runtime GROUP BY host";

fn target() -> Value {
    json!({
        "DatabaseName": "iot", "TableName": "sums", "TimeColumn": "time",
        "DimensionMappings": [{ "Name": "host", "DimensionValueType": "VARCHAR" }],
        "MultiMeasureMappings": {
            "TargetMultiMeasureName": "load",
            "MultiMeasureAttributeMappings": [
                { "SourceColumn": "n", "TargetMultiMeasureAttributeName": "readings", "MeasureValueType": "BIGINT" },
                { "SourceColumn": "total", "MeasureValueType": "DOUBLE" },
            ],
        },
    })
}

fn request(name: &str) -> Request {
    Request {
        name: name.to_owned(),
        query: QUERY.to_owned(),
        expression: "rate(5 minutes)".to_owned(),
        topic_arn: "arn:aws:sns:us-east-1:000000000000:topic".to_owned(),
        target: Some(serde_json::from_value(target()).expect("a target")),
        role_arn: "arn:aws:iam::000000000000:role/r".to_owned(),
        kms_key_id: None,
        error_report: ReportLocation {
            bucket_name: "reports".to_owned(),
            object_key_prefix: Some("errors/".to_owned()),
            encryption_option: None,
        },
        client_token: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_runs_when_it_is_due_and_its_rows_become_records() {
    let house = House::new().await;
    house.write("a", START + MINUTE, 1.5).await;
    house.write("a", START + 2 * MINUTE, 2.5).await;
    house.write("b", START + 3 * MINUTE, 4.0).await;
    let id = house.schedules.create(request("sums"), Vec::new()).await.expect("created");
    assert!(id.starts_with("sums-") && id.len() == 21, "{id}");
    house.at(START + 5 * MINUTE - 1).await;
    let described = house.schedules.describe(&id).expect("described");
    assert_eq!(described.last, None);
    assert_eq!(described.next, Some(Timestamp::from_nanos(START + 5 * MINUTE)));

    house.at(START + 5 * MINUTE + 7).await;
    let run = house.last(&id);
    assert_eq!((run.status(), run.failure.as_deref()), ("AUTO_TRIGGER_SUCCESS", None));
    assert_eq!(run.invocation(), Timestamp::from_nanos(START + 5 * MINUTE));
    assert_eq!(run.started(), Timestamp::from_nanos(START + 5 * MINUTE + 7));
    assert_eq!((run.stats.records_ingested, run.stats.result_rows, run.stats.data_writes), (2, 2, 1024));
    assert_eq!(run.stats.bytes_metered, 10_000_000);
    let sums = "SELECT host, measure_name, time, readings, total FROM iot.sums ORDER BY host";
    assert_eq!(
        house.rows(sums).await,
        [
            ["a", "load", "2024-01-01 00:02:00.000000000", "2", "4.0"],
            ["b", "load", "2024-01-01 00:03:00.000000000", "1", "4.0"],
        ]
    );
    let next = house.schedules.describe(&id).expect("described").next;
    assert_eq!(next, Some(Timestamp::from_nanos(START + 10 * MINUTE)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_run_replaces_what_an_earlier_one_wrote() {
    let house = House::new().await;
    house.write("a", START + MINUTE, 1.0).await;
    let id = house.schedules.create(request("sums"), Vec::new()).await.expect("created");
    let time = Timestamp::from_nanos(START + 4 * MINUTE);
    house.schedules.execute(&id, time, false).await.expect("accepted");
    house.idle().await;
    assert_eq!(house.last(&id).status(), "MANUAL_TRIGGER_SUCCESS");
    // A reading that came late changes the sum of the same moment, while the clock stands still.
    house.write("a", START + MINUTE - 1, 2.0).await;
    house.schedules.execute(&id, time, true).await.expect("accepted");
    house.idle().await;
    let run = house.last(&id);
    assert_eq!(run.failure, None);
    let insights = run.insights.expect("asked for");
    assert_eq!(insights.output_rows, 1);
    assert!(insights.output_bytes > 20);
    assert_eq!(house.rows("SELECT readings, total FROM iot.sums").await, [["2", "3.0"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_missed_runs_the_latest_is_made_up_for_and_a_cut_one_is_repeated() {
    let house = House::new().await;
    house.write("a", START - 60 * MINUTE, 1.0).await;
    let id = house.schedules.create(request("sums"), Vec::new()).await.expect("created");
    let off = house.schedules.create(request("off"), Vec::new()).await.expect("created");
    house.schedules.update(&off, State::Disabled).await.expect("disabled");
    house.at(START + 5 * MINUTE).await;
    house.write("a", START + 11 * MINUTE, 1.0).await;
    // As if the process had died while this ran.
    house.stop.stop(Duration::from_secs(10)).await;
    house.schedules.execute(&id, Timestamp::from_nanos(START + 12 * MINUTE), false).await.expect("accepted");
    house.clock.set(Timestamp::from_nanos(START + 21 * MINUTE));
    let house = house.reopen().await;
    house.idle().await;
    let described = house.schedules.describe(&id).expect("described");
    let last = described.last.expect("a run");
    assert_eq!(
        last.invocation(),
        Timestamp::from_nanos(START + 20 * MINUTE),
        "not those of 10 and 15 minutes"
    );
    assert_eq!(last.status(), "AUTO_TRIGGER_SUCCESS");
    assert_eq!(described.next, Some(Timestamp::from_nanos(START + 25 * MINUTE)));
    assert_eq!(house.rows("SELECT total FROM iot.sums").await, [["1.0"]], "the run by hand was repeated");
    let off = house.schedules.describe(&off).expect("described");
    assert_eq!((off.last, off.next, off.definition.state), (None, None, State::Disabled));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_disabled_does_not_run_until_it_is_enabled() {
    let house = House::new().await;
    house.write("a", START - 60 * MINUTE, 1.0).await;
    let id = house.schedules.create(request("sums"), Vec::new()).await.expect("created");
    house.schedules.update(&id, State::Disabled).await.expect("disabled");
    house.at(START + 11 * MINUTE).await;
    assert_eq!(house.schedules.describe(&id).expect("described").last, None);
    house.schedules.update(&id, State::Enabled).await.expect("enabled");
    house.idle().await;
    assert_eq!(house.schedules.describe(&id).expect("described").last, None, "nothing is made up for");
    let house = house.reopen().await;
    house.idle().await;
    assert_eq!(house.schedules.describe(&id).expect("described").last, None, "nor after a restart");
    house.at(START + 15 * MINUTE).await;
    assert_eq!(house.last(&id).invocation(), Timestamp::from_nanos(START + 15 * MINUTE));
    let counted = house.schedules.counters();
    assert_eq!((counted.enabled, counted.disabled, counted.runs_ahead), (1, 0, 0));
    assert_eq!(counted.runs[0], ("AUTO_TRIGGER_SUCCESS", 1));
    house.schedules.delete(&id).await.expect("deleted");
    house.at(START + 30 * MINUTE).await;
    assert!(matches!(house.schedules.describe(&id), Err(ScheduleError::NotFound { .. })));
    assert_eq!(house.schedules.list(None, 10).0.len(), 0);
    let house = house.reopen().await;
    let left = house.schedules.counters();
    assert_eq!((left.enabled, left.disabled, left.runs_ahead), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_records_are_reported_and_the_others_stored() {
    let house = House::new().await;
    house.write("a", START + MINUTE, 1.0).await;
    house.write("b", START + MINUTE, 1.0).await;
    let mut own = request("sums");
    // For one of the hosts the time is not known.
    own.query = "SELECT host, CASE WHEN host = 'a' THEN time END AS time, 1 AS n, 1.5 AS total FROM iot.raw"
        .to_owned();
    let id = house.schedules.create(own, Vec::new()).await.expect("created");
    house.at(START + 5 * MINUTE).await;
    let run = house.last(&id);
    assert_eq!(run.status(), "AUTO_TRIGGER_FAILURE");
    assert_eq!(run.stats.records_ingested, 1);
    let failure = run.failure.clone().expect("a reason");
    assert_eq!(failure, "1 records were rejected; the first: The value of the time column is NULL.");
    let report = run.report.clone().expect("a report");
    let invocation = (START + 5 * MINUTE) / SECOND;
    assert_eq!(report.key, format!("errors/{id}/{invocation}/Auto/{}", run.started().millis()));
    let path = house.folder.path().join("buckets/reports").join(&report.key);
    let report: Value = serde_json::from_slice(&std::fs::read(path).expect("the report")).expect("JSON");
    assert_eq!(
        report["errors"],
        json!([{ "reason": "The value of the time column is NULL.", "records": [] }])
    );
    let described = house.schedules.describe(&id).expect("described");
    assert_eq!(described.definition.state, State::Enabled, "rows that are refused do not disable");
    assert_eq!(described.failed, [run]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_cannot_succeed_is_disabled() {
    let house = House::new().await;
    house.write("a", START + MINUTE, 1.0).await;
    let id = house.schedules.create(request("sums"), Vec::new()).await.expect("created");
    let other = house.schedules.create(request("other"), Vec::new()).await.expect("created");
    house.store.delete_table("iot", "sums").expect("deleted");
    house.at(START + 5 * MINUTE).await;
    let described = house.schedules.describe(&id).expect("described");
    assert_eq!((described.definition.state, described.next), (State::Disabled, None));
    let run = described.last.expect("a run");
    assert_eq!(run.status(), "AUTO_TRIGGER_FAILURE");
    assert_eq!(run.failure.as_deref(), Some("The table sums does not exist."));
    assert_eq!(run.report, None);
    house.store.create_table("iot", "sums", TableOptions::default()).expect("a table");
    house.schedules.execute(&other, house.clock.now(), false).await.expect("disabled ones run by hand");
    house.idle().await;
    assert_eq!(house.last(&other).status(), "MANUAL_TRIGGER_SUCCESS");
    for _ in 0..7 {
        house.store.delete_table("iot", "sums").expect("deleted");
        house.schedules.execute(&id, house.clock.now(), false).await.expect("accepted");
        house.idle().await;
        house.store.create_table("iot", "sums", TableOptions::default()).expect("a table");
    }
    assert_eq!(house.schedules.describe(&id).expect("described").failed.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_creates_one_query() {
    let house = House::new().await;
    house.write("a", START, 1.0).await;
    let with = |name: &str, token: &str| Request { client_token: Some(token.repeat(32)), ..request(name) };
    let id = house.schedules.create(with("sums", "a"), Vec::new()).await.expect("created");
    assert_eq!(house.schedules.create(with("sums", "a"), Vec::new()).await.expect("the same"), id);
    let refused = house.schedules.create(with("sums", "b"), Vec::new()).await;
    assert!(matches!(refused, Err(ScheduleError::Exists { .. })), "{refused:?}");
    let refused = house.schedules.create(with("other", "a"), Vec::new()).await;
    assert!(matches!(refused, Err(ScheduleError::TokenUsed { .. })), "{refused:?}");
    house.clock.set(Timestamp::from_nanos(START + 9 * 60 * MINUTE));
    house.schedules.create(with("other", "a"), Vec::new()).await.expect("the token is free again");
    let refused = house.schedules.create(with("sums", "a"), Vec::new()).await;
    assert!(refused.is_err(), "{refused:?}");
    let (page, more) = house.schedules.list(None, 1);
    assert_eq!((page.len(), more), (1, true));
    let (page, more) = house.schedules.list(Some(&page[0].definition.id), 1);
    assert_eq!((page[0].definition.request.name.as_str(), more), ("sums", false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_at_once() {
    let house = House::new().await;
    house.write("a", START, 1.0).await;
    type Change = fn(&mut Request);
    let cases: &[(&str, Change)] = &[
        ("line 1:8: Column 'nowhere' does not exist", |own| own.query = "SELECT nowhere FROM iot.raw".into()),
        ("Invalid ScheduleExpression \"rate(5)\"", |own| own.expression = "rate(5)".into()),
        ("has the parameter @other", |own| own.query = "SELECT @other AS time FROM iot.raw".into()),
        ("must be a SELECT", |own| own.query = "SHOW DATABASES".into()),
        ("The table none does not exist.", |own| {
            own.target.as_mut().expect("a target").table_name = "none".into();
        }),
        ("TimeColumn: the query's result has no column \"when\".", |own| {
            own.target.as_mut().expect("a target").time_column = "when".into();
        }),
    ];
    for (text, change) in cases {
        let mut own = request("sums");
        change(&mut own);
        let error = house.schedules.create(own, Vec::new()).await.expect_err(text).to_string();
        assert!(error.contains(text), "{error} lacks {text}");
    }
    let tags = vec![("aws:x".to_owned(), String::new())];
    assert!(house.schedules.create(request("sums"), tags).await.is_err());
    let left = house.schedules.counters();
    assert_eq!((left.enabled, left.disabled, left.runs_ahead), (0, 0, 0));
    let id = house.schedules.create(request("sums"), Vec::new()).await.expect("created");
    house.schedules.tag(&id, vec![("k".to_owned(), "v".to_owned())]).await.expect("tagged");
    let house = house.reopen().await;
    assert_eq!(house.schedules.tags(&id).expect("tags"), [("k".to_owned(), "v".to_owned())]);
    house.schedules.untag(&id, &["k".to_owned(), "x".to_owned()]).await.expect("untagged");
    assert!(house.schedules.tags(&id).expect("tags").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_runs_by_hand_wait_their_turn_and_too_many_are_refused() {
    let house = House::new().await;
    house.write("a", START, 1.0).await;
    let id = house.schedules.create(request("sums"), Vec::new()).await.expect("created");
    // Nobody works on them before the timer goes on.
    house.stop.stop(Duration::from_secs(10)).await;
    for minute in 0..16 {
        let time = Timestamp::from_nanos(START + minute * MINUTE);
        house.schedules.execute(&id, time, false).await.expect("accepted");
    }
    let refused = house.schedules.execute(&id, house.clock.now(), false).await;
    assert!(matches!(refused, Err(ScheduleError::Busy { .. })), "{refused:?}");
    let house = house.reopen().await;
    house.idle().await;
    assert_eq!(house.last(&id).invocation(), Timestamp::from_nanos(START + 15 * MINUTE));
}
