//! `array_sort` with a comparator.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature, HigherOrderUDF,
    HigherOrderUDFImpl, LambdaArgument, LambdaParametersProgress, ValueOrLambda, Volatility,
};

use super::bounded::Allowance;
use super::lambda::{
    Fields, column, element, index, lambda, nullable, range, result_field, signature, value_field, wrong,
};
use crate::query::error::{failed, invalid};
use crate::query::sql_type::SqlType;

/// Most elements of an array that a comparator sorts: every comparison is a call of the lambda.
const ELEMENTS_MAX: usize = 10_000;

/// The function; `rewrite` calls it when the second operand is a lambda.
pub(super) fn array_sort() -> HigherOrderUDF {
    HigherOrderUDF::new_from_impl(ArraySort(signature(&[false, true], Volatility::Immutable)))
}

/// `array_sort(array, (x, y) -> -1 | 0 | 1)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct ArraySort(HigherOrderSignature);

impl HigherOrderUDFImpl for ArraySort {
    fn name(&self) -> &str {
        "__array_sort_by"
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.0
    }

    fn coerce_value_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::List(_)] => Ok(types.to_vec()),
            _ => Err(wrong("array_sort", "array_sort(array(T), function(T, T, integer))", types).into()),
        }
    }

    fn lambda_parameters(&self, _: usize, fields: Fields<'_>) -> Result<LambdaParametersProgress> {
        let element = element(value_field(fields, 0)?.data_type())?;
        Ok(LambdaParametersProgress::Complete(vec![vec![Arc::clone(&element), element]]))
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs<'_>) -> Result<FieldRef> {
        let body = result_field(&args, 1)?;
        if !matches!(SqlType::of(&body), Some(SqlType::Integer | SqlType::Bigint | SqlType::Unknown)) {
            let body = SqlType::name_of(&body);
            return Err(invalid(format!("the comparator of array_sort() must give integer, not {body}")));
        }
        match args.arg_fields.first() {
            Some(ValueOrLambda::Value(list)) => Ok(nullable(list.data_type().clone())),
            _ => Err(invalid("array_sort() takes an array")),
        }
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let list = column(&args, 0)?;
        let list = list.as_list::<i32>();
        let allowance = Allowance::new("array_sort", &args.config_options);
        let sorter = Sorter { values: list.values(), body: lambda(&args, 1)?, allowance };
        let (mut places, mut lengths) = (Vec::new(), Vec::with_capacity(list.len()));
        for row in 0..list.len() {
            let elements = if list.is_valid(row) { range(list, row) } else { 0..0 };
            if elements.len() > ELEMENTS_MAX {
                return Err(failed(format!(
                    "array_sort() with a comparator takes at most {ELEMENTS_MAX} elements"
                )));
            }
            lengths.push(elements.len());
            places.extend(sorter.sorted(elements.collect(), row)?);
        }
        let places = places.into_iter().map(index).collect::<Result<Vec<_>>>()?;
        let values = take(list.values(), &UInt32Array::from(places), None)?;
        let item = element(args.return_field.data_type())?;
        let offsets = OffsetBuffer::from_lengths(lengths);
        let sorted = ListArray::try_new(item, offsets, values, list.nulls().cloned())?;
        Ok(ColumnarValue::Array(Arc::new(sorted)))
    }
}

struct Sorter<'a> {
    values: &'a ArrayRef,
    body: &'a LambdaArgument,
    allowance: Allowance<'a>,
}

impl Sorter<'_> {
    /// Merge sort: stable, and it ends whatever a comparator says that contradicts itself.
    fn sorted(&self, mut places: Vec<usize>, row: usize) -> Result<Vec<usize>> {
        if places.len() < 2 {
            return Ok(places);
        }
        let right = self.sorted(places.split_off(places.len() / 2), row)?;
        let left = self.sorted(places, row)?;
        let mut merged = Vec::with_capacity(left.len() + right.len());
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let first = match self.compare(*a, *b, row)? > 0 {
                true => right.next(),
                false => left.next(),
            };
            merged.extend(first);
        }
        merged.extend(left);
        merged.extend(right);
        Ok(merged)
    }

    fn compare(&self, a: usize, b: usize, row: usize) -> Result<i64> {
        self.allowance.check()?;
        let (x, y) = (self.values.slice(a, 1), self.values.slice(b, 1));
        let result = self.body.evaluate(&[&|| Ok(Arc::clone(&x)), &|| Ok(Arc::clone(&y))], |captures| {
            Ok(captures.iter().map(|column| column.slice(row, 1)).collect())
        })?;
        let result = cast(&result.into_array(1)?, &DataType::Int64)?;
        match result.is_valid(0) {
            true => Ok(result.as_primitive::<Int64Type>().value(0)),
            false => Err(failed("Lambda comparator must return either -1, 0, or 1")),
        }
    }
}
