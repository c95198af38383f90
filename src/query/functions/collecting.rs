//! The machine behind aggregates that need all their rows: it keeps the operands of every group and
//! hands them over, whole columns, when the group is done.
//!
//! What can be computed as the rows go by should not be done here; memory grows with the group. The
//! pool sees that memory and refuses before the process is in danger.

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StructArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{and, concat, filter, is_not_null};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::scalar::wrong_call;
use super::signature::{Form, choose};
use crate::query::error::{SqlError, failed, invalid};
use crate::query::sql_type::list_of;

/// The result of a group from its operands, none of them NULL where `skips_null` says so. There is at
/// least one row.
pub(super) type Finish = fn(&Group<'_>) -> Result<ScalarValue>;

/// An aggregate: its name and its forms.
pub(super) struct Aggregate {
    pub(super) name: &'static str,
    pub(super) forms: &'static [(&'static str, Finish)],
    /// Operands whose NULL drops the row.
    pub(super) skips_null: &'static [usize],
    /// How DataFusion does the same with less memory, where it can.
    pub(super) simplify: Option<fn() -> AggregateFunctionSimplification>,
}

/// The operands of a group.
pub(super) struct Group<'a> {
    pub(super) args: &'a [ArrayRef],
    pub(super) rows: usize,
    pub(super) returns: &'a DataType,
}

struct Collecting {
    name: &'static str,
    forms: Vec<Form>,
    finish: Vec<Finish>,
    skips_null: &'static [usize],
    simplify: Option<fn() -> AggregateFunctionSimplification>,
    signature: Signature,
}

impl Aggregate {
    pub(super) fn udaf(&self) -> AggregateUDF {
        let forms: Vec<Form> = self.forms.iter().filter_map(|(text, _)| Form::parse(text)).collect();
        debug_assert_eq!(forms.len(), self.forms.len(), "{}: a form cannot be read", self.name);
        AggregateUDF::from(Collecting {
            name: self.name,
            forms,
            finish: self.forms.iter().map(|(_, finish)| *finish).collect(),
            skips_null: self.skips_null,
            simplify: self.simplify,
            signature: Signature::user_defined(Volatility::Immutable),
        })
    }
}

impl PartialEq for Collecting {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Collecting {}

impl Hash for Collecting {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for Collecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Collecting {
    /// The name without the marks of a form that `rewrite` chose.
    fn wrong(&self, types: &[DataType]) -> SqlError {
        let name = self.name.trim_start_matches('_').trim_end_matches("_n");
        wrong_call(name, types, &self.forms, false)
    }
}

/// The operands of a row in one column.
fn row_fields<'a>(types: impl Iterator<Item = &'a DataType>) -> Fields {
    types.enumerate().map(|(i, of)| Field::new(i.to_string(), of.clone(), true)).collect()
}

impl AggregateUDFImpl for Collecting {
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
        let chosen = choose(&self.forms, types).map(|(_, taken, _)| taken);
        Ok(chosen.unwrap_or_else(|| types.to_vec()))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let fields = row_fields(args.input_fields.iter().map(|field| field.data_type()));
        let rows = list_of(DataType::Struct(fields));
        Ok(vec![Arc::new(Field::new(format!("{}_rows", args.name), rows, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let types: Vec<DataType> = args.expr_fields.iter().map(|field| field.data_type().clone()).collect();
        let (form, ..) = choose(&self.forms, &types).ok_or_else(|| self.wrong(&types))?;
        let finish = *self.finish.get(form).ok_or_else(|| invalid("an aggregate without code"))?;
        let fields = row_fields(types.iter());
        let returns = args.return_field.data_type().clone();
        Ok(Box::new(Collected {
            fields,
            finish,
            skips_null: self.skips_null,
            returns,
            distinct: args.is_distinct,
            chunks: vec![],
            bytes: 0,
        }))
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.simplify.map(|simplify| simplify())
    }
}

struct Collected {
    fields: Fields,
    finish: Finish,
    skips_null: &'static [usize],
    returns: DataType,
    distinct: bool,
    chunks: Vec<StructArray>,
    bytes: usize,
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").field("chunks", &self.chunks.len()).finish_non_exhaustive()
    }
}

impl Collected {
    fn push(&mut self, chunk: StructArray) {
        if !chunk.is_empty() {
            // A chunk is often a slice of a large buffer shared by many groups: count the slice.
            self.bytes += chunk.to_data().get_slice_memory_size().unwrap_or_default();
            self.chunks.push(chunk);
        }
    }

    fn joined(&self) -> Result<Option<StructArray>> {
        if self.chunks.is_empty() {
            return Ok(None);
        }
        let chunks: Vec<&dyn Array> = self.chunks.iter().map(|chunk| chunk as &dyn Array).collect();
        Ok(Some(concat(&chunks)?.as_struct().clone()))
    }
}

impl Collected {
    /// The rows that no NULL drops.
    fn wanted(&self, values: &[ArrayRef]) -> Result<StructArray> {
        let mut wanted: Option<BooleanArray> = None;
        for i in self.skips_null {
            let Some(values) = values.get(*i).filter(|values| values.null_count() > 0) else { continue };
            let valid = is_not_null(values)?;
            wanted = Some(match wanted {
                Some(wanted) => and(&wanted, &valid)?,
                None => valid,
            });
        }
        let values = match wanted {
            Some(wanted) => {
                values.iter().map(|values| Ok(filter(values, &wanted)?)).collect::<Result<_>>()?
            }
            None => values.to_vec(),
        };
        Ok(StructArray::try_new(self.fields.clone(), values, None)?)
    }
}

/// Each row once, where it stands first.
fn without_copies(rows: &StructArray) -> Result<StructArray> {
    let fields = rows.fields().iter().map(|field| SortField::new(field.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let keys = converter.convert_columns(rows.columns())?;
    let mut seen = HashSet::with_capacity(rows.len());
    let first: BooleanArray = keys.iter().map(|key| Some(seen.insert(key.data().to_vec()))).collect();
    Ok(filter(rows, &first)?.as_struct().clone())
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = self.wanted(values)?;
        self.push(rows);
        Ok(())
    }

    /// A frame loses its rows in the order in which it got them.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut gone = self.wanted(values)?.len();
        while gone > 0 && !self.chunks.is_empty() {
            let first = &self.chunks[0];
            match first.len() > gone {
                true => {
                    self.chunks[0] = first.slice(gone, first.len() - gone);
                    gone = 0;
                }
                false => gone -= self.chunks.remove(0).len(),
            }
        }
        let weight = |chunk: &StructArray| chunk.to_data().get_slice_memory_size().unwrap_or_default();
        self.bytes = self.chunks.iter().map(weight).sum();
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().and_then(|state| state.as_list_opt::<i32>());
        let rows = rows.ok_or_else(|| failed("a state that is no list"))?;
        for group in rows.iter().flatten() {
            self.push(group.as_struct().clone());
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let of = list_of(DataType::Struct(self.fields.clone()));
        let (Some(rows), DataType::List(item)) = (self.joined()?, &of) else {
            return Ok(vec![ScalarValue::try_from(&of)?]);
        };
        let offsets = OffsetBuffer::from_lengths([rows.len()]);
        let list = ListArray::try_new(Arc::clone(item), offsets, Arc::new(rows), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.joined()? {
            None => ScalarValue::try_from(&self.returns),
            Some(rows) => {
                let rows = if self.distinct { without_copies(&rows)? } else { rows };
                (self.finish)(&Group { args: rows.columns(), rows: rows.len(), returns: &self.returns })
            }
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes + self.chunks.capacity() * size_of::<StructArray>()
    }
}
