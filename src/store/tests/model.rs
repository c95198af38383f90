//! Random writes, upserts, late rows, flushes, merges and restarts against a `BTreeMap`.

use std::collections::BTreeMap;

use super::bucket::Bucket;
use super::dice::{Dice, asked, seeds};
use super::fixture::{Machine, Rows, compact, finish, merges, row, rows, write};

/// Version and value by host and time.
type Model = BTreeMap<(u64, i64), (i64, i64)>;

/// Whether the rules of versions take the record; changes the model when it does.
fn expect(model: &mut Model, host: u64, time: i64, version: i64, value: i64) -> bool {
    match model.get(&(host, time)) {
        Some((existing, stored)) if version == *existing => value == *stored,
        Some((existing, _)) if version < *existing => false,
        _ => {
            model.insert((host, time), (version, value));
            true
        }
    }
}

fn expected(model: &Model) -> Rows {
    let row = |(&(host, time), &(_, value)): (&(u64, i64), &(i64, i64))| {
        let key = format!("host=h{host} measure_name=m time={time}");
        (key, format!("measure_value::bigint={value}"))
    };
    model.iter().map(row).collect()
}

pub(super) async fn story(seed: u64, mut machine: Machine) {
    let mut dice = Dice::new(seed);
    machine.options.wal_segment_bytes = 4_000;
    machine.options.wal_reserve_bytes = if seed.is_multiple_of(3) { 0 } else { 10_000 };
    machine.options.lookup_cache_bytes = if seed.is_multiple_of(2) { 1 } else { 1 << 20 };
    let mut store = machine.open().await;
    let mut model = Model::new();
    // Merges under way: what is written until they are finished meets their old parts.
    let mut under_way = Vec::new();
    for step in 0..asked("TIDEMILL_STEPS", 125) {
        match dice.below(15) {
            0 | 1 => store.flush().await.expect("flushed"),
            3 => compact(&store).await.expect("merged"),
            4 => under_way = merges(&store).await.expect("merged"),
            5 => drop(finish(&store, std::mem::take(&mut under_way)).await.expect("committed")),
            6 => store.maintain().await.expect("maintained"),
            2 => {
                under_way.clear();
                store.close().await.expect("healthy");
                store = machine.open().await;
            }
            _ => {
                let mut batch = Vec::new();
                let mut refused = Vec::new();
                for index in 0..=usize::try_from(dice.below(40)).expect("small") {
                    let (host, time) = (dice.below(5), dice.int(60) * 3_000_000_000_000);
                    let (version, value) = (1 + dice.int(4), dice.int(3));
                    if !expect(&mut model, host, time, version, value) {
                        refused.push(index);
                    }
                    batch.push(row(&format!("h{host}"), time, version, value));
                }
                let written = write(&store, batch).await.expect("written");
                let rejected: Vec<usize> = written.rejected.iter().map(|rejected| rejected.index).collect();
                assert_eq!(rejected, refused, "seed {seed}, step {step}");
            }
        }
        // Reading every part is what takes the time here.
        if step % 9 == 8 {
            assert_eq!(rows(&store).await, expected(&model), "seed {seed}, step {step}");
        }
    }
}

#[tokio::test]
async fn the_store_agrees_with_a_map() {
    for seed in seeds(if Bucket::of_environment().is_elsewhere() { 1 } else { 8 }) {
        println!("seed {seed}");
        story(seed, Machine::with_table().await).await;
    }
}

/// Writers, a flusher, a compactor and readers at once; every snapshot is consistent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_stay_consistent_while_writers_flushes_and_merges_run() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let writer = |host: &'static str| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..150_i64 {
                // A new row, and a counter that is replaced each time.
                let batch = vec![row(host, n + 1, 1, n), row(host, 0, n + 1, n)];
                let written = write(&store, batch).await.expect("written");
                assert_eq!(written.rejected, []);
            }
        })
    };
    let writers = [writer("a"), writer("b"), writer("c")];
    let flusher = tokio::spawn({
        let store = store.clone();
        async move {
            for _ in 0..25 {
                store.flush().await.expect("flushed");
                tokio::task::yield_now().await;
            }
        }
    });
    let compactor = tokio::spawn({
        let store = store.clone();
        async move {
            for _ in 0..25 {
                compact(&store).await.expect("merged");
                tokio::task::yield_now().await;
            }
        }
    });
    let mut seen = 0;
    while seen < 3 * 151 {
        let rows = rows(&store).await;
        assert!(rows.len() >= seen, "rows do not disappear");
        seen = rows.len();
        for host in ["a", "b", "c"] {
            // The counter and the newest row were written together.
            let counter = rows.get(&format!("host={host} measure_name=m time=0"));
            let count = rows.keys().filter(|key| key.starts_with(&format!("host={host} "))).count();
            let expected = count.checked_sub(2).map(|newest| format!("measure_value::bigint={newest}"));
            assert_eq!(counter, expected.as_ref(), "{host} with {count} rows");
        }
        tokio::task::yield_now().await;
    }
    for task in writers {
        task.await.expect("no panic");
    }
    flusher.await.expect("no panic");
    compactor.await.expect("no panic");
    store.close().await.expect("healthy");
    assert_eq!(rows(&machine.open().await).await.len(), 3 * 151);
}
