//! Operators by Trino's rules, where DataFusion's differ.
//!
//! Integers that overflow are an error and do not wrap; a length of time is added to a date, a time or
//! a timestamp of its own kind; text is a timestamp where it meets one and nothing else where it does
//! not. Arithmetic on doubles and comparisons of like with like stay DataFusion's own: they are fast
//! and they prune.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, TableReference};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, Operator, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::error::{QueryError, invalid};
use super::functions::{Registry, cast_array};
use super::places::{Place, Placed, kept, placed};
use super::sql_type::SqlType;
use super::{branches, windows};

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

    /// Whether arrays or rows are equal, which nobody knows where a NULL stands in one: DataFusion takes NULLs
    /// inside them for equal. Columns stay as they are, so that tables are joined by them.
    fn nested_equality(
        &self,
        op: &BinaryOperator,
        left: &Expr,
        right: &Expr,
        schema: &DFSchema,
    ) -> Result<Option<Expr>> {
        let negated = match op {
            BinaryOperator::Eq => false,
            BinaryOperator::NotEq => true,
            _ => return Ok(None),
        };
        let types = [left.get_type(schema)?, right.get_type(schema)?];
        let columns = matches!((left, right), (Expr::Column(_), Expr::Column(_)));
        if columns || !types.iter().all(DataType::is_nested) || !self.registry.takes("__equal", &types) {
            return Ok(None);
        }
        let equal = self.call("__equal", vec![left.clone(), right.clone()])?;
        Ok(Some(if negated { Expr::Not(Box::new(equal)) } else { equal }))
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
            // DataFusion's own takes the least integer for its own opposite.
            Some(SqlType::DaySecond | SqlType::YearMonth | SqlType::Integer | SqlType::Bigint) => {
                self.call("__negate", vec![value])?
            }
            None | Some(SqlType::Double | SqlType::Unknown) => Expr::Negative(Box::new(value)),
            Some(of) => return Err(invalid(format!("{place}Cannot apply operator: -{of}"))),
        }))
    }

    /// `value` itself, if its operands are what they must be.
    fn value(&self, value: Expr, place: &Place, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if let Some(clash) = branches::clash(&value, schema) {
            return Err(invalid(format!("{}{}", place.of_operand(clash.operand), clash.text)));
        }
        let value = self.moments(value, place, schema)?;
        let typed = value.get_type(schema).and_then(|_| match &value {
            Expr::WindowFunction(function) => windows::common_type(function, schema).map(|_| ()),
            _ => Ok(()),
        });
        match typed.err().and_then(|error| about_operands(&error, place)) {
            Some(error) => Err(error),
            // Of anything else, as of a column that does not exist, the planner has more to say.
            None => Ok(PlannerResult::Planned(value)),
        }
    }

    /// The values of an IN or a BETWEEN, its texts read as moments if one of them is a moment.
    fn moments(&self, mut value: Expr, place: &Place, schema: &DFSchema) -> Result<Expr> {
        let operands: Vec<&mut Expr> = match &mut value {
            Expr::InList(InList { expr, list, .. }) => std::iter::once(expr.as_mut()).chain(list).collect(),
            Expr::Between(Between { expr, low, high, .. }) => vec![expr, low, high],
            _ => return Ok(value),
        };
        let of = |expr: &&mut Expr| expr.get_type(schema).ok().and_then(|of| SqlType::of(&of));
        let types: Vec<Option<SqlType>> = operands.iter().map(of).collect();
        let mut moments = types.iter().flatten().filter(|of| is_moment(of));
        let Some(moment) = moments.clone().find(|of| **of == SqlType::Timestamp).or(moments.next()) else {
            return Ok(value);
        };
        for (operand, of) in operands.into_iter().zip(&types) {
            if *of == Some(SqlType::Varchar) {
                *operand = self.cast(std::mem::take(operand), moment, place)?;
            }
        }
        Ok(value)
    }

    /// `first` itself, if the function takes it, and `second` if it takes two values beside its lambdas.
    fn values(
        &self,
        (function, count): (&str, usize),
        [first, second]: [Expr; 2],
        place: &Place,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let types: Result<Vec<DataType>> =
            [&first, &second].into_iter().take(count).map(|value| value.get_type(schema)).collect();
        if let (Some(function), Ok(types)) = (self.registry.higher_order(function), types) {
            let wrong = function.coerce_value_types(&types).err();
            if let Some(error) = wrong.and_then(|error| about_operands(&error, place)) {
                return Err(error);
            }
        }
        Ok(PlannerResult::Planned(first))
    }

    /// `of[key]`
    fn element(&self, of: Expr, key: Expr, place: &Place, schema: &DFSchema) -> Result<Expr> {
        let (of_type, key_type) = (of.get_type(schema)?, key.get_type(schema)?);
        if let (DataType::Struct(fields), Some(number)) = (&of_type, literal_index(&key)) {
            let field = number.checked_sub(1).and_then(|number| fields.get(number));
            let field = field.ok_or_else(|| {
                invalid(format!("{place}a row of {} fields has none at {number}", fields.len()))
            })?;
            return self.call("get_field", vec![of, lit(field.name().as_str())]);
        }
        if !self.registry.takes("__subscript", &[of_type.clone(), key_type.clone()]) {
            let (of, key) = (SqlType::name_of(&of_type), SqlType::name_of(&key_type));
            return Err(invalid(format!("{place}Cannot apply operator: {of}[{key}]")));
        }
        self.call("__subscript", vec![of, key])
    }

    /// The operands of a comparison, a text read as the moment it is compared with.
    fn compared(
        &self,
        [left, right]: [Expr; 2],
        op: &str,
        place: &Place,
        schema: &DFSchema,
    ) -> Result<[Expr; 2]> {
        let of = |expr: &Expr| expr.get_type(schema).ok().and_then(|of| SqlType::of(&of));
        // A column that does not exist has no type; the planner reports it with its place.
        let (Some(one), Some(other)) = (of(&left), of(&right)) else { return Ok([left, right]) };
        Ok(match (&one, &other) {
            (SqlType::Varchar, moment) if is_moment(moment) => [self.cast(left, moment, place)?, right],
            (moment, SqlType::Varchar) if is_moment(moment) => [left, self.cast(right, moment, place)?],
            (one, other) if one.wider(other).is_none() => {
                return Err(invalid(format!("{place}Cannot apply operator: {one} {op} {other}")));
            }
            _ => [left, right],
        })
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

/// `error` at `place`, if it is one about operands.
fn about_operands(error: &DataFusionError, place: &Place) -> Option<DataFusionError> {
    let error = QueryError::of_operands(error, place.position()?)?;
    Some(DataFusionError::External(Box::new(error)))
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
            (Placed::Value, place) => return self.value(left, &place, schema),
            (Placed::Kept, place) => return Ok(PlannerResult::Planned(kept(left, &place))),
            (Placed::Values(function, count), place) => {
                return self.values((&function, count), [left, right], &place, schema);
            }
            (Placed::Element, place) => {
                return self.element(left, right, &place, schema).map(PlannerResult::Planned);
            }
            (Placed::Distinct(negated), place) => {
                let [left, right] = self.compared([left, right], "IS DISTINCT FROM", &place, schema)?;
                let op = if negated { Operator::IsNotDistinctFrom } else { Operator::IsDistinctFrom };
                let (left, right) = (Box::new(left), Box::new(right));
                return Ok(PlannerResult::Planned(Expr::BinaryExpr(BinaryExpr::new(left, op, right))));
            }
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
            let compared = self.compared([left_expr, right_expr], &op.to_string(), &place, schema);
            let [left_expr, right_expr] = compared?;
            if let Some(equal) = self.nested_equality(&op, &left_expr, &right_expr, schema)? {
                return Ok(PlannerResult::Planned(equal));
            }
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
