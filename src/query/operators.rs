//! Operators by Trino's rules, where DataFusion's differ.
//!
//! Integers that overflow are an error and do not wrap; a length of time is added to a date, a time or
//! a timestamp of its own kind; text is a timestamp where it meets one and nothing else where it does
//! not. Arithmetic on doubles and comparisons of like with like stay DataFusion's own: they are fast
//! and they prune.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, TableReference};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::error::invalid;
use super::functions::{Registry, cast_array};
use super::places::{Place, Placed, placed};
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

    /// `-value`
    fn negative(
        &self,
        value: Expr,
        place: &Place,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let of = value.get_type(schema).ok().and_then(|of| SqlType::of(&of));
        Ok(PlannerResult::Planned(match of {
            Some(SqlType::DaySecond | SqlType::YearMonth) => self.call("__negate", vec![value])?,
            None | Some(SqlType::Integer | SqlType::Bigint | SqlType::Double | SqlType::Unknown) => {
                Expr::Negative(Box::new(value))
            }
            Some(of) => return Err(invalid(format!("{place}Cannot apply operator: -{of}"))),
        }))
    }

    /// Text where a moment is wanted. A literal that is none is a mistake in the query, found before
    /// any row is.
    fn cast(&self, operand: Expr, to: &SqlType, place: &Place) -> Result<Expr> {
        if let Expr::Literal(text, _) = &operand
            && let Err(error) = cast_array(&text.to_array()?, to, false)
        {
            return Err(match error.find_root() {
                DataFusionError::External(error) => invalid(format!("{place}{error}")),
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

/// `value` itself, if it is what it must be.
fn checked(
    value: Expr,
    placed: &Placed,
    place: &Place,
    schema: &DFSchema,
) -> Result<PlannerResult<RawBinaryExpr>> {
    if let Some(of) = value.get_type(schema).ok().and_then(|of| SqlType::of(&of)) {
        match placed {
            Placed::Condition(words) => boolean(&of, words, place)?,
            Placed::Text(words) if !matches!(of, SqlType::Varchar | SqlType::Unknown) => {
                return Err(invalid(format!("{place}{words} must evaluate to a varchar (actual: {of})")));
            }
            _ => {}
        }
    }
    Ok(PlannerResult::Planned(value))
}

fn boolean(of: &SqlType, words: &str, place: &Place) -> Result<()> {
    match of {
        SqlType::Boolean | SqlType::Unknown => Ok(()),
        of => Err(invalid(format!("{place}{words} must evaluate to a boolean (actual: {of})"))),
    }
}

/// The number a subscript is, if it is a literal.
fn literal_index(key: &Expr) -> Option<usize> {
    match key {
        Expr::Cast(cast) => literal_index(&cast.expr),
        Expr::Literal(ScalarValue::Int32(Some(place)), _) => usize::try_from(*place).ok(),
        Expr::Literal(ScalarValue::Int64(Some(place)), _) => usize::try_from(*place).ok(),
        _ => None,
    }
}

fn is_moment(of: &SqlType) -> bool {
    matches!(of, SqlType::Timestamp | SqlType::Date | SqlType::Time)
}

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        let (op, place) = match placed(op) {
            (Placed::Operator(op), place) => (op, place),
            (Placed::Negative, place) => return self.negative(left, &place, schema),
            (placed, place) => return checked(left, &placed, &place, schema),
        };
        let types = (left.get_type(schema), right.get_type(schema));
        let expr = RawBinaryExpr { op, left, right };
        // A column that does not exist has no type; the planner reports it with its place.
        let (Ok(left), Ok(right)) = types else { return Ok(PlannerResult::Original(expr)) };
        let (Some(left), Some(right)) = (SqlType::of(&left), SqlType::of(&right)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let wrong =
            |op: &BinaryOperator| invalid(format!("{place}Cannot apply operator: {left} {op} {right}"));
        if let Some(function) = arithmetic(&expr.op) {
            let doubles = |a: &SqlType, b: &SqlType| {
                matches!(a, SqlType::Double)
                    && matches!(b, SqlType::Double | SqlType::Integer | SqlType::Bigint | SqlType::Unknown)
            };
            let unknown = left == SqlType::Unknown && right == SqlType::Unknown;
            if doubles(&left, &right) || doubles(&right, &left) || unknown {
                return Ok(PlannerResult::Original(expr));
            }
            if !self.registry.takes(function, &[left.arrow(), right.arrow()]) {
                return Err(wrong(&expr.op));
            }
            return Ok(PlannerResult::Planned(self.call(function, vec![expr.left, expr.right])?));
        }
        if expr.op == BinaryOperator::StringConcat {
            if !self.registry.takes("concat", &[left.arrow(), right.arrow()]) {
                return Err(wrong(&expr.op));
            }
            return Ok(PlannerResult::Planned(self.call("concat", vec![expr.left, expr.right])?));
        }
        if is_comparison(&expr.op) {
            let RawBinaryExpr { op, left: left_expr, right: right_expr } = expr;
            let (left_expr, right_expr) = match (&left, &right) {
                (SqlType::Varchar, moment) if is_moment(moment) => {
                    (self.cast(left_expr, moment, &place)?, right_expr)
                }
                (moment, SqlType::Varchar) if is_moment(moment) => {
                    (left_expr, self.cast(right_expr, moment, &place)?)
                }
                (left, right) if left.wider(right).is_none() => return Err(wrong(&op)),
                _ => (left_expr, right_expr),
            };
            if left == SqlType::Double || right == SqlType::Double {
                return self.compared_as_doubles(op, left_expr, right_expr);
            }
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left: left_expr, right: right_expr }));
        }
        for of in [&left, &right] {
            boolean(of, "Logical expression term", &place)?;
        }
        Ok(PlannerResult::Original(expr))
    }

    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let RawFieldAccessExpr { field_access, expr } = expr;
        let of = expr.get_type(schema)?;
        let planned = match field_access {
            GetFieldAccess::ListIndex { key } => match (&of, literal_index(&key)) {
                (DataType::Struct(fields), Some(place)) => {
                    let field = place.checked_sub(1).and_then(|place| fields.get(place));
                    let field = field.ok_or_else(|| {
                        invalid(format!("a row of {} fields has none at {place}", fields.len()))
                    })?;
                    self.call("get_field", vec![expr, lit(field.name().as_str())])?
                }
                _ => {
                    let key_of = key.get_type(schema)?;
                    if !self.registry.takes("__subscript", &[of.clone(), key_of.clone()]) {
                        let (of, key) = (SqlType::name_of(&of), SqlType::name_of(&key_of));
                        return Err(invalid(format!("Cannot apply operator: {of}[{key}]")));
                    }
                    self.call("__subscript", vec![expr, *key])?
                }
            },
            // `x['a']`
            GetFieldAccess::NamedStructField { .. } => {
                return Err(invalid(format!("Cannot apply operator: {}[varchar]", SqlType::name_of(&of))));
            }
            GetFieldAccess::ListRange { .. } => {
                return Err(invalid("an array subscript is one number: use slice(array, start, length)"));
            }
        };
        Ok(PlannerResult::Planned(planned))
    }

    fn plan_array_literal(&self, exprs: Vec<Expr>, _: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(self.call("__array", exprs)?))
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
