//! Which parts of a day are merged, and when. Pure: sizes in, a choice out.
//!
//! Parts are of one tier when their sizes lie between the same powers of four, from 1 MiB on; all
//! smaller ones are of the lowest tier.
//!
//! - Four parts of one tier are merged, together with everything smaller. A byte is rewritten about
//!   once per tier, and a day that is being written keeps at most three parts per tier.
//! - A day that is over becomes one part, unless one of its parts outweighs the others so far that
//!   rewriting it for them does not pay; then the others wait for the first rule.
//! - A part half of whose rows are superseded is rewritten by itself.
//!
//! Parts that reached half of the largest size, in bytes or in rows, are left alone: a very busy day ends as
//! several large parts.

/// A tier with this many parts is merged.
const TIER_PARTS: usize = 4;

/// Parts up to this size are of the lowest tier.
const LOWEST_TIER_BYTES: u64 = 1024 * 1024;

/// No merge starts with more bytes than this.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// No merge starts with more rows than this. A merge keeps a byte per row.
const ROWS_MAX: u64 = 64 * 1024 * 1024;

/// No merge reads more parts at once; their number must fit a byte.
pub(crate) const PARTS_MAX: usize = 32;

/// In a day that is over the other parts must reach this fraction of the largest.
const WORTHWHILE: u64 = 4;

/// What the choice depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// How many of the rows are superseded.
    pub(crate) superseded: u64,
}

/// Which parts of a day to merge now, by their place in `parts`; none when it may stay as it is.
pub(crate) fn due(parts: &[Size], day_is_over: bool) -> Vec<usize> {
    let is_small = |at: &usize| parts[*at].bytes < BYTES_MAX / 2 && parts[*at].rows < ROWS_MAX / 2;
    let mut small: Vec<usize> = (0..parts.len()).filter(is_small).collect();
    small.sort_by_key(|at| parts[*at].bytes);
    // What does not fit is not weighed either: a day of two large parts would rewrite the smaller for every flush.
    let mut fitting = within_bounds(parts, &small);
    fitting.truncate(wanted(parts, &fitting, day_is_over));
    if fitting.len() > 1 {
        return fitting;
    }
    let worn = |part: &Size| part.superseded > 0 && part.superseded * 2 >= part.rows && part.rows <= ROWS_MAX;
    parts.iter().position(worn).into_iter().collect()
}

/// How many of the parts, given in ascending size, should become one.
fn wanted(parts: &[Size], ascending: &[usize], day_is_over: bool) -> usize {
    let bytes = |at: &usize| parts[*at].bytes;
    if day_is_over && let Some((largest, others)) = ascending.split_last() {
        let others: u64 = others.iter().map(bytes).sum();
        if others >= bytes(largest) / WORTHWHILE {
            return ascending.len();
        }
    }
    let full = |end: &usize| {
        let top = tier(bytes(&ascending[end - 1]));
        ascending[..*end].iter().filter(|at| tier(bytes(at)) == top).count() >= TIER_PARTS
    };
    (1..=ascending.len()).rev().find(full).unwrap_or(0)
}

/// The smallest of the chosen that may be merged at once.
fn within_bounds(parts: &[Size], chosen: &[usize]) -> Vec<usize> {
    let (mut bytes, mut rows) = (0, 0);
    let fits = |at: &&usize| {
        bytes += parts[**at].bytes;
        rows += parts[**at].rows;
        bytes <= BYTES_MAX && rows <= ROWS_MAX
    };
    chosen.iter().take(PARTS_MAX).take_while(fits).copied().collect()
}

fn tier(bytes: u64) -> u32 {
    match bytes / LOWEST_TIER_BYTES {
        0 => 0,
        times => times.ilog2() / 2 + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    const MIB: u64 = LOWEST_TIER_BYTES;

    fn sizes(bytes: &[u64]) -> Vec<Size> {
        bytes.iter().map(|bytes| Size { bytes: *bytes, rows: 10, superseded: 0 }).collect()
    }

    #[test]
    fn four_of_one_tier_are_merged_with_what_is_smaller() {
        assert_eq!(due(&sizes(&[9, 8, 7]), false), NONE);
        assert_eq!(due(&sizes(&[9, 8, 7, 6]), false), [3, 2, 1, 0]);
        assert_eq!(due(&sizes(&[9, 8, 2 * MIB, 7]), false), NONE, "three are small, one is not");
        let larger = [2 * MIB, 1, 3 * MIB, 20 * MIB, MIB, 2, 3 * MIB + 1];
        assert_eq!(due(&sizes(&larger), false), [1, 5, 4, 0, 2, 6]);
    }

    #[test]
    fn a_day_that_is_over_becomes_one_part_when_that_pays() {
        assert_eq!(due(&sizes(&[40, 2]), true), NONE);
        assert_eq!(due(&sizes(&[40, 11]), true), [1, 0]);
        assert_eq!(due(&sizes(&[40]), true), NONE);
        assert_eq!(due(&sizes(&[400 * MIB, 1, 2, 3, 4]), true), [1, 2, 3, 4], "the first rule goes on");
    }

    #[test]
    fn large_parts_stay_and_merges_are_bounded() {
        assert_eq!(due(&sizes(&[600 * MIB; 5]), true), NONE);
        assert_eq!(due(&sizes(&[300 * MIB; 5]), true).len(), 3);
        assert_eq!(due(&sizes(&[1; 100]), false).len(), PARTS_MAX);
        let of_rows = |rows| vec![Size { bytes: 1, rows, superseded: 0 }; 6];
        assert_eq!(due(&of_rows(ROWS_MAX / 2), true), NONE);
        assert_eq!(due(&of_rows(ROWS_MAX / 3), true).len(), 3);
        assert_eq!(due(&of_rows(ROWS_MAX / 5), false).len(), 5);
    }

    #[test]
    fn a_large_part_is_not_rewritten_for_what_is_little_beside_it() {
        let part = |mib, rows| Size { bytes: mib * MIB, rows, superseded: 0 };
        // With the two large ones a merge has too many rows.
        let mut day = vec![part(60, ROWS_MAX / 2 - 1), part(50, ROWS_MAX / 2 - 1), part(1, ROWS_MAX / 9)];
        assert_eq!(due(&day, true), NONE);
        day.extend([part(1, 10); 3]);
        assert_eq!(due(&day, true), [2, 3, 4, 5]);
        day.push(part(10, 10));
        assert_eq!(due(&day, true), [2, 3, 4, 5, 6, 1], "together they are a fourth of it");
    }

    #[test]
    fn a_part_whose_rows_were_mostly_replaced_is_rewritten() {
        let part = |superseded| [Size { bytes: 900 * MIB, rows: 10, superseded }];
        assert_eq!((due(&part(4), false), due(&part(5), false)), (vec![], vec![0]));
    }

    /// A day of writing, one part every quarter of an hour.
    #[test]
    fn a_day_keeps_a_handful_of_parts_and_little_is_rewritten() {
        let (mut parts, mut rewritten) = (Vec::new(), 0);
        for _ in 0..96 {
            parts.push(Size { bytes: MIB, rows: 100_000, superseded: 0 });
            loop {
                let chosen = due(&parts, false);
                if chosen.is_empty() {
                    break;
                }
                let bytes = chosen.iter().map(|at| parts[*at].bytes).sum();
                rewritten += bytes;
                let stays = |at: &usize| !chosen.contains(at);
                parts = (0..parts.len()).filter(stays).map(|at| parts[at]).collect();
                parts.push(Size { bytes, rows: 100_000, superseded: 0 });
            }
            assert!(parts.len() <= 12, "{parts:?}");
        }
        assert!(rewritten <= 4 * 96 * MIB, "{rewritten}");
        assert!(!due(&parts, true).is_empty() || parts.len() == 1);
    }
}
