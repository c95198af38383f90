//! What one call may make of its operands, and whether anyone still waits for it.
//!
//! A few characters of SQL can ask for terabytes: every function whose result can be larger than its
//! operands asks an [`Allowance`] *before* it allocates. An array weighs what its elements weigh, texts
//! in full, even where Arrow lets many elements share one text: the next function may copy them.

use std::cell::Cell;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder, UInt32Array};
use datafusion::arrow::compute::{concat, take_arrays};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::ColumnarValue;

use crate::query::deadline::Deadline;
use crate::query::error::failed;
use crate::query::limits::{CALL_BYTES_MAX, STEPS_MAX, VALUE_BYTES_MAX};

/// What an element costs besides its text: the size of Arrow's view of a text.
const ELEMENT_BYTES: usize = 16;

/// What is left to one call over one batch.
pub(super) struct Allowance<'a> {
    function: &'a str,
    made: Cell<usize>,
    deadline: Deadline,
}

impl<'a> Allowance<'a> {
    pub(super) fn new(function: &'a str, options: &ConfigOptions) -> Self {
        let deadline = options.extensions.get::<Deadline>().cloned().unwrap_or_default();
        Self { function: function.trim_start_matches('_'), made: Cell::new(0), deadline }
    }

    /// What is left of one call that made so many bytes already.
    pub(super) fn after(function: &'a str, options: &ConfigOptions, made: usize) -> Self {
        let allowance = Self::new(function, options);
        allowance.made.set(made);
        allowance
    }

    /// What the call made so far.
    pub(super) fn made(&self) -> usize {
        self.made.get()
    }

    /// Fails once the query is given up.
    pub(super) fn check(&self) -> Result<()> {
        self.deadline.check()
    }

    /// Whether one value may have so many bytes.
    pub(super) fn value(&self, bytes: usize) -> Result<()> {
        match bytes > VALUE_BYTES_MAX {
            true => Err(failed(format!(
                "{}() makes a value of more than {} MiB",
                self.function,
                VALUE_BYTES_MAX >> 20
            ))),
            false => Ok(()),
        }
    }

    /// Takes so many bytes from what the call may make in all.
    pub(super) fn charge(&self, bytes: usize) -> Result<()> {
        self.made.set(self.made.get().saturating_add(bytes));
        match self.made.get() > CALL_BYTES_MAX {
            true => Err(failed(format!(
                "{}() makes more than {} MiB for one batch of rows; select fewer or shorter values",
                self.function,
                CALL_BYTES_MAX >> 20
            ))),
            false => Ok(()),
        }
    }

    /// A value of so many bytes.
    pub(super) fn grow(&self, bytes: usize) -> Result<()> {
        self.value(bytes)?;
        self.charge(bytes)
    }

    /// Whether one row may take as many steps as the product of two lengths.
    pub(super) fn steps(&self, one: usize, other: usize) -> Result<()> {
        match one.saturating_mul(other) > STEPS_MAX {
            true => Err(failed(format!("{}() takes too many steps for such long values", self.function))),
            false => Ok(()),
        }
    }

    /// An empty text that grows within the bound of one value.
    pub(super) fn text(&self) -> Text<'_> {
        Text { allowance: self, text: String::new() }
    }

    /// All of these after one another.
    pub(super) fn concat(&self, sources: &[&dyn Array]) -> Result<ArrayRef> {
        for source in sources {
            self.charge(Weights::of(*source, true).total(source.len()))?;
        }
        Ok(concat(sources)?)
    }

    /// An operand as a column; a literal array is repeated for each row.
    pub(super) fn expand(&self, arg: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
        if let ColumnarValue::Scalar(literal) = arg {
            self.charge(literal_weight(literal)?.saturating_mul(rows))?;
        }
        arg.to_array(rows)
    }

    /// All operands as columns, which the result holds once more.
    pub(super) fn expand_all(&self, args: &[ColumnarValue], rows: usize) -> Result<Vec<ArrayRef>> {
        let columns: Vec<ArrayRef> = args.iter().map(|arg| self.expand(arg, rows)).collect::<Result<_>>()?;
        for column in &columns {
            self.charge(Weights::of(column, false).total(rows))?;
        }
        Ok(columns)
    }

    /// The outer columns of a lambda, repeated for each of its elements.
    pub(super) fn captures(&self, captures: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
        self.check()?;
        for column in captures {
            // Repeated texts are shared.
            let weights = Weights::of(column, false);
            self.charge(rows.values().iter().map(|row| weights.at(*row as usize)).sum())?;
        }
        Ok(take_arrays(captures, rows, None)?)
    }
}

/// What a literal weighs when it is repeated. A text is shared.
pub(super) fn literal_weight(literal: &ScalarValue) -> Result<usize> {
    match literal.data_type().is_nested() {
        true => Ok(Weights::of(&literal.to_array()?, false).total(1)),
        false => Ok(ELEMENT_BYTES),
    }
}

/// A text that refuses to become too long.
pub(super) struct Text<'a> {
    allowance: &'a Allowance<'a>,
    text: String,
}

impl Text<'_> {
    pub(super) fn push(&mut self, part: &str) -> Result<()> {
        self.allowance.value(self.text.len() + part.len())?;
        self.text.push_str(part);
        Ok(())
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// A list of texts that refuses to become too long.
pub(super) struct Texts<'a> {
    pub(super) allowance: &'a Allowance<'a>,
    pub(super) values: &'a mut StringViewBuilder,
    pub(super) bytes: usize,
}

impl Texts<'_> {
    pub(super) fn push(&mut self, part: Option<&str>) -> Result<()> {
        let bytes = ELEMENT_BYTES + part.map_or(0, str::len);
        self.bytes += bytes;
        self.allowance.value(self.bytes)?;
        self.allowance.charge(bytes)?;
        self.values.append_option(part);
        Ok(())
    }
}

/// What each value of a column weighs, in bytes.
pub(super) enum Weights {
    Same(usize),
    Each(Vec<usize>),
}

impl Weights {
    /// The weights of a column; without `texts`, a text weighs what its view does.
    pub(super) fn of(column: &dyn Array, texts: bool) -> Self {
        match column.data_type() {
            DataType::Utf8View if texts => {
                let lengths = column.as_string_view().lengths();
                Self::Each(lengths.map(|length| ELEMENT_BYTES + length as usize).collect())
            }
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                let inner = Self::of(list.values(), texts);
                #[expect(clippy::cast_sign_loss, reason = "offsets of a list are not negative")]
                let ranges = list.value_offsets().windows(2).map(|pair| pair[0] as usize..pair[1] as usize);
                Self::Each(
                    ranges.map(|range| ELEMENT_BYTES + range.map(|i| inner.at(i)).sum::<usize>()).collect(),
                )
            }
            DataType::Struct(_) => {
                let columns = column.as_struct().columns();
                let columns: Vec<Self> = columns.iter().map(|column| Self::of(column, texts)).collect();
                let all = |row| columns.iter().map(|column| column.at(row)).sum();
                Self::Each((0..column.len()).map(all).collect())
            }
            other => Self::Same(other.primitive_width().unwrap_or(ELEMENT_BYTES)),
        }
    }

    pub(super) fn at(&self, row: usize) -> usize {
        match self {
            Self::Same(bytes) => *bytes,
            Self::Each(bytes) => bytes.get(row).copied().unwrap_or(ELEMENT_BYTES),
        }
    }

    pub(super) fn total(&self, rows: usize) -> usize {
        match self {
            Self::Same(bytes) => bytes.saturating_mul(rows),
            Self::Each(bytes) => bytes.iter().sum(),
        }
    }
}
