//! The newest flushed time of every series: a write after it needs no look-up in parts.
//!
//! Only hashes are kept. Two series with one hash share the later time, which costs a look-up and
//! never an answer. Series that are not known here, because the store was opened since or there are
//! too many, answer with a time no part of theirs exceeds.

use std::collections::HashMap;

use ahash::RandomState;

/// How many series are told apart, 16 bytes each.
const SERIES_MAX: usize = 1_000_000;

/// Upper bounds of the times that parts hold.
#[derive(Debug)]
pub(crate) struct NewestTimes {
    hasher: RandomState,
    series: HashMap<u64, i64>,
    others: i64,
    all: i64,
}

impl NewestTimes {
    /// The bounds of a table whose parts reach up to `newest`.
    pub(crate) fn up_to(newest: Option<i64>) -> Self {
        let newest = newest.unwrap_or(i64::MIN);
        Self { hasher: RandomState::new(), series: HashMap::new(), others: newest, all: newest }
    }

    /// Whether parts may hold a row at `time` in any series.
    pub(crate) fn any_reaches(&self, time: i64) -> bool {
        // i64::MIN is a legal time but also "no parts": asking once more is harmless.
        self.all >= time
    }

    /// Whether parts may hold a row of the series at or after `time`.
    pub(crate) fn reaches(&self, key: &[u8], time: i64) -> bool {
        let hash = self.hasher.hash_one(key);
        let newest = self.series.get(&hash).copied().unwrap_or(i64::MIN);
        newest.max(self.others) >= time
    }

    /// Notes that parts hold a row of the series at `time`.
    pub(crate) fn raise(&mut self, key: &[u8], time: i64) {
        self.all = self.all.max(time);
        if self.series.len() >= SERIES_MAX {
            self.series.clear();
            self.others = self.all;
        }
        let newest = self.series.entry(self.hasher.hash_one(key)).or_insert(i64::MIN);
        *newest = (*newest).max(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_that_parts_may_hold_are_looked_up() {
        let mut newest = NewestTimes::up_to(None);
        assert!(!newest.any_reaches(0) && !newest.reaches(b"a", 0));
        newest.raise(b"a", 100);
        newest.raise(b"a", 50);
        newest.raise(b"b", 10);
        assert!(newest.any_reaches(100) && !newest.any_reaches(101));
        assert!(newest.reaches(b"a", 100) && !newest.reaches(b"a", 101));
        assert!(newest.reaches(b"b", 10) && !newest.reaches(b"b", 11));
        assert!(!newest.reaches(b"c", -5));
        assert!(NewestTimes::up_to(Some(7)).reaches(b"c", 7));
    }
}
