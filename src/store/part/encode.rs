//! Writes a part.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use crate::store::schema::{MEASURE_NAME, TIME, VERSION};

/// Rows of a row group: large enough to compress, small enough to skip.
const ROW_GROUP_ROWS: usize = 250_000;

/// A column of a part, in file order.
#[derive(Debug, Clone)]
pub(crate) struct PartColumn {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    /// How many different values a dimension has in the part; it gets a bloom filter for them.
    pub(crate) distinct: Option<u64>,
}

impl PartColumn {
    fn required(&self) -> bool {
        matches!(self.name.as_str(), MEASURE_NAME | TIME | VERSION)
    }
}

/// A part being written, to memory: object stores take whole objects.
#[derive(Debug)]
pub(crate) struct PartWriter {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    rows: u64,
}

impl PartWriter {
    pub(crate) fn new(columns: &[PartColumn]) -> Result<Self, ParquetError> {
        let field = |column: &PartColumn| {
            Field::new(&column.name, column.data_type.clone(), !column.required())
        };
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let options = ArrowWriterOptions::new()
            .with_properties(properties(columns)?)
            // An embedded Arrow schema would bring back string views as such and nothing else.
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options)?;
        Ok(Self { writer, schema, rows: 0 })
    }

    /// Appends rows; the arrays come in the order of the columns.
    pub(crate) fn write(&mut self, arrays: Vec<ArrayRef>) -> Result<(), ParquetError> {
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)?;
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch)
    }

    /// The whole file and its number of rows.
    pub(crate) fn finish(self) -> Result<(Bytes, u64), ParquetError> {
        Ok((self.writer.into_inner()?.into(), self.rows))
    }
}

fn properties(columns: &[PartColumn]) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by(concat!("tidemill version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for column in columns {
        // Not from a string: that would read periods in the name as nesting.
        let path = ColumnPath::new(vec![column.name.clone()]);
        properties = match (&column.data_type, column.name.as_str()) {
            (_, TIME) => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            // Used where a column has too many different values for a dictionary.
            (DataType::Float64, _) => properties.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT),
            (DataType::Int64 | DataType::Timestamp(_, _), _) => {
                properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
            }
            _ => match column.distinct {
                Some(distinct) => properties
                    .set_column_bloom_filter_enabled(path.clone(), true)
                    .set_column_bloom_filter_max_ndv(path, distinct.max(1)),
                None => properties,
            },
        };
    }
    Ok(properties.build())
}
