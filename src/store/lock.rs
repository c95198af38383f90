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
        let lock = FolderLock::take(folder.path()).expect("free");
        let error = FolderLock::take(folder.path()).expect_err("taken");
        assert!(matches!(error, StoreError::Locked { path } if path == folder.path()));
        drop(lock);
        FolderLock::take(folder.path()).expect("free again");
    }
}
