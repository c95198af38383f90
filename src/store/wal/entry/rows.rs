//! Reads entries without copying them: names, texts and values are those in the entry's bytes.
//!
//! A start reads every row of the log, hundreds of bytes each. As records, with a text and an allocation for
//! everything that has a name, that took most of its time.

use std::ops::Range;

use super::{
    EntryFault, FLAGS, KIND_ROWS, MULTI, REPLACES, SAME_DIMENSION_NAMES, SAME_DIMENSIONS, SAME_MEASURE,
};
use crate::clock::Timestamp;
use crate::record::{Attribute, Dimension, Measure, MeasureType, MeasureValue, Record};
use crate::store::paths::TableId;

/// A row in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoggedRow<'a> {
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
    pub(crate) version: i64,
    /// Whether an older version of the row existed when this one was written.
    pub(crate) replaces: bool,
    pub(crate) measure_name: &'a str,
    pub(crate) dimension_names: &'a [&'a str],
    pub(crate) dimension_values: &'a [&'a str],
    /// The names of a multi-measure record's attributes; nothing for a single-measure record.
    pub(crate) attributes: Option<&'a [&'a str]>,
    /// The values of the attributes in their order, or the one there is.
    pub(crate) values: &'a [LoggedValue<'a>],
}

/// A value in the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LoggedValue<'a> {
    Double(f64),
    Bigint(i64),
    Varchar(&'a str),
    Boolean(bool),
    Timestamp(i64),
}

impl LoggedValue<'_> {
    pub(crate) fn measure_type(self) -> MeasureType {
        match self {
            Self::Double(_) => MeasureType::Double,
            Self::Bigint(_) => MeasureType::Bigint,
            Self::Varchar(_) => MeasureType::Varchar,
            Self::Boolean(_) => MeasureType::Boolean,
            Self::Timestamp(_) => MeasureType::Timestamp,
        }
    }

    pub(crate) fn value(self) -> MeasureValue {
        match self {
            Self::Double(value) => MeasureValue::Double(value),
            Self::Bigint(value) => MeasureValue::Bigint(value),
            Self::Varchar(text) => MeasureValue::Varchar(text.to_owned()),
            Self::Boolean(value) => MeasureValue::Boolean(value),
            Self::Timestamp(nanos) => MeasureValue::Timestamp(Timestamp::from_nanos(nanos)),
        }
    }
}

impl LoggedRow<'_> {
    /// The row as the record it was written as.
    pub(crate) fn record(&self) -> Record {
        let dimensions = self.dimension_names.iter().zip(self.dimension_values);
        let dimension =
            |(name, value): (&&str, &&str)| Dimension { name: (*name).into(), value: (*value).to_owned() };
        let attribute = |(name, value): (&&str, &LoggedValue<'_>)| Attribute {
            name: (*name).into(),
            value: value.value(),
        };
        let measure = match self.attributes {
            None => Measure::Single(self.values[0].value()),
            Some(names) => Measure::Multi(names.iter().zip(self.values).map(attribute).collect()),
        };
        Record {
            dimensions: dimensions.map(dimension).collect(),
            measure_name: self.measure_name.into(),
            measure,
            time: Timestamp::from_nanos(self.time),
            version: self.version,
        }
    }
}

/// The rows of one entry after the other.
#[derive(Debug, Default)]
pub(crate) struct LoggedRows<'a> {
    rows: Vec<Row<'a>>,
    texts: Vec<&'a str>,
    values: Vec<LoggedValue<'a>>,
}

/// A row whose texts and values lie side by side with those of the others.
#[derive(Debug, Clone)]
struct Row<'a> {
    time: i64,
    version: i64,
    replaces: bool,
    measure_name: &'a str,
    dimension_names: Range<usize>,
    dimension_values: Range<usize>,
    attributes: Option<Range<usize>>,
    values: Range<usize>,
}

impl<'a> LoggedRows<'a> {
    /// Reads an entry in place of the one before.
    pub(crate) fn read(&mut self, entry: &'a [u8]) -> Result<TableId, EntryFault> {
        self.rows.clear();
        self.texts.clear();
        self.values.clear();
        let mut reader = Reader(entry);
        let (table, rows) = reader.header()?;
        for _ in 0..rows {
            let row = self.row(&mut reader)?;
            self.rows.push(row);
        }
        if reader.0.is_empty() { Ok(table) } else { Err(EntryFault::Long) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = LoggedRow<'_>> {
        self.rows.iter().map(|row| LoggedRow {
            time: row.time,
            version: row.version,
            replaces: row.replaces,
            measure_name: row.measure_name,
            dimension_names: &self.texts[row.dimension_names.clone()],
            dimension_values: &self.texts[row.dimension_values.clone()],
            attributes: row.attributes.clone().map(|names| &self.texts[names]),
            values: &self.values[row.values.clone()],
        })
    }

    fn row(&mut self, reader: &mut Reader<'a>) -> Result<Row<'a>, EntryFault> {
        let flags = reader.byte()?;
        if flags & !FLAGS != 0 {
            return Err(EntryFault::Flags(flags));
        }
        let before = self.rows.last().cloned();
        let before = |flag: u8| match &before {
            _ if flags & flag == 0 => Ok(None),
            Some(before) => Ok(Some(before)),
            None => Err(EntryFault::NoNames),
        };
        let (time, version) = (reader.bigint()?, reader.bigint()?);
        let same_measure = before(SAME_MEASURE)?;
        let measure_name = match same_measure {
            Some(before) => before.measure_name,
            None => reader.text()?,
        };
        let (dimension_names, dimension_values) = match before(SAME_DIMENSIONS)? {
            Some(before) => (before.dimension_names.clone(), before.dimension_values.clone()),
            None => {
                let names = before(SAME_DIMENSION_NAMES)?.map(|before| before.dimension_names.clone());
                self.dimensions(reader, names)?
            }
        };
        let (attributes, values) = match (flags & MULTI != 0, same_measure.map(|before| &before.attributes)) {
            (false, None | Some(None)) => {
                self.values.push(reader.value()?);
                (None, self.values.len() - 1..self.values.len())
            }
            (true, None) => self.attributes(reader, None)?,
            (true, Some(Some(names))) => self.attributes(reader, Some(names.clone()))?,
            _ => return Err(EntryFault::NoNames),
        };
        let replaces = flags & REPLACES != 0;
        Ok(Row {
            time,
            version,
            replaces,
            measure_name,
            dimension_names,
            dimension_values,
            attributes,
            values,
        })
    }

    /// Dimensions, of these names if they are known.
    fn dimensions(
        &mut self,
        reader: &mut Reader<'a>,
        names: Option<Range<usize>>,
    ) -> Result<(Range<usize>, Range<usize>), EntryFault> {
        let count = usize::from(reader.byte()?);
        if let Some(names) = names {
            if names.len() != count {
                return Err(EntryFault::NoNames);
            }
            let first = self.texts.len();
            for _ in 0..count {
                self.texts.push(reader.text()?);
            }
            return Ok((names, first..first + count));
        }
        // Each value lies behind its name.
        let (first, mut values) = (self.texts.len(), [""; u8::MAX as usize]);
        for value in &mut values[..count] {
            self.texts.push(reader.text()?);
            *value = reader.text()?;
        }
        self.texts.extend_from_slice(&values[..count]);
        Ok((first..first + count, first + count..first + 2 * count))
    }

    /// Attributes, of these names if they are known.
    fn attributes(
        &mut self,
        reader: &mut Reader<'a>,
        names: Option<Range<usize>>,
    ) -> Result<(Option<Range<usize>>, Range<usize>), EntryFault> {
        let count = usize::from(u16::from_le_bytes(reader.array()?));
        if names.as_ref().is_some_and(|names| names.len() != count) {
            return Err(EntryFault::NoNames);
        }
        let (name, value) = (self.texts.len(), self.values.len());
        for _ in 0..count {
            if names.is_none() {
                self.texts.push(reader.text()?);
            }
            self.values.push(reader.value()?);
        }
        Ok((Some(names.unwrap_or(name..name + count)), value..value + count))
    }
}

/// The table an entry belongs to, without reading its rows.
pub(crate) fn table_of(entry: &[u8]) -> Result<TableId, EntryFault> {
    Ok(Reader(entry).header()?.0)
}

/// The table an entry belongs to and how many rows it says it has.
pub(crate) fn rows_of(entry: &[u8]) -> Result<(TableId, u32), EntryFault> {
    Reader(entry).header()
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

    fn value(&mut self) -> Result<LoggedValue<'a>, EntryFault> {
        Ok(match self.byte()? {
            1 => LoggedValue::Double(f64::from_le_bytes(self.array()?)),
            2 => LoggedValue::Bigint(self.bigint()?),
            3 => LoggedValue::Varchar(self.text()?),
            4 => LoggedValue::Boolean(self.byte()? != 0),
            5 => LoggedValue::Timestamp(self.bigint()?),
            kind => return Err(EntryFault::Value(kind)),
        })
    }
}
