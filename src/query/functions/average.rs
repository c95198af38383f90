//! `avg`: DataFusion's, and for lengths of time too.
//!
//! Lengths of time are averaged as decimals, whose sum no number of rows fills, and the result is brought
//! back to whole nanoseconds or months, a half of one to the next above, as Trino rounds.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, Decimal128Array, DurationNanosecondArray, IntervalYearMonthArray,
};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, DurationNanosecondType, Field, FieldRef, IntervalYearMonthType,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

use super::decimals::{ByDecimals, Wide};
use super::scalar::wrong_call;
use super::signature::{Form, choose};
use crate::query::sql_type::SqlType;

const FORMS: [&str; 3] = [
    "avg(double) -> double",
    "avg(interval day to second) -> interval day to second",
    "avg(interval year to month) -> interval year to month",
];

/// What lengths of time are averaged as. Its average has [`PARTS`] to the unit, and so four digits more.
const WIDE: DataType = DataType::Decimal128(20, 0);
const WIDE_AVERAGE: DataType = DataType::Decimal128(24, 4);
const PARTS: i128 = 10_000;

/// The function.
pub(super) fn average() -> AggregateUDF {
    let forms: Vec<Form> = FORMS.into_iter().filter_map(Form::parse).collect();
    debug_assert_eq!(forms.len(), FORMS.len(), "avg: a form cannot be read");
    AggregateUDF::from(Average {
        forms,
        stock: avg_udaf(),
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug)]
struct Average {
    forms: Vec<Form>,
    stock: Arc<AggregateUDF>,
    signature: Signature,
}

impl PartialEq for Average {
    fn eq(&self, other: &Self) -> bool {
        self.stock == other.stock
    }
}

impl Eq for Average {}

impl Hash for Average {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.stock.hash(state);
    }
}

/// The kinds of lengths of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Nanoseconds,
    Months,
}

impl Length {
    fn of(field: &FieldRef) -> Option<Self> {
        match SqlType::of(field.data_type()) {
            Some(SqlType::DaySecond) => Some(Self::Nanoseconds),
            Some(SqlType::YearMonth) => Some(Self::Months),
            _ => None,
        }
    }
}

impl Wide for Length {
    fn widened(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let widened = values.iter().map(|values| {
            let wide = match self {
                Self::Nanoseconds => {
                    values.as_primitive::<DurationNanosecondType>().unary::<_, Decimal128Type>(i128::from)
                }
                Self::Months => {
                    values.as_primitive::<IntervalYearMonthType>().unary::<_, Decimal128Type>(i128::from)
                }
            };
            Ok(Arc::new(wide.with_data_type(WIDE)) as ArrayRef)
        });
        widened.collect()
    }

    fn one(&self, average: Option<i128>) -> Result<ScalarValue> {
        Ok(match self {
            Self::Nanoseconds => ScalarValue::DurationNanosecond(whole(average)),
            Self::Months => ScalarValue::IntervalYearMonth(whole(average)),
        })
    }

    fn many(&self, averages: &Decimal128Array) -> Result<ArrayRef> {
        let averages = averages.iter();
        Ok(match self {
            Self::Nanoseconds => Arc::new(averages.map(whole).collect::<DurationNanosecondArray>()),
            Self::Months => Arc::new(averages.map(whole).collect::<IntervalYearMonthArray>()),
        })
    }
}

/// An average of decimals in whole units, which is within what it is the average of.
fn whole<T: TryFrom<i128>>(average: Option<i128>) -> Option<T> {
    T::try_from((average? + PARTS / 2).div_euclid(PARTS)).ok()
}

fn field(of: DataType) -> FieldRef {
    Arc::new(Field::new("avg", of, true))
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &str {
        "avg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let chosen = choose(&self.forms, types).map(|(.., result)| result);
        chosen.ok_or_else(|| wrong_call("avg", types, &self.forms, false).into())
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        // What no form takes is left to `return_type`: an error from here reaches the user wrapped in
        // DataFusion's words.
        let chosen = choose(&self.forms, types).map(|(_, taken, _)| taken);
        Ok(chosen.unwrap_or_else(|| types.to_vec()))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if Length::of(&args.return_field).is_none() {
            return self.stock.state_fields(args);
        }
        let (input_fields, return_field) = ([field(WIDE)], field(WIDE_AVERAGE));
        self.stock.state_fields(StateFieldsArgs { input_fields: &input_fields, return_field, ..args })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let Some(length) = Length::of(&args.return_field) else { return self.stock.accumulator(args) };
        let (expr_fields, return_field) = ([field(WIDE)], field(WIDE_AVERAGE));
        let args = AccumulatorArgs { expr_fields: &expr_fields, return_field, ..args };
        Ok(Box::new(ByDecimals { values: length, wide: self.stock.accumulator(args)? }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let Some(length) = Length::of(&args.return_field) else {
            return self.stock.create_groups_accumulator(args);
        };
        let (expr_fields, return_field) = ([field(WIDE)], field(WIDE_AVERAGE));
        let args = AccumulatorArgs { expr_fields: &expr_fields, return_field, ..args };
        Ok(Box::new(ByDecimals { values: length, wide: self.stock.create_groups_accumulator(args)? }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}
