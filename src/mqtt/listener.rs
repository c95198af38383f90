//! Accepts sockets and makes of each what MQTT is spoken over: itself, TLS, WebSocket, or both.
//!
//! Accepting never waits for a handshake, and one socket's trouble is its own: handshakes run in the
//! connection's task, each within the broker's handshake time-out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::server::Request;
use tracing::{debug, info, warn};

use super::broker::Shared;
use super::connection;
use super::credentials::{Logins, Proof};
use super::websocket::{self, Unwelcome};
use crate::access::{Certificate, Claim, Credential, Head, Policy};
use crate::shutdown::Shutdown;
use crate::tls::{self, HandshakeError, TlsEndpoint};

/// How long to wait when the machine has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The service AWS IoT's signed URLs are for.
const GATEWAY: &[&str] = &["iotdevicegateway", "iotdata"];

/// One listener: how MQTT comes in, and who may.
#[derive(Debug, Clone)]
pub struct Door {
    /// Whether MQTT is in WebSocket messages.
    pub websocket: bool,
    /// Whether there is TLS around it.
    pub tls: Option<Arc<TlsEndpoint>>,
    /// Whether clients that prove nothing may do everything.
    pub anonymous: bool,
    /// What clients that show a certificate may do.
    pub certificates: Option<Arc<Policy>>,
    /// The others who may connect.
    pub logins: Arc<Logins>,
}

impl Door {
    /// Plain MQTT for everyone.
    pub fn open() -> Self {
        let logins = Arc::new(Logins::new(Vec::new(), Arc::default()));
        Self { websocket: false, tls: None, anonymous: true, certificates: None, logins }
    }
}

/// Who is at the other end, as far as it is known before the CONNECT.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) address: IpAddr,
    pub(crate) proof: Proof,
    pub(crate) door: Arc<Door>,
}

/// Why a socket does not get as far as a CONNECT.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Tls(#[from] HandshakeError),
    #[error("the WebSocket handshake failed: {0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    #[error("the WebSocket handshake was not complete in time")]
    Late,
}

/// Accepts until `shutdown` is requested.
pub(crate) async fn serve(
    broker: &Arc<Shared>,
    listener: &TcpListener,
    door: &Arc<Door>,
    shutdown: &Shutdown,
) {
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => admit(broker, stream, door, shutdown),
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One open socket, counted while it lives.
#[derive(Debug)]
struct Place(Arc<Shared>);

impl Place {
    fn take(broker: &Arc<Shared>) -> Option<Self> {
        broker.tally.connections.add_one();
        let place = Self(Arc::clone(broker));
        (broker.tally.connections.get() <= broker.options.connections_max as u64).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.tally.connections.subtract_one();
    }
}

fn admit(broker: &Arc<Shared>, stream: TcpStream, door: &Arc<Door>, shutdown: &Shutdown) {
    let Some(place) = Place::take(broker) else {
        broker.tally.connections_refused.add_one();
        info!(
            connections_max = broker.options.connections_max,
            "a connection was refused: too many are open"
        );
        return;
    };
    // An address that cannot be read belongs to a socket that is gone already.
    let Ok(address) = stream.peer_addr() else { return };
    // Acknowledgements are small and waited for; without this they would wait for one another.
    if let Err(error) = stream.set_nodelay(true) {
        warn!(%error, "a socket could not be told to send small packets at once");
    }
    let stop = shutdown.clone();
    let caller = Caller { address: address.ip(), proof: Proof::Nothing, door: Arc::clone(door) };
    shutdown.spawn(async move {
        if !caller.door.websocket && caller.door.tls.is_none() {
            let (reader, writer) = stream.into_split();
            connection::run(&place.0, reader, writer, caller, &stop).await;
        } else {
            Box::pin(unwrap(&place.0, stream, caller, &stop)).await;
        }
    });
}

/// A stream whose kind no longer matters: beside encryption, a call through a pointer is nothing.
type Stream = Box<dyn Duplex>;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Serves a socket on which MQTT is inside something else.
async fn unwrap(broker: &Shared, stream: TcpStream, mut caller: Caller, stop: &Shutdown) {
    let unwrapped = tokio::select! {
        () = stop.requested() => return,
        unwrapped = handshakes(broker, stream, &mut caller) => unwrapped,
    };
    match unwrapped {
        Ok(stream) => {
            let (reader, writer) = tokio::io::split(stream);
            connection::run(broker, reader, writer, caller, stop).await;
        }
        Err(refused) => {
            broker.tally.handshakes_failed.add_one();
            debug!(address = %caller.address, reason = %refused, "handshake failed");
        }
    }
}

async fn handshakes(broker: &Shared, stream: TcpStream, caller: &mut Caller) -> Result<Stream, Refused> {
    let door = Arc::clone(&caller.door);
    let within = broker.options.handshake_timeout;
    let stream: Stream = match &door.tls {
        None => Box::new(stream),
        Some(endpoint) => {
            let stream = endpoint.accept(stream, within).await?;
            if let Some(certificate) = tls::peer_certificate(&stream) {
                caller.proof = Proof::Certificate(Arc::new(Certificate::read(certificate)));
            }
            Box::new(stream)
        }
    };
    if !door.websocket {
        return Ok(stream);
    }
    let mut key = None;
    let welcome = |request: &Request| {
        key = signer(broker, &door.logins, request)?;
        Ok(())
    };
    // A client may send more packets at once than one, and needs room for what is around them.
    let message_bytes_max = broker.options.packet_bytes_max.saturating_mul(2);
    let accepting = websocket::accept(stream, message_bytes_max, welcome);
    let accepted = tokio::time::timeout(within, accepting).await.map_err(|_| Refused::Late)?;
    let stream = accepted.map_err(Box::new)?;
    if let Some(key) = key {
        caller.proof = Proof::Key(key);
    }
    Ok(Box::new(stream))
}

/// Whose key has signed the URL of a WebSocket, if it is signed. Where there are no keys a signature says
/// nothing, as it does over HTTP.
fn signer(broker: &Shared, logins: &Logins, request: &Request) -> Result<Option<Arc<Credential>>, Unwelcome> {
    let uri = request.uri();
    let query = uri.query().unwrap_or("");
    if logins.credentials().is_empty() || !query.contains("X-Amz-Algorithm") {
        return Ok(None);
    }
    let head =
        Head { method: request.method().as_str(), path: uri.path(), query, headers: request.headers() };
    let claim = Claim::read(&head, GATEWAY, logins.credentials(), broker.now());
    let proved = claim.and_then(|claim| claim.prove(&head, b""));
    proved.map(Some).map_err(|refused| {
        info!(reason = %refused, "a signed WebSocket URL was refused");
        Unwelcome { status: refused.status(), reason: refused.to_string() }
    })
}
