//! Accepts sockets. Accepting never waits for a handshake, and one socket's trouble is its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};

use super::broker::Shared;
use super::connection;
use crate::shutdown::Shutdown;

/// How long to wait when the machine has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `shutdown` is requested.
pub(crate) async fn serve(broker: &Arc<Shared>, listener: &TcpListener, shutdown: &Shutdown) {
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => admit(broker, stream, shutdown),
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

fn admit(broker: &Arc<Shared>, stream: TcpStream, shutdown: &Shutdown) {
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
    shutdown.spawn(async move {
        let (reader, writer) = stream.into_split();
        connection::run(&place.0, reader, writer, address.ip(), &stop).await;
    });
}
