//! One process per folder: the log and the table chains have one writer.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::error::StoreError;

/// The lock on a store's folder, held until dropped. The system lets go of it when the process ends,
/// however it ends.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Locks `folder`, which must exist.
    pub(crate) fn take(folder: &Path) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .write(true)
            .truncate(false)
            .open(folder.join("lock"))
            .map_err(StoreError::disk("creating the lock file"))?;
        Self::lock(file, folder)
    }

    /// Locks `folder` without writing to it; `None` when it was never locked, so nobody uses it.
    pub(crate) fn take_existing(folder: &Path) -> Result<Option<Self>, StoreError> {
        match File::open(folder.join("lock")) {
            Ok(file) => Self::lock(file, folder).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::disk("opening the lock file")(error)),
        }
    }

    fn lock(file: File, folder: &Path) -> Result<Self, StoreError> {
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: folder.to_owned() }),
            Err(TryLockError::Error(error)) => Err(StoreError::disk("locking the folder")(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_until_the_lock_is_dropped() {
        let folder = tempfile::tempdir().expect("temporary folder");
        assert!(FolderLock::take_existing(folder.path()).expect("nobody").is_none());
        assert!(!folder.path().join("lock").exists());
        let lock = FolderLock::take(folder.path()).expect("free");
        assert!(matches!(FolderLock::take_existing(folder.path()), Err(StoreError::Locked { .. })));
        let error = FolderLock::take(folder.path()).expect_err("taken");
        assert!(matches!(error, StoreError::Locked { path } if path == folder.path()));
        drop(lock);
        assert!(FolderLock::take_existing(folder.path()).expect("free again").is_some());
        FolderLock::take(folder.path()).expect("free again");
    }
}
