//! One flipped bit in a file of the store: the answer stays right, or the file is named. Never a wrong
//! row, a panic or a hang.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStoreExt;
use tempfile::TempDir;

use super::dice::{Dice, asked, copy_folder, files_below, seeds};
use super::fixture::{NOW, Rows, measured, multi, row, rows, write};
use crate::clock::ManualClock;
use crate::record::{MeasureValue, Record};
use crate::store::{DatabaseOptions, Severity, Store, StoreError, StoreOptions, Table, TableOptions};

/// Long enough for the slowest machine, short enough to call it a hang.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open(folder: &Path) -> Result<Store, StoreError> {
    let options = StoreOptions { wal_segment_bytes: 1_500, ..StoreOptions::new(folder) };
    Store::open(options, Arc::new(ManualClock::new(NOW))).await
}

/// Values that do not compress, so that a part has more than one block.
fn noise(dice: &mut Dice, rows: i64) -> Vec<Record> {
    let value = |dice: &mut Dice| MeasureValue::Bigint(dice.int(1 << 31) << 31 | dice.int(1 << 31));
    (0..rows).map(|n| measured(&[("host", "n")], "noise", n, 1, multi(&[("x", value(dice))]))).collect()
}

/// A store with several parts, superseded rows, rows in the log alone, and what it answers.
struct Template {
    folder: TempDir,
    rows: Rows,
    tables: Vec<Table>,
}

async fn template(dice: &mut Dice) -> Template {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = open(folder.path()).await.expect("opens");
    store.create_database("db", DatabaseOptions::default()).expect("new");
    store.create_table("db", "t", TableOptions::default()).expect("new");
    write(&store, noise(dice, 9_000)).await.expect("written");
    write(&store, (0..40).map(|n| row("a", n * 4_000_000_000_000, 1, n)).collect()).await.expect("written");
    store.flush().await.expect("flushed");
    write(&store, (0..10).map(|n| row("a", n * 4_000_000_000_000, 5, -n)).collect()).await.expect("written");
    store.flush().await.expect("flushed");
    store.create_table("db", "empty", TableOptions::default()).expect("new");
    for n in 0..30 {
        // New rows, and rows of parts that are replaced in the log alone.
        write(&store, vec![row("b", n, 1, n), row("a", (10 + n % 5) * 4_000_000_000_000, 5 + n, n)])
            .await
            .expect("written");
    }
    let rows = rows(&store).await;
    let tables = store.list_tables(None).expect("lists");
    store.close().await.expect("healthy");
    Template { folder, rows, tables }
}

/// Opens the folder and asks it for everything; the error is what it refused with.
async fn answers(folder: &Path, expected: &Template) -> Result<(), String> {
    let store = open(folder).await.map_err(|error| error.to_string())?;
    let mut tables = store.list_tables(None).map_err(|error| error.to_string())?;
    assert_eq!(tables, expected.tables);
    assert!(tables.remove(0).name == "empty" && store.describe_database("db").is_ok());
    let snapshot = store.snapshot("db", "t").expect("there");
    for part in &snapshot.parts {
        let read = async { store.object_store().get(part.path()).await?.bytes().await };
        read.await.map_err(|error| error.to_string())?;
    }
    assert_eq!(rows(&store).await, expected.rows);
    // Looks the row up in its part.
    let lower = write(&store, vec![row("a", 20 * 4_000_000_000_000, 1, 7)]).await;
    assert_eq!(lower.map_err(|error| error.to_string())?.rejected.len(), 1);
    store.close().await.map_err(|error| error.to_string())
}

/// Flips a bit of `name` and sees what comes; returns whether it was refused.
async fn flip(template: &Template, name: &str, bit: u64) -> bool {
    println!("bit {bit} of {name}");
    let folder = copy_folder(template.folder.path());
    let path = folder.path().join(name);
    let mut bytes = std::fs::read(&path).expect("readable");
    let byte = usize::try_from(bit / 8).expect("small");
    bytes[byte] ^= 1 << (bit % 8);
    std::fs::write(&path, bytes).expect("written");
    let report = tokio::time::timeout(PATIENCE, Store::examine(folder.path(), None)).await.expect("no hang");
    let report = report.expect("an examination does not fail");
    let answered = tokio::time::timeout(PATIENCE, answers(folder.path(), template)).await.expect("no hang");
    let Err(refused) = answered else { return false };
    assert!(refused.contains(name), "bit {bit} of {name}: {refused}");
    let found = report.findings.iter().find(|finding| finding.file == name);
    let found = found.unwrap_or_else(|| panic!("bit {bit} of {name} is not found: {report}"));
    assert!(found.severity > Severity::Harmless, "{found}");
    true
}

#[tokio::test]
async fn a_flipped_bit_is_refused_or_makes_no_difference() {
    for seed in seeds(1) {
        println!("seed {seed}");
        let mut dice = Dice::new(seed);
        let template = template(&mut dice).await;
        answers(copy_folder(template.folder.path()).path(), &template).await.expect("nothing is flipped yet");
        let all = files_below(template.folder.path());
        let newest = all.keys().rfind(|name| name.ends_with(".json")).cloned();
        let mut kinds = BTreeMap::<&str, (u64, u64)>::new();
        for (name, path) in &all {
            let bytes = std::fs::read(path).expect("there");
            // The room the log reserves ahead is zeros, of which nothing is ever read.
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let bits = 8 * if name.ends_with(".log") { end } else { bytes.len() } as u64;
            let (kind, times) = match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
                "log" => ("log", 3),
                "json" if Some(name) == newest.as_ref() => ("manifest", 12),
                "json" => ("old manifest", 1),
                "parquet" => ("part", 8),
                "redb" => ("catalog", 16),
                _ => continue,
            };
            for _ in 0..times * asked("TIDEMILL_FLIPS", 1) {
                // Most of the catalog is empty pages.
                let within = if kind == "catalog" && dice.below(2) == 0 { 4096 * 8 } else { bits };
                let refused = flip(&template, name, dice.below(within)).await;
                let (tried, refusals) = kinds.entry(kind).or_default();
                *tried += 1;
                *refusals += u64::from(refused);
            }
        }
        println!("{kinds:?}");
        assert_eq!(kinds.len(), 5, "each kind was tried");
        // All of it is covered by checksums.
        for kind in ["log", "part"] {
            assert_eq!(kinds[kind].0, kinds[kind].1, "{kind}: every flip is refused, seed {seed}");
        }
        assert!(kinds["manifest"].1 > 0 && kinds["old manifest"].1 == 0, "{kinds:?}");
    }
}

#[tokio::test]
async fn what_stands_in_the_lock_file_does_not_matter() {
    let template = template(&mut Dice::new(7)).await;
    std::fs::write(template.folder.path().join("lock"), b"\xff\0noise").expect("written");
    answers(template.folder.path(), &template).await.expect("right");
}
