//! `FETCH FIRST n ROWS WITH TIES`: so many rows, and those that ORDER BY does not tell from the last.
//!
//! These are the rows whose rank is at most n, which is a condition on a window function: a QUALIFY, in
//! DataFusion's words. OFFSET takes its rows from the front of what is left.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, LimitClause, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr,
    TableFactor, Value, WindowSpec, WindowType, visit_expressions_mut,
};
use datafusion::sql::sqlparser::parser::Parser;

use super::dialect::{TimestreamDialect, call};
use super::error::QueryError;
use super::literals::{number, number_text};

/// Gives `query` no more than `count` rows, and ties.
pub(super) fn limit(query: &mut Query, count: &Expr) -> Result<(), QueryError> {
    let refused = |text: &str| QueryError::Validation(text.to_owned());
    let digits = |count: &Expr| number_text(count).and_then(|digits| digits.parse::<i64>().ok());
    let skipped = match &query.limit_clause {
        Some(LimitClause::LimitOffset { offset: Some(offset), .. }) => digits(&offset.value),
        _ => Some(0),
    };
    let last = digits(count).zip(skipped).and_then(|(count, skipped)| count.checked_add(skipped));
    let last = last.ok_or_else(|| refused("FETCH and OFFSET take a number of rows"))?;
    let keys = match query.order_by.as_ref().map(|order_by| &order_by.kind) {
        Some(OrderByKind::Expressions(keys)) if !keys.is_empty() => keys.clone(),
        _ => return Err(refused("FETCH FIRST WITH TIES clause requires ORDER BY")),
    };
    if !matches!(query.body.as_ref(), SetExpr::Select(select) if select.distinct.is_none()) {
        if !keys.iter().all(|key| matches!(key.expr, Expr::Identifier(_))) {
            return Err(refused(
                "FETCH FIRST WITH TIES over DISTINCT, UNION and the like is ordered by names of columns",
            ));
        }
        derive(query);
    }
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(()) };
    let keys = keys.into_iter().map(|key| over_items(key, select)).collect::<Option<Vec<_>>>();
    let keys = keys.ok_or_else(|| refused("FETCH FIRST WITH TIES takes no place of a * in ORDER BY"))?;
    select.qualify = Some(Expr::BinaryOp {
        left: Box::new(rank(keys)),
        op: BinaryOperator::LtEq,
        right: Box::new(number(&last.to_string())),
    });
    Ok(())
}

/// Makes a derived table of what `query` selects.
fn derive(query: &mut Query) {
    let mut parser = Parser::new(&TimestreamDialect)
        .try_with_sql("SELECT * FROM (SELECT 1) AS \"\u{1}all\"")
        .expect("a query in this source");
    let made = *parser.parse_query().expect("a query in this source");
    let body = std::mem::replace(&mut query.body, made.body);
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Derived { subquery, .. } = &mut from.relation
    {
        subquery.body = body;
    }
}

/// A key of ORDER BY without the names and places of the select list, which a window does not know.
fn over_items(mut key: OrderByExpr, select: &Select) -> Option<OrderByExpr> {
    let item = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
        _ => None,
    };
    if let Expr::Value(value) = &key.expr
        && let Value::Number(place, _) = &value.value
    {
        let place = place.parse::<usize>().ok()?.checked_sub(1)?;
        let stars = select.projection.iter().take(place + 1).any(|one| item(one).is_none());
        key.expr = select.projection.get(place).filter(|_| !stars).and_then(item)?;
        return Some(key);
    }
    let _ = visit_expressions_mut(&mut key.expr, |expr| {
        let named = select.projection.iter().find_map(|item| match (item, &*expr) {
            (SelectItem::ExprWithAlias { expr, alias }, Expr::Identifier(name)) => {
                (alias.value == name.value).then(|| expr.clone())
            }
            _ => None,
        });
        if let Some(named) = named {
            *expr = Expr::Nested(Box::new(named));
        }
        ControlFlow::<()>::Continue(())
    });
    Some(key)
}

fn rank(order_by: Vec<OrderByExpr>) -> Expr {
    let mut rank = call("rank", vec![]);
    if let Expr::Function(function) = &mut rank {
        function.over = Some(WindowType::WindowSpec(WindowSpec {
            window_name: None,
            partition_by: vec![],
            order_by,
            window_frame: None,
        }));
    }
    rank
}
