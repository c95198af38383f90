//! The two ends of a SELECT: the names of its items, and the relations of its FROM.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
};

use super::rewrite::take;

/// Parts an item's number from its name where two items have one name; the encoder cuts it off.
pub(crate) const DUPLICATE: char = '\u{2}';

/// `a CROSS JOIN UNNEST(..)` becomes one relation, which `unnest` plans: an UNNEST needs what stands
/// left of it.
pub(super) fn gather_unnests(select: &mut Select) {
    let is_unnest = |relation: &TableFactor| matches!(relation, TableFactor::UNNEST { .. });
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
    for item in &mut from {
        let joins = std::mem::take(&mut item.joins);
        for join in joins {
            let closes = is_unnest(&join.relation);
            item.joins.push(join);
            if closes {
                let inner = std::mem::replace(item, TableWithJoins { relation: nothing(), joins: vec![] });
                item.relation = TableFactor::NestedJoin { table_with_joins: Box::new(inner), alias: None };
            }
        }
    }
    select.from = from;
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

/// Numbers the columns after a `*`, which may have brought them already. Only where nothing but the
/// encoder sees the names, that is, not inside a derived table.
pub(super) fn number_after_wildcards(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            let mut wildcard = false;
            for (i, item) in select.projection.iter_mut().enumerate() {
                match item {
                    SelectItem::UnnamedExpr(expr) if wildcard => {
                        if let Some(name) = column_name(expr) {
                            let alias = Ident::with_quote('"', format!("{name}{DUPLICATE}{i}"));
                            *item = SelectItem::ExprWithAlias { expr: take(expr), alias };
                        }
                    }
                    SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => wildcard = true,
                    _ => {}
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            number_after_wildcards(left);
            number_after_wildcards(right);
        }
        SetExpr::Query(query) => number_after_wildcards(&mut query.body),
        _ => {}
    }
}

fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()),
        _ => None,
    }
}
