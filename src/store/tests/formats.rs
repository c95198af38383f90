//! Stores that were written before still open, and stores of a later program are refused.
//!
//! `tests/stores/v1` is a store of format 1, as a killed process leaves it. To make the folder of a new
//! format: `TIDEMILL_WRITE_STORE=tests/stores/v2 cargo test --lib formats::a_new` (the folder must not
//! exist), then add it to [`STORES`]. A folder that is there is never written again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dice::copy_folder;
use super::fixture::{NOW, Rows, measured, multi, rejections, row, rows, write};
use crate::clock::{ManualClock, Timestamp};
use crate::record::{Measure, MeasureValue, Record};
use crate::store::{
    DatabaseOptions, MagneticWrites, PartitionKey, PartitionKeyItem, Retention, Store, StoreError,
    StoreOptions, TableOptions,
};

/// The folders, oldest format first.
const STORES: &[&str] = &["v1"];

const DAY: i64 = 86_400_000_000_000;

fn stores() -> PathBuf {
    // The manifest's folder of whatever crate compiles this file may be another one than the checkout.
    let here = Path::new(file!());
    let root = if here.is_absolute() { PathBuf::new() } else { env!("CARGO_MANIFEST_DIR").into() };
    root.join(here).ancestors().nth(4).expect("src/store/tests").join("tests/stores")
}

async fn open(folder: &Path) -> Result<Store, StoreError> {
    let options = StoreOptions { wal_segment_bytes: 900, ..StoreOptions::new(folder) };
    Store::open(options, Arc::new(ManualClock::new(NOW))).await
}

fn everything(time: i64, version: i64) -> Record {
    let attributes = [
        ("speed", MeasureValue::Bigint(i64::MIN + version)),
        ("load", MeasureValue::Double(-0.1 * version as f64)),
        ("on", MeasureValue::Boolean(version % 2 == 0)),
        ("at", MeasureValue::Timestamp(Timestamp::from_nanos(NOW.nanos() + version))),
        ("what", MeasureValue::Varchar(format!("größe {version}"))),
    ];
    measured(&[("host", "a"), ("zone", "ü")], "multi", time, version, multi(&attributes))
}

fn single(name: &str, time: i64, value: MeasureValue) -> Record {
    measured(&[("host", "a")], name, time, 1, Measure::Single(value))
}

/// What the folder was made of: two flushes, a merge, rows in the log alone, older and newer versions.
async fn fill(store: &Store) {
    store.create_database("db", DatabaseOptions::default()).expect("new");
    let options = TableOptions {
        retention: Retention { memory_store_hours: 24, magnetic_store_days: 73_000 },
        magnetic_writes: MagneticWrites { enabled: true, rejected_data_location: None },
        partition_key: PartitionKey(vec![PartitionKeyItem::Dimension {
            name: "host".to_owned(),
            required: true,
        }]),
        ..TableOptions::default()
    };
    store.create_table("db", "t", options).expect("new");
    store.create_table("db", "empty", TableOptions::default()).expect("new");
    let first = vec![row("a", 5, 1, 1), row("b", DAY + 5, 1, 1), everything(7, 1), everything(8, 1)];
    write(store, first).await.expect("written");
    store.flush().await.expect("flushed");
    let second = vec![
        row("a", 5, 2, 2),
        single("double", -5, MeasureValue::Double(0.1)),
        single("text", 6, MeasureValue::Varchar(String::new())),
        single("bool", 6, MeasureValue::Boolean(false)),
    ];
    write(store, second).await.expect("written");
    store.flush().await.expect("flushed");
    // In the log alone: new rows, and newer versions of rows in parts and in the log.
    write(store, vec![everything(7, 3), row("c", 9, 1, 1)]).await.expect("written");
    write(store, vec![row("c", 9, 4, 4), row("b", DAY + 5, 2, 2), everything(9, 1), everything(10, 2)])
        .await
        .expect("written");
}

fn expected() -> Rows {
    let multi = |version: i64| {
        let at = chrono::DateTime::from_timestamp_nanos(NOW.nanos() + version);
        format!(
            "speed={} load={:?} on={} at={} what=größe {version}",
            i64::MIN + version,
            -0.1 * version as f64,
            version % 2 == 0,
            at.format("%Y-%m-%dT%H:%M:%S%.9f"),
        )
    };
    let rows = [
        ("host=a measure_name=m time=5", "measure_value::bigint=2".to_owned()),
        ("host=b measure_name=m time=86400000000005", "measure_value::bigint=2".to_owned()),
        ("host=c measure_name=m time=9", "measure_value::bigint=4".to_owned()),
        ("host=a measure_name=double time=-5", "measure_value::double=0.1".to_owned()),
        ("host=a measure_name=text time=6", "measure_value::varchar=".to_owned()),
        ("host=a measure_name=bool time=6", "measure_value::boolean=false".to_owned()),
        ("host=a zone=ü measure_name=multi time=7", multi(3)),
        ("host=a zone=ü measure_name=multi time=8", multi(1)),
        ("host=a zone=ü measure_name=multi time=9", multi(1)),
        ("host=a zone=ü measure_name=multi time=10", multi(2)),
    ];
    rows.into_iter().map(|(key, values)| (key.to_owned(), values)).collect()
}

#[tokio::test]
async fn every_folder_of_an_earlier_format_opens_with_all_its_rows() {
    for name in STORES {
        let copy = copy_folder(&stores().join(name));
        let report = Store::examine(copy.path(), None).await.expect("readable");
        assert!(report.is_sound() && report.parts > 1 && report.frames > 1, "{name}: {report}");
        for _ in 0..2 {
            let store = open(copy.path()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(rows(&store).await, expected(), "{name}");
            let table = store.describe_table("db", "t").expect("there");
            assert_eq!(table.retention.memory_store_hours, 24, "{name}");
            assert!(table.magnetic_writes.enabled && table.partition_key.0.len() == 1, "{name}");
            assert_eq!(store.list_tables(Some("db")).expect("there").len(), 2, "{name}");
            let lower = rejections(&store, vec![row("a", 5, 1, 1), row("c", 9, 3, 3)]).await;
            assert_eq!(lower.len(), 2, "{name}: {lower:?}");
            // What is written next is of the present format, beside the old.
            store.flush().await.expect("flushed");
            store.close().await.expect("healthy");
        }
    }
}

#[tokio::test]
async fn a_new_folder_is_written_when_asked_for() {
    let made = tempfile::tempdir().expect("temporary folder");
    let store = open(made.path()).await.expect("opens");
    fill(&store).await;
    assert_eq!(rows(&store).await, expected());
    if let Ok(to) = std::env::var("TIDEMILL_WRITE_STORE") {
        // As it is now, not closed: like after a kill.
        let copy = copy_folder(made.path());
        std::fs::rename(copy.keep(), to).expect("a new name on the same disk");
    }
}

/// Raises a format number and puts the checksum right.
fn of_a_later_program(kind: &str, bytes: &mut Vec<u8>) {
    match kind {
        "log" => {
            bytes[8] = 99;
            let sum = crc32c::crc32c(&bytes[..20]).to_le_bytes();
            bytes[20..24].copy_from_slice(&sum);
        }
        _ => {
            let text = String::from_utf8(std::mem::take(bytes)).expect("JSON");
            let body = text.lines().next().expect("a line").replacen(r#""format":1"#, r#""format":99"#, 1);
            *bytes = format!("{body}\n{{\"crc32c\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes())).into();
        }
    }
}

#[tokio::test]
async fn what_a_later_program_wrote_is_refused_by_name() {
    let newest = stores().join(STORES.last().expect("one"));
    for kind in ["log", "json"] {
        let copy = copy_folder(&newest);
        let files = super::dice::files_below(copy.path());
        let (name, path) = files.iter().rfind(|(name, _)| name.ends_with(kind)).expect("there");
        let mut bytes = std::fs::read(path).expect("readable");
        of_a_later_program(kind, &mut bytes);
        std::fs::write(path, bytes).expect("written");
        let refused = open(copy.path()).await.expect_err("too new");
        let StoreError::Format { path, found, .. } = &refused else { panic!("{refused}") };
        assert_eq!((path, found), (name, &99));
        assert!(refused.to_string().ends_with("use a newer tidemill"), "{refused}");
        let report = Store::examine(copy.path(), None).await;
        assert!(report.is_err_and(|error| matches!(error, StoreError::Format { .. })), "{kind}");
    }
}
