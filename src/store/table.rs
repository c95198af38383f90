//! One table in memory: what is written, frozen and flushed of it at this moment.
//!
//! `turn` lets one write after another in, in the order they came; a write may wait inside it for
//! memory or for a look-up. `live` is held only for short work, never across an await.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use roaring::RoaringBitmap;

use super::layout::{Fit, Layout};
use super::manifest::Manifest;
use super::marks::Marks;
use super::memtable::Memtable;
use super::newest::NewestTimes;
use super::options::Table;
use super::part::{Part, PartFile, PartMeta, Shelf};
use super::paths::TableId;
use super::schema::TableSchema;
use super::wal::position::Lsn;
use crate::record::Record;

/// A table that exists.
#[derive(Debug)]
pub(crate) struct TableState {
    pub(crate) id: TableId,
    definition: RwLock<Arc<Table>>,
    /// Held by the write that is next.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Held by whoever is about to commit a manifest: a flush from its start, a compaction at its end.
    pub(crate) flushing: tokio::sync::Mutex<()>,
    dropped: AtomicBool,
    live: Mutex<Live>,
}

/// The rows of a table.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) schema: Arc<TableSchema>,
    /// Where the values of the newest row went.
    pub(crate) layout: Option<Layout>,
    pub(crate) active: Memtable,
    pub(crate) active_marks: Marks,
    pub(crate) frozen: Option<Frozen>,
    pub(crate) parts: Vec<LivePart>,
    /// The number of the newest manifest.
    pub(crate) manifest: u64,
    /// Rows up to here are in the parts.
    pub(crate) flushed: Lsn,
    next_part: u64,
    pub(crate) newest: NewestTimes,
    /// The newest frame of the table, 0 after the start.
    pub(crate) last: Lsn,
}

/// A memtable on its way to parts.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) memtable: Arc<Memtable>,
    pub(crate) marks: Marks,
}

/// A part with the marks on its rows.
#[derive(Debug)]
pub(crate) struct LivePart {
    pub(crate) file: Arc<PartFile>,
    pub(crate) marks: Marks,
}

/// Where the newest version of a row is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Active(u32),
    Frozen(u32),
    Part(Arc<PartFile>, u32),
}

impl TableState {
    /// A table with the parts of its manifest and nothing in memory.
    pub(crate) fn new(definition: Table, manifest: Manifest, shelf: &Shelf) -> Arc<Self> {
        let newest = manifest.parts.iter().map(|(meta, _)| meta.time_max.nanos()).max();
        let part = |(meta, superseded): (PartMeta, _)| LivePart {
            file: PartFile::new(meta, shelf.clone()),
            marks: Marks::from_settled(superseded),
        };
        let live = Live {
            schema: Arc::new(manifest.schema),
            layout: None,
            active: Memtable::new(),
            active_marks: Marks::default(),
            frozen: None,
            parts: manifest.parts.into_iter().map(part).collect(),
            manifest: manifest.number,
            flushed: manifest.flushed,
            next_part: manifest.next_part,
            newest: NewestTimes::up_to(newest),
            last: Lsn::START,
        };
        Arc::new(Self {
            id: definition.id,
            definition: RwLock::new(Arc::new(definition)),
            turn: tokio::sync::Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            dropped: AtomicBool::new(false),
            live: Mutex::new(live),
        })
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect("no holder of a table panics")
    }

    pub(crate) fn definition(&self) -> Arc<Table> {
        Arc::clone(&self.definition.read().expect("no holder of a definition panics"))
    }

    pub(crate) fn redefine(&self, definition: Table) {
        *self.definition.write().expect("no holder of a definition panics") = Arc::new(definition);
    }

    /// Whether the table was deleted; look while holding `live`, so that it stays true or false.
    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// Empties the table for good and returns the memory it held.
    pub(crate) fn drop_rows(&self) -> usize {
        let mut live = self.live();
        self.dropped.store(true, Ordering::Release);
        for part in live.parts.drain(..) {
            part.file.doom();
        }
        let frozen = live.frozen.take().map_or(0, |frozen| frozen.memtable.bytes());
        let bytes = frozen + live.active.bytes();
        live.active = Memtable::new();
        bytes
    }
}

impl Live {
    /// How much `record` has in common with the row before.
    pub(crate) fn fit(&self, record: &Record) -> Fit {
        self.layout.as_ref().map_or(Fit::Nothing, |layout| layout.fit(record))
    }

    /// The oldest frame whose rows are in no part.
    pub(crate) fn first_unflushed(&self) -> Option<Lsn> {
        self.frozen.as_ref().and_then(|frozen| frozen.memtable.first()).or(self.active.first())
    }

    /// Makes the active memtable the frozen one, unless there is one; `None` when nothing is to flush.
    /// The flag tells that it was frozen before.
    pub(crate) fn freeze(&mut self) -> Option<(Arc<Memtable>, bool)> {
        if let Some(frozen) = &self.frozen {
            return Some((Arc::clone(&frozen.memtable), true));
        }
        if self.active.is_empty() {
            return None;
        }
        self.active.seal(self.schema.values());
        let memtable = Arc::new(std::mem::replace(&mut self.active, Memtable::new()));
        let marks = std::mem::take(&mut self.active_marks);
        self.frozen = Some(Frozen { memtable: Arc::clone(&memtable), marks });
        Some((memtable, false))
    }

    /// A number for a part that no other part of this writer has, a failed attempt's included.
    pub(crate) fn take_part_number(&mut self) -> u64 {
        let number = self.next_part;
        self.next_part += 1;
        number
    }

    /// The manifest that follows: the parts that are not `gone`, and `new` ones.
    pub(crate) fn next_manifest(
        &mut self,
        durable: Lsn,
        flushed: Lsn,
        gone: &[Arc<PartFile>],
        new: impl Iterator<Item = (PartMeta, RoaringBitmap)>,
    ) -> Manifest {
        // Only marks whose replacement is on disk: the others are found again by replaying the log.
        let stays = |part: &&mut LivePart| !gone.iter().any(|gone| Arc::ptr_eq(gone, &part.file));
        let parts = self.parts.iter_mut().filter(stays).map(|part| {
            let superseded = part.marks.settle(durable).map(|marks| RoaringBitmap::clone(&marks));
            (part.file.meta.clone(), superseded.unwrap_or_default())
        });
        Manifest {
            number: self.manifest + 1,
            flushed,
            next_part: self.next_part,
            schema: TableSchema::clone(&self.schema),
            parts: parts.chain(new).collect(),
        }
    }

    /// The parts as they are when everything up to `durable` is on disk.
    pub(crate) fn settled_parts(&mut self, durable: Lsn) -> Vec<Arc<Part>> {
        let settle = |part: &mut LivePart| {
            let superseded = part.marks.settle(durable);
            Arc::new(Part { file: Arc::clone(&part.file), superseded })
        };
        self.parts.iter_mut().map(settle).collect()
    }

    /// Marks the row at `place` as replaced from `lsn` on.
    pub(crate) fn mark(&mut self, place: &Place, lsn: Lsn) {
        match place {
            Place::Active(row) => self.active_marks.add(lsn, *row),
            Place::Frozen(row) => {
                if let Some(frozen) = &mut self.frozen {
                    frozen.marks.add(lsn, *row);
                }
            }
            Place::Part(file, row) => {
                if let Some(part) = self.part(file) {
                    part.marks.add(lsn, *row);
                }
            }
        }
    }

    pub(crate) fn part(&mut self, file: &Arc<PartFile>) -> Option<&mut LivePart> {
        self.parts.iter_mut().find(|part| Arc::ptr_eq(&part.file, file))
    }
}
