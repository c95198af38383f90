//! The operators: which operands they take and what they make of them.
//!
//! What the tables do not list is Undefined. Decisions where AWS's pages disagree or are silent stand in
//! `docs/rules.md`.

use std::cmp::Ordering;

use super::Version;
use super::number::{Decimal, Number, bounded_int};
use super::value::Value;

/// An operator between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `AND`.
    And,
    /// `OR`.
    Or,
    /// `=`.
    Equal,
    /// `<>`.
    NotEqual,
    /// `<`, `<=`, `>`, `>=`.
    Compare(Comparison),
    /// `IN`.
    In,
    /// `+`: a sum, or a concatenation once a String takes part. The evaluator does the latter.
    Plus,
    /// `-`.
    Minus,
    /// `*`.
    Times,
    /// `/`.
    Divide,
    /// `%`.
    Remainder,
}

/// An ordering test between two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
}

impl Comparison {
    const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Operator {
    /// The operator's result, for everything but the concatenation of `+`.
    pub(crate) fn apply(self, left: &Value, right: &Value, version: Version) -> Value {
        match self {
            // Both sides count even when one decides: `true OR Undefined` is Undefined.
            Self::And => left.boolean().zip(right.boolean()).map(|(a, b)| a && b).into(),
            Self::Or => left.boolean().zip(right.boolean()).map(|(a, b)| a || b).into(),
            Self::Equal => left.equals(right).into(),
            Self::NotEqual => left.equals(right).map(|same| !same).into(),
            Self::Compare(comparison) => compare(left, right).map(|found| comparison.holds(found)).into(),
            Self::In => contains(right, left).into(),
            Self::Plus => match (left, right) {
                (Value::Str(_), _) | (_, Value::Str(_)) => Value::Undefined,
                _ => self.calculate(left, right, version),
            },
            Self::Minus | Self::Times | Self::Divide | Self::Remainder => {
                self.calculate(left, right, version)
            }
        }
    }

    /// About how many steps the operation takes beside the first, for the evaluator's budget.
    pub(crate) fn effort(self, left: &Value, right: &Value) -> usize {
        /// Numbers that are no Int may need more than 128 bits on the way.
        const DECIMAL: usize = 8;
        let whole = |value: &Value| matches!(value, Value::Int(_) | Value::Bool(_) | Value::Null);
        if whole(left) && whole(right) && self != Self::Divide {
            return 0;
        }
        match self {
            Self::Equal | Self::NotEqual => left.effort().min(right.effort()),
            Self::In => match right {
                Value::Array(items) => right.effort() + left.effort().saturating_mul(items.len()),
                _ => 0,
            },
            Self::And | Self::Or => 0,
            Self::Compare(_) | Self::Plus | Self::Minus | Self::Times | Self::Divide | Self::Remainder => {
                DECIMAL + left.effort() + right.effort()
            }
        }
    }

    fn calculate(self, left: &Value, right: &Value, version: Version) -> Value {
        if let (Value::Int(left), Value::Int(right)) = (left, right)
            && let Some(exact) = self.between_ints(*left, *right)
        {
            return Value::Int(exact);
        }
        let Some((left, right)) = left.number().zip(right.number()) else { return Value::Undefined };
        let result = self.between_decimals(left.decimal(), right.decimal());
        result.map(|decimal| version.value(Number::Decimal(decimal))).into()
    }

    /// The result as an Int; `None` when it is none (7 / 2) or has too many digits, so that the
    /// decimal path decides.
    fn between_ints(self, left: i128, right: i128) -> Option<i128> {
        let exact = match self {
            Self::Plus => left.checked_add(right),
            Self::Minus => left.checked_sub(right),
            Self::Times => left.checked_mul(right),
            Self::Divide if left.checked_rem(right)? == 0 => left.checked_div(right),
            Self::Remainder => left.checked_rem(right),
            _ => None,
        };
        exact.and_then(bounded_int)
    }

    fn between_decimals(self, left: Decimal, right: Decimal) -> Option<Decimal> {
        match self {
            Self::Plus => left.plus(right),
            Self::Minus => left.minus(right),
            Self::Times => left.times(right),
            Self::Divide => left.divided_by(right),
            Self::Remainder => left.remainder(right),
            _ => None,
        }
    }
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        return Some(left.cmp(right));
    }
    let (left, right) = left.number().zip(right.number())?;
    Some(left.decimal().compare(right.decimal()))
}

/// Whether `array` has an item equal to `wanted`; Undefined unless it is an array and there is something
/// to look for.
fn contains(array: &Value, wanted: &Value) -> Option<bool> {
    match array {
        Value::Array(_) if wanted.is_undefined() => None,
        Value::Array(items) => Some(items.iter().any(|item| item.equals(wanted) == Some(true))),
        _ => None,
    }
}
