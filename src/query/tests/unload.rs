//! UNLOAD: what is refused, what is written, and what a select with every type becomes.

use std::path::Path;

use tempfile::TempDir;

use super::fixture::TestSource;
use super::{all_pages, engine, request};
use crate::buckets::{BucketOptions, Buckets};
use crate::query::{Datum, Engine, Page, QueryError, QueryOptions};

const TABLE: &str = "table db.t
host dimension | measure_name | time | cpu double | n bigint | up boolean
a | m | 2021-11-15 14:26:49 | 1.5 | NULL | true
a | m | 2021-11-15 14:26:50 | 2.5 | 2 | NULL
flush
b | m | 2021-11-15 14:26:51 | NULL | 3 | false";

/// An engine that writes to the buckets in a folder.
pub(super) fn unloading(source: TestSource, root: &Path, buckets: &[&str]) -> Engine {
    for bucket in buckets {
        std::fs::create_dir_all(root.join(bucket)).expect("a bucket");
    }
    let buckets = Buckets::new(BucketOptions { path: root.to_owned(), endpoint: None });
    engine(source, QueryOptions { buckets: Some(buckets), ..QueryOptions::default() })
}

async fn site() -> (TempDir, Engine) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut source = TestSource::default();
    source.read_block(TABLE).await;
    let engine = unloading(source, folder.path(), &["out"]);
    (folder, engine)
}

fn scalar(datum: &Datum) -> &str {
    match datum {
        Datum::Scalar(text) => text,
        other => panic!("{other:?}"),
    }
}

fn json(folder: &TempDir, url: &str) -> serde_json::Value {
    let path = folder.path().join(url.strip_prefix("s3://").expect("a URL"));
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// The row of the answer, its manifest and the texts of the files.
async fn unload(folder: &TempDir, engine: &Engine, sql: &str) -> (Page, serde_json::Value, Vec<Vec<u8>>) {
    let page = all_pages(engine, sql).await.expect("an answer");
    let manifest = json(folder, scalar(&page.rows[0][2]));
    let files = manifest["result_files"].as_array().expect("files").iter().map(|file| {
        let url = file["url"].as_str().expect("a URL");
        std::fs::read(folder.path().join(url.strip_prefix("s3://").expect("a URL"))).expect("a file")
    });
    let files = files.collect();
    (page, manifest, files)
}

#[tokio::test]
async fn rows_become_a_file_a_manifest_and_a_row() {
    let (folder, engine) = site().await;
    let sql =
        "UNLOAD (SELECT host, cpu, n, up, time, hour(time) AS h, date(time) AS d, 3m AS i, '' AS nothing
        FROM db.t ORDER BY time) TO 's3://out/a/b/' WITH (compression = 'NONE', include_header = 'true')";
    let (page, manifest, files) = unload(&folder, &engine, sql).await;
    let names: Vec<_> = page.columns.iter().filter_map(|column| column.name.as_deref()).collect();
    assert_eq!(names, ["rows", "metadataFile", "manifestFile"]);
    assert_eq!(scalar(&page.rows[0][0]), "3");
    let text = String::from_utf8(files[0].clone()).expect("UTF-8");
    assert_eq!(
        text,
        "host,cpu,n,up,time,h,d,i,nothing\n\
         a,1.5,,true,2021-11-15 14:26:49.000000000,14,2021-11-15,0 00:03:00.000000000,\"\"\n\
         a,2.5,2,,2021-11-15 14:26:50.000000000,14,2021-11-15,0 00:03:00.000000000,\"\"\n\
         b,,3,false,2021-11-15 14:26:51.000000000,14,2021-11-15,0 00:03:00.000000000,\"\"\n"
    );
    let url = manifest["result_files"][0]["url"].as_str().expect("a URL");
    assert!(url.starts_with(&format!("s3://out/a/b/results/{}_", page.query_id)), "{url}");
    assert_eq!(manifest["query_metadata"]["content_length_in_bytes"], text.len());
    let metadata = json(&folder, scalar(&page.rows[0][1]));
    assert_eq!(
        metadata["ColumnInfo"][4],
        serde_json::json!({ "Name": "time", "Type": { "ScalarType": "TIMESTAMP" } })
    );
}

#[tokio::test]
async fn no_rows_are_no_files() {
    let (folder, engine) = site().await;
    let sql = "UNLOAD (SELECT host FROM db.t WHERE cpu > 9) TO 's3://out'";
    let (page, manifest, files) = unload(&folder, &engine, sql).await;
    assert_eq!((scalar(&page.rows[0][0]), files.len()), ("0", 0));
    assert_eq!(manifest["query_metadata"]["total_row_count"], 0);
    assert!(scalar(&page.rows[0][2]).starts_with("s3://out/AED"), "{:?}", page.rows);
}

#[tokio::test]
async fn mistakes_have_a_place_and_leave_nothing() {
    let (folder, engine) = site().await;
    let select = "UNLOAD (SELECT cpu, host FROM db.t) TO 's3://out/x'";
    let cases = [
        ("UNLOAD SELECT 1 TO 's3://out/x'".to_owned(), "The query syntax is invalid at line 1:8"),
        ("UNLOAD (SELECT 1".to_owned(), "The query syntax is invalid at line 1:17"),
        ("UNLOAD (SELECT cpu FROM\ndb.none) TO 's3://out/x'".to_owned(), "in database 'db' at line 2:1"),
        (
            "UNLOAD (SELECT nothing FROM db.t) TO 's3://out/x'".to_owned(),
            "line 1:16: Column 'nothing' does not exist",
        ),
        ("UNLOAD (SHOW TABLES) TO 's3://out/x'".to_owned(), "The query syntax is invalid"),
        (format!("{select} junk"), "The query syntax is invalid at line 1:53"),
        (format!("{select} WITH (format 'CSV')"), "The query syntax is invalid at line 1:66"),
        (
            format!("{select} WITH (format = 'CSV',\nformat = 'CSV')"),
            "line 2:1: The option format is given more than once",
        ),
        (
            format!("{select} WITH (compression = 'ZSTD')"),
            "line 1:59: The value 'ZSTD' of the option compression is invalid",
        ),
        (format!("{select} WITH (escaped_by = 'ab')"), "it must be one ASCII character"),
        (format!("{select} WITH (field_delimiter = '\"')"), "must differ"),
        (format!("{select} WITH (escaped_by = ',')"), "must differ"),
        (format!("{select} WITH (kms_key = 'k')"), "it requires encryption = 'SSE_KMS'"),
        (format!("{select} WITH (max_file_size = '79GB')"), "it must be 16MB to 78GB"),
        (format!("{select} WITH (max_file_size = '-20MB')"), "it must be 16MB to 78GB"),
        (format!("{select} WITH (partitioned_by = 'host')"), "it is an array of column names"),
        (format!("{select} WITH (partitioned_by = ARRAY['cpu'])"), "must be the last columns of the SELECT"),
        (
            format!("{select} WITH (partitioned_by = ARRAY['host', 'cpu'])"),
            "must be the last columns of the SELECT",
        ),
        (
            format!("{select} WITH (partitioned_by = ARRAY['cpu', 'host'])"),
            "at least one column that is not in",
        ),
        (format!("{select} WITH (partitioned_by = ARRAY['x', 'cpu', 'host'])"), "must be the last columns"),
        ("UNLOAD (SELECT cast(time AS time) AS t FROM db.t) TO 's3://out/x'".to_owned(), "has the type time"),
        ("UNLOAD (SELECT NULL AS t FROM db.t) TO 's3://out/x'".to_owned(), "has the type unknown"),
        (
            "UNLOAD (SELECT 1 AS a) TO 'out/x'".to_owned(),
            "line 1:27: The destination 'out/x' is invalid: it must begin",
        ),
        ("UNLOAD (SELECT 1 AS a) TO 's3://x/y'".to_owned(), "it does not name a bucket"),
        ("UNLOAD (SELECT 1 AS a) TO 's3://out/../x'".to_owned(), "one that is . or .."),
        ("UNLOAD (SELECT 1 AS a) TO 's3://none/x'".to_owned(), "The specified bucket does not exist: none"),
        (
            format!("UNLOAD (SELECT 1 AS a) TO 's3://out/{}'", "x".repeat(1000)),
            "provided in the destination will exceed the S3 allowed key length. See documentation",
        ),
    ];
    for (sql, words) in cases {
        match engine.query(request(&sql)).await {
            Err(QueryError::Validation(text)) => assert!(text.contains(words), "{sql}\n{text}\n{words}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
    for sql in [select.to_owned(), format!("{select} WITH (format = parquet, include_header = false);")] {
        let prepared = engine.prepare(&sql).await.expect("a plan");
        assert_eq!(prepared.columns.len(), 3);
    }
    let left = std::fs::read_dir(folder.path().join("out")).expect("the bucket").count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_failure_on_the_way_leaves_no_manifest() {
    let (folder, engine) = site().await;
    let sql = "UNLOAD (SELECT cpu, host || chr(233) AS host FROM db.t) TO 's3://out/x' WITH (partitioned_by = ARRAY['host'])";
    let failed = engine.query(request(sql)).await.expect_err("not ASCII");
    assert!(matches!(&failed, QueryError::Execution(text) if text.contains("is not ASCII text")), "{failed}");
    let many = "UNLOAD (SELECT 1 AS a, cast(x AS varchar) AS x FROM UNNEST(sequence(1, 101)) AS t(x))
        TO 's3://out/x' WITH (partitioned_by = ARRAY['x'])";
    let failed = engine.query(request(many)).await.expect_err("too many");
    assert!(failed.to_string().contains("more than 100 partitions"), "{failed}");
    let divided = "UNLOAD (SELECT 1 / (n - 3) AS x FROM db.t) TO 's3://out/x'";
    assert!(matches!(engine.query(request(divided)).await, Err(QueryError::Execution(_))));
    assert!(
        !std::fs::exists(folder.path().join("out/x/results/host=a")).expect("known") || {
            let names = std::fs::read_dir(folder.path().join("out/x")).expect("a folder");
            names.flatten().all(|entry| !entry.file_name().to_string_lossy().contains("manifest"))
        }
    );
}

#[tokio::test]
async fn without_buckets_there_is_no_unload() {
    let engine = engine(TestSource::default(), QueryOptions::default());
    let failed =
        engine.query(request("UNLOAD (SELECT 1 AS a) TO 's3://out/x'")).await.expect_err("no buckets");
    assert!(failed.to_string().contains("no buckets"), "{failed}");
}
