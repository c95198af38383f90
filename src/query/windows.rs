//! What window functions mean that DataFusion takes otherwise.
//!
//! A frame that is not written is one by RANGE, which DataFusion can follow for keys of some types only;
//! where no distance is named, one by GROUPS has the same rows. And `lag` and `lead` give values of the type
//! their value and their default have in common.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, cast,
};

use super::error::invalid;
use super::sql_type::SqlType;

/// The plan with every window function as it is meant.
pub(crate) fn mend(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Window(window) = node else { return Ok(Transformed::no(node)) };
        let schema = window.input.schema();
        let mut changed = false;
        let exprs = window.window_expr.iter().map(|expr| {
            let mended = mended(expr.clone(), schema)?;
            if !mended.transformed {
                return Ok(mended.data);
            }
            changed = true;
            // What stands above names the column as it was.
            Ok(mended.data.alias(expr.schema_name().to_string()))
        });
        let exprs = exprs.collect::<Result<Vec<Expr>>>()?;
        if !changed {
            return Ok(Transformed::no(LogicalPlan::Window(window)));
        }
        Ok(Transformed::yes(LogicalPlan::Window(Window::try_new(exprs, window.input)?)))
    })
    .data()
}

fn mended(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let Expr::WindowFunction(mut function) = expr else { return Ok(Transformed::no(expr)) };
        let framed = by_groups(&mut function, schema);
        let typed = of_one_type(&mut function, schema)?;
        Ok(Transformed::new_transformed(Expr::WindowFunction(function), framed || typed))
    })
}

/// Turns a frame by RANGE without a distance into one by GROUPS if its keys have no distances.
fn by_groups(function: &mut WindowFunction, schema: &DFSchema) -> bool {
    let frame = &function.params.window_frame;
    let has_no_distance = |key: &Expr| {
        let of = key.get_type(schema).ok().and_then(|of| SqlType::of(&of));
        matches!(
            of,
            Some(
                SqlType::Time | SqlType::DaySecond | SqlType::YearMonth | SqlType::Row(_) | SqlType::Array(_)
            )
        )
    };
    if frame.units != WindowFrameUnits::Range
        || !function.params.order_by.iter().any(|key| has_no_distance(&key.expr))
    {
        return false;
    }
    let nothing = || ScalarValue::UInt64(None);
    let bound = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(distance) if distance.is_null() => {
            Some(WindowFrameBound::Preceding(nothing()))
        }
        WindowFrameBound::Following(distance) if distance.is_null() => {
            Some(WindowFrameBound::Following(nothing()))
        }
        WindowFrameBound::CurrentRow => Some(WindowFrameBound::CurrentRow),
        _ => None,
    };
    let (Some(start), Some(end)) = (bound(&frame.start_bound), bound(&frame.end_bound)) else { return false };
    function.params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Groups, start, end);
    true
}

/// Gives the value and the default of `lag` and `lead` the type they have in common.
fn of_one_type(function: &mut WindowFunction, schema: &DFSchema) -> Result<bool> {
    let Some(wider) = common_type(function, schema)? else { return Ok(false) };
    if let [value, _, default] = function.params.args.as_mut_slice() {
        for operand in [value, default] {
            *operand = cast(operand.clone(), wider.arrow());
        }
    }
    Ok(true)
}

/// The type that the value and the default of `lag` and `lead` have in common, if they are not of one.
///
/// # Errors
/// When they have none in common.
pub(crate) fn common_type(function: &WindowFunction, schema: &DFSchema) -> Result<Option<SqlType>> {
    let name = function.fun.name();
    let [value, _, default] = function.params.args.as_slice() else { return Ok(None) };
    if name != "lag" && name != "lead" {
        return Ok(None);
    }
    let (of_value, of_default) = (value.get_type(schema)?, default.get_type(schema)?);
    let (Some(one), Some(other)) = (SqlType::of(&of_value), SqlType::of(&of_default)) else {
        return Ok(None);
    };
    if one == other || other == SqlType::Unknown {
        return Ok(None);
    }
    match one.wider(&other) {
        Some(wider) => Ok(Some(wider)),
        None => {
            Err(invalid(format!("{name}: the value and its default must be of one type: {one}, {other}")))
        }
    }
}
