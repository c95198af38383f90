//! The two ends of a SELECT: the names of its items, and the relations of its FROM.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr, TableAlias,
    TableAliasColumnDef, TableFactor, TableWithJoins,
};

use super::places;
use super::rewrite::take;
use super::sql_type::UNNAMED;
use super::subquery::condition;
use super::using::using;

/// Parts an item's number from its name where two items have one name; the encoder cuts it off.
pub(crate) const DUPLICATE: char = '\u{2}';

/// `a CROSS JOIN UNNEST(..)` and `a JOIN b USING (x)` become one relation each, which `unnest` and `using`
/// plan: they need what stands left of them.
pub(super) fn gather(select: &mut Select, relations: &mut usize) {
    // Without a name, DataFusion would take a column in HAVING for an item of that name.
    if select.from.len() > 1 || select.having.is_some() {
        select.from.iter_mut().for_each(|item| name_relation(&mut item.relation, relations));
    }
    select.from.iter_mut().for_each(|item| prepare(item, relations));
    let mut from: Vec<TableWithJoins> = Vec::with_capacity(select.from.len());
    for item in std::mem::take(&mut select.from) {
        match from.last_mut() {
            // The comma before an UNNEST is a CROSS JOIN with all that stands left of it.
            Some(_) if is_unnest(&item.relation) => {
                let mut left = nested_cross_join(std::mem::take(&mut from));
                left.joins.push(cross_join(item.relation));
                left.joins.extend(item.joins);
                from.push(left);
            }
            _ => from.push(item),
        }
    }
    from.iter_mut().for_each(|item| regroup(item, false));
    select.from = from;
}

/// The same within the parentheses of `(a JOIN b ..)`.
pub(super) fn gather_nested(factor: &mut TableFactor, relations: &mut usize) {
    if let TableFactor::NestedJoin { table_with_joins, alias } = factor {
        prepare(table_with_joins, relations);
        regroup(table_with_joins, alias.is_none());
    }
}

/// Has the conditions of joins checked, and gives a name to what has none: two derived tables may have
/// columns of one name, and DataFusion knows those of neither apart.
fn prepare(item: &mut TableWithJoins, relations: &mut usize) {
    if !item.joins.is_empty() {
        name_relation(&mut item.relation, relations);
    }
    for join in &mut item.joins {
        name_relation(&mut join.relation, relations);
        // `unnest` looks for a plain `ON TRUE`.
        if !is_unnest(&join.relation)
            && let Some(on) = condition(join)
        {
            places::check(on, "JOIN ON clause");
        }
    }
}

fn name_relation(relation: &mut TableFactor, relations: &mut usize) {
    if let TableFactor::Derived { alias: alias @ None, .. } = relation {
        let name = Ident::with_quote('"', format!("{UNNAMED}{relations}"));
        *alias = Some(TableAlias { explicit: true, name, columns: vec![], at: None });
        *relations += 1;
    }
}

/// Columns of `VALUES` that have no names are called as items of a SELECT that have none.
pub(super) fn name_values(relation: &mut TableFactor, relations: &mut usize) {
    if let TableFactor::Derived { subquery, .. } = relation
        && values_of(subquery).is_some()
    {
        name_relation(relation, relations);
    }
    if let TableFactor::Derived { subquery, alias: Some(alias), .. } = relation {
        name_values_of_view(subquery, alias);
    }
}

/// The same for a view of `WITH`.
pub(super) fn name_values_of_view(query: &Query, alias: &mut TableAlias) {
    if let Some(columns) = values_of(query).filter(|_| alias.columns.is_empty()) {
        let name = |i| Ident::with_quote('"', format!("_col{i}"));
        alias.columns =
            (0..columns).map(|i| TableAliasColumnDef { name: name(i), data_type: None }).collect();
    }
}

/// How many columns the rows of a query have that is VALUES and nothing else.
fn values_of(query: &Query) -> Option<usize> {
    match query.body.as_ref() {
        SetExpr::Values(values) => values.rows.first().map(|row| row.content.len()),
        SetExpr::Query(query) => values_of(query),
        _ => None,
    }
}

/// Puts a join that has a planner of its own, and all that stands left of it, into one relation. The last
/// one stays where it is if what it ends is one relation already.
fn regroup(item: &mut TableWithJoins, is_relation: bool) {
    let joins = std::mem::take(&mut item.joins);
    let last = joins.len().saturating_sub(1);
    for (i, join) in joins.into_iter().enumerate() {
        let closes = is_unnest(&join.relation) || using(&join.join_operator).is_some();
        item.joins.push(join);
        if closes && !(is_relation && i == last) {
            let inner = std::mem::replace(item, TableWithJoins { relation: nothing(), joins: vec![] });
            item.relation = TableFactor::NestedJoin { table_with_joins: Box::new(inner), alias: None };
        }
    }
}

fn is_unnest(relation: &TableFactor) -> bool {
    matches!(relation, TableFactor::UNNEST { .. })
}

fn nothing() -> TableFactor {
    TableFactor::UNNEST {
        alias: None,
        array_exprs: vec![],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    }
}

fn cross_join(relation: TableFactor) -> Join {
    Join { relation, global: false, join_operator: JoinOperator::CrossJoin(JoinConstraint::None) }
}

fn nested_cross_join(items: Vec<TableWithJoins>) -> TableWithJoins {
    let mut items = items.into_iter().map(|item| match item.joins.is_empty() {
        true => item.relation,
        false => TableFactor::NestedJoin { table_with_joins: Box::new(item), alias: None },
    });
    let relation = items.next().unwrap_or_else(nothing);
    TableWithJoins { relation, joins: items.map(cross_join).collect() }
}

/// Numbers the columns of the one relation of a SELECT that its `*` brings too.
pub(super) fn number_repeated(select: &mut Select) {
    let one = matches!(select.from.as_slice(), [item] if item.joins.is_empty()
        && !matches!(item.relation, TableFactor::NestedJoin { .. }));
    if one && select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_))) {
        number_columns(&mut select.projection);
    }
}

/// Names what has none `_colN`, and numbers what has a name that came before: DataFusion takes no two
/// items of one name, Timestream does.
pub(super) fn name_items(items: &mut [SelectItem]) {
    let mut seen = HashSet::new();
    for (i, item) in items.iter_mut().enumerate() {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = column_name(expr);
                (expr, name)
            }
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.value.clone())),
            _ => continue,
        };
        let alias = match name {
            None => format!("_col{i}"),
            Some(name) if !seen.insert(name.clone()) => format!("{name}{DUPLICATE}{i}"),
            Some(_) => continue,
        };
        *item = SelectItem::ExprWithAlias { expr: take(expr), alias: Ident::with_quote('"', alias) };
    }
}

/// Numbers the columns beside a `*`, which may bring them too. Only where nothing but the encoder sees
/// the names, that is, not inside a derived table.
pub(super) fn number_beside_wildcards(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            let is_wildcard = |item: &SelectItem| {
                matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
            };
            if !select.projection.iter().any(is_wildcard) {
                return;
            }
            number_columns(&mut select.projection);
        }
        SetExpr::SetOperation { left, right, .. } => {
            number_beside_wildcards(left);
            number_beside_wildcards(right);
        }
        SetExpr::Query(query) => number_beside_wildcards(&mut query.body),
        _ => {}
    }
}

fn number_columns(items: &mut [SelectItem]) {
    for (i, item) in items.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some(name) = column_name(expr)
        {
            let alias = Ident::with_quote('"', format!("{name}{DUPLICATE}{i}"));
            *item = SelectItem::ExprWithAlias { expr: take(expr), alias };
        }
    }
}

fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()),
        _ => None,
    }
}
