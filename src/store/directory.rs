//! The names of databases and tables, in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::error::StoreError;
use super::options::{Database, Table};
use super::table::TableState;

/// Finds tables by name.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    databases: RwLock<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    database: Database,
    tables: BTreeMap<String, Arc<TableState>>,
}

impl Entry {
    fn database(&self) -> Database {
        Database { table_count: self.tables.len() as u64, ..self.database.clone() }
    }
}

fn no_database(name: &str) -> StoreError {
    StoreError::DatabaseNotFound { database: name.to_owned() }
}

fn no_table(database: &str, table: &str) -> StoreError {
    StoreError::TableNotFound { database: database.to_owned(), table: table.to_owned() }
}

impl Directory {
    /// The directory of what the catalog holds. A table without its database is left out.
    pub(crate) fn new(databases: Vec<Database>, tables: Vec<Arc<TableState>>) -> Self {
        let entry = |database: Database| (database.name.clone(), Entry { database, tables: BTreeMap::new() });
        let mut entries: BTreeMap<String, Entry> = databases.into_iter().map(entry).collect();
        let mut by_database: HashMap<String, Vec<Arc<TableState>>> = HashMap::new();
        for table in tables {
            by_database.entry(table.definition().database.clone()).or_default().push(table);
        }
        for (database, tables) in by_database {
            if let Some(entry) = entries.get_mut(&database) {
                entry.tables.extend(tables.into_iter().map(|table| (table.definition().name.clone(), table)));
            }
        }
        Self { databases: RwLock::new(entries) }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Entry>> {
        self.databases.read().expect("no holder of the directory panics")
    }

    fn change(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Entry>> {
        self.databases.write().expect("no holder of the directory panics")
    }

    pub(crate) fn table(&self, database: &str, table: &str) -> Result<Arc<TableState>, StoreError> {
        let databases = self.read();
        let entry = databases.get(database).ok_or_else(|| no_database(database))?;
        entry.tables.get(table).cloned().ok_or_else(|| no_table(database, table))
    }

    pub(crate) fn database(&self, name: &str) -> Result<Database, StoreError> {
        self.read().get(name).map(Entry::database).ok_or_else(|| no_database(name))
    }

    /// How many databases there are, and how many tables in all of them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let databases = self.read();
        (databases.len(), databases.values().map(|entry| entry.tables.len()).sum())
    }

    pub(crate) fn databases(&self) -> Vec<Database> {
        self.read().values().map(Entry::database).collect()
    }

    /// The tables of one database or of all, sorted by database and name.
    pub(crate) fn tables(&self, database: Option<&str>) -> Result<Vec<Arc<TableState>>, StoreError> {
        let databases = self.read();
        if let Some(name) = database {
            let entry = databases.get(name).ok_or_else(|| no_database(name))?;
            return Ok(entry.tables.values().cloned().collect());
        }
        Ok(databases.values().flat_map(|entry| entry.tables.values().cloned()).collect())
    }

    pub(crate) fn definitions(&self, database: Option<&str>) -> Result<Vec<Table>, StoreError> {
        Ok(self.tables(database)?.iter().map(|table| Table::clone(&table.definition())).collect())
    }

    /// Adds a database or replaces what is known of it.
    pub(crate) fn put_database(&self, database: Database) {
        let mut databases = self.change();
        let name = database.name.clone();
        match databases.get_mut(&name) {
            Some(entry) => entry.database = database,
            None => drop(databases.insert(name, Entry { database, tables: BTreeMap::new() })),
        }
    }

    pub(crate) fn remove_database(&self, name: &str) {
        self.change().remove(name);
    }

    pub(crate) fn put_table(&self, table: Arc<TableState>) {
        let definition = table.definition();
        if let Some(entry) = self.change().get_mut(&definition.database) {
            entry.tables.insert(definition.name.clone(), table);
        }
    }

    pub(crate) fn remove_table(&self, database: &str, table: &str) {
        if let Some(entry) = self.change().get_mut(database) {
            entry.tables.remove(table);
        }
    }
}
