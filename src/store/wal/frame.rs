//! The envelope of a log entry: whole and checked, or not there.
//!
//! ```text
//!   0.. 4  length of the body, u32 little endian, 16 to 16 MiB
//!   4.. 8  crc32c of the body
//!   8..16  body: the frame's LSN, u64
//!  16..24  body: the newest LSN that was on disk when this frame was queued, u64
//!  24..    body: the entry
//! ```
//!
//! The second number is what tells a torn tail from damage: when a bad frame is followed by a good
//! one that calls it synced, then what went bad had been acknowledged.

use super::position::Lsn;

/// The largest body a frame may have; a longer length field is damage, not a request for memory.
pub(crate) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

const HEADER_BYTES: usize = 8;
const NUMBERS_BYTES: usize = 16;

/// A frame that passed its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) lsn: Lsn,
    /// Everything up to here was on disk when this frame was queued.
    pub(crate) synced: Lsn,
    pub(crate) entry: &'a [u8],
    /// How many bytes the frame takes in the file.
    pub(crate) bytes: usize,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameFault {
    #[error("the file ends inside a frame")]
    Short,
    #[error("the length field {0} is not possible")]
    Length(u32),
    #[error("the checksum does not match")]
    Checksum,
}

/// Appends a frame around `entry`, which must leave room for the numbers below [`BODY_BYTES_MAX`].
pub(crate) fn append(out: &mut Vec<u8>, lsn: Lsn, synced: Lsn, entry: &[u8]) {
    let body = NUMBERS_BYTES + entry.len();
    let length = u32::try_from(body).expect("entries are bounded far below 4 GiB");
    out.reserve(HEADER_BYTES + body);
    out.extend_from_slice(&length.to_le_bytes());
    let checksum_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let body_at = out.len();
    out.extend_from_slice(&lsn.get().to_le_bytes());
    out.extend_from_slice(&synced.get().to_le_bytes());
    out.extend_from_slice(entry);
    let checksum = crc32c::crc32c(&out[body_at..]);
    out[checksum_at..body_at].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads the frame at the start of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Frame<'_>, FrameFault> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(FrameFault::Short)?;
    let (checksum, rest) = rest.split_first_chunk::<4>().ok_or(FrameFault::Short)?;
    let length = u32::from_le_bytes(*length);
    let body_bytes = usize::try_from(length).map_err(|_| FrameFault::Length(length))?;
    if !(NUMBERS_BYTES..=BODY_BYTES_MAX).contains(&body_bytes) {
        return Err(FrameFault::Length(length));
    }
    let body = rest.get(..body_bytes).ok_or(FrameFault::Short)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err(FrameFault::Checksum);
    }
    let (lsn, rest) = body.split_first_chunk::<8>().ok_or(FrameFault::Short)?;
    let (synced, entry) = rest.split_first_chunk::<8>().ok_or(FrameFault::Short)?;
    Ok(Frame {
        lsn: Lsn::new(u64::from_le_bytes(*lsn)),
        synced: Lsn::new(u64::from_le_bytes(*synced)),
        entry,
        bytes: HEADER_BYTES + body_bytes,
    })
}

/// The LSN that `bytes` would have if they were a frame: a cheap test before the checksum.
pub(crate) fn claimed_lsn(bytes: &[u8]) -> Option<Lsn> {
    let number = bytes.get(HEADER_BYTES..HEADER_BYTES + 8)?.first_chunk::<8>()?;
    Some(Lsn::new(u64::from_le_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(entry: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, Lsn::new(7), Lsn::new(3), entry);
        out
    }

    #[test]
    fn a_frame_comes_back_whole() {
        for entry in [&b""[..], b"x", &[9; 5000]] {
            let mut bytes = framed(entry);
            let length = bytes.len();
            bytes.extend_from_slice(b"what follows");
            let frame = parse(&bytes).expect("whole");
            assert_eq!((frame.lsn, frame.synced), (Lsn::new(7), Lsn::new(3)));
            assert_eq!((frame.entry, frame.bytes), (entry, length));
            assert_eq!(claimed_lsn(&bytes), Some(Lsn::new(7)));
        }
    }

    #[test]
    fn every_cut_is_short_and_every_flipped_bit_is_seen() {
        let bytes = framed(b"the entry");
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Err(FrameFault::Short), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&broken).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn impossible_lengths_are_refused_before_memory_is_touched() {
        for length in [0_u32, 15, 16 * 1024 * 1024 + 1, u32::MAX] {
            let mut bytes = framed(b"entry");
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            assert_eq!(parse(&bytes), Err(FrameFault::Length(length)));
        }
    }
}
