//! `regexp_replace` with a lambda for the replacement.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringViewBuilder, UInt32Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature, HigherOrderUDF,
    HigherOrderUDFImpl, LambdaParametersProgress, Volatility,
};

use super::bounded::Allowance;
use super::lambda::{Fields, column, index, lambda, nullable, result_field, signature, wrong};
use super::regexp::Patterns;
use crate::query::error::invalid;
use crate::query::sql_type::{SqlType, list_of};

/// What is remembered of a match besides its groups.
const MATCH_BYTES: usize = 48;

/// The function; `rewrite` calls it when the third operand is a lambda.
pub(super) fn regexp_replace() -> HigherOrderUDF {
    HigherOrderUDF::new_from_impl(RegexpReplace(signature(&[false, false, true], Volatility::Immutable)))
}

/// `regexp_replace(text, pattern, groups -> text)`
#[derive(Debug, PartialEq, Eq, Hash)]
struct RegexpReplace(HigherOrderSignature);

impl HigherOrderUDFImpl for RegexpReplace {
    fn name(&self) -> &str {
        "__regexp_replace_lambda"
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.0
    }

    fn coerce_value_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let texts =
            types.iter().all(|of| matches!(SqlType::of(of), Some(SqlType::Varchar | SqlType::Unknown)));
        match texts {
            true => Ok(vec![DataType::Utf8View, DataType::Utf8View]),
            false => {
                let expected = "regexp_replace(varchar, varchar, function(array(varchar), varchar))";
                Err(wrong("regexp_replace", expected, types).into())
            }
        }
    }

    fn lambda_parameters(&self, _: usize, _: Fields<'_>) -> Result<LambdaParametersProgress> {
        Ok(LambdaParametersProgress::Complete(vec![vec![nullable(list_of(DataType::Utf8View))]]))
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs<'_>) -> Result<FieldRef> {
        let body = result_field(&args, 2)?;
        if !matches!(SqlType::of(&body), Some(SqlType::Varchar | SqlType::Unknown)) {
            let body = SqlType::name_of(&body);
            return Err(invalid(format!("the lambda of regexp_replace() must give varchar, not {body}")));
        }
        Ok(nullable(DataType::Utf8View))
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let (texts, patterns) = (column(&args, 0)?, column(&args, 1)?);
        let (texts, patterns) = (texts.as_string_view(), patterns.as_string_view());
        let allowance = Allowance::new("regexp_replace", &args.config_options);
        let mut known = Patterns::default();
        let (mut rows, mut found) = (vec![], vec![]);
        let mut groups = ListBuilder::new(StringViewBuilder::new());
        for row in (0..args.number_rows).filter(|row| texts.is_valid(*row) && patterns.is_valid(*row)) {
            let text = texts.value(row);
            known.get(patterns.value(row))?.each(text, &allowance, |one| {
                allowance.charge(MATCH_BYTES + one.groups().count() * size_of::<u128>())?;
                one.groups().for_each(|group| {
                    groups.values().append_option(group.and_then(|group| text.get(group)));
                });
                groups.append(true);
                found.push((row, one.whole()));
                rows.push(index(row)?);
                Ok(true)
            })?;
        }
        let groups: ArrayRef = Arc::new(groups.finish());
        let rows = UInt32Array::from(rows);
        let results = lambda(&args, 2)?
            .evaluate(&[&|| Ok(Arc::clone(&groups))], |captures| allowance.captures(captures, &rows))?;
        let results = cast(&results.into_array(rows.len())?, &DataType::Utf8View)?;
        let results = results.as_string_view();
        let mut replaced = StringViewBuilder::new();
        let mut next = 0;
        for row in 0..args.number_rows {
            if texts.is_null(row) || patterns.is_null(row) {
                replaced.append_null();
                continue;
            }
            let (text, mut from, mut whole) = (texts.value(row), 0, allowance.text());
            while let Some((_, range)) = found.get(next).filter(|(of, _)| *of == row) {
                whole.push(&text[from..range.start])?;
                if results.is_valid(next) {
                    whole.push(results.value(next))?;
                }
                from = range.end;
                next += 1;
            }
            whole.push(&text[from..])?;
            let whole = whole.finish();
            allowance.charge(whole.len())?;
            replaced.append_value(whole);
        }
        Ok(ColumnarValue::Array(Arc::new(replaced.finish())))
    }
}
