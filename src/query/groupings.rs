//! The sets that a GROUP BY groups by.
//!
//! A key is a set of one, ROLLUP and CUBE are sets of their own, and the sets of all of them together are
//! their combinations. DataFusion makes these too, but has no `GROUP BY DISTINCT`, no parts of several columns
//! in ROLLUP and CUBE, and makes all sets of a CUBE before it counts them. So they are counted here, and made
//! here where it cannot.

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Select, SelectItem, Spanned};

use super::error::{Position, QueryError};
use super::literals::number_text;

/// Most sets of a GROUP BY, which is Trino's own limit.
const SETS_MAX: usize = 2_048;

/// Most expressions in all sets of a GROUP BY.
const EXPRESSIONS_MAX: usize = 100_000;

/// The key that stands for the DISTINCT of `GROUP BY DISTINCT`, before all others. It cannot be typed.
pub(super) const DISTINCT: &str = "\u{1}distinct";

/// Counts the sets of the GROUP BY of `select`, and writes them out where DataFusion would not make them.
pub(super) fn write_out(select: &mut Select) -> Result<(), QueryError> {
    let GroupByExpr::Expressions(keys, _) = &mut select.group_by else { return Ok(()) };
    let is_distinct = matches!(keys.first(), Some(Expr::Identifier(name)) if name.value == DISTINCT);
    if is_distinct {
        keys.remove(0);
    }
    let is_several = |key: &Expr| matches!(key, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_));
    let Some(first) = keys.iter().find(|key| is_several(key)) else { return Ok(()) };
    let at = Position::of(first.span()).unwrap_or(Position::START);
    let count = keys.iter().fold(1_usize, |count, key| count.saturating_mul(number_of_sets(key)));
    if count > SETS_MAX {
        return Err(QueryError::Validation(format!(
            "line {at}: GROUP BY has {count} grouping sets but can contain at most {SETS_MAX}"
        )));
    }
    let expressions = keys.iter().map(number_of_expressions).sum::<usize>();
    if count.saturating_mul(expressions) > EXPRESSIONS_MAX {
        return Err(QueryError::Validation(format!(
            "line {at}: GROUP BY has {count} grouping sets of too many expressions"
        )));
    }
    let has_parts = |key: &Expr| match key {
        Expr::Rollup(parts) | Expr::Cube(parts) => parts.iter().any(|part| part.len() != 1),
        _ => false,
    };
    if !is_distinct && !keys.iter().any(has_parts) {
        return Ok(());
    }
    let mut sets: Vec<Vec<Expr>> = vec![vec![]];
    for key in keys.iter() {
        let more = sets_of(key, &select.projection)?;
        let joined = |set: &Vec<Expr>, other: &Vec<Expr>| set.iter().chain(other).cloned().collect();
        sets = sets.iter().flat_map(|set| more.iter().map(move |other| joined(set, other))).collect();
    }
    if is_distinct {
        sets = distinct(sets);
    }
    *keys = vec![Expr::GroupingSets(sets)];
    Ok(())
}

fn number_of_sets(key: &Expr) -> usize {
    match key {
        Expr::Rollup(parts) => parts.len() + 1,
        Expr::Cube(parts) => {
            u32::try_from(parts.len()).ok().and_then(|parts| 2_usize.checked_pow(parts)).unwrap_or(usize::MAX)
        }
        Expr::GroupingSets(sets) => sets.len(),
        _ => 1,
    }
}

fn number_of_expressions(key: &Expr) -> usize {
    match key {
        Expr::Rollup(parts) | Expr::Cube(parts) | Expr::GroupingSets(parts) => {
            parts.iter().map(Vec::len).sum()
        }
        _ => 1,
    }
}

/// The sets of one key; a place in the select list is the item there.
fn sets_of(key: &Expr, items: &[SelectItem]) -> Result<Vec<Vec<Expr>>, QueryError> {
    Ok(match key {
        Expr::Rollup(parts) => (0..=parts.len()).rev().map(|length| parts[..length].concat()).collect(),
        Expr::Cube(parts) => {
            let chosen = |set: usize| {
                let parts = parts.iter().enumerate();
                parts.filter(|(i, _)| set >> i & 1 == 0).flat_map(|(_, part)| part.clone()).collect()
            };
            (0..number_of_sets(key)).map(chosen).collect()
        }
        Expr::GroupingSets(sets) => sets.clone(),
        Expr::Tuple(fields) if fields.is_empty() => vec![vec![]],
        key => match number_text(key) {
            Some(place) => vec![vec![item_at(&place, items).cloned().ok_or_else(|| {
                let at = Position::of(key.span()).unwrap_or(Position::START);
                QueryError::Validation(format!("line {at}: GROUP BY position {place} is not in select list"))
            })?]],
            None => vec![vec![key.clone()]],
        },
    })
}

fn item_at<'a>(place: &str, items: &'a [SelectItem]) -> Option<&'a Expr> {
    match items.get(place.parse::<usize>().ok()?.checked_sub(1)?)? {
        SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. } => Some(item),
        _ => None,
    }
}

/// Every set once, whatever the order of its expressions, and with each expression once.
fn distinct(sets: Vec<Vec<Expr>>) -> Vec<Vec<Expr>> {
    let mut known: Vec<Vec<String>> = Vec::new();
    let mut kept = Vec::new();
    let unqualified = |expr: &Expr| match expr {
        Expr::Identifier(column) => Some(column.value.clone()),
        _ => None,
    };
    let columns: Vec<String> = sets.iter().flatten().filter_map(unqualified).collect();
    for set in sets {
        let mut named: Vec<(String, Expr)> =
            set.into_iter().map(|expr| (name_of(&expr, &columns), expr)).collect();
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        named.dedup_by(|(one, _), (other, _)| one == other);
        let (names, set) = named.into_iter().unzip();
        if !known.contains(&names) {
            known.push(names);
            kept.push(set);
        }
    }
    kept
}

/// What tells expressions apart. A column that is also named without its table is the only one of its name.
fn name_of(expr: &Expr, columns: &[String]) -> String {
    let parts = match expr {
        Expr::Identifier(column) => return column.value.clone(),
        Expr::CompoundIdentifier(parts) => parts,
        Expr::Nested(inner) => return name_of(inner, columns),
        other => return other.to_string(),
    };
    match parts.last() {
        Some(last) if columns.contains(&last.value) => last.value.clone(),
        _ => parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join("."),
    }
}
