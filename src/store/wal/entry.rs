//! What a frame carries: the rows one write added to one table.
//!
//! ```text
//! entry   kind u8: 1 · table id 16 bytes · number of rows u32 · rows
//! row     flags u8 · time i64 · version i64 · measure name text
//!         · unless flag 2: number of dimensions u8, then name text and value text of each
//!         · without flag 4: one value · with flag 4: number of attributes u16, then name text and
//!           value of each
//! flags   1 replaces an older version · 2 same dimensions as the row before · 4 multi-measure
//! value   1 double u64 bits · 2 bigint i64 · 3 varchar text · 4 boolean u8 · 5 timestamp i64
//! text    length as LEB128, at most 5 bytes, then UTF-8
//! ```
//!
//! Integers are little endian. Decoding trusts nothing: every length is checked against what is left.

use crate::clock::Timestamp;
use crate::record::{Attribute, Dimension, Measure, MeasureValue, Record};
use crate::store::paths::TableId;

const KIND_ROWS: u8 = 1;
const REPLACES: u8 = 1;
const SAME_DIMENSIONS: u8 = 2;
const MULTI: u8 = 4;
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
    dimensions: std::ops::Range<usize>,
}

impl EntryBuilder {
    pub(crate) fn new(table: TableId) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(KIND_ROWS);
        bytes.extend_from_slice(&table.bytes());
        bytes.extend_from_slice(&[0; 4]);
        Self { bytes, rows: 0, dimensions: 0..0 }
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
        let flags_at = self.bytes.len();
        self.bytes.push(if replaces { REPLACES } else { 0 });
        self.bytes.extend_from_slice(&record.time.nanos().to_le_bytes());
        self.bytes.extend_from_slice(&record.version.to_le_bytes());
        put_text(&mut self.bytes, &record.measure_name);
        let start = self.bytes.len();
        let count = u8::try_from(record.dimensions.len()).expect("admission allows 128 dimensions");
        self.bytes.push(count);
        for dimension in &record.dimensions {
            put_text(&mut self.bytes, &dimension.name);
            put_text(&mut self.bytes, &dimension.value);
        }
        // Readings of one device share their dimensions: keep them once.
        if self.rows > 0 && self.bytes[start..] == self.bytes[self.dimensions.clone()] {
            self.bytes.truncate(start);
            self.bytes[flags_at] |= SAME_DIMENSIONS;
        } else {
            self.dimensions = start..self.bytes.len();
        }
        match &record.measure {
            Measure::Single(value) => put_value(&mut self.bytes, value),
            Measure::Multi(attributes) => {
                self.bytes[flags_at] |= MULTI;
                let count = u16::try_from(attributes.len()).expect("admission allows 4096 attributes");
                self.bytes.extend_from_slice(&count.to_le_bytes());
                for attribute in attributes {
                    put_text(&mut self.bytes, &attribute.name);
                    put_value(&mut self.bytes, &attribute.value);
                }
            }
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
    #[error("the first row refers to dimensions of a row before")]
    NoDimensions,
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
        if flags & !(REPLACES | SAME_DIMENSIONS | MULTI) != 0 {
            return Err(EntryFault::Flags(flags));
        }
        let time = Timestamp::from_nanos(self.bigint()?);
        let version = self.bigint()?;
        let measure_name = self.text()?.to_owned();
        let dimensions = if flags & SAME_DIMENSIONS == 0 {
            self.dimensions()?
        } else {
            before.ok_or(EntryFault::NoDimensions)?.record.dimensions.clone()
        };
        let measure = if flags & MULTI == 0 {
            Measure::Single(self.value()?)
        } else {
            Measure::Multi(self.attributes()?)
        };
        let record = Record { dimensions, measure_name, measure, time, version };
        Ok(LoggedRow { record, replaces: flags & REPLACES != 0 })
    }

    fn dimensions(&mut self) -> Result<Vec<Dimension>, EntryFault> {
        let count = self.byte()?;
        (0..count)
            .map(|_| Ok(Dimension { name: self.text()?.to_owned(), value: self.text()?.to_owned() }))
            .collect()
    }

    fn attributes(&mut self) -> Result<Vec<Attribute>, EntryFault> {
        let count = u16::from_le_bytes(self.array()?);
        (0..count).map(|_| Ok(Attribute { name: self.text()?.to_owned(), value: self.value()? })).collect()
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
        let dimension = |value: &str| vec![Dimension { name: "host".to_owned(), value: value.to_owned() }];
        let row = |value: &str, measure, replaces| LoggedRow {
            record: Record {
                dimensions: dimension(value),
                measure_name: "m".to_owned(),
                measure,
                time: Timestamp::from_nanos(-5),
                version: 9,
            },
            replaces,
        };
        let attribute = |name: &str, value| Attribute { name: name.to_owned(), value };
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
