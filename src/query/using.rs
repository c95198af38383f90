//! Joins by `USING`: one column of each name, which is NULL only where both sides are.
//!
//! DataFusion takes that column from the left side, where a RIGHT and a FULL join have NULL, or among the
//! columns of `*` from the side whose name comes first; and it leaves it where it stands, while SQL puts such
//! columns first. `select_list` makes one relation of a join by USING and all that stands left of it; this
//! planner plans that.

use datafusion::common::{Column, JoinType, NullEquality, Result, TableReference};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{Ident, JoinConstraint, JoinOperator, ObjectName, TableFactor};

use super::error::{Position, invalid};
use super::sql_type::{SqlType, UNNAMED};

/// Plans every relation that ends in a join by USING.
#[derive(Debug)]
pub(crate) struct UsingPlanner;

/// A join by USING taken apart.
struct Using {
    left: TableFactor,
    right: TableFactor,
    kind: JoinType,
    names: Vec<Ident>,
}

/// A pair of columns that the join makes one.
struct Key {
    left: Column,
    right: Column,
    /// Whether both have one type.
    alike: bool,
}

impl RelationPlanner for UsingPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        match take_apart(relation)? {
            Ok(using) => {
                let plan = plan(using, context)?;
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
            }
            Err(other) => Ok(RelationPlanning::Original(other)),
        }
    }
}

/// The kind of a join by USING and the names of its columns.
pub(super) fn using(operator: &JoinOperator) -> Option<(JoinType, Vec<Ident>)> {
    use JoinOperator::{FullOuter, Inner, Join, Left, LeftOuter, Right, RightOuter};
    let (kind, constraint) = match operator {
        Join(constraint) | Inner(constraint) => (JoinType::Inner, constraint),
        Left(constraint) | LeftOuter(constraint) => (JoinType::Left, constraint),
        Right(constraint) | RightOuter(constraint) => (JoinType::Right, constraint),
        FullOuter(constraint) => (JoinType::Full, constraint),
        _ => return None,
    };
    let JoinConstraint::Using(names) = constraint else { return None };
    let one = |name: &ObjectName| match name.0.as_slice() {
        [part] => part.as_ident().cloned(),
        _ => None,
    };
    Some((kind, names.iter().map(one).collect::<Option<_>>()?))
}

/// The join by USING `relation` ends in; any other relation comes back as it is.
fn take_apart(relation: TableFactor) -> Result<std::result::Result<Using, Box<TableFactor>>> {
    let TableFactor::NestedJoin { mut table_with_joins, alias: None } = relation else {
        return Ok(Err(Box::new(relation)));
    };
    let Some((kind, names)) = table_with_joins.joins.last().and_then(|join| using(&join.join_operator))
    else {
        return Ok(Err(Box::new(TableFactor::NestedJoin { table_with_joins, alias: None })));
    };
    let Some(join) = table_with_joins.joins.pop() else { return Err(invalid("a JOIN without a relation")) };
    let left = match table_with_joins.joins.is_empty() {
        true => table_with_joins.relation,
        false => TableFactor::NestedJoin { table_with_joins, alias: None },
    };
    Ok(Ok(Using { left, right: join.relation, kind, names }))
}

fn plan(using: Using, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let Using { left, right, kind, names } = using;
    let (left, right) = (context.plan(left)?, context.plan(right)?);
    let keys = names.iter().map(|name| key(name, &left, &right)).collect::<Result<Vec<_>>>()?;
    let columns = left.schema().columns().into_iter().chain(right.schema().columns());
    let others = columns.filter(|column| !keys.iter().any(|key| key.left == *column || key.right == *column));
    let others: Vec<Expr> = others.map(Expr::Column).collect();
    let mut projected: Vec<Expr> = Vec::with_capacity(keys.len() + others.len());
    for Key { left, right, alike } in &keys {
        let value = match kind {
            JoinType::Inner | JoinType::Left => {
                projected.push(Expr::Column(left.clone()));
                continue;
            }
            JoinType::Right if *alike => Expr::Column(right.clone()),
            _ => coalesce(vec![Expr::Column(left.clone()), Expr::Column(right.clone())]),
        };
        // The name of this relation cannot be typed: `a.x` is not what `x` is here.
        let of = left.relation.as_ref().map(TableReference::table).unwrap_or_default();
        let relation = TableReference::bare(format!("{UNNAMED}{of}"));
        projected.push(value.alias_qualified(Some(relation), left.name.clone()));
    }
    projected.extend(others);
    let on: (Vec<Column>, Vec<Column>) = keys.into_iter().map(|key| (key.left, key.right)).unzip();
    LogicalPlanBuilder::from(left)
        .join_detailed(right, kind, on, None, NullEquality::NullEqualsNothing)?
        .project(projected)?
        .build()
}

/// The columns a name of USING stands for on either side.
fn key(name: &Ident, left: &LogicalPlan, right: &LogicalPlan) -> Result<Key> {
    let place = Position::of(name.span).unwrap_or(Position::START);
    let find = |plan: &LogicalPlan, side: &str| -> Result<Column> {
        let mut columns = plan.schema().columns_with_unqualified_name(&name.value).into_iter();
        let what = match (columns.next(), columns.next()) {
            (Some(column), None) => return Ok(column),
            (Some(_), Some(_)) => "is ambiguous on the",
            (None, _) => "is missing from the",
        };
        Err(invalid(format!("line {place}: Column '{}' {what} {side} side of the join", name.value)))
    };
    let (left_key, right_key) = (find(left, "left")?, find(right, "right")?);
    let of = |column: &Column, plan: &LogicalPlan| Expr::Column(column.clone()).get_type(plan.schema());
    let (of_left, of_right) = (of(&left_key, left)?, of(&right_key, right)?);
    if let (Some(one), Some(other)) = (SqlType::of(&of_left), SqlType::of(&of_right))
        && one.wider(&other).is_none()
    {
        return Err(invalid(format!("line {place}: Cannot apply operator: {one} = {other}")));
    }
    Ok(Key { left: left_key, right: right_key, alike: of_left == of_right })
}
