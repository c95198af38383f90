//! Where an operator or a condition stands, carried through DataFusion's planner.
//!
//! The planner hands `operators` an operator and its operands, planned, and no place in the text. So
//! `rewrite` spells every operator with its place, as an operator of its own name, which `operators` reads
//! again. A condition becomes the left side of an operator that checks it and is gone after planning.

use std::fmt;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Spanned, Value};

use super::error::Position;
use super::rewrite::take;

/// Begins the name of an operator that has a place. It cannot be typed by accident.
const MARK: char = '\u{1}';

/// The operators of Timestream's SQL.
const OPERATORS: &[(&str, BinaryOperator)] = &[
    ("+", BinaryOperator::Plus),
    ("-", BinaryOperator::Minus),
    ("*", BinaryOperator::Multiply),
    ("/", BinaryOperator::Divide),
    ("%", BinaryOperator::Modulo),
    ("||", BinaryOperator::StringConcat),
    ("=", BinaryOperator::Eq),
    ("<>", BinaryOperator::NotEq),
    ("<", BinaryOperator::Lt),
    ("<=", BinaryOperator::LtEq),
    (">", BinaryOperator::Gt),
    (">=", BinaryOperator::GtEq),
    ("AND", BinaryOperator::And),
    ("OR", BinaryOperator::Or),
];

/// What an operator of a planned query stands for.
#[derive(Debug)]
pub(crate) enum Placed {
    Operator(BinaryOperator),
    /// The left operand must be a boolean; the words say what it is.
    Condition(String),
    /// The left operand must be a text.
    Text(String),
    /// The left operand with its sign changed.
    Negative,
}

/// Begins the words of what must be a text.
const TEXT: &str = "text:";

/// The name of the operator that changes a sign.
const NEGATIVE: &str = "negative";

/// The place of an operator, as the beginning of an error's text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_empty() {
            true => Ok(()),
            false => write!(f, "line {}: ", self.0),
        }
    }
}

/// Whether Timestream's SQL has `op`.
pub(super) fn is_known(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::Custom(name) if name.starts_with(MARK))
        || OPERATORS.iter().any(|(_, known)| known == op)
}

/// Spells `op` with the place `at`.
pub(super) fn mark(op: &mut BinaryOperator, at: Position) {
    if !matches!(op, BinaryOperator::Custom(_)) {
        *op = BinaryOperator::Custom(format!("{MARK}{at} {op}"));
    }
}

/// Has `condition` checked, which an error calls `words`. Only before its operators are marked.
pub(super) fn check(condition: &mut Expr, words: &str) {
    if matches!(condition, Expr::BinaryOp { op: BinaryOperator::Custom(_), .. }) {
        return;
    }
    let at = Position::of(condition.span()).map(|at| at.to_string()).unwrap_or_default();
    *condition = only_left(take(condition), &at, words);
}

/// Has `value` checked to be a text, which an error calls `words`.
pub(super) fn check_text(value: &mut Expr, words: &str) {
    let at = Position::of(value.span()).map(|at| at.to_string()).unwrap_or_default();
    *value = only_left(take(value), &at, &format!("{TEXT}{words}"));
}

/// `-value`
pub(super) fn negative(value: Expr, at: Position) -> Expr {
    only_left(value, &at.to_string(), NEGATIVE)
}

/// An operator whose right operand means nothing.
fn only_left(left: Expr, at: &str, name: &str) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::Custom(format!("{MARK}{at} {name}")),
        right: Box::new(Expr::Value(Value::Boolean(true).into())),
    }
}

/// What `op` stands for, and where.
pub(crate) fn placed(op: BinaryOperator) -> (Placed, Place) {
    let name = match &op {
        BinaryOperator::Custom(name) => name.strip_prefix(MARK).and_then(|name| name.split_once(' ')),
        _ => None,
    };
    let Some((at, name)) = name else { return (Placed::Operator(op.clone()), Place::default()) };
    let place = Place(at.to_owned());
    let placed = match (OPERATORS.iter().find(|(sign, _)| *sign == name), name.strip_prefix(TEXT)) {
        (Some((_, op)), _) => Placed::Operator(op.clone()),
        (None, Some(words)) => Placed::Text(words.to_owned()),
        (None, None) if name == NEGATIVE => Placed::Negative,
        (None, None) => Placed::Condition(name.to_owned()),
    };
    (placed, place)
}
