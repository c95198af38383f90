//! Records to the store, and the databases and tables they need.

use std::sync::Arc;

use crate::record::WriteBatch;
use crate::store::{DatabaseOptions, Pending, Store, StoreError, TableOptions};

/// Hands a batch to the store, creating database and table on first use if the rule allows it.
pub(super) async fn submit(store: &Store, batch: WriteBatch, create: bool) -> Result<Pending, StoreError> {
    if create && !store.has_table(&batch.database, &batch.table) {
        create_table(store, &batch).await?;
    }
    store.submit(batch).await
}

async fn create_table(store: &Store, batch: &WriteBatch) -> Result<(), StoreError> {
    let (store, database, table) = (store.clone(), Arc::clone(&batch.database), Arc::clone(&batch.table));
    let created = tokio::task::spawn_blocking(move || {
        // Somebody else may be quicker; what counts is that both exist afterwards.
        match store.create_database(&database, DatabaseOptions::default()) {
            Ok(_) | Err(StoreError::DatabaseExists { .. }) => {}
            Err(error) => return Err(error),
        }
        match store.create_table(&database, &table, TableOptions::default()) {
            Ok(_) | Err(StoreError::TableExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    });
    created.await.map_err(|error| StoreError::Unavailable { reason: error.to_string() })?
}
