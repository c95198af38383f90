//! From files to tables: manifests, then the log. Acts on what `damage` says.
//!
//! - What a crash left unfinished at the end of the log is cut off, and said so.
//! - Damage refuses opening, naming file and offset. Only when the operator accepts the loss is the log
//!   cut there; what is cut off is kept beside it, in files that end in `.damaged`.
//! - Entries of deleted tables are skipped; so are rows up to the `flushed_lsn` of their table's manifest.
//! - A catalog that is missing where tables are is damage, and so is one that neither knows a table
//!   nor deleted it: it is older than the table, and believing it would delete the table's files.
//! - Objects that no manifest names are left over from a flush or merge that did not finish, and are
//!   deleted. All objects that can be listed were written by this store: elsewhere it has a folder of
//!   its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use tracing::{info, warn};

use super::damage::{self, Damage, Flaw, LogWalk, Segment};
use super::error::StoreError;
use super::files::Files;
use super::manifest::{self, Manifest};
use super::mending::Mending;
use super::objects::Objects;
use super::options::Table;
use super::part::Shelf;
use super::part::lookup::{Lookup, Wanted};
use super::paths::{self, TableId};
use super::replay;
use super::series::SeriesKey;
use super::table::{Place, TableState};
use super::wal::entry::{self, LoggedRows};
use super::wal::position::Lsn;
use crate::record::Record;

/// Manifests that are read at once.
const READ_AT_ONCE: usize = 32;

/// The tables as they were and their log.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) tables: Vec<Arc<TableState>>,
    pub(crate) log: Replayed,
}

/// Where the log goes on.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) segments: Vec<Lsn>,
    pub(crate) next: Lsn,
    /// Whether damage was cut off. The numbers up to `next` may have a hole then: the segments must
    /// be flushed and gone before the log is read again.
    pub(crate) lost: bool,
    /// Deleted tables of which there still are entries.
    pub(crate) deleted: HashSet<TableId>,
}

/// Tables that were deleted, and which of those that are not there were met in the log.
#[derive(Debug)]
struct Gone<'a> {
    deleted: &'a HashSet<TableId>,
    seen: &'a mut HashSet<TableId>,
}

/// What recovery works with.
#[derive(Debug)]
pub(crate) struct Recovery<'a> {
    pub(crate) files: &'a dyn Files,
    pub(crate) objects: &'a Objects,
    pub(crate) lookup: &'a Lookup,
    pub(crate) shelf: &'a Shelf,
    /// Whether the log may be cut at damage.
    pub(crate) accept_loss: bool,
}

impl Recovery<'_> {
    /// Brings `tables` back; the log is known to have been on disk up to `log_end`.
    pub(crate) async fn run(
        &self,
        tables: Vec<Table>,
        deleted: &HashSet<TableId>,
        log_end: Lsn,
    ) -> Result<Recovered, StoreError> {
        let mut states = HashMap::new();
        let mut synced = log_end;
        for (table, manifest) in self.manifests(tables).await? {
            synced = synced.max(manifest.flushed);
            states.insert(table.id, TableState::new(table, manifest, self.shelf));
        }
        self.remove_left_overs(&states, deleted).await?;
        let log = self.replay(&states, deleted, synced).await?;
        Ok(Recovered { tables: states.into_values().collect(), log })
    }

    /// The newest manifest of each table. Many at once: elsewhere each of them is a journey.
    async fn manifests(&self, tables: Vec<Table>) -> Result<Vec<(Table, Manifest)>, StoreError> {
        let load = |table: Table| async {
            let manifest = manifest::load(self.objects, table.id).await?;
            self.keep_name(table.id, &manifest).await?;
            Ok((table, manifest))
        };
        stream::iter(tables.into_iter().map(load)).buffer_unordered(READ_AT_ONCE).try_collect().await
    }

    /// Makes sure that a manifest which was found is still found after the next crash: whoever wrote it
    /// may have died before its name was on disk, and the log forgets what it holds.
    async fn keep_name(&self, table: TableId, manifest: &Manifest) -> Result<(), StoreError> {
        if manifest.number == 0 {
            return Ok(());
        }
        let named = self.objects.named(&paths::manifest(table, manifest.number)).await;
        named.map_err(StoreError::objects("syncing a manifest's name"))
    }

    /// Refuses a table that the catalog neither knows nor deleted, unless the operator gives it up.
    fn expect_deleted(
        &self,
        table: TableId,
        deleted: &HashSet<TableId>,
        seen: &str,
    ) -> Result<(), StoreError> {
        if self.accept_loss || deleted.contains(&table) {
            return Ok(());
        }
        Err(StoreError::damaged("catalog.redb", 0, damage::older_catalog(table, seen)))
    }

    async fn remove_left_overs(
        &self,
        tables: &HashMap<TableId, Arc<TableState>>,
        deleted: &HashSet<TableId>,
    ) -> Result<(), StoreError> {
        let mut known: HashSet<Path> = HashSet::new();
        for table in tables.values() {
            known.extend(table.live().parts.iter().map(|part| part.file.meta.path.clone()));
        }
        let listed = self.objects.list(&paths::tables()).await;
        let listed = listed.map_err(StoreError::objects("listing parts"))?;
        for (table, path) in damage::tables_with_manifests(&listed) {
            if !tables.contains_key(&table) {
                self.expect_deleted(table, deleted, path.as_ref())?;
            }
        }
        for path in listed {
            let id = path.parts().nth(1).and_then(|id| TableId::parse(id.as_ref()));
            let of_live_table = id.is_some_and(|id| tables.contains_key(&id));
            let manifest = paths::manifest_number(&path).is_some();
            if known.contains(&path) || (of_live_table && manifest) {
                continue;
            }
            info!(%path, "removing an object that nothing refers to");
            self.objects.delete(&path).await.map_err(StoreError::objects("removing a left-over object"))?;
        }
        Ok(())
    }

    async fn replay(
        &self,
        tables: &HashMap<TableId, Arc<TableState>>,
        deleted: &HashSet<TableId>,
        synced: Lsn,
    ) -> Result<Replayed, StoreError> {
        let mending = Mending { files: self.files };
        let mut walk = LogWalk::start(self.files, synced)?;
        let mut replayed =
            Replayed { segments: Vec::new(), next: Lsn::START, lost: false, deleted: HashSet::new() };
        let mut next = None;
        while let Some(mut segment) = walk.next_segment()? {
            let gone = Gone { deleted, seen: &mut replayed.deleted };
            if let Some((end, damage)) = self.replay_segment(tables, gone, &segment).await? {
                segment.good = usize::try_from(damage.offset).expect("an offset in memory");
                segment.next = Some(end);
                segment.flaw = Some(Flaw::Damaged(damage));
            }
            next = segment.next;
            match segment.flaw.take() {
                None => {}
                Some(Flaw::Torn(fault)) => mending.cut(&segment, &fault)?,
                Some(Flaw::Damaged(damage)) if !self.accept_loss => return Err(damage.of(&segment.path)),
                Some(Flaw::Damaged(damage)) => {
                    mending.set_aside(&segment, &damage, walk.rest().rev())?;
                    replayed.lost = true;
                }
            }
            if segment.is_empty() {
                // Nothing to keep, and the log may go on with a segment of this name.
                mending.remove_segment(&segment.path)?;
            } else {
                if walk.is_done() {
                    // Read is not on disk: whoever wrote it may have died before its sync.
                    self.files.sync_file(&segment.path).map_err(StoreError::disk("syncing the log"))?;
                }
                replayed.segments.push(segment.first);
            }
            if replayed.lost {
                break;
            }
        }
        if let Some((path, damage)) = damage::ends_early(&replayed.segments, next, synced) {
            if !self.accept_loss {
                return Err(damage.of(&path));
            }
            warn!(path, reason = %damage.reason, "a log that ends too early is accepted");
            replayed.lost = true;
        }
        replayed.next = next.map_or(synced.next(), |next| next.max(synced.next()));
        Ok(replayed)
    }

    /// Applies the good frames of a segment. An entry that cannot be read is damage, although its
    /// frame is good; the answer names it and the number of its frame.
    async fn replay_segment(
        &self,
        tables: &HashMap<TableId, Arc<TableState>>,
        gone: Gone<'_>,
        segment: &Segment,
    ) -> Result<Option<(Lsn, Damage)>, StoreError> {
        let (mut frames, mut rows, mut key) = (segment.frames(), LoggedRows::default(), SeriesKey::default());
        loop {
            let offset = frames.offset();
            let Some(Ok(frame)) = frames.next() else { return Ok(None) };
            let damage = |fault| Ok(Some((frame.lsn, Damage::new(offset, fault))));
            let id = match entry::table_of(frame.entry) {
                Ok(id) => id,
                Err(fault) => return damage(fault),
            };
            if !tables.contains_key(&id) && gone.seen.insert(id) {
                self.expect_deleted(id, gone.deleted, &segment.path)?;
            }
            let table = tables.get(&id).filter(|table| frame.lsn > table.live().flushed);
            if let Some(table) = table {
                match rows.read(frame.entry) {
                    Ok(_) => self.apply(table, &mut key, frame.lsn, &rows).await?,
                    Err(fault) => return damage(fault),
                }
            }
        }
    }

    async fn apply(
        &self,
        table: &TableState,
        key: &mut SeriesKey,
        lsn: Lsn,
        rows: &LoggedRows<'_>,
    ) -> Result<(), StoreError> {
        let mut replaced = Vec::new();
        if rows.iter().any(|row| row.replaces) {
            for row in rows.iter() {
                if row.replaces {
                    replaced.extend(self.replaced(table, key, &row.record()).await?);
                }
                replay::append(&mut table.live(), key, &row);
            }
        } else {
            let mut live = table.live();
            rows.iter().for_each(|row| replay::append(&mut live, key, &row));
        }
        table.live().end_frame(lsn, lsn, replaced.into_iter());
        Ok(())
    }

    /// The rows a logged row replaced: the log says that there was one, the tables say where it is now.
    async fn replaced(
        &self,
        table: &TableState,
        key: &mut SeriesKey,
        record: &Record,
    ) -> Result<Vec<Place>, StoreError> {
        let time = record.time.nanos();
        let (schema, files) = {
            let live = table.live();
            if !key.set(&live.schema, record) {
                return Ok(Vec::new());
            }
            if let Some(row) = live.active.find(key.bytes(), time) {
                return Ok(vec![Place::Active(row)]);
            }
            let files: Vec<_> = live.parts.iter().map(|part| Arc::clone(&part.file)).collect();
            (Arc::clone(&live.schema), files)
        };
        let wanted = [Wanted { index: 0, key: key.bytes().to_vec(), time }];
        let mut places = Vec::new();
        for file in files.iter().filter(|file| file.meta.may_hold(time)) {
            for (_, found) in self.lookup.find(file, &schema, &wanted).await? {
                // A part written after the mark was logged may hold newer versions, never this row's.
                if found.version < record.version {
                    places.push(Place::Part(Arc::clone(file), found.row));
                }
            }
        }
        Ok(places)
    }
}
