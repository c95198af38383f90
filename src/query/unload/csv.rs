//! Rows as CSV, in AWS's spelling (spec 1.4): quotes where they are needed, escapes before quotes and escapes
//! inside them, complex values as JSON.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Output;
use crate::query::error::failed;
use crate::query::rows::{Column, Datum};
use crate::query::sql_type::SqlType;

/// How fields are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct CsvStyle {
    pub(super) delimiter: u8,
    pub(super) escape: u8,
}

/// A file that is being written.
pub(super) struct CsvFile {
    style: CsvStyle,
    types: Vec<SqlType>,
    out: Sink,
    line: Vec<u8>,
}

enum Sink {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

impl CsvFile {
    /// A file for columns of these types, which begins with `header` if there is one.
    pub(super) fn new(
        style: CsvStyle,
        gzip: bool,
        types: &[SqlType],
        header: Option<&[String]>,
    ) -> Result<Self> {
        let out = match gzip {
            true => Sink::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::default()))),
            false => Sink::Plain(Vec::new()),
        };
        let mut file = Self { style, types: types.to_vec(), out, line: Vec::new() };
        if let Some(names) = header {
            for (index, name) in names.iter().enumerate() {
                file.separate(index);
                file.style.field(name, &mut file.line);
            }
            file.end_line()?;
        }
        Ok(file)
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.line.push(self.style.delimiter);
        }
    }

    fn end_line(&mut self) -> Result<()> {
        self.line.push(b'\n');
        let written = match &mut self.out {
            Sink::Plain(out) => out.write_all(&self.line),
            Sink::Gzip(out) => out.write_all(&self.line),
        };
        self.line.clear();
        written.map_err(|error| failed(format!("compressing failed: {error}")))
    }
}

impl Output for CsvFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            for (index, column) in columns.iter().enumerate() {
                self.separate(index);
                match column.datum(row) {
                    Datum::Null => {}
                    Datum::Scalar(text) => self.style.field(&text, &mut self.line),
                    complex => {
                        let mut json = String::new();
                        write_json(&complex, &self.types[index], &mut json);
                        self.style.field(&json, &mut self.line);
                    }
                }
            }
            self.end_line()?;
        }
        Ok(())
    }

    fn held(&self) -> usize {
        0
    }

    fn let_go(&mut self) -> Result<()> {
        Ok(())
    }

    fn take(&mut self, least: usize) -> Vec<u8> {
        let ready = match &mut self.out {
            Sink::Plain(out) => out,
            Sink::Gzip(out) => out.get_mut(),
        };
        if ready.len() < least { Vec::new() } else { std::mem::take(ready) }
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>> {
        match self.out {
            Sink::Plain(out) => Ok(out),
            Sink::Gzip(out) => out.finish().map_err(|error| failed(format!("compressing failed: {error}"))),
        }
    }
}

impl CsvStyle {
    /// Appends a field. An empty text is quoted, to be told from no value.
    fn field(self, text: &str, line: &mut Vec<u8>) {
        let special =
            |byte: u8| matches!(byte, b'"' | b'\n' | b'\r') || byte == self.delimiter || byte == self.escape;
        if !text.is_empty() && !text.bytes().any(special) {
            line.extend_from_slice(text.as_bytes());
            return;
        }
        line.push(b'"');
        for byte in text.bytes() {
            if byte == b'"' || byte == self.escape {
                line.push(self.escape);
            }
            line.push(byte);
        }
        line.push(b'"');
    }
}

/// Appends a value as JSON. Numbers and truth values are bare, what JSON has no number for is a text.
fn write_json(value: &Datum, of: &SqlType, json: &mut String) {
    let list = |json: &mut String, items: &mut dyn Iterator<Item = &Datum>, of: &SqlType| {
        json.push('[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                json.push(',');
            }
            write_json(item, of, json);
        }
        json.push(']');
    };
    match (value, of) {
        (Datum::Null, _) => json.push_str("null"),
        (Datum::Scalar(text), SqlType::Integer | SqlType::Bigint | SqlType::Boolean) => json.push_str(text),
        (Datum::Scalar(text), SqlType::Double) if text.ends_with(|c: char| c.is_ascii_digit()) => {
            json.push_str(text);
        }
        (Datum::Scalar(text), _) => json.push_str(&quoted(text)),
        (Datum::Array(items), SqlType::Array(of)) => list(json, &mut items.iter(), of),
        (Datum::Row(values), SqlType::Row(fields)) => {
            json.push('{');
            for (index, (value, (name, of))) in values.iter().zip(fields).enumerate() {
                if index > 0 {
                    json.push(',');
                }
                json.push_str(&quoted(&super::field_name(name.as_deref(), index)));
                json.push(':');
                write_json(value, of, json);
            }
            json.push('}');
        }
        (Datum::TimeSeries(points), SqlType::TimeSeries(of)) => {
            json.push('[');
            for (index, (time, value)) in points.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                json.push_str("{\"time\":\"");
                json.push_str(time);
                json.push_str("Z\",\"value\":");
                write_json(value, of, json);
                json.push('}');
            }
            json.push(']');
        }
        // A value always has the type of its column.
        (Datum::Array(_) | Datum::Row(_) | Datum::TimeSeries(_), _) => json.push_str("null"),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> String {
        let mut line = Vec::new();
        CsvStyle { delimiter: b',', escape: b'\\' }.field(text, &mut line);
        String::from_utf8(line).expect("UTF-8")
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        for (text, written) in [
            ("plain text", "plain text"),
            ("", "\"\""),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \\\"x\\\"\""),
            ("C:\\x", "\"C:\\\\x\""),
            ("two\nlines", "\"two\nlines\""),
        ] {
            assert_eq!(field(text), written);
        }
    }

    #[test]
    fn complex_values_are_json_as_aws_writes_it() {
        let scalar = |text: &str| Datum::Scalar(text.to_owned());
        let json = |value: &Datum, of: &SqlType| {
            let mut json = String::new();
            write_json(value, of, &mut json);
            json
        };
        let array = SqlType::Array(Box::new(SqlType::Bigint));
        assert_eq!(json(&Datum::Array(vec![scalar("23"), Datum::Null]), &array), "[23,null]");
        let row = SqlType::Row(vec![(Some("x".into()), SqlType::Double), (None, SqlType::Varchar)]);
        let value = Datum::Row(vec![scalar("23.0"), scalar("he\"llo")]);
        assert_eq!(json(&value, &row), "{\"x\":23.0,\"field1\":\"he\\\"llo\"}");
        let series = SqlType::TimeSeries(Box::new(SqlType::Double));
        let value = Datum::TimeSeries(vec![("1970-01-01 00:00:00.000000010".into(), scalar("NaN"))]);
        assert_eq!(
            json(&value, &series),
            "[{\"time\":\"1970-01-01 00:00:00.000000010Z\",\"value\":\"NaN\"}]"
        );
    }
}
