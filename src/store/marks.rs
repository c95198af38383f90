//! Which rows a higher version has replaced, from which moment on.
//!
//! The replacing row becomes visible when its frame is on disk, so the mark on the old row must
//! count from exactly then: before, a reader sees the old row, afterwards the new one.

use std::collections::VecDeque;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::wal::position::Lsn;

/// The superseded rows of a memtable or of a part.
#[derive(Debug, Default, Clone)]
pub(crate) struct Marks {
    settled: Arc<RoaringBitmap>,
    pending: VecDeque<(Lsn, u32)>,
}

impl Marks {
    /// Marks that were durable when they were read.
    pub(crate) fn from_settled(settled: RoaringBitmap) -> Self {
        Self { settled: Arc::new(settled), pending: VecDeque::new() }
    }

    /// Marks `row` from `lsn` on; calls come in ascending LSN.
    pub(crate) fn add(&mut self, lsn: Lsn, row: u32) {
        self.pending.push_back((lsn, row));
    }

    /// The rows whose replacement is on disk; `None` when there are none.
    pub(crate) fn settle(&mut self, durable: Lsn) -> Option<Arc<RoaringBitmap>> {
        while let Some(&(lsn, row)) = self.pending.front().filter(|(lsn, _)| *lsn <= durable) {
            debug_assert!(lsn <= durable);
            // Copies the bitmap only while a snapshot still holds the old state.
            Arc::make_mut(&mut self.settled).insert(row);
            self.pending.pop_front();
        }
        (!self.settled.is_empty()).then(|| Arc::clone(&self.settled))
    }

    /// Whether a replacement of `row` was accepted, on disk or not.
    pub(crate) fn contains(&self, row: u32) -> bool {
        self.settled.contains(row) || self.pending.iter().any(|(_, marked)| *marked == row)
    }

    /// How many rows are marked for good.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.len()
    }

    /// The marks that are not in `known`, with the place from which they count; `Lsn::START` for those
    /// that count already.
    pub(crate) fn beyond(&self, known: &RoaringBitmap) -> Vec<(Lsn, u32)> {
        let settled = (&*self.settled - known).into_iter().map(|row| (Lsn::START, row));
        settled.chain(self.pending.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_once_its_replacement_is_on_disk() {
        let mut marks = Marks::default();
        assert_eq!(marks.settle(Lsn::new(9)), None);
        marks.add(Lsn::new(10), 3);
        marks.add(Lsn::new(11), 4);
        assert_eq!(marks.settle(Lsn::new(9)), None);
        assert!(marks.contains(3) && marks.contains(4) && !marks.contains(5));
        let ten = marks.settle(Lsn::new(10)).expect("one mark");
        assert_eq!(ten.iter().collect::<Vec<_>>(), [3]);
        let eleven = marks.settle(Lsn::new(11)).expect("two marks");
        assert_eq!((ten.len(), eleven.len()), (1, 2));
        assert_eq!(marks.beyond(&ten), [(Lsn::START, 4)]);
    }
}
