//! A disk in memory that fails the way disks do.
//!
//! What was not synced may be lost, in part or as a whole; a name is lost with its content until its
//! folder was synced. A crash is planned by operation number, so that a test can try them all. Objects
//! are on the disk, or in a bucket, which keeps them and may be out of reach instead.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use super::bucket::Bucket;
use crate::store::files::{AppendFile, Files};

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Operation n and everything after it fails, as if the machine had stopped there.
    Crash(u64),
    /// The n-th sync of a log file fails; everything else goes on.
    Sync(u64),
    /// The n-th append writes half and says that the disk is full.
    Full(u64),
    /// Operation n fails like this and does nothing, or half if it is an append; everything else goes on.
    Once(u64, io::ErrorKind),
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Content>,
    operations: u64,
    appends: u64,
    syncs: u64,
    fault: Option<Fault>,
    crashed: bool,
    /// Whether no object can be reached.
    cut_off: bool,
}

#[derive(Debug, Default, Clone)]
struct Content {
    bytes: Vec<u8>,
    /// Where the next append goes; behind it are zeros.
    end: usize,
    /// How much of what was appended is synced.
    synced: usize,
    /// How long the file was when it was synced: zeros that were reserved stay.
    synced_length: usize,
    named: bool,
}

impl Content {
    fn written(bytes: Vec<u8>, synced: usize, named: bool) -> Self {
        Self { end: bytes.len(), bytes, synced, synced_length: synced, named }
    }

    fn sync(&mut self) {
        self.synced = self.end;
        self.synced_length = self.bytes.len();
    }

    /// Makes a change behind the store's back, or by recovery, durable.
    fn settle(&mut self) {
        self.end = self.bytes.len();
        self.sync();
    }

    /// Of what was appended and not synced, `luck` decides how much survived; what did not is zeros
    /// where room had been reserved, and absent elsewhere.
    fn after_crash(&self, luck: u8) -> Self {
        let kept = self.synced + (self.end - self.synced) * usize::from(luck) / 255;
        let length = if luck > 127 { self.bytes.len() } else { self.synced_length };
        let mut bytes = self.bytes[..kept].to_vec();
        bytes.resize(kept.max(length), 0);
        let synced = bytes.len();
        Self::written(bytes, synced, true)
    }
}

/// The disk; clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
    bucket: Bucket,
    objects: Arc<dyn ObjectStore>,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::with(Bucket::default())
    }
}

fn stopped() -> io::Error {
    io::Error::other("the machine has stopped")
}

impl SimDisk {
    /// An empty disk whose objects are in an empty bucket.
    pub(crate) fn with(bucket: Bucket) -> Self {
        let objects = bucket.empty();
        Self { state: Arc::default(), bucket, objects }
    }

    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Takes the objects out of reach, or back.
    pub(crate) fn cut_off(&self, cut_off: bool) {
        self.state().cut_off = cut_off;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    pub(crate) fn plan(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Changes the bytes of a log file behind the store's back.
    pub(crate) fn tamper(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.files.get_mut(path).expect("the file exists");
        change(&mut file.bytes);
        file.settle();
    }

    pub(crate) fn log_files(&self) -> Vec<String> {
        self.state().files.keys().filter(|path| path.starts_with("wal/")).cloned().collect()
    }

    /// The parts that are on the disk.
    pub(crate) fn part_files(&self) -> Vec<String> {
        self.state().files.keys().filter(|path| path.ends_with(".parquet")).cloned().collect()
    }

    /// The disk as it is found after the machine stopped: of everything unsynced, `luck` decides how
    /// much survived. 0 keeps nothing, 255 keeps all.
    pub(crate) async fn after_crash(&self, luck: u8) -> Self {
        let mut files = BTreeMap::new();
        for (path, content) in &self.state().files {
            if content.named || luck > 127 {
                files.insert(path.clone(), content.after_crash(luck));
            }
        }
        let objects = self.bucket.empty();
        let listed: Vec<_> = self.objects.list(None).collect().await;
        for object in listed {
            let path = object.expect("memory").location;
            let bytes = self.objects.get(&path).await.expect("listed").bytes().await.expect("memory");
            if let Some(content) = files.get(path.as_ref()) {
                let kept = bytes.slice(..content.bytes.len().min(bytes.len()));
                objects.put(&path, PutPayload::from_bytes(kept)).await.expect("memory");
            }
        }
        let state = State { files, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), bucket: self.bucket.clone(), objects }
    }

    /// The disk as the next process finds it: all is there, and what was not synced still is not.
    pub(crate) async fn after_kill(&self) -> Self {
        let copy = self.after_crash(255).await;
        copy.state().files = self.state().files.clone();
        copy
    }

    /// Counts an operation; an error when the machine has stopped, or this is the one that fails.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if let Some(Fault::Once(at, kind)) = state.fault
            && state.operations == at
        {
            state.operations += 1;
            return Err(kind.into());
        }
        if let Some(Fault::Crash(at)) = state.fault
            && state.operations >= at
        {
            state.crashed = true;
        }
        if state.crashed {
            return Err(stopped());
        }
        state.operations += 1;
        Ok(state)
    }

    fn operate_on_objects(&self) -> object_store::Result<()> {
        let failed = |source| object_store::Error::Generic { store: "simulated", source: Box::new(source) };
        self.reach()?;
        self.operate().map(drop).map_err(failed)
    }

    /// An error while the objects cannot be reached.
    fn reach(&self) -> object_store::Result<()> {
        if !self.state().cut_off {
            return Ok(());
        }
        let source = Box::new(io::Error::from(io::ErrorKind::ConnectionRefused));
        Err(object_store::Error::Generic { store: "simulated", source })
    }

    fn object_written(&self, path: &Path, bytes: &[u8], synced: usize) {
        // A bucket that has answered has it for good.
        let kept = self.bucket.is_elsewhere();
        let synced = if kept { bytes.len() } else { synced };
        let content = Content::written(bytes.to_vec(), synced, kept);
        self.state().files.insert(path.to_string(), content);
    }
}

impl Files for SimDisk {
    fn create(&self, path: &str) -> io::Result<Box<dyn AppendFile>> {
        let mut state = self.operate()?;
        if state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(path.to_owned(), Content::default());
        Ok(Box::new(SimFile { disk: self.clone(), path: path.to_owned() }))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let state = self.operate()?;
        state.files.get(path).map(|file| file.bytes.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.operate()?;
        let names = state.files.keys().filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/'));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.operate()?.files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn truncate(&self, path: &str, bytes: u64) -> io::Result<()> {
        let mut state = self.operate()?;
        let file = state.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        file.bytes.truncate(usize::try_from(bytes).expect("small"));
        file.settle();
        Ok(())
    }

    fn sync_file(&self, path: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        let file = state.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        file.settle();
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        for (path, file) in &mut state.files {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            file.named |= parent == folder;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: String,
}

impl AppendFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut state, failure) = match self.disk.operate() {
            Ok(state) => (state, None),
            Err(error) => (self.disk.state(), Some(error)),
        };
        state.appends += 1;
        let full = state.fault == Some(Fault::Full(state.appends));
        let file = state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        // A machine that stops, or a disk that fills up, does so in the middle.
        let kept = if full || failure.is_some() { bytes.len() / 2 } else { bytes.len() };
        let end = file.end + kept;
        let room = file.bytes.len().max(end);
        file.bytes.resize(room, 0);
        file.bytes[file.end..end].copy_from_slice(&bytes[..kept]);
        file.end = end;
        match failure {
            Some(failure) => Err(failure),
            None if full => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let file = state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let room = file.bytes.len().max(file.end + bytes);
        file.bytes.resize(room, 0);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        state.syncs += 1;
        if state.fault == Some(Fault::Sync(state.syncs)) {
            return Err(io::Error::other("the disk could not sync"));
        }
        let file = state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        file.sync();
        Ok(())
    }
}

impl fmt::Display for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated disk")
    }
}

#[async_trait::async_trait]
impl ObjectStore for SimDisk {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.operate_on_objects()?;
        let bytes: Vec<u8> = payload.iter().flat_map(|bytes| bytes.iter().copied()).collect();
        let result = self.objects.put_opts(location, payload, options).await?;
        self.object_written(location, &bytes, 0);
        Ok(result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.reach()?;
        self.objects.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<bytes::Bytes>> {
        self.reach()?;
        self.objects.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let disk = self.clone();
        let delete = move |path: object_store::Result<Path>| {
            let disk = disk.clone();
            async move {
                let path = path?;
                disk.operate_on_objects()?;
                disk.objects.delete(&path).await?;
                disk.state().files.remove(path.as_ref());
                Ok(path)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.reach() {
            Ok(()) => self.objects.list(prefix),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.operate_on_objects()?;
        self.objects.copy_opts(from, to, options).await?;
        // A link: the content is as durable as it was, the name is not.
        let linked = self.state().files.get(from.as_ref()).cloned().expect("copied");
        self.object_written(to, &linked.bytes, linked.synced);
        Ok(())
    }
}
