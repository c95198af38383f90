//! What Timestream's SQL says in other words than DataFusion's planner understands.
//!
//! One pass over the syntax tree, after `names` and before planning. It changes spelling, not meaning:
//! fields of lambda parameters become `get_field`, `now()` becomes the moment the query started, items
//! of the select list get names that are unique, integer literals get Trino's type.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    LimitClause, OneOrManyWithParens, OrderByKind, Query, Select, SelectItem, SetExpr, Spanned, TableFactor,
    UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut, visit_expressions,
};

use super::dialect::{call, text, text_at};
use super::error::{Position, QueryError, syntax};
use super::functions::Registry;
use super::literals::{
    check_count, integer, interval_literal, is_duration, is_too_large, negative_literal, number, number_text,
    untype, untype_frame,
};
use super::phrases::{field, fields, like_pattern, negated_if, spelled_out};
use super::select_list::{
    gather, gather_nested, name_items, name_values, name_values_of_view, number_beside_wildcards,
    number_repeated,
};
use super::subquery::{self, Quantifier};
use super::{calls, copies, elements, groupings, places, ties};
use crate::clock::Timestamp;

/// Rewrites `query`, which starts at the moment `now`.
pub(crate) fn rewrite(query: &mut Query, now: Timestamp, registry: &Registry) -> Result<(), QueryError> {
    let mut rewriter = Rewriter { now, registry, lambdas: vec![], expected: 0, relations: 0 };
    if let ControlFlow::Break(error) = query.visit(&mut rewriter) {
        return Err(*error);
    }
    number_beside_wildcards(&mut query.body);
    Ok(())
}

/// Whether `query` has a `TRY`.
pub(crate) fn has_try(query: &Query) -> bool {
    visit_expressions(query, |expr| match expr {
        Expr::Function(function) if function.name.to_string() == "__try" => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

struct Rewriter<'a> {
    now: Timestamp,
    registry: &'a Registry,
    /// The parameters of the lambdas around the present expression.
    lambdas: Vec<Vec<String>>,
    /// How many lambdas are still to come that a function takes.
    expected: usize,
    /// How many relations got a name here.
    relations: usize,
}

type Step = ControlFlow<Box<QueryError>>;

fn fail(error: QueryError) -> Step {
    ControlFlow::Break(Box::new(error))
}

impl VisitorMut for Rewriter<'_> {
    type Break = Box<QueryError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> Step {
        subquery::lift_order(query);
        for view in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            name_values_of_view(&view.query, &mut view.alias);
        }
        copies::rewrite(&mut query.body);
        if let Some(fetch) = query.fetch.take() {
            if fetch.percent {
                return fail(QueryError::Validation("FETCH takes a number of rows".to_owned()));
            }
            let count = fetch.quantity.unwrap_or_else(|| number("1"));
            if fetch.with_ties {
                return ties::limit(query, &count).map_or_else(fail, ControlFlow::Continue);
            }
            match &mut query.limit_clause {
                Some(LimitClause::LimitOffset { limit, .. }) => *limit = Some(count),
                other => {
                    let offset = None;
                    *other = Some(LimitClause::LimitOffset { limit: Some(count), offset, limit_by: vec![] });
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The visitor has typed every integer by now; here a bare one is a place or a count, not a value.
    fn post_visit_query(&mut self, query: &mut Query) -> Step {
        if let Err(error) = places::keep(&mut query.body, self.registry) {
            return fail(error);
        }
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            limit.iter_mut().for_each(untype);
            offset.iter_mut().for_each(|offset| untype(&mut offset.value));
            for count in limit.iter().chain(offset.iter().map(|offset| &offset.value)) {
                if let Err(error) = check_count(count) {
                    return fail(error);
                }
            }
        }
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(keys) = &mut order_by.kind
        {
            keys.iter_mut().for_each(|key| untype(&mut key.expr));
            let items = number_of_items(&query.body);
            let wrong = keys.iter().find_map(|key| wrong_place("ORDER BY", &key.expr, items));
            return wrong.map_or(ControlFlow::Continue(()), fail);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> Step {
        if let Err(error) = self.check_clauses(select).and_then(|()| groupings::write_out(select)) {
            return fail(error);
        }
        subquery::lift(select);
        if let Some(condition) = &mut select.selection {
            places::check(condition, "WHERE clause");
        }
        if let Some(condition) = &mut select.having {
            places::check(condition, "HAVING clause");
        }
        if select.from.is_empty()
            && let Some(SelectItem::Wildcard(star)) =
                select.projection.iter().find(|item| matches!(item, SelectItem::Wildcard(_)))
        {
            let at = Position::of(star.wildcard_token.0.span).unwrap_or(Position::START);
            return fail(QueryError::Validation(format!(
                "line {at}: SELECT * not allowed in queries without FROM clause"
            )));
        }
        gather(select, &mut self.relations);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> Step {
        gather_nested(factor, &mut self.relations);
        name_values(factor, &mut self.relations);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> Step {
        number_repeated(select);
        name_items(&mut select.projection);
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
            // `GROUP BY ()` is one group of all rows.
            keys.retain(|key| !is_empty_row(key));
            keys.iter_mut().for_each(untype);
            let items = number_of(&select.projection);
            let wrong = keys.iter().find_map(|key| wrong_place("GROUP BY", key, items));
            return wrong.map_or(ControlFlow::Continue(()), fail);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> Step {
        if let Expr::Lambda(lambda) = expr {
            let parameters = match &lambda.params {
                OneOrManyWithParens::One(one) => std::slice::from_ref(one),
                OneOrManyWithParens::Many(many) => many.as_slice(),
            };
            let Some(others) = self.expected.checked_sub(1) else {
                let first = parameters.first().and_then(|first| Position::of(first.name.span));
                return fail(QueryError::Validation(format!(
                    "line {}: a lambda stands where a value is expected",
                    first.unwrap_or(Position::START)
                )));
            };
            self.expected = others;
            self.lambdas.push(parameters.iter().map(|one| one.name.value.clone()).collect());
        }
        match self.replacement(expr) {
            Ok(Some(other)) => *expr = other,
            Ok(None) => {}
            Err(error) => return fail(error),
        }
        if let Expr::Function(function) = expr
            && self.registry.higher_order(&function.name.to_string()).is_some()
        {
            self.expected += lambdas_of(function);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> Step {
        match expr {
            Expr::Lambda(_) => {
                self.lambdas.pop();
            }
            Expr::Value(value) => {
                if let Value::Number(digits, _) = &value.value
                    && digits.parse::<i32>().is_ok()
                {
                    *expr = integer(expr.clone());
                }
            }
            Expr::Function(function) => {
                untype_frame(function);
                // What nobody wrote has no place; a CAST has that of its word.
                let name = function.name.to_string();
                if Position::of(function.name.span()).is_some() || matches!(&*name, "__cast" | "__try_cast") {
                    places::check_values(function);
                    places::check_value(expr);
                }
            }
            Expr::InList { .. } | Expr::Between { .. } | Expr::Case { .. } | Expr::Array(_) => {
                places::check_value(expr);
            }
            // DataFusion takes a subquery without rows for one that has no NULL.
            Expr::Subquery(_) => *expr = call("__maybe", vec![take(expr)]),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    /// Refuses what aggregates or looks at other rows where no row is one of a group yet.
    fn check_clauses(&self, select: &mut Select) -> Result<(), QueryError> {
        let aggregates = "aggregations, window functions or grouping operations";
        let windows = subquery::window_in(&select.having);
        let mut found = vec![
            ("WHERE", subquery::aggregate_in(&select.selection, self.registry), aggregates),
            ("GROUP BY", subquery::aggregate_in(&select.group_by, self.registry), aggregates),
            ("HAVING", windows, "window functions"),
        ];
        let conditions =
            select.from.iter_mut().flat_map(|from| &mut from.joins).filter_map(subquery::condition);
        found.extend(conditions.map(|on| ("JOIN", subquery::aggregate_in(on, self.registry), aggregates)));
        match found.into_iter().find_map(|(clause, at, what)| Some((clause, at?, what))) {
            Some((clause, at, what)) => {
                Err(QueryError::Validation(format!("line {at}: {clause} clause cannot contain {what}")))
            }
            None => Ok(()),
        }
    }

    /// What stands for `expr`, if something else does. Its operands are visited afterwards.
    fn replacement(&self, expr: &mut Expr) -> Result<Option<Expr>, QueryError> {
        let place = || Position::of(expr.span());
        let place = place().unwrap_or(Position::START);
        Ok(Some(match expr {
            Expr::CompoundFieldAccess { root, access_chain } => {
                fields(take(root), std::mem::take(access_chain), place)?
            }
            Expr::CompoundIdentifier(names) if self.is_parameter(names.first()) => {
                let mut names = std::mem::take(names).into_iter();
                let Some(first) = names.next() else { return Err(syntax(place)) };
                names.fold(Expr::Identifier(first), field)
            }
            Expr::Tuple(fields) => call("__row", std::mem::take(fields)),
            Expr::Interval(interval) => interval_literal(interval).ok_or_else(|| syntax(place))?,
            Expr::TypedString(typed) => {
                let name = typed.data_type.to_string();
                let span = typed.value.span;
                let Some(value) = typed.value.clone().into_string() else { return Err(syntax(place)) };
                call("__cast", vec![text_at(value, span), text(name)])
            }
            Expr::Cast { kind: CastKind::DoubleColon, .. } => return Err(syntax(place)),
            Expr::Function(function) => return calls::rewritten(function, self.now),
            Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Extract { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. } => {
                let call = spelled_out(expr).ok_or_else(|| syntax(place))?;
                places::value_at(call, Some(place))
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } if is_duration(expr) => {
                call("__negate", vec![take(expr)])
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match number_text(expr) {
                Some(digits) => return Ok(negative_literal(&digits)),
                None => places::negative(take(expr), place),
            },
            Expr::Value(ValueWithSpan { value: Value::UnicodeStringLiteral(written), span }) => {
                text_at(std::mem::take(written), *span)
            }
            Expr::IsDistinctFrom(left, right) => places::distinct(take(left), place, false, take(right)),
            Expr::IsNotDistinctFrom(left, right) => places::distinct(take(left), place, true, take(right)),
            Expr::Value(value) if is_too_large(&value.value) => {
                return Err(QueryError::Validation(format!(
                    "line {place}: Invalid numeric literal: {}",
                    value.value
                )));
            }
            Expr::Subquery(query) if number_of_items(&query.body).is_some_and(|items| items != 1) => {
                let items = number_of_items(&query.body).unwrap_or_default();
                return Err(QueryError::Validation(format!(
                    "line {place}: Multiple columns returned by subquery are not yet supported. Found {items}"
                )));
            }
            Expr::Subquery(query) => match elements::answered(query, self.registry) {
                Some(answer) => answer,
                None => {
                    subquery::single(query, self.registry);
                    return Ok(None);
                }
            },
            Expr::Exists { subquery, negated } if elements::is_over(subquery) => {
                negated_if(*negated, subquery::exists(subquery))
            }
            Expr::InSubquery { expr, subquery, negated }
                if elements::is_over(subquery) && !matches!(expr.as_ref(), Expr::Tuple(_)) =>
            {
                negated_if(*negated, subquery::is_in(take(expr), subquery))
            }
            Expr::InSubquery { expr, subquery, negated } if matches!(expr.as_ref(), Expr::Tuple(_)) => {
                negated_if(*negated, subquery::row_in(take(expr), subquery))
            }
            Expr::AnyOp { left, compare_op, right, .. } => {
                subquery::quantified(take(left), compare_op.clone(), right, Quantifier::Any)
                    .ok_or_else(|| syntax(place))?
            }
            Expr::AllOp { left, compare_op, right } => {
                subquery::quantified(take(left), compare_op.clone(), right, Quantifier::All)
                    .ok_or_else(|| syntax(place))?
            }
            Expr::Like { expr, pattern, escape_char, .. } => {
                **pattern = like_pattern(take(pattern), escape_char.take(), place)?;
                places::check_text(expr, "Left side of LIKE expression");
                places::check_text(pattern, "Pattern for LIKE expression");
                return Ok(None);
            }
            Expr::BinaryOp { op, .. } if !places::is_known(op) => return Err(syntax(place)),
            Expr::BinaryOp { op, .. } => {
                places::mark(op, place);
                return Ok(None);
            }
            Expr::UnaryOp { op, .. }
                if !matches!(op, UnaryOperator::Minus | UnaryOperator::Plus | UnaryOperator::Not) =>
            {
                return Err(syntax(place));
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                places::check(expr, "Value of logical NOT expression");
                return Ok(None);
            }
            Expr::Case { operand: None, conditions, case_token, .. } => {
                // `IF` is a CASE that nobody wrote.
                let words = match Position::of(case_token.0.span) {
                    Some(_) => "CASE WHEN clause",
                    None => "IF condition",
                };
                conditions.iter_mut().for_each(|when| places::check(&mut when.condition, words));
                return Ok(None);
            }
            Expr::AtTimeZone { .. } => {
                return Err(QueryError::Validation(format!(
                    "line {place}: AT TIME ZONE is not supported: Timestream has no type with a time zone"
                )));
            }
            _ => return Ok(None),
        }))
    }

    fn is_parameter(&self, name: Option<&Ident>) -> bool {
        name.is_some_and(|name| self.lambdas.iter().flatten().any(|parameter| *parameter == name.value))
    }
}

pub(super) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

fn is_empty_row(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function)
        if function.name.to_string() == "__row"
            && matches!(&function.args, FunctionArguments::List(list) if list.args.is_empty()))
}

/// How many lambdas a function is given.
fn lambdas_of(function: &Function) -> usize {
    let FunctionArguments::List(list) = &function.args else { return 0 };
    let is_lambda =
        |arg: &&FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Lambda(_))));
    list.args.iter().filter(is_lambda).count()
}

/// How many columns a query gives, where no `*` hides it.
pub(super) fn number_of_items(body: &SetExpr) -> Option<usize> {
    match body {
        SetExpr::Select(select) => number_of(&select.projection),
        SetExpr::SetOperation { left, .. } => number_of_items(left),
        SetExpr::Query(query) => number_of_items(&query.body),
        SetExpr::Values(values) => values.rows.first().map(|row| row.content.len()),
        _ => None,
    }
}

fn number_of(items: &[SelectItem]) -> Option<usize> {
    let is_star =
        |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    (!items.iter().any(is_star)).then_some(items.len())
}

/// The error of a key that is the place of an item there is not.
fn wrong_place(clause: &str, key: &Expr, items: Option<usize>) -> Option<QueryError> {
    let place = number_text(key)?.parse::<usize>().ok()?;
    if (1..=items?).contains(&place) {
        return None;
    }
    let at = Position::of(key.span()).unwrap_or(Position::START);
    Some(QueryError::Validation(format!("line {at}: {clause} position {place} is not in select list")))
}
