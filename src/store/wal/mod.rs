//! The write-ahead log: what is acknowledged is in it.
//!
//! Layers, one file each: `segment` knows files, not frames; `frame` knows checksums, not entries;
//! `entry` knows rows, not files. `committer` writes, `reader` reads, and neither repairs: only
//! `recovery` decides what damage means.

pub(crate) mod position;
pub(crate) mod segment;

pub(crate) mod committer;
pub(crate) mod entry;
pub(crate) mod frame;
pub(crate) mod reader;

/// The sizes of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WalOptions {
    /// A segment that reached this size is followed by a new one.
    pub(crate) segment_bytes: u64,
    /// How much room small writes reserve at a time; 0 for none.
    pub(crate) reserve_bytes: usize,
    /// Writers wait while this much is queued for the next write.
    pub(crate) group_bytes_max: usize,
}
