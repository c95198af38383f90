//! Tasks over a store and buckets of their own: what is loaded, reported, refused, and goes on after a stop.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{BatchLoadError, BatchLoads, Definition, Task, TaskStatus};
use crate::buckets::{BucketOptions, Buckets};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::query::{Datum, Engine, QueryOptions, QueryRequest};
use crate::shutdown::Shutdown;
use crate::store::{Compatibility, DatabaseOptions, Store, StoreOptions, TableOptions};

/// 2021-01-01.
const NOW: i64 = 1_609_459_200;

struct Site {
    folder: TempDir,
}

struct Running {
    store: Store,
    loads: BatchLoads,
    stop: Shutdown,
    clock: Arc<ManualClock>,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for bucket in ["files", "reports"] {
            fs::create_dir_all(folder.path().join("buckets").join(bucket)).expect("a bucket");
        }
        Self { folder }
    }

    fn put(&self, key: &str, text: &str) {
        let path = self.folder.path().join("buckets/files").join(key);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    async fn start(&self) -> Running {
        self.start_as(Compatibility::Local).await
    }

    async fn start_as(&self, compatibility: Compatibility) -> Running {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW * 1000)));
        let given = Arc::clone(&clock) as Arc<dyn Clock>;
        let path = self.folder.path().join("data");
        let options = StoreOptions { compatibility, ..StoreOptions::new(path) };
        let store = Store::open(options, Arc::clone(&given)).await.expect("a store");
        if store.list_databases().is_empty() {
            store.create_database("iot", DatabaseOptions::default()).expect("a database");
            store.create_table("iot", "readings", TableOptions::default()).expect("a table");
        }
        let options = BucketOptions { path: self.folder.path().join("buckets"), endpoint: None };
        let (buckets, stop) = (Buckets::new(options), Shutdown::new());
        let loads = BatchLoads::open(store.clone(), buckets, given, stop.clone()).await.expect("the tasks");
        Running { store, loads, stop, clock }
    }

    fn report(&self, key: &str) -> Value {
        let text = fs::read(self.folder.path().join("buckets/reports").join(key)).expect("a report");
        serde_json::from_slice(&text).expect("JSON")
    }
}

impl Running {
    async fn ended(&self, id: &str) -> Task {
        for _ in 0..6_000 {
            let task = self.loads.describe(id).expect("the task");
            if !task.status.is_active() {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the task does not end");
    }

    async fn load(&self, prefix: &str) -> Task {
        let id = self.loads.create(definition(prefix)).await.expect("a task");
        self.ended(&id).await
    }

    async fn count(&self) -> u64 {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let engine =
            Engine::new(Arc::new(self.store.clone()), QueryOptions::default(), clock).expect("an engine");
        let sql = "SELECT count(*) FROM iot.readings".to_owned();
        let request = QueryRequest { sql, ..QueryRequest::default() };
        let page = engine.query(request).await.expect("rows");
        engine.shutdown().await;
        match &page.rows[0][0] {
            Datum::Scalar(count) => count.parse().expect("a number"),
            other => panic!("{other:?}"),
        }
    }

    /// Ends everything, as the daemon does.
    async fn stop(self) {
        assert_eq!(self.stop.stop(Duration::from_secs(30)).await, 0, "tasks go on");
        self.store.close().await.expect("closed");
    }
}

fn definition_with(prefix: &str, change: impl FnOnce(&mut Value)) -> Definition {
    let mut definition = json!({
        "DataModelConfiguration": { "DataModel": {
            "TimeColumn": "t",
            "TimeUnit": "SECONDS",
            "DimensionMappings": [{ "SourceColumn": "host" }],
            "MultiMeasureMappings": {
                "TargetMultiMeasureName": "m",
                "MultiMeasureAttributeMappings": [{ "SourceColumn": "cpu", "MeasureValueType": "DOUBLE" }],
            },
        } },
        "DataSourceConfiguration": {
            "DataSourceS3Configuration": { "BucketName": "files", "ObjectKeyPrefix": prefix },
            "DataFormat": "CSV",
        },
        "ReportConfiguration": {
            "ReportS3Configuration": { "BucketName": "reports", "ObjectKeyPrefix": "errors/" },
        },
        "TargetDatabaseName": "iot",
        "TargetTableName": "readings",
    });
    change(&mut definition);
    serde_json::from_value(definition).expect("a definition")
}

fn definition(prefix: &str) -> Definition {
    definition_with(prefix, |_| {})
}

fn rows(from: i64, to: i64) -> String {
    let lines = (from..to).map(|n| format!("h{},{}.5,{}\n", n % 10, n % 100, NOW - n));
    std::iter::once("host,cpu,t\n".to_owned()).chain(lines).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_become_rows_and_a_second_load_changes_nothing() {
    let site = Site::new();
    site.put("in/1.csv", &rows(0, 5_000));
    site.put("in/2.csv", &rows(5_000, 5_001));
    site.put("input.csv", "not,one\n");
    let running = site.start().await;
    let task = running.load("in/").await;
    assert_eq!((task.status, task.error), (TaskStatus::Succeeded, None));
    assert_eq!((task.progress.processed, task.progress.ingested), (5_001, 5_001));
    let bytes = rows(0, 5_000).len() + rows(5_000, 5_001).len();
    assert_eq!(task.progress.bytes, bytes as u64);
    assert_eq!(running.count().await, 5_001);
    let model = task.definition.data_model_configuration.and_then(|one| one.data_model).expect("a model");
    assert_eq!(model.dimension_mappings[0].destination_column.as_deref(), Some("host"));
    assert_eq!(task.definition.record_version, Some(1));
    let again = running.load("in/").await;
    assert_eq!((again.status, again.progress.ingested), (TaskStatus::Succeeded, 5_001));
    assert_eq!(running.count().await, 5_001);
    let done = running.loads.done();
    assert_eq!((done.ingested, done.bytes), (10_002, 2 * bytes as u64), "both loads count");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_counted_and_reported_by_line() {
    let site = Site::new();
    site.put("in/1.csv", "host,cpu,t\na,1,1\na,2,1\na,x,2\nb,,2\nb,3,3\n\nb,4\nb,\"5\"\"\",4\n");
    site.put("in/2.csv", "host,t\na,1\n");
    let running = site.start().await;
    let task = running.load("in/").await;
    assert_eq!(task.status, TaskStatus::Failed);
    let progress = task.progress;
    assert_eq!((progress.processed, progress.ingested), (7, 2));
    assert_eq!((progress.parse_failures, progress.ingestion_failures, progress.file_failures), (4, 1, 1));
    let key = format!("errors/{}/error-report.json", task.id);
    assert_eq!(
        task.error,
        Some(format!("Not everything could be loaded. See the report at s3://reports/{key}"))
    );
    let same_version = "A record already exists with the same time, dimensions, measure name, and record version. A \
                        higher record version must be specified in order to update the measure value. Specifying \
                        record version is supported by the latest SDKs.";
    assert_eq!(
        site.report(&key),
        json!({ "taskId": task.id, "taskErrors": [], "fileErrors": [
            { "fileName": "in/1.csv", "errors": [
                { "reason": "The value of the column 'cpu' is not a valid double.", "lineRanges": [[4, 4], [9, 9]] },
                { "reason": "The row has no measure value.", "lineRanges": [[5, 5]] },
                { "reason": "The row does not have 3 columns as the header has.", "lineRanges": [[8, 8]] },
                { "reason": same_version, "lineRanges": [[3, 3]] },
            ] },
            { "fileName": "in/2.csv", "errors": [
                { "reason": "The column 'cpu' of the data model is not in the header: host, t", "lineRanges": [] },
            ] },
        ] })
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_end_the_file_and_not_the_task() {
    let site = Site::new();
    let long = format!("host,cpu,t\na,1,1\n\"{}", "x".repeat(17 << 20));
    site.put("in/1-unclosed.csv", &long);
    site.put("in/2-empty.csv", "\n\n");
    site.put("in/3-nothing.csv", "");
    let path = site.folder.path().join("buckets/files/in/4-latin.csv");
    fs::write(path, b"host,cpu,t\n\xe4,1,1\nb,1,1\n").expect("a file");
    site.put("in/5-bom.csv", "\u{feff}host,cpu,t\r\nc,1,1");
    site.put("in/6-late.csv", "host,cpu,t\nd,1,99999999999999999999\n");
    let running = site.start().await;
    let task = running.load("in/").await;
    let progress = task.progress;
    assert_eq!((progress.file_failures, progress.parse_failures, progress.ingested), (2, 2, 3));
    let report = site.report(&format!("errors/{}/error-report.json", task.id));
    let reason = |file: usize| {
        report["fileErrors"][file]["errors"][0]["reason"].as_str().expect("a reason").to_owned()
    };
    assert!(reason(0).contains("the row that begins in line 3 is longer than 16777216 bytes"), "{report}");
    assert_eq!(reason(1), "The file is empty; it must begin with a header.");
    assert_eq!(reason(2), "The value of the column 'host' is not UTF-8.");
    assert_eq!(reason(3), "The value of the time column 't' is no whole number.");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_outside_the_window_have_awss_reason() {
    let site = Site::new();
    site.put("in/1.csv", &format!("host,cpu,t\na,1,{NOW}\na,1,1\na,1,2\n"));
    let running = site.start_as(Compatibility::Aws).await;
    let task = running.load("in/").await;
    let report = site.report(&format!("errors/{}/error-report.json", task.id));
    let errors = &report["fileErrors"][0]["errors"];
    let reason = "The record timestamp is outside the time range of the memory store.";
    assert_eq!(*errors, json!([{ "reason": reason, "lineRanges": [[3, 4]] }]));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_goes_on_where_it_was_stopped() {
    let site = Site::new();
    let all = 150_000;
    site.put("in/1.csv", &rows(0, all / 2));
    site.put("in/2.csv", &rows(all / 2, all));
    let mut running = site.start().await;
    let id = running.loads.create(definition("in/")).await.expect("a task");
    let mut stops = 0;
    let task = loop {
        let seen = running.loads.describe(&id).expect("the task");
        if !seen.status.is_active() {
            break seen;
        }
        if stops < 5 {
            // Something more than at the last stop.
            tokio::time::sleep(Duration::from_millis(30)).await;
            running.stop().await;
            running = site.start().await;
            stops += 1;
        } else {
            break running.ended(&id).await;
        }
    };
    assert_eq!((task.status, task.error), (TaskStatus::Succeeded, None));
    let all = u64::try_from(all).expect("positive");
    assert_eq!((task.progress.processed, task.progress.ingested), (all, all));
    assert_eq!(running.count().await, all);
    assert!(stops > 0, "the load was quicker than the first stop");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_model_may_be_in_a_bucket() {
    let site = Site::new();
    site.put("in/1.csv", &rows(0, 3));
    let model = json!(definition("").data_model_configuration.and_then(|one| one.data_model));
    site.put("model.json", &model.to_string());
    site.put("bad.json", "{");
    let running = site.start().await;
    let place = |key: &str| {
        definition_with("in/", |definition| {
            let place = json!({ "BucketName": "files", "ObjectKey": key });
            definition["DataModelConfiguration"] = json!({ "DataModelS3Configuration": place });
        })
    };
    let id = running.loads.create(place("model.json")).await.expect("a task");
    assert_eq!(running.ended(&id).await.status, TaskStatus::Succeeded);
    for (key, words) in
        [("bad.json", "The data model cannot be read"), ("none.json", "The specified key does not exist")]
    {
        let error = running.loads.create(place(key)).await.expect_err(key).to_string();
        assert!(error.contains(words), "{error}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_definitions_are_refused_at_once() {
    let site = Site::new();
    site.put("in/1.csv", &rows(0, 3));
    let running = site.start().await;
    let refused = async |prefix: &str, change: fn(&mut Value)| {
        running.loads.create(definition_with(prefix, change)).await.expect_err("refused").to_string()
    };
    let at = |text: String, words: &str| assert!(text.contains(words), "{text}");
    at(refused("none/", |_| {}).await, "There is no file to load at s3://files/none/");
    at(refused("in/", |one| one["TargetTableName"] = json!("none")).await, "The table none does not exist.");
    at(
        refused("in/", |one| {
            one["DataSourceConfiguration"]["DataSourceS3Configuration"]["BucketName"] = json!("none");
        })
        .await,
        "The specified bucket does not exist: none",
    );
    at(
        refused("in/", |one| {
            one["ReportConfiguration"]["ReportS3Configuration"]["KmsKeyId"] = json!("alias/ours");
        })
        .await,
        "KmsKeyId requires the EncryptionOption SSE_KMS.",
    );
    at(
        refused("in/", |one| one["DataModelConfiguration"] = json!({})).await,
        "Exactly one of DataModel and DataModelS3Configuration",
    );
    at(refused("in/", |one| one["RecordVersion"] = json!(0)).await, "RecordVersion must be at least 1.");
    at(
        refused("in/", |one| {
            one["DataSourceConfiguration"]["CsvConfiguration"] = json!({ "ColumnSeparator": "x" });
        })
        .await,
        "The ColumnSeparator \"x\" is invalid",
    );
    let missing = running.loads.describe("NONE").expect_err("no task");
    assert!(matches!(missing, BatchLoadError::NotFound(_)));
    assert!(running.loads.list().is_empty(), "what was refused leaves no task");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_token_names_one_task() {
    let site = Site::new();
    site.put("in/1.csv", &rows(0, 3));
    let running = site.start().await;
    let with = |token: &str, version: i64| {
        definition_with("in/", |one| {
            (one["ClientToken"], one["RecordVersion"]) = (json!(token), json!(version));
        })
    };
    let first = running.loads.create(with("one", 1)).await.expect("a task");
    assert_eq!(running.loads.create(with("one", 1)).await.expect("the same"), first);
    let other = running.loads.create(with("one", 2)).await.expect_err("other parameters");
    assert!(matches!(other, BatchLoadError::Conflict(_)), "{other}");
    let second = running.loads.create(with("two", 1)).await.expect("another");
    assert_ne!(first, second);
    running.ended(&second).await;
    running.ended(&first).await;
    assert_eq!(running.loads.list().len(), 2);
    let error = running.loads.resume(&first).await.expect_err("it has ended");
    assert!(error.to_string().contains("has the status SUCCEEDED"), "{error}");
    running.stop().await;
}
