//! Rows of a CSV file that comes piece by piece, however long the file or one of its rows is.
//!
//! `csv-core` finds the fields; here are the places of rows in the file, and the bounds. A row ends at a
//! boundary at which reading can begin again later: [`Csv::at`] says where.

use bytes::{Buf, Bytes};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde::{Deserialize, Serialize};

/// The longest row, in bytes (spec 5.4).
pub(super) const ROW_BYTES_MAX: usize = 16 << 20;
/// What some programs begin a file with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// The most fields of a row.
const FIELDS_MAX: usize = 10_000;

/// How a file is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CsvConfiguration {
    /// Between columns; a comma by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column_separator: Option<String>,
    /// Before a quote inside quotes; without it a quote is doubled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escape_char: Option<String>,
    /// Around fields; a double quote by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote_char: Option<String>,
    /// What stands for no value, beside nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_value: Option<String>,
    /// Whether blanks around fields are left out; by default they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trim_white_space: Option<bool>,
}

impl CsvConfiguration {
    /// Whether the characters are some that AWS takes.
    pub(super) fn check(&self) -> Result<(), String> {
        let one_of = |member: &str, text: &Option<String>, chars: &str| match text.as_deref() {
            Some(text) if !chars.chars().any(|one| one.to_string() == text) => {
                let chars: Vec<String> = chars.chars().map(|one| format!("{one:?}")).collect();
                Err(format!("The {member} {text:?} is invalid: it must be one of {}.", chars.join(", ")))
            }
            _ => Ok(()),
        };
        one_of("ColumnSeparator", &self.column_separator, ",|;\t ")?;
        one_of("QuoteChar", &self.quote_char, "'\"")?;
        let escape = self.escape_char.as_deref().map(str::as_bytes);
        if let Some(escape) = escape
            && !matches!(escape, [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && *byte > b' ')
        {
            return Err(
                "The EscapeChar is invalid: it must be one visible ASCII character that is no letter and \
                        no digit, such as a backslash."
                    .to_owned(),
            );
        }
        if escape == Some([self.separator()].as_slice()) {
            return Err("The EscapeChar cannot be the ColumnSeparator.".to_owned());
        }
        Ok(())
    }

    fn separator(&self) -> u8 {
        first_byte(&self.column_separator, b',')
    }

    fn reader(&self) -> Reader {
        let quote = first_byte(&self.quote_char, b'"');
        // An escape that is the quote itself is the doubling that is understood anyway.
        let escape = self.escape_char.as_ref().and_then(|text| text.bytes().next());
        ReaderBuilder::new()
            .delimiter(self.separator())
            .quote(quote)
            .escape(escape.filter(|escape| *escape != quote))
            .build()
    }
}

fn first_byte(text: &Option<String>, default: u8) -> u8 {
    text.as_ref().and_then(|text| text.bytes().next()).unwrap_or(default)
}

/// A place between two rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Lines before it.
    pub(super) lines: u64,
}

/// Why the rest of a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CsvError {
    /// A row is too long; a quote that is never closed is the usual reason.
    #[error("the row that begins in line {line} is longer than {ROW_BYTES_MAX} bytes; is a quote missing?")]
    RowTooLong { line: u64 },
    /// A row has too many fields.
    #[error("the row that begins in line {line} has more than {FIELDS_MAX} columns")]
    TooManyFields { line: u64 },
}

/// What came of looking for the next row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// There is a row: [`Csv::row`].
    Row,
    /// More of the file is needed: [`Csv::feed`].
    Hungry,
    /// The file has no more rows.
    End,
}

/// The rows of one file.
pub(super) struct Csv {
    reader: Reader,
    piece: Bytes,
    /// Whether the last piece was the last.
    ended: bool,
    fields: Vec<u8>,
    ends: Vec<usize>,
    filled: usize,
    found: usize,
    at: Place,
    /// Where the row that was found last ended.
    row_end: Place,
    row: Row,
    /// Whether the byte before was a carriage return that ended a line, alone or with what follows.
    after_return: bool,
}

/// How far the row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// None has begun.
    Between,
    /// One has, in this line.
    Begun(u64),
    /// It is there, since this line.
    Found(u64),
}

impl Csv {
    /// Rows from `place` on; the bytes fed first stand there.
    pub(super) fn new(configuration: &CsvConfiguration, place: Place) -> Self {
        let mut reader = configuration.reader();
        // It would take a byte order mark for the end where nothing follows it yet: `feed` passes that.
        let _ = reader.read_record(b"\n", &mut [0; 1], &mut [0; 1]);
        Self {
            reader,
            piece: Bytes::new(),
            ended: false,
            fields: vec![0; 4096],
            ends: vec![0; 64],
            filled: 0,
            found: 0,
            at: place,
            row_end: place,
            row: Row::Between,
            after_return: false,
        }
    }

    /// Where the row that was found last ended, even if part of the next was read.
    pub(super) fn row_end(&self) -> Place {
        self.row_end
    }

    /// The next piece of the file; nothing at its end.
    pub(super) fn feed(&mut self, piece: Option<Bytes>) {
        self.ended = piece.is_none();
        self.piece = piece.unwrap_or_default();
        if self.at.offset == 0 && self.piece.starts_with(BYTE_ORDER_MARK) {
            self.piece.advance(BYTE_ORDER_MARK.len());
            self.at.offset += BYTE_ORDER_MARK.len() as u64;
        }
    }

    /// The row that was found: its first line, from 1, and its fields.
    pub(super) fn row(&self) -> (u64, Fields<'_>) {
        let line = match self.row {
            Row::Found(line) | Row::Begun(line) => line,
            Row::Between => self.at.lines,
        };
        (line, Fields { bytes: &self.fields[..self.filled], ends: &self.ends[..self.found] })
    }

    /// Looks for the next row.
    pub(super) fn step(&mut self) -> Result<Step, CsvError> {
        let line = match self.row {
            Row::Begun(line) => line,
            Row::Between | Row::Found(_) => {
                self.row = Row::Between;
                (self.filled, self.found) = (0, 0);
                self.skip_line_ends();
                if self.piece.is_empty() {
                    return Ok(if self.ended { Step::End } else { Step::Hungry });
                }
                self.at.lines + 1
            }
        };
        self.row = Row::Begun(line);
        loop {
            if self.piece.is_empty() && !self.ended {
                return Ok(Step::Hungry);
            }
            let (fields, ends) = (&mut self.fields[self.filled..], &mut self.ends[self.found..]);
            let (result, read, filled, found) = self.reader.read_record(&self.piece, fields, ends);
            self.pass(read);
            self.filled += filled;
            self.found += found;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.filled >= ROW_BYTES_MAX => {
                    return Err(CsvError::RowTooLong { line });
                }
                ReadRecordResult::OutputFull => {
                    let room = (self.fields.len() * 2).min(ROW_BYTES_MAX);
                    self.fields.resize(room, 0);
                }
                ReadRecordResult::OutputEndsFull if self.found >= FIELDS_MAX => {
                    return Err(CsvError::TooManyFields { line });
                }
                ReadRecordResult::OutputEndsFull => {
                    self.ends.resize((self.ends.len() * 2).min(FIELDS_MAX), 0);
                }
                ReadRecordResult::Record => {
                    self.row_end = self.at;
                    self.row = Row::Found(line);
                    return Ok(Step::Row);
                }
                ReadRecordResult::End => return Ok(Step::End),
            }
        }
    }

    /// Counts bytes of a row as read.
    fn pass(&mut self, count: usize) {
        let read = self.piece.split_to(count);
        self.at.offset += count as u64;
        self.at.lines += read.iter().filter(|byte| **byte == b'\n').count() as u64;
        if let Some(last) = read.last() {
            self.after_return = *last == b'\r';
        }
    }

    /// Passes the ends of lines before the next row: what is left of the row's before, and empty lines.
    fn skip_line_ends(&mut self) {
        let mut passed = 0;
        for byte in &self.piece {
            match byte {
                b'\n' => self.at.lines += 1,
                _ => self.at.lines += u64::from(self.after_return),
            }
            self.after_return = *byte == b'\r';
            if !matches!(byte, b'\r' | b'\n') {
                break;
            }
            passed += 1;
        }
        self.at.offset += passed as u64;
        self.piece.advance(passed);
    }
}

/// The fields of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Fields<'a> {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The field in place `at`, from 0.
    pub(super) fn get(&self, at: usize) -> Option<&'a [u8]> {
        let begin = if at == 0 { 0 } else { *self.ends.get(at - 1)? };
        self.bytes.get(begin..*self.ends.get(at)?)
    }
}

#[cfg(test)]
#[path = "csv/tests.rs"]
mod tests;
