//! The rows of one running query, cut into pages.
//!
//! A page is full when it has the rows the request allows or the bytes Timestream allows; a result is
//! pulled no further than its next page, so a pause between pages costs nothing but memory held.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use super::error::failed;
use super::insights::{Insights, Observed, Unloaded};
use super::rows::{Column, ColumnInfo, Datum};
use super::source::Snapshot;
use super::unload::{self, RunningUnload};

/// How much a page may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSize {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// What is left of a result.
pub(crate) struct Results {
    pub(crate) columns: Arc<[ColumnInfo]>,
    rows: Rows,
    /// The plan that runs; nothing for a statement without one.
    observed: Option<Arc<Observed>>,
    unloaded: Option<Unloaded>,
    /// Rows and bytes given so far.
    given: (u64, u64),
}

enum Rows {
    Stream {
        stream: SendableRecordBatchStream,
        batch: Option<Batch>,
        /// What the stream reads from; it must stay until the stream is done.
        _tables: Vec<Arc<Snapshot>>,
    },
    Listed(VecDeque<Vec<Datum>>),
    /// One row, when the work is done; pages until then are empty.
    Unload {
        running: RunningUnload,
        wait: Duration,
    },
}

struct Batch {
    columns: Vec<Column>,
    next: usize,
    rows: usize,
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl Results {
    /// The result of a plan that runs.
    pub(crate) fn streamed(
        columns: Arc<[ColumnInfo]>,
        stream: SendableRecordBatchStream,
        observed: Arc<Observed>,
        tables: Vec<Arc<Snapshot>>,
    ) -> Self {
        let rows = Rows::Stream { stream, batch: None, _tables: tables };
        Self { columns, rows, observed: Some(observed), unloaded: None, given: (0, 0) }
    }

    /// A result that is there already.
    pub(crate) fn listed(columns: Vec<ColumnInfo>, rows: Vec<Vec<Datum>>) -> Self {
        let rows = Rows::Listed(rows.into());
        Self { columns: columns.into(), rows, observed: None, unloaded: None, given: (0, 0) }
    }

    /// The result of an UNLOAD that runs; a page waits for it for a while.
    pub(crate) fn unloading(running: RunningUnload, observed: Arc<Observed>, wait: Duration) -> Self {
        let (columns, rows) = (unload::columns().into(), Rows::Unload { running, wait });
        Self { columns, rows, observed: Some(observed), unloaded: None, given: (0, 0) }
    }

    /// The next rows, and whether there are more after them.
    pub(crate) async fn page(&mut self, size: PageSize) -> Result<(Vec<Vec<Datum>>, bool)> {
        if let Rows::Unload { running, wait } = &mut self.rows {
            match running.row(*wait).await? {
                Some((row, written)) => {
                    self.rows = Rows::Listed(VecDeque::from([row]));
                    self.unloaded = Some(written);
                }
                None => return Ok((Vec::new(), true)),
            }
        }
        let (mut page, mut bytes) = (Vec::new(), 0_usize);
        while let Some(row) = self.peek().await? {
            let row_bytes: usize = row.iter().map(Datum::wire_bytes).sum();
            if row_bytes > size.bytes {
                return Err(failed(
                    "Query aborted as max page response size has been exceeded by the output result row",
                ));
            }
            if page.len() >= size.rows.max(1) || bytes + row_bytes > size.bytes {
                self.count(page.len(), bytes);
                return Ok((page, true));
            }
            bytes += row_bytes;
            self.advance();
            page.push(row);
        }
        self.count(page.len(), bytes);
        Ok((page, false))
    }

    fn count(&mut self, rows: usize, bytes: usize) {
        self.given.0 += rows as u64;
        self.given.1 += bytes as u64;
    }

    /// The running plan; nothing for a statement without one.
    pub(crate) fn observed(&self) -> Option<&Observed> {
        self.observed.as_deref()
    }

    /// What was read and given so far.
    pub(crate) fn insights(&self) -> Insights {
        let (rows, bytes) = self.given;
        let read = match self.observed() {
            Some(observed) => observed.insights(rows, bytes),
            None => Insights { output_rows: rows, output_bytes: bytes, ..Insights::default() },
        };
        Insights { unloaded: self.unloaded, ..read }
    }

    async fn peek(&mut self) -> Result<Option<Vec<Datum>>> {
        match &mut self.rows {
            Rows::Listed(rows) => Ok(rows.front().cloned()),
            Rows::Unload { .. } => Ok(None),
            Rows::Stream { stream, batch, .. } => loop {
                if let Some(batch) = batch.as_ref().filter(|batch| batch.next < batch.rows) {
                    let row = batch.columns.iter().map(|column| column.datum(batch.next));
                    return Ok(Some(row.collect()));
                }
                match stream.next().await.transpose()? {
                    Some(next) => *batch = Some(Batch::new(&next)?),
                    None => return Ok(None),
                }
            },
        }
    }

    fn advance(&mut self) {
        match &mut self.rows {
            Rows::Listed(rows) => {
                rows.pop_front();
            }
            Rows::Unload { .. } => {}
            Rows::Stream { batch, .. } => {
                if let Some(batch) = batch {
                    batch.next += 1;
                }
            }
        }
    }
}

impl Batch {
    fn new(batch: &RecordBatch) -> Result<Self> {
        let columns = batch.columns().iter().map(Column::new).collect::<Result<_>>()?;
        Ok(Self { columns, next: 0, rows: batch.num_rows() })
    }
}
