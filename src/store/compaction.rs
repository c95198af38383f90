//! Many small parts of a day become one, while everybody goes on reading and writing.
//!
//! ```text
//! choose   under the table's lock: which parts, and which of their rows are superseded for good
//! merge    without a lock: a new part is written; see `part::merge`
//! commit   in the flush's turn: one manifest swaps the old parts for the new one
//! swap     under the table's lock: marks that came meanwhile move to the new part
//! ```
//!
//! A row that is replaced while the merge runs is marked in its old part as always. No mark is lost:
//! at the swap every mark that the merge did not know is carried over, with the LSN from which it
//! counts. Old files go when no snapshot holds them. A merge whose parts are gone by then, because the
//! table was deleted or they expired, is thrown away.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parquet::errors::ParquetError;
use roaring::RoaringBitmap;
use tracing::info;

use super::Inner;
use super::error::StoreError;
use super::manifest::{self, Manifest};
use super::marks::Marks;
use super::part::merge::{self, Input, MergeFault, Merged, Order};
use super::part::{DAY_NANOS, PartFile, PartMeta};
use super::paths;
use super::table::{Live, LivePart, TableState};
use super::tiers::{self, Size};
use super::wal::position::Lsn;
use crate::clock::Timestamp;
use crate::shutdown::Shutdown;

/// How long after its end a day counts as over.
const DAY_SETTLES_NANOS: i64 = 60 * 60 * 1_000_000_000;

/// Parts that leave a table, and the part that takes their place, if any.
#[derive(Debug)]
pub(crate) struct Replacement {
    old: Vec<Input>,
    /// Rows before were left out.
    cutoff: Option<Timestamp>,
    merged: Merged,
    /// The new part on disk.
    file: Option<Arc<PartFile>>,
    /// Where marked rows of the old parts are in the new one, as far as somebody asked.
    places: HashMap<(usize, u32), Option<u32>>,
}

impl Inner {
    /// Merges parts of one day of `table` if any should be; returns whether.
    pub(crate) async fn compact_day(
        &self,
        table: &TableState,
        day: i64,
        stop: &Shutdown,
    ) -> Result<bool, StoreError> {
        let settles = (day + 1).saturating_mul(DAY_NANOS).saturating_add(DAY_SETTLES_NANOS);
        let files = table.live().due(day, self.clock.now().nanos() >= settles);
        match self.merge_parts(table, &files, stop).await? {
            Some(replacement) => self.replace_parts(table, replacement).await,
            None => Ok(false),
        }
    }

    /// The days of which `table` has parts.
    pub(crate) fn days(table: &TableState) -> BTreeSet<i64> {
        table.live().parts.iter().map(|part| part.file.meta.day()).collect()
    }

    /// Writes one part with the rows of several. Nothing refers to it yet. `None` when there is
    /// nothing to merge, or the merge was told to stop.
    pub(crate) async fn merge_parts(
        &self,
        table: &TableState,
        files: &[Arc<PartFile>],
        stop: &Shutdown,
    ) -> Result<Option<Replacement>, StoreError> {
        let Some(first) = files.first() else { return Ok(None) };
        if let Some(stopped) = self.wal.stopped() {
            return Err(stopped.into());
        }
        let cutoff = self.cutoff(table);
        let (order, old) = {
            let mut live = table.live();
            let Some(old) = live.inputs(files, self.wal.durable()) else { return Ok(None) };
            let number = live.take_part_number();
            let path = paths::part(table.id, first.meta.day(), &self.writer, number);
            let schema = Arc::clone(&live.schema);
            (Order { inputs: old.clone(), schema, cutoff, path }, old)
        };
        let path = order.path.clone();
        let (store, stop) = (Arc::clone(self.objects.store()), stop.clone());
        // Decoding and encoding keep a processor busy for seconds; the runtime's own threads answer.
        let runtime = tokio::runtime::Handle::current();
        let work = move || runtime.block_on(merge::merge(&store, order, || stop.is_requested()));
        let merged = match tokio::task::spawn_blocking(work).await {
            Ok(Ok(merged)) => Ok(merged),
            Ok(Err(MergeFault::Stopped)) => return Ok(None),
            Ok(Err(MergeFault::Parquet(fault))) => Err(fault),
            Err(ended) => Err(ParquetError::External(Box::new(ended))),
        };
        let merged = merged.map_err(|source| StoreError::Part {
            doing: "merging parts to",
            path: path.to_string(),
            source: Arc::new(source),
        });
        let written = match &merged {
            Ok(Merged { meta: Some(_), .. }) => {
                self.objects.written(&path).await.map_err(StoreError::objects("writing a merged part"))
            }
            _ => Ok(()),
        };
        if merged.is_err() || written.is_err() {
            // Nothing names it: what there is of it may go.
            self.shelf.cleaner.delete(path);
        }
        written?;
        let merged = merged?;
        let file = merged.meta.clone().map(|meta| PartFile::new(meta, self.shelf.clone()));
        Ok(Some(Replacement { old, cutoff, merged, file, places: HashMap::new() }))
    }

    /// Swaps parts for the merged one with one manifest. Returns `false`, and throws the merged part
    /// away, when the table is not what it was when the merge began.
    pub(crate) async fn replace_parts(
        &self,
        table: &TableState,
        mut replacement: Replacement,
    ) -> Result<bool, StoreError> {
        let _committing = table.flushing.lock().await;
        let (mut manifest, late) = {
            let mut live = table.live();
            if table.is_dropped() || !self.holds(table, &mut live, &replacement) {
                replacement.discard();
                return Ok(false);
            }
            let durable = self.wal.durable();
            let flushed = live.flushed;
            let manifest = live.next_manifest(durable, flushed, &replacement.files(), std::iter::empty());
            (manifest, replacement.late_marks(&mut live))
        };
        replacement.place(&late);
        replacement.complete(&mut manifest, &late, self.wal.durable());
        // When this fails the file stays: the manifest may be there and name it.
        manifest::commit(&self.objects, table.id, &self.writer, &mut manifest).await?;
        let mut live = table.live();
        if table.is_dropped() {
            replacement.discard();
            return Ok(false);
        }
        live.replace(&mut replacement, &manifest);
        drop(live);
        let rows = replacement.merged.meta.as_ref().map_or(0, |meta| meta.rows);
        for input in &replacement.old {
            self.lookup.forget(&input.file.meta.path);
        }
        let (parts, manifest) = (replacement.old.len(), manifest.number);
        info!(table = %table.id, parts, rows, manifest, "parts merged");
        Ok(true)
    }

    /// Whether the parts are still there and what was left out for its age would be again.
    fn holds(&self, table: &TableState, live: &mut Live, replacement: &Replacement) -> bool {
        let there = replacement.old.iter().all(|input| live.part(&input.file).is_some());
        // Retention may have been raised since.
        let aged = replacement.merged.aged > 0 && self.cutoff(table) < replacement.cutoff;
        there && !aged
    }
}

impl Live {
    /// The parts of a day that should be merged now.
    fn due(&self, day: i64, day_is_over: bool) -> Vec<Arc<PartFile>> {
        let parts: Vec<&LivePart> = self.parts.iter().filter(|part| part.file.meta.day() == day).collect();
        let size = |part: &&LivePart| Size {
            bytes: part.file.meta.bytes,
            rows: part.file.meta.rows,
            superseded: part.marks.settled(),
        };
        let sizes: Vec<Size> = parts.iter().map(size).collect();
        tiers::due(&sizes, day_is_over).into_iter().map(|at| Arc::clone(&parts[at].file)).collect()
    }

    /// The parts with the rows that are superseded for good; `None` when one is not there.
    fn inputs(&mut self, files: &[Arc<PartFile>], durable: Lsn) -> Option<Vec<Input>> {
        let input = |file: &Arc<PartFile>| {
            let hidden = self.part(file)?.marks.settle(durable).unwrap_or_default();
            Some(Input { file: Arc::clone(file), hidden })
        };
        files.iter().map(input).collect()
    }

    /// Puts the merged part in the place of the old ones.
    fn replace(&mut self, replacement: &mut Replacement, manifest: &Manifest) {
        let late = replacement.late_marks(self);
        replacement.place(&late);
        let mut marks = Marks::default();
        for (lsn, row) in replacement.translated(&late) {
            marks.add(lsn, row);
        }
        let old = replacement.files();
        self.parts.retain(|part| !old.iter().any(|old| Arc::ptr_eq(old, &part.file)));
        self.parts.extend(replacement.file.clone().map(|file| LivePart { file, marks }));
        self.manifest = manifest.number;
        old.iter().for_each(|file| file.doom());
    }
}

/// A mark on a row of one of the old parts, from its LSN on.
type LateMark = (Lsn, (usize, u32));

impl Replacement {
    fn files(&self) -> Vec<Arc<PartFile>> {
        self.old.iter().map(|input| Arc::clone(&input.file)).collect()
    }

    /// The marks on the old parts that the merge did not know, in ascending LSN.
    fn late_marks(&self, live: &mut Live) -> Vec<LateMark> {
        let mut late = Vec::new();
        if self.file.is_none() {
            return late;
        }
        for (at, input) in self.old.iter().enumerate() {
            let Some(part) = live.part(&input.file) else { continue };
            late.extend(part.marks.beyond(&input.hidden).into_iter().map(|(lsn, row)| (lsn, (at, row))));
        }
        late.sort_unstable();
        late
    }

    /// Finds out where marked rows are in the new part. Looks through all its rows, but only when a
    /// row is asked for that was not before.
    fn place(&mut self, late: &[LateMark]) {
        let rows = late.iter().map(|(_, row)| *row);
        let unknown: BTreeSet<_> = rows.filter(|row| !self.places.contains_key(row)).collect();
        if unknown.is_empty() {
            return;
        }
        let found = self.merged.places(&unknown);
        self.places.extend(unknown.into_iter().map(|row| (row, found.get(&row).copied())));
    }

    /// The marks as marks on the new part; those on rows that were left out are done with.
    fn translated(&self, late: &[LateMark]) -> Vec<(Lsn, u32)> {
        let place = |(lsn, row): &LateMark| Some((*lsn, self.places.get(row).copied()??));
        late.iter().filter_map(place).collect()
    }

    /// Names the new part in the manifest, with the marks that are durable.
    fn complete(&self, manifest: &mut Manifest, late: &[LateMark], durable: Lsn) {
        let Some(meta) = &self.merged.meta else { return };
        let settled = self.translated(late).into_iter().filter(|(lsn, _)| *lsn <= durable);
        let superseded: RoaringBitmap = settled.map(|(_, row)| row).collect();
        manifest.parts.push((PartMeta::clone(meta), superseded));
    }

    /// Deletes the new part, which no manifest names.
    fn discard(&self) {
        if let Some(file) = &self.file {
            file.doom();
        }
    }
}

/// Removing whole parts is replacing them by nothing.
impl Replacement {
    /// Parts all of whose rows are before `cutoff`.
    pub(crate) fn of_expired(files: Vec<Arc<PartFile>>, cutoff: Timestamp) -> Self {
        let aged = files.iter().map(|file| file.meta.rows).sum();
        let old = files.into_iter().map(|file| Input { file, hidden: Arc::default() }).collect();
        let merged = Merged::nothing(aged);
        Self { old, cutoff: Some(cutoff), merged, file: None, places: HashMap::new() }
    }
}
