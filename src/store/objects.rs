//! Parts and manifests in the object store, durable before anything refers to them.
//!
//! A bucket is durable when it answers. The local file system is not: there the file is synced, and
//! the names above it, through the same door the log uses. A manifest must never be seen half
//! written, so on local disk it is synced under another name first and linked to its own then.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::sync::mpsc;
use tracing::warn;

use super::files::Files;

/// The object store and, when it is a local folder, the door to sync it.
#[derive(Debug)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    local: Option<Arc<dyn Files>>,
    /// Folders whose own name is on disk.
    synced_folders: Mutex<HashSet<String>>,
}

/// What came of creating an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creation {
    Created,
    Existed,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, local: Option<Arc<dyn Files>>) -> Self {
        Self { store, local, synced_folders: Mutex::default() }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Writes an object nothing refers to yet.
    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), Error> {
        self.store.put(path, PutPayload::from_bytes(bytes)).await?;
        self.sync(path.clone(), true).await
    }

    /// Makes an object durable that was written through [`Objects::store`] and nothing refers to yet.
    pub(crate) async fn written(&self, path: &Path) -> Result<(), Error> {
        self.sync(path.clone(), true).await
    }

    /// Makes the name of an object durable whose content is.
    pub(crate) async fn named(&self, path: &Path) -> Result<(), Error> {
        self.sync(path.clone(), false).await
    }

    /// Writes an object at once, and only if there is none.
    pub(crate) async fn create(&self, path: &Path, bytes: Bytes) -> Result<Creation, Error> {
        let result = if self.local.is_some() {
            let staged = staged(path);
            self.put(&staged, bytes).await?;
            let linked = self.store.copy_if_not_exists(&staged, path).await;
            if let Err(error) = self.store.delete(&staged).await {
                warn!(%error, path = %staged, "a staged file stays until the next start");
            }
            linked
        } else {
            self.store.put_opts(path, PutPayload::from_bytes(bytes), PutMode::Create.into()).await.map(drop)
        };
        match result {
            // The content was synced under the staged name; the new name is in the folder.
            Ok(()) => self.sync(path.clone(), false).await.map(|()| Creation::Created),
            Err(Error::AlreadyExists { .. }) => Ok(Creation::Existed),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn get(&self, path: &Path) -> Result<Bytes, Error> {
        self.store.get(path).await?.bytes().await
    }

    /// Everything below `prefix`.
    pub(crate) async fn list(&self, prefix: &Path) -> Result<Vec<Path>, Error> {
        let mut paths: Vec<Path> =
            self.store.list(Some(prefix)).map_ok(|object| object.location).try_collect().await?;
        paths.sort();
        Ok(paths)
    }

    /// Deletes an object that may be gone already.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), Error> {
        match self.store.delete(path).await {
            Err(Error::NotFound { .. }) => Ok(()),
            result => result,
        }
    }

    async fn sync(&self, path: Path, content: bool) -> Result<(), Error> {
        let Some(files) = &self.local else { return Ok(()) };
        let files = Arc::clone(files);
        let known = self.synced_folders.lock().expect("no holder of the folders panics").clone();
        let work = move || {
            if content {
                files.sync_file(path.as_ref())?;
            }
            if !path.as_ref().contains('/') {
                files.sync_folder("")?;
            }
            let mut new = Vec::new();
            let mut name = path.as_ref();
            // The folder always, for the new name in it; those above until one is known to be there.
            while let Some((folder, _)) = name.rsplit_once('/') {
                files.sync_folder(folder)?;
                if known.contains(folder) {
                    break;
                }
                new.push(folder.to_owned());
                name = folder;
                if !name.contains('/') {
                    files.sync_folder("")?;
                }
            }
            Ok(new)
        };
        let synced: std::io::Result<Vec<String>> =
            tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other).flatten();
        let new =
            synced.map_err(|source| Error::Generic { store: "local folder", source: Box::new(source) })?;
        self.synced_folders.lock().expect("no holder of the folders panics").extend(new);
        Ok(())
    }
}

fn staged(path: &Path) -> Path {
    Path::from(format!("{path}.staged"))
}

/// Deletes objects that nothing uses any more, in the order they were named.
#[derive(Debug, Clone)]
pub(crate) struct Cleaner {
    unused: mpsc::UnboundedSender<Unused>,
}

#[derive(Debug)]
enum Unused {
    Object(Path),
    Folder(Path),
}

impl Cleaner {
    /// Starts the task; it ends when the last clone of the cleaner is gone.
    pub(crate) fn start(objects: Arc<Objects>) -> Self {
        let (unused, mut received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(unused) = received.recv().await {
                if let Err(error) = objects.remove(&unused).await {
                    // It is found again at the next start.
                    warn!(%error, ?unused, "an unused object could not be deleted");
                }
            }
        });
        Self { unused }
    }

    pub(crate) fn delete(&self, path: Path) {
        // Without the task the process is ending; the object is found at the next start.
        drop(self.unused.send(Unused::Object(path)));
    }

    pub(crate) fn delete_below(&self, folder: Path) {
        drop(self.unused.send(Unused::Folder(folder)));
    }
}

impl Objects {
    async fn remove(&self, unused: &Unused) -> Result<(), Error> {
        match unused {
            Unused::Object(path) => self.delete(path).await,
            Unused::Folder(folder) => {
                for path in self.list(folder).await? {
                    self.delete(&path).await?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::files::DiskFiles;
    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;

    async fn creates_once(objects: &Objects) {
        let path = Path::from("a/b/c.json");
        let create = |text: &'static str| objects.create(&path, Bytes::from_static(text.as_bytes()));
        assert_eq!(create("first").await.expect("new"), Creation::Created);
        assert_eq!(create("second").await.expect("not new"), Creation::Existed);
        assert_eq!(objects.get(&path).await.expect("there"), "first");
        objects.put(&Path::from("a/d"), Bytes::from_static(b"x")).await.expect("put");
        let listed = objects.list(&Path::from("a")).await.expect("list");
        assert_eq!(listed, [path.clone(), Path::from("a/d")], "nothing staged is left");
        objects.delete(&path).await.expect("delete");
        objects.delete(&path).await.expect("gone is fine");
    }

    #[tokio::test]
    async fn objects_are_created_once_in_memory_and_on_disk() {
        creates_once(&Objects::new(Arc::new(InMemory::new()), None)).await;
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = LocalFileSystem::new_with_prefix(folder.path()).expect("folder exists");
        let files: Arc<dyn Files> = Arc::new(DiskFiles::new(folder.path()));
        creates_once(&Objects::new(Arc::new(store), Some(files))).await;
    }
}
