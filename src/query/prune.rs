//! Which times a query's filters allow: parts outside are not opened.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

/// The times, both ends included, that a row may have. Empty when `from` is after `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl TimeRange {
    const ALL: Self = Self { from: i64::MIN, to: i64::MAX };
    const NONE: Self = Self { from: i64::MAX, to: i64::MIN };

    /// The times that all of `filters` allow. What a filter says in words not understood here, it does
    /// not say.
    pub(crate) fn of(filters: &[Expr]) -> Self {
        filters.iter().fold(Self::ALL, |range, filter| range.and(Self::allowed(filter)))
    }

    /// Whether a part with these times can have a row of this range.
    pub(crate) fn overlaps(self, time_min: i64, time_max: i64) -> bool {
        self.from <= self.to && self.from <= time_max && time_min <= self.to
    }

    fn and(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), to: self.to.min(other.to) }
    }

    fn or(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }

    fn allowed(filter: &Expr) -> Self {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::And => Self::allowed(left).and(Self::allowed(right)),
                Operator::Or => Self::allowed(left).or(Self::allowed(right)),
                _ => match (is_time(left), moment(right), moment(left), is_time(right)) {
                    (true, Some(moment), _, _) => Self::compared(*op, moment),
                    (_, _, Some(moment), true) => {
                        op.swap().map_or(Self::ALL, |op| Self::compared(op, moment))
                    }
                    _ => Self::ALL,
                },
            },
            Expr::Between(Between { expr, negated: false, low, high }) if is_time(expr) => {
                let from = moment(low).map_or(Self::ALL, |low| Self::compared(Operator::GtEq, low));
                let to = moment(high).map_or(Self::ALL, |high| Self::compared(Operator::LtEq, high));
                from.and(to)
            }
            Expr::Literal(ScalarValue::Boolean(Some(false) | None), _) => Self::NONE,
            _ => Self::ALL,
        }
    }

    fn compared(op: Operator, moment: i64) -> Self {
        match op {
            Operator::Eq => Self { from: moment, to: moment },
            Operator::GtEq => Self { from: moment, ..Self::ALL },
            Operator::LtEq => Self { to: moment, ..Self::ALL },
            Operator::Gt => moment.checked_add(1).map_or(Self::NONE, |from| Self { from, ..Self::ALL }),
            Operator::Lt => moment.checked_sub(1).map_or(Self::NONE, |to| Self { to, ..Self::ALL }),
            _ => Self::ALL,
        }
    }
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == "time")
}

fn moment(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampNanosecond(moment, _), _) => *moment,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn at(nanos: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(nanos), None))
    }

    #[test]
    fn filters_on_time_narrow_the_range_and_others_do_not() {
        let range = TimeRange::of(&[col("time").gt(at(10)), at(20).gt_eq(col("time")), col("cpu").lt(at(3))]);
        assert_eq!(range, TimeRange { from: 11, to: 20 });
        assert!(range.overlaps(20, 30) && range.overlaps(0, 11));
        assert!(!range.overlaps(21, 30) && !range.overlaps(0, 10));
    }

    #[test]
    fn either_of_two_ranges_is_both_and_what_is_between() {
        let first = col("time").between(at(1), at(2));
        let second = col("time").eq(at(9));
        assert_eq!(TimeRange::of(&[first.or(second)]), TimeRange { from: 1, to: 9 });
        let unknown = col("time").eq(at(9)).or(col("host").eq(lit("a")));
        assert_eq!(TimeRange::of(&[unknown]), TimeRange::ALL);
    }

    #[test]
    fn a_filter_nothing_can_pass_leaves_no_part() {
        let range = TimeRange::of(&[col("time").gt(at(5)), col("time").lt(at(5))]);
        assert!(!range.overlaps(i64::MIN, i64::MAX) || range.from > range.to);
        assert!(!TimeRange::of(&[lit(false)]).overlaps(0, 1));
    }
}
