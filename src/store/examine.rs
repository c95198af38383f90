//! What is wrong with a store that is not running, and what opening it regardless would lose.
//!
//! Reads everything: the catalog, every manifest, every byte and every row of every part, every frame
//! of the log. Writes nothing.

mod report;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use roaring::RoaringBitmap;

use super::catalog::{Catalog, Contents};
use super::damage::{self, Damage, Flaw, LogWalk, Segment};
use super::error::StoreError;
use super::files::{DiskFiles, Files};
use super::lock::FolderLock;
use super::manifest::{self, Manifest};
use super::objects::Objects;
use super::options::Table;
use super::part::PartMeta;
use super::part::checked::{self, CheckedStore};
use super::part::reader::PartReader;
use super::paths::{self, TableId, WriterId};
use super::url::StoreUrl;
use super::wal::entry::{self, LoggedRows};
use super::wal::position::Lsn;
use super::wal::reader::{self, FrameReader};
use super::wal::segment;
use super::{Disks, Store, StoreOptions, journal, place};

pub use self::report::{Finding, Report, Severity};

impl Store {
    /// Examines the store in a folder, which must not be in use, without changing anything. Its parts
    /// are where `url` says.
    ///
    /// # Errors
    /// When there is no store, another process has it open, or the disk fails. Damage is no error
    /// but a finding.
    pub async fn examine(path: &Path, url: Option<StoreUrl>) -> Result<Report, StoreError> {
        if !path.is_dir() {
            let missing = std::io::Error::new(std::io::ErrorKind::NotFound, path.display().to_string());
            return Err(StoreError::disk("looking for the store's folder")(missing));
        }
        let _lock = FolderLock::take_existing(path)?;
        let files: Arc<dyn Files> = Arc::new(DiskFiles::new(path));
        let contents = Catalog::peek(path);
        // Without a catalog there is no telling where the parts are, and the log is here.
        let (url, writer) = match &contents {
            Ok(contents) => (url, contents.writer.clone()),
            Err(_) => (None, WriterId::random()),
        };
        let options = StoreOptions { url, ..StoreOptions::new(path) };
        let disks = place::disks(&options, files, &writer)?;
        if let Ok(contents) = &contents {
            let objects = Objects::new(Arc::clone(&disks.objects), None);
            place::look(&objects, contents, options.url.as_ref()).await?;
        }
        let mut report = Self::examine_on(contents, disks).await?;
        report.findings.extend(journal::examine(path)?);
        Ok(report)
    }

    pub(crate) async fn examine_on(
        contents: Result<Contents, StoreError>,
        disks: Disks,
    ) -> Result<Report, StoreError> {
        let Disks { files, objects: store, .. } = disks;
        let parts = CheckedStore::new(store);
        let mut examination = Examination {
            objects: Objects::new(Arc::clone(&parts) as _, None),
            parts,
            report: Report::default(),
            tables: HashMap::new(),
            synced: Lsn::START,
            deleted: None,
        };
        match contents {
            Ok(contents) => {
                examination.synced = contents.log_end;
                examination.deleted = Some(contents.deleted);
                examination.tables(contents.tables).await?;
                examination.unknown_tables().await?;
            }
            Err(error @ StoreError::Disk { .. }) => return Err(error),
            Err(error) => {
                let meaning = format!("{error}; without the catalog no table is known");
                let finding = Finding::new(Severity::Refused, "catalog.redb", meaning);
                examination.report.findings.push(finding);
            }
        }
        examination.log(&*files)?;
        Ok(examination.report)
    }
}

/// Bytes of a part that are read at once.
const STEP_BYTES: usize = 4 * 1024 * 1024;

struct Examination {
    objects: Objects,
    parts: Arc<CheckedStore>,
    report: Report,
    tables: HashMap<TableId, Known>,
    /// The log went up to here.
    synced: Lsn,
    /// Tables that were deleted, and those that were reported; `None` when there is no catalog to tell.
    deleted: Option<HashSet<TableId>>,
}

/// A table as far as the log is concerned.
struct Known {
    name: String,
    flushed: Lsn,
}

impl Examination {
    async fn tables(&mut self, tables: Vec<Table>) -> Result<(), StoreError> {
        for table in tables {
            let name = format!("{}.{}", table.database, table.name);
            self.report.tables += 1;
            let manifest = match manifest::load(&self.objects, table.id).await {
                Ok(manifest) => manifest,
                Err(StoreError::Damaged { path, offset, reason }) => {
                    let meaning = format!("{reason}; which parts the table {name} has is not known");
                    let finding = Finding::new(Severity::Refused, path, meaning).at(offset);
                    self.report.findings.push(finding);
                    Manifest::default()
                }
                Err(error) => return Err(error),
            };
            self.synced = self.synced.max(manifest.flushed);
            self.tables.insert(table.id, Known { name: name.clone(), flushed: manifest.flushed });
            for (meta, superseded) in manifest.parts {
                self.part(&name, &meta, &superseded).await?;
            }
        }
        Ok(())
    }

    /// Tables that have files and of which the catalog knows nothing.
    async fn unknown_tables(&mut self) -> Result<(), StoreError> {
        let listed =
            self.objects.list(&paths::tables()).await.map_err(StoreError::objects("listing parts"))?;
        for (table, path) in damage::tables_with_manifests(&listed) {
            self.expect_known(table, path.as_ref());
        }
        Ok(())
    }

    fn expect_known(&mut self, table: TableId, seen: &str) {
        let Some(deleted) = &mut self.deleted else { return };
        if !self.tables.contains_key(&table) && deleted.insert(table) {
            let meaning = format!(
                "{}; opening is refused. Accepting the loss gives up the table",
                damage::older_catalog(table, seen)
            );
            self.report.findings.push(Finding::new(Severity::Refused, "catalog.redb", meaning));
        }
    }

    async fn part(
        &mut self,
        table: &str,
        meta: &PartMeta,
        superseded: &RoaringBitmap,
    ) -> Result<(), StoreError> {
        self.report.parts += 1;
        let rows = meta.rows.saturating_sub(superseded.len());
        self.parts.add(meta);
        let flaw = self.flaw(meta).await?;
        self.parts.remove(&meta.path);
        if let Some((offset, wrong)) = flaw {
            let meaning = format!("{wrong}; queries of the table {table} that need this part fail");
            let finding = Finding::new(Severity::Loss, &meta.path, meaning).affecting(rows);
            self.report.findings.push(offset.into_iter().fold(finding, Finding::at));
        }
        Ok(())
    }

    /// What is wrong with a part, and where.
    async fn flaw(&self, meta: &PartMeta) -> Result<Option<(Option<u64>, String)>, StoreError> {
        let found = match self.parts.head(&meta.path).await {
            Err(object_store::Error::NotFound { .. }) => {
                return Ok(Some((None, "the file is missing".to_owned())));
            }
            found => found.map_err(StoreError::objects("looking at a part"))?,
        };
        if found.size != meta.bytes {
            let wrong = format!("the file has {} bytes where {} were written", found.size, meta.bytes);
            return Ok(Some((None, wrong)));
        }
        for start in (0..meta.bytes).step_by(STEP_BYTES) {
            let end = (start + STEP_BYTES as u64).min(meta.bytes);
            if let Err(error) = self.parts.get_range(&meta.path, start..end).await {
                let Some(damaged) = checked::damage(&error) else {
                    return Err(StoreError::objects("reading a part")(error));
                };
                return Ok(Some((Some(damaged.offset), "the checksum does not match".to_owned())));
            }
        }
        let wrong = match read(self.objects.store(), meta).await {
            Ok(read) if read == meta.rows => return Ok(None),
            Ok(read) => format!("the file has {read} rows where {} were written", meta.rows),
            Err(error) => error.to_string(),
        };
        Ok(Some((None, wrong)))
    }

    fn log(&mut self, files: &dyn Files) -> Result<(), StoreError> {
        let mut walk = LogWalk::start(files, self.synced)?;
        let (mut segments, mut next, mut refused) = (Vec::new(), None, false);
        while let Some(mut segment) = walk.next_segment()? {
            if !refused {
                next = segment.next;
            }
            let unreadable = self.frames(segment.frames(), &segment.path);
            if let Some((end, damage)) = unreadable {
                next = if refused { next } else { Some(end) };
                segment.flaw = Some(Flaw::Damaged(damage));
            }
            let flaw = segment.flaw.take();
            if refused {
                self.behind_damage(&segment);
            } else if let Some(Flaw::Damaged(damage)) = flaw {
                refused = true;
                self.damaged(&segment, &damage);
            } else if let Some(Flaw::Torn(fault)) = flaw {
                let meaning = format!(
                    "{}: a write that a crash left unfinished; it was never acknowledged and will be cut off",
                    fault.kind
                );
                let finding = Finding::new(Severity::Harmless, &segment.path, meaning);
                self.report.findings.push(finding.at(fault.offset));
            }
            if !segment.is_empty() {
                segments.push(segment.first);
            }
        }
        if !refused && let Some((path, damage)) = damage::ends_early(&segments, next, self.synced) {
            let meaning = format!("{}; how many rows are missing is not known", damage.reason);
            self.report.findings.push(Finding::new(Severity::Refused, path, meaning));
        }
        self.kept_aside(files)
    }

    /// Counts good frames; the answer is the first whose content cannot be read.
    fn frames(&mut self, mut frames: FrameReader<'_>, path: &str) -> Option<(Lsn, Damage)> {
        let mut rows = LoggedRows::default();
        loop {
            let offset = frames.offset();
            let Some(Ok(frame)) = frames.next() else { return None };
            self.report.frames += 1;
            match rows.read(frame.entry) {
                Ok(table) => self.expect_known(table, path),
                Err(fault) => return Some((frame.lsn, Damage::new(offset, fault))),
            }
        }
    }

    fn damaged(&mut self, segment: &Segment, damage: &Damage) {
        let expected = segment.next.unwrap_or(segment.first);
        let offset = usize::try_from(damage.offset).unwrap_or(usize::MAX);
        let behind = if offset == 0 {
            // The header: its frames may all be whole.
            Some(FrameReader::new(&segment.bytes, segment.first))
        } else {
            reader::behind(&segment.bytes, offset, expected)
        };
        let rows = behind.map_or_else(HashMap::new, |frames| self.unflushed(frames));
        let what = self.told(&rows);
        let meaning = format!(
            "{}; opening is refused. Accepting the loss gives up the rest of the file: {what} and what \
             cannot be read",
            damage.reason
        );
        let finding = Finding::new(Severity::Refused, &segment.path, meaning).at(damage.offset);
        self.report.findings.push(finding.affecting(rows.values().sum()));
    }

    /// A segment that would be given up because one before it is damaged.
    fn behind_damage(&mut self, segment: &Segment) {
        let rows = self.unflushed(FrameReader::new(&segment.bytes, segment.first));
        let what = self.told(&rows);
        let meaning = format!("it lies behind the damage; accepting the loss gives up {what}");
        let finding = Finding::new(Severity::Loss, &segment.path, meaning);
        self.report.findings.push(finding.affecting(rows.values().sum()));
    }

    /// How many rows frames hold of each table that are in no part. Tables that are not in the
    /// catalog were deleted.
    fn unflushed(&self, frames: FrameReader<'_>) -> HashMap<TableId, u64> {
        let mut rows = HashMap::new();
        for frame in frames.filter_map(Result::ok) {
            if let Ok((table, count)) = entry::rows_of(frame.entry)
                && self.tables.get(&table).is_some_and(|known| frame.lsn > known.flushed)
            {
                *rows.entry(table).or_default() += u64::from(count);
            }
        }
        rows
    }

    fn told(&self, rows: &HashMap<TableId, u64>) -> String {
        let name = |(table, rows): (&TableId, &u64)| {
            let known = self.tables.get(table)?;
            Some(format!("{rows} rows of {}", known.name))
        };
        let mut told: Vec<String> = rows.iter().filter_map(name).collect();
        told.sort();
        if told.is_empty() { "no row that is known".to_owned() } else { told.join(", ") }
    }

    fn kept_aside(&mut self, files: &dyn Files) -> Result<(), StoreError> {
        let names = files.list(segment::FOLDER).map_err(StoreError::disk("listing the log"))?;
        for name in names.iter().filter(|name| name.ends_with(".damaged")) {
            let path = format!("{}/{name}", segment::FOLDER);
            let meaning = "bytes of a log that were given up earlier; nothing reads them, delete at will";
            self.report.findings.push(Finding::new(Severity::Harmless, path, meaning));
        }
        Ok(())
    }
}

/// Reads all rows of a part and returns their number.
async fn read(store: &Arc<dyn ObjectStore>, meta: &PartMeta) -> Result<u64, ParquetError> {
    let reader = PartReader::new(Arc::clone(store), meta.path.clone(), meta.bytes);
    let mut stream = ParquetRecordBatchStreamBuilder::new(reader).await?.build()?;
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await? {
        rows += batch.num_rows() as u64;
    }
    Ok(rows)
}
