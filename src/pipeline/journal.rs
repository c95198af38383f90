//! The broker's journal in the store's folder: the broker knows no store, the store no broker.

use async_trait::async_trait;

use crate::mqtt::{IngestError, Journal, Place, Receipt, Recollection};
use crate::store::{self, Store, StoreError};

/// The folder below the store's.
const FOLDER: &str = "mqtt";

/// What the broker must remember, on the store's disk.
#[derive(Debug)]
pub struct BrokerJournal(store::Journal);

impl BrokerJournal {
    /// Opens the journal and reads what an earlier run left. Blocks.
    ///
    /// # Errors
    /// When the disk fails or the journal is damaged.
    pub fn open(store: &Store) -> Result<(Self, Recollection), StoreError> {
        let mut recollection = Recollection::default();
        let replay = |entry: &[u8]| recollection.replay(entry).map_err(|fault| fault.to_string());
        let journal = store.open_journal(FOLDER, replay)?;
        Ok((Self(journal), recollection))
    }
}

#[async_trait]
impl Journal for BrokerJournal {
    fn append(&self, entry: &[u8]) -> Option<Place> {
        self.0.append(entry).map(Place::new)
    }

    fn durable(&self) -> Place {
        Place::new(self.0.durable())
    }

    fn next(&self) -> Place {
        Place::new(self.0.next())
    }

    fn synced(&self, place: Place) -> Receipt {
        let synced = self.0.synced(place.number());
        Box::pin(async move { synced.await.map_err(IngestError::Unavailable) })
    }

    async fn room(&self) {
        self.0.room().await;
    }

    fn retire(&self, keep: Place) -> Result<(), String> {
        self.0.retire(keep.number()).map_err(|error| error.to_string())
    }
}
