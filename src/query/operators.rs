//! Operators by Trino's rules, where DataFusion's differ.
//!
//! Integers that overflow are an error and do not wrap; a length of time is added to a date, a time or
//! a timestamp of its own kind; text is a timestamp where it meets one and nothing else where it does
//! not. Arithmetic on doubles and comparisons of like with like stay DataFusion's own: they are fast
//! and they prune.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, TableReference};
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::error::invalid;
use super::functions::{Registry, cast_array};
use super::sql_type::SqlType;

/// Plans the operators whose meaning is ours.
#[derive(Debug)]
pub(crate) struct Operators {
    registry: Arc<Registry>,
}

impl Operators {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    fn call(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        match self.registry.scalar(name) {
            Some(function) => Ok(function.call(args)),
            None => Err(invalid(format!("Function '{name}' not registered"))),
        }
    }

    /// DataFusion takes NaN for a number above all others that equals itself. No table holds one, but any
    /// calculation may make one; what can be one is compared by a function of ours. Where a column is
    /// compared with a number DataFusion's comparison stays beside it, because it prunes.
    fn compared_as_doubles(
        &self,
        op: BinaryOperator,
        left: Expr,
        right: Expr,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let function = match op {
            BinaryOperator::Eq => "__eq",
            BinaryOperator::NotEq => "__ne",
            BinaryOperator::Lt => "__lt",
            BinaryOperator::LtEq => "__le",
            BinaryOperator::Gt => "__gt",
            _ => "__ge",
        };
        let columns = matches!((&left, &right), (Expr::Column(_), Expr::Column(_)));
        if columns || is_stored(&left) && is_stored(&right) {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        }
        let call = self.call(function, vec![left.clone(), right.clone()])?;
        let prunes = matches!(
            (&left, &right),
            (Expr::Column(_), Expr::Literal(..)) | (Expr::Literal(..), Expr::Column(_))
        );
        let plain = match op {
            BinaryOperator::Lt => left.lt(right),
            BinaryOperator::LtEq => left.lt_eq(right),
            BinaryOperator::Gt => left.gt(right),
            BinaryOperator::GtEq => left.gt_eq(right),
            _ => return Ok(PlannerResult::Planned(call)),
        };
        Ok(PlannerResult::Planned(if prunes { plain.and(call) } else { call }))
    }

    /// Text where a moment is wanted. A literal that is none is a mistake in the query, found before
    /// any row is.
    fn cast(&self, operand: Expr, to: &SqlType) -> Result<Expr> {
        if let Expr::Literal(text, _) = &operand
            && let Err(error) = cast_array(&text.to_array()?, to, false)
        {
            return Err(match error.find_root() {
                DataFusionError::External(error) => invalid(error.to_string()),
                _ => error,
            });
        }
        self.call("__cast", vec![operand, lit(to.to_string())])
    }
}

fn arithmetic(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Plus => "__add",
        BinaryOperator::Minus => "__subtract",
        BinaryOperator::Multiply => "__multiply",
        BinaryOperator::Divide => "__divide",
        BinaryOperator::Modulo => "__modulus",
        _ => return None,
    })
}

fn is_comparison(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
    )
}

/// Whether `operand` is a column of a table named by its database, or a literal: neither can be NaN.
fn is_stored(operand: &Expr) -> bool {
    match operand {
        Expr::Column(column) => {
            matches!(&column.relation, Some(TableReference::Partial { .. } | TableReference::Full { .. }))
        }
        Expr::Literal(value, _) => !matches!(value, ScalarValue::Float64(Some(value)) if value.is_nan()),
        Expr::Cast(cast) => is_stored(&cast.expr),
        _ => false,
    }
}

fn is_moment(of: &SqlType) -> bool {
    matches!(of, SqlType::Timestamp | SqlType::Date | SqlType::Time)
}

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let types = (expr.left.get_type(schema), expr.right.get_type(schema));
        // A column that does not exist has no type; the planner reports it with its place.
        let (Ok(left), Ok(right)) = types else { return Ok(PlannerResult::Original(expr)) };
        let (Some(left), Some(right)) = (SqlType::of(&left), SqlType::of(&right)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let RawBinaryExpr { op, left: left_expr, right: right_expr } = expr;
        if let Some(function) = arithmetic(&op) {
            let doubles = |a: &SqlType, b: &SqlType| {
                matches!(a, SqlType::Double)
                    && matches!(b, SqlType::Double | SqlType::Integer | SqlType::Bigint | SqlType::Unknown)
            };
            let unknown = left == SqlType::Unknown && right == SqlType::Unknown;
            if doubles(&left, &right) || doubles(&right, &left) || unknown {
                return Ok(PlannerResult::Original(RawBinaryExpr { op, left: left_expr, right: right_expr }));
            }
            if !self.registry.takes(function, &[left.arrow(), right.arrow()]) {
                return Err(invalid(format!("Cannot apply operator: {left} {op} {right}")));
            }
            return Ok(PlannerResult::Planned(self.call(function, vec![left_expr, right_expr])?));
        }
        if op == BinaryOperator::StringConcat {
            if !self.registry.takes("concat", &[left.arrow(), right.arrow()]) {
                return Err(invalid(format!("Cannot apply operator: {left} || {right}")));
            }
            return Ok(PlannerResult::Planned(self.call("concat", vec![left_expr, right_expr])?));
        }
        if is_comparison(&op) {
            let (left_expr, right_expr) = match (&left, &right) {
                (SqlType::Varchar, moment) if is_moment(moment) => {
                    (self.cast(left_expr, moment)?, right_expr)
                }
                (moment, SqlType::Varchar) if is_moment(moment) => {
                    (left_expr, self.cast(right_expr, moment)?)
                }
                (left, right) if left.wider(right).is_none() => {
                    return Err(invalid(format!("Cannot apply operator: {left} {op} {right}")));
                }
                _ => (left_expr, right_expr),
            };
            if left == SqlType::Double || right == SqlType::Double {
                return self.compared_as_doubles(op, left_expr, right_expr);
            }
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left: left_expr, right: right_expr }));
        }
        match op {
            BinaryOperator::And | BinaryOperator::Or => {
                for of in [&left, &right] {
                    if !matches!(of, SqlType::Boolean | SqlType::Unknown) {
                        return Err(invalid(format!(
                            "Logical expression term must evaluate to a boolean: {of}"
                        )));
                    }
                }
                Ok(PlannerResult::Original(RawBinaryExpr { op, left: left_expr, right: right_expr }))
            }
            other => Err(invalid(format!("Timestream has no operator {other}"))),
        }
    }

    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let RawFieldAccessExpr { field_access, expr } = expr;
        let planned = match field_access {
            GetFieldAccess::NamedStructField { name } => self.call("get_field", vec![expr, lit(name)])?,
            GetFieldAccess::ListIndex { key } => self.call("__subscript", vec![expr, *key])?,
            GetFieldAccess::ListRange { .. } => {
                return Err(invalid("an array subscript is one number: use slice(array, start, length)"));
            }
        };
        Ok(PlannerResult::Planned(planned))
    }

    fn plan_array_literal(&self, exprs: Vec<Expr>, _: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(make_array_udf().call(exprs)))
    }

    fn plan_struct_literal(&self, args: Vec<Expr>, _: bool) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(self.call("__row", args)?))
    }

    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        if !matches!(field.data_type(), DataType::Struct(_)) {
            return Ok(PlannerResult::Original(vec![column]));
        }
        let fields = nested_names
            .iter()
            .try_fold(column, |inner, name| self.call("get_field", vec![inner, lit(name.as_str())]))?;
        // The field names the column of a result.
        Ok(PlannerResult::Planned(match nested_names.last() {
            Some(name) => fields.alias(name),
            None => fields,
        }))
    }
}
