//! What the bytes of the log mean: whole, torn by a crash, or damaged. Judges, and changes nothing:
//! recovery acts on the judgement, the examination tells it.
//!
//! - A bad frame at the end of the newest segment that was never synced is what a crash leaves.
//!   Nothing acknowledged is in it.
//! - A newest segment without a frame is what a crash, or an idle run, leaves.
//! - Every other bad byte, and every missing number, is damage.

use std::collections::{BTreeMap, VecDeque};

use object_store::path::Path;

use super::error::StoreError;
use super::files::Files;
use super::paths::{self, TableId};
use super::wal::position::Lsn;
use super::wal::reader::{Fault, FrameReader};
use super::wal::segment::{self, HeaderFault};

/// Walks the segments, oldest first.
#[derive(Debug)]
pub(crate) struct LogWalk<'a> {
    files: &'a dyn Files,
    rest: VecDeque<Lsn>,
    /// The frame that must come next; none before the first segment.
    next: Option<Lsn>,
    /// Frames up to here are known to have been synced: they are in parts, or the store was closed
    /// in order behind them.
    synced: Lsn,
}

/// A segment and what is to be thought of it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) first: Lsn,
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    /// Up to where its bytes are good.
    pub(crate) good: usize,
    /// The frame that follows the good ones.
    pub(crate) next: Option<Lsn>,
    pub(crate) flaw: Option<Flaw>,
}

/// What is wrong with a segment.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// It was never finished, and nothing in it was acknowledged.
    Torn(Fault),
    /// What was acknowledged cannot be read.
    Damaged(Damage),
}

/// Where and why bytes are not what was written.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    pub(crate) reason: String,
}

impl Damage {
    pub(crate) fn new(offset: u64, reason: impl ToString) -> Self {
        Self { offset, reason: reason.to_string() }
    }

    pub(crate) fn of(self, path: &str) -> StoreError {
        StoreError::damaged(path, self.offset, self.reason)
    }
}

impl<'a> LogWalk<'a> {
    pub(crate) fn start(files: &'a dyn Files, synced: Lsn) -> Result<Self, StoreError> {
        let names = files.list(segment::FOLDER).map_err(StoreError::disk("listing the log"))?;
        let rest = names.iter().filter_map(|name| segment::first_lsn_of_name(name)).collect();
        Ok(Self { files, rest, next: None, synced })
    }

    /// The next segment. After a damaged one the walk goes on as if it had been whole.
    pub(crate) fn next_segment(&mut self) -> Result<Option<Segment>, StoreError> {
        let Some(first) = self.rest.pop_front() else { return Ok(None) };
        let path = segment::path(first);
        let bytes = self.files.read(&path).map_err(StoreError::disk("reading the log"))?;
        if let Err(HeaderFault::Format(found)) = segment::parse_header(&bytes) {
            // Whole, but not for this program: neither damage nor empty.
            return Err(StoreError::Format { path, found: found.into(), known: segment::FORMAT.into() });
        }
        let segment = self.judge(first, path, bytes);
        self.next = segment.next;
        if let Some(Flaw::Damaged(_)) = segment.flaw {
            self.next = self.rest.front().copied();
        }
        Ok(Some(segment))
    }

    fn judge(&self, first: Lsn, path: String, bytes: Vec<u8>) -> Segment {
        let newest = self.rest.is_empty();
        let damaged = |path, bytes, reason: String| {
            let flaw = Some(Flaw::Damaged(Damage { offset: 0, reason }));
            Segment { first, path, bytes, good: 0, next: self.next, flaw }
        };
        match segment::parse_header(&bytes) {
            Err(_) if newest && bytes.len() <= segment::HEADER_BYTES => {
                Segment { first, path, bytes, good: 0, next: self.next, flaw: None }
            }
            Err(fault) => damaged(path, bytes, fault.to_string()),
            Ok(named) if named != first || self.next.is_some_and(|next| next != first) => {
                let expected = self.next.unwrap_or(first);
                let reason = format!("it starts with frame {named} where frame {expected} must follow");
                damaged(path, bytes, reason)
            }
            Ok(_) => self.judge_frames(first, path, bytes, newest),
        }
    }

    fn judge_frames(&self, first: Lsn, path: String, bytes: Vec<u8>, newest: bool) -> Segment {
        let mut frames = FrameReader::new(&bytes, first);
        let fault = frames.by_ref().find_map(Result::err);
        let (good, next) = (frames.offset(), frames.next_lsn());
        let flaw = fault.map(|fault| {
            let torn = newest && !fault.was_synced && next > self.synced;
            if torn { Flaw::Torn(fault) } else { Flaw::Damaged(Damage::new(fault.offset, fault.kind)) }
        });
        let good = usize::try_from(good).expect("an offset in memory");
        Segment { first, path, bytes, good, next: Some(next), flaw }
    }

    /// Whether all segments were read.
    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// The segments that were not read yet.
    pub(crate) fn rest(&self) -> impl DoubleEndedIterator<Item = Lsn> {
        self.rest.iter().copied()
    }
}

impl Segment {
    /// The good frames.
    pub(crate) fn frames(&self) -> FrameReader<'_> {
        FrameReader::new(&self.bytes[..self.good], self.first)
    }

    /// Whether no frame of it is good.
    pub(crate) fn is_empty(&self) -> bool {
        self.good <= segment::HEADER_BYTES
    }
}

/// What is wrong with a catalog that neither knows nor deleted a table.
pub(crate) fn older_catalog(table: TableId, seen: &str) -> String {
    format!("it neither knows nor deleted the table {table} that {seen} is of: it is older than the table")
}

/// The tables that have manifests among `paths`, each with one of them.
pub(crate) fn tables_with_manifests(paths: &[Path]) -> BTreeMap<TableId, &Path> {
    let manifests = paths.iter().filter(|path| paths::manifest_number(path).is_some());
    manifests.filter_map(|path| Some((TableId::parse(path.parts().nth(1)?.as_ref())?, path))).collect()
}

/// Whether a log of some segments ends before what it is known to have held.
pub(crate) fn ends_early(segments: &[Lsn], next: Option<Lsn>, synced: Lsn) -> Option<(String, Damage)> {
    let (newest, next) = (segments.last()?, next?);
    let reason = || format!("the log ends before frame {next}, but it went up to frame {synced}");
    (next <= synced).then(|| (segment::path(*newest), Damage::new(0, reason())))
}
