//! Merged parts: fewer, in order, with every row as it was, whatever is written meanwhile.

use std::sync::Arc;
use std::time::Duration;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use object_store::ObjectStoreExt;

use super::fixture::{
    Machine, NOW, Rows, compact, finish, measured, merges, multi, part_batches, rejections, row, rows,
    rows_of, versions, write,
};
use crate::clock::ManualClock;
use crate::record::{Measure, MeasureValue, Record};
use crate::shutdown::Shutdown;
use crate::store::{DatabaseOptions, RejectReason, Store, StoreOptions, TableOptions, housekeeper};

const DAY: i64 = 86_400_000_000_000;
const KEY: &str = "host=a measure_name=m time=100";

/// Writes the batches and flushes after each.
async fn flushed(store: &Store, batches: Vec<Vec<Record>>) {
    for batch in batches {
        assert_eq!(rejections(store, batch).await, []);
        store.flush().await.expect("flushed");
    }
}

fn parts(store: &Store) -> usize {
    store.snapshot("db", "t").expect("there").parts.len()
}

/// Waits until the cleaner has deleted all but so many parts.
async fn part_files(machine: &Machine, expected: usize) -> usize {
    for _ in 0..400 {
        if machine.disk.part_files().len() == expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    machine.disk.part_files().len()
}

#[tokio::test]
async fn days_become_one_part_each_and_old_files_go_when_no_snapshot_holds_them() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let batch = |n: i64| {
        let hosts = ["b", "a", "c"];
        hosts.iter().flat_map(|host| [row(host, n, 1, n), row(host, DAY + n, 1, n)]).collect()
    };
    flushed(&store, (0..5).map(batch).collect()).await;
    let before = rows(&store).await;
    let held = store.snapshot("db", "t").expect("there");
    assert_eq!((held.parts.len(), before.len()), (10, 30));

    store.maintain().await.expect("maintained");
    assert_eq!(parts(&store), 2);
    assert_eq!(rows(&store).await, before);
    assert_eq!(rows_of(&*store.object_store(), &held).await, before, "the old parts are still there");
    assert_eq!(machine.disk.part_files().len(), 12);
    drop(held);
    assert_eq!(part_files(&machine, 2).await, 2);

    store.maintain().await.expect("maintained");
    assert_eq!(machine.disk.part_files().len(), 2, "nothing more is due");
    store.close().await.expect("healthy");
    let store = machine.open().await;
    assert_eq!((parts(&store), rows(&store).await), (2, before));
}

#[tokio::test]
async fn the_background_merges_and_ends_with_the_store() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    flushed(&store, (0..5).map(|n| vec![row("a", n, 1, n)]).collect()).await;
    housekeeper::start(&store.inner, &store.background, Duration::from_millis(2));
    assert_eq!((part_files(&machine, 1).await, parts(&store)), (1, 1));
    store.close().await.expect("healthy");
    assert_eq!(store.background.running(), 0);
}

/// The rows of all parts in file order, as text.
async fn in_file_order(store: &Store) -> Vec<String> {
    let snapshot = store.snapshot("db", "t").expect("there");
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = Vec::new();
    for part in &snapshot.parts {
        assert_eq!(part.superseded(), None);
        for batch in part_batches(&*store.object_store(), part).await {
            let schema = batch.schema();
            lines.push(
                schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(" "),
            );
            let shown = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
            let shown: Vec<_> = shown.map(|column| column.expect("printable")).collect();
            for row in 0..batch.num_rows() {
                lines.push(
                    shown.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"),
                );
            }
        }
    }
    lines
}

fn varied(n: i64) -> Vec<Record> {
    let value = |n: i64| Measure::Single(MeasureValue::Double(n as f64));
    let mut records = vec![
        measured(&[], "m", n, 1, value(n)),
        measured(&[("host", "a")], "m", n, 1, value(n)),
        measured(&[("host", "a\0"), ("zone", "1")], "m", n, 1, value(n)),
        measured(&[("host", "a\0b")], "m", n, 1, value(n)),
        measured(&[("zone", "1")], "m", n, 1, value(n)),
        measured(&[("zone", "ä")], "l", n, 1, Measure::Single(MeasureValue::Varchar(format!("text {n}")))),
    ];
    if n % 3 == 0 {
        let attributes = [
            ("speed", MeasureValue::Bigint(n)),
            ("on", MeasureValue::Boolean(n % 2 == 0)),
            ("at", MeasureValue::Timestamp(NOW)),
            ("what", MeasureValue::Varchar("x".repeat(100))),
        ];
        records.push(measured(&[("line", "7"), ("host", "b")], "multi", n, 1, multi(&attributes)));
    }
    records
}

#[tokio::test]
async fn a_merged_part_is_what_one_flush_would_have_written() {
    let order = [7, 1, 4, 10, 2, 8, 3, 9, 5, 6, 12, 11];
    let mut written = Vec::new();
    for merged in [false, true] {
        let machine = Machine::with_table().await;
        let store = machine.open().await;
        // The columns must come into being in the same order.
        write(&store, varied(0)).await.expect("written");
        for n in order {
            write(&store, varied(n)).await.expect("written");
            if merged {
                store.flush().await.expect("flushed");
            }
        }
        if merged {
            assert_eq!(parts(&store), order.len());
            compact(&store).await.expect("merged");
        } else {
            store.flush().await.expect("flushed");
        }
        assert_eq!(parts(&store), 1);
        written.push(in_file_order(&store).await);
    }
    assert!(written[0].len() > 80, "{}", written[0].len());
    assert_eq!(written[0], written[1]);
}

#[tokio::test]
async fn versions_meet_merged_rows_before_and_after_a_restart() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let batches = [(100, 1, 10), (100, 3, 30), (200, 1, 1), (100, 5, 50), (300, 1, 1)];
    flushed(
        &store,
        batches.iter().map(|&(time, version, value)| vec![row("a", time, version, value)]).collect(),
    )
    .await;
    compact(&store).await.expect("merged");
    let snapshot = store.snapshot("db", "t").expect("there");
    assert_eq!(
        versions(&*store.object_store(), &snapshot.parts[0]).await,
        [5, 1, 1],
        "old versions are gone"
    );
    drop(snapshot);
    store.close().await.expect("healthy");
    for version in [5, 6] {
        let store = machine.open().await;
        let value = version * 10;
        let lower = write(&store, vec![row("a", 100, version - 1, 1)]).await.expect("written");
        let existing = RejectReason::LowerVersion { given: version - 1, existing: version };
        assert_eq!(lower.rejected[0].reason, existing);
        assert_eq!(lower.rejected[0].existing_version, Some(version));
        assert_eq!(rejections(&store, vec![row("a", 100, version, value)]).await, []);
        let other = write(&store, vec![row("a", 100, version, 1)]).await.expect("written");
        assert_eq!(other.rejected[0].reason, RejectReason::SameVersion);
        assert_eq!(rows(&store).await[KEY], format!("measure_value::bigint={value}"));
        let higher = vec![row("a", 100, version + 1, value + 10)];
        assert_eq!(rejections(&store, higher).await, []);
        store.flush().await.expect("flushed");
        compact(&store).await.expect("merged");
        assert_eq!((parts(&store), rows(&store).await.len()), (1, 3));
        store.close().await.expect("healthy");
    }
}

/// What happens to a row between the merge and its commit.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Replaced,
    ReplacedAndFlushed,
    ReplacedTwiceAndFlushed,
}

async fn does_not_come_back(meanwhile: Meanwhile, restarted: bool) {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let old = |n: i64| vec![row("a", 100 + n, 1, 1), row("b", n, 1, 1), row("c", 0, n + 1, n)];
    flushed(&store, (0..4).map(old).collect()).await;
    let under_way = merges(&store).await.expect("merged");

    let mut expected = rows(&store).await;
    let mut replace = async |version: i64| {
        let replacing =
            vec![row("b", 2, version, version), row("a", 100, version, version), row("a", 103, 9, 9)];
        write(&store, replacing).await.expect("written");
        for key in ["host=b measure_name=m time=2", KEY] {
            expected.insert(key.to_owned(), format!("measure_value::bigint={version}"));
        }
        expected.insert("host=a measure_name=m time=103".to_owned(), "measure_value::bigint=9".to_owned());
    };
    replace(2).await;
    if !matches!(meanwhile, Meanwhile::Replaced) {
        store.flush().await.expect("flushed");
    }
    if matches!(meanwhile, Meanwhile::ReplacedTwiceAndFlushed) {
        replace(3).await;
    }
    assert_eq!(finish(&store, under_way).await.expect("committed"), 1);
    assert_eq!(rows(&store).await, expected, "{meanwhile:?}");
    let store = if restarted {
        store.close().await.expect("healthy");
        machine.open().await
    } else {
        store
    };
    assert_eq!(rows(&store).await, expected, "{meanwhile:?}, restarted: {restarted}");
    store.flush().await.expect("flushed");
    compact(&store).await.expect("merged");
    assert_eq!((parts(&store), rows(&store).await), (1, expected));
}

#[tokio::test]
async fn a_row_replaced_during_a_merge_does_not_come_back() {
    for restarted in [false, true] {
        does_not_come_back(Meanwhile::Replaced, restarted).await;
        does_not_come_back(Meanwhile::ReplacedAndFlushed, restarted).await;
        does_not_come_back(Meanwhile::ReplacedTwiceAndFlushed, restarted).await;
    }
}

#[tokio::test]
async fn parts_whose_rows_were_all_replaced_leave_nothing() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    flushed(&store, vec![vec![row("a", 100, 1, 1)], vec![row("a", 100, 2, 2)]]).await;
    write(&store, vec![row("a", 100, 3, 3)]).await.expect("written");
    compact(&store).await.expect("merged");
    assert_eq!((parts(&store), part_files(&machine, 0).await), (0, 0));
    let expected = Rows::from([(KEY.to_owned(), "measure_value::bigint=3".to_owned())]);
    assert_eq!(rows(&store).await, expected);
    store.close().await.expect("healthy");
    assert_eq!(rows(&machine.open().await).await, expected);
}

#[tokio::test]
async fn a_merge_that_is_stopped_or_too_late_leaves_no_file() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let many = |start: i64| (start..start + 9_000).map(|n| row("a", n, 1, n)).collect();
    flushed(&store, vec![many(0), many(9_000)]).await;
    let table = store.inner.directory.table("db", "t").expect("there");
    let files: Vec<_> = table.live().parts.iter().map(|part| Arc::clone(&part.file)).collect();
    let stop = Shutdown::new();
    stop.stop(Duration::ZERO).await;
    let stopped = store.inner.merge_parts(&table, &files, &stop).await.expect("no failure");
    assert!(stopped.is_none());
    assert_eq!(part_files(&machine, 2).await, 2);

    let (first, second) = (merges(&store).await.expect("merged"), merges(&store).await.expect("merged"));
    assert_eq!(finish(&store, first).await.expect("committed"), 1);
    assert_eq!(finish(&store, second).await.expect("thrown away"), 0);
    drop(files);
    assert_eq!((part_files(&machine, 1).await, rows(&store).await.len()), (1, 18_000));

    let late = merges(&store).await.expect("merged").pop().expect("one");
    store.delete_table("db", "t").expect("there");
    assert!(!store.inner.replace_parts(&table, late).await.expect("thrown away"));
    assert_eq!(part_files(&machine, 0).await, 0);
}

/// Text that no compression makes small.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::with_capacity(64 * 1024);
    while text.len() < 64 * 1024 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:x}"));
    }
    text
}

#[tokio::test]
async fn large_parts_are_streamed_to_a_real_folder() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(ManualClock::new(NOW));
    let store = Store::open(StoreOptions::new(folder.path()), clock).await.expect("opens");
    store.create_database("db", DatabaseOptions::default()).expect("new");
    store.create_table("db", "t", TableOptions::default()).expect("new");
    for half in 0..2 {
        for n in 0..10 {
            let record = |k: i64| {
                let time = (k * 10 + n) * 2 + half;
                let text = MeasureValue::Varchar(noise(time.unsigned_abs()));
                measured(&[("host", "a")], "m", time, 1, Measure::Single(text))
            };
            write(&store, (0..20).map(record).collect()).await.expect("written");
        }
        store.flush().await.expect("flushed");
    }
    compact(&store).await.expect("merged");
    let snapshot = store.snapshot("db", "t").expect("there");
    let part = &snapshot.parts[0];
    assert_eq!((snapshot.parts.len(), part.rows()), (1, 400));
    assert!(part.bytes() > 11 * 1024 * 1024, "more than is put at once: {}", part.bytes());
    assert_eq!(store.object_store().head(part.path()).await.expect("there").size, part.bytes());
    let rows = rows(&store).await;
    for time in [0, 1, 201, 399] {
        let text = &rows[&format!("host=a measure_name=m time={time}")];
        assert!(text.ends_with(&noise(time)), "{time}");
    }
}
