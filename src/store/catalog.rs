//! The databases, the tables and the documents of other rooms, in one transactional file: `catalog.redb`.
//!
//! `rows` says what databases and tables look like in it. A table is dropped by removing its row; its log entries and files are ignored from then on, and its id
//! stays until none of them is left.

mod rows;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::backends::InMemoryBackend;
use redb::{ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use super::error::StoreError;
use super::options::{Database, Table};
use super::paths::{TableId, WriterId};
use super::wal::position::Lsn;

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
        let row = rows::of_database(database);
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
        let row = rows::of_table(table);
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

    /// Changes the file and commits the change.
    pub(super) fn write<T>(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.write_if(|transaction| change(transaction).map(Change::Commit))
    }

    /// Changes the file and commits the change if it says so.
    pub(super) fn write_if<T>(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<Change<T>, redb::Error>,
    ) -> Result<T, StoreError> {
        let mut file = self.file();
        let written = write(opened(&mut file, &self.opener)?, change);
        if let Err(error) = &written {
            *file = File::Failed(error.to_string());
        }
        written
    }

    /// Reads from the file as it is now.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let transaction = opened(&mut self.file(), &self.opener)?.begin_read().map_err(failed("read"))?;
        read(&transaction).map_err(failed("read"))
    }
}

/// What becomes of a transaction that went well.
pub(super) enum Change<T> {
    Commit(T),
    /// Nothing of it is kept.
    Abandon(T),
}

fn opened<'a>(file: &'a mut File, opener: &Opener) -> Result<&'a redb::Database, StoreError> {
    if let File::Failed(_) = *file {
        *file = File::Open(opener().map_err(failed("opened again"))?);
    }
    match file {
        File::Open(open) => Ok(open),
        _ => Err(StoreError::Unavailable { reason: "the store is closed".to_owned() }),
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("failure", &self.failure()).finish_non_exhaustive()
    }
}

fn write<T>(
    file: &redb::Database,
    change: impl FnOnce(&redb::WriteTransaction) -> Result<Change<T>, redb::Error>,
) -> Result<T, StoreError> {
    let mut transaction = file.begin_write().map_err(failed("changed"))?;
    // Otherwise redb would take a damaged newest state for one that a crash left, and go back to the one
    // before: tables created last would count as deleted.
    transaction.set_two_phase_commit(true);
    match change(&transaction).map_err(failed("changed"))? {
        Change::Commit(answer) => transaction.commit().map_err(failed("changed")).map(|()| answer),
        Change::Abandon(answer) => transaction.abort().map_err(failed("changed")).map(|()| answer),
    }
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
        Ok(Change::Commit(()))
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
            .map(|(name, row)| rows::database(name, &row))
            .collect::<Result<_, StoreError>>()?,
        tables: tables
            .into_iter()
            .map(|(database, name, row)| rows::table(database, name, &row))
            .collect::<Result<_, StoreError>>()?,
    })
}

#[cfg(test)]
mod tests;
