//! `ROW(..)` and `ARRAY[..]`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ListArray, StructArray, new_empty_array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::bounded::Allowance;
use crate::query::error::invalid;
use crate::query::sql_type::unnamed;

pub(super) fn special() -> Vec<ScalarUDF> {
    let array =
        ArrayLiteral { types: make_array_udf(), signature: Signature::user_defined(Volatility::Immutable) };
    vec![ScalarUDF::from(Row(Signature::variadic_any(Volatility::Immutable))), ScalarUDF::from(array)]
}

/// `ROW(a, b)`: a struct whose fields have no names.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Row(Signature);

impl ScalarUDFImpl for Row {
    fn name(&self) -> &str {
        "__row"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let fields = types.iter().enumerate().map(|(i, of)| Field::new(unnamed(i), of.clone(), true));
        Ok(DataType::Struct(fields.collect()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::Struct(fields) = args.return_field.data_type() else {
            return Err(invalid("a row is a struct"));
        };
        let allowance = Allowance::new("row", &args.config_options);
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let columns = allowance.expand_all(&args.args, rows)?;
        let row: ArrayRef = Arc::new(StructArray::try_new(fields.clone(), columns, None)?);
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&row, 0)?)),
            false => Ok(ColumnarValue::Array(row)),
        }
    }
}

/// `ARRAY[a, b]`. What type its elements have in common is DataFusion's to say; `branches` refuses what is
/// no widening.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayLiteral {
    types: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for ArrayLiteral {
    fn name(&self) -> &str {
        "__array"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.types.return_type(types)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.types.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::List(item) = args.return_field.data_type() else {
            return Err(invalid("an array is a list"));
        };
        let allowance = Allowance::new("array", &args.config_options);
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let columns = allowance.expand_all(&args.args, rows)?;
        let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
        let places: Vec<(usize, usize)> =
            (0..rows).flat_map(|row| (0..columns.len()).map(move |column| (column, row))).collect();
        let values = match columns.is_empty() {
            true => new_empty_array(item.data_type()),
            false => interleave(&columns, &places)?,
        };
        let offsets = OffsetBuffer::from_repeated_length(columns.len(), rows);
        let array: ArrayRef = Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, None)?);
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)),
            false => Ok(ColumnarValue::Array(array)),
        }
    }
}
