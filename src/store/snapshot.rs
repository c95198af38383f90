//! One consistent state of a table for one query.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampNanosecondType;

use super::memtable::ChunkView;
use super::part::Part;
use super::schema::TableSchema;
use super::table::TableState;
use super::wal::position::Lsn;
use crate::clock::Timestamp;

/// A table at one moment: every row that was durable then, once, in its newest version.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    /// The database's name.
    pub database: String,
    /// The table's name.
    pub table: String,
    /// The columns.
    pub schema: Arc<TableSchema>,
    /// Rows that are in no part, with exactly the columns of `schema`.
    pub memory: Vec<RecordBatch>,
    /// The parts; each stays on disk as long as it is held.
    pub parts: Vec<Arc<Part>>,
    /// Rows before this moment are past retention. Whoever reads a part that begins before it leaves
    /// them out; no row in memory and no whole part is older.
    pub oldest: Option<Timestamp>,
}

/// Takes a snapshot of everything up to `durable` that is not older than `oldest`.
pub(crate) fn take(
    table: &TableState,
    oldest: Option<Timestamp>,
    durable: impl FnOnce() -> Lsn,
) -> TableSnapshot {
    let definition = table.definition();
    let (schema, views, parts) = {
        let mut live = table.live();
        // Asked under the lock: what is durable must not be older than the rows that are looked at.
        let durable = durable();
        let schema = Arc::clone(&live.schema);
        let parts = live.settled_parts(durable);
        let mut views: Vec<ChunkView> = Vec::new();
        if let Some(frozen) = &mut live.frozen {
            let hidden = frozen.marks.settle(durable);
            views = frozen.memtable.view_sealed(durable, hidden);
        }
        let hidden = live.active_marks.settle(durable);
        views.extend(live.active.view(durable, hidden, schema.values()));
        (schema, views, parts)
    };
    let mut memory: Vec<RecordBatch> = views.iter().filter_map(|view| view.batch(&schema)).collect();
    let mut parts = parts;
    if let Some(oldest) = oldest {
        memory = memory.into_iter().filter_map(|batch| since(oldest, batch)).collect();
        parts.retain(|part| part.time_max() >= oldest);
    }
    TableSnapshot {
        database: definition.database.clone(),
        table: definition.name.clone(),
        memory,
        schema,
        parts,
        oldest,
    }
}

/// The rows of `batch` that are not older than `oldest`; nothing if there are none.
fn since(oldest: Timestamp, batch: RecordBatch) -> Option<RecordBatch> {
    let time = batch.column_by_name("time").expect("every table has the column");
    let times = time.as_primitive::<TimestampNanosecondType>().values();
    if times.iter().all(|time| *time >= oldest.nanos()) {
        return Some(batch);
    }
    let kept: BooleanArray = times.iter().map(|time| Some(*time >= oldest.nanos())).collect();
    let batch = filter_record_batch(&batch, &kept).expect("the mask is as long as the batch");
    (batch.num_rows() > 0).then_some(batch)
}
