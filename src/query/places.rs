//! Where an operator, a condition or a call stands, carried through DataFusion's planner.
//!
//! The planner hands `operators` an operator and its operands, planned, and no place in the text. So
//! `rewrite` spells every operator with its place, as an operator of its own name, which `operators` reads
//! again. A condition becomes the left side of an operator that checks it and is gone after planning, and
//! so does a call, a CASE, an IN: whatever may have operands of types that it does not take.

use std::fmt;

use datafusion::common::TableReference;
use datafusion::logical_expr::Expr as PlannedExpr;
use datafusion::logical_expr::expr::Alias;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, SelectItem,
    SetExpr, Spanned, Value,
};

use super::copies;
use super::error::{Position, QueryError};
use super::functions::Registry;
use super::rewrite::{number_of_items, take};
use super::subquery::aggregate_in;

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
    /// The left operand must be right in itself.
    Value,
    /// The element of the left operand that the right one numbers.
    Element,
    /// The left operand, which stands at a place of its own wherever the plan takes it.
    Kept,
    /// Whether the operands differ, NULL being a value, or with `true` whether they do not.
    Distinct(bool),
    /// The left operand, which is the first value that the function of this name takes beside its lambdas;
    /// the right one is the second, if it takes two.
    Values(String, usize),
}

/// Begins the words of what must be a text.
const TEXT: &str = "text:";

/// Begin the name of a function of lambdas that takes so many values.
const VALUES: [&str; 2] = ["values1:", "values2:"];

/// The names of the other operators that SQL does not have.
const NEGATIVE: &str = "negative";
const VALUE: &str = "value";
const KEPT: &str = "kept";
const ELEMENT: &str = "element";
const DISTINCT: &str = "distinct";
const NOT_DISTINCT: &str = "not distinct";

/// Of how many operands the places are kept.
const OPERANDS_MAX: usize = 64;

/// The place of an operator, as the beginning of an error's text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    whole: Option<Position>,
    operands: Vec<Option<Position>>,
}

impl Place {
    /// Where the whole stands.
    pub(crate) fn position(&self) -> Option<Position> {
        self.whole
    }

    /// The place of one operand, or of the whole if that of the operand is not known.
    pub(crate) fn of_operand(&self, i: usize) -> Self {
        let operand = self.operands.get(i).copied().flatten();
        Self { whole: operand.or(self.whole), operands: Vec::new() }
    }

    /// Reads `1:8,1:10,,1:20`: the whole, then its operands.
    fn read(written: &str) -> Self {
        let mut positions = written.split(',').map(Position::read);
        Self { whole: positions.next().flatten(), operands: positions.collect() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.whole {
            None => Ok(()),
            Some(at) => write!(f, "line {at}: "),
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
    *condition = only_left(take(condition), words);
}

/// Has `value` checked to be a text, which an error calls `words`.
pub(super) fn check_text(value: &mut Expr, words: &str) {
    *value = only_left(take(value), &format!("{TEXT}{words}"));
}

/// `-value`
pub(super) fn negative(value: Expr, at: Position) -> Expr {
    marked(value, Some(at), NEGATIVE, nothing())
}

/// `root[index]`
pub(super) fn element(root: Expr, at: Position, index: Expr) -> Expr {
    marked(root, Some(at), ELEMENT, index)
}

/// `left IS [NOT] DISTINCT FROM right`
pub(super) fn distinct(left: Expr, at: Position, negated: bool, right: Expr) -> Expr {
    marked(left, Some(at), if negated { NOT_DISTINCT } else { DISTINCT }, right)
}

/// Has what `value` is checked against its operands. Only once its own operands are marked.
pub(super) fn check_value(value: &mut Expr) {
    let mut places = Position::of(value.span()).map(|at| at.to_string()).unwrap_or_default();
    let operands = operands(value);
    if operands.len() <= OPERANDS_MAX {
        for operand in operands {
            places.push(',');
            if let Some(at) = Position::of(operand.span()) {
                places.push_str(&at.to_string());
            }
        }
    }
    let op = BinaryOperator::Custom(format!("{MARK}{places} {VALUE}"));
    *value = Expr::BinaryOp { left: Box::new(take(value)), op, right: Box::new(nothing()) };
}

/// The same for what stands at a place that it does not tell itself.
pub(super) fn value_at(value: Expr, at: Option<Position>) -> Expr {
    marked(value, at, VALUE, nothing())
}

/// Has the items of every side of a UNION, INTERSECT or EXCEPT keep their places in the plan, and so the values
/// of VALUES. Only once the items have their names.
pub(super) fn keep(body: &mut SetExpr, registry: &Registry) -> Result<(), QueryError> {
    match body {
        SetExpr::SetOperation { op, left, right, .. } => {
            if let (Some(one), Some(other)) = (number_of_items(left), number_of_items(right))
                && one != other
            {
                let at = Position::of(right.span()).unwrap_or(Position::START);
                return Err(QueryError::Validation(format!(
                    "line {at}: {op} query has different number of fields: {one}, {other}"
                )));
            }
            for side in [left, right] {
                keep(side, registry)?;
                keep_items(side, registry);
            }
        }
        SetExpr::Select(select) => {
            let sides = copies::sides(select);
            sides.into_iter().flatten().for_each(|side| keep_items(side, registry));
        }
        SetExpr::Values(values) => {
            let length = values.rows.first().map_or(0, |row| row.content.len());
            for row in &mut values.rows {
                if row.content.len() != length {
                    let at = row.content.first().and_then(|first| Position::of(first.span()));
                    return Err(QueryError::Validation(format!(
                        "line {}: Values rows have mismatched sizes: {length} vs {}",
                        at.unwrap_or(Position::START),
                        row.content.len()
                    )));
                }
                row.content.iter_mut().for_each(keep_value);
            }
        }
        _ => {}
    }
    Ok(())
}

/// The same for the items of a side that is one SELECT. Columns keep their places themselves, and what may
/// be a key too of GROUP BY or ORDER BY is to remain what it is.
fn keep_items(side: &mut SetExpr, registry: &Registry) {
    match side {
        SetExpr::Select(select) => {
            let groups = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
            for item in &mut select.projection {
                if let SelectItem::ExprWithAlias { expr, .. } = item
                    && (!groups || aggregate_in(expr, registry).is_some())
                {
                    keep_value(expr);
                }
            }
        }
        SetExpr::Query(query) if query.order_by.is_none() => keep_items(&mut query.body, registry),
        _ => {}
    }
}

fn keep_value(value: &mut Expr) {
    if let Some(at) = Position::of(value.span()) {
        *value = marked(take(value), Some(at), KEPT, nothing());
    }
}

/// `value` at a place of its own.
pub(crate) fn kept(value: PlannedExpr, place: &Place) -> PlannedExpr {
    match place.position() {
        Some(at) => value.alias_qualified(Some(TableReference::bare(format!("{MARK}{at}"))), KEPT),
        None => value,
    }
}

/// Whether an alias is nothing but the place of its value.
pub(crate) fn is_kept(alias: &Alias) -> bool {
    mark_of(alias).is_some()
}

fn mark_of(alias: &Alias) -> Option<Position> {
    match &alias.relation {
        Some(TableReference::Bare { table }) => Position::read(table.strip_prefix(MARK)?),
        _ => None,
    }
}

/// The place of a planned value that [`kept`] it.
pub(crate) fn kept_place(value: &PlannedExpr) -> Option<Position> {
    match value {
        PlannedExpr::Alias(alias) => mark_of(alias).or_else(|| kept_place(&alias.expr)),
        PlannedExpr::Cast(cast) => kept_place(&cast.expr),
        PlannedExpr::Column(column) => {
            let span = column.spans.first()?;
            Some(Position { line: span.start.line, column: span.start.column })
        }
        _ => None,
    }
}

/// The operands that must go together, in the order in which `branches` counts them.
fn operands(value: &Expr) -> Vec<&Expr> {
    match value {
        Expr::InList { expr, list, .. } => std::iter::once(expr.as_ref()).chain(list).collect(),
        Expr::Between { expr, low, high, .. } => vec![expr, low, high],
        Expr::Array(array) => array.elem.iter().collect(),
        Expr::Case { operand, conditions, else_result, .. } => {
            let results = conditions.iter().map(|when| &when.result);
            let results = results.chain(else_result.as_deref());
            let whens = operand.iter().flat_map(|_| conditions.iter().map(|when| &when.condition));
            results.chain(operand.as_deref()).chain(whens).collect()
        }
        Expr::Function(Function { args: FunctionArguments::List(list), .. }) => {
            list.args.iter().filter_map(operand).collect()
        }
        _ => Vec::new(),
    }
}

fn operand(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// Has the values checked that a function takes beside its lambdas: the planner asks for their types
/// before the call is an expression.
pub(super) fn check_values(function: &mut Function) {
    let at = Position::of(function.name.span());
    let name = function.name.to_string();
    let FunctionArguments::List(list) = &mut function.args else { return };
    let operands = list.args.iter_mut().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    let (lambdas, mut values): (Vec<&mut Expr>, Vec<&mut Expr>) =
        operands.partition(|expr| matches!(expr, Expr::Lambda(_)));
    if lambdas.is_empty() || at.is_none() {
        return;
    }
    match values.as_mut_slice() {
        [one] => **one = marked(take(one), at, &format!("{}{name}", VALUES[0]), nothing()),
        [one, other] => **one = marked(take(one), at, &format!("{}{name}", VALUES[1]), other.clone()),
        _ => {}
    }
}

/// An operator whose right operand means nothing.
fn only_left(left: Expr, name: &str) -> Expr {
    let at = Position::of(left.span());
    marked(left, at, name, nothing())
}

fn nothing() -> Expr {
    Expr::Value(Value::Boolean(true).into())
}

fn marked(left: Expr, at: Option<Position>, name: &str, right: Expr) -> Expr {
    let at = at.map(|at| at.to_string()).unwrap_or_default();
    let op = BinaryOperator::Custom(format!("{MARK}{at} {name}"));
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// What `op` stands for, and where.
pub(crate) fn placed(op: BinaryOperator) -> (Placed, Place) {
    let name = match &op {
        BinaryOperator::Custom(name) => name.strip_prefix(MARK).and_then(|name| name.split_once(' ')),
        _ => None,
    };
    let Some((at, name)) = name else { return (Placed::Operator(op.clone()), Place::default()) };
    if let Some((_, op)) = OPERATORS.iter().find(|(sign, _)| *sign == name) {
        return (Placed::Operator(op.clone()), Place::read(at));
    }
    let [one, two] = VALUES.map(|prefix| name.strip_prefix(prefix));
    let placed = match (name, name.strip_prefix(TEXT), one, two) {
        (_, Some(words), ..) => Placed::Text(words.to_owned()),
        (_, _, Some(function), _) => Placed::Values(function.to_owned(), 1),
        (_, _, _, Some(function)) => Placed::Values(function.to_owned(), 2),
        (NEGATIVE, ..) => Placed::Negative,
        (VALUE, ..) => Placed::Value,
        (KEPT, ..) => Placed::Kept,
        (ELEMENT, ..) => Placed::Element,
        (DISTINCT, ..) => Placed::Distinct(false),
        (NOT_DISTINCT, ..) => Placed::Distinct(true),
        _ => Placed::Condition(name.to_owned()),
    };
    (placed, Place::read(at))
}
