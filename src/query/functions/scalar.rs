//! The machine behind every function of one row: a table of forms, each with its signature and code.
//!
//! Families of functions are lists of [`Def`]; this file turns a definition into a DataFusion function,
//! chooses the form, casts the operands and hands the code whole columns. Unless a form says otherwise
//! its code never sees a NULL: the `map` methods of [`Call`] skip such rows.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, ListArray, StringViewArray,
    StringViewBuilder,
};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, DurationNanosecondType, Float64Type, Int32Type, Int64Type, IntervalYearMonthType,
    Time64NanosecondType, TimestampNanosecondType,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::bounded::{Allowance, literal_weight};
use super::conversion::cast_array;
use super::signature::{Form, choose};
use crate::query::error::{SqlError, invalid};
use crate::query::sql_type::SqlType;

/// Most bytes of a literal array repeated for the rows of a batch.
const REPEATED_BYTES_MAX: usize = 16 << 20;

/// The code of one form.
pub(super) type Code = fn(&Call<'_>) -> Result<ArrayRef>;

/// A function: its name and its forms.
pub(super) struct Def {
    pub(super) name: &'static str,
    pub(super) forms: &'static [(&'static str, Code)],
    pub(super) volatility: Volatility,
    /// Whether a wrong call gets AWS's syntax text, as `ago('7d')` does (spec 5.6).
    pub(super) wrong_call_is_syntax: bool,
}

/// A function whose result depends on its operands and nothing else.
pub(super) const fn def(name: &'static str, forms: &'static [(&'static str, Code)]) -> Def {
    Def { name, forms, volatility: Volatility::Immutable, wrong_call_is_syntax: false }
}

/// One call of one form over the rows of a batch.
pub(super) struct Call<'a> {
    pub(super) args: &'a [ArrayRef],
    /// The operands before each became a whole column.
    given: &'a [ColumnarValue],
    pub(super) rows: usize,
    pub(super) returns: &'a DataType,
    /// What the call may make.
    pub(super) allowance: Allowance<'a>,
}

/// A [`Def`] as DataFusion sees it.
struct Defined {
    name: &'static str,
    forms: Vec<Form>,
    codes: Vec<Code>,
    signature: Signature,
    wrong_call_is_syntax: bool,
}

impl Def {
    /// The function for the planner. A form that cannot be read is a mistake in this source, found by
    /// the test that builds the registry.
    pub(super) fn udf(&self) -> ScalarUDF {
        let forms: Vec<Form> = self.forms.iter().filter_map(|(text, _)| Form::parse(text)).collect();
        debug_assert_eq!(forms.len(), self.forms.len(), "{}: a form cannot be read", self.name);
        ScalarUDF::from(Defined {
            name: self.name,
            forms,
            codes: self.forms.iter().map(|(_, code)| *code).collect(),
            signature: Signature::user_defined(self.volatility),
            wrong_call_is_syntax: self.wrong_call_is_syntax,
        })
    }
}

impl PartialEq for Defined {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Defined {}

impl Hash for Defined {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl std::fmt::Debug for Defined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Defined {
    fn wrong(&self, given: &[DataType]) -> SqlError {
        wrong_call(self.name, given, &self.forms, self.wrong_call_is_syntax)
    }
}

/// The error for a call no form takes.
pub(super) fn wrong_call(name: &str, given: &[DataType], forms: &[Form], syntax: bool) -> SqlError {
    let given: Vec<String> = given.iter().map(SqlType::name_of).collect();
    let (function, given) = (name.to_owned(), given.join(", "));
    if syntax {
        return SqlError::Syntax { function, given };
    }
    let expected: Vec<&str> = forms.iter().map(Form::text).collect();
    SqlError::Parameters { function, given, expected: expected.join(", ") }
}

impl ScalarUDFImpl for Defined {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let chosen = choose(&self.forms, types).map(|(.., result)| result);
        chosen.ok_or_else(|| self.wrong(types).into())
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        // What no form takes is left to `return_type`: an error from here reaches the user wrapped in
        // DataFusion's words.
        let Some((_, taken, _)) = choose(&self.forms, types) else { return Ok(types.to_vec()) };
        // Text that stands for a moment stays text: it is read here, in every spelling there is.
        let kept = taken.into_iter().zip(types).map(|(taken, given)| match is_read(given, &taken) {
            true => given.clone(),
            false => taken,
        });
        Ok(kept.collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let (form, taken, _) = choose(&self.forms, &types).ok_or_else(|| self.wrong(&types))?;
        let code = self.codes.get(form).ok_or_else(|| invalid("a function without code"))?;
        let constant = self.signature.volatility == Volatility::Immutable
            && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let returns = args.return_field.data_type();
        let step = rows_at_once(&args.args)?.min(rows.max(1));
        let (mut parts, mut made) = (Vec::with_capacity(1), 0);
        for start in (0..rows.max(1)).step_by(step) {
            let rows = step.min(rows - start);
            let mut columns = columns(&args.args, start, rows)?;
            for (column, taken) in columns.iter_mut().zip(&taken) {
                if is_read(column.data_type(), taken)
                    && let Some(of) = SqlType::of(taken)
                {
                    *column = cast_array(column, &of, false)?;
                }
            }
            let allowance = Allowance::after(self.name, &args.config_options, made);
            let call = Call { args: &columns, given: &args.args, rows, returns, allowance };
            parts.push(code(&call)?);
            made = call.allowance.made();
        }
        let result = match parts.as_slice() {
            [one] => Arc::clone(one),
            parts => concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?,
        };
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

/// Whether an operand is text where a moment is taken.
fn is_read(given: &DataType, taken: &DataType) -> bool {
    matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        && matches!(taken, DataType::Timestamp(..) | DataType::Date32)
}

/// How many rows of a batch a call looks at together: a literal array is repeated for each of them.
fn rows_at_once(args: &[ColumnarValue]) -> Result<usize> {
    let mut most = usize::MAX;
    for arg in args {
        if let ColumnarValue::Scalar(literal) = arg
            && literal.data_type().is_nested()
        {
            most = most.min(REPEATED_BYTES_MAX / literal_weight(literal)?.max(1));
        }
    }
    Ok(most.max(1))
}

/// The operands in `rows` rows from `start` on.
fn columns(args: &[ColumnarValue], start: usize, rows: usize) -> Result<Vec<ArrayRef>> {
    args.iter()
        .map(|arg| match arg {
            ColumnarValue::Array(column) => Ok(column.slice(start, rows)),
            literal => literal.to_array(rows),
        })
        .collect()
}

impl Call<'_> {
    pub(super) fn double(&self, i: usize) -> &Float64Array {
        self.args[i].as_primitive::<Float64Type>()
    }

    pub(super) fn bigint(&self, i: usize) -> &Int64Array {
        self.args[i].as_primitive::<Int64Type>()
    }

    pub(super) fn integer(&self, i: usize) -> &Int32Array {
        self.args[i].as_primitive::<Int32Type>()
    }

    pub(super) fn text(&self, i: usize) -> &StringViewArray {
        self.args[i].as_string_view()
    }

    pub(super) fn list(&self, i: usize) -> &ListArray {
        self.args[i].as_list::<i32>()
    }

    /// The operand as nanoseconds, days or months: whatever integer its type is made of.
    pub(super) fn count(&self, i: usize) -> Counts<'_> {
        Counts::of(&self.args[i])
    }

    /// Whether operand `i` is the same in all rows, and not NULL.
    pub(super) fn is_constant(&self, i: usize) -> bool {
        matches!(self.given.get(i), Some(ColumnarValue::Scalar(value)) if !value.is_null()) && self.rows > 0
    }

    /// Whether no operand is NULL in `row`.
    pub(super) fn all_valid(&self, row: usize) -> bool {
        self.args.iter().all(|arg| arg.is_valid(row))
    }

    /// The result of `code` for every row without a NULL operand, collected into an array.
    pub(super) fn map<T, A>(&self, mut code: impl FnMut(usize) -> Result<Option<T>>) -> Result<ArrayRef>
    where
        A: Array + FromIterator<Option<T>> + 'static,
    {
        let whole = self.args.iter().all(|arg| arg.null_count() == 0);
        let rows = (0..self.rows).map(|row| {
            self.allowance.check()?;
            if whole || self.all_valid(row) { code(row) } else { Ok(None) }
        });
        Ok(Arc::new(rows.collect::<Result<A>>()?))
    }

    /// `map` for texts, which together must not be too long.
    pub(super) fn map_text<T: AsRef<str>>(
        &self,
        mut code: impl FnMut(usize) -> Result<Option<T>>,
    ) -> Result<ArrayRef> {
        let mut texts = StringViewBuilder::with_capacity(self.rows);
        for row in 0..self.rows {
            self.allowance.check()?;
            let text = if self.all_valid(row) { code(row)? } else { None };
            let text = text.as_ref().map(AsRef::as_ref);
            self.allowance.grow(text.map_or(0, str::len))?;
            texts.append_option(text);
        }
        Ok(Arc::new(texts.finish()))
    }

    /// One double in, one double out.
    pub(super) fn double_to_double(&self, code: impl Fn(f64) -> f64) -> Result<ArrayRef> {
        Ok(Arc::new(self.double(0).unary::<_, Float64Type>(code)))
    }
}

/// The integers behind a column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counts<'a> {
    Wide(&'a [i64]),
    Narrow(&'a [i32]),
    None,
}

impl<'a> Counts<'a> {
    /// The integers of `array`; none if it is made of anything else.
    pub(crate) fn of(array: &'a ArrayRef) -> Self {
        match array.data_type() {
            DataType::Timestamp(..) => Self::Wide(array.as_primitive::<TimestampNanosecondType>().values()),
            DataType::Duration(_) => Self::Wide(array.as_primitive::<DurationNanosecondType>().values()),
            DataType::Time64(_) => Self::Wide(array.as_primitive::<Time64NanosecondType>().values()),
            DataType::Int64 => Self::Wide(array.as_primitive::<Int64Type>().values()),
            DataType::Date32 => Self::Narrow(array.as_primitive::<Date32Type>().values()),
            DataType::Interval(_) => Self::Narrow(array.as_primitive::<IntervalYearMonthType>().values()),
            DataType::Int32 => Self::Narrow(array.as_primitive::<Int32Type>().values()),
            _ => Self::None,
        }
    }

    /// The integer of a row; what stands under a NULL means nothing.
    pub(crate) fn at(self, row: usize) -> i64 {
        match self {
            Self::Wide(values) => values.get(row).copied().unwrap_or_default(),
            Self::Narrow(values) => values.get(row).copied().unwrap_or_default().into(),
            Self::None => 0,
        }
    }
}
