//! Subqueries over the elements of one array: `FROM UNNEST(a) AS u (x)` and nothing else.
//!
//! DataFusion has no plan for an UNNEST of a column of the query around it. But what such a subquery answers
//! depends on one row of that query alone: its rows are the elements of an array, its WHERE keeps some of them,
//! and its aggregates go over what is kept. So it becomes a call of functions of arrays and lambdas:
//! `(SELECT sum(x) FROM UNNEST(a) AS u (x) WHERE x > 1)` is
//! `__over_sum(transform(filter(__elements(a), r -> r[1] > 1), r -> ROW(r[1])))`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    GroupByExpr, Ident, LambdaFunction, LambdaFunctionParameter, LambdaSyntax, OneOrManyWithParens, Query,
    Select, SelectItem, SetExpr, Spanned, Subscript, TableFactor, Value, Visit, VisitMut, Visitor,
    VisitorMut,
};

use super::dialect::{call, text};
use super::functions::{OVER, Registry};
use super::literals::number;
use super::places;
use super::rewrite::take;

/// The parameter of the lambdas made here: a row of the subquery. Nobody else can write it.
const ROW: &str = "\u{1}row";

/// A subquery over the elements of an array.
struct Elements<'a> {
    select: &'a Select,
    /// The array, and whether its elements are numbered.
    array: &'a Expr,
    ordinality: bool,
    names: Names<'a>,
}

/// What the columns of the subquery are called.
struct Names<'a> {
    relation: &'a str,
    columns: Vec<&'a str>,
}

/// Whether `query` goes over the elements of an array, and names columns of the query around it.
pub(super) fn is_over(query: &Query) -> bool {
    Elements::of(query).is_some()
}

/// What a subquery of one value is as an expression, if it is one over the elements of an array.
pub(super) fn answered(query: &Query, registry: &Registry) -> Option<Expr> {
    let elements = Elements::of(query)?;
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
        elements.select.projection.as_slice()
    else {
        return None;
    };
    let mut answer = item.clone();
    let mut calls = Aggregates { elements: &elements, registry, found: false };
    if VisitMut::visit(&mut answer, &mut calls).is_break() {
        return None;
    }
    if !calls.found {
        return Some(elements.over("__only", vec![answer], None, false));
    }
    // A column beside an aggregate is for nobody to answer.
    let is_column = |expr: &Expr| elements.names.place(expr).is_some();
    (!is_any(&answer, &is_column)).then_some(answer)
}

impl<'a> Elements<'a> {
    fn of(query: &'a Query) -> Option<Self> {
        let SetExpr::Select(select) = query.body.as_ref() else { return None };
        let plain = query.with.is_none()
            && query.order_by.is_none()
            && query.limit_clause.is_none()
            && query.fetch.is_none()
            && select.distinct.is_none()
            && select.having.is_none()
            && matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
        let ([from], true) = (select.from.as_slice(), plain) else { return None };
        let TableFactor::UNNEST { alias: Some(alias), array_exprs, with_ordinality, .. } = &from.relation
        else {
            return None;
        };
        let ([array], true) = (array_exprs.as_slice(), from.joins.is_empty()) else { return None };
        let columns = alias.columns.iter().map(|column| column.name.value.as_str()).collect();
        let names = Names { relation: &alias.name.value, columns };
        let is_outer = |expr: &Expr| {
            matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) && names.place(expr).is_none()
        };
        let is_odd = |expr: &Expr| match expr {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => true,
            Expr::AnyOp { .. } | Expr::AllOp { .. } => true,
            Expr::Function(function) => function.over.is_some(),
            Expr::Lambda(lambda) => names.are_hidden(lambda),
            _ => false,
        };
        let is_in = |is: &dyn Fn(&Expr) -> bool| {
            is_any(array, is) || is_any(&select.selection, is) || is_any(&select.projection, is)
        };
        (!names.columns.is_empty() && is_in(&is_outer) && !is_in(&is_odd)).then_some(Self {
            select,
            array,
            ordinality: *with_ordinality,
            names,
        })
    }

    /// The rows that pass WHERE and `filter`, as an array of rows.
    fn rows(&self, filter: Option<Expr>) -> Expr {
        let columns = text(self.names.columns.len().to_string());
        let ordinality = Expr::Value(Value::Boolean(self.ordinality).into());
        let mut rows = call("__elements", vec![self.array.clone(), ordinality, columns]);
        let conditions = [(self.select.selection.clone(), "WHERE clause"), (filter, "FILTER clause")];
        for (condition, words) in conditions {
            if let Some(mut condition) = condition {
                places::check(&mut condition, words);
                rows = call("filter", vec![rows, self.lambda(condition)]);
            }
        }
        rows
    }

    /// `row -> body`
    fn lambda(&self, mut body: Expr) -> Expr {
        let _ = VisitMut::visit(&mut body, &mut Columns(&self.names));
        let parameter = LambdaFunctionParameter { name: Ident::new(ROW), data_type: None };
        Expr::Lambda(LambdaFunction {
            params: OneOrManyWithParens::One(parameter),
            body: Box::new(body),
            syntax: LambdaSyntax::Arrow,
        })
    }

    /// The aggregate `name` over the rows.
    fn over(&self, name: &str, args: Vec<Expr>, filter: Option<Expr>, distinct: bool) -> Expr {
        let mut values = call("transform", vec![self.rows(filter), self.lambda(call("__row", args))]);
        if distinct {
            values = call("array_distinct", vec![values]);
        }
        call(&format!("{OVER}{name}"), vec![values])
    }

    /// What stands for the call of an aggregate.
    fn aggregate(&self, function: &mut Function) -> Option<Expr> {
        let name = function.name.to_string();
        let FunctionArguments::List(list) = &mut function.args else { return None };
        let plain = list.clauses.is_empty()
            && function.within_group.is_empty()
            && function.null_treatment.is_none()
            && !matches!(name.as_str(), "listagg" | "grouping");
        if !plain {
            return None;
        }
        let filter = function.filter.take().map(|filter| *filter);
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let all = matches!(list.args.as_slice(), [] | [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
        if name == "count" && all {
            return Some(call("cardinality", vec![self.rows(filter)]));
        }
        let args = list.args.iter_mut().map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => Some(take(arg)),
            _ => None,
        });
        let args = args.collect::<Option<Vec<Expr>>>()?;
        match (name.as_str(), args.len()) {
            ("max" | "min", 2) | ("max_by" | "min_by", 3) => {
                Some(self.over(&format!("__{name}_n"), args, filter, distinct))
            }
            ("approx_distinct", 2) => None,
            _ => Some(self.over(&name, args, filter, distinct)),
        }
    }
}

impl Names<'_> {
    /// Which column of the subquery `expr` begins with.
    fn place(&self, expr: &Expr) -> Option<usize> {
        let name = match expr {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(names) => match names.as_slice() {
                [relation, name, ..] if relation.value == self.relation => name,
                [name, ..] => name,
                [] => return None,
            },
            _ => return None,
        };
        self.columns.iter().position(|column| *column == name.value)
    }

    /// Whether a parameter is called as a column is.
    fn are_hidden(&self, lambda: &LambdaFunction) -> bool {
        let parameters = match &lambda.params {
            OneOrManyWithParens::One(one) => std::slice::from_ref(one),
            OneOrManyWithParens::Many(many) => many.as_slice(),
        };
        parameters.iter().any(|parameter| self.columns.contains(&parameter.name.value.as_str()))
    }
}

/// Whether there is an expression in `node` that is so.
fn is_any(node: &impl Visit, is: &dyn Fn(&Expr) -> bool) -> bool {
    struct Any<'a>(&'a dyn Fn(&Expr) -> bool);
    impl Visitor for Any<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if (self.0)(expr) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    node.visit(&mut Any(is)).is_break()
}

/// Puts fields of a row in place of columns.
struct Columns<'a>(&'a Names<'a>);

impl VisitorMut for Columns<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Some(place) = self.0.place(expr) else { return ControlFlow::Continue(()) };
        let at = expr.span();
        let index = number(&(place + 1).to_string());
        let mut access_chain = vec![AccessExpr::Subscript(Subscript::Index { index })];
        if let Expr::CompoundIdentifier(names) = expr {
            let qualified = names.first().is_some_and(|first| first.value == self.0.relation);
            let fields = names.drain(..).skip(if qualified { 2 } else { 1 });
            access_chain.extend(fields.map(|field| AccessExpr::Dot(Expr::Identifier(field))));
        }
        let root = Box::new(Expr::Identifier(Ident::with_span(at, ROW)));
        *expr = Expr::CompoundFieldAccess { root, access_chain };
        ControlFlow::Continue(())
    }
}

/// Puts calls over arrays in place of aggregates; breaks off at one that has no such call.
struct Aggregates<'a> {
    elements: &'a Elements<'a>,
    registry: &'a Registry,
    found: bool,
}

impl VisitorMut for Aggregates<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) if self.registry.is_aggregate(&function.name.to_string()) => {
                self.found = true;
                match self.elements.aggregate(function) {
                    Some(over) => *expr = over,
                    None => return ControlFlow::Break(()),
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
