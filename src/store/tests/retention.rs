//! What is too old goes, as soon as the table says so, and not before.

use std::sync::Arc;

use super::fixture::{Machine, NOW, compact, finish, merges, rejections, row, rows};
use crate::clock::ManualClock;
use crate::store::{Retention, Store, TableUpdate};

const HOUR: i64 = 60 * 60 * 1_000_000_000;
const DAY: i64 = 24 * HOUR;

/// So many hours before the test's now.
fn ago(hours: i64) -> i64 {
    NOW.nanos() - hours * HOUR
}

fn retain(store: &Store, memory_store_hours: u32, magnetic_store_days: u32) {
    let retention = Some(Retention { memory_store_hours, magnetic_store_days });
    store.update_table("db", "t", TableUpdate { retention, ..TableUpdate::default() }).expect("allowed");
}

fn table_parts(store: &Store) -> usize {
    store.inner.directory.table("db", "t").expect("there").live().parts.len()
}

async fn times(store: &Store) -> Vec<i64> {
    let hours = |key: &String| {
        (NOW.nanos() - key.rsplit_once('=').expect("a time").1.parse::<i64>().expect("int")) / HOUR
    };
    let mut times: Vec<i64> = rows(store).await.keys().map(hours).collect();
    times.sort_unstable();
    times
}

async fn machine_with(hours: &[i64]) -> (Machine, Arc<ManualClock>, Store) {
    let machine = Machine::with_table().await;
    let clock = Arc::new(ManualClock::new(NOW));
    let store = machine.try_open_at(Arc::clone(&clock)).await.expect("opens");
    let records = hours.iter().map(|hours| row("a", ago(*hours), 5, 1)).collect();
    assert_eq!(rejections(&store, records).await, []);
    store.flush().await.expect("flushed");
    (machine, clock, store)
}

#[tokio::test]
async fn parts_past_both_periods_are_removed_as_time_goes_on() {
    let (machine, clock, store) = machine_with(&[1, 25, 49, 73]).await;
    store.maintain().await.expect("maintained");
    assert_eq!(times(&store).await, [1, 25, 49, 73], "the default keeps everything");
    retain(&store, 2, 2);
    assert_eq!(times(&store).await, [1, 25, 49], "no query sees it from now on");
    assert_eq!(table_parts(&store), 4, "the next pass removes the file");
    store.maintain().await.expect("maintained");
    assert_eq!(table_parts(&store), 3);
    assert_eq!(times(&store).await, [1, 25, 49]);
    clock.set(NOW.saturating_add(HOUR));
    store.maintain().await.expect("maintained");
    assert_eq!(times(&store).await, [1, 25, 49], "a row as old as the periods stays");
    clock.set(NOW.saturating_add(HOUR + 1));
    store.maintain().await.expect("maintained");
    assert_eq!(times(&store).await, [1, 25]);
    clock.set(NOW.saturating_add(400 * DAY));
    retain(&store, 2, 500);
    store.maintain().await.expect("maintained");
    assert_eq!(times(&store).await, [1, 25], "raising keeps");
    store.close().await.expect("healthy");
    assert_eq!(times(&machine.open().await).await, [1, 25], "also after a restart");
}

#[tokio::test]
async fn a_removed_row_can_be_written_again_with_any_version() {
    let (_machine, _clock, store) = machine_with(&[1, 200]).await;
    retain(&store, 1, 1);
    store.maintain().await.expect("maintained");
    assert_eq!(rejections(&store, vec![row("a", ago(200), 1, 7)]).await, []);
    assert_eq!(times(&store).await, [1], "written, and past retention in memory too");
    retain(&store, 1, 100);
    assert_eq!(times(&store).await, [1, 200]);
}

#[tokio::test]
async fn old_rows_inside_a_younger_part_go_when_it_is_merged() {
    let (_machine, _clock, store) = machine_with(&[25, 30, 35, 40]).await;
    assert_eq!(store.snapshot("db", "t").expect("there").parts.len(), 1);
    retain(&store, 8, 1);
    store.maintain().await.expect("maintained");
    assert_eq!(times(&store).await, [25, 30], "seen no more");
    let part_rows = || store.snapshot("db", "t").expect("there").parts[0].rows();
    assert_eq!(part_rows(), 4);
    compact(&store).await.expect("merged");
    assert_eq!(part_rows(), 2);
    assert_eq!(times(&store).await, [25, 30]);
}

#[tokio::test]
async fn raising_retention_while_a_merge_runs_keeps_the_rows() {
    let (_machine, _clock, store) = machine_with(&[25, 30, 35, 40]).await;
    retain(&store, 8, 1);
    let under_way = merges(&store).await.expect("merged");
    retain(&store, 24, 1);
    assert_eq!(finish(&store, under_way).await.expect("thrown away"), 0);
    assert_eq!(times(&store).await, [25, 30, 35, 40]);
    let under_way = merges(&store).await.expect("merged");
    retain(&store, 24, 100);
    assert_eq!(finish(&store, under_way).await.expect("nothing was left out"), 1);
    assert_eq!(times(&store).await, [25, 30, 35, 40]);
}
