//! What the plan of an UNNEST is made of besides DataFusion's own node, and `zip`, its sister.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Int64Builder, ListBuilder};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::bounded::Allowance;
use crate::query::error::{failed, invalid};
use crate::query::sql_type::{list_of, unnamed};

pub(super) fn special() -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::from(Forget(Signature::any(1, Volatility::Immutable))),
        ScalarUDF::from(Maybe(Signature::any(1, Volatility::Immutable))),
        ScalarUDF::from(Ordinals(Signature::variadic_any(Volatility::Immutable))),
        ScalarUDF::from(Zip(Signature::variadic_any(Volatility::Immutable))),
    ]
}

/// Gives its operand back; what DataFusion knew about the column, it does not know about the result.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Forget(Signature);

impl ScalarUDFImpl for Forget {
    fn name(&self) -> &str {
        "__forget"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(|| invalid("one operand expected"))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        args.arg_fields.first().map(Arc::clone).ok_or_else(|| invalid("one operand expected"))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        args.args.pop().ok_or_else(|| invalid("one operand expected"))
    }
}

/// Gives its operand back, which may be NULL whatever DataFusion knows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Maybe(Signature);

impl ScalarUDFImpl for Maybe {
    fn name(&self) -> &str {
        "__maybe"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(|| invalid("one operand expected"))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        args.args.pop().ok_or_else(|| invalid("one operand expected"))
    }
}

/// The numbers from one to the length of the longest of its arrays.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Ordinals(Signature);

impl ScalarUDFImpl for Ordinals {
    fn name(&self) -> &str {
        "__ordinals"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(list_of(DataType::Int64))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns: Vec<_> =
            args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<Result<_>>()?;
        let mut ordinals = ListBuilder::new(Int64Builder::new());
        for row in 0..args.number_rows {
            let mut longest = 0;
            for column in &columns {
                let list =
                    column.as_list_opt::<i32>().ok_or_else(|| failed("Cannot unnest what is no array"))?;
                if list.is_valid(row) {
                    longest = longest.max(list.value_length(row));
                }
            }
            (1..=i64::from(longest)).for_each(|number| ordinals.values().append_value(number));
            ordinals.append(true);
        }
        Ok(ColumnarValue::Array(Arc::new(ordinals.finish())))
    }
}

/// `zip(a, b, ..)`; a definition cannot say that its result has as many fields as it has operands.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Zip(Signature);

impl ScalarUDFImpl for Zip {
    fn name(&self) -> &str {
        "zip"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let fields = types.iter().enumerate().map(|(i, of)| match of {
            DataType::List(item) => Ok(Field::new(unnamed(i), item.data_type().clone(), true)),
            _ => Err(super::scalar::wrong_call("zip", types, &[], false)),
        });
        Ok(list_of(DataType::Struct(fields.collect::<std::result::Result<_, _>>()?)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns: Vec<_> =
            args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<Result<_>>()?;
        let allowance = Allowance::new("zip", &args.config_options);
        let zipped =
            super::array::zip(&columns, args.number_rows, args.return_field.data_type(), &allowance)?;
        Ok(ColumnarValue::Array(zipped))
    }
}
