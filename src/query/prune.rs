//! Which times a query's filters allow: parts outside are not opened.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator, lit};

/// The times, both ends included, that a row may have. Empty when `from` is after `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl TimeRange {
    pub(crate) const ALL: Self = Self { from: i64::MIN, to: i64::MAX };
    const NONE: Self = Self { from: i64::MAX, to: i64::MIN };

    /// The times that all of `filters` allow. What a filter says in words not understood here, it does
    /// not say.
    pub(crate) fn of(filters: &[Expr]) -> Self {
        filters.iter().fold(Self::ALL, |range, filter| range.and(Self::allowed(filter)))
    }

    /// The times that `filters` allow by naming `time` itself, which is what Parquet's reader sees.
    pub(crate) fn spelled_out(filters: &[Expr]) -> Self {
        let plain = |filter: &&Expr| {
            !filter.exists(|expr| Ok(matches!(expr, Expr::ScalarFunction(_)))).unwrap_or(true)
        };
        filters.iter().filter(plain).fold(Self::ALL, |range, filter| range.and(Self::allowed(filter)))
    }

    /// These times without those before `from`.
    pub(crate) fn since(self, from: i64) -> Self {
        self.and(Self { from, ..Self::ALL })
    }

    /// Whether all times of this range pass `filter`; a filter that says more than when is not understood.
    pub(crate) fn passes(self, filter: &Expr) -> bool {
        let holds = |op: &Operator, moment: i64| match op {
            Operator::GtEq => moment <= self.from,
            Operator::Gt => moment < self.from,
            Operator::LtEq => self.to <= moment,
            Operator::Lt => self.to < moment,
            _ => false,
        };
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.passes(left) && self.passes(right)
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                match (is_time(left), moment(right), moment(left), is_time(right)) {
                    (true, Some(moment), _, _) => holds(op, moment),
                    (_, _, Some(moment), true) => op.swap().is_some_and(|op| holds(&op, moment)),
                    _ => false,
                }
            }
            Expr::Between(Between { expr, negated: false, low, high }) => {
                let (low, high) = (moment(low), moment(high));
                is_time(expr)
                    && low.is_some_and(|low| low <= self.from)
                    && high.is_some_and(|high| self.to <= high)
            }
            _ => false,
        }
    }

    /// Whether a part with these times can have a row of this range.
    pub(crate) fn overlaps(self, time_min: i64, time_max: i64) -> bool {
        self.from <= self.to && self.from <= time_max && time_min <= self.to
    }

    /// The same as a filter on the column of this name, if it leaves anything out.
    pub(crate) fn filter(self, time: Expr) -> Option<Expr> {
        let at = |nanos| lit(ScalarValue::TimestampNanosecond(Some(nanos), None));
        let from = (self.from > i64::MIN).then(|| time.clone().gt_eq(at(self.from)));
        let to = (self.to < i64::MAX).then(|| time.lt_eq(at(self.to)));
        from.into_iter().chain(to).reduce(Expr::and)
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
                _ => match (Stepped::of(left), moment(right), moment(left), Stepped::of(right)) {
                    (Some(time), Some(moment), _, _) => time.compared(*op, moment),
                    (_, _, Some(moment), Some(time)) => {
                        op.swap().map_or(Self::ALL, |op| time.compared(op, moment))
                    }
                    _ => Self::ALL,
                },
            },
            Expr::Between(Between { expr, negated: false, low, high }) => {
                let Some(time) = Stepped::of(expr) else { return Self::ALL };
                let from = moment(low).map_or(Self::ALL, |low| time.compared(Operator::GtEq, low));
                let to = moment(high).map_or(Self::ALL, |high| time.compared(Operator::LtEq, high));
                from.and(to)
            }
            Expr::InList(InList { expr, list, negated: false }) => {
                let Some(time) = Stepped::of(expr) else { return Self::ALL };
                let one = |item| moment(item).map_or(Self::ALL, |moment| time.compared(Operator::Eq, moment));
                list.iter().map(one).reduce(Self::or).unwrap_or(Self::ALL)
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

/// The time of a row, or where the step begins that it falls in.
#[derive(Debug, Clone, Copy)]
struct Stepped {
    /// No time lies farther behind the beginning of its step.
    longest: i64,
}

impl Stepped {
    /// What `time`, `bin(time, 1h)`, `date_trunc('day', time)` and `cast(time AS date)` have in common.
    fn of(expr: &Expr) -> Option<Self> {
        const DAY: i64 = 86_400_000_000_000;
        if is_time(expr) {
            return Some(Self { longest: 0 });
        }
        let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
        let (first, second) = (args.first()?, args.get(1));
        let longest = match (func.name(), second) {
            ("bin", Some(Expr::Literal(ScalarValue::DurationNanosecond(Some(length)), _)))
                if *length > 0 && is_time(first) =>
            {
                *length
            }
            ("date_trunc", Some(of)) if is_time(of) => match text(first)?.to_ascii_lowercase().as_str() {
                "second" | "minute" | "hour" | "day" => DAY,
                "week" => 7 * DAY,
                "month" => 31 * DAY,
                "quarter" => 92 * DAY,
                "year" => 366 * DAY,
                _ => return None,
            },
            ("__cast", Some(to)) if is_time(first) && text(to)?.trim() == "date" => DAY,
            ("date", None) if is_time(first) => DAY,
            _ => return None,
        };
        Some(Self { longest })
    }

    /// The times whose step compares so with `moment`.
    fn compared(self, op: Operator, moment: i64) -> TimeRange {
        let range = TimeRange::compared(op, moment);
        match range.to {
            i64::MAX => range,
            to => TimeRange { to: to.saturating_add(self.longest), ..range },
        }
    }
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == "time")
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(text, _) => text.try_as_str().flatten(),
        _ => None,
    }
}

fn moment(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampNanosecond(moment, _), _) => *moment,
        Expr::Literal(ScalarValue::Date32(Some(day)), _) => i64::from(*day).checked_mul(86_400_000_000_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::col;

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
    fn a_filter_that_every_time_passes_is_known() {
        let range = TimeRange { from: 10, to: 20 };
        let passed = [
            col("time").gt_eq(at(10)).and(col("time").lt(at(21))),
            at(9).lt(col("time")),
            col("time").between(at(10), at(20)),
        ];
        assert!(passed.iter().all(|filter| range.passes(filter)));
        let unsure = [
            col("time").gt(at(10)),
            col("time").lt(at(20)),
            col("time").eq(at(10)),
            col("time").gt_eq(at(10)).and(col("host").eq(lit("a"))),
            col("time").between(at(10), at(19)),
            col("time").not_between(at(0), at(5)),
            col("cpu").lt(at(99)),
        ];
        assert!(unsure.iter().all(|filter| !range.passes(filter)));
    }

    #[test]
    fn a_filter_nothing_can_pass_leaves_no_part() {
        let range = TimeRange::of(&[col("time").gt(at(5)), col("time").lt(at(5))]);
        assert!(!range.overlaps(i64::MIN, i64::MAX) || range.from > range.to);
        assert!(!TimeRange::of(&[lit(false)]).overlaps(0, 1));
    }
}
