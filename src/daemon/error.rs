//! Why the daemon did not start, each reason with the key to change.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::batch_load::BatchLoadError;
use crate::query::EngineError;
use crate::rulebook::RulebookError;
use crate::rules::LoadError;
use crate::schedule::ScheduleError;
use crate::store::StoreError;
use crate::tls::TlsError;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What `store.url` names cannot be used; the error begins with the key.
    #[error("{0}")]
    Storage(StoreError),
    /// The store's folder cannot be used.
    #[error("store.path: {}: {source}", path.display())]
    Store {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The folder of the rule files cannot be read.
    #[error("rules.path: {0}")]
    Rules(#[from] LoadError),
    /// The rules made through the API cannot be read.
    #[error("store.path: the rules made through the API: {0}")]
    Rulebook(#[from] RulebookError),
    /// The batch load tasks cannot be read.
    #[error("store.path: the batch load tasks: {0}")]
    BatchLoads(#[from] BatchLoadError),
    /// The scheduled queries cannot be read.
    #[error("store.path: the scheduled queries: {0}")]
    Schedules(#[from] ScheduleError),
    /// The query engine cannot be built.
    #[error("the query engine cannot start: {0}")]
    Query(#[from] EngineError),
    /// The files of a TLS listener cannot be used.
    #[error("{key}: {source}")]
    Tls {
        /// The configuration key with the files.
        key: &'static str,
        /// Which of them, and why not.
        source: TlsError,
    },
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}: {reason}")]
    Listen {
        /// The configuration key with the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
}
