//! The databases and tables, in one transactional file: `catalog.redb`.
//!
//! Rows are JSON under readable keys, so that a row can gain a member without a migration.
//! A table is dropped by removing its row; its log entries and files are ignored from then on, and its id
//! stays until none of them is left.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::backends::InMemoryBackend;
use redb::{ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::options::{
    Database, MagneticWrites, PartitionKey, PartitionKeyItem, Retention, Table, TableStatus, Tag,
};
use super::paths::{TableId, WriterId};
use super::wal::position::Lsn;
use crate::clock::Timestamp;

const DATABASES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("databases");
const TABLES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("tables");
const STORE: TableDefinition<'_, &str, &str> = TableDefinition::new("store");

const FORMAT: &str = "1";

/// Begins the keys under which deleted tables stand.
const DELETED: &str = "deleted ";

/// The key under which the end of the log stands.
const LOG_END: &str = "log_end";

/// How the file is opened, the first time and after a failure.
type Opener = Box<dyn Fn() -> Result<redb::Database, redb::DatabaseError> + Send + Sync>;

/// The catalog.
pub(crate) struct Catalog {
    opener: Opener,
    file: Mutex<File>,
}

/// The file behind the catalog.
enum File {
    Open(redb::Database),
    /// A change failed, for this reason. redb takes no further change until the file is opened anew.
    Failed(String),
    Closed,
}

/// Everything the catalog holds at the start.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) writer: WriterId,
    /// Where parts are kept; `None` for the store's folder.
    pub(crate) url: Option<String>,
    /// The log went up to here when the store was last closed in order.
    pub(crate) log_end: Lsn,
    pub(crate) databases: Vec<Database>,
    pub(crate) tables: Vec<Table>,
    /// Tables that were deleted and may still have files or entries in the log.
    pub(crate) deleted: HashSet<TableId>,
}

#[derive(Serialize, Deserialize)]
struct DatabaseRow {
    kms_key_id: Option<String>,
    tags: Vec<Tag>,
    created: i64,
    updated: i64,
}

#[derive(Serialize, Deserialize)]
struct TableRow {
    id: String,
    memory_store_hours: u32,
    magnetic_store_days: u32,
    magnetic_writes: bool,
    rejected_data_location: Option<serde_json::Value>,
    partition_key: Vec<KeyRow>,
    tags: Vec<Tag>,
    created: i64,
    updated: i64,
}

/// An item of the partition key; without a name it is the measure.
#[derive(Serialize, Deserialize)]
struct KeyRow {
    dimension: Option<String>,
    required: bool,
}

fn failed<E: Into<redb::Error>>(doing: &'static str) -> impl FnOnce(E) -> StoreError {
    move |error| StoreError::Catalog { doing, source: Arc::new(error.into()) }
}

impl Catalog {
    /// Whether [`Catalog::open`] would create a catalog rather than open one.
    pub(crate) fn is_missing(folder: &Path) -> bool {
        std::fs::metadata(folder.join("catalog.redb")).map_or(true, |file| file.len() == 0)
    }

    /// Opens the catalog in `folder`, creating it with a writer id of its own.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Contents), StoreError> {
        if !Self::is_missing(folder) {
            Self::peek(folder)?;
        }
        let path = folder.join("catalog.redb");
        Self::open_with(Box::new(move || redb::Builder::new().set_cache_size(4 * 1024 * 1024).create(&path)))
    }

    fn open_with(opener: Opener) -> Result<(Self, Contents), StoreError> {
        let file = opener().map_err(failed("opened"))?;
        let writer = prepare(&file)?;
        let contents = read(&file, writer)?;
        Ok((Self { opener, file: Mutex::new(File::Open(file)) }, contents))
    }

    /// Reads the catalog in `folder` without touching it, and checks every page of it: what a crash left
    /// unfinished in the file is put in order in a copy in memory.
    pub(crate) fn peek(folder: &Path) -> Result<Contents, StoreError> {
        let bytes =
            std::fs::read(folder.join("catalog.redb")).map_err(StoreError::disk("reading the catalog"))?;
        // Pages that are not what was written break redb's assumptions, some of which it asserts.
        let checked = std::panic::catch_unwind(|| Self::check(&bytes));
        checked.unwrap_or_else(|_| {
            Err(StoreError::damaged("catalog.redb", 0, "its pages contradict each other"))
        })
    }

    fn check(bytes: &[u8]) -> Result<Contents, StoreError> {
        let copy = InMemoryBackend::new();
        let copied = copy.set_len(bytes.len() as u64).and_then(|()| copy.write(0, bytes));
        copied.map_err(StoreError::disk("reading the catalog"))?;
        let mut file = redb::Builder::new().create_with_backend(copy).map_err(failed("opened"))?;
        if !file.check_integrity().map_err(failed("checked"))? {
            return Err(StoreError::damaged("catalog.redb", 0, "the checksum of a page does not match"));
        }
        let writer = prepare(&file)?;
        read(&file, writer)
    }

    /// Records where parts are kept from now on.
    pub(crate) fn put_url(&self, url: Option<&str>) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut store = transaction.open_table(STORE)?;
            match url {
                Some(url) => drop(store.insert("url", url)?),
                None => drop(store.remove("url")?),
            }
            Ok(())
        })
    }

    /// Stores a database, new or changed.
    pub(crate) fn put_database(&self, database: &Database) -> Result<(), StoreError> {
        let row = DatabaseRow {
            kms_key_id: database.kms_key_id.clone(),
            tags: database.tags.clone(),
            created: database.created.nanos(),
            updated: database.updated.nanos(),
        };
        let row = json(&row);
        self.write(|transaction| {
            transaction.open_table(DATABASES)?.insert(database.name.as_str(), row.as_slice())?;
            Ok(())
        })
    }

    /// Forgets a database.
    pub(crate) fn remove_database(&self, name: &str) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.open_table(DATABASES)?.remove(name)?;
            Ok(())
        })
    }

    /// Stores a table, new or changed.
    pub(crate) fn put_table(&self, table: &Table) -> Result<(), StoreError> {
        let row = json(&TableRow::from(table));
        self.write(|transaction| {
            let key = (table.database.as_str(), table.name.as_str());
            transaction.open_table(TABLES)?.insert(key, row.as_slice())?;
            Ok(())
        })
    }

    /// Forgets a table but for its id: what is found of it later may go.
    pub(crate) fn remove_table(&self, table: &Table) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.open_table(TABLES)?.remove((table.database.as_str(), table.name.as_str()))?;
            transaction.open_table(STORE)?.insert(format!("{DELETED}{}", table.id).as_str(), "")?;
            Ok(())
        })
    }

    /// Forgets the ids of deleted tables of which nothing is left.
    pub(crate) fn forget_deleted(&self, tables: &[TableId]) -> Result<(), StoreError> {
        if tables.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut store = transaction.open_table(STORE)?;
            for table in tables {
                store.remove(format!("{DELETED}{table}").as_str())?;
            }
            Ok(())
        })
    }

    /// Remembers that the log goes up to `end`, all of it on disk: from here on a bad last frame is
    /// damage and not the work of a crash.
    pub(crate) fn put_log_end(&self, end: Lsn) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.open_table(STORE)?.insert(LOG_END, end.get().to_string().as_str())?;
            Ok(())
        })
    }

    /// Closes the file, so that another process may open it.
    pub(crate) fn close(&self) {
        *self.file() = File::Closed;
    }

    /// Why the last change failed, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        match &*self.file() {
            File::Failed(reason) => Some(reason.clone()),
            File::Open(_) | File::Closed => None,
        }
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().expect("no holder of the catalog panics")
    }

    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let mut file = self.file();
        if let File::Failed(_) = *file {
            *file = File::Open((self.opener)().map_err(failed("opened again"))?);
        }
        let File::Open(open) = &*file else {
            return Err(StoreError::Unavailable { reason: "the store is closed".to_owned() });
        };
        let written = write(open, change);
        if let Err(error) = &written {
            *file = File::Failed(error.to_string());
        }
        written
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("failure", &self.failure()).finish_non_exhaustive()
    }
}

fn write(
    file: &redb::Database,
    change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), StoreError> {
    let mut transaction = file.begin_write().map_err(failed("changed"))?;
    // Otherwise redb would take a damaged newest state for one that a crash left, and go back to the one
    // before: tables created last would count as deleted.
    transaction.set_two_phase_commit(true);
    change(&transaction).map_err(failed("changed"))?;
    transaction.commit().map_err(failed("changed"))
}

/// Makes sure that all tables are there, checks the format, and returns the writer id.
fn prepare(file: &redb::Database) -> Result<WriterId, StoreError> {
    let known = |key: &str| -> Result<Option<String>, redb::Error> {
        match file.begin_read()?.open_table(STORE) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            store => Ok(store?.get(key)?.map(|value| value.value().to_owned())),
        }
    };
    match known("format").map_err(failed("read"))? {
        None => {}
        Some(format) if format == FORMAT => {
            let writer = known("writer").map_err(failed("read"))?;
            let missing = || StoreError::damaged("catalog.redb", 0, "it names no writer");
            return writer.map(WriterId::running).ok_or_else(missing);
        }
        Some(format) => {
            let found = format.parse().unwrap_or(u64::MAX);
            return Err(StoreError::Format { path: "catalog.redb".to_owned(), found, known: 1 });
        }
    }
    let writer = WriterId::random();
    write(file, |transaction| {
        transaction.open_table(DATABASES)?;
        transaction.open_table(TABLES)?;
        let mut store = transaction.open_table(STORE)?;
        store.insert("format", FORMAT)?;
        store.insert("writer", writer.id())?;
        Ok(())
    })?;
    Ok(writer)
}

fn read(file: &redb::Database, writer: WriterId) -> Result<Contents, StoreError> {
    let log_end = || -> Result<Option<String>, redb::Error> {
        let end = file.begin_read()?.open_table(STORE)?.get(LOG_END)?;
        Ok(end.map(|end| end.value().to_owned()))
    };
    let log_end = log_end().map_err(failed("read"))?.map_or(Ok(0), |end| end.parse());
    let log_end =
        log_end.map_err(|_| StoreError::damaged("catalog.redb", 0, "the log's end is no number"))?;
    let rows = || -> Result<_, redb::Error> {
        let transaction = file.begin_read()?;
        let mut databases = Vec::new();
        for row in transaction.open_table(DATABASES)?.iter()? {
            let (name, row) = row?;
            databases.push((name.value().to_owned(), row.value().to_vec()));
        }
        let mut tables = Vec::new();
        for row in transaction.open_table(TABLES)?.iter()? {
            let (key, row) = row?;
            let (database, name) = key.value();
            tables.push((database.to_owned(), name.to_owned(), row.value().to_vec()));
        }
        let mut deleted = HashSet::new();
        for row in transaction.open_table(STORE)?.iter()? {
            let (key, _) = row?;
            deleted.extend(key.value().strip_prefix(DELETED).and_then(TableId::parse));
        }
        let url = transaction.open_table(STORE)?.get("url")?.map(|url| url.value().to_owned());
        Ok((url, databases, tables, deleted))
    };
    let (url, databases, tables, deleted) = rows().map_err(failed("read"))?;
    Ok(Contents {
        writer,
        url,
        log_end: Lsn::new(log_end),
        deleted,
        databases: databases
            .into_iter()
            .map(|(name, row)| Ok(parse::<DatabaseRow>(&row)?.into_database(name)))
            .collect::<Result<_, StoreError>>()?,
        tables: tables
            .into_iter()
            .map(|(database, name, row)| parse::<TableRow>(&row)?.into_table(database, name))
            .collect::<Result<_, StoreError>>()?,
    })
}

fn json(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).expect("rows have text keys only")
}

fn parse<'a, T: Deserialize<'a>>(row: &'a [u8]) -> Result<T, StoreError> {
    serde_json::from_slice(row).map_err(|error| StoreError::damaged("catalog.redb", 0, error))
}

impl DatabaseRow {
    fn into_database(self, name: String) -> Database {
        Database {
            name,
            kms_key_id: self.kms_key_id,
            tags: self.tags,
            table_count: 0,
            created: Timestamp::from_nanos(self.created),
            updated: Timestamp::from_nanos(self.updated),
        }
    }
}

impl From<&Table> for TableRow {
    fn from(table: &Table) -> Self {
        let key = |item: &PartitionKeyItem| match item {
            PartitionKeyItem::Measure => KeyRow { dimension: None, required: false },
            PartitionKeyItem::Dimension { name, required } => {
                KeyRow { dimension: Some(name.clone()), required: *required }
            }
        };
        Self {
            id: table.id.to_string(),
            memory_store_hours: table.retention.memory_store_hours,
            magnetic_store_days: table.retention.magnetic_store_days,
            magnetic_writes: table.magnetic_writes.enabled,
            rejected_data_location: table.magnetic_writes.rejected_data_location.clone(),
            partition_key: table.partition_key.0.iter().map(key).collect(),
            tags: table.tags.clone(),
            created: table.created.nanos(),
            updated: table.updated.nanos(),
        }
    }
}

impl TableRow {
    fn into_table(self, database: String, name: String) -> Result<Table, StoreError> {
        let id = TableId::parse(&self.id)
            .ok_or_else(|| StoreError::damaged("catalog.redb", 0, format!("{} is no table id", self.id)))?;
        let key = |row: KeyRow| match row.dimension {
            None => PartitionKeyItem::Measure,
            Some(name) => PartitionKeyItem::Dimension { name, required: row.required },
        };
        Ok(Table {
            database,
            name,
            id,
            status: TableStatus::Active,
            retention: Retention {
                memory_store_hours: self.memory_store_hours,
                magnetic_store_days: self.magnetic_store_days,
            },
            magnetic_writes: MagneticWrites {
                enabled: self.magnetic_writes,
                rejected_data_location: self.rejected_data_location,
            },
            partition_key: PartitionKey(self.partition_key.into_iter().map(key).collect()),
            tags: self.tags,
            created: Timestamp::from_nanos(self.created),
            updated: Timestamp::from_nanos(self.updated),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::*;

    fn table() -> Table {
        Table {
            database: "iot".to_owned(),
            name: "telemetry".to_owned(),
            id: TableId::random(),
            status: TableStatus::Active,
            retention: Retention { memory_store_hours: 7, magnetic_store_days: 8 },
            magnetic_writes: MagneticWrites {
                enabled: true,
                rejected_data_location: Some(serde_json::json!({"S3Configuration": {"BucketName": "b"}})),
            },
            partition_key: PartitionKey(vec![PartitionKeyItem::Dimension {
                name: "host".to_owned(),
                required: true,
            }]),
            tags: vec![("team".to_owned(), "a".to_owned())],
            created: Timestamp::from_nanos(1_700_000_000_123_456_789),
            updated: Timestamp::from_nanos(i64::MAX),
        }
    }

    #[test]
    fn what_was_stored_is_there_after_opening_again() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (catalog, empty) = Catalog::open(folder.path()).expect("new");
        assert!(empty.databases.is_empty() && empty.tables.is_empty());
        let database = Database {
            name: "iot".to_owned(),
            kms_key_id: Some("key".to_owned()),
            tags: vec![("cost".to_owned(), String::new())],
            table_count: 0,
            created: Timestamp::from_nanos(5),
            updated: Timestamp::from_nanos(6),
        };
        let other = Database { name: "other".to_owned(), ..database.clone() };
        let gone = Table { name: "gone".to_owned(), id: TableId::random(), ..table() };
        let kept = table();
        catalog.put_database(&database).expect("stored");
        catalog.put_database(&other).expect("stored");
        catalog.put_table(&kept).expect("stored");
        catalog.put_table(&gone).expect("stored");
        catalog.put_url(Some("s3://first")).expect("stored");
        catalog.put_url(None).expect("removed");
        catalog.put_url(Some("s3://bucket")).expect("stored");
        catalog.remove_table(&gone).expect("removed");
        catalog.remove_database("other").expect("removed");
        catalog.close();
        assert!(matches!(catalog.put_database(&other), Err(StoreError::Unavailable { .. })));

        let (catalog, contents) = Catalog::open(folder.path()).expect("again");
        assert_eq!(contents.writer.id(), empty.writer.id());
        assert_eq!((empty.url, contents.url.as_deref()), (None, Some("s3://bucket")));
        assert_eq!(contents.databases, [database]);
        assert_eq!(contents.tables, [kept]);
        assert_eq!(contents.deleted, HashSet::from([gone.id]));
        catalog.forget_deleted(&[gone.id]).expect("forgotten");
        catalog.close();
        assert!(Catalog::open(folder.path()).expect("again").1.deleted.is_empty());
    }

    /// A file in memory that fails to write while it is told to.
    #[derive(Debug, Clone, Default)]
    struct Failing {
        bytes: Arc<InMemoryBackend>,
        full: Arc<AtomicBool>,
    }

    impl StorageBackend for Failing {
        fn len(&self) -> io::Result<u64> {
            self.bytes.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.bytes.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.bytes.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            if self.full.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.write(offset, data)
        }
    }

    #[test]
    fn a_full_disk_is_told_and_forgotten_once_there_is_room() {
        let disk = Failing::default();
        let opened = disk.clone();
        let opener = Box::new(move || redb::Builder::new().create_with_backend(opened.clone()));
        let (catalog, _) = Catalog::open_with(opener).expect("a new catalog");
        let table = table();
        disk.full.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            assert!(matches!(catalog.put_table(&table), Err(StoreError::Catalog { .. })));
            assert!(catalog.failure().is_some());
        }
        disk.full.store(false, Ordering::SeqCst);
        catalog.put_table(&table).expect("room again");
        assert_eq!(catalog.failure(), None);
        let again =
            Catalog::open_with(Box::new(move || redb::Builder::new().create_with_backend(disk.clone())));
        catalog.close();
        assert_eq!(again.expect("a readable catalog").1.tables, [table]);
    }
}
