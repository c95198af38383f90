//! The machine stops at every operation; what was acknowledged is there afterwards, and nothing that
//! was never sent. Failing disks stop acknowledgements; damage is refused.

use std::collections::BTreeMap;

use super::disk::{Fault, SimDisk};
use super::fixture::{Machine, Rows, compact, finish, merges, row, rows, write};
use crate::store::{Store, StoreError};

/// The newest acknowledged and the newest sent version of each row.
type Sent = BTreeMap<String, (i64, i64)>;

fn key(host: &str, time: i64) -> String {
    format!("host={host} measure_name=m time={time}")
}

/// New rows, upserts of rows in memory and in parts, flushes, merges with upserts meanwhile, and
/// changes of segment, until the machine stops.
async fn work(store: &Store, sent: &mut Sent) {
    let mut under_way = Vec::new();
    for step in 0..20_i64 {
        let mut batch = Vec::new();
        for (host, time) in [("a", step), ("b", step % 4), ("c", 86_400_000_000_000 * (step % 2))] {
            let (_, newest) = sent.entry(key(host, time)).or_default();
            *newest += 1;
            batch.push(row(host, time, *newest, *newest));
        }
        let keys: Vec<String> =
            batch.iter().map(|row| key(&row.dimensions[0].value, row.time.nanos())).collect();
        if let Ok(written) = write(store, batch).await {
            assert_eq!(written.rejected, []);
            for key in keys {
                let (acknowledged, newest) = sent.get_mut(&key).expect("just sent");
                *acknowledged = *newest;
            }
        }
        if step % 5 == 4 {
            // Fails once the machine has stopped.
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

fn judge(rows: &Rows, sent: &Sent, story: &str) {
    for (key, values) in rows {
        let (_, newest) = sent.get(key).unwrap_or_else(|| panic!("{story}: {key} was never sent"));
        let version: i64 =
            values.strip_prefix("measure_value::bigint=").expect("a value").parse().expect("int");
        assert!(version <= *newest, "{story}: {key} has version {version} of {newest}");
    }
    for (key, (acknowledged, _)) in sent.iter().filter(|(_, (acknowledged, _))| *acknowledged > 0) {
        let values = rows.get(key).unwrap_or_else(|| panic!("{story}: {key} was acknowledged and is lost"));
        let version: i64 = values["measure_value::bigint=".len()..].parse().expect("int");
        assert!(version >= *acknowledged, "{story}: {key} fell back to {version} from {acknowledged}");
    }
}

async fn machine() -> Machine {
    let mut machine = Machine::with_table().await;
    machine.options.wal_segment_bytes = 600;
    machine.options.wal_reserve_bytes = 4_000;
    machine
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_wherever_the_machine_stops() {
    let template = machine().await;
    let whole = template.copy(template.disk.after_crash(255).await);
    let mut sent = Sent::new();
    work(&whole.open().await, &mut sent).await;
    let operations = whole.disk.operations();
    assert!(operations > 100, "the work does something: {operations}");

    for at in 0..operations {
        let first = template.copy(template.disk.after_crash(255).await);
        first.disk.plan(Fault::Crash(at));
        let mut sent = Sent::new();
        if let Ok(store) = first.try_open().await {
            work(&store, &mut sent).await;
            // The log has failed: closing says so.
            drop(store.close().await);
        }
        // Everything unsynced is lost, and by turns half or nothing of it.
        for luck in [0, if at % 2 == 0 { 100 } else { 255 }] {
            let story = format!("stopped at operation {at}, luck {luck}");
            let second = first.copy(first.disk.after_crash(luck).await);
            let store = second.try_open().await.unwrap_or_else(|error| panic!("{story}: {error}"));
            judge(&rows(&store).await, &sent, &story);
            if luck == 100 && at % 6 == 0 {
                recovered_store_goes_on(&second, store, &mut sent.clone(), &story).await;
            }
        }
    }
}

/// After a recovery everything works: more rows, a flush, another start.
async fn recovered_store_goes_on(machine: &Machine, store: Store, sent: &mut Sent, story: &str) {
    for (key, values) in rows(&store).await {
        // What survived unacknowledged counts from now on.
        let version = values["measure_value::bigint=".len()..].parse().expect("int");
        sent.get_mut(&key).expect("sent").0 = version;
    }
    work(&store, sent).await;
    judge(&rows(&store).await, sent, story);
    store.flush().await.unwrap_or_else(|error| panic!("{story}: {error}"));
    store.close().await.expect("healthy");
    let store = machine.try_open().await.unwrap_or_else(|error| panic!("{story}, again: {error}"));
    judge(&rows(&store).await, sent, story);
}

#[tokio::test]
async fn a_failed_sync_or_a_full_disk_ends_all_acknowledgements() {
    for fault in [Fault::Sync(8), Fault::Full(8)] {
        let machine = Machine::with_table().await;
        let store = machine.open().await;
        machine.disk.plan(fault);
        let mut sent = Sent::new();
        work(&store, &mut sent).await;
        let acknowledged = sent.values().filter(|(acknowledged, _)| *acknowledged > 0).count();
        assert!(acknowledged > 0 && acknowledged < sent.len(), "{fault:?} hits in the middle");
        let reason = store.health().expect_err("poisoned");
        assert!(reason.starts_with("writing the log failed: "), "{reason}");
        let refused = write(&store, vec![row("z", 1, 1, 1)]).await;
        assert!(
            matches!(&refused, Err(StoreError::Unavailable { reason: told }) if *told == reason),
            "{refused:?}"
        );
        judge(&rows(&store).await, &sent, "queries go on");
        assert!(store.flush().await.is_err());
        assert!(store.close().await.is_err());
        let second = machine.copy(machine.disk.after_crash(0).await);
        judge(&rows(&second.open().await).await, &sent, "after a restart");
    }
}

/// A disk with one segment of several writes, and the path of that segment.
async fn one_segment() -> (Machine, SimDisk, String) {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    for n in 0..10 {
        write(&store, vec![row("a", n, 1, n)]).await.expect("written");
    }
    store.close().await.expect("healthy");
    let disk = machine.disk.after_crash(255).await;
    let path = disk.log_files().pop().expect("a segment");
    (machine, disk, path)
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
