//! A place in the log: every frame has a number, one higher than the frame before it, for ever.

use std::fmt;

/// The log sequence number of a frame. The first frame of a new store is 1; 0 is before all frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lsn(u64);

impl Lsn {
    /// The place before the first frame.
    pub(crate) const START: Self = Self(0);

    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// The place of the frame after this one.
    pub(crate) const fn next(self) -> Self {
        // 2^64 frames at ten million a second take 58,000 years.
        Self(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
