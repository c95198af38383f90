//! What a query has read so far: for the status on its pages, and for those who ask for insights.
//!
//! Everything is taken from the plan that runs and the snapshots it reads; nothing is estimated from
//! the text.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::{max, min};
use datafusion::arrow::datatypes::TimestampNanosecondType;
use datafusion::datasource::memory::DataSourceExec;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::prune::TimeRange;
use super::source::{Snapshot, SourcePart};

/// What a query read and gave, in the terms of QueryInsights (spec 6.6).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Insights {
    /// How many tables the query reads.
    pub tables: u64,
    /// Rows given so far.
    pub output_rows: u64,
    /// Bytes of the rows given so far.
    pub output_bytes: u64,
    /// The table of whose rows within the query's times the largest share was read; the share is
    /// between 0 and 1.
    pub spatial: Option<Widest<f64>>,
    /// The table of which the longest stretch of time was read, in nanoseconds.
    pub temporal: Option<Widest<i64>>,
    /// What an UNLOAD has written, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unloaded: Option<Unloaded>,
}

/// What an UNLOAD has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unloaded {
    /// Folders of results with rows; without `partitioned_by` there is one.
    pub partitions: u64,
    /// Rows in all files.
    pub rows: u64,
    /// Bytes of all files, as they lie in the bucket.
    pub bytes: u64,
}

/// The table for which a value is the largest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Widest<T> {
    /// The value.
    pub value: T,
    /// The table's database.
    pub database: String,
    /// The table.
    pub table: String,
}

/// One table scan of a plan, as it was planned.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) database: String,
    pub(crate) table: String,
    pub(crate) snapshot: Arc<Snapshot>,
    /// The times the query's filters allow.
    pub(crate) range: TimeRange,
    /// Bytes of the columns read from rows in memory.
    pub(crate) memory_bytes: u64,
}

impl Scan {
    /// The parts that may have rows of these times.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &SourcePart> {
        let wanted = |part: &&SourcePart| self.range.overlaps(part.time_min.nanos(), part.time_max.nanos());
        self.snapshot.parts.iter().filter(wanted)
    }

    fn memory_rows(&self) -> u64 {
        self.snapshot.memory.iter().map(|batch| batch.num_rows() as u64).sum()
    }

    /// How long the stretch of time is in which there are rows that the query may see.
    fn nanos(&self) -> i64 {
        let parts = self.parts().map(|part| (part.time_min.nanos(), part.time_max.nanos()));
        let memory = self.snapshot.memory.iter().filter_map(times);
        let bounds = parts.chain(memory).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        bounds.map_or(0, |(from, to)| to.min(self.range.to).saturating_sub(from.max(self.range.from)).max(0))
    }
}

/// The earliest and the latest time of a batch.
fn times(batch: &RecordBatch) -> Option<(i64, i64)> {
    let times = batch.column_by_name("time")?.as_primitive_opt::<TimestampNanosecondType>()?;
    min(times).zip(max(times))
}

/// The scans of a plan that is being made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scans(Arc<Mutex<Vec<Scan>>>);

impl Scans {
    /// Notes a scan.
    pub(crate) fn note(&self, scan: Scan) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(scan);
    }

    /// Everything noted, for the plan that came of it.
    pub(crate) fn observe(&self, plan: &Arc<dyn ExecutionPlan>) -> Observed {
        let scans = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Observed { plan: Arc::clone(plan), scans }
    }
}

/// A plan that runs, and what it was planned to read.
pub(crate) struct Observed {
    plan: Arc<dyn ExecutionPlan>,
    scans: Vec<Scan>,
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("scans", &self.scans).finish_non_exhaustive()
    }
}

impl Observed {
    /// Bytes read so far: of parts as they are read, of rows in memory all at once.
    pub(crate) fn bytes_scanned(&self) -> u64 {
        let memory: u64 = self.scans.iter().map(|scan| scan.memory_bytes).sum();
        memory + metric(self.plan.as_ref(), "bytes_scanned")
    }

    /// How much of what is to be read has been read, in percent. It never goes back.
    pub(crate) fn progress(&self) -> f64 {
        let (mut read, mut all) = (0, 0);
        for scan in &self.scans {
            let (of_scan, in_scan) = self.rows(scan);
            read += of_scan;
            all += in_scan;
        }
        if all == 0 { 0.0 } else { share(read, all) * 100.0 }
    }

    /// What was read and given.
    pub(crate) fn insights(&self, output_rows: u64, output_bytes: u64) -> Insights {
        let names: HashSet<_> = self.scans.iter().map(|scan| (&scan.database, &scan.table)).collect();
        let spatial = self.scans.iter().filter_map(|scan| {
            let (read, all) = self.rows(scan);
            (all > 0).then(|| widest(scan, share(read, all)))
        });
        let temporal = self.scans.iter().map(|scan| widest(scan, scan.nanos()));
        Insights {
            tables: names.len() as u64,
            output_rows,
            output_bytes,
            spatial: spatial.max_by(|a, b| a.value.total_cmp(&b.value)),
            temporal: temporal.max_by_key(|widest| widest.value),
            unloaded: None,
        }
    }

    /// How many rows of a scan were read so far, and how many there are within its times.
    fn rows(&self, scan: &Scan) -> (u64, u64) {
        let memory = scan.memory_rows();
        let all = memory + scan.parts().map(|part| part.rows).sum::<u64>();
        (memory + read_rows(self.plan.as_ref(), scan), all)
    }
}

/// A share is at most the whole: a part may be read by two scans of one query.
fn share(read: u64, all: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share of rows need not be exact")]
    let share = read as f64 / all as f64;
    share.min(1.0)
}

fn widest<T>(scan: &Scan, value: T) -> Widest<T> {
    Widest { value, database: scan.database.clone(), table: scan.table.clone() }
}

/// Rows of the scan's files that were read: those they gave and those their filter turned down.
fn read_rows(plan: &dyn ExecutionPlan, scan: &Scan) -> u64 {
    let reads = plan.downcast_ref::<DataSourceExec>().is_some_and(|source| {
        source.data_source().downcast_ref::<FileScanConfig>().is_some_and(|config| {
            let mut files = config.file_groups.iter().flat_map(|group| group.files());
            files.next().is_some_and(|file| scan.parts().any(|part| part.path == file.object_meta.location))
        })
    });
    // Has no name to sum by, unlike the others.
    let given = || plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or(0) as u64;
    let own = if reads { given() + own_metric(plan, "pushdown_rows_pruned") } else { 0 };
    own + plan.children().into_iter().map(|child| read_rows(child.as_ref(), scan)).sum::<u64>()
}

fn metric(plan: &dyn ExecutionPlan, name: &str) -> u64 {
    own_metric(plan, name)
        + plan.children().into_iter().map(|child| metric(child.as_ref(), name)).sum::<u64>()
}

fn own_metric(plan: &dyn ExecutionPlan, name: &str) -> u64 {
    let value = plan.metrics().and_then(|metrics| metrics.sum_by_name(name));
    value.map_or(0, |value| value.as_usize() as u64)
}

/// Bytes of the given columns of rows in memory; of all columns without a list.
pub(crate) fn bytes_of(batches: &[RecordBatch], columns: Option<&Vec<usize>>) -> u64 {
    let of = |batch: &RecordBatch, column: usize| {
        let bytes = batch.column(column).to_data().get_slice_memory_size();
        bytes.unwrap_or_default() as u64
    };
    let batch = |batch: &RecordBatch| match columns {
        Some(columns) => columns.iter().map(|column| of(batch, *column)).sum::<u64>(),
        None => (0..batch.num_columns()).map(|column| of(batch, column)).sum(),
    };
    batches.iter().map(batch).sum()
}
