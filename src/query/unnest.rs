//! `UNNEST` in all its forms: alone, after a comma, in a CROSS or LEFT JOIN, of several arrays, with
//! ordinality.
//!
//! DataFusion plans an UNNEST that names columns of the table beside it as a lateral subquery it
//! cannot execute, and gives an array of rows one column. `rewrite` puts an UNNEST and all that stands
//! left of it into one relation; this planner projects the arrays beside the columns, unnests them,
//! and spreads rows over columns, `time` and `value` for a timeseries.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, NullHandling, Result, TableReference, UnnestOptions};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, lit};
use datafusion::sql::sqlparser::ast::{self, JoinOperator, Spanned, TableFactor};

use super::error::{Position, invalid};
use super::sql_type::{SqlType, UNNAMED};

/// Plans every relation that ends in an UNNEST.
#[derive(Debug)]
pub(crate) struct UnnestPlanner {
    /// Gives its operand back. It hides from DataFusion that a column is unique below the UNNEST:
    /// 55.2 copies that knowledge above it, where it is wrong, and drops sort and group keys
    /// (apache/datafusion#24787).
    pub(crate) forget: Arc<ScalarUDF>,
    /// A field of a row by name.
    pub(crate) field: Arc<ScalarUDF>,
    /// The numbers from one to the length of the longest operand.
    pub(crate) ordinals: Arc<ScalarUDF>,
}

/// An UNNEST taken apart.
struct Unnest {
    left: Option<TableFactor>,
    arrays: Vec<ast::Expr>,
    alias: Option<ast::TableAlias>,
    ordinality: bool,
    nulls: NullHandling,
}

impl RelationPlanner for UnnestPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        match take_apart(relation)? {
            Ok(unnest) => {
                let plan = self.plan(unnest, context)?;
                Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
            }
            Err(other) => Ok(RelationPlanning::Original(other)),
        }
    }
}

/// The UNNEST `relation` is or ends in; any other relation comes back as it is.
fn take_apart(relation: TableFactor) -> Result<std::result::Result<Unnest, Box<TableFactor>>> {
    let (left, unnest, nulls) = match relation {
        TableFactor::UNNEST { .. } => (None, relation, NullHandling::Drop),
        TableFactor::NestedJoin { mut table_with_joins, alias: None }
            if table_with_joins
                .joins
                .last()
                .is_some_and(|join| matches!(join.relation, TableFactor::UNNEST { .. })) =>
        {
            let Some(join) = table_with_joins.joins.pop() else {
                return Err(invalid("UNNEST without a relation"));
            };
            let nulls = match &join.join_operator {
                JoinOperator::CrossJoin(_) | JoinOperator::Join(_) | JoinOperator::Inner(_) => {
                    NullHandling::Drop
                }
                JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => NullHandling::PreserveAndExpandEmpty,
                _ => return Err(invalid("UNNEST takes CROSS JOIN or LEFT JOIN .. ON TRUE")),
            };
            if !joins_on_true(&join.join_operator) {
                return Err(invalid("a JOIN with UNNEST takes no condition but ON TRUE"));
            }
            let left = match table_with_joins.joins.is_empty() {
                true => table_with_joins.relation,
                false => TableFactor::NestedJoin { table_with_joins, alias: None },
            };
            (Some(left), join.relation, nulls)
        }
        other => return Ok(Err(Box::new(other))),
    };
    let TableFactor::UNNEST { alias, array_exprs: arrays, with_ordinality: ordinality, .. } = unnest else {
        return Ok(Err(Box::new(unnest)));
    };
    Ok(Ok(Unnest { left, arrays, alias, ordinality, nulls }))
}

fn joins_on_true(operator: &JoinOperator) -> bool {
    use ast::JoinConstraint::{None, On};
    let constraint = match operator {
        JoinOperator::CrossJoin(constraint)
        | JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint) => constraint,
        _ => return false,
    };
    match constraint {
        On(ast::Expr::Value(value)) => value.value == ast::Value::Boolean(true),
        None => true,
        _ => false,
    }
}

fn array_name(i: usize) -> String {
    format!("{UNNAMED}unnest{i}")
}

const ORDINALS: &str = "\u{1}ordinality";

impl UnnestPlanner {
    fn plan(&self, unnest: Unnest, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let Unnest { left, arrays, alias, ordinality, nulls } = unnest;
        let input = match left {
            Some(left) => context.plan(left)?,
            None => LogicalPlanBuilder::empty(true).build()?,
        };
        let schema = Arc::clone(input.schema());
        let places: Vec<Option<Position>> = arrays.iter().map(|array| Position::of(array.span())).collect();
        let arrays: Vec<Expr> =
            arrays.into_iter().map(|array| context.sql_to_expr(array, &schema)).collect::<Result<_>>()?;
        let types: Vec<DataType> =
            arrays.iter().map(|array| array.get_type(&schema)).collect::<Result<_>>()?;
        if let Some((of, at)) = types.iter().zip(&places).find(|(of, _)| !matches!(of, DataType::List(_))) {
            let (at, of) = (at.unwrap_or(Position::START), SqlType::name_of(of));
            return Err(invalid(format!("line {at}: Cannot unnest type: {of}")));
        }
        let mut projected = self.left_columns(&schema);
        let mut unnested = Vec::with_capacity(arrays.len() + 1);
        if ordinality {
            projected.push(self.ordinals.call(arrays.clone()).alias(ORDINALS));
            unnested.push(Column::new_unqualified(ORDINALS));
        }
        for (i, array) in arrays.into_iter().enumerate() {
            projected.push(array.alias(array_name(i)));
            unnested.push(Column::new_unqualified(array_name(i)));
        }
        let plan = LogicalPlanBuilder::from(input)
            .project(projected)?
            .unnest_columns_with_options(unnested, UnnestOptions::new().with_null_handling(nulls))?;
        let names = alias.as_ref().map(|alias| {
            alias.columns.iter().map(|column| context.normalize_ident(column.name.clone())).collect()
        });
        let relation = alias.map(|alias| TableReference::bare(context.normalize_ident(alias.name)));
        let mut columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        columns.extend(self.spread(&types, ordinality, relation, names.unwrap_or_default())?);
        plan.project(columns)?.build()
    }

    /// The columns of the left side, as they are or with their uniqueness forgotten.
    fn left_columns(&self, schema: &datafusion::common::DFSchema) -> Vec<Expr> {
        let columns = schema.columns().into_iter();
        if schema.functional_dependencies().is_empty() {
            return columns.map(Expr::Column).collect();
        }
        columns
            .map(|column| {
                let Column { relation, name, .. } = column.clone();
                self.forget.call(vec![Expr::Column(column)]).alias_qualified(relation, name)
            })
            .collect()
    }

    /// One column per array, one per field for an array of rows, then the ordinality.
    fn spread(
        &self,
        types: &[DataType],
        ordinality: bool,
        relation: Option<TableReference>,
        names: Vec<String>,
    ) -> Result<Vec<Expr>> {
        let mut spread: Vec<(Expr, String)> = Vec::new();
        for (i, of) in types.iter().enumerate() {
            let array = Expr::Column(Column::new_unqualified(array_name(i)));
            let DataType::List(item) = of else {
                return Err(invalid(format!("Cannot unnest type: {}", SqlType::name_of(of))));
            };
            match item.data_type() {
                DataType::Struct(fields) => {
                    for field in fields {
                        let value = self.field.call(vec![array.clone(), lit(field.name().as_str())]);
                        let name = match field.name().starts_with(UNNAMED) {
                            true => format!("_col{}", spread.len()),
                            false => field.name().clone(),
                        };
                        spread.push((value, name));
                    }
                }
                _ => spread.push((array, format!("_col{i}"))),
            }
        }
        if ordinality {
            spread.push((Expr::Column(Column::new_unqualified(ORDINALS)), "ordinality".to_owned()));
        }
        if !names.is_empty() && names.len() != spread.len() {
            return Err(invalid(format!(
                "Column alias list has {} entries but '{}' has {} columns available",
                names.len(),
                relation.map(|relation| relation.to_string()).unwrap_or_default(),
                spread.len()
            )));
        }
        let mut names = names.into_iter();
        let named = |(value, name): (Expr, String)| {
            value.alias_qualified(relation.clone(), names.next().unwrap_or(name))
        };
        Ok(spread.into_iter().map(named).collect())
    }
}
