//! Reads the frames of one segment and reports what is wrong. Never repairs, never skips: what a
//! fault means is for `recovery` to say. Zeros up to the end of the file are the room that was reserved
//! for more frames.

use super::frame::{self, Frame, FrameFault};
use super::position::Lsn;
use super::segment;

/// How many places behind a bad frame are checksummed in search of a good one. Only a place that
/// names a near LSN counts, so honest logs need one or two.
const CANDIDATES_MAX: usize = 10_000;

/// How far ahead of the last good frame a candidate's LSN may lie.
const LSN_DISTANCE_MAX: u64 = 64 * 1024 * 1024;

/// The place where a segment stops making sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where in the file the bad frame starts.
    pub(crate) offset: u64,
    pub(crate) kind: FaultKind,
    /// Whether a later frame proves that the bad bytes had been synced.
    pub(crate) was_synced: bool,
}

/// What is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FaultKind {
    #[error(transparent)]
    Frame(#[from] FrameFault),
    #[error("the frame is number {found} where number {expected} must follow")]
    OutOfOrder { expected: Lsn, found: Lsn },
}

/// Walks the frames of a segment's bytes.
#[derive(Debug)]
pub(crate) struct FrameReader<'a> {
    bytes: &'a [u8],
    offset: usize,
    next: Lsn,
    done: bool,
}

impl<'a> FrameReader<'a> {
    /// A reader over a whole file whose header says that `first` comes first.
    pub(crate) fn new(bytes: &'a [u8], first: Lsn) -> Self {
        Self { bytes, offset: segment::HEADER_BYTES, next: first, done: false }
    }

    /// Where the next frame starts.
    pub(crate) fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// The LSN the next frame must have.
    pub(crate) fn next_lsn(&self) -> Lsn {
        self.next
    }

    fn fault(&self, kind: FaultKind) -> Fault {
        Fault { offset: self.offset(), kind, was_synced: self.a_later_frame_calls_it_synced() }
    }

    /// Looks behind the bad frame for a good one that was queued after the bad one was on disk. The
    /// bad frame's length cannot be trusted, so every place is tried.
    fn a_later_frame_calls_it_synced(&self) -> bool {
        later_frames(self.bytes, self.offset, self.next).any(|(_, later)| later.synced >= self.next)
    }
}

/// Good frames behind the bad one at `offset`, which should have been number `expected`, wherever
/// they start; frames inside of others included.
fn later_frames(bytes: &[u8], offset: usize, expected: Lsn) -> impl Iterator<Item = (usize, Frame<'_>)> {
    let reach = expected.get().saturating_add(LSN_DISTANCE_MAX);
    let suspects = (offset + 1..bytes.len()).map(move |at| (at, &bytes[at..]));
    let near = move |lsn: Lsn| lsn > expected && lsn.get() <= reach;
    suspects
        .filter(move |(_, rest)| frame::claimed_lsn(rest).is_some_and(near))
        .take(CANDIDATES_MAX)
        .filter_map(|(at, rest)| Some((at, frame::parse(rest).ok()?)))
}

/// A reader that goes on with the first good frame behind the bad one at `offset`, which should have
/// been number `expected`; `None` when nothing behind it makes sense.
pub(crate) fn behind(bytes: &[u8], offset: usize, expected: Lsn) -> Option<FrameReader<'_>> {
    let (at, first) = later_frames(bytes, offset, expected).next()?;
    Some(FrameReader { bytes, offset: at, next: first.lsn, done: false })
}

impl<'a> Iterator for FrameReader<'a> {
    type Item = Result<Frame<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        // Ends at the first byte, or the first few, wherever there is a frame.
        if self.done || rest.iter().all(|byte| *byte == 0) {
            return None;
        }
        let found = match frame::parse(rest) {
            Ok(frame) if frame.lsn == self.next => {
                self.offset += frame.bytes;
                self.next = frame.lsn.next();
                return Some(Ok(frame));
            }
            Ok(frame) => FaultKind::OutOfOrder { expected: self.next, found: frame.lsn },
            Err(fault) => fault.into(),
        };
        self.done = true;
        Some(Err(self.fault(found)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header's worth of padding, then frames 1 to 4; the first two were one write, then one each.
    fn log() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0; segment::HEADER_BYTES];
        let mut starts = Vec::new();
        for (lsn, synced) in [(1, 0), (2, 0), (3, 2), (4, 3)] {
            starts.push(bytes.len());
            frame::append(&mut bytes, Lsn::new(lsn), Lsn::new(synced), b"an entry of some length");
        }
        (bytes, starts)
    }

    fn read(bytes: &[u8]) -> (usize, Option<Fault>) {
        let results: Vec<_> = FrameReader::new(bytes, Lsn::new(1)).collect();
        let good = results.iter().filter(|result| result.is_ok()).count();
        (good, results.into_iter().find_map(Result::err))
    }

    #[test]
    fn whole_logs_read_to_the_end() {
        assert_eq!(read(&log().0), (4, None));
        assert_eq!(read(&log().0[..segment::HEADER_BYTES]), (0, None));
    }

    #[test]
    fn a_cut_log_ends_in_a_fault_that_was_never_synced() {
        let (bytes, starts) = log();
        let (good, fault) = read(&bytes[..starts[3] + 11]);
        let fault = fault.expect("cut inside a frame");
        assert_eq!((good, fault.offset), (3, starts[3] as u64));
        assert_eq!((fault.kind, fault.was_synced), (FrameFault::Short.into(), false));
        assert!(behind(&bytes[..starts[3] + 11], starts[3], Lsn::new(4)).is_none());
    }

    #[test]
    fn a_bad_frame_before_a_later_write_was_synced_even_with_a_broken_length() {
        let (bytes, starts) = log();
        for (broken, at) in [(0, 30), (1, 2), (2, 9)] {
            let mut bytes = bytes.clone();
            bytes[starts[broken] + at] ^= 0x40;
            let (good, fault) = read(&bytes);
            let fault = fault.expect("broken");
            assert_eq!((good, fault.offset, fault.was_synced), (broken, starts[broken] as u64, true));
            let next = Lsn::new(broken as u64 + 1);
            let behind = behind(&bytes, starts[broken], next).expect("more frames");
            assert_eq!(behind.filter_map(Result::ok).count(), 3 - broken);
        }
    }

    #[test]
    fn a_bad_frame_before_one_of_the_same_write_is_a_torn_tail() {
        let (bytes, starts) = log();
        let mut bytes = bytes[..starts[2]].to_vec();
        bytes[starts[0] + 30] ^= 1;
        let fault = read(&bytes).1.expect("broken");
        assert!(!fault.was_synced);
    }

    #[test]
    fn zeros_end_a_log_only_when_nothing_else_follows() {
        let (mut bytes, starts) = log();
        let end = bytes.len();
        bytes.resize(end + 1_000, 0);
        assert_eq!(read(&bytes), (4, None));
        let mut torn = bytes.clone();
        torn[starts[3] + 20..end].fill(0);
        assert_eq!(read(&torn).1.expect("half a frame").offset, starts[3] as u64);
        let mut lost = bytes.clone();
        lost[starts[2]..starts[3]].fill(0);
        let (good, fault) = read(&lost);
        assert_eq!((good, fault.expect("a hole").was_synced), (2, true));
        bytes[end + 500] = 1;
        let (good, fault) = read(&bytes);
        assert_eq!((good, fault.expect("no zeros").was_synced), (4, false));
    }

    #[test]
    fn a_missing_number_is_a_fault() {
        let mut bytes = vec![0; segment::HEADER_BYTES];
        frame::append(&mut bytes, Lsn::new(2), Lsn::new(0), b"");
        let fault = read(&bytes).1.expect("starts with 2");
        assert_eq!(fault.kind, FaultKind::OutOfOrder { expected: Lsn::new(1), found: Lsn::new(2) });
    }
}
