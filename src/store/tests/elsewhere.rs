//! Parts and manifests in a bucket or a folder of their own: what a lost connection delays, what a wrong
//! address is answered, and that stores in one place leave each other alone.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use super::bucket::Bucket;
use super::crash::{small_segments, stop_everywhere};
use super::fixture::{Machine, NOW, compact, row, rows, write};
use super::model::story;
use crate::clock::ManualClock;
use crate::store::ground::Ground;
use crate::store::{DatabaseOptions, Disks, Store, StoreError, StoreOptions, StoreUrl, TableOptions};

async fn in_a_bucket() -> Machine {
    Machine::with_table_in(Bucket::Memory).await
}

#[tokio::test]
async fn a_bucket_keeps_the_parts_through_stops_merges_and_restarts() {
    stop_everywhere(small_segments(in_a_bucket().await)).await;
    for seed in 11..=12 {
        story(seed, in_a_bucket().await).await;
    }
}

#[tokio::test]
async fn while_a_bucket_is_out_of_reach_rows_are_taken_and_nothing_is_lost() {
    let machine = in_a_bucket().await;
    let store = machine.open().await;
    write(&store, vec![row("a", 1, 1, 1), row("b", 1, 1, 1)]).await.expect("written");
    store.flush().await.expect("flushed");
    machine.disk.cut_off(true);
    for n in 2..20 {
        write(&store, vec![row("a", n, 1, n)]).await.expect("durable in the log");
        if n % 6 == 0 {
            let failed = store.flush().await.expect_err("out of reach");
            assert!(failed.is_fault(), "{failed}");
        }
    }
    let told = store.troubles();
    assert!(told[0].starts_with("rows cannot be moved from memory to parts: writing a part: "), "{told:?}");
    assert!(told[0].contains("connection refused"), "{told:?}");
    assert_eq!(store.health(), Ok(()), "writes are durable");
    // Whether this replaces a row of a part cannot be known now.
    let late = write(&store, vec![row("b", 1, 2, 5)]).await.expect_err("not acknowledged");
    assert!(late.is_fault() && late.to_string().starts_with("reading the part tables/"), "{late}");
    store.close().await.expect("the log is healthy");

    let refused = machine.try_open().await.expect_err("out of reach").to_string();
    assert!(refused.starts_with("store.url: s3://simulated: it cannot be used: "), "{refused}");
    machine.disk.cut_off(false);
    let store = machine.open().await;
    assert_eq!(rows(&store).await.len(), 20);
    store.flush().await.expect("flushed");
    assert_eq!(store.troubles(), Vec::<String>::new());
    assert!(store.snapshot("db", "t").expect("there").memory.is_empty());
    compact(&store).await.expect("merged");
    assert_eq!(rows(&store).await.len(), 20);
}

#[tokio::test]
async fn a_flush_that_failed_is_repeated_until_the_bucket_is_back() {
    let mut machine = in_a_bucket().await;
    machine.options.flush_interval = Duration::ZERO;
    let store = machine.open().await;
    machine.disk.cut_off(true);
    write(&store, vec![row("a", 1, 1, 1)]).await.expect("written");
    until(|| !store.troubles().is_empty()).await;
    machine.disk.cut_off(false);
    until(|| store.troubles().is_empty()).await;
    assert_eq!(store.snapshot("db", "t").expect("there").parts.len(), 1);
}

async fn until(done: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds");
}

#[tokio::test]
async fn writers_wait_when_memory_is_full_and_no_row_is_dropped() {
    let mut machine = in_a_bucket().await;
    machine.options.memory_bytes = 100_000;
    let store = machine.open().await;
    machine.disk.cut_off(true);
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for start in 0..40 {
                let records = (0..50).map(|n| row("a", start * 50 + n, 1, n)).collect();
                assert_eq!(write(&store, records).await.expect("taken, sooner or later").rejected, []);
            }
        }
    });
    until(|| store.inner.memory.used() >= 100_000).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!writer.is_finished(), "the writer waits");
    let waiting = rows_in_memory(&store);
    assert!(store.inner.memory.used() < 100_000 + 50 * 300, "bounded by the batch under way");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rows_in_memory(&store), waiting, "nothing is taken and nothing leaves");
    machine.disk.cut_off(false);
    tokio::time::timeout(Duration::from_secs(30), writer).await.expect("in time").expect("no panic");
    assert_eq!(rows(&store).await.len(), 2_000);
    store.close().await.expect("healthy");
    assert_eq!(rows(&machine.open().await).await.len(), 2_000);
}

fn rows_in_memory(store: &Store) -> usize {
    let snapshot = store.snapshot("db", "t").expect("there");
    snapshot.memory.iter().map(|batch| batch.num_rows()).sum()
}

/// A store with a folder for itself and another for its parts.
struct Site {
    folder: tempfile::TempDir,
    url: Option<StoreUrl>,
}

impl Site {
    fn new(parts: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let url = parts.map(|parts| format!("file://{}", parts.display()).parse().expect("legal"));
        Self { folder, url }
    }

    async fn open(&self) -> Result<Store, StoreError> {
        let options = StoreOptions { url: self.url.clone(), ..StoreOptions::new(self.folder.path()) };
        Store::open(options, Arc::new(ManualClock::new(NOW))).await
    }

    async fn filled(&self) -> Store {
        let store = self.open().await.expect("opens");
        store.create_database("db", DatabaseOptions::default()).expect("new");
        store.create_table("db", "t", TableOptions::default()).expect("new");
        write(&store, vec![row("a", 1, 1, 1)]).await.expect("written");
        store.flush().await.expect("flushed");
        store
    }
}

/// Paths of all files below a folder.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path().display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn stores_in_one_place_leave_each_other_alone() {
    let place = tempfile::tempdir().expect("temporary folder");
    let (first, second) = (Site::new(Some(place.path())), Site::new(Some(place.path())));
    let store = first.filled().await;
    let other = second.filled().await;
    assert!(!first.folder.path().join("tables").exists(), "no parts beside the log");
    let both = files(place.path());
    assert_eq!(both.len(), 6, "a marker, a part and a manifest of each: {both:?}");
    // What a crash left of the other's flush is not this store's to remove, and the other way round.
    for site in [&first, &second] {
        let id = if std::ptr::eq(site, &first) { &store } else { &other }.inner.writer.id().to_owned();
        let table = format!("{}/tables", place.path().join(id).display());
        let below = both.iter().find(|path| path.starts_with(&table) && path.ends_with(".parquet"));
        let orphan = below.expect("a part").replace("0000000000.parquet", "0000000099.parquet");
        std::fs::write(orphan, b"half").expect("written");
    }
    store.close().await.expect("healthy");
    let store = first.open().await.expect("opens");
    assert_eq!(files(place.path()).len(), 7, "its own left-over is gone, the other's is not");
    assert_eq!(rows(&store).await.len(), 1);
    store.delete_table("db", "t").expect("there");
    for _ in 0..200 {
        if files(place.path()).len() == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(files(place.path()).len(), 5, "its marker, and all of the other");
    assert_eq!(rows(&other).await.len(), 1);
    let report = Store::examine(first.folder.path(), first.url.clone()).await.expect_err("in use");
    assert!(matches!(report, StoreError::Locked { .. }));
    other.close().await.expect("healthy");
    let report = Store::examine(second.folder.path(), second.url.clone()).await.expect("examined");
    assert_eq!((report.tables, report.parts, report.is_sound()), (1, 1, true), "{report}");
}

#[tokio::test]
async fn parts_are_not_left_behind() {
    let places = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let url = |n: usize| Site::new(Some(places[n].path())).url;
    let mut site = Site::new(None);
    // Until there are tables nothing is anywhere.
    for url in [None, url(0), url(1), None] {
        site.url = url;
        site.open().await.expect("opens").close().await.expect("healthy");
    }
    site.filled().await.close().await.expect("healthy");
    site.url = url(0);
    let refused = site.open().await.expect_err("moved").to_string();
    let text = "store.url: the parts of 1 tables are at store.path, and only there; leave store.url out, or \
                begin with another store.path";
    assert_eq!(refused, text);
    let examined = Store::examine(site.folder.path(), site.url.clone()).await.expect_err("moved");
    assert_eq!(examined.to_string(), text);
    site.url = None;
    assert_eq!(rows(&site.open().await.expect("opens")).await.len(), 1);

    let mut site = Site::new(Some(places[0].path()));
    site.filled().await.close().await.expect("healthy");
    for url in [url(1), None] {
        site.url = url;
        let refused = site.open().await.expect_err("moved").to_string();
        let text = format!(
            "store.url: the parts of 1 tables are at store.url = \"file://{}\", and only there; set it so \
             again, or begin with another store.path",
            places[0].path().display()
        );
        assert_eq!(refused, text);
    }
    // The same address, but not the same storage.
    site.url = url(0);
    let moved = places[0].path().with_extension("moved");
    std::fs::rename(places[0].path(), &moved).expect("renamed");
    let refused = site.open().await.expect_err("nothing there").to_string();
    assert!(refused.contains("the parts of this store are not there any more"), "{refused}");
    std::fs::remove_dir_all(places[0].path()).expect("made by the attempt");
    std::fs::rename(moved, places[0].path()).expect("renamed");
    assert_eq!(rows(&site.open().await.expect("opens")).await.len(), 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let refused = Site::new(Some(file.path())).open().await.expect_err("no folder").to_string();
    let start = format!("store.url: file://{}: the folder cannot be created: ", file.path().display());
    assert!(refused.starts_with(&start), "{refused}");
}

/// Storage that does not know If-None-Match.
#[derive(Debug)]
struct Careless(InMemory);

impl std::fmt::Display for Careless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("careless storage")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Careless {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.0.put_opts(location, payload, PutOptions { mode: PutMode::Overwrite, ..options }).await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: futures::stream::BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<ObjectPath>> {
        self.0.delete_stream(locations).boxed()
    }

    fn list(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn storage_that_overwrites_what_must_not_exist_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let url = Some("s3://careless/x".parse().expect("legal"));
    let options = StoreOptions { url, ..StoreOptions::new(folder.path()) };
    let files: Arc<dyn crate::store::files::Files> =
        Arc::new(crate::store::files::DiskFiles::new(folder.path()));
    let ground = Ground::take(folder.path(), &*files).expect("free");
    let disks = Disks { files, objects: Arc::new(Careless(InMemory::new())), object_files: None };
    let refused = Store::open_on(ground, disks, options, Arc::new(ManualClock::new(NOW))).await;
    let refused = refused.expect_err("unsafe").to_string();
    assert!(refused.starts_with("store.url: s3://careless/x: the storage overwrites"), "{refused}");
}

#[tokio::test]
async fn two_runs_of_one_folder_do_not_overwrite_each_others_commits() {
    let machine = in_a_bucket().await;
    let original = machine.open().await;
    write(&original, vec![row("a", 1, 1, 1)]).await.expect("written");
    // A copy of the folder on another machine, with the same bucket.
    let copy = machine.copy(machine.disk.clone());
    let second = copy.open().await;
    original.flush().await.expect("flushed");
    write(&second, vec![row("b", 1, 1, 1)]).await.expect("written");
    let refused = second.flush().await.expect_err("the number is taken").to_string();
    assert!(
        refused.contains("written by another daemon") && refused.contains("copy of the folder"),
        "{refused}"
    );
    assert_eq!(rows(&original).await.len(), 1);
}
