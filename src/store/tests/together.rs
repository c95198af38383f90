//! Everything at once: pairs of rows are written in one batch, and no snapshot ever has half a pair,
//! whatever is flushed, merged, removed or deleted meanwhile. Months of small flushes leave few parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::dice::{Dice, asked, seeds};
use super::fixture::{Machine, NOW, Rows, compact, row, rows, rows_of, write};
use crate::clock::ManualClock;
use crate::record::Record;
use crate::store::{Retention, Store, StoreError, TableOptions, TableSnapshot, TableUpdate};

const HOUR: i64 = 60 * 60 * 1_000_000_000;

/// Both rows of a pair, so many hours ago.
fn pair(hours: i64, version: i64) -> Vec<Record> {
    ["left", "right"].iter().map(|host| row(host, NOW.nanos() - hours * HOUR, version, version)).collect()
}

fn judge(rows: &Rows) {
    let mut pairs: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for (key, value) in rows {
        pairs.entry(key.rsplit_once('=').expect("a time").1).or_default().push(value);
    }
    for (time, values) in pairs {
        assert!(values.len() == 2 && values[0] == values[1], "half a pair at {time}: {values:?}");
    }
}

/// Writes new pairs and replaces old ones until told to stop; a table that is gone comes back.
async fn writer(store: Store, mut dice: Dice, first: i64, done: Arc<AtomicBool>) {
    let mut version = first;
    while !done.load(Ordering::Relaxed) {
        version += 2;
        match write(&store, pair(dice.int(24) * 4, version)).await {
            Ok(_) | Err(StoreError::TableNotFound { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
}

fn retain(store: &Store, days: u32) -> Result<(), StoreError> {
    let retention = Some(Retention { memory_store_hours: 1, magnetic_store_days: days });
    store.update_table("db", "t", TableUpdate { retention, ..TableUpdate::default() }).map(drop)
}

/// Flushes, merges, changes retention, and once in a while deletes the table.
async fn keeper(store: Store, mut dice: Dice, done: Arc<AtomicBool>) {
    while !done.load(Ordering::Relaxed) {
        let result = match dice.below(12) {
            0..=4 => store.flush().await,
            5..=7 => compact(&store).await,
            8 | 9 => store.maintain().await,
            10 => retain(&store, if dice.below(2) == 0 { 2 } else { 73_000 }),
            _ => store.delete_table("db", "t"),
        };
        if let Err(error) = result {
            assert!(matches!(error, StoreError::TableNotFound { .. }), "{error}");
        }
        if !store.has_table("db", "t") {
            store.create_table("db", "t", TableOptions::default()).expect("the name is free");
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_snapshot_has_half_of_what_was_written_together() {
    for seed in seeds(2) {
        println!("seed {seed}");
        let machine = Machine::with_table().await;
        let store = machine.open().await;
        let done = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for n in 0..2_u8 {
            let dice = Dice::new(seed * 100 + u64::from(n) + 1);
            tasks.push(tokio::spawn(writer(store.clone(), dice, i64::from(n), Arc::clone(&done))));
        }
        tasks.push(tokio::spawn(keeper(store.clone(), Dice::new(seed * 100 + 50), Arc::clone(&done))));
        let mut held: Vec<(TableSnapshot, Rows)> = Vec::new();
        let (mut seen, mut with_parts) = (0, 0);
        while seen < asked("TIDEMILL_STEPS", 125) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let Ok(snapshot) = store.snapshot("db", "t") else { continue };
            let rows = rows_of(&*store.object_store(), &snapshot).await;
            judge(&rows);
            seen += u64::from(!rows.is_empty());
            with_parts += usize::from(!snapshot.parts.is_empty());
            held.push((snapshot, rows));
            if held.len() > 8 {
                let (oldest, was) = held.remove(0);
                assert_eq!(rows_of(&*store.object_store(), &oldest).await, was, "a snapshot does not change");
            }
        }
        done.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.expect("no panic");
        }
        assert!(with_parts > 20, "{with_parts} of {seen} snapshots had parts");
        drop(held);
        // Parts past retention are in no snapshot while they wait for their removal.
        retain(&store, 73_000).expect("the table is there");
        store.flush().await.expect("flushed");
        let last = rows(&store).await;
        judge(&last);
        store.close().await.expect("healthy");
        let store = machine.open().await;
        assert_eq!(rows(&store).await, last);
        let known = store.snapshot("db", "t").expect("there").parts.len();
        assert_eq!(machine.disk.part_files().len(), known, "what is not used any more is gone");
    }
}

/// `TIDEMILL_DAYS` and `TIDEMILL_DEVICES` make it as long and wide as a fleet.
#[tokio::test]
async fn months_of_small_flushes_and_late_rows_leave_a_handful_of_parts_a_day() {
    let (days, devices) = (asked("TIDEMILL_DAYS", 20), asked("TIDEMILL_DEVICES", 40));
    let mut dice = Dice::new(3);
    let mut machine = Machine::with_table().await;
    machine.options.wal_segment_bytes = 100_000;
    let clock = Arc::new(ManualClock::new(NOW));
    let store = machine.try_open_at(Arc::clone(&clock)).await.expect("opens");
    let mut expected = Rows::new();
    let (mut most, flushes_a_day) = (0, 12);
    for flush in 0..i64::try_from(days).expect("small") * flushes_a_day {
        let now = NOW.nanos() + flush * 24 / flushes_a_day * HOUR;
        clock.set(crate::clock::Timestamp::from_nanos(now));
        let mut records: Vec<Record> =
            (0..devices).map(|device| row(&format!("d{device}"), now + 1, 1, flush)).collect();
        // A device that was away brings what it kept, for any day so far.
        for _ in 0..3 {
            let (host, ago) = (format!("late{}", dice.below(devices)), dice.int(72) * HOUR * flush / 36);
            records.push(row(&host, (now - ago).max(NOW.nanos()) + dice.int(1_000), 1, flush));
        }
        for record in &records {
            let key =
                format!("host={} measure_name=m time={}", record.dimensions[0].value, record.time.nanos());
            expected.entry(key).or_insert_with(|| format!("measure_value::bigint={flush}"));
        }
        write(&store, records).await.expect("written");
        store.flush().await.expect("flushed");
        store.maintain().await.expect("maintained");
        let mut parts: BTreeMap<i64, usize> = BTreeMap::new();
        for part in &store.snapshot("db", "t").expect("there").parts {
            *parts.entry(part.file.meta.day()).or_default() += 1;
        }
        most = most.max(parts.values().copied().max().unwrap_or(0));
    }
    assert!(most <= 4, "{most} parts in one day");
    let snapshot = store.snapshot("db", "t").expect("there");
    let parts = u64::try_from(snapshot.parts.len()).expect("small");
    assert!(parts >= days && parts <= days * 3, "{parts} parts for {days} days");
    assert_eq!(rows(&store).await, expected);
    assert!(machine.disk.log_files().len() <= 3, "the log does not grow");
    store.close().await.expect("healthy");
    assert_eq!(rows(&machine.open().await).await, expected);
}
