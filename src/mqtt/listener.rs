//! Accepts sockets and makes of each what MQTT is spoken over: itself, TLS, WebSocket, or both.
//!
//! Accepting never waits for a handshake, and one socket's trouble is its own: handshakes run in the
//! connection's task, each within the broker's handshake time-out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::server::Request;
use tracing::{debug, info, warn};

use super::broker::Shared;
use super::connection;
use super::counters::Refusal;
use super::credentials::{Logins, Proof};
use super::seats::Seat;
use super::websocket::{self, Unwelcome};
use crate::access::{Certificate, Claim, Credential, Head, Policy};
use crate::shutdown::Shutdown;
use crate::tls::{self, HandshakeError, TlsEndpoint};

/// How long a socket may be silent before the system looks whether anybody is there.
const PROBE_AFTER: Duration = Duration::from_secs(60);

/// How often it looks then.
const PROBE_EVERY: Duration = Duration::from_secs(15);

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
            Ok((stream, address)) => admit(broker, stream, address.ip(), door, shutdown),
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(broker: &Arc<Shared>, stream: TcpStream, address: IpAddr, door: &Arc<Door>, shutdown: &Shutdown) {
    let seat = match Seat::take(broker, address) {
        Ok(seat) => seat,
        Err(full) => {
            broker.tally.connections_refused.add_one();
            if let Some(silenced) = broker.lines.may() {
                info!(%address, reason = %full, silenced, "a connection was refused");
            }
            return;
        }
    };
    settle(&stream);
    let stop = shutdown.clone();
    let caller = Caller { address, proof: Proof::Nothing, door: Arc::clone(door) };
    shutdown.spawn(async move {
        if !caller.door.websocket && caller.door.tls.is_none() {
            let (reader, writer) = stream.into_split();
            connection::run(seat.broker(), reader, writer, caller, &stop).await;
        } else {
            Box::pin(unwrap(seat.broker(), stream, caller, &stop)).await;
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
            broker.tally.refusals.add(Refusal::Transport);
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

/// Sets a socket up.
fn settle(stream: &TcpStream) {
    // Acknowledgements are small and waited for; without this they would wait for one another.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a socket could not be told to send small packets at once");
    }
    // A client without a keep-alive of MQTT that vanishes would keep its place for ever.
    let probing = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&probing) {
        debug!(%error, "a socket could not be told to look for its client");
    }
}
