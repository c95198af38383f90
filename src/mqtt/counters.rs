//! What the broker counts, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that goes up, and for gauges down.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// One more.
    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    /// `n` more.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// One less.
    pub(crate) fn subtract_one(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One number for each of some kinds of event, which are named in `names`.
#[derive(Debug)]
pub(crate) struct ByKind<const N: usize>([Count; N]);

impl<const N: usize> Default for ByKind<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl<const N: usize> ByKind<N> {
    /// One more of a kind.
    pub(crate) fn add<K: Into<usize>>(&self, kind: K) {
        self.0[kind.into()].add_one();
    }

    fn get(&self) -> [u64; N] {
        std::array::from_fn(|kind| self.0[kind].get())
    }
}

/// The live numbers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connections: Count,
    pub(crate) connections_refused: Count,
    pub(crate) logins_failed: Count,
    pub(crate) operations_denied: Count,
    pub(crate) connects: Count,
    pub(crate) refusals: ByKind<{ Refusal::NAMES.len() }>,
    pub(crate) disconnects: ByKind<{ Disconnection::NAMES.len() }>,
    pub(crate) publishes_throttled: Count,
    pub(crate) messages_received: Count,
    pub(crate) messages_not_stored: Count,
    pub(crate) messages_sent: Count,
    pub(crate) messages_dropped: Count,
    pub(crate) messages_expired: Count,
    pub(crate) slow_connections_closed: Count,
    pub(crate) retained_refused: Count,
}

/// What the broker has counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BrokerCounters {
    /// Sockets open now.
    pub connections: u64,
    /// Sockets closed at once because `connections_max` was reached.
    pub connections_refused: u64,
    /// Logins with a wrong user name or password, or without any where there have to be some.
    pub logins_failed: u64,
    /// Publishes, subscriptions and deliveries a client's policy did not allow.
    pub operations_denied: u64,
    /// Connections that were accepted: their CONNACK said so.
    pub connects: u64,
    /// Sockets that never got past their CONNECT, in the order of [`Refusal::NAMES`].
    pub refusals: [u64; Refusal::NAMES.len()],
    /// Connections that ended, in the order of [`Disconnection::NAMES`].
    pub disconnects: [u64; Disconnection::NAMES.len()],
    /// Publishes after which their connection was read no further for a while, because it published
    /// faster than it may.
    pub publishes_throttled: u64,
    /// Messages handed to the pipeline, wills included.
    pub messages_received: u64,
    /// Messages whose receipt said that they were not stored.
    pub messages_not_stored: u64,
    /// Messages written to subscribers.
    pub messages_sent: u64,
    /// Messages a subscriber did not get because its queue was full, it was away and they were of QoS 0, or the message was larger than
    /// the packets it takes.
    pub messages_dropped: u64,
    /// Messages a subscriber did not get because they expired first.
    pub messages_expired: u64,
    /// Connections closed because they took their messages too slowly.
    pub slow_connections_closed: u64,
    /// Retained messages not kept because the retained store was full.
    pub retained_refused: u64,
    /// Topics with a retained message now.
    pub retained_messages: u64,
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Sessions kept for clients that are away now.
    pub absent_sessions: u64,
    /// Bytes that wait in all queues now.
    pub queued_bytes: u64,
}

/// Numbers that others keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Levels {
    pub(crate) retained_messages: u64,
    pub(crate) subscriptions: u64,
    pub(crate) absent_sessions: u64,
    pub(crate) queued_bytes: u64,
}

/// Why a socket did not become a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// TLS or WebSocket around it did not come about.
    Transport,
    /// No whole CONNECT came in time.
    Late,
    /// The socket was closed or broke before.
    Gone,
    /// The version is not spoken.
    Version,
    /// The CONNECT could not be accepted.
    Refused,
}

impl Refusal {
    /// What metrics call them, in order.
    pub const NAMES: [&str; 5] = ["transport", "timeout", "gone", "version", "refused"];
}

impl From<Refusal> for usize {
    fn from(kind: Refusal) -> Self {
        kind as Self
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnection {
    /// The client said so.
    Client,
    /// The client closed the socket without a word, or it broke.
    Lost,
    /// Nothing was heard for too long.
    KeepAlive,
    /// Another connection took the client id.
    TakenOver,
    /// The client broke the protocol, or a limit.
    Violation,
    /// The client took its messages too slowly.
    Slow,
    /// A publish could not be stored.
    NotStored,
    /// An operator ended the session.
    Removed,
    /// The daemon stopped.
    Stopping,
}

impl Disconnection {
    /// What metrics call them, in order.
    pub const NAMES: [&str; 9] = [
        "client",
        "lost",
        "keep_alive",
        "taken_over",
        "violation",
        "slow",
        "not_stored",
        "removed",
        "stopping",
    ];
}

impl From<Disconnection> for usize {
    fn from(kind: Disconnection) -> Self {
        kind as Self
    }
}

impl BrokerCounters {
    /// Connections closed because the client broke the protocol.
    pub fn violations(&self) -> u64 {
        self.disconnects[Disconnection::Violation as usize]
    }

    /// Sockets that never got past their CONNECT.
    pub fn handshakes_failed(&self) -> u64 {
        self.refusals.iter().sum()
    }
}

impl Tally {
    /// The numbers now.
    pub(crate) fn snapshot(&self, levels: Levels) -> BrokerCounters {
        BrokerCounters {
            connections: self.connections.get(),
            connections_refused: self.connections_refused.get(),
            logins_failed: self.logins_failed.get(),
            operations_denied: self.operations_denied.get(),
            connects: self.connects.get(),
            refusals: self.refusals.get(),
            disconnects: self.disconnects.get(),
            publishes_throttled: self.publishes_throttled.get(),
            messages_received: self.messages_received.get(),
            messages_not_stored: self.messages_not_stored.get(),
            messages_sent: self.messages_sent.get(),
            messages_dropped: self.messages_dropped.get(),
            messages_expired: self.messages_expired.get(),
            slow_connections_closed: self.slow_connections_closed.get(),
            retained_refused: self.retained_refused.get(),
            retained_messages: levels.retained_messages,
            subscriptions: levels.subscriptions,
            absent_sessions: levels.absent_sessions,
            queued_bytes: levels.queued_bytes,
        }
    }
}
