//! The files of an UNLOAD: one after another in each partition, up to a size.

use std::collections::HashMap;
use std::fmt::Write;

use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::common::{DataFusionError, Result};
use uuid::Uuid;

use super::csv::{CsvFile, CsvStyle};
use super::parquet::ParquetFile;
use super::statement::{UnloadFormat, UnloadOptions};
use super::{Output, key_below};
use crate::buckets::{Bucket, BucketError, KEY_BYTES_MAX, Upload};
use crate::query::error::failed;
use crate::query::rows::{Column, Datum};
use crate::query::sql_type::SqlType;

/// Partitions of one UNLOAD (spec 1.4).
const PARTITIONS_MAX: usize = 100;
/// Bytes of rows that all partitions together may hold back.
const HELD_BYTES_MAX: usize = 128 << 20;
/// Bytes a file may have ready before they are sent.
const READY_BYTES: usize = 1 << 20;
/// The partition of no value, as Hive calls it.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResultFile {
    pub(super) key: String,
    pub(super) bytes: u64,
    pub(super) rows: u64,
}

/// Everything that tells how files are written and called.
pub(super) struct FilePlan {
    pub(super) bucket: Bucket,
    pub(super) prefix: String,
    pub(super) query_id: String,
    pub(super) options: UnloadOptions,
    /// The columns in the files.
    pub(super) names: Vec<String>,
    pub(super) types: Vec<SqlType>,
}

/// The files that are being written, and those that are done.
pub(super) struct Files {
    plan: FilePlan,
    open: HashMap<String, Open>,
    done: Vec<ResultFile>,
    pub(super) rows: u64,
}

struct Open {
    output: Box<dyn Output>,
    upload: Upload,
    key: String,
    rows: u64,
}

fn outside(error: BucketError) -> DataFusionError {
    DataFusionError::External(Box::new(super::outside(error)))
}

impl Files {
    pub(super) fn new(plan: FilePlan) -> Self {
        Self { plan, open: HashMap::new(), done: Vec::new(), rows: 0 }
    }

    /// Writes rows, which end with the columns of the partitions.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let kept = self.plan.names.len();
        let columns: Vec<usize> = (0..kept).collect();
        if kept == batch.num_columns() {
            return self.write_to("", batch).await;
        }
        let rows = batch.project(&columns)?;
        for (partition, places) in self.partitions(batch, kept)? {
            let part = take_record_batch(&rows, &UInt32Array::from(places))?;
            self.write_to(&partition, &part).await?;
        }
        Ok(())
    }

    /// How many partitions have rows.
    pub(super) fn partitions_written(&self) -> u64 {
        self.open.len() as u64
    }

    /// The rows of each partition, in the order in which partitions come.
    fn partitions(&self, batch: &RecordBatch, kept: usize) -> Result<Vec<(String, Vec<u32>)>> {
        let columns = batch.columns()[kept..].iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        let mut found: Vec<(String, Vec<u32>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut path = String::new();
        for row in 0..batch.num_rows() {
            path.clear();
            for (name, column) in self.plan.options.partitioned_by.iter().zip(&columns) {
                let value = match column.datum(row) {
                    Datum::Scalar(text) if !text.is_empty() => text,
                    _ => NO_VALUE.to_owned(),
                };
                if !value.is_ascii() {
                    return Err(failed(format!(
                        "The value '{value}' of the partitioned_by column {name} is not ASCII text"
                    )));
                }
                escape(name, &mut path);
                path.push('=');
                escape(&value, &mut path);
                path.push('/');
            }
            let at = match places.get(&path) {
                Some(at) => *at,
                None => {
                    found.push((path.clone(), Vec::new()));
                    places.insert(path.clone(), found.len() - 1);
                    found.len() - 1
                }
            };
            found[at].1.push(u32::try_from(row).map_err(|_| failed("a batch has too many rows"))?);
        }
        Ok(found)
    }

    async fn write_to(&mut self, partition: &str, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if !self.open.contains_key(partition) {
            if self.open.len() >= PARTITIONS_MAX {
                return Err(failed(format!(
                    "The query has more than {PARTITIONS_MAX} partitions; UNLOAD writes at most so many"
                )));
            }
            let open = self.plan.begin(partition).await?;
            self.open.insert(partition.to_owned(), open);
        }
        let Some(open) = self.open.get_mut(partition) else { return Ok(()) };
        open.output.write(batch)?;
        open.rows += batch.num_rows() as u64;
        open.send(READY_BYTES).await?;
        if open.upload.bytes() >= self.plan.options.file_bytes_max {
            let full = std::mem::replace(open, self.plan.begin(partition).await?);
            self.done.push(full.finish().await?);
        }
        self.let_go().await
    }

    /// Has the partition that holds most write it, while all hold too much.
    async fn let_go(&mut self) -> Result<()> {
        while self.open.values().map(|open| open.output.held()).sum::<usize>() > HELD_BYTES_MAX {
            let Some(most) = self.open.values_mut().max_by_key(|open| open.output.held()) else { break };
            most.output.let_go()?;
            most.send(0).await?;
        }
        Ok(())
    }

    /// Finishes all files.
    pub(super) async fn finish(mut self) -> Result<(Vec<ResultFile>, FilePlan)> {
        for (_, open) in std::mem::take(&mut self.open) {
            // A file that was begun behind a full one may have stayed empty.
            if open.rows > 0 {
                self.done.push(open.finish().await?);
            }
        }
        self.done.sort_by(|one, other| one.key.cmp(&other.key));
        Ok((self.done, self.plan))
    }
}

impl FilePlan {
    async fn begin(&self, partition: &str) -> Result<Open> {
        let ending = match (self.options.format, self.options.gzip) {
            (UnloadFormat::Parquet, _) => "parquet",
            (UnloadFormat::Csv { .. }, true) => "gz",
            (UnloadFormat::Csv { .. }, false) => "csv",
        };
        let name = format!("results/{partition}{}_{}.{ending}", self.query_id, Uuid::new_v4());
        let key = key_below(&self.prefix, &name);
        if key.len() > KEY_BYTES_MAX {
            return Err(failed(format!(
                "The generated S3 object key: {key} is too long. See documentation for more details."
            )));
        }
        let output: Box<dyn Output> = match self.options.format {
            UnloadFormat::Parquet => Box::new(ParquetFile::new(&self.names, &self.types, self.options.gzip)?),
            UnloadFormat::Csv { delimiter, escape, header } => {
                let header = header.then_some(self.names.as_slice());
                let style = CsvStyle { delimiter, escape };
                Box::new(CsvFile::new(style, self.options.gzip, &self.types, header)?)
            }
        };
        let upload = self.bucket.upload(&key).await.map_err(outside)?;
        Ok(Open { output, upload, key, rows: 0 })
    }

    /// Puts a small file beside the results.
    pub(super) async fn put(&self, name: &str, text: String) -> Result<String> {
        let key = key_below(&self.prefix, name);
        self.bucket.put(&key, text.into()).await.map_err(outside)?;
        Ok(self.url(&key))
    }

    pub(super) fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket.name())
    }
}

impl Open {
    /// Sends what is ready, if it is at least this much.
    async fn send(&mut self, least: usize) -> Result<()> {
        let ready = self.output.take(least);
        if ready.is_empty() {
            return Ok(());
        }
        self.upload.write(&ready).await.map_err(outside)
    }

    async fn finish(mut self) -> Result<ResultFile> {
        let rest = self.output.finish()?;
        self.upload.write(&rest).await.map_err(outside)?;
        let bytes = self.upload.finish().await.map_err(outside)?;
        Ok(ResultFile { key: self.key, bytes, rows: self.rows })
    }
}

/// Appends a name or value of a partition as Hive writes it: what could be mistaken is a percent sign and two
/// digits.
fn escape(text: &str, path: &mut String) {
    for c in text.chars() {
        let special = c.is_ascii_control() || "\"#%'*/:=?\\{[]^".contains(c);
        match special {
            true => {
                let _ = write!(path, "%{:02X}", u32::from(c));
            }
            false => path.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;
    use crate::buckets::{BucketOptions, Buckets, Encryption};

    fn batch(first: i64) -> RecordBatch {
        let numbers: Vec<i64> = (first..first + 100).collect();
        let kinds: Vec<String> = numbers.iter().map(|number| format!("k{}", number % 2)).collect();
        let columns: [(&str, ArrayRef); 2] =
            [("n", Arc::new(Int64Array::from(numbers))), ("kind", Arc::new(StringArray::from(kinds)))];
        RecordBatch::try_from_iter(columns).expect("a batch")
    }

    #[tokio::test]
    async fn a_full_file_is_followed_by_another() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("out")).expect("a bucket");
        let options = BucketOptions { path: folder.path().to_owned(), endpoint: None };
        let bucket = Buckets::new(options).open("out").await.expect("a bucket");
        let options = UnloadOptions {
            partitioned_by: vec!["kind".to_owned()],
            format: UnloadFormat::Csv { delimiter: b',', escape: b'\\', header: false },
            gzip: false,
            encryption: Encryption::Storage,
            file_bytes_max: 1_000,
        };
        let plan = FilePlan {
            bucket: bucket.clone(),
            prefix: "p".to_owned(),
            query_id: "Q".to_owned(),
            options,
            names: vec!["n".to_owned()],
            types: vec![SqlType::Bigint],
        };
        let mut files = Files::new(plan);
        for first in 0..20 {
            files.write(&batch(first * 100)).await.expect("written");
            // What is ready is sent at the latest with a file's end; here after every batch.
            for open in files.open.values_mut() {
                open.send(0).await.expect("sent");
            }
        }
        assert_eq!(files.rows, 2_000);
        let (done, _) = files.finish().await.expect("finished");
        assert!((6..=14).contains(&done.len()), "{done:?}");
        let mut numbers = Vec::new();
        for file in &done {
            let text = bucket.get(&file.key, 1 << 20).await.expect("a file");
            assert_eq!(text.len() as u64, file.bytes);
            let text = String::from_utf8(text.to_vec()).expect("UTF-8");
            assert_eq!(text.lines().count() as u64, file.rows);
            let odd = file.key.starts_with("p/results/kind=k1/Q_");
            for line in text.lines() {
                let number: i64 = line.parse().expect("a number");
                assert_eq!(number % 2 == 1, odd, "{}", file.key);
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
    }

    #[test]
    fn names_of_partitions_stay_one_folder() {
        let mut path = String::new();
        escape("a/b=c d%\n..", &mut path);
        assert_eq!(path, "a%2Fb%3Dc d%25%0A..");
    }
}
