//! One run of a scheduled query: its rows become records of the target, batch by batch.
//!
//! Records carry the run's version, which is higher than that of every earlier run: what a later run
//! says about the same moment replaces what an earlier one said, and a run that was cut is simply repeated.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::definition::{Definition, Request};
use super::history::{Invocation, ReportKey, Run};
use super::report::{self, Report};
use super::target;
use crate::buckets::{Buckets, Encryption};
use crate::clock::Clock;
use crate::query::{Engine, Parameters, QueryError};
use crate::record::{Dimension, Measure, MeasureValue, Record, WriteBatch};
use crate::store::{Store, StoreError};

/// The name of the parameter that is the invocation time.
pub(super) const RUNTIME: &str = "scheduled_runtime";

/// Records written together.
const BATCH_RECORDS: usize = 1_000;
/// Records of a request by which AWS puts writes on the bill, and the bytes it rounds them up to.
const METERED_RECORDS: usize = 100;
const METERED_BYTES: u64 = 1_024;

/// How long writing a report may take.
const REPORT_WITHIN: Duration = Duration::from_secs(60);

/// What runs need.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) store: Store,
    pub(super) engine: Engine,
    pub(super) buckets: Buckets,
    pub(super) clock: Arc<dyn Clock>,
    /// How long a run may take.
    pub(super) within: Duration,
}

/// Why a run did not come to its end.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// Whether every further run would fail too, until somebody changes something.
    is_final: bool,
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let is_final = matches!(error, QueryError::Validation(_) | QueryError::Execution(_));
        Self { reason: error.to_string(), is_final }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { reason: error.to_string(), is_final: !error.is_fault() }
    }
}

impl Runner {
    /// Runs `definition` for the moment of `invocation`. Returns what happened, and whether the query is to
    /// be disabled for it.
    pub(super) async fn run(
        &self,
        definition: &Definition,
        invocation: &Invocation,
        version: i64,
    ) -> (Run, bool) {
        let mut run = Run::begun(invocation, self.clock.now());
        let mut report = Report::default();
        let working = self.work(definition, &mut run, version, &mut report);
        let failure = match tokio::time::timeout(self.within, working).await {
            Ok(done) => done.err(),
            Err(_) => Some(Failure {
                reason: format!("The run took longer than {} s.", self.within.as_secs()),
                is_final: false,
            }),
        };
        if !invocation.insights {
            run.insights = None;
        }
        let refused = report.refused();
        run.failure = failure.as_ref().map(|failure| failure.reason.clone());
        if refused > 0 {
            let first = report.first_reason().unwrap_or_default().to_owned();
            let told = format!("{refused} records were rejected; the first: {first}");
            run.failure = Some(run.failure.map_or(told.clone(), |reason| format!("{reason} {told}")));
            run.report = self.keep(&report, definition, report::key(definition, &run)).await;
        }
        let ended = self.clock.now().millis().saturating_sub(run.started().millis());
        run.stats.execution_ms = u64::try_from(ended).unwrap_or(0);
        (run, failure.is_some_and(|failure| failure.is_final))
    }

    async fn work(
        &self,
        definition: &Definition,
        run: &mut Run,
        version: i64,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let parameters = Parameters::from([(RUNTIME.to_owned(), run.invocation())]);
        let query = definition.request.query.clone();
        let mut result = self.engine.stream(query, parameters, self.within).await?;
        let target = definition.request.target.as_ref();
        let mapping = target.map(|target| target::mapping(&self.store, target, result.columns()));
        let mapping = mapping.transpose().map_err(|reason| Failure { reason, is_final: true })?;
        let mut batch = Batch::new(version);
        while let Some(chunk) = result.next().await? {
            run.stats.bytes_scanned = chunk.bytes_scanned;
            run.stats.bytes_metered = chunk.bytes_metered;
            run.stats.result_rows += chunk.rows.len() as u64;
            run.insights = Some(chunk.insights);
            let (Some(mapping), Some(target)) = (&mapping, target) else { continue };
            for row in &chunk.rows {
                if let Err(error) = mapping.records(row, batch.version, &mut batch.records) {
                    report.add(error.to_string(), None);
                }
                if batch.records.len() >= BATCH_RECORDS {
                    self.write(&target.database_name, &target.table_name, &mut batch, run, report).await?;
                }
            }
        }
        match target {
            Some(target) => {
                self.write(&target.database_name, &target.table_name, &mut batch, run, report).await
            }
            None => Ok(()),
        }
    }

    async fn write(
        &self,
        database: &str,
        table: &str,
        batch: &mut Batch,
        run: &mut Run,
        report: &mut Report,
    ) -> Result<(), Failure> {
        if batch.records.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut batch.records);
        let (database, table) = (database.into(), table.into());
        let pending = self.store.submit(WriteBatch { database, table, records: records.clone() }).await?;
        let written = pending.await?;
        run.stats.records_ingested += written.memory_store + written.magnetic_store;
        run.stats.data_writes += metered(&records);
        for rejected in written.rejected {
            report.add(rejected.reason.to_string(), records.get(rejected.index));
        }
        Ok(())
    }

    /// Writes a report. Without it the run says as much as it can by itself.
    async fn keep(&self, report: &Report, definition: &Definition, at: ReportKey) -> Option<ReportKey> {
        let id = uuid::Uuid::new_v4().to_string();
        let Request { error_report, kms_key_id, .. } = &definition.request;
        let encryption = Encryption::of_option(error_report.encryption_option.as_deref(), kms_key_id.clone());
        let putting = async {
            let bucket = self.buckets.open_for_reports(&at.bucket, &encryption).await?;
            bucket.put(&at.key, report.to_bytes(&id)).await
        };
        let reason = match tokio::time::timeout(REPORT_WITHIN, putting).await {
            Ok(Ok(())) => return Some(at),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took longer than {} s", REPORT_WITHIN.as_secs()),
        };
        warn!(bucket = at.bucket, key = at.key, reason, "an error report could not be written");
        None
    }
}

/// Records on their way.
struct Batch {
    version: i64,
    records: Vec<Record>,
}

impl Batch {
    fn new(version: i64) -> Self {
        Self { version, records: Vec::with_capacity(BATCH_RECORDS) }
    }
}

/// The bytes of records as AWS counts them: requests of a hundred, each rounded up to a kilobyte.
fn metered(records: &[Record]) -> u64 {
    let request = |records: &[Record]| records.iter().map(size).sum::<u64>().div_ceil(METERED_BYTES);
    records.chunks(METERED_RECORDS).map(request).sum::<u64>() * METERED_BYTES
}

fn size(record: &Record) -> u64 {
    const TIME: usize = 8;
    let value = |value: &MeasureValue| match value {
        MeasureValue::Varchar(text) => text.len(),
        MeasureValue::Boolean(_) => 1,
        MeasureValue::Double(_) | MeasureValue::Bigint(_) | MeasureValue::Timestamp(_) => 8,
    };
    let dimension = |dimension: &Dimension| dimension.name.len() + dimension.value.len();
    let measure = match &record.measure {
        Measure::Single(own) => value(own),
        Measure::Multi(attributes) => attributes.iter().map(|own| own.name.len() + value(&own.value)).sum(),
    };
    (TIME + record.dimensions.iter().map(dimension).sum::<usize>() + record.measure_name.len() + measure)
        as u64
}
