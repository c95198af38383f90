//! A damaged store is told in words, refused, and opened at the operator's word without what cannot be
//! read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use object_store::{ObjectStoreExt, PutPayload};

use super::disk::{Fault, SimDisk};
use super::fixture::{Machine, NOW, row, rows, write};
use crate::clock::ManualClock;
use crate::record::WriteBatch;
use crate::store::catalog::Catalog;
use crate::store::files::Files;
use crate::store::{DatabaseOptions, Report, Severity, Store, StoreError, StoreOptions, TableOptions};

impl Machine {
    async fn examine(&self) -> Report {
        let contents = Catalog::peek(self.folder.path());
        Store::examine_on(contents, self.disks()).await.expect("no failure")
    }

    fn accepting(mut self) -> Self {
        self.options.accept_loss = true;
        self
    }

    /// The same machine with its disk as it is now.
    async fn again(&self) -> Self {
        self.copy(self.disk.after_crash(255).await)
    }
}

/// Rows one by one from `start` on, a frame each.
async fn fill(store: &Store, start: i64, count: i64) {
    for n in start..start + count {
        write(store, vec![row("a", n, 1, n)]).await.expect("written");
    }
}

/// Changes one bit of the newest segment but `back`.
fn flip(disk: &SimDisk, back: usize, byte: usize) -> String {
    let segments = disk.log_files();
    let path = segments[segments.len() - 1 - back].clone();
    disk.tamper(&path, |bytes| bytes[byte] ^= 4);
    path
}

#[tokio::test]
async fn a_flipped_bit_is_told_refused_and_cut_at_the_operators_word() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    fill(&store, 0, 10).await;
    store.close().await.expect("healthy");
    assert!(machine.examine().await.is_sound());
    let whole = machine.disk.read(&machine.disk.log_files()[0]).expect("there");
    let path = flip(&machine.disk, 0, whole.len() / 2);

    let report = machine.examine().await;
    let [finding] = &report.findings[..] else { panic!("{report}") };
    let offset = finding.offset.expect("a place");
    assert_eq!((finding.severity, &finding.file), (Severity::Refused, &path));
    assert_eq!((report.tables, report.parts), (1, 0));
    let readable = report.frames;
    assert!((2..8).contains(&readable), "{report}");
    assert_eq!(finding.rows, Some(9 - readable), "all rows behind the bad frame");
    let rows_behind = 9 - readable;
    let told = format!(
        "1 tables, 0 parts, {readable} frames in the log\nrefused: {path} at byte {offset}: the checksum does \
         not match; opening is refused. Accepting the loss gives up the rest of the file: {rows_behind} rows of \
         db.t and what cannot be read (at least {rows_behind} rows)\nthe store is damaged"
    );
    assert_eq!(report.to_string(), told);
    let refused = machine.try_open().await.expect_err("damaged");
    assert!(
        matches!(&refused, StoreError::Damaged { path: file, offset: at, .. } if *file == path && *at == offset)
    );

    let machine = machine.again().await.accepting();
    let store = machine.open().await;
    assert_eq!(rows(&store).await.len() as u64, readable);
    fill(&store, 100, 3).await;
    store.close().await.expect("healthy");
    let kept = machine.disk.read(&format!("{path}.damaged")).expect("kept");
    assert_eq!(kept.len() as u64, whole.len() as u64 - offset, "everything from the damage on");
    let mut machine = machine.again().await;
    machine.options.accept_loss = false;
    assert_eq!(rows(&machine.open().await).await.len() as u64, readable + 3);
    let report = machine.again().await.examine().await;
    assert!(report.is_sound() && report.findings.len() == 1, "{report}");
    assert!(report.findings[0].file.ends_with(".damaged"));
}

/// A machine with rows in parts and behind them in several segments, the first of which is damaged.
async fn damaged_in_the_middle() -> Machine {
    let mut machine = Machine::with_table().await;
    machine.options.wal_segment_bytes = 500;
    let store = machine.open().await;
    fill(&store, 0, 3).await;
    store.flush().await.expect("flushed");
    fill(&store, 10, 30).await;
    store.close().await.expect("healthy");
    let segments = machine.disk.log_files().len();
    assert!(segments > 4, "{segments}");
    flip(&machine.disk, segments - 2, 150);
    machine
}

#[tokio::test]
async fn segments_behind_the_damage_are_kept_aside() {
    let machine = damaged_in_the_middle().await;
    let before = machine.disk.log_files();
    let report = machine.examine().await;
    let lost: u64 = report.findings.iter().filter_map(|finding| finding.rows).sum();
    assert_eq!(report.findings.len(), before.len() - 1, "{report}");
    let machine = machine.again().await.accepting();
    let store = machine.open().await;
    let left = rows(&store).await.len() as u64;
    assert_eq!(left + lost + 1, 33, "the row of the bad frame itself is not known");
    store.close().await.expect("healthy");
    let aside = machine.disk.log_files().iter().filter(|path| path.ends_with(".damaged")).count();
    assert_eq!(aside, before.len() - 1);
    let mut machine = machine.again().await;
    machine.options.accept_loss = false;
    assert_eq!(rows(&machine.open().await).await.len() as u64, left);
}

#[tokio::test]
async fn parts_newer_than_the_damage_stay_and_the_log_begins_afresh() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    store.create_table("db", "other", TableOptions::default()).expect("new");
    fill(&store, 0, 10).await;
    let batch = WriteBatch { database: "db".into(), table: "other".into(), records: vec![row("o", 1, 1, 1)] };
    store.submit(batch).await.expect("accepted").await.expect("written");
    let other = store.inner.directory.table("db", "other").expect("there");
    assert!(store.inner.flush_table(&other).await.expect("flushed"));
    store.close().await.expect("healthy");
    flip(&machine.disk, 0, 300);
    let machine = machine.again().await;
    assert!(matches!(machine.try_open().await, Err(StoreError::Damaged { .. })));
    let machine = machine.accepting();
    let store = machine.open().await;
    let left = rows(&store).await.len();
    assert!((1..9).contains(&left), "{left}");
    assert_eq!(store.snapshot("db", "other").expect("there").parts.len(), 1);
    fill(&store, 100, 5).await;
    store.close().await.expect("healthy");
    let mut machine = machine.again().await;
    machine.options.accept_loss = false;
    assert_eq!(rows(&machine.open().await).await.len(), left + 5, "no hole in the numbers is left");
}

#[tokio::test]
async fn accepting_a_loss_can_be_interrupted_anywhere() {
    let template = damaged_in_the_middle().await.accepting();
    let whole = template.again().await;
    let expected = rows(&whole.open().await).await;
    let operations = whole.disk.operations();
    assert!(operations > 40, "{operations}");
    for at in (0..operations).step_by(template.disk.bucket().stride()) {
        for luck in [0, 100, 255] {
            let first = template.again().await;
            first.disk.plan(Fault::Crash(at));
            drop(first.try_open().await);
            let second = first.copy(first.disk.after_crash(luck).await);
            let story = format!("stopped at operation {at}, luck {luck}");
            let store = second.try_open().await.unwrap_or_else(|error| panic!("{story}: {error}"));
            assert_eq!(rows(&store).await, expected, "{story}");
        }
    }
}

#[tokio::test]
async fn an_empty_newest_segment_does_not_hide_a_hole() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    fill(&store, 0, 5).await;
    store.close().await.expect("healthy");
    // Starts a segment and writes nothing to it.
    machine.open().await.close().await.expect("healthy");
    let [first, _] = &machine.disk.log_files()[..] else { panic!("two segments") };
    let bytes = machine.disk.read(first).expect("there");
    let frame = (bytes.len() - 24) / 5;
    machine.disk.tamper(first, |bytes| bytes.truncate(bytes.len() - frame));
    assert!(matches!(machine.try_open().await, Err(StoreError::Damaged { .. })));
}

#[tokio::test]
async fn torn_tails_missing_parts_and_broken_manifests_are_told() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    fill(&store, 0, 4).await;
    store.flush().await.expect("flushed");
    fill(&store, 10, 3).await;
    // Not closed: behind an orderly end nothing is torn.
    let machine = machine.again().await;
    let path = machine.disk.log_files().pop().expect("a segment");
    machine.disk.tamper(&path, |bytes| bytes.truncate(bytes.len() - 2));
    let report = machine.examine().await;
    assert!(report.is_sound() && report.findings.len() == 1 && report.parts == 1, "{report}");
    assert_eq!(report.findings[0].severity, Severity::Harmless);

    let part = object_store::path::Path::from(machine.disk.part_files()[0].as_str());
    let bytes = machine.disk.get(&part).await.expect("there").bytes().await.expect("read");
    let mut broken = bytes.to_vec();
    broken[10..40].fill(0xff);
    machine.disk.put(&part, PutPayload::from(broken)).await.expect("put");
    let finding = machine.examine().await.findings.remove(0);
    assert_eq!((finding.severity, finding.rows), (Severity::Loss, Some(4)), "{finding}");
    machine.disk.put(&part, PutPayload::from_bytes(bytes.slice(..bytes.len() - 1))).await.expect("put");
    let finding = machine.examine().await.findings.remove(0);
    let sizes = format!("the file has {} bytes where {} were written; ", bytes.len() - 1, bytes.len());
    assert!(finding.meaning.starts_with(&sizes), "{finding}");
    machine.disk.delete(&part).await.expect("deleted");
    let finding = machine.examine().await.findings.remove(0);
    assert!(finding.meaning.starts_with("the file is missing; "), "{finding}");

    let folder = part.as_ref().split("/parts/").next().expect("a table's folder");
    let manifest = object_store::path::Path::from(format!("{folder}/manifest/00000000000000000001.json"));
    machine.disk.put(&manifest, PutPayload::from_static(b"{}")).await.expect("put");
    let finding = machine.examine().await.findings.remove(0);
    assert_eq!((finding.severity, finding.file), (Severity::Refused, manifest.to_string()));
}

#[tokio::test]
async fn a_lost_catalog_does_not_take_the_tables_with_it() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    fill(&store, 0, 4).await;
    store.flush().await.expect("flushed");
    store.close().await.expect("healthy");
    let catalog = machine.folder.path().join("catalog.redb");
    let kept = std::fs::read(&catalog).expect("there");
    for lost in [true, false] {
        std::fs::remove_file(&catalog).expect("there");
        if !lost {
            std::fs::write(&catalog, b"").expect("written");
        }
        let refused = machine.try_open().await.expect_err("no catalog");
        assert!(matches!(&refused, StoreError::Damaged { path, .. } if path == "catalog.redb"), "{refused}");
        std::fs::write(&catalog, &kept).expect("restored");
    }
    assert_eq!(rows(&machine.open().await).await.len(), 4);
}

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.display().to_string(), std::fs::read(&path).expect("readable"));
        }
    }
    files
}

#[tokio::test]
async fn an_examination_changes_nothing_and_waits_for_nobody() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(ManualClock::new(NOW));
    let store = Store::open(StoreOptions::new(folder.path()), clock).await.expect("opens");
    store.create_database("db", DatabaseOptions::default()).expect("new");
    store.create_table("db", "t", TableOptions::default()).expect("new");
    fill(&store, 0, 5).await;
    store.flush().await.expect("flushed");
    let busy = Store::examine(folder.path(), None).await.expect_err("in use");
    assert!(matches!(busy, StoreError::Locked { .. }));
    // As a crash leaves it: the catalog was not closed.
    let copy = tempfile::tempdir().expect("temporary folder");
    let copied =
        std::process::Command::new("cp").arg("-r").arg(folder.path()).arg(copy.path().join("s")).status();
    assert!(copied.expect("cp runs").success());
    let crashed = copy.path().join("s");
    std::fs::remove_file(crashed.join("lock")).expect("there");
    let before = contents(&crashed);
    let report = Store::examine(&crashed, None).await.expect("no failure");
    assert_eq!((report.tables, report.parts, report.is_sound()), (1, 1, true), "{report}");
    assert_eq!(report.to_string(), "1 tables, 1 parts, 5 frames in the log\nthe store is sound");
    assert_eq!(contents(&crashed), before);

    std::fs::write(crashed.join("catalog.redb"), b"no catalog").expect("written");
    let report = Store::examine(&crashed, None).await.expect("no failure");
    assert_eq!(report.findings[0].severity, Severity::Refused, "{report}");
    assert!(matches!(Store::examine(&crashed.join("x"), None).await, Err(StoreError::Disk { .. })));
}

/// The catalog of an earlier day is put back: tables made since must not count as deleted.
#[tokio::test]
async fn an_older_catalog_does_not_take_newer_tables_with_it() {
    for flushed in [true, false] {
        let machine = Machine::with_table().await;
        let older = std::fs::read(machine.folder.path().join("catalog.redb")).expect("there");
        let store = machine.open().await;
        let id = store.create_table("db", "newer", TableOptions::default()).expect("new").id;
        let batch =
            WriteBatch { database: "db".into(), table: "newer".into(), records: vec![row("a", 1, 1, 1)] };
        store.submit(batch).await.expect("accepted").await.expect("written");
        if flushed {
            store.flush().await.expect("flushed");
        }
        store.close().await.expect("healthy");
        let path = machine.folder.path().join("catalog.redb");
        let newer = std::fs::read(&path).expect("there");
        std::fs::write(&path, &older).expect("written");
        let refused = machine.try_open().await.expect_err("older than the table").to_string();
        assert!(refused.starts_with("catalog.redb") && refused.contains(&id.to_string()), "{refused}");
        let report = machine.examine().await;
        let found = report.findings.iter().filter(|finding| finding.file == "catalog.redb");
        assert_eq!((found.count(), report.is_sound()), (1, false), "{report}");

        std::fs::write(&path, &newer).expect("written");
        assert!(machine.examine().await.is_sound());
        let store = machine.open().await;
        assert_eq!(store.snapshot("db", "newer").expect("there").parts.len(), usize::from(flushed));
        store.close().await.expect("healthy");
        std::fs::write(&path, &older).expect("written");
        let store = machine.accepting().open().await;
        assert!(store.has_table("db", "t") && !store.has_table("db", "newer"));
    }
}

#[tokio::test]
async fn deleted_tables_are_remembered_as_long_as_anything_is_left_of_them() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    fill(&store, 0, 3).await;
    store.delete_table("db", "t").expect("there");
    store.close().await.expect("healthy");
    for _ in 0..2 {
        // The log still has its rows.
        machine.open().await.close().await.expect("healthy");
    }
    let store = machine.open().await;
    store.create_table("db", "t", TableOptions::default()).expect("new");
    fill(&store, 0, 3).await;
    store.flush().await.expect("flushed");
    store.close().await.expect("healthy");
    assert!(machine.examine().await.is_sound());
    machine.open().await.close().await.expect("healthy");
    let contents = Catalog::peek(machine.folder.path()).expect("readable");
    assert!(contents.deleted.is_empty());
}
