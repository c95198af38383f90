//! Checksums of a part, so that a byte that is not what was written is never taken for data.
//!
//! ```text
//! 0      .. s      row groups with their bloom filters, as Parquet lays them
//! s      .. s+4n   CRC-32C of each 32 KiB block of 0..s, u32 LE; the last block may be shorter
//! s+4n   .. end    page index and footer, as Parquet lays them
//! ```
//!
//! `s` and the CRC-32C of `s..end` are the part's seal, kept in the manifest. Readers of Parquet
//! follow offsets and never see the list.

/// The bytes that one checksum covers: what is read around a few wanted bytes, at most twice.
pub(crate) const BLOCK_BYTES: u64 = 32 * 1024;

const BLOCK: usize = 32 * 1024;

/// What the end of a part must be, which in turn says what all the rest must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Where the list of checksums begins.
    pub(crate) start: u64,
    /// The CRC-32C from there to the end of the file.
    pub(crate) crc32c: u32,
}

impl Seal {
    /// Seals a file whose bytes from `start` on are `end`.
    pub(crate) fn of(start: u64, end: &[u8]) -> Self {
        Self { start, crc32c: crc32c::crc32c(end) }
    }

    /// The checksums of all blocks, read from the end of the file; `None` when it is not the end that
    /// was sealed.
    pub(crate) fn open(self, end: &[u8]) -> Option<Vec<u32>> {
        let list = usize::try_from(self.start.div_ceil(BLOCK_BYTES)).ok()?.checked_mul(4)?;
        let list = end.get(..list).filter(|_| crc32c::crc32c(end) == self.crc32c)?;
        let sum = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).ok();
        list.chunks_exact(4).map(sum).collect()
    }
}

/// The checksums of blocks, computed as the bytes come.
#[derive(Debug, Default)]
pub(crate) struct BlockSums {
    whole: Vec<u32>,
    bytes: u64,
    last: u32,
}

impl BlockSums {
    pub(crate) fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let filled = usize::try_from(self.bytes % BLOCK_BYTES).expect("smaller than a block");
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - filled));
            self.last = crc32c::crc32c_append(self.last, now);
            self.bytes += now.len() as u64;
            if self.bytes.is_multiple_of(BLOCK_BYTES) {
                self.whole.push(std::mem::take(&mut self.last));
            }
            bytes = rest;
        }
    }

    /// How many bytes came.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The list as it stands in the file.
    pub(crate) fn list(&self) -> Vec<u8> {
        let partial = (!self.bytes.is_multiple_of(BLOCK_BYTES)).then_some(self.last);
        self.whole.iter().copied().chain(partial).flat_map(u32::to_le_bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_the_same_however_the_bytes_come() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        for (taken, step) in [(100_000, 7), (100_000, 50_000), (BLOCK * 2, 999), (1, 1), (0, 1)] {
            let bytes = &bytes[..taken];
            let mut sums = BlockSums::default();
            bytes.chunks(step).for_each(|bytes| sums.add(bytes));
            let expected: Vec<u32> = bytes.chunks(BLOCK).map(crc32c::crc32c).collect();
            let mut end = sums.list();
            end.extend(b"index and footer");
            let seal = Seal::of(sums.bytes(), &end);
            assert_eq!((seal.open(&end), sums.bytes()), (Some(expected), taken as u64));
            end[3] ^= 8;
            assert_eq!(seal.open(&end), None);
        }
    }
}
