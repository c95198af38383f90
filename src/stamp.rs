//! What the system says about a file without reading it: how those who use files notice that they changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// Equal stamps nearly always mean equal contents: a second change within one tick of the file system's clock
/// may leave the stamp as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Stamp {
    /// The stamp of a file now; nothing where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self { modified: metadata.modified().ok(), bytes: metadata.len(), inode: metadata.ino() })
    }

    /// When the file was written last, where the file system knows.
    pub const fn modified(self) -> Option<SystemTime> {
        self.modified
    }
}
