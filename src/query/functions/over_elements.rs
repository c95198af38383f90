//! Aggregates over the elements of an array, which `elements` makes of subqueries.
//!
//! `__elements` gives an array as rows, as UNNEST does; `__over_sum` and its like call an aggregate for the rows
//! of one array after the other.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, StructArray, UInt32Array, new_empty_array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{cast, is_null, nullif, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

use super::bounded::Allowance;
use super::lambda::{index, range};
use crate::query::error::invalid;
use crate::query::sql_type::{SqlType, list_of, unnamed};

/// Begins the name of an aggregate's function of arrays.
pub(crate) const OVER: &str = "__over_";

/// The functions for these aggregates.
pub(super) fn special(aggregates: &[(&'static str, Arc<AggregateUDF>)]) -> Vec<ScalarUDF> {
    let over = aggregates.iter().map(|(name, aggregate)| {
        ScalarUDF::from(Over {
            name: format!("{OVER}{name}"),
            aggregate: Arc::clone(aggregate),
            signature: Signature::any(1, Volatility::Immutable),
        })
    });
    over.chain([ScalarUDF::from(Elements(Signature::any(3, Volatility::Immutable)))]).collect()
}

/// `__elements(array, ordinality, columns)`: the elements as rows of so many columns; none of a NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Elements(Signature);

/// The columns of an UNNEST of arrays of `item`.
fn columns(item: &DataType, ordinality: bool) -> Fields {
    let nullable = |name: &str, of: &DataType| Arc::new(Field::new(name, of.clone(), true));
    let mut fields: Vec<FieldRef> = match item {
        DataType::Struct(fields) => {
            fields.iter().map(|field| nullable(field.name(), field.data_type())).collect()
        }
        other => vec![nullable(&unnamed(0), other)],
    };
    if ordinality {
        fields.push(nullable("\u{1}ordinality", &DataType::Int64));
    }
    fields.into()
}

impl ScalarUDFImpl for Elements {
    fn name(&self) -> &str {
        "__elements"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(invalid("the type of elements depends on literals"))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let of = args.arg_fields.first().map_or(DataType::Null, |field| field.data_type().clone());
        let DataType::List(item) = &of else {
            return Err(invalid(format!("Cannot unnest type: {}", SqlType::name_of(&of))));
        };
        let [_, Some(ScalarValue::Boolean(Some(ordinality))), Some(named)] = args.scalar_arguments else {
            return Err(invalid("an array and two literals expected"));
        };
        let columns = columns(item.data_type(), *ordinality);
        let named = named.try_as_str().flatten().unwrap_or_default();
        if named != columns.len().to_string() {
            return Err(invalid(format!(
                "Column alias list has {named} entries but relation has {} columns",
                columns.len()
            )));
        }
        Ok(Arc::new(Field::new("elements", list_of(DataType::Struct(columns)), false)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::List(item) = args.return_field.data_type() else {
            return Err(invalid("an array is a list"));
        };
        let DataType::Struct(fields) = item.data_type() else { return Err(invalid("a row is a struct")) };
        let allowance = Allowance::new(self.name(), &args.config_options);
        let list = args.args.first().ok_or_else(|| invalid("an array expected"))?;
        let list = allowance.expand(list, args.number_rows)?;
        let list = list.as_list::<i32>();
        let (mut places, mut lengths, mut ordinals) = (vec![], Vec::with_capacity(list.len()), vec![]);
        for row in 0..list.len() {
            allowance.check()?;
            let range = if list.is_valid(row) { range(list, row) } else { 0..0 };
            lengths.push(range.len());
            ordinals.extend((1_i64..).take(range.len()));
            for place in range {
                places.push(index(place)?);
            }
        }
        let values = take(list.values(), &UInt32Array::from(places), None)?;
        let mut columns: Vec<ArrayRef> = match values.as_struct_opt() {
            // A row that is NULL has fields that are.
            Some(rows) => {
                let missing = is_null(rows)?;
                rows.columns().iter().map(|column| nullif(column, &missing)).collect::<Result<_, _>>()?
            }
            None => vec![values],
        };
        if fields.len() > columns.len() {
            columns.push(Arc::new(Int64Array::from(ordinals)));
        }
        let rows = StructArray::try_new(fields.clone(), columns, None)?;
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(ColumnarValue::Array(Arc::new(ListArray::try_new(
            Arc::clone(item),
            offsets,
            Arc::new(rows),
            None,
        )?)))
    }
}

/// An aggregate over arrays of rows, which are its operands.
#[derive(Debug)]
struct Over {
    name: String,
    aggregate: Arc<AggregateUDF>,
    signature: Signature,
}

impl PartialEq for Over {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Over {}

impl Hash for Over {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Over {
    /// The operands as the aggregate takes them, and what it gives.
    fn fields(&self, rows: &DataType) -> Result<(Vec<FieldRef>, FieldRef)> {
        let fields = match rows {
            DataType::List(item) => match item.data_type() {
                DataType::Struct(fields) => fields,
                _ => return Err(invalid("a row is a struct")),
            },
            _ => return Err(invalid("an array is a list")),
        };
        let taken = fields_with_udf(fields, self.aggregate.as_ref())?;
        let gives = self.aggregate.return_field(&taken)?;
        Ok((taken, gives))
    }
}

impl ScalarUDFImpl for Over {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let rows = types.first().ok_or_else(|| invalid("an array of rows expected"))?;
        Ok(self.fields(rows)?.1.data_type().clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let allowance = Allowance::new(self.name(), &args.config_options);
        let rows = args.args.first().ok_or_else(|| invalid("an array of rows expected"))?;
        let list = allowance.expand(rows, args.number_rows)?;
        let (fields, returns) = self.fields(list.data_type())?;
        let list = list.as_list::<i32>();
        let operands = list.values().as_struct().columns().iter().zip(&fields);
        let operands = operands.map(|(column, field)| Ok(cast(column, field.data_type())?));
        let operands = operands.collect::<Result<Vec<ArrayRef>>>()?;
        let schema = Schema::new(fields.clone());
        let exprs: Vec<Arc<dyn PhysicalExpr>> = fields
            .iter()
            .enumerate()
            .map(|(i, field)| Arc::new(Column::new(field.name(), i)) as Arc<dyn PhysicalExpr>)
            .collect();
        let mut results = Vec::with_capacity(list.len());
        for row in 0..list.len() {
            allowance.check()?;
            let mut accumulator = self.aggregate.accumulator(AccumulatorArgs {
                return_field: Arc::clone(&returns),
                schema: &schema,
                ignore_nulls: false,
                order_bys: &[],
                is_reversed: false,
                name: self.aggregate.name(),
                is_distinct: false,
                exprs: &exprs,
                expr_fields: &fields,
            })?;
            let range = range(list, row);
            if !range.is_empty() {
                let operands: Vec<ArrayRef> =
                    operands.iter().map(|column| column.slice(range.start, range.len())).collect();
                accumulator.update_batch(&operands)?;
            }
            results.push(accumulator.evaluate()?);
        }
        let of = args.return_field.data_type();
        let results = match results.is_empty() {
            true => new_empty_array(of),
            false => cast(&ScalarValue::iter_to_array(results)?, of)?,
        };
        Ok(ColumnarValue::Array(results))
    }
}
