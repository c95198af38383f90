//! The HTTP listener: connections, their bounds and their end.
//!
//! A connection costs a permit, its headers have a deadline and its buffer a bound, and it must take its
//! answers, so that clients that open sockets and say or read nothing keep nobody else out for long. Where
//! there are too many, further ones are told so. With TLS the handshake is part of the connection's own
//! task and has a deadline too. On stop the requests under way are answered and idle
//! connections closed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::body::BodyLimits;
use super::error::ApiError;
use super::json;
use super::patience::Patient;
use crate::shutdown::Shutdown;
use crate::tls::TlsEndpoint;

/// How many connections beyond those that are served are told so; further ones wait in the system's backlog.
const TURNED_AWAY_MAX: usize = 64;
/// How long a client that is turned away may take to send its headers.
const TURNED_AWAY_WITHIN: Duration = Duration::from_secs(1);
/// How long a client may take to send the headers of a request, and how long it may stay idle.
const HEADERS_WITHIN: Duration = Duration::from_secs(20);
/// How long a client may take for its TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How much of a request is buffered before its headers are complete, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// How long to wait after the system refused to accept, so that running out of files does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How HTTP is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// What DescribeEndpoints answers with instead of the host the caller asked: a URL, or a host with or
    /// without a port.
    pub advertise: Option<String>,
    /// How many connections are served at once. Default: 4,096.
    pub connections: usize,
    /// Bounds of request bodies. Default: 8 MiB each, 256 MiB together, 30 s on their way.
    pub bodies: BodyLimits,
    /// How long a client may take to take any more of its answer. Default: 30 s.
    pub answers_within: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let slow = Duration::from_secs(30);
        Self {
            advertise: None,
            connections: 4096,
            bodies: BodyLimits { one: 8 << 20, all: 256 << 20, within: slow },
            answers_within: slow,
        }
    }
}

/// What the requests of a connection are answered by.
#[derive(Debug, Clone)]
struct Service {
    router: Router,
    tls: Option<Arc<TlsEndpoint>>,
    headers_within: Duration,
    answers_within: Duration,
    shutdown: Shutdown,
}

/// Serves `router` on `listener`, with TLS if there is an endpoint for it, until `shutdown` is requested.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<TlsEndpoint>>,
    options: &HttpOptions,
    router: Router,
    shutdown: Shutdown,
) {
    let answers_within = options.answers_within;
    let service =
        Service { router, tls, headers_within: HEADERS_WITHIN, answers_within, shutdown: shutdown.clone() };
    let turned_away = Service { router: too_many(), headers_within: TURNED_AWAY_WITHIN, ..service.clone() };
    let places = Arc::new(Semaphore::new(options.connections));
    let doorsteps = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    let mut full = false;
    loop {
        let next = async {
            // Only this loop takes permits: what is available now is available then.
            tokio::select! {
                biased;
                permit = places.acquire() => drop(permit),
                permit = doorsteps.acquire() => drop(permit),
            }
            listener.accept().await
        };
        let accepted = tokio::select! {
            () = shutdown.requested() => return,
            accepted = next => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let free = Arc::clone(&places).try_acquire_owned();
        if free.is_err() && !full {
            warn!(limit = options.connections, "no room for another HTTP connection until one ends");
        }
        full = free.is_err();
        let (permit, service) = match free {
            Ok(permit) => (permit, service.clone()),
            Err(_) => match Arc::clone(&doorsteps).try_acquire_owned() {
                Ok(permit) => (permit, turned_away.clone()),
                Err(_) => continue,
            },
        };
        let peer = Peer { address: peer.ip(), encrypted: service.tls.is_some() };
        let connection = connection(stream, peer, service);
        shutdown.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
}

/// Answers every request with a refusal that SDKs take for a reason to wait.
fn too_many() -> Router {
    Router::new().fallback(async || {
        let refusal = ApiError::throttling("Too many connections; try again later.");
        let mut response = json::respond(Err(refusal));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    })
}

/// Where a request came from, an extension of every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Whether it came over TLS.
    pub(crate) encrypted: bool,
}

async fn connection(stream: TcpStream, peer: Peer, service: Service) {
    // Answers are small and complete; waiting to fill a packet only adds latency.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot switch off delayed sending");
    }
    let Some(tls) = service.tls.clone() else { return requests(stream, peer, service).await };
    let accepted = tokio::select! {
        () = service.shutdown.requested() => return,
        accepted = tls.accept(stream, HANDSHAKE_WITHIN) => accepted,
    };
    match accepted {
        Ok(stream) => Box::pin(requests(stream, peer, service)).await,
        Err(error) => debug!(%error, address = %peer.address, "an HTTP connection was not begun"),
    }
}

async fn requests<S>(stream: S, peer: Peer, service: Service)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Service { router, headers_within, answers_within, shutdown, .. } = service;
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        if peer.encrypted {
            // What a proxy that ends TLS tells those behind it: DescribeEndpoints reads it.
            let https = || HeaderValue::from_static("https");
            request.headers_mut().entry("x-forwarded-proto").or_insert_with(https);
        }
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(headers_within)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, answers_within)), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.requested() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an HTTP connection ended early");
    }
}
