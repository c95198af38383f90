//! One file of the log: a header, then frames, appended and never changed.
//!
//! ```text
//!   0.. 8  "TIDEWAL\n"
//!   8..12  format version, u32 little endian: 1
//!  12..20  LSN of the first frame, u64; the file is named after it: wal/<20 digits>.log
//!  20..24  crc32c of the bytes before
//!  24..    frames (see `frame`), and behind the last one nothing, or zeros that later frames overwrite
//! ```
//!
//! This file knows files, not frames.

use std::io::{self, ErrorKind};

use super::position::Lsn;
use crate::store::files::{AppendFile, Files};

/// The folder of the segments, below the store's.
pub(crate) const FOLDER: &str = "wal";

/// How many bytes come before the first frame.
pub(crate) const HEADER_BYTES: usize = 24;

/// No room is reserved for appends that would use it up in fewer than this: writing every byte twice
/// would cost them more than it saves.
const FEW: usize = 16;

const MAGIC: &[u8; 8] = b"TIDEWAL\n";
pub(crate) const FORMAT: u32 = 1;

/// The path of the segment that starts with `first`, below the store's folder.
pub(crate) fn path(first: Lsn) -> String {
    format!("{FOLDER}/{:020}.log", first.get())
}

/// The first LSN a file name promises; `None` when the file is not a segment.
pub(crate) fn first_lsn_of_name(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Lsn::new)
}

/// Why a header is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderFault {
    #[error("the file ends inside its header")]
    Short,
    #[error("the header is not one of a log segment or its checksum does not match")]
    Garbled,
    #[error("format {0} is newer than this program")]
    Format(u32),
}

/// Reads the header and returns the LSN of the first frame.
pub(crate) fn parse_header(bytes: &[u8]) -> Result<Lsn, HeaderFault> {
    let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(HeaderFault::Short)?;
    if header != &header_of(u32_at(header, 8), u64_at(header, 12)) {
        return Err(HeaderFault::Garbled);
    }
    match u32_at(header, 8) {
        FORMAT => Ok(Lsn::new(u64_at(header, 12))),
        newer => Err(HeaderFault::Format(newer)),
    }
}

fn header_of(format: u32, first: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&format.to_le_bytes());
    header[12..20].copy_from_slice(&first.to_le_bytes());
    let checksum = crc32c::crc32c(&header[..20]);
    header[20..].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn u32_at(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(*header[at..].first_chunk().expect("the header is long enough"))
}

fn u64_at(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(*header[at..].first_chunk().expect("the header is long enough"))
}

/// The segment that grows.
#[derive(Debug)]
pub(crate) struct Segment {
    file: Box<dyn AppendFile>,
    bytes: u64,
    /// Up to here the file has room; later appends make it grow.
    reserved: u64,
    reserve_bytes: usize,
}

impl Segment {
    /// Creates the file and its directory entry, durably.
    pub(crate) fn create(files: &dyn Files, first: Lsn, reserve_bytes: usize) -> io::Result<Self> {
        let mut file = files.create(&path(first))?;
        let header = header_of(FORMAT, first.get());
        file.append(&header)?;
        file.sync()?;
        // A file whose name is not on disk is lost with everything synced into it.
        files.sync_folder(FOLDER)?;
        Ok(Self { file, bytes: HEADER_BYTES as u64, reserved: 0, reserve_bytes })
    }

    /// Appends `frames` and returns once they are on disk.
    pub(crate) fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        self.file.append(frames)?;
        self.bytes += frames.len() as u64;
        if self.bytes > self.reserved && frames.len() < self.reserve_bytes / FEW {
            self.reserve()?;
        }
        self.file.sync()
    }

    /// Makes room for many small appends at the price of one large one. A full disk may still have
    /// room for frames.
    fn reserve(&mut self) -> io::Result<()> {
        match self.file.reserve(self.reserve_bytes) {
            Ok(()) => self.reserved = self.bytes + self.reserve_bytes as u64,
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                self.reserved = u64::MAX;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_nothing_else_passes_for_one() {
        let header = header_of(FORMAT, 42);
        assert_eq!(parse_header(&header), Ok(Lsn::new(42)));
        assert_eq!(parse_header(&header[..23]), Err(HeaderFault::Short));
        for bit in 0..header.len() * 8 {
            let mut broken = header;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_header(&broken), Err(HeaderFault::Garbled), "bit {bit}");
        }
        assert_eq!(parse_header(&header_of(2, 42)), Err(HeaderFault::Format(2)));
    }

    #[test]
    fn names_carry_the_first_lsn() {
        assert_eq!(path(Lsn::new(7)), "wal/00000000000000000007.log");
        assert_eq!(first_lsn_of_name("00000000000000000007.log"), Some(Lsn::new(7)));
        for name in ["7.log", "00000000000000000007.txt", "+0000000000000000007.log", "x"] {
            assert_eq!(first_lsn_of_name(name), None, "{name}");
        }
    }
}
