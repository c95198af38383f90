//! `INTERSECT ALL` and `EXCEPT ALL`, which count how often a row is on either side.
//!
//! DataFusion does not count. Once the copies of every row are numbered, the n-th copy on one side is equal
//! to the n-th on the other and to no other row, and the operation is the one without ALL. The numbers need
//! the columns of both sides, which only the planner knows: so `rewrite` makes one relation of the two
//! sides, and this planner plans it.

use datafusion::common::Result;
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    Ident, Select, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor,
};
use datafusion::sql::sqlparser::parser::Parser;

use super::dialect::TimestreamDialect;
use super::error::invalid;

/// The names of the relations made here; they cannot be typed by accident.
const INTERSECT: &str = "\u{1}intersect all";
const EXCEPT: &str = "\u{1}except all";

/// The column that numbers the copies of a row.
const COPY: &str = "\u{1}copy";

/// Makes a SELECT of every operation that counts copies.
pub(super) fn rewrite(body: &mut SetExpr) {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else { return };
    rewrite(left);
    rewrite(right);
    let name = match (op, set_quantifier) {
        (SetOperator::Intersect, SetQuantifier::All) => INTERSECT,
        (SetOperator::Except, SetQuantifier::All) => EXCEPT,
        _ => return,
    };
    let mut parser = Parser::new(&TimestreamDialect)
        .try_with_sql("SELECT * FROM ((SELECT 1) CROSS JOIN (SELECT 1))")
        .expect("a query in this source");
    let mut made = *parser.parse_query().expect("a query in this source");
    let SetExpr::Select(select) = made.body.as_mut() else { return };
    let Some(TableFactor::NestedJoin { table_with_joins, alias }) =
        select.from.first_mut().map(|from| &mut from.relation)
    else {
        return;
    };
    let joined = table_with_joins.joins.first_mut().map(|join| &mut join.relation);
    for (side, relation) in [(left, Some(&mut table_with_joins.relation)), (right, joined)] {
        if let Some(TableFactor::Derived { subquery, .. }) = relation {
            std::mem::swap(side, &mut subquery.body);
        }
    }
    *alias =
        Some(TableAlias { explicit: true, name: Ident::with_quote('"', name), columns: vec![], at: None });
    *body = *made.body;
}

/// The sides of an operation that [`rewrite`] made a SELECT of.
pub(super) fn sides(select: &mut Select) -> Option<[&mut SetExpr; 2]> {
    let TableFactor::NestedJoin { table_with_joins, alias: Some(alias) } =
        &mut select.from.first_mut()?.relation
    else {
        return None;
    };
    if !matches!(alias.name.value.as_str(), INTERSECT | EXCEPT) {
        return None;
    }
    let right = &mut table_with_joins.joins.first_mut()?.relation;
    match (&mut table_with_joins.relation, right) {
        (TableFactor::Derived { subquery: left, .. }, TableFactor::Derived { subquery: right, .. }) => {
            Some([left.body.as_mut(), right.body.as_mut()])
        }
        _ => None,
    }
}

/// Plans every relation that [`rewrite`] made.
#[derive(Debug)]
pub(crate) struct CopiesPlanner;

impl RelationPlanner for CopiesPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        match relation {
            TableFactor::NestedJoin { mut table_with_joins, alias: Some(alias) }
                if matches!(alias.name.value.as_str(), INTERSECT | EXCEPT) =>
            {
                let right = table_with_joins.joins.pop().ok_or_else(|| invalid("a side is missing"))?;
                let (left, right) = (context.plan(table_with_joins.relation)?, context.plan(right.relation)?);
                let plan = plan(left, right, alias.name.value == INTERSECT)?;
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
            }
            other => Ok(RelationPlanning::Original(Box::new(other))),
        }
    }
}

fn plan(left: LogicalPlan, right: LogicalPlan, intersect: bool) -> Result<LogicalPlan> {
    if left.schema().fields().len() != right.schema().fields().len() {
        let op = if intersect { "INTERSECT" } else { "EXCEPT" };
        return Err(invalid(format!("{op} queries have different number of columns")));
    }
    let names: Vec<String> = left.schema().fields().iter().map(|field| field.name().clone()).collect();
    let (left, right) = (numbered(left)?, numbered(right)?);
    let plan = match intersect {
        true => LogicalPlanBuilder::intersect(left, right, true)?,
        false => LogicalPlanBuilder::except(left, right, true)?,
    };
    let columns = plan.schema().columns().into_iter().zip(names);
    let columns: Vec<Expr> = columns.map(|(column, name)| Expr::Column(column).alias(name)).collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// The rows with the number of the copy that each is.
fn numbered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let copy = row_number().partition_by(columns.clone()).build()?;
    let plan = LogicalPlanBuilder::window_plan(plan, vec![copy.clone()])?;
    let name = copy.schema_name().to_string();
    let number = Expr::Column(datafusion::common::Column::new_unqualified(name)).alias(COPY);
    LogicalPlanBuilder::from(plan).project(columns.into_iter().chain([number]))?.build()
}
