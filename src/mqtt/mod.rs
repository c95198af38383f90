//! The embedded MQTT broker: 3.1.1 and 5 on one port.
//!
//! Promise: nothing acknowledged is lost, and no packet can stop the daemon.
//!
//! - An acknowledgement means durable. A publish of QoS 1 or 2 is handed to [`Ingest`]; when its
//!   receipt resolves, PUBACK or PUBREC goes out, then the message goes to subscribers. Receipts are
//!   awaited in the order of the publishes, many at a time; when one fails, its publish and those
//!   after it stay unacknowledged and the connection ends. QoS 0 goes the same way without the wait.
//! - When the pipeline takes no more, we stop reading the socket; nothing is queued in its place.
//! - Fan-out never waits. A subscriber that reads too slowly loses QoS 0 or its connection, and
//!   nobody else notices.
//! - Every buffer, queue and table has a bound in [`BrokerOptions`], and everything a client sends is
//!   checked before it is believed.
//!
//! A session may outlive its connection, and the daemon: what must survive a restart is written to a
//! [`Journal`] before anything that relies on it is said.
//!
//! The map, in the order a PUBLISH passes:
//!
//! ```text
//! listener      accepts; a task for each connection; TLS and WebSocket around it
//!   websocket   messages <-> bytes
//! handshake     CONNECT within its deadline, CONNACK
//!   admission   who the client is: `credentials` checked, failures held up by `slowdown`
//!   rights      what it may do: a policy bound to it
//! connection    the life of one connection: four loops side by side, and the end
//!   reader      bytes off the socket
//!   codec       bytes <-> packet (rumqttc, checked)
//!   inbound     what the client says: publishes to `ingest`, subscriptions to `broker`
//!   receipts    what became durable: acknowledgements, fan-out
//!   outbound    replies and deliveries to the socket
//!   session     what these loops share; kept: what of it the next connection goes on with
//!   window      packet ids of what the client has not acknowledged
//! broker        what connections share: subscriptions, retained, clients
//!   fan_out     from a message to its subscribers
//!   clients     the sessions by client id: handed on, kept for the absent, ended
//!   mailbox     where messages wait for one session
//!   ledger      what survives a restart, written to the journal
//!   restore     and put back
//!   keeper      once a second: sessions whose time is over, wills that are due
//!   inside      the daemon's own rooms publish and read what is retained
//!   roster      operators list sessions and end them
//! upstream      other brokers whose messages go to the same rules
//! ```

mod credentials;
mod error;
mod ingest;
mod journal;
mod options;
mod packet;
mod rights;
mod slowdown;

mod codec;
mod counters;
mod ledger;
mod limits;
mod lines;
mod mailbox;
mod pace;
mod pulse;
mod replies;
mod retained;
mod subscriptions;

mod aliases;
mod broker;
mod clients;
mod fan_out;
mod kept;
mod restore;
mod seats;
mod session;
mod window;

mod admission;
mod connection;
mod handshake;
mod inbound;
mod inside;
mod keeper;
mod listener;
mod outbound;
mod reader;
mod receipts;
mod roster;
mod sys;
mod upstream;
mod websocket;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use broker::{Broker, BrokerParts};
pub use counters::{BrokerCounters, Disconnection, Refusal};
pub use credentials::{Logins, User, hash_password};
pub use ingest::{Ingest, IngestError, Receipt};
pub use inside::Draft;
pub use journal::{Journal, NoJournal, Place};
pub use ledger::{EntryFault, Recollection};
pub use listener::Door;
pub use options::BrokerOptions;
pub use roster::{ClientInfo, ConnectionInfo};
pub use upstream::{
    ProtocolVersion, Upstream, UpstreamCounters, UpstreamOptions, UpstreamReport, UpstreamTls,
};

/// Locks `mutex`. A panic elsewhere does not make what it guards wrong: every change under a lock of
/// this room is complete before anything that could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
