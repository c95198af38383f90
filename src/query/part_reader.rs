//! Readers of parts that remember where the pages are.
//!
//! DataFusion's reader keeps the footers of files, but is told to leave out the index of their pages and
//! then reads and decodes that anew for every query that could skip one. Parts never change, so the index is
//! asked for with the footer and kept with it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::future::BoxFuture;
use object_store::ObjectStore;

/// Makes readers that share what they learn of files.
#[derive(Debug)]
pub(crate) struct PartReaders {
    stock: CachedParquetFileReaderFactory,
}

impl PartReaders {
    /// Readers of files in `store` that remember in `known`.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, known: Arc<FileMetadataCache>) -> Self {
        Self { stock: CachedParquetFileReaderFactory::new(store, known) }
    }
}

impl ParquetFileReaderFactory for PartReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let stock = self.stock.create_reader(partition, file, footer_bytes, metrics)?;
        Ok(Box::new(PartReader { stock }))
    }
}

/// A reader of one part.
struct PartReader {
    stock: Box<dyn AsyncFileReader + Send>,
}

impl AsyncFileReader for PartReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.stock.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.stock.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        Box::pin(async move {
            let with_index = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
            self.stock.get_metadata(Some(&with_index)).await
        })
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::execution::runtime_env::RuntimeEnv;
    use datafusion::parquet::arrow::ArrowWriter;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use object_store::path::Path;

    use super::*;
    use crate::query::texts;

    #[tokio::test]
    async fn a_page_index_is_read_once() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).expect("a batch");
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).expect("a writer");
        writer.write(&rows).expect("written rows");
        writer.close().expect("a finished file");
        let (store, path) = (Arc::new(InMemory::new()), Path::from("part.parquet"));
        let file = PartitionedFile::new(path.as_ref(), bytes.len() as u64);
        store.put(&path, bytes.into()).await.expect("a stored file");
        let known = RuntimeEnv::default().cache_manager.get_file_metadata_cache();
        let readers = PartReaders::new(Arc::clone(&store) as Arc<dyn ObjectStore>, Arc::clone(&known));
        // What DataFusion's opener asks for.
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        for turn in ["read", "remembered"] {
            let metrics = ExecutionPlanMetricsSet::new();
            let mut reader = readers.create_reader(0, file.clone(), None, &metrics).expect("a reader");
            let metadata = reader.get_metadata(Some(&options)).await.expect(turn);
            assert!(metadata.column_index().is_some() && metadata.offset_index().is_some(), "{turn}");
            store.delete(&path).await.expect("deleting is no error in memory");
        }
        let remembered = texts::metadata(known.as_ref(), &path).expect("what was read is found by others");
        assert!(remembered.column_index().is_some());
    }
}
