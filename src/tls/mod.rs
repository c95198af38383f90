//! TLS for every listener: certificates from PEM files, read again when the files change.
//!
//! Promise: a handshake in trouble costs itself only, and a pair of files that cannot be used never
//! replaces one that can.
//!
//! - [`TlsEndpoint::open`] reads the files once and fails with a sentence; [`TlsEndpoint::watch`] looks
//!   at them once a second. New handshakes use what was read last, open connections go on.
//! - A handshake has a deadline, and runs in the task of its connection, so accepting never waits.
//! - TLS 1.2 and 1.3, with rustls on ring. Client certificates are asked for where a file of
//!   authorities is given.

mod files;

#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::shutdown::Shutdown;
use crate::stamp::Stamp;

pub use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files of one TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authorities of client certificates; without them no client is asked for one.
    pub clients: Option<ClientAuthorities>,
}

/// Whose certificates clients may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthorities {
    /// The certificates of the authorities, PEM.
    pub path: PathBuf,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

/// Why files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said, or what the file holds instead of PEM.
        reason: String,
    },
    /// A file has none of what it is there for.
    #[error("{}: there is no {what} in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// A certificate or a private key.
        what: &'static str,
    },
    /// The key is not the certificate's, or either is of a kind that is not supported.
    #[error("{} and {}: {reason}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

/// Why a connection did not become a TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took too long.
    #[error("the TLS handshake was not complete in time")]
    Late,
    /// The client spoke no TLS, showed no certificate that is accepted, or went away.
    #[error("the TLS handshake failed: {0}")]
    Failed(#[from] io::Error),
}

/// What one listener serves TLS with.
#[derive(Debug)]
pub struct TlsEndpoint {
    files: TlsFiles,
    /// The application protocols offered (ALPN); with none, clients may ask for any.
    protocols: Vec<Vec<u8>>,
    current: RwLock<Arc<ServerConfig>>,
    /// What the files were like when they were read last, whether they could be used or not.
    seen: Mutex<Vec<Option<Stamp>>>,
}

impl TlsEndpoint {
    /// Reads `files`.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn open(files: TlsFiles, protocols: &[&str]) -> Result<Arc<Self>, TlsError> {
        // Before the reading, so that a change in between is seen later.
        let seen = files::stamps(&files);
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let current = RwLock::new(files::server_config(&files, &protocols)?);
        Ok(Arc::new(Self { files, protocols, current, seen: Mutex::new(seen) }))
    }

    /// Makes a TLS connection of `stream`.
    ///
    /// # Errors
    /// When the handshake fails or takes longer than `within`.
    pub async fn accept<S>(&self, stream: S, within: Duration) -> Result<TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let handshake = TlsAcceptor::from(config).accept(stream);
        match tokio::time::timeout(within, handshake).await {
            Ok(accepted) => Ok(accepted?),
            Err(_) => Err(HandshakeError::Late),
        }
    }

    /// Reads the files again whenever they change, until `shutdown` is requested.
    pub async fn watch(self: Arc<Self>, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let endpoint = Arc::clone(&self);
            if let Err(failure) = tokio::task::spawn_blocking(move || endpoint.refresh()).await {
                warn!(%failure, "looking at the files of a TLS listener ended abnormally");
            }
        }
    }

    /// Reads the files again if they have changed. A pair that cannot be used is told once and changes
    /// nothing.
    fn refresh(&self) {
        let now = files::stamps(&self.files);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return;
            }
            *seen = now;
        }
        let certificate = self.files.certificate.display();
        match files::server_config(&self.files, &self.protocols) {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                info!(%certificate, "the TLS certificate was read again");
            }
            Err(error) => {
                warn!(%error, "the new TLS files cannot be used; the certificate in use stays");
            }
        }
    }
}

/// The certificate the client of `stream` has shown, as DER; it has been verified.
pub fn peer_certificate<S>(stream: &TlsStream<S>) -> Option<&[u8]> {
    let (_, connection) = stream.get_ref();
    connection.peer_certificates()?.first().map(|certificate| &**certificate)
}
