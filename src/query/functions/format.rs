//! `format(text, values...)`, by Java's rules: `%[index$][flags][width][.precision]conversion`.
//!
//! Conversions are `s d f e x o c b n %` and the capitals of `s x e b`; flags are `- + 0 ,` blank and `(`. Dates
//! are formatted as their text, there is no `%t`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::bounded::Allowance;
use super::conversion::cast_array;
use crate::query::error::failed;
use crate::query::sql_type::SqlType;

/// The widest a value may be padded, and the most digits after the point.
const WIDTH_MAX: usize = 1_000;

pub(super) fn special() -> Vec<ScalarUDF> {
    vec![ScalarUDF::from(Format(Signature::variadic_any(Volatility::Immutable)))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Format(Signature);

impl ScalarUDFImpl for Format {
    fn name(&self) -> &str {
        "format"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first().and_then(SqlType::of) {
            Some(SqlType::Varchar) if types.len() > 1 => Ok(DataType::Utf8View),
            _ => Err(super::lambda::wrong("format", "format(varchar, T...)", types).into()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let allowance = Allowance::new("format", &args.config_options);
        let mut columns =
            args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
        let patterns = cast(&columns.remove(0), &DataType::Utf8View)?;
        let patterns = patterns.as_string_view();
        let columns = columns.iter().map(Values::of).collect::<Result<Vec<_>>>()?;
        let mut texts = StringViewBuilder::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            allowance.check()?;
            if patterns.is_null(row) {
                texts.append_null();
                continue;
            }
            let text = formatted(patterns.value(row), &columns, row)?;
            allowance.grow(text.len())?;
            texts.append_value(text);
        }
        Ok(ColumnarValue::Array(Arc::new(texts.finish())))
    }
}

/// One operand.
enum Values {
    Integers(ArrayRef),
    Doubles(ArrayRef),
    Texts(ArrayRef),
}

/// One value of an operand.
enum Value<'a> {
    Integer(i64),
    Double(f64),
    Text(&'a str),
    Null,
}

impl Values {
    fn of(column: &ArrayRef) -> Result<Self> {
        Ok(match SqlType::of(column.data_type()) {
            Some(SqlType::Integer | SqlType::Bigint) => Self::Integers(cast(column, &DataType::Int64)?),
            Some(SqlType::Double) => Self::Doubles(cast(column, &DataType::Float64)?),
            _ => Self::Texts(cast_array(column, &SqlType::Varchar, false)?),
        })
    }

    fn at(&self, row: usize) -> Value<'_> {
        let (Self::Integers(column) | Self::Doubles(column) | Self::Texts(column)) = self;
        match self {
            _ if column.is_null(row) => Value::Null,
            Self::Integers(column) => Value::Integer(column.as_primitive::<Int64Type>().value(row)),
            Self::Doubles(column) => Value::Double(column.as_primitive::<Float64Type>().value(row)),
            Self::Texts(column) => Value::Text(column.as_string_view().value(row)),
        }
    }
}

/// What stands between `%` and the conversion.
#[derive(Debug, Default)]
struct Spec {
    index: Option<usize>,
    left: bool,
    plus: bool,
    blank: bool,
    zero: bool,
    grouped: bool,
    bracketed: bool,
    width: usize,
    precision: Option<usize>,
}

fn formatted(pattern: &str, columns: &[Values], row: usize) -> Result<String> {
    let mut text = String::with_capacity(pattern.len());
    let (mut rest, mut next) = (pattern, 0);
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let (spec, conversion, behind) = read(after).ok_or_else(|| wrong(pattern))?;
        rest = behind;
        match conversion {
            '%' => text.push_str(&spec.padded("%".to_owned())),
            'n' => text.push('\n'),
            _ => {
                let place = spec.index.unwrap_or_else(|| {
                    next += 1;
                    next
                });
                let column = place.checked_sub(1).and_then(|place| columns.get(place));
                let column = column.ok_or_else(|| {
                    failed(format!("Invalid format string: {pattern} (no operand {place})"))
                })?;
                text.push_str(&spec.convert(conversion, &column.at(row), pattern)?);
            }
        }
    }
    text.push_str(rest);
    Ok(text)
}

fn wrong(pattern: &str) -> datafusion::common::DataFusionError {
    failed(format!("Invalid format string: {pattern}"))
}

/// The specification at the start of `text`, its conversion, and what follows.
fn read(text: &str) -> Option<(Spec, char, &str)> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut spec = Spec::default();
    let mut rest = text;
    if let Some((index, behind)) = rest.split_at_checked(digits(rest))
        && let Some(behind) = behind.strip_prefix('$')
    {
        spec.index = Some(index.parse().ok()?);
        rest = behind;
    }
    while let Some(flag) = rest.chars().next() {
        match flag {
            '-' => spec.left = true,
            '+' => spec.plus = true,
            ' ' => spec.blank = true,
            '0' => spec.zero = true,
            ',' => spec.grouped = true,
            '(' => spec.bracketed = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    let (width, behind) = rest.split_at(digits(rest));
    spec.width = if width.is_empty() { 0 } else { width.parse().ok().filter(|width| *width <= WIDTH_MAX)? };
    rest = behind;
    if let Some(behind) = rest.strip_prefix('.') {
        let (precision, behind) = behind.split_at(digits(behind));
        spec.precision = Some(precision.parse().ok().filter(|digits| *digits <= WIDTH_MAX)?);
        rest = behind;
    }
    let conversion = rest.chars().next()?;
    Some((spec, conversion, &rest[conversion.len_utf8()..]))
}

/// A number's shortest digits with `places` of them after the point, a half rounded up as Java does.
fn rounded(number: &str, places: usize) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(places).collect();
    let mut digits: Vec<u8> = [whole, &kept].concat().into_bytes();
    if fraction.as_bytes().get(places).is_some_and(|next| *next >= b'5') {
        let carried = digits.iter_mut().rev().all(|digit| {
            let full = *digit == b'9';
            *digit = if full { b'0' } else { *digit + 1 };
            full
        });
        if carried {
            digits.insert(0, b'1');
        }
    }
    let mut text: String = digits.into_iter().map(char::from).collect();
    if places > 0 {
        text.insert(text.len() - places, '.');
    }
    text
}

impl Spec {
    fn convert(&self, conversion: char, value: &Value<'_>, pattern: &str) -> Result<String> {
        let text = match (conversion, value) {
            ('s' | 'S' | 'b' | 'B', _) => {
                let mut text = match value {
                    Value::Integer(value) => value.to_string(),
                    Value::Double(value) => crate::query::wire_text::double(*value),
                    Value::Text(text) => (*text).to_owned(),
                    Value::Null => "null".to_owned(),
                };
                if matches!(conversion, 'b' | 'B') {
                    text = if matches!(value, Value::Null) || text == "false" { "false" } else { "true" }
                        .to_owned();
                }
                let most = self.precision.unwrap_or(usize::MAX);
                self.padded(text.chars().take(most).collect())
            }
            ('d' | 'x' | 'X' | 'o' | 'c' | 'f' | 'e' | 'E', Value::Null) => self.padded("null".to_owned()),
            ('d', Value::Integer(value)) => {
                self.signed(*value < 0, self.groups(value.unsigned_abs().to_string()))
            }
            ('x' | 'X', Value::Integer(value)) => self.filled(format!("{value:x}")),
            ('o', Value::Integer(value)) => self.filled(format!("{value:o}")),
            ('c', Value::Integer(value)) => {
                let character = u32::try_from(*value).ok().and_then(char::from_u32);
                self.padded(character.ok_or_else(|| wrong(pattern))?.to_string())
            }
            ('f' | 'e' | 'E', Value::Double(value)) if !value.is_finite() => {
                let text = crate::query::wire_text::double(value.abs());
                let negative = value.is_sign_negative() && !value.is_nan();
                Self { left: self.left, width: self.width, ..Self::default() }.signed(negative, text)
            }
            ('f', Value::Double(value)) => {
                let digits = rounded(&value.abs().to_string(), self.precision.unwrap_or(6));
                self.signed(value.is_sign_negative(), self.groups(digits))
            }
            ('e' | 'E', Value::Double(value)) => {
                let digits = format!("{:.*e}", self.precision.unwrap_or(6), value.abs());
                let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
                let (sign, exponent) = match exponent.strip_prefix('-') {
                    Some(exponent) => ('-', exponent),
                    None => ('+', exponent),
                };
                self.signed(value.is_sign_negative(), format!("{mantissa}e{sign}{exponent:0>2}"))
            }
            _ => return Err(wrong(pattern)),
        };
        Ok(if conversion.is_ascii_uppercase() { text.to_uppercase() } else { text })
    }

    fn padded(&self, text: String) -> String {
        let width = self.width;
        if self.left { format!("{text:<width$}") } else { format!("{text:>width$}") }
    }

    fn filled(&self, digits: String) -> String {
        let width = self.width;
        if self.zero { format!("{digits:0>width$}") } else { self.padded(digits) }
    }

    fn signed(&self, negative: bool, digits: String) -> String {
        let (before, after) = match negative {
            true if self.bracketed => ("(", ")"),
            true => ("-", ""),
            false if self.plus => ("+", ""),
            false if self.blank => (" ", ""),
            false => ("", ""),
        };
        match self.zero {
            true => {
                let width = self.width.saturating_sub(before.len() + after.len());
                format!("{before}{digits:0>width$}{after}")
            }
            false => self.padded(format!("{before}{digits}{after}")),
        }
    }

    /// With a comma for every thousand, if they are wanted.
    fn groups(&self, digits: String) -> String {
        if !self.grouped {
            return digits;
        }
        let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
        let mut grouped = String::with_capacity(digits.len() * 4 / 3);
        for (i, digit) in whole.chars().enumerate() {
            if i > 0 && (whole.len() - i) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped + fraction
    }
}
