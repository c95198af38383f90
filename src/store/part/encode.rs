//! Writes a part.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use tokio::io::AsyncWriteExt;

use super::seal::{BlockSums, Seal};
use crate::store::schema::{MEASURE_NAME, TIME, VERSION};

/// Rows of a row group: large enough to compress, small enough to skip.
pub(crate) const ROW_GROUP_ROWS: usize = 250_000;

/// A streamed part ends a row group early when it has this many encoded bytes: it waits in memory.
const ROW_GROUP_BYTES: usize = 32 * 1024 * 1024;

/// A dictionary of doubles may grow to this, 16,384 values; where there are more, it only costs.
const DOUBLE_DICTIONARY_BYTES: usize = 128 * 1024;
/// Pieces of a streamed part, 10 MiB each, that are on their way to the object store at once.
const UPLOADS_AT_ONCE: usize = 2;

/// A column of a part, in file order.
#[derive(Debug, Clone)]
pub(crate) struct PartColumn {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    /// How many different values a dimension has in a row group at most; it gets a bloom filter for
    /// them, which is folded to the number that came.
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
        let schema = schema(columns);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options(columns)?)?;
        Ok(Self { writer, schema, rows: 0 })
    }

    /// Appends rows; the arrays come in the order of the columns.
    pub(crate) fn write(&mut self, arrays: Vec<ArrayRef>) -> Result<(), ParquetError> {
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)?;
        self.rows += batch.num_rows() as u64;
        self.writer.write(&batch)
    }

    /// The whole file, its seal, and its number of rows.
    pub(crate) fn finish(mut self) -> Result<(Bytes, Seal, u64), ParquetError> {
        self.writer.flush()?;
        self.writer.sync()?;
        let mut sums = BlockSums::default();
        sums.add(self.writer.inner());
        self.writer.write_all(&sums.list())?;
        let bytes = self.writer.into_inner()?;
        let data = usize::try_from(sums.bytes()).expect("a file in memory");
        let seal = Seal::of(sums.bytes(), &bytes[data..]);
        Ok((bytes.into(), seal, self.rows))
    }
}

/// A part being written to the object store row group by row group.
pub(crate) struct PartStream {
    /// Encodes to memory; each row group is handed over when it is whole.
    writer: ArrowWriter<Vec<u8>>,
    sums: BlockSums,
    file: BufWriter,
}

impl PartStream {
    pub(crate) fn new(
        store: &Arc<dyn ObjectStore>,
        path: Path,
        columns: &[PartColumn],
    ) -> Result<Self, ParquetError> {
        // A slow line must not collect the file in memory.
        let file = BufWriter::new(Arc::clone(store), path).with_max_concurrency(UPLOADS_AT_ONCE);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), schema(columns), options(columns)?)?;
        Ok(Self { writer, sums: BlockSums::default(), file })
    }

    /// Appends rows with exactly the columns of the part.
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let groups = self.writer.flushed_row_groups().len();
        self.writer.write(batch)?;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer.flush()?;
        }
        if self.writer.flushed_row_groups().len() > groups { self.hand_over().await } else { Ok(()) }
    }

    async fn hand_over(&mut self) -> Result<(), ParquetError> {
        self.writer.sync()?;
        let bytes = std::mem::take(self.writer.inner_mut());
        self.sums.add(&bytes);
        self.file.put(bytes.into()).await.map_err(external)
    }

    /// Ends the file and returns its size and seal. The object store has it then; syncing is the
    /// caller's.
    pub(crate) async fn finish(mut self) -> Result<(u64, Seal), ParquetError> {
        self.writer.flush()?;
        self.hand_over().await?;
        self.writer.write_all(&self.sums.list())?;
        let end = self.writer.into_inner()?;
        let seal = Seal::of(self.sums.bytes(), &end);
        let bytes = self.sums.bytes() + end.len() as u64;
        self.file.put(end.into()).await.map_err(external)?;
        self.file.shutdown().await?;
        Ok((bytes, seal))
    }

    /// Gives up; nothing of the file stays.
    pub(crate) async fn abort(mut self) -> Result<(), ParquetError> {
        self.file.abort().await.map_err(external)
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// The Arrow schema of a part with these columns.
pub(crate) fn schema(columns: &[PartColumn]) -> SchemaRef {
    let field = |column: &PartColumn| Field::new(&column.name, column.data_type.clone(), !column.required());
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn options(columns: &[PartColumn]) -> Result<ArrowWriterOptions, ParquetError> {
    Ok(ArrowWriterOptions::new()
        .with_properties(properties(columns)?)
        // An embedded Arrow schema would bring back string views as such and nothing else.
        .with_skip_arrow_metadata(true))
}

fn properties(columns: &[PartColumn]) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by(concat!("tidemill version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for column in columns {
        // Not from a string: that would read periods in the name as nesting.
        let path = ColumnPath::new(vec![column.name.clone()]);
        // Measured: see benches/README.md, "Encodings".
        properties = match &column.data_type {
            DataType::Float64 => properties
                .set_column_encoding(path.clone(), Encoding::BYTE_STREAM_SPLIT)
                .set_column_dictionary_page_size_limit(path, DOUBLE_DICTIONARY_BYTES),
            DataType::Int64 | DataType::Timestamp(_, _) => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
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
