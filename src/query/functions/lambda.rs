//! Functions of arrays that take lambdas.
//!
//! A lambda is evaluated over all elements of all arrays of a batch at once; `reduce` goes through the
//! arrays in step, the k-th elements of all of them at a time. The outer columns a lambda names are
//! repeated for each element.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, UInt32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{cast, filter, interleave, is_null, nullif, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature, HigherOrderUDF,
    HigherOrderUDFImpl, LambdaArgument, LambdaParametersProgress, ValueOrLambda, Volatility,
};

use super::bounded::{Allowance, Weights};
use super::{array_sort, attempt, regexp_lambda};
use crate::query::error::{SqlError, failed, invalid};
use crate::query::sql_type::{SqlType, list_of};

pub(super) type Fields<'a> = &'a [ValueOrLambda<FieldRef, Option<FieldRef>>];

/// All functions that take lambdas.
pub(super) fn all() -> Vec<HigherOrderUDF> {
    let each = |name, what| {
        let signature = signature(&[false, true], Volatility::Immutable);
        HigherOrderUDF::new_from_impl(Each { name, what, signature })
    };
    vec![
        each("filter", What::Filter),
        each("transform", What::Transform),
        each("any_match", What::Match { decided_by: true, decides: true }),
        each("all_match", What::Match { decided_by: false, decides: false }),
        // Over the values of a subquery in an array, which is NULL where there are none.
        each("__any_match", What::Asked { decided_by: true, decides: true }),
        each("__all_match", What::Asked { decided_by: false, decides: false }),
        each("none_match", What::Match { decided_by: true, decides: false }),
        HigherOrderUDF::new_from_impl(ZipWith(signature(&[false, false, true], Volatility::Immutable))),
        HigherOrderUDF::new_from_impl(Reduce(signature(&[false, false, true, true], Volatility::Immutable))),
        regexp_lambda::regexp_replace(),
        array_sort::array_sort(),
        attempt::attempt(),
    ]
}

/// Values and lambdas in this order; `true` is a lambda.
pub(super) fn signature(lambdas: &[bool], volatility: Volatility) -> HigherOrderSignature {
    let arg = |is_lambda: &bool| match is_lambda {
        true => ValueOrLambda::Lambda(()),
        false => ValueOrLambda::Value(()),
    };
    HigherOrderSignature::exact(lambdas.iter().map(arg).collect(), volatility)
}

pub(super) fn wrong(function: &str, expected: &str, given: &[DataType]) -> SqlError {
    let given: Vec<String> = given.iter().map(SqlType::name_of).collect();
    SqlError::Parameters {
        function: function.to_owned(),
        given: given.join(", "),
        expected: expected.to_owned(),
    }
}

pub(super) fn element(list: &DataType) -> Result<FieldRef> {
    match list {
        DataType::List(item) => Ok(Arc::clone(item)),
        other => Err(invalid(format!("{} is no array", SqlType::name_of(other)))),
    }
}

pub(super) fn value_field(fields: Fields<'_>, i: usize) -> Result<&FieldRef> {
    match fields.get(i) {
        Some(ValueOrLambda::Value(field)) => Ok(field),
        _ => Err(invalid("a value expected where a lambda stands")),
    }
}

pub(super) fn result_field(args: &HigherOrderReturnFieldArgs<'_>, lambda: usize) -> Result<DataType> {
    match args.arg_fields.get(lambda) {
        Some(ValueOrLambda::Lambda(field)) => Ok(field.data_type().clone()),
        _ => Err(invalid("a lambda expected where a value stands")),
    }
}

pub(super) fn column(args: &HigherOrderFunctionArgs, i: usize) -> Result<ArrayRef> {
    match args.args.get(i) {
        Some(ValueOrLambda::Value(value)) => {
            Allowance::new("array", &args.config_options).expand(value, args.number_rows)
        }
        _ => Err(invalid("a value expected where a lambda stands")),
    }
}

pub(super) fn lambda(args: &HigherOrderFunctionArgs, i: usize) -> Result<&LambdaArgument> {
    match args.args.get(i) {
        Some(ValueOrLambda::Lambda(lambda)) => Ok(lambda),
        _ => Err(invalid("a lambda expected where a value stands")),
    }
}

pub(super) fn nullable(of: DataType) -> FieldRef {
    Arc::new(Field::new("", of, true))
}

/// Which row each element of a list column belongs to, and which element of the values it is.
struct Elements {
    rows: UInt32Array,
    values: ArrayRef,
    lengths: Vec<usize>,
}

impl Elements {
    fn of(list: &ListArray) -> Result<Self> {
        let (mut rows, mut places, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(list.len()));
        for row in 0..list.len() {
            let range = if list.is_valid(row) { range(list, row) } else { 0..0 };
            lengths.push(range.len());
            for place in range {
                rows.push(index(row)?);
                places.push(index(place)?);
            }
        }
        let values = take(list.values(), &UInt32Array::from(places), None)?;
        Ok(Self { rows: rows.into(), values, lengths })
    }

    fn evaluate(&self, body: &LambdaArgument, allowance: &Allowance<'_>) -> Result<ArrayRef> {
        let element = || Ok(Arc::clone(&self.values));
        let result = body.evaluate(&[&element], |captures| allowance.captures(captures, &self.rows))?;
        // A literal is repeated for every element: that is charged before it is made.
        allowance.expand(&result, self.rows.len())
    }
}

pub(super) fn index(place: usize) -> Result<u32> {
    u32::try_from(place).map_err(|_| failed("too many elements in one batch"))
}

#[expect(clippy::cast_sign_loss, reason = "offsets of a list are not negative")]
pub(super) fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

/// What a function of one array and one lambda does with the lambda's results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Filter,
    Transform,
    /// One element that gives `decided_by` decides that the answer is `decides`.
    Match {
        decided_by: bool,
        decides: bool,
    },
    /// The same where NULL is an array without elements.
    Asked {
        decided_by: bool,
        decides: bool,
    },
}

/// `filter`, `transform` and the matches.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Each {
    name: &'static str,
    what: What,
    signature: HigherOrderSignature,
}

impl HigherOrderUDFImpl for Each {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.signature
    }

    fn coerce_value_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::List(_)] => Ok(types.to_vec()),
            [DataType::Null] => Ok(vec![list_of(DataType::Null)]),
            _ => Err(wrong(self.name, &format!("{}(array(T), function(T, U))", self.name), types).into()),
        }
    }

    fn lambda_parameters(&self, _: usize, fields: Fields<'_>) -> Result<LambdaParametersProgress> {
        let element = element(value_field(fields, 0)?.data_type())?;
        Ok(LambdaParametersProgress::Complete(vec![vec![element]]))
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs<'_>) -> Result<FieldRef> {
        let body = result_field(&args, 1)?;
        if self.what != What::Transform && !matches!(body, DataType::Boolean | DataType::Null) {
            let body = SqlType::name_of(&body);
            return Err(invalid(format!("the lambda of {}() must give boolean, not {body}", self.name)));
        }
        Ok(nullable(match (self.what, args.arg_fields.first()) {
            (What::Filter, Some(ValueOrLambda::Value(list))) => list.data_type().clone(),
            (What::Transform, _) => list_of(body),
            _ => DataType::Boolean,
        }))
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let list = column(&args, 0)?;
        let list = list.as_list::<i32>();
        let elements = Elements::of(list)?;
        let allowance = Allowance::new(self.name, &args.config_options);
        let results = elements.evaluate(lambda(&args, 1)?, &allowance)?;
        let array: ArrayRef = match self.what {
            What::Transform => {
                allowance.charge(Weights::of(&results, true).total(results.len()))?;
                let item = element(args.return_field.data_type())?;
                let offsets = OffsetBuffer::from_lengths(elements.lengths);
                Arc::new(ListArray::try_new(item, offsets, results, list.nulls().cloned())?)
            }
            What::Filter => {
                let results = cast(&results, &DataType::Boolean)?;
                // Only true keeps an element; NULL does not.
                let kept: BooleanArray =
                    results.as_boolean().iter().map(|kept| Some(kept == Some(true))).collect();
                let mut from = 0;
                let lengths = elements.lengths.iter().map(|length| {
                    let kept = kept.slice(from, *length).true_count();
                    from += length;
                    kept
                });
                let offsets = OffsetBuffer::from_lengths(lengths);
                let values = filter(&elements.values, &kept)?;
                let item = element(args.return_field.data_type())?;
                Arc::new(ListArray::try_new(item, offsets, values, list.nulls().cloned())?)
            }
            What::Match { decided_by, decides } => {
                let results = cast(&results, &DataType::Boolean)?;
                let answers = matched(results.as_boolean(), &elements.lengths, decided_by, decides);
                nullif(&answers, &is_null(list)?)?
            }
            What::Asked { decided_by, decides } => {
                let results = cast(&results, &DataType::Boolean)?;
                Arc::new(matched(results.as_boolean(), &elements.lengths, decided_by, decides))
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// Three-valued: without a deciding element, a NULL leaves the answer open.
fn matched(results: &BooleanArray, lengths: &[usize], decided_by: bool, decides: bool) -> BooleanArray {
    let mut from = 0;
    let answers = lengths.iter().map(|length| {
        let here = results.slice(from, *length);
        from += length;
        match here.iter().any(|result| result == Some(decided_by)) {
            true => Some(decides),
            false => (here.null_count() == 0).then_some(!decides),
        }
    });
    answers.collect()
}

/// `zip_with(a, b, (x, y) -> ..)`: the shorter array is filled up with NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ZipWith(HigherOrderSignature);

impl HigherOrderUDFImpl for ZipWith {
    fn name(&self) -> &str {
        "zip_with"
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.0
    }

    fn coerce_value_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::List(_), DataType::List(_)] => Ok(types.to_vec()),
            _ => Err(wrong("zip_with", "zip_with(array(T), array(U), function(T, U, R))", types).into()),
        }
    }

    fn lambda_parameters(&self, _: usize, fields: Fields<'_>) -> Result<LambdaParametersProgress> {
        let parameter = |i| -> Result<FieldRef> {
            Ok(nullable(element(value_field(fields, i)?.data_type())?.data_type().clone()))
        };
        Ok(LambdaParametersProgress::Complete(vec![vec![parameter(0)?, parameter(1)?]]))
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(nullable(list_of(result_field(&args, 2)?)))
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let (left, right) = (column(&args, 0)?, column(&args, 1)?);
        let (left, right) = (left.as_list::<i32>(), right.as_list::<i32>());
        let (mut rows, mut lengths, mut valid) = (vec![], vec![], vec![]);
        let mut places: [Vec<Option<u32>>; 2] = [vec![], vec![]];
        for row in 0..args.number_rows {
            let both = left.is_valid(row) && right.is_valid(row);
            let ranges = if both { [range(left, row), range(right, row)] } else { [0..0, 0..0] };
            let length = ranges[0].len().max(ranges[1].len());
            for i in 0..length {
                rows.push(index(row)?);
                for (places, range) in places.iter_mut().zip(&ranges) {
                    places.push((i < range.len()).then(|| index(range.start + i)).transpose()?);
                }
            }
            lengths.push(length);
            valid.push(both);
        }
        let [left_places, right_places] = places.map(UInt32Array::from);
        let x = take(left.values(), &left_places, None)?;
        let y = take(right.values(), &right_places, None)?;
        let rows = UInt32Array::from(rows);
        let body = lambda(&args, 2)?;
        let allowance = Allowance::new("zip_with", &args.config_options);
        let results = body.evaluate(&[&|| Ok(Arc::clone(&x)), &|| Ok(Arc::clone(&y))], |captures| {
            allowance.captures(captures, &rows)
        })?;
        let item = element(args.return_field.data_type())?;
        let offsets = OffsetBuffer::from_lengths(lengths);
        let values = allowance.expand(&results, rows.len())?;
        allowance.charge(Weights::of(&values, true).total(values.len()))?;
        let list = ListArray::try_new(item, offsets, values, Some(valid.into()))?;
        Ok(ColumnarValue::Array(Arc::new(list)))
    }
}

/// `reduce(array, state, (state, element) -> state, state -> result)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct Reduce(HigherOrderSignature);

impl HigherOrderUDFImpl for Reduce {
    fn name(&self) -> &str {
        "reduce"
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.0
    }

    fn coerce_value_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::List(_), _] => Ok(types.to_vec()),
            _ => {
                let expected = "reduce(array(T), S, function(S, T, S), function(S, R))";
                Err(wrong("reduce", expected, types).into())
            }
        }
    }

    /// The state's type is the first lambda's result, which depends on the state's type: begin with the
    /// initial state's and ask again.
    fn lambda_parameters(&self, step: usize, fields: Fields<'_>) -> Result<LambdaParametersProgress> {
        let element = element(value_field(fields, 0)?.data_type())?;
        let initial = nullable(value_field(fields, 1)?.data_type().clone());
        let merged = match fields.get(2) {
            Some(ValueOrLambda::Lambda(merged)) => merged.clone(),
            _ => return Err(invalid("reduce() takes lambdas for its third and fourth operands")),
        };
        let state = merged.clone().map_or(initial, |merged| nullable(merged.data_type().clone()));
        let finished = matches!(fields.get(3), Some(ValueOrLambda::Lambda(Some(_))));
        if step >= 2 || finished {
            return Ok(LambdaParametersProgress::Complete(vec![
                vec![Arc::clone(&state), element],
                vec![state],
            ]));
        }
        let result = merged.is_some().then(|| vec![Arc::clone(&state)]);
        Ok(LambdaParametersProgress::Partial(vec![Some(vec![state, element]), result]))
    }

    fn coerce_values_for_lambdas(
        &self,
        fields: &[ValueOrLambda<DataType, DataType>],
    ) -> Result<Option<Vec<DataType>>> {
        match fields {
            [ValueOrLambda::Value(list), _, ValueOrLambda::Lambda(state), _] => {
                Ok(Some(vec![list.clone(), state.clone()]))
            }
            _ => Err(invalid("reduce() takes an array, a state and two lambdas")),
        }
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(nullable(result_field(&args, 3)?))
    }

    fn clear_null_values(&self) -> bool {
        false
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let list = column(&args, 0)?;
        let list = list.as_list::<i32>();
        let (merge, finish) = (lambda(&args, 2)?, lambda(&args, 3)?);
        let mut state = column(&args, 1)?;
        let longest =
            (0..list.len()).filter(|row| list.is_valid(*row)).map(|row| range(list, row).len()).max();
        for step in 0..longest.unwrap_or(0) {
            let (mut rows, mut places) = (vec![], vec![]);
            for row in (0..list.len()).filter(|row| list.is_valid(*row)) {
                let range = range(list, row);
                if step < range.len() {
                    rows.push(index(row)?);
                    places.push(index(range.start + step)?);
                }
            }
            let rows = UInt32Array::from(rows);
            let before = take(&state, &rows, None)?;
            let elements = take(list.values(), &UInt32Array::from(places), None)?;
            let allowance = Allowance::new("reduce", &args.config_options);
            let merged = merge
                .evaluate(&[&|| Ok(Arc::clone(&before)), &|| Ok(Arc::clone(&elements))], |captures| {
                    allowance.captures(captures, &rows)
                })?;
            let merged = cast(&allowance.expand(&merged, rows.len())?, state.data_type())?;
            let mut sources: Vec<(usize, usize)> = (0..state.len()).map(|row| (0, row)).collect();
            for (place, row) in rows.values().iter().enumerate() {
                sources[*row as usize] = (1, place);
            }
            state = interleave(&[&state, &merged], &sources)?;
            allowance.charge(Weights::of(&state, true).total(state.len()))?;
        }
        let result = finish.evaluate(&[&|| Ok(Arc::clone(&state))], |captures| Ok(captures.to_vec()))?;
        let result = result.into_array(list.len())?;
        let result = match list.nulls() {
            Some(nulls) => nullif(&result, &BooleanArray::new(!nulls.inner(), None))?,
            None => result,
        };
        Ok(ColumnarValue::Array(result))
    }
}
