//! Parts: immutable Parquet files of one UTC day each, readable by anything that reads Parquet.
//!
//! Rows are sorted by measure name, dimensions and time. Texts are plain strings with dictionary
//! encoding, and no sort order is declared: both an Arrow dictionary type and a declared order make
//! DataFusion slower. The column `ts_version` carries the version of every row. Checksums stand between
//! the rows and the footer, where Parquet's readers do not look; see `seal`.

pub(crate) mod checked;
pub(crate) mod encode;
pub(crate) mod lookup;
pub(crate) mod merge;
pub(crate) mod reader;
pub(crate) mod seal;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::path::Path;
use roaring::RoaringBitmap;

use self::checked::CheckedStore;
use self::seal::Seal;
use super::objects::Cleaner;
use crate::clock::Timestamp;

/// The length of the time a part covers.
pub(crate) const DAY_NANOS: i64 = 24 * 60 * 60 * 1_000_000_000;

/// What is known of a part without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartMeta {
    pub(crate) path: Path,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    pub(crate) time_min: Timestamp,
    pub(crate) time_max: Timestamp,
    pub(crate) seal: Seal,
}

impl PartMeta {
    /// The UTC day of all its rows, counted from 1970-01-01.
    pub(crate) fn day(&self) -> i64 {
        self.time_min.nanos().div_euclid(DAY_NANOS)
    }

    pub(crate) fn may_hold(&self, time: i64) -> bool {
        (self.time_min.nanos()..=self.time_max.nanos()).contains(&time)
    }
}

/// Where the files of parts are read and, in the end, deleted.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    pub(crate) store: Arc<CheckedStore>,
    pub(crate) cleaner: Cleaner,
}

/// A file that can be read, and stays, as long as a snapshot refers to it.
#[derive(Debug)]
pub(crate) struct PartFile {
    pub(crate) meta: PartMeta,
    doomed: AtomicBool,
    shelf: Shelf,
}

impl PartFile {
    pub(crate) fn new(meta: PartMeta, shelf: Shelf) -> Arc<Self> {
        shelf.store.add(&meta);
        Arc::new(Self { meta, doomed: AtomicBool::new(false), shelf })
    }

    /// Deletes the file once nobody refers to it any more.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        self.shelf.store.remove(&self.meta.path);
        if self.doomed.load(Ordering::Acquire) {
            self.shelf.cleaner.delete(self.meta.path.clone());
        }
    }
}

/// A part as one snapshot sees it. The file stays as long as the part is held.
#[derive(Debug, Clone)]
pub struct Part {
    pub(crate) file: Arc<PartFile>,
    pub(crate) superseded: Option<Arc<RoaringBitmap>>,
}

impl Part {
    /// Where the file is in the store's object store.
    pub fn path(&self) -> &Path {
        &self.file.meta.path
    }

    /// The size of the file.
    pub fn bytes(&self) -> u64 {
        self.file.meta.bytes
    }

    /// The rows in the file, superseded ones included.
    pub fn rows(&self) -> u64 {
        self.file.meta.rows
    }

    /// The earliest time.
    pub fn time_min(&self) -> Timestamp {
        self.file.meta.time_min
    }

    /// The latest time, inclusive.
    pub fn time_max(&self) -> Timestamp {
        self.file.meta.time_max
    }

    /// The numbers, in file order, of the rows to skip.
    pub fn superseded(&self) -> Option<&Arc<RoaringBitmap>> {
        self.superseded.as_ref()
    }
}
