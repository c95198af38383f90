//! Tables as a test file writes them down.
//!
//! ```text
//! table testDB.testTable
//! host dimension | measure_name | time | measure_value::double double
//! a | cpu | 2021-11-15 14:26:49 | 60
//! flush                                  the rows so far become a Parquet part
//! superseded 0                           rows of that part that no query may see
//! b | cpu | 2021-11-15 14:26:50 | NULL   stays in memory
//! ```
//!
//! `now 2022-01-01 00:00:00` sets the clock; `database emptyDB` makes a database without tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, new_null_array};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::clock::Timestamp;
use crate::query::functions::cast_array;
use crate::query::sql_type::SqlType;
use crate::query::{MeasureRow, Snapshot, Source, SourceError, SourcePart, wire_text};

/// Tables in memory.
#[derive(Debug, Default)]
pub(super) struct TestSource {
    now: Option<i64>,
    databases: BTreeMap<String, BTreeMap<String, Snapshot>>,
    store: Arc<InMemory>,
    files: usize,
}

impl TestSource {
    /// The time on the clock.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.now.unwrap_or(1_640_995_200_000_000_000))
    }

    /// A table made of `batches` in memory.
    pub(super) fn with_memory(mut self, database: &str, table: &str, batches: Vec<RecordBatch>) -> Self {
        let schema = batches[0].schema();
        let attributes = vec!["MULTI"; schema.fields().len()];
        let snapshot =
            Snapshot { schema, attributes, memory: batches, parts: vec![], oldest: None, hold: Arc::new(()) };
        self.databases.entry(database.to_owned()).or_default().insert(table.to_owned(), snapshot);
        self
    }

    /// Adds a part of one moment to a table whose file is not there.
    pub(super) fn lose_part(&mut self, database: &str, table: &str, time: Timestamp) {
        let tables = self.databases.get_mut(database).expect("a database");
        tables.get_mut(table).expect("a table").parts.push(SourcePart {
            path: Path::from("parts/lost.parquet"),
            bytes: 1_000,
            rows: 10,
            time_min: time,
            time_max: time,
            superseded: None,
        });
    }

    /// Reads a block of a test file; one that is a query is left alone.
    pub(super) async fn read_block(&mut self, block: &str) {
        let mut lines = block.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let Some(first) = lines.next() else { return };
        match first.split_once(' ') {
            Some(("now", text)) => self.now = Some(wire_text::parse_timestamp(text).expect("a time")),
            Some(("database", name)) => {
                self.databases.entry(name.to_owned()).or_default();
            }
            Some(("table", name)) => {
                let (database, table) = name.split_once('.').expect("database.table");
                let lines: Vec<&str> = lines.collect();
                let snapshot = self.table(&lines).await;
                self.databases.entry(database.to_owned()).or_default().insert(table.to_owned(), snapshot);
            }
            _ => {}
        }
    }

    async fn table(&mut self, lines: &[&str]) -> Snapshot {
        let (header, rows) = lines.split_first().expect("a line of columns");
        let (fields, attributes): (Vec<Field>, Vec<&'static str>) = header.split('|').map(column).unzip();
        let schema = Arc::new(Schema::new(fields));
        let (mut memory, mut parts): (Vec<RecordBatch>, Vec<SourcePart>) = (vec![], vec![]);
        for line in rows {
            if *line == "flush" {
                let rows = concat_batches(&schema, &memory).expect("rows of one schema");
                parts.push(self.part(&rows).await);
                memory.clear();
            } else if let Some(numbers) = line.strip_prefix("superseded ") {
                let rows = numbers.split(' ').map(|number| number.parse::<u32>().expect("a row number"));
                parts.last_mut().expect("a part").superseded = Some(Arc::new(rows.collect()));
            } else {
                memory.push(row(&schema, line));
            }
        }
        Snapshot { schema, attributes, memory, parts, oldest: None, hold: Arc::new(()) }
    }

    /// Writes rows as the store does: plain strings, a hidden version, no column that is all NULL.
    async fn part(&mut self, rows: &RecordBatch) -> SourcePart {
        let (mut fields, mut columns) = (vec![], vec![]);
        for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
            if column.null_count() == rows.num_rows() {
                continue;
            }
            let plain = match field.data_type() {
                DataType::Utf8View => DataType::Utf8,
                other => other.clone(),
            };
            columns.push(cast(column, &plain).expect("a plain column"));
            fields.push(field.as_ref().clone().with_data_type(plain));
        }
        fields.push(Field::new("ts_version", DataType::Int64, false));
        columns.push(Arc::new(Int64Array::from(vec![1; rows.num_rows()])));
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch");
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(2))
            .set_bloom_filter_enabled(true)
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("written rows");
        writer.close().expect("a finished file");
        self.files += 1;
        let path = Path::from(format!("parts/{}.parquet", self.files));
        let length = bytes.len() as u64;
        self.store.put(&path, bytes.into()).await.expect("a stored file");
        let times = rows.column_by_name("time").expect("a time column");
        let times = crate::query::functions::Counts::of(times);
        let times: Vec<i64> = (0..rows.num_rows()).map(|row| times.at(row)).collect();
        let moment = |nanos: Option<&i64>| Timestamp::from_nanos(*nanos.expect("a row"));
        SourcePart {
            path,
            bytes: length,
            rows: rows.num_rows() as u64,
            time_min: moment(times.iter().min()),
            time_max: moment(times.iter().max()),
            superseded: None,
        }
    }
}

fn column(text: &str) -> (Field, &'static str) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let varchar = DataType::Utf8View;
    match words.as_slice() {
        ["time"] => (Field::new("time", SqlType::Timestamp.arrow(), false), "TIMESTAMP"),
        ["measure_name"] => (Field::new("measure_name", varchar, true), "MEASURE_NAME"),
        [name, "dimension"] => (Field::new(*name, varchar, true), "DIMENSION"),
        [name, of] => {
            let of = SqlType::parse(of).expect("a type").arrow();
            let single = name.starts_with("measure_value::");
            (Field::new(*name, of, true), if single { "MEASURE_VALUE" } else { "MULTI" })
        }
        other => panic!("no column: {other:?}"),
    }
}

fn row(schema: &SchemaRef, line: &str) -> RecordBatch {
    let cells = line.split('|').map(str::trim).zip(schema.fields());
    let columns = cells.map(|(cell, field)| {
        if cell == "NULL" {
            return new_null_array(field.data_type(), 1);
        }
        let text: ArrayRef = Arc::new(StringArray::from(vec![cell]));
        let of = SqlType::of(field.data_type()).expect("a type");
        cast_array(&text, &of, false).expect("a value")
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).expect("a row")
}

impl Source for TestSource {
    fn databases(&self) -> Vec<String> {
        self.databases.keys().cloned().collect()
    }

    fn tables(&self, database: &str) -> Option<Vec<String>> {
        Some(self.databases.get(database)?.keys().cloned().collect())
    }

    fn snapshot(&self, database: &str, table: &str) -> Result<Snapshot, SourceError> {
        let tables = self.databases.get(database).ok_or(SourceError::NoDatabase)?;
        tables.get(table).cloned().ok_or(SourceError::NoTable)
    }

    /// One measure per measure column, with every dimension of the table.
    fn measures(&self, database: &str, table: &str) -> Result<Vec<MeasureRow>, SourceError> {
        let snapshot = self.snapshot(database, table)?;
        let columns = || snapshot.schema.fields().iter().zip(&snapshot.attributes);
        let dimensions: Vec<String> = columns()
            .filter(|(_, attribute)| **attribute == "DIMENSION")
            .map(|(field, _)| field.name().clone())
            .collect();
        let measures = columns().filter(|(_, attribute)| matches!(**attribute, "MEASURE_VALUE" | "MULTI"));
        Ok(measures
            .map(|(field, _)| MeasureRow {
                name: field.name().clone(),
                data_type: SqlType::name_of(field.data_type()),
                dimensions: dimensions.clone(),
            })
            .collect())
    }

    fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store) as Arc<dyn ObjectStore>
    }
}
