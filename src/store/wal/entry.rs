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

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::record::{Attribute, Dimension, Measure, MeasureValue, Record};
use crate::store::paths::TableId;

const KIND_ROWS: u8 = 1;
const REPLACES: u8 = 1;
const SAME_DIMENSIONS: u8 = 2;
const MULTI: u8 = 4;
const SAME_MEASURE: u8 = 8;
const SAME_DIMENSION_NAMES: u8 = 16;
const FLAGS: u8 = REPLACES | SAME_DIMENSIONS | MULTI | SAME_MEASURE | SAME_DIMENSION_NAMES;
const HEADER_BYTES: usize = 1 + 16 + 4;

/// A row as the log keeps it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoggedRow {
    pub(crate) record: Record,
    /// Whether an older version of the row existed when this one was written.
    pub(crate) replaces: bool,
}

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

/// The table an entry belongs to, without reading its rows.
pub(crate) fn table_of(entry: &[u8]) -> Result<TableId, EntryFault> {
    Ok(Reader(entry).header()?.0)
}

/// The table an entry belongs to and how many rows it says it has.
pub(crate) fn rows_of(entry: &[u8]) -> Result<(TableId, u32), EntryFault> {
    Reader(entry).header()
}

/// Reads an entry.
pub(crate) fn decode(entry: &[u8]) -> Result<(TableId, Vec<LoggedRow>), EntryFault> {
    let mut reader = Reader(entry);
    let (table, rows) = reader.header()?;
    let mut decoded: Vec<LoggedRow> = Vec::new();
    for _ in 0..rows {
        let row = reader.row(decoded.last())?;
        decoded.push(row);
    }
    if reader.0.is_empty() { Ok((table, decoded)) } else { Err(EntryFault::Long) }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], EntryFault> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(EntryFault::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, EntryFault> {
        Ok(self.array::<1>()?[0])
    }

    fn bigint(&mut self) -> Result<i64, EntryFault> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a str, EntryFault> {
        let mut length = 0_usize;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let (taken, rest) = self.0.split_at_checked(length).ok_or(EntryFault::Short)?;
                self.0 = rest;
                return std::str::from_utf8(taken).map_err(|_| EntryFault::Text);
            }
        }
        Err(EntryFault::Short)
    }

    fn header(&mut self) -> Result<(TableId, u32), EntryFault> {
        match self.byte()? {
            KIND_ROWS => {
                let table = TableId::from_bytes(self.array()?);
                Ok((table, u32::from_le_bytes(self.array()?)))
            }
            kind => Err(EntryFault::Kind(kind)),
        }
    }

    fn row(&mut self, before: Option<&LoggedRow>) -> Result<LoggedRow, EntryFault> {
        let flags = self.byte()?;
        if flags & !FLAGS != 0 {
            return Err(EntryFault::Flags(flags));
        }
        let before = |flag: u8| match before {
            _ if flags & flag == 0 => Ok(None),
            Some(before) => Ok(Some(&before.record)),
            None => Err(EntryFault::NoNames),
        };
        let time = Timestamp::from_nanos(self.bigint()?);
        let version = self.bigint()?;
        let same_measure = before(SAME_MEASURE)?;
        let measure_name = match same_measure {
            Some(before) => Arc::clone(&before.measure_name),
            None => self.text()?.into(),
        };
        let dimensions = match before(SAME_DIMENSIONS)? {
            Some(before) => Arc::clone(&before.dimensions),
            None => self.dimensions(before(SAME_DIMENSION_NAMES)?)?,
        };
        let measure = match (flags & MULTI != 0, same_measure.map(|before| &before.measure)) {
            (false, None | Some(Measure::Single(_))) => Measure::Single(self.value()?),
            (true, None) => Measure::Multi(self.attributes(None)?),
            (true, Some(Measure::Multi(before))) => Measure::Multi(self.attributes(Some(before))?),
            _ => return Err(EntryFault::NoNames),
        };
        let record = Record { dimensions, measure_name, measure, time, version };
        Ok(LoggedRow { record, replaces: flags & REPLACES != 0 })
    }

    fn dimensions(&mut self, before: Option<&Record>) -> Result<Arc<[Dimension]>, EntryFault> {
        let count = usize::from(self.byte()?);
        if before.is_some_and(|before| before.dimensions.len() != count) {
            return Err(EntryFault::NoNames);
        }
        (0..count)
            .map(|at| {
                let name = match before {
                    Some(before) => Arc::clone(&before.dimensions[at].name),
                    None => self.text()?.into(),
                };
                Ok(Dimension { name, value: self.text()?.to_owned() })
            })
            .collect()
    }

    fn attributes(&mut self, before: Option<&Vec<Attribute>>) -> Result<Vec<Attribute>, EntryFault> {
        let count = usize::from(u16::from_le_bytes(self.array()?));
        if before.is_some_and(|before| before.len() != count) {
            return Err(EntryFault::NoNames);
        }
        (0..count)
            .map(|at| {
                let name = match before {
                    Some(before) => Arc::clone(&before[at].name),
                    None => self.text()?.into(),
                };
                Ok(Attribute { name, value: self.value()? })
            })
            .collect()
    }

    fn value(&mut self) -> Result<MeasureValue, EntryFault> {
        Ok(match self.byte()? {
            1 => MeasureValue::Double(f64::from_le_bytes(self.array()?)),
            2 => MeasureValue::Bigint(self.bigint()?),
            3 => MeasureValue::Varchar(self.text()?.to_owned()),
            4 => MeasureValue::Boolean(self.byte()? != 0),
            5 => MeasureValue::Timestamp(Timestamp::from_nanos(self.bigint()?)),
            kind => return Err(EntryFault::Value(kind)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<LoggedRow> {
        let dimension = |name: &str, value: &str| Dimension { name: name.into(), value: value.to_owned() };
        let row = |value: &str, measure, replaces| LoggedRow {
            record: Record {
                dimensions: [dimension("host", value)].into(),
                measure_name: "m".into(),
                measure,
                time: Timestamp::from_nanos(-5),
                version: 9,
            },
            replaces,
        };
        let attribute = |name: &str, value| Attribute { name: name.into(), value };
        vec![
            row("a", Measure::Single(MeasureValue::Double(0.1)), false),
            row("a", Measure::Single(MeasureValue::Bigint(i64::MIN)), true),
            row("b", Measure::Single(MeasureValue::Varchar("größe".repeat(50))), false),
            row(
                "b",
                Measure::Multi(vec![
                    attribute("flag", MeasureValue::Boolean(true)),
                    attribute("at", MeasureValue::Timestamp(Timestamp::from_nanos(i64::MAX))),
                ]),
                true,
            ),
            row(
                "c",
                Measure::Multi(vec![
                    attribute("flag", MeasureValue::Boolean(false)),
                    attribute("at", MeasureValue::Bigint(3)),
                ]),
                false,
            ),
            row("c", Measure::Multi(vec![attribute("at", MeasureValue::Bigint(3))]), false),
            row("c", Measure::Single(MeasureValue::Boolean(true)), false),
            LoggedRow {
                record: Record {
                    dimensions: [dimension("host", "c"), dimension("rack", "r")].into(),
                    measure_name: "other".into(),
                    ..row("c", Measure::Single(MeasureValue::Bigint(4)), false).record
                },
                replaces: false,
            },
            LoggedRow {
                record: Record {
                    dimensions: [].into(),
                    ..row("", Measure::Single(MeasureValue::Bigint(4)), false).record
                },
                replaces: false,
            },
        ]
    }

    fn encoded() -> (TableId, Vec<u8>) {
        let table = TableId::from_bytes([7; 16]);
        let mut builder = EntryBuilder::new(table);
        assert!(builder.is_empty());
        for row in rows() {
            builder.push(&row.record, row.replaces);
        }
        (table, builder.finish())
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let (table, bytes) = encoded();
        assert_eq!(decode(&bytes), Ok((table, rows())));
        assert_eq!(table_of(&bytes), Ok(table));
    }

    #[test]
    fn names_that_come_again_are_neither_written_nor_made_again() {
        let (_, bytes) = encoded();
        let (_, decoded) = decode(&bytes).expect("whole");
        assert!(Arc::ptr_eq(&decoded[0].record.dimensions, &decoded[1].record.dimensions));
        let name = |row: &LoggedRow| Arc::clone(&row.record.dimensions[0].name);
        assert!(Arc::ptr_eq(&name(&decoded[3]), &name(&decoded[4])));
        assert!(Arc::ptr_eq(&decoded[3].record.measure_name, &decoded[4].record.measure_name));
        let mut builder = EntryBuilder::new(TableId::from_bytes([7; 16]));
        let rows = rows();
        builder.push(&rows[3].record, false);
        let first = builder.len();
        builder.push(&rows[4].record, false);
        // Flags, time, version · a dimension's value · two values of two and nine bytes.
        assert_eq!(builder.len() - first, 17 + 1 + 2 + 2 + 2 + 9);
    }

    /// What the first release wrote.
    #[test]
    fn rows_that_repeat_all_names_are_still_read() {
        let mut bytes = vec![KIND_ROWS];
        bytes.extend([7; 16]);
        bytes.extend(2_u32.to_le_bytes());
        for (flags, dimensions) in [(0, &b"\x01\x04host\x01a"[..]), (SAME_DIMENSIONS, &b""[..])] {
            bytes.push(flags);
            bytes.extend((-5_i64).to_le_bytes());
            bytes.extend(9_i64.to_le_bytes());
            bytes.extend(b"\x01m");
            bytes.extend(dimensions);
            bytes.extend([4, 1]);
        }
        let expected = LoggedRow {
            record: Record {
                measure: Measure::Single(MeasureValue::Boolean(true)),
                ..rows()[0].record.clone()
            },
            replaces: false,
        };
        assert_eq!(decode(&bytes).map(|(_, rows)| rows), Ok(vec![expected.clone(), expected]));
    }

    #[test]
    fn no_cut_and_no_flipped_bit_makes_it_panic() {
        let (_, bytes) = encoded();
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Err(EntryFault::Short), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            // The frame's checksum sees the flip; here only the absence of a panic counts.
            drop(decode(&broken));
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(decode(&longer), Err(EntryFault::Long));
    }

    #[test]
    fn an_absurd_count_costs_no_memory() {
        let mut bytes = encoded().1;
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&bytes), Err(EntryFault::Short));
    }
}
