//! `TRY`, which the dialect turns into a function of a lambda.

use datafusion::arrow::array::{Array, ArrayRef, new_empty_array, new_null_array};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature, HigherOrderUDF,
    HigherOrderUDFImpl, LambdaParametersProgress, Volatility,
};

use super::bounded::Allowance;
use super::lambda::{Fields, lambda, nullable, result_field, signature};

/// The function. It is volatile so that nobody evaluates it while planning.
pub(super) fn attempt() -> HigherOrderUDF {
    HigherOrderUDF::new_from_impl(Try(signature(&[true], Volatility::Volatile)))
}

/// `TRY(e)` as `__try(x -> e)`: the whole batch, and row by row only if that fails.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Try(HigherOrderSignature);

impl HigherOrderUDFImpl for Try {
    fn name(&self) -> &str {
        "__try"
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.0
    }

    fn coerce_value_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn lambda_parameters(&self, _: usize, _: Fields<'_>) -> Result<LambdaParametersProgress> {
        Ok(LambdaParametersProgress::Complete(vec![vec![nullable(DataType::Boolean)]]))
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(nullable(result_field(&args, 0)?))
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let body = lambda(&args, 0)?;
        let unused = |rows| move || Ok(new_null_array(&DataType::Boolean, rows));
        if let Ok(all) = body.evaluate(&[&unused(args.number_rows)], |captures| Ok(captures.to_vec())) {
            return Ok(ColumnarValue::Array(all.into_array(args.number_rows)?));
        }
        let allowance = Allowance::new("try", &args.config_options);
        let of = args.return_field.data_type();
        let rows = (0..args.number_rows).map(|row| {
            // That nobody waits any more is no error of the row's.
            allowance.check()?;
            let one = body.evaluate(&[&unused(1)], |captures| {
                Ok(captures.iter().map(|column| column.slice(row, 1)).collect())
            });
            match one {
                Ok(value) => value.into_array(1),
                Err(_) => Ok(new_null_array(of, 1)),
            }
        });
        let rows: Vec<ArrayRef> = rows.collect::<Result<_>>()?;
        let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(if rows.is_empty() { new_empty_array(of) } else { concat(&rows)? }))
    }
}
