//! The HTTP listener: connections, their bounds and their end.
//!
//! A connection costs a permit, its headers have a deadline and its buffer a bound, so that clients
//! that open sockets and say nothing keep nobody else out for long. On stop the requests under way
//! are answered and idle connections closed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::shutdown::Shutdown;

/// How many connections are served at once; further ones wait in the system's backlog.
const CONNECTIONS_MAX: usize = 4096;
/// How long a client may take to send the headers of a request, and how long it may stay idle.
const HEADERS_WITHIN: Duration = Duration::from_secs(20);
/// How much of a request is buffered before its headers are complete, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// How long to wait after the system refused to accept, so that running out of files does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `shutdown` is requested.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        if permits.available_permits() == 0 {
            warn!(limit = CONNECTIONS_MAX, "no room for another HTTP connection until one ends");
        }
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = shutdown.requested() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = connection(stream, Peer(peer.ip()), router.clone(), shutdown.clone());
                shutdown.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The address a request came from, an extension of every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

async fn connection(stream: TcpStream, peer: Peer, router: Router, shutdown: Shutdown) {
    // Answers are small and complete; waiting to fill a packet only adds latency.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot switch off delayed sending");
    }
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
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
