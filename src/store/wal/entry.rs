//! What a frame carries: the rows one write added to one table.
//!
//! ```text
//! entry   kind u8: 1 · table id 16 bytes · number of rows u32 · rows
//! row     flags u8 · time i64 · version i64
//!         · unless flag 8: measure name text
//!         · unless flag 2: number of dimensions u8, then name text, unless flag 16, and value text of each
//!         · without flag 4: one value · with flag 4: number of attributes u16, then name text, unless
//!           flag 8, and value of each
//! flags   1 replaces an older version · 2 same dimensions as the row before · 4 multi-measure
//!         · 8 same measure name as the row before, and same names of attributes
//!         · 16 as many dimensions as the row before, of the same names
//! value   1 double u64 bits · 2 bigint i64 · 3 varchar text · 4 boolean u8 · 5 timestamp i64
//! text    length as LEB128, at most 5 bytes, then UTF-8
//! ```
//!
//! Integers are little endian. Decoding trusts nothing: every length is checked against what is left.

mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use rows::{LoggedRow, LoggedRows, rows_of, table_of};

use crate::record::{Dimension, Measure, MeasureValue, Record};
use crate::store::paths::TableId;

const KIND_ROWS: u8 = 1;
const REPLACES: u8 = 1;
const SAME_DIMENSIONS: u8 = 2;
const MULTI: u8 = 4;
const SAME_MEASURE: u8 = 8;
const SAME_DIMENSION_NAMES: u8 = 16;
const FLAGS: u8 = REPLACES | SAME_DIMENSIONS | MULTI | SAME_MEASURE | SAME_DIMENSION_NAMES;
const HEADER_BYTES: usize = 1 + 16 + 4;

/// Builds an entry row by row.
#[derive(Debug)]
pub(crate) struct EntryBuilder {
    bytes: Vec<u8>,
    rows: u32,
    before: Option<Names>,
}

/// What a row has in common with the row before, mostly.
#[derive(Debug)]
struct Names {
    measure_name: Arc<str>,
    attributes: Vec<Arc<str>>,
    dimensions: Arc<[Dimension]>,
}

impl Names {
    fn of(record: &Record) -> Self {
        let attributes = match &record.measure {
            Measure::Single(_) => Vec::new(),
            Measure::Multi(attributes) => attributes.iter().map(|one| Arc::clone(&one.name)).collect(),
        };
        let (measure_name, dimensions) = (Arc::clone(&record.measure_name), Arc::clone(&record.dimensions));
        Self { measure_name, attributes, dimensions }
    }

    fn has_measure_of(&self, record: &Record) -> bool {
        self.measure_name == record.measure_name
            && match &record.measure {
                Measure::Single(_) => self.attributes.is_empty(),
                Measure::Multi(attributes) => {
                    self.attributes.len() == attributes.len()
                        && self.attributes.iter().zip(attributes).all(|(name, one)| *name == one.name)
                }
            }
    }

    fn has_dimension_names_of(&self, record: &Record) -> bool {
        self.dimensions.len() == record.dimensions.len()
            && self.dimensions.iter().zip(&*record.dimensions).all(|(before, one)| before.name == one.name)
    }

    /// Which flags a row gets that comes behind these names.
    fn flags(&self, record: &Record) -> u8 {
        let measure = if self.has_measure_of(record) { SAME_MEASURE } else { 0 };
        let same = Arc::ptr_eq(&self.dimensions, &record.dimensions);
        measure
            | match () {
                // Readings of one device share their dimensions, those of one fleet the names.
                () if same || self.dimensions == record.dimensions => SAME_DIMENSIONS,
                () if self.has_dimension_names_of(record) => SAME_DIMENSION_NAMES,
                () => 0,
            }
    }
}

impl EntryBuilder {
    pub(crate) fn new(table: TableId) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(KIND_ROWS);
        bytes.extend_from_slice(&table.bytes());
        bytes.extend_from_slice(&[0; 4]);
        Self { bytes, rows: 0, before: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// How many bytes the entry has so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a row. The record must have passed admission, which bounds its counts.
    pub(crate) fn push(&mut self, record: &Record, replaces: bool) {
        let mut flags = self.before.as_ref().map_or(0, |before| before.flags(record));
        let same = |flag: u8| flags & flag != 0;
        let (same_measure, same_dimensions) = (same(SAME_MEASURE), same(SAME_DIMENSIONS));
        let same_names = same(SAME_DIMENSION_NAMES);
        if replaces {
            flags |= REPLACES;
        }
        if let Measure::Multi(_) = record.measure {
            flags |= MULTI;
        }
        let out = &mut self.bytes;
        out.push(flags);
        out.extend_from_slice(&record.time.nanos().to_le_bytes());
        out.extend_from_slice(&record.version.to_le_bytes());
        if !same_measure {
            put_text(out, &record.measure_name);
        }
        if !same_dimensions {
            out.push(u8::try_from(record.dimensions.len()).expect("admission allows 128 dimensions"));
            for dimension in &*record.dimensions {
                if !same_names {
                    put_text(out, &dimension.name);
                }
                put_text(out, &dimension.value);
            }
        }
        match &record.measure {
            Measure::Single(value) => put_value(out, value),
            Measure::Multi(attributes) => {
                let count = u16::try_from(attributes.len()).expect("admission allows 4096 attributes");
                out.extend_from_slice(&count.to_le_bytes());
                for attribute in attributes {
                    if !same_measure {
                        put_text(out, &attribute.name);
                    }
                    put_value(out, &attribute.value);
                }
            }
        }
        match &mut self.before {
            Some(before) if same_measure => {
                if !same_dimensions {
                    before.dimensions = Arc::clone(&record.dimensions);
                }
            }
            before => *before = Some(Names::of(record)),
        }
        self.rows += 1;
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&self.rows.to_le_bytes());
        self.bytes
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.len();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
    out.extend_from_slice(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &MeasureValue) {
    let (kind, bits) = match value {
        MeasureValue::Varchar(text) => {
            out.push(3);
            return put_text(out, text);
        }
        MeasureValue::Boolean(value) => return out.extend_from_slice(&[4, u8::from(*value)]),
        MeasureValue::Double(value) => (1, value.to_le_bytes()),
        MeasureValue::Bigint(value) => (2, value.to_le_bytes()),
        MeasureValue::Timestamp(value) => (5, value.nanos().to_le_bytes()),
    };
    out.push(kind);
    out.extend_from_slice(&bits);
}

/// Why bytes are no entry, although their checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryFault {
    #[error("the entry ends too early")]
    Short,
    #[error("the entry goes on after its last row")]
    Long,
    #[error("entries of kind {0} are not known to this program")]
    Kind(u8),
    #[error("a row has the flags {0}, which this program does not know")]
    Flags(u8),
    #[error("values of kind {0} are not known to this program")]
    Value(u8),
    #[error("a text is not UTF-8")]
    Text,
    #[error("a row refers to names that the row before does not have")]
    NoNames,
}
