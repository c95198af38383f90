//! One consistent state of a table for one query.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::memtable::ChunkView;
use super::part::Part;
use super::schema::TableSchema;
use super::table::TableState;
use super::wal::position::Lsn;

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
}

/// Takes a snapshot of everything up to `durable`.
pub(crate) fn take(table: &TableState, durable: impl FnOnce() -> Lsn) -> TableSnapshot {
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
    TableSnapshot {
        database: definition.database.clone(),
        table: definition.name.clone(),
        memory: views.iter().filter_map(|view| view.batch(&schema)).collect(),
        schema,
        parts,
    }
}
