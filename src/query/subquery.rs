//! Subqueries that ask a question, where DataFusion cannot ask it.
//!
//! DataFusion plans EXISTS and IN only where rows are filtered, and a comparison with ANY or ALL nowhere.
//! Anywhere else EXISTS becomes a count, and the others become a lambda over the subquery's values in an
//! array: `x < ALL (SELECT y ..)` is `__all_match((SELECT array_agg(y) ..), v -> x < v)`, which has the
//! three-valued answer SQL asks for. Over a list of values, ANY and ALL become a chain of OR or AND.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, LambdaFunction, LambdaFunctionParameter,
    LambdaSyntax, LimitClause, OneOrManyWithParens, OrderByKind, Query, Select, SelectItem, SetExpr,
    SetOperator, Spanned, TableAliasColumnDef, TableFactor, UnaryOperator, Value, Visit, VisitMut, Visitor,
    VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;

use super::dialect::{TimestreamDialect, call};
use super::elements;
use super::error::Position;
use super::functions::Registry;
use super::literals::{number, number_text};
use super::rewrite::take;

/// The parameter of the lambdas made here; nobody else can write it.
const VALUE: &str = "\u{1}value";

/// Rewrites the questions of a SELECT that stand outside WHERE and HAVING.
pub(super) fn lift(select: &mut Select) {
    let mut lift = Lift { depth: 0 };
    for item in &mut select.projection {
        let _ = VisitMut::visit(item, &mut lift);
    }
    let _ = VisitMut::visit(&mut select.group_by, &mut lift);
    for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
        if let Some(condition) = condition(join) {
            let _ = VisitMut::visit(condition, &mut lift);
        }
    }
}

/// The same for the keys of an ORDER BY.
pub(super) fn lift_order(query: &mut Query) {
    if let Some(order_by) = &mut query.order_by
        && let OrderByKind::Expressions(keys) = &mut order_by.kind
    {
        for key in keys {
            let _ = VisitMut::visit(&mut key.expr, &mut Lift { depth: 0 });
        }
    }
}

/// The condition of a join by ON.
pub(super) fn condition(join: &mut Join) -> Option<&mut Expr> {
    use JoinOperator::{FullOuter, Inner, Join as Plain, Left, LeftOuter, Right, RightOuter};
    match &mut join.join_operator {
        Plain(JoinConstraint::On(on))
        | Inner(JoinConstraint::On(on))
        | Left(JoinConstraint::On(on))
        | LeftOuter(JoinConstraint::On(on))
        | Right(JoinConstraint::On(on))
        | RightOuter(JoinConstraint::On(on))
        | FullOuter(JoinConstraint::On(on)) => Some(on),
        _ => None,
    }
}

struct Lift {
    /// How many subqueries stand around the present place: theirs are not ours.
    depth: usize,
}

impl VisitorMut for Lift {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let (lifted, negated) = match expr {
            Expr::AnyOp { left, compare_op, right, .. } => {
                match quantified_anywhere(take(left), compare_op, right, Quantifier::Any) {
                    Some(lifted) => (lifted, false),
                    None => return ControlFlow::Continue(()),
                }
            }
            Expr::AllOp { left, compare_op, right } => {
                match quantified_anywhere(take(left), compare_op, right, Quantifier::All) {
                    Some(lifted) => (lifted, false),
                    None => return ControlFlow::Continue(()),
                }
            }
            Expr::Exists { subquery, negated } => (exists(subquery), *negated),
            Expr::InSubquery { expr, subquery, negated } => (is_in(take(expr), subquery), *negated),
            _ => return ControlFlow::Continue(()),
        };
        *expr = match negated {
            true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(lifted) },
            false => lifted,
        };
        ControlFlow::Continue(())
    }
}

/// Whether a comparison is to hold for one value or for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    Any,
    All,
}

/// `left op ANY (right)` or `left op ALL (right)` where rows are filtered: what is an IN becomes a join.
pub(super) fn quantified(
    left: Expr,
    op: BinaryOperator,
    right: &mut Expr,
    quantifier: Quantifier,
) -> Option<Expr> {
    let Expr::Subquery(query) = right else { return None };
    let negated = match (&op, quantifier) {
        (BinaryOperator::Eq, Quantifier::Any) => false,
        (BinaryOperator::NotEq, Quantifier::All) => true,
        _ => return quantified_anywhere(left, &op, right, quantifier),
    };
    match constant_rows(&query.body) {
        Some(_) => quantified_anywhere(left, &op, right, quantifier),
        None if elements::is_over(query) => quantified_anywhere(left, &op, right, quantifier),
        None => Some(Expr::InSubquery { expr: Box::new(left), subquery: query.clone(), negated }),
    }
}

fn quantified_anywhere(
    left: Expr,
    op: &BinaryOperator,
    right: &Expr,
    quantifier: Quantifier,
) -> Option<Expr> {
    let Expr::Subquery(query) = right else { return None };
    let (join, empty) = match quantifier {
        Quantifier::Any => (BinaryOperator::Or, false),
        Quantifier::All => (BinaryOperator::And, true),
    };
    let Some(rows) = constant_rows(&query.body) else { return Some(matched(left, op, query, quantifier)) };
    let compared = rows.into_iter().map(|row| Expr::Nested(Box::new(binary(left.clone(), op.clone(), row))));
    let joined = compared.reduce(|all, one| binary(all, join.clone(), one));
    Some(
        joined.map_or_else(
            || Expr::Value(Value::Boolean(empty).into()),
            |joined| Expr::Nested(Box::new(joined)),
        ),
    )
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// The values of `VALUES a, b` or `SELECT a UNION ALL SELECT b`.
fn constant_rows(body: &SetExpr) -> Option<Vec<Expr>> {
    match body {
        SetExpr::Values(values) => values
            .rows
            .iter()
            .map(|row| match row.content.as_slice() {
                [one] => Some(one.clone()),
                _ => None,
            })
            .collect(),
        SetExpr::Select(select) if select.from.is_empty() && select.selection.is_none() => {
            match select.projection.as_slice() {
                [SelectItem::UnnamedExpr(one) | SelectItem::ExprWithAlias { expr: one, .. }] => {
                    Some(vec![one.clone()])
                }
                _ => None,
            }
        }
        SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => {
            let mut rows = constant_rows(left)?;
            rows.extend(constant_rows(right)?);
            Some(rows)
        }
        SetExpr::Query(query) if query.limit_clause.is_none() => constant_rows(&query.body),
        _ => None,
    }
}

/// `left IN (subquery)`, by the array of its values.
pub(super) fn is_in(left: Expr, subquery: &Query) -> Expr {
    matched(left, &BinaryOperator::Eq, subquery, Quantifier::Any)
}

/// `(SELECT count(*) ..) > 0`
pub(super) fn exists(subquery: &Query) -> Expr {
    let mut counted = match select_of(subquery).is_some() {
        true => subquery.clone(),
        false => outer(subquery, false),
    };
    counted.order_by = None;
    if let SetExpr::Select(select) = counted.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(count_all())];
    }
    binary(Expr::Subquery(Box::new(counted)), BinaryOperator::Gt, number("0"))
}

fn count_all() -> Expr {
    let mut count = call("count", vec![]);
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut count {
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Wildcard));
    }
    count
}

/// The lambda over the values of `subquery`.
fn matched(left: Expr, op: &BinaryOperator, subquery: &Query, quantifier: Quantifier) -> Expr {
    let mut values = subquery.clone();
    let value = match select_of(subquery).and_then(|select| only_value(select)) {
        Some(value) => value.clone(),
        None => {
            values = outer(subquery, true);
            Expr::Identifier(Ident::with_quote('"', VALUE))
        }
    };
    values.order_by = None;
    if let SetExpr::Select(select) = values.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(call("array_agg", vec![value]))];
    }
    let parameter = LambdaFunctionParameter { name: Ident::new(VALUE), data_type: None };
    let lambda = Expr::Lambda(LambdaFunction {
        params: OneOrManyWithParens::One(parameter),
        body: Box::new(binary(left, op.clone(), Expr::Identifier(Ident::new(VALUE)))),
        syntax: LambdaSyntax::Arrow,
    });
    let function = match quantifier {
        Quantifier::Any => "__any_match",
        Quantifier::All => "__all_match",
    };
    call(function, vec![Expr::Subquery(Box::new(values)), lambda])
}

/// Makes an aggregate of a scalar subquery that has one value in each of its rows: DataFusion plans one
/// that names outer columns only so. With `LIMIT 1` the first row counts, otherwise there must be one.
pub(super) fn single(query: &mut Query, registry: &Registry) {
    let first = match &query.limit_clause {
        None => false,
        Some(LimitClause::LimitOffset { limit: Some(limit), offset: None, .. })
            if number_text(limit).as_deref() == Some("1") && names_outer(query) =>
        {
            true
        }
        Some(_) => return,
    };
    let Query { body, order_by, fetch, .. } = query;
    let SetExpr::Select(select) = body.as_mut() else { return };
    let plain = select.distinct.is_none()
        && select.having.is_none()
        && !select.from.is_empty()
        && fetch.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    if !plain || aggregates(&select.projection, registry) {
        return;
    }
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
        select.projection.as_mut_slice()
    else {
        return;
    };
    let value = take(value);
    let mut aggregate = call(if first { "__first" } else { "__only" }, vec![value]);
    if let Some(order_by) = order_by.take()
        && first
        && let OrderByKind::Expressions(keys) = order_by.kind
        && let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut aggregate
    {
        list.clauses = vec![FunctionArgumentClause::OrderBy(keys)];
    }
    select.projection = vec![SelectItem::UnnamedExpr(aggregate)];
    query.limit_clause = None;
}

/// Whether a query surely names a column of a relation that is not its own.
fn names_outer(query: &Query) -> bool {
    struct Names {
        own: HashSet<String>,
    }
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            match factor {
                TableFactor::Table { alias: Some(alias), .. }
                | TableFactor::Derived { alias: Some(alias), .. }
                | TableFactor::UNNEST { alias: Some(alias), .. } => {
                    self.own.insert(alias.name.value.to_lowercase());
                }
                TableFactor::Table { name, .. } => {
                    let parts = name.0.iter().filter_map(|part| part.as_ident());
                    self.own.extend(parts.map(|part| part.value.to_lowercase()));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    struct Outer(HashSet<String>);
    impl Visitor for Outer {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::CompoundIdentifier(names)
                    if names.first().is_some_and(|first| !self.0.contains(&first.value.to_lowercase())) =>
                {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let mut names = Names { own: HashSet::new() };
    let _ = query.visit(&mut names);
    query.visit(&mut Outer(names.own)).is_break()
}

/// Whether the items of a SELECT make one row of many, or look at other rows.
fn aggregates(items: &[SelectItem], registry: &Registry) -> bool {
    items.iter().any(|item| aggregate_in(item, registry).is_some())
}

/// Where the first call stands that makes one row of many, or looks at other rows.
pub(super) fn aggregate_in(node: &impl Visit, registry: &Registry) -> Option<Position> {
    call_in(node, |function| function.over.is_some() || registry.is_aggregate(&function.name.to_string()))
}

/// Where the first call stands that looks at other rows.
pub(super) fn window_in(node: &impl Visit) -> Option<Position> {
    call_in(node, |function| function.over.is_some())
}

/// Where the first call stands that is wanted, subqueries left aside.
fn call_in(node: &impl Visit, is_wanted: impl Fn(&Function) -> bool) -> Option<Position> {
    struct Calls<F> {
        is_wanted: F,
        depth: usize,
    }
    impl<F: Fn(&Function) -> bool> Visitor for Calls<F> {
        type Break = Position;

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Position> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Position> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Position> {
            match expr {
                Expr::Function(function) if self.depth == 0 && (self.is_wanted)(function) => {
                    ControlFlow::Break(Position::of(function.name.span()).unwrap_or(Position::START))
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    node.visit(&mut Calls { is_wanted, depth: 0 }).break_value()
}

/// `(a, b) IN (SELECT x, y ..)`, by comparing rows.
pub(super) fn row_in(left: Expr, subquery: &Query) -> Expr {
    let mut rows = subquery.clone();
    if let SetExpr::Select(select) = rows.body.as_mut() {
        let items = select.projection.iter_mut().map(|item| match item {
            SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. } => {
                Some(take(value))
            }
            _ => None,
        });
        if let Some(items) = items.collect::<Option<Vec<_>>>().filter(|items| items.len() > 1) {
            select.projection = vec![SelectItem::UnnamedExpr(call("__row", items))];
        } else {
            select.projection = match subquery.body.as_ref() {
                SetExpr::Select(select) => select.projection.clone(),
                _ => vec![],
            };
        }
    }
    matched(left, &BinaryOperator::Eq, &rows, Quantifier::Any)
}

/// The SELECT of a query that has a row for every row of its FROM and WHERE. Its items can be replaced
/// where it stands, so that it may go on naming outer columns.
fn select_of(query: &Query) -> Option<&Select> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let rows_of_from = select.distinct.is_none()
        && select.having.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty())
        && select.projection.iter().all(is_simple)
        && query.limit_clause.is_none()
        && query.fetch.is_none();
    rows_of_from.then_some(select)
}

/// Whether an item is surely no aggregate: it calls nothing the user named.
fn is_simple(item: &SelectItem) -> bool {
    struct NoCalls;
    impl Visitor for NoCalls {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(function) if !function.name.to_string().starts_with("__") => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    item.visit(&mut NoCalls).is_continue()
}

fn only_value(select: &Select) -> Option<&Expr> {
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] => Some(value),
        _ => None,
    }
}

/// `SELECT .. FROM (query)`, its column called [`VALUE`] if it is to have a name.
fn outer(query: &Query, named: bool) -> Query {
    let mut parser = Parser::new(&TimestreamDialect)
        .try_with_sql("SELECT 1 FROM (SELECT 1) AS a")
        .expect("a query in this source");
    let mut outer = *parser.parse_query().expect("a query in this source");
    if let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(TableFactor::Derived { subquery, alias, .. }) =
            select.from.first_mut().map(|from| &mut from.relation)
    {
        **subquery = query.clone();
        match alias.as_mut().filter(|_| named) {
            Some(alias) => {
                let name = Ident::with_quote('"', VALUE);
                alias.columns = vec![TableAliasColumnDef { name, data_type: None }];
            }
            None => *alias = None,
        }
    }
    outer
}
