//! The machine stops at every operation; what was acknowledged is there afterwards, and nothing that
//! was never sent. Failing disks stop acknowledgements; damage is refused.

use std::io;

use super::disk::{Fault, SimDisk};
use super::fixture::{Machine, compact, finish, merges, row, rows, write};
use super::history::History;
use crate::store::{Store, StoreError};

/// New rows, upserts of rows in memory and in parts, flushes, merges with upserts meanwhile, and
/// changes of segment, until the machine stops.
async fn work(store: &Store, history: &mut History) {
    let mut under_way = Vec::new();
    for step in 0..20_i64 {
        let rows = [("a", step), ("b", step % 4), ("c", 86_400_000_000_000 * (step % 2))];
        // Fails once the machine has stopped, and so does what follows.
        drop(history.send(store, &rows).await);
        if step % 5 == 4 {
            drop(store.flush().await);
        }
        match step {
            11 => under_way = merges(store).await.unwrap_or_default(),
            15 => drop(finish(store, std::mem::take(&mut under_way)).await),
            18 => drop(compact(store).await),
            _ => {}
        }
    }
}

async fn machine() -> Machine {
    small_segments(Machine::with_table().await)
}

pub(super) fn small_segments(mut machine: Machine) -> Machine {
    machine.options.wal_segment_bytes = 600;
    machine.options.wal_reserve_bytes = 4_000;
    machine
}

/// A machine for one story, with nothing on its disk but the table.
async fn fresh(template: &Machine) -> Machine {
    template.copy(template.disk.after_crash(255).await)
}

/// How many operations the work takes when nothing goes wrong.
async fn operations(template: &Machine) -> u64 {
    let whole = fresh(template).await;
    work(&whole.open().await, &mut History::default()).await;
    let operations = whole.disk.operations();
    assert!(operations > 80, "the work does something: {operations}");
    operations
}

/// The work on a disk with a fault, and what became of it.
async fn faulty(template: &Machine, fault: Fault) -> (Machine, History) {
    let machine = fresh(template).await;
    machine.disk.plan(fault);
    let mut history = History::default();
    if let Ok(store) = machine.try_open().await {
        work(&store, &mut history).await;
        if matches!(fault, Fault::Once(..)) {
            history.judge(&rows(&store).await, &format!("{fault:?}, at once"));
        }
        // When the log has failed, closing says so.
        drop(store.close().await);
    }
    (machine, history)
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_wherever_the_machine_stops() {
    stop_everywhere(machine().await).await;
}

/// Stops a machine with an empty table at each operation, or at every so many of them, of some work.
pub(super) async fn stop_everywhere(template: Machine) {
    for at in (0..operations(&template).await).step_by(template.disk.bucket().stride()) {
        let (first, history) = faulty(&template, Fault::Crash(at)).await;
        // Everything unsynced is lost, and by turns half or nothing of it.
        for luck in [0, if at % 2 == 0 { 100 } else { 255 }] {
            let story = format!("stopped at operation {at}, luck {luck}");
            let second = first.copy(first.disk.after_crash(luck).await);
            let store = second.try_open().await.unwrap_or_else(|error| panic!("{story}: {error}"));
            history.judge(&rows(&store).await, &story);
            if luck == 100 && at % 6 == 0 {
                recovered_store_goes_on(&second, store, history.clone(), &story).await;
            }
        }
    }
}

/// After a recovery everything works: more rows, a flush, another start.
async fn recovered_store_goes_on(machine: &Machine, store: Store, mut history: History, story: &str) {
    // What survived unacknowledged counts from now on.
    history.saw(&rows(&store).await);
    work(&store, &mut history).await;
    history.judge(&rows(&store).await, story);
    store.flush().await.unwrap_or_else(|error| panic!("{story}: {error}"));
    store.close().await.expect("healthy");
    let store = machine.try_open().await.unwrap_or_else(|error| panic!("{story}, again: {error}"));
    history.judge(&rows(&store).await, story);
}

/// The process dies, which leaves what it wrote in the system's memory; the next one reads it, shows it
/// and acknowledges it to clients that ask again; then the power goes.
#[tokio::test]
async fn what_was_read_after_a_kill_survives_the_power_cut_that_follows() {
    let template = machine().await;
    for at in (0..operations(&template).await).step_by(template.disk.bucket().stride()) {
        let (first, mut history) = faulty(&template, Fault::Crash(at)).await;
        let story = format!("killed at operation {at}");
        let second = first.copy(first.disk.after_kill().await);
        let store = second.try_open().await.unwrap_or_else(|error| panic!("{story}: {error}"));
        let seen = rows(&store).await;
        history.judge(&seen, &story);
        history.saw(&seen);
        if at % 2 == 0 {
            history.send_again(&store).await.unwrap_or_else(|error| panic!("{story}: {error}"));
        }
        let story = format!("{story}, then without power");
        let third = second.copy(second.disk.after_crash(0).await);
        let store = third.try_open().await.unwrap_or_else(|error| panic!("{story}: {error}"));
        history.judge(&rows(&store).await, &story);
    }
}

/// Each operation fails once, by itself, with half of a write done: the disk is full for a moment, or
/// cannot sync. What fails is not acknowledged; the rest goes on or says why not.
#[tokio::test]
async fn nothing_acknowledged_is_lost_when_one_operation_fails() {
    let template = machine().await;
    for at in (0..operations(&template).await).step_by(template.disk.bucket().stride()) {
        let kind = if at % 2 == 0 { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        let fault = Fault::Once(at, kind);
        let (first, history) = faulty(&template, fault).await;
        for luck in [0, 255] {
            let story = format!("{fault:?}, luck {luck}");
            let second = first.copy(first.disk.after_crash(luck).await);
            let store = second.try_open().await.unwrap_or_else(|error| panic!("{story}: {error}"));
            history.judge(&rows(&store).await, &story);
        }
    }
}

#[tokio::test]
async fn a_failed_sync_or_a_full_disk_ends_all_acknowledgements() {
    for fault in [Fault::Sync(8), Fault::Full(8)] {
        let machine = Machine::with_table().await;
        let store = machine.open().await;
        machine.disk.plan(fault);
        let mut history = History::default();
        work(&store, &mut history).await;
        let (acknowledged, sent) = history.counts();
        assert!(acknowledged > 0 && acknowledged < sent, "{fault:?} hits in the middle");
        let reason = store.health().expect_err("poisoned");
        assert!(reason.starts_with("writing the log failed: "), "{reason}");
        let refused = write(&store, vec![row("z", 1, 1, 1)]).await;
        assert!(
            matches!(&refused, Err(StoreError::Unavailable { reason: told }) if *told == reason),
            "{refused:?}"
        );
        history.judge(&rows(&store).await, "queries go on");
        assert!(store.flush().await.is_err());
        assert!(store.close().await.is_err());
        let second = machine.copy(machine.disk.after_crash(0).await);
        history.judge(&rows(&second.open().await).await, "after a restart");
    }
}

/// A disk with one segment of several writes, and the path of that segment.
async fn one_segment() -> (Machine, SimDisk, String) {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    for n in 0..10 {
        write(&store, vec![row("a", n, 1, n)]).await.expect("written");
    }
    let disk = machine.disk.after_crash(255).await;
    let path = disk.log_files().pop().expect("a segment");
    // The catalog as it is while the store is open.
    (machine.copy(disk.clone()), disk, path)
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_writing_goes_on() {
    let (machine, disk, path) = one_segment().await;
    disk.tamper(&path, |bytes| bytes.truncate(bytes.len() - 3));
    let second = machine.copy(disk);
    let store = second.open().await;
    assert_eq!(rows(&store).await.len(), 9);
    write(&store, vec![row("a", 100, 1, 1)]).await.expect("written");
    store.close().await.expect("healthy");
    assert_eq!(rows(&second.open().await).await.len(), 10);
}

#[tokio::test]
async fn damage_before_the_tail_is_refused_with_file_and_offset() {
    let (machine, disk, path) = one_segment().await;
    let whole = disk.after_crash(255).await;
    disk.tamper(&path, |bytes| bytes[200] ^= 1);
    let error = machine.copy(disk).try_open().await.expect_err("damaged");
    let StoreError::Damaged { path: named, offset, reason } = error else { panic!("{error:?}") };
    assert_eq!(named, path);
    assert!(offset > 24 && offset <= 200, "{offset}");
    assert_eq!(reason, "the checksum does not match");

    // The same bytes in a segment that is not the newest are damage even at its end.
    let machine = machine.copy(whole);
    let store = machine.open().await;
    write(&store, vec![row("b", 1, 1, 1)]).await.expect("written");
    store.close().await.expect("healthy");
    machine.disk.tamper(&path, |bytes| bytes.truncate(bytes.len() - 3));
    let error = machine.try_open().await.expect_err("damaged");
    assert!(matches!(error, StoreError::Damaged { path: named, .. } if named == path));
}

#[tokio::test]
async fn a_missing_segment_is_damage() {
    let machine = machine().await;
    let store = machine.open().await;
    for n in 0..40 {
        write(&store, vec![row("a", n, 1, n)]).await.expect("written");
    }
    store.close().await.expect("healthy");
    let segments = machine.disk.log_files();
    assert!(segments.len() > 3, "{segments:?}");
    crate::store::files::Files::remove(&machine.disk, &segments[1]).expect("there");
    let error = machine.try_open().await.expect_err("damaged");
    assert!(matches!(error, StoreError::Damaged { path, .. } if path == segments[2]));
}
