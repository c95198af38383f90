//! Storage: small, durable, columnar.
//!
//! A write goes into the log and into memory, and is visible once the log is on disk. Memory is
//! flushed to Parquet parts, one UTC day each; a manifest per table names the parts. In the background
//! small parts are merged and those past retention removed. A query gets a snapshot: the durable rows
//! of one moment, each once and in its newest version.
//!
//! ```text
//! write -> wal -> memtable -> flush -> part -> manifest
//!                    |       merge <---/  \--> /  |
//!                    \--------- snapshot --------/
//! ```
//!
//! This file is the front: it owns the pieces and keeps nothing of its own.

mod error;
mod limits;
mod options;
mod paths;
mod url;

mod files;
mod lock;
mod objects;
mod wal;

mod catalog;
mod directory;
mod documents;
mod ground;
mod place;
mod table;
mod tags;

mod admission;
mod layout;
mod schema;
mod series;

mod chunk;
mod marks;
mod memory;
mod memtable;
mod newest;
mod write;

mod flush;
mod flusher;
mod manifest;
mod part;

mod compaction;
mod housekeeper;
mod retention;
mod tiers;
mod troubles;

mod damage;
mod examine;
mod journal;
mod mending;
mod recovery;
mod replay;
mod snapshot;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use object_store::ObjectStore;
use tracing::warn;

use self::catalog::Catalog;
use self::directory::Directory;
use self::files::{DiskFiles, Files};
use self::ground::Ground;
use self::lock::FolderLock;
use self::memory::MemoryBudget;
use self::objects::{Cleaner, Objects};
use self::part::Shelf;
use self::part::checked::CheckedStore;
use self::part::lookup::Lookup;
use self::paths::WriterId;
use self::recovery::Recovery;
use self::table::TableState;
use self::troubles::Troubles;
use self::wal::WalOptions;
use self::wal::committer::Wal;
use crate::clock::Clock;
use crate::record::WriteBatch;
use crate::shutdown::Shutdown;

pub use self::documents::{DOCUMENT_BYTES_MAX, Document};
pub use self::error::{RejectReason, StoreError};
pub use self::examine::{Finding, Report, Severity};
pub use self::journal::Journal;
pub use self::limits::Limits;
pub use self::options::{
    Compatibility, Database, DatabaseOptions, MagneticWrites, PartitionKey, PartitionKeyItem, Retention,
    StoreOptions, Table, TableOptions, TableStatus, TableUpdate, Tag,
};
pub use self::part::Part;
pub use self::paths::TableId;
pub use self::schema::{Column, ColumnKind, MeasureInfo, TableSchema};
pub use self::snapshot::TableSnapshot;
pub use self::tags::{Resource, merge_tags};
pub use self::url::{StoreUrl, StoreUrlError};
pub use self::write::{Pending, Rejected, Written};

/// Writers wait while this much is queued for the log's next write.
const WAL_GROUP_BYTES: usize = 32 * 1024 * 1024;

/// How long closing waits for a flush that is under way. A merge stops by itself.
const BACKGROUND_DEADLINE: Duration = Duration::from_secs(60);

/// The store of one folder. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// The tasks in the background: flushes, merges, retention.
    background: Shutdown,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Inner {
    options: StoreOptions,
    clock: Arc<dyn Clock>,
    catalog: Catalog,
    directory: Directory,
    /// Held while a database or table is created, changed or deleted.
    changing: Mutex<()>,
    wal: Wal,
    memory: MemoryBudget,
    objects: Arc<Objects>,
    lookup: Lookup,
    shelf: Shelf,
    writer: WriterId,
    /// Held while parts are merged or removed.
    housekeeping: tokio::sync::Mutex<()>,
    flushing: Troubles,
    merging: Troubles,
    journals: Mutex<Vec<Journal>>,
    lock: Mutex<Option<FolderLock>>,
}

/// Where the bytes go; tests put disks here that fail.
#[derive(Debug)]
pub(crate) struct Disks {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// The door to sync the objects, where they are files.
    pub(crate) object_files: Option<Arc<dyn Files>>,
}

impl Inner {
    fn journals(&self) -> MutexGuard<'_, Vec<Journal>> {
        self.journals.lock().expect("no holder of the journals panics")
    }
}

impl Store {
    /// Opens the store of a folder, creating both when they are missing.
    ///
    /// # Errors
    /// When another process has it open, when a file is damaged, when the disk fails, or when what
    /// [`StoreOptions::url`] names cannot be used.
    pub async fn open(options: StoreOptions, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        std::fs::create_dir_all(&options.path).map_err(StoreError::disk("creating the store's folder"))?;
        let files: Arc<dyn Files> = Arc::new(DiskFiles::new(&options.path));
        let ground = Ground::take(&options.path, &*files)?;
        place::make_folder(options.url.as_ref(), &ground.contents.writer)?;
        let disks = place::disks(&options, files, &ground.contents.writer)?;
        Self::open_on(ground, disks, options, clock).await
    }

    pub(crate) async fn open_on(
        ground: Ground,
        disks: Disks,
        options: StoreOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let Ground { lock, catalog, contents } = ground;
        let Disks { files, objects: store, object_files } = disks;
        let checked = CheckedStore::new(store);
        let store: Arc<dyn ObjectStore> = Arc::clone(&checked) as _;
        let objects = Arc::new(Objects::new(Arc::clone(&store), object_files));
        place::settle(&objects, &catalog, &contents, options.url.as_ref()).await?;
        let shelf = Shelf { store: checked, cleaner: Cleaner::start(Arc::clone(&objects)) };
        let lookup = Lookup::new(store, options.lookup_cache_bytes);
        let accept_loss = options.accept_loss;
        let recovery =
            Recovery { files: &*files, objects: &objects, lookup: &lookup, shelf: &shelf, accept_loss };
        let recovered = recovery.run(contents.tables, &contents.deleted, contents.log_end).await?;
        let gone: Vec<_> = contents.deleted.difference(&recovered.log.deleted).copied().collect();
        catalog.forget_deleted(&gone)?;
        let memory = MemoryBudget::new(options.memory_bytes);
        memory.take(recovered.tables.iter().map(|table| table.live().active.bytes()).sum());
        let wal_options = WalOptions {
            segment_bytes: options.wal_segment_bytes,
            reserve_bytes: options.wal_reserve_bytes,
            group_bytes_max: WAL_GROUP_BYTES,
        };
        let wal = Wal::start(files, recovered.log.segments, recovered.log.next, wal_options)
            .map_err(StoreError::disk("starting the log"))?;
        let inner = Arc::new(Inner {
            options,
            clock,
            catalog,
            directory: Directory::new(contents.databases, recovered.tables),
            changing: Mutex::default(),
            wal,
            memory,
            objects,
            lookup,
            shelf,
            writer: contents.writer,
            housekeeping: tokio::sync::Mutex::default(),
            flushing: Troubles::new("rows cannot be moved from memory to parts"),
            merging: Troubles::new("parts cannot be merged or removed"),
            journals: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        });
        if recovered.log.lost {
            inner.start_afresh().await?;
        }
        let background = Shutdown::new();
        flusher::start(&inner, &background);
        housekeeper::start(&inner, &background, housekeeper::TICK);
        Ok(Self { inner, background })
    }

    /// Writes records to one table. Returns once their order is settled; they are durable when the
    /// answer resolves. Waits while memory is full.
    ///
    /// # Errors
    /// When there is no such table, or when nothing can be written any more.
    pub async fn submit(&self, batch: WriteBatch) -> Result<Pending, StoreError> {
        self.inner.submit(batch).await
    }

    /// The durable rows of a table at this moment, without those past its retention.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn snapshot(&self, database: &str, table: &str) -> Result<TableSnapshot, StoreError> {
        let table = self.inner.directory.table(database, table)?;
        Ok(snapshot::take(&table, self.inner.cutoff(&table), || self.inner.wal.durable()))
    }

    /// Where the paths of parts are valid. Answers with bytes that were checked, or with an error.
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(self.inner.objects.store())
    }

    /// Moves everything that is in memory now to parts.
    ///
    /// # Errors
    /// When the disk or the object store fails; the rows stay in memory and in the log.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.inner.flush_all().await
    }

    /// Removes the parts that are past retention and merges those that should be, now instead of in
    /// the background.
    ///
    /// # Errors
    /// When the disk or the object store fails; everything stays as it was.
    pub async fn maintain(&self) -> Result<(), StoreError> {
        self.inner.keep_house(&self.background, Duration::ZERO).await
    }

    /// Syncs what was submitted, refuses what comes later, and lets go of the folder. Snapshots can
    /// still be taken. Closing twice is closing once.
    ///
    /// # Errors
    /// When the log had failed, so that not everything that was submitted is durable.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.background.stop(BACKGROUND_DEADLINE).await;
        let inner = Arc::clone(&self.inner);
        let closing = tokio::task::spawn_blocking(move || {
            let Some(lock) = inner.lock.lock().expect("no holder of the lock panics").take() else { return };
            inner.journals().iter().for_each(Journal::close);
            inner.wal.close();
            if inner.wal.failed().is_none()
                && let Err(error) = inner.catalog.put_log_end(inner.wal.durable())
            {
                warn!(%error, "closed without a note of where the log ends");
            }
            inner.catalog.close();
            drop(lock);
        });
        closing.await.map_err(std::io::Error::other).map_err(StoreError::disk("closing the store"))?;
        let journal = self.inner.journals().iter().find_map(Journal::failed);
        self.inner.wal.failed().or(journal).map_or(Ok(()), |failed| Err(failed.into()))
    }

    /// Opens another log in a folder of the store's, for a room that keeps something of its own there, and
    /// hands what is in it to `replay`, entry by entry. The store closes it in the end. Blocks.
    ///
    /// # Errors
    /// When the disk fails, or the log is damaged and loss is not accepted; what `replay` cannot read is
    /// damage, too.
    pub fn open_journal(
        &self,
        folder: &str,
        replay: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Journal, StoreError> {
        let journal = Journal::open(&self.inner.options, folder, replay)?;
        self.inner.journals().push(journal.clone());
        Ok(journal)
    }

    /// What tells this store from all others; the same every time it is opened.
    pub fn id(&self) -> &str {
        self.inner.writer.id()
    }

    /// Whether what is written becomes durable.
    ///
    /// # Errors
    /// The reason, for an operator, when no writes are taken.
    pub fn health(&self) -> Result<(), String> {
        let journal = self.inner.journals().iter().find_map(Journal::stopped);
        self.inner.wal.stopped().or(journal).map_or(Ok(()), |stopped| Err(stopped.to_string()))
    }

    /// What does not work at present although writes are taken, for an operator: each a sentence.
    pub fn troubles(&self) -> Vec<String> {
        let Inner { catalog, flushing, merging, shelf, .. } = &*self.inner;
        let changing = catalog.failure().map(|why| format!("databases and tables cannot be changed: {why}"));
        let damaged = shelf.store.damaged_parts().into_iter();
        let damaged = damaged.map(|path| format!("{path} is damaged: queries that need it fail"));
        changing.into_iter().chain(flushing.told()).chain(merging.told()).chain(damaged).collect()
    }
}

/// Databases and tables. These calls wait for the catalog file, a few milliseconds.
impl Store {
    /// Creates a database.
    ///
    /// # Errors
    /// When there is one of that name, or the name is not allowed.
    pub fn create_database(&self, name: &str, options: DatabaseOptions) -> Result<Database, StoreError> {
        options::check_name(name, self.inner.options.compatibility)?;
        let _changing = self.inner.changing();
        if self.inner.directory.database(name).is_ok() {
            return Err(StoreError::DatabaseExists { database: name.to_owned() });
        }
        self.inner.options.limits.check_databases(self.inner.directory.counts().0)?;
        let now = self.inner.clock.now();
        let DatabaseOptions { kms_key_id, tags } = options;
        let tags = tags::checked(tags)?;
        let name = name.to_owned();
        let database = Database { name, kms_key_id, tags, table_count: 0, created: now, updated: now };
        self.inner.catalog.put_database(&database)?;
        self.inner.directory.put_database(database.clone());
        Ok(database)
    }

    /// What is known of a database.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn describe_database(&self, name: &str) -> Result<Database, StoreError> {
        self.inner.directory.database(name)
    }

    /// Whether there is such a table now; cheap enough to ask for every message.
    pub fn has_table(&self, database: &str, table: &str) -> bool {
        self.inner.directory.table(database, table).is_ok()
    }

    /// All databases, sorted by name.
    pub fn list_databases(&self) -> Vec<Database> {
        self.inner.directory.databases()
    }

    /// Changes the key a database names.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn update_database(&self, name: &str, kms_key_id: Option<String>) -> Result<Database, StoreError> {
        let _changing = self.inner.changing();
        let database = self.inner.directory.database(name)?;
        let database = Database { kms_key_id, updated: self.inner.clock.now(), ..database };
        self.inner.catalog.put_database(&database)?;
        self.inner.directory.put_database(database.clone());
        Ok(database)
    }

    /// Deletes a database without tables.
    ///
    /// # Errors
    /// When it has tables, or there is none of that name.
    pub fn delete_database(&self, name: &str) -> Result<(), StoreError> {
        let _changing = self.inner.changing();
        let tables = self.inner.directory.tables(Some(name))?.len();
        if tables > 0 {
            return Err(StoreError::NotEmpty { database: name.to_owned(), tables });
        }
        self.inner.catalog.remove_database(name)?;
        self.inner.directory.remove_database(name);
        Ok(())
    }

    /// Creates a table.
    ///
    /// # Errors
    /// When there is no such database, there is such a table, or an option or name is not allowed.
    pub fn create_table(
        &self,
        database: &str,
        name: &str,
        options: TableOptions,
    ) -> Result<Table, StoreError> {
        options::check_name(name, self.inner.options.compatibility)?;
        options.retention.check()?;
        let tags = tags::checked(options.tags)?;
        let _changing = self.inner.changing();
        match self.inner.directory.table(database, name) {
            Ok(_) => {
                let (database, table) = (database.to_owned(), name.to_owned());
                return Err(StoreError::TableExists { database, table });
            }
            Err(StoreError::TableNotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        self.inner.options.limits.check_tables(self.inner.directory.counts().1)?;
        let now = self.inner.clock.now();
        let table = Table {
            database: database.to_owned(),
            name: name.to_owned(),
            id: TableId::random(),
            status: TableStatus::Active,
            retention: options.retention,
            magnetic_writes: options.magnetic_writes,
            partition_key: options.partition_key,
            tags,
            created: now,
            updated: now,
        };
        self.inner.catalog.put_table(&table)?;
        let state = TableState::new(table.clone(), manifest::Manifest::default(), &self.inner.shelf);
        self.inner.directory.put_table(state);
        Ok(table)
    }

    /// What is known of a table.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn describe_table(&self, database: &str, table: &str) -> Result<Table, StoreError> {
        Ok(Table::clone(&self.inner.directory.table(database, table)?.definition()))
    }

    /// The tables of a database, or of all, sorted by database and name.
    ///
    /// # Errors
    /// When there is no such database.
    pub fn list_tables(&self, database: Option<&str>) -> Result<Vec<Table>, StoreError> {
        self.inner.directory.definitions(database)
    }

    /// Changes a table.
    ///
    /// # Errors
    /// When there is no such table or the change is not allowed.
    pub fn update_table(
        &self,
        database: &str,
        table: &str,
        update: TableUpdate,
    ) -> Result<Table, StoreError> {
        let _changing = self.inner.changing();
        let state = self.inner.directory.table(database, table)?;
        let mut table = Table::clone(&state.definition());
        update.apply(&mut table, self.inner.clock.now())?;
        self.inner.catalog.put_table(&table)?;
        state.redefine(table.clone());
        Ok(table)
    }

    /// Deletes a table and its rows. Its files go once no snapshot needs them.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn delete_table(&self, database: &str, table: &str) -> Result<(), StoreError> {
        let _changing = self.inner.changing();
        let state = self.inner.directory.table(database, table)?;
        // The row goes first: from here on the log's entries and the files mean nothing.
        self.inner.catalog.remove_table(&state.definition())?;
        self.inner.directory.remove_table(database, table);
        self.inner.memory.give_back(state.drop_rows());
        self.inner.flushing.forget(state.id);
        self.inner.merging.forget(state.id);
        self.inner.shelf.cleaner.delete_below(paths::manifests(state.id));
        Ok(())
    }
}

impl Inner {
    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().expect("no holder of the catalog's turn panics")
    }
}
