//! What an attribute's value becomes as a measure, and what the action's `numeric` makes of numbers.

use std::collections::HashMap;

use crate::record::{MeasureValue, VARCHAR_BYTES_MAX};

use super::super::super::effect::AttributeProblem;
use super::super::super::sql::value::Value;

/// What numbers become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules) enum Numeric {
    /// DOUBLE, whole or not.
    Double,
    /// BIGINT; a number with a fraction cannot be written.
    Bigint,
}

impl Numeric {
    /// What rule files call `word`.
    pub(in crate::rules) fn named(word: &str) -> Option<Self> {
        match word {
            "double" => Some(Self::Double),
            "bigint" => Some(Self::Bigint),
            _ => None,
        }
    }
}

/// What the numbers of each measure become. Without a word of the action it is what the value says: a whole
/// number is a BIGINT, a Decimal a DOUBLE.
#[derive(Debug, Default)]
pub(super) struct NumericPolicy {
    by_measure: HashMap<String, Numeric>,
    others: Option<Numeric>,
}

impl NumericPolicy {
    /// A policy as rule files write it, where `*` is every measure not named.
    pub(super) fn new(mut by_measure: HashMap<String, Numeric>) -> Self {
        let others = by_measure.remove("*");
        Self { by_measure, others }
    }

    /// The measure the attribute `name` becomes; `None` for null, which is skipped.
    pub(super) fn measure(
        &self,
        name: &str,
        value: &Value,
    ) -> Result<Option<MeasureValue>, AttributeProblem> {
        let numeric = self.by_measure.get(name).copied().or(self.others);
        Ok(Some(match value {
            Value::Undefined | Value::Null => return Ok(None),
            Value::Bool(value) => MeasureValue::Boolean(*value),
            Value::Int(whole) => match numeric {
                Some(Numeric::Double) => double(*whole as f64, value)?,
                Some(Numeric::Bigint) | None => bigint(*whole)?,
            },
            Value::Decimal(decimal) => match numeric {
                Some(Numeric::Bigint) => bigint(
                    decimal.whole().ok_or_else(|| AttributeProblem::Fraction { value: value.to_json() })?,
                )?,
                Some(Numeric::Double) | None => double(decimal.to_f64(), value)?,
            },
            Value::Str(text) => varchar(text.clone())?,
            Value::Array(_) | Value::Object(_) => varchar(value.to_json())?,
        }))
    }
}

fn bigint(value: i128) -> Result<MeasureValue, AttributeProblem> {
    let outside = |_| AttributeProblem::Bigint { value: value.to_string() };
    i64::try_from(value).map(MeasureValue::Bigint).map_err(outside)
}

fn double(double: f64, value: &Value) -> Result<MeasureValue, AttributeProblem> {
    if !double.is_finite() {
        return Err(AttributeProblem::Double { value: value.to_json() });
    }
    Ok(MeasureValue::Double(double))
}

fn varchar(text: String) -> Result<MeasureValue, AttributeProblem> {
    match text.len() {
        0 => Err(AttributeProblem::Empty),
        bytes if bytes > VARCHAR_BYTES_MAX => {
            Err(AttributeProblem::TooLong { bytes, limit: VARCHAR_BYTES_MAX })
        }
        _ => Ok(MeasureValue::Varchar(text)),
    }
}
