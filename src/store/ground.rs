//! The folder of a store that is about to be opened: locked, and with its catalog.

use std::path::Path;

use super::catalog::{Catalog, Contents};
use super::error::StoreError;
use super::files::Files;
use super::lock::FolderLock;
use super::wal::segment;

/// What is known of a store before its log and its parts are looked at.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) lock: FolderLock,
    pub(crate) catalog: Catalog,
    pub(crate) contents: Contents,
}

impl Ground {
    /// Locks a folder, which must exist and whose log is in `files`, and opens its catalog.
    pub(crate) fn take(folder: &Path, files: &dyn Files) -> Result<Self, StoreError> {
        let lock = FolderLock::take(folder)?;
        if Catalog::is_missing(folder) {
            expect_nothing(files)?;
        }
        let (catalog, contents) = Catalog::open(folder)?;
        Ok(Self { lock, catalog, contents })
    }
}

/// Refuses a folder that lost its catalog. Tables that no catalog knows count as deleted: a new one
/// would delete them all.
fn expect_nothing(files: &dyn Files) -> Result<(), StoreError> {
    for folder in [segment::FOLDER, "tables"] {
        let names = files.list(folder).map_err(StoreError::disk("looking for a log and tables"))?;
        if let Some(name) = names.first() {
            let reason = format!("it is missing or empty, but {folder}/{name} exists");
            return Err(StoreError::damaged("catalog.redb", 0, reason));
        }
    }
    Ok(())
}
