//! From files to tables: manifests, then the log. The only place that decides what damage means.
//!
//! - A bad frame at the end of the newest segment that was never synced is what a crash leaves: it is
//!   cut off, and said so. Nothing acknowledged is in it.
//! - Any other bad byte is damage: opening is refused, naming file and offset.
//! - Entries of tables the catalog does not know belong to dropped tables and are skipped; so are
//!   rows up to the `flushed_lsn` of their table's manifest.
//! - Objects that no manifest names are left over from a flush or merge that did not finish, and are deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use object_store::path::Path;
use tracing::{info, warn};

use super::error::StoreError;
use super::files::Files;
use super::manifest;
use super::objects::{Cleaner, Objects};
use super::options::Table;
use super::part::lookup::{Lookup, Wanted};
use super::paths::{self, TableId};
use super::series::SeriesKey;
use super::table::{Place, TableState};
use super::wal::entry::{self, LoggedRow};
use super::wal::position::Lsn;
use super::wal::reader::{Fault, FrameReader};
use super::wal::segment;
use super::write;

/// The tables as they were and where the log goes on.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) tables: Vec<Arc<TableState>>,
    pub(crate) segments: Vec<Lsn>,
    pub(crate) next: Lsn,
}

/// What recovery works with.
#[derive(Debug)]
pub(crate) struct Recovery<'a> {
    pub(crate) files: &'a dyn Files,
    pub(crate) objects: &'a Objects,
    pub(crate) lookup: &'a Lookup,
    pub(crate) cleaner: &'a Cleaner,
}

impl Recovery<'_> {
    /// Brings `tables` back.
    pub(crate) async fn run(&self, tables: Vec<Table>) -> Result<Recovered, StoreError> {
        let mut states = HashMap::new();
        let mut flushed = Lsn::START;
        for table in tables {
            let manifest = manifest::load(self.objects, table.id).await?;
            flushed = flushed.max(manifest.flushed);
            states.insert(table.id, TableState::new(table, manifest, self.cleaner));
        }
        self.remove_left_overs(&states).await?;
        let (segments, next) = self.replay(&states, flushed).await?;
        Ok(Recovered { tables: states.into_values().collect(), segments, next })
    }

    async fn remove_left_overs(&self, tables: &HashMap<TableId, Arc<TableState>>) -> Result<(), StoreError> {
        let mut known: HashSet<Path> = HashSet::new();
        for table in tables.values() {
            known.extend(table.live().parts.iter().map(|part| part.file.meta.path.clone()));
        }
        let listed = self.objects.list(&paths::tables()).await;
        for path in listed.map_err(StoreError::objects("listing parts"))? {
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
        flushed: Lsn,
    ) -> Result<(Vec<Lsn>, Lsn), StoreError> {
        let names = self.files.list(segment::FOLDER).map_err(StoreError::disk("listing the log"))?;
        let mut firsts: Vec<Lsn> = names.iter().filter_map(|name| segment::first_lsn_of_name(name)).collect();
        let mut next = None;
        for (at, &first) in firsts.clone().iter().enumerate() {
            let newest = at + 1 == firsts.len();
            let path = segment::path(first);
            let bytes = self.files.read(&path).map_err(StoreError::disk("reading the log"))?;
            if newest && bytes.len() <= segment::HEADER_BYTES {
                // Without a frame there is nothing to keep, whole or torn, and the name may be needed.
                self.remove_segment(&path)?;
                let whole = segment::parse_header(&bytes).is_ok();
                firsts.pop();
                next = if whole { Some(first) } else { next };
                break;
            }
            let named =
                segment::parse_header(&bytes).map_err(|fault| StoreError::damaged(&path, 0, fault))?;
            if named != first || next.is_some_and(|next| next != first) {
                let expected = next.unwrap_or(first);
                let reason = format!("it starts with frame {named} where frame {expected} must follow");
                return Err(StoreError::damaged(&path, 0, reason));
            }
            let after = self.replay_segment(tables, &path, &bytes, first, newest.then_some(flushed)).await?;
            next = Some(after);
            if after == first {
                // All of it was cut off; the log goes on with a new segment of this name.
                self.remove_segment(&path)?;
                firsts.retain(|kept| *kept != first);
            }
        }
        let next = match next {
            Some(next) if next <= flushed && !firsts.is_empty() => {
                let path = firsts.last().map(|first| segment::path(*first)).unwrap_or_default();
                let reason = format!("the log ends before frame {next}, but parts go up to frame {flushed}");
                return Err(StoreError::damaged(path, 0, reason));
            }
            Some(next) => next.max(flushed.next()),
            None => flushed.next(),
        };
        Ok((firsts, next))
    }

    fn remove_segment(&self, path: &str) -> Result<(), StoreError> {
        let removed = self.files.remove(path).and_then(|()| self.files.sync_folder(segment::FOLDER));
        removed.map_err(StoreError::disk("removing an empty log segment"))
    }

    /// Applies the frames of a segment and returns the LSN that follows. `tail` is given for the newest
    /// segment only: up to where its frames are known to have been synced.
    async fn replay_segment(
        &self,
        tables: &HashMap<TableId, Arc<TableState>>,
        path: &str,
        bytes: &[u8],
        first: Lsn,
        tail: Option<Lsn>,
    ) -> Result<Lsn, StoreError> {
        let mut frames = FrameReader::new(bytes, first);
        loop {
            let (offset, next) = (frames.offset(), frames.next_lsn());
            match frames.next() {
                None => return Ok(next),
                Some(Ok(frame)) => {
                    let damaged = |fault| StoreError::damaged(path, offset, fault);
                    let table = entry::table_of(frame.entry).map_err(damaged)?;
                    let wanted = tables.get(&table).filter(|table| frame.lsn > table.live().flushed);
                    if let Some(table) = wanted {
                        let (_, rows) = entry::decode(frame.entry).map_err(damaged)?;
                        self.apply(table, frame.lsn, rows).await?;
                    }
                }
                Some(Err(fault)) => {
                    let torn = tail.is_some_and(|synced| !fault.was_synced && next > synced);
                    if !torn {
                        return Err(StoreError::damaged(path, fault.offset, fault.kind));
                    }
                    self.cut(path, bytes.len(), &fault)?;
                    return Ok(next);
                }
            }
        }
    }

    fn cut(&self, path: &str, bytes: usize, fault: &Fault) -> Result<(), StoreError> {
        let lost = bytes as u64 - fault.offset;
        warn!(path, offset = fault.offset, bytes = lost, reason = %fault.kind, "unfinished end of the log cut off");
        self.files.truncate(path, fault.offset).map_err(StoreError::disk("cutting the log"))
    }

    async fn apply(&self, table: &TableState, lsn: Lsn, rows: Vec<LoggedRow>) -> Result<(), StoreError> {
        let mut key = SeriesKey::default();
        let mut replaced = Vec::new();
        for LoggedRow { record, replaces } in rows {
            if replaces {
                replaced.extend(self.replaced(table, &mut key, &record).await?);
            }
            write::append(&mut table.live(), &mut key, record);
        }
        table.live().end_frame(lsn, lsn, replaced.into_iter());
        Ok(())
    }

    /// The rows a logged row replaced: the log says that there was one, the tables say where it is now.
    async fn replaced(
        &self,
        table: &TableState,
        key: &mut SeriesKey,
        record: &crate::record::Record,
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
