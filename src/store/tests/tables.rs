//! Databases and tables, on a real folder.

use std::sync::Arc;

use super::fixture::NOW;
use crate::clock::{ManualClock, Timestamp};
use crate::record::WriteBatch;
use crate::store::{
    Compatibility, DatabaseOptions, PartitionKey, PartitionKeyItem, Retention, Store, StoreError,
    StoreOptions, TableOptions, TableUpdate,
};

async fn open(folder: &tempfile::TempDir) -> Result<Store, StoreError> {
    Store::open(StoreOptions::new(folder.path()), Arc::new(ManualClock::new(NOW))).await
}

async fn write(store: &Store, table: &str, time: i64) -> Result<(), StoreError> {
    let records = vec![super::fixture::row("a", time, 1, 1)];
    let batch = WriteBatch { database: "db".into(), table: table.into(), records };
    store.submit(batch).await?.await.map(drop)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

/// Paths of files below `tables`, once the cleaner has nothing more to do.
async fn table_files(folder: &tempfile::TempDir, expected: usize) -> usize {
    fn count(path: &std::path::Path) -> usize {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    for _ in 0..200 {
        if count(&folder.path().join("tables")) == expected {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    count(&folder.path().join("tables"))
}

#[tokio::test]
async fn databases_and_tables_come_go_and_stay() {
    let folder = folder();
    let store = open(&folder).await.expect("opens");
    let keyed = DatabaseOptions { kms_key_id: Some("key".to_owned()), tags: Vec::new() };
    store.create_database("b", keyed).expect("new");
    store.create_database("a", DatabaseOptions::default()).expect("new");
    assert!(matches!(
        store.create_database("a", DatabaseOptions::default()),
        Err(StoreError::DatabaseExists { .. })
    ));
    assert!(matches!(
        store.create_database("a b", DatabaseOptions::default()),
        Err(StoreError::InvalidName { .. })
    ));
    let table = store.create_table("b", "t", TableOptions::default()).expect("new");
    assert_eq!((table.retention, table.created), (Retention::default(), NOW));
    assert!(matches!(
        store.create_table("b", "t", TableOptions::default()),
        Err(StoreError::TableExists { .. })
    ));
    let missing = store.create_table("c", "t", TableOptions::default()).expect_err("no such database");
    assert_eq!(missing.to_string(), "The database c does not exist.");
    assert_eq!(store.describe_table("b", "x").expect_err("none").to_string(), "The table x does not exist.");
    assert!(matches!(store.delete_database("b"), Err(StoreError::NotEmpty { tables: 1, .. })));
    let retention = Retention { memory_store_hours: 1, magnetic_store_days: 2 };
    let update = TableUpdate { retention: Some(retention), ..TableUpdate::default() };
    store.update_table("b", "t", update).expect("updated");
    let retention = Retention { memory_store_hours: 0, magnetic_store_days: 2 };
    let update = TableUpdate { retention: Some(retention), ..TableUpdate::default() };
    assert!(matches!(store.update_table("b", "t", update), Err(StoreError::InvalidOption(_))));
    let key = PartitionKey(vec![PartitionKeyItem::Dimension { name: "d".to_owned(), required: true }]);
    let update = TableUpdate { partition_key: Some(key), ..TableUpdate::default() };
    assert!(matches!(store.update_table("b", "t", update), Err(StoreError::InvalidOption(_))));
    store.update_database("a", Some("other".to_owned())).expect("updated");
    store.close().await.expect("healthy");

    let store = open(&folder).await.expect("opens");
    let names: Vec<_> =
        store.list_databases().into_iter().map(|d| (d.name, d.kms_key_id, d.table_count)).collect();
    let key = |text: &str| Some(text.to_owned());
    assert_eq!(names, [("a".to_owned(), key("other"), 0), ("b".to_owned(), key("key"), 1)]);
    let tables = store.list_tables(None).expect("all");
    assert_eq!((tables.len(), tables[0].retention.magnetic_store_days, tables[0].id), (1, 2, table.id));
    assert!(store.list_tables(Some("x")).is_err());
    store.delete_table("b", "t").expect("there");
    store.delete_database("b").expect("empty");
    assert!(matches!(store.describe_database("b"), Err(StoreError::DatabaseNotFound { .. })));
}

#[tokio::test]
async fn a_second_open_is_told_that_the_folder_is_locked() {
    let folder = folder();
    let store = open(&folder).await.expect("opens");
    let error = open(&folder).await.expect_err("locked");
    assert!(matches!(&error, StoreError::Locked { path } if path == folder.path()), "{error:?}");
    store.close().await.expect("healthy");
    store.close().await.expect("twice is fine");
    let again = open(&folder).await.expect("free after closing");
    drop(again);
    open(&folder).await.expect("free after dropping");
}

#[tokio::test]
async fn a_dropped_table_is_gone_and_its_name_is_free() {
    let folder = folder();
    let store = open(&folder).await.expect("opens");
    store.create_database("db", DatabaseOptions::default()).expect("new");
    let first = store.create_table("db", "t", TableOptions::default()).expect("new");
    write(&store, "t", 1).await.expect("written");
    store.flush().await.expect("flushed");
    write(&store, "t", 2).await.expect("written");
    let snapshot = store.snapshot("db", "t").expect("there");
    assert_eq!(table_files(&folder, 2).await, 2, "a part and a manifest");
    store.delete_table("db", "t").expect("there");
    assert!(matches!(write(&store, "t", 3).await, Err(StoreError::TableNotFound { .. })));
    assert!(matches!(store.snapshot("db", "t"), Err(StoreError::TableNotFound { .. })));
    assert_eq!(table_files(&folder, 1).await, 1, "the snapshot still holds the part");
    drop(snapshot);
    assert_eq!(table_files(&folder, 0).await, 0);

    let second = store.create_table("db", "t", TableOptions::default()).expect("the name is free");
    assert_ne!(first.id, second.id);
    write(&store, "t", 9).await.expect("written");
    store.close().await.expect("healthy");
    let store = open(&folder).await.expect("opens");
    let snapshot = store.snapshot("db", "t").expect("there");
    assert_eq!(
        snapshot.memory.iter().map(|batch| batch.num_rows()).sum::<usize>(),
        1,
        "old rows are skipped"
    );
}

#[tokio::test]
async fn what_a_crash_left_of_a_flush_is_removed_at_the_start() {
    let folder = folder();
    let store = open(&folder).await.expect("opens");
    store.create_database("db", DatabaseOptions::default()).expect("new");
    let table = store.create_table("db", "t", TableOptions::default()).expect("new");
    write(&store, "t", 1).await.expect("written");
    let deleted = store.create_table("db", "gone", TableOptions::default()).expect("new").id;
    store.delete_table("db", "gone").expect("there");
    store.flush().await.expect("flushed");
    store.close().await.expect("healthy");
    let tables = folder.path().join("tables");
    let orphan = tables.join(format!("{}/parts/1970-01-01/w-r-0000000099.parquet", table.id));
    let unknown = tables.join(format!("{deleted}/manifest/00000000000000000001.json"));
    std::fs::create_dir_all(unknown.parent().expect("nested")).expect("created");
    std::fs::write(&orphan, b"half").expect("written");
    std::fs::write(&unknown, b"{}").expect("written");
    let store = open(&folder).await.expect("opens");
    assert!(!orphan.exists() && !unknown.exists());
    assert_eq!(store.snapshot("db", "t").expect("there").parts.len(), 1);
}

#[tokio::test]
async fn aws_refuses_old_and_future_records_and_counts_the_stores() {
    let folder = folder();
    let clock = Arc::new(ManualClock::new(NOW));
    let options = StoreOptions { compatibility: Compatibility::Aws, ..StoreOptions::new(folder.path()) };
    let store = Store::open(options, clock).await.expect("opens");
    store.create_database("dbs", DatabaseOptions::default()).expect("new");
    store.create_table("dbs", "tab", TableOptions::default()).expect("new");
    let record = |time: Timestamp| super::fixture::row("a", time.nanos(), 1, 1);
    let minute = 60_000_000_000;
    let records = vec![
        record(NOW),
        record(NOW.saturating_add(-(6 * 60 + 26) * minute)),
        record(NOW.saturating_add(15 * minute)),
        record(NOW.saturating_add(-(6 * 60 + 24) * minute)),
    ];
    let batch = WriteBatch { database: "dbs".into(), table: "tab".into(), records };
    let written = store.submit(batch).await.expect("accepted").await.expect("written");
    assert_eq!((written.memory_store, written.magnetic_store), (2, 0));
    let told: Vec<_> = written.rejected.iter().map(|r| (r.index, r.reason.to_string())).collect();
    let text = "The record timestamp is outside the time range [2026-11-19T17:35:00.000Z, \
                2026-11-20T00:15:00.000Z) of the memory store.";
    assert_eq!(told, [(1, text.to_owned()), (2, text.to_owned())]);
}
