//! The sockets the daemon listens on, and what stands behind each: opened first, for addresses and
//! certificates are what an operator gets wrong most often.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::StartError;
use crate::config::{Config, MqttListener};
use crate::mqtt::{Door, Logins};
use crate::tls::{TlsEndpoint, TlsFiles};

/// What is spoken inside TLS where it begins as HTTP; clients of plain MQTT may ask for anything.
const HTTP: &[&str] = &["http/1.1"];

/// All sockets.
pub(super) struct Doors {
    /// For MQTT, one at least.
    pub(super) mqtt: Vec<Entrance>,
    pub(super) http: TcpListener,
    pub(super) http_address: SocketAddr,
    pub(super) http_tls: Option<Arc<TlsEndpoint>>,
    /// Who may come in with a password.
    pub(super) logins: Arc<Logins>,
}

/// A listener for MQTT and the socket it listens on.
pub(super) struct Entrance {
    pub(super) socket: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) transport: &'static str,
    pub(super) door: Door,
}

impl Doors {
    /// Opens the sockets of `config`.
    pub(super) async fn open(config: &Config) -> Result<Self, StartError> {
        let logins = Arc::new(Logins::new(config.mqtt.users.clone(), Arc::clone(&config.credentials)));
        let mut mqtt = Vec::with_capacity(config.mqtt.listeners.len());
        for listener in &config.mqtt.listeners {
            mqtt.push(entrance(listener, &logins).await?);
        }
        let (http, http_address) = listen("http.listen", config.http.listen).await?;
        let http_tls = endpoint("http.tls", config.http.tls.as_ref(), HTTP)?;
        Ok(Self { mqtt, http, http_address, http_tls, logins })
    }
}

async fn entrance(listener: &MqttListener, logins: &Arc<Logins>) -> Result<Entrance, StartError> {
    let MqttListener { key, address, transport, websocket, ref tls, anonymous, ref certificates } = *listener;
    let (socket, address) = listen(key, address).await?;
    let tls = endpoint(key, tls.as_ref(), if websocket { HTTP } else { &[] })?;
    let (certificates, logins) = (certificates.clone(), Arc::clone(logins));
    let door = Door { websocket, tls, anonymous, certificates, logins };
    Ok(Entrance { socket, address, transport, door })
}

fn endpoint(
    key: &'static str,
    files: Option<&TlsFiles>,
    protocols: &[&str],
) -> Result<Option<Arc<TlsEndpoint>>, StartError> {
    let open = |files: &TlsFiles| TlsEndpoint::open(files.clone(), protocols);
    files.map(open).transpose().map_err(|source| StartError::Tls { key, source })
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error: std::io::Error| StartError::Listen { key, address, reason: error.to_string() };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
