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

/// The live numbers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connections: Count,
    pub(crate) connections_refused: Count,
    pub(crate) handshakes_failed: Count,
    pub(crate) logins_failed: Count,
    pub(crate) operations_denied: Count,
    pub(crate) violations: Count,
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
    /// Sockets that never got past their CONNECT.
    pub handshakes_failed: u64,
    /// Logins with a wrong user name or password, or without any where there have to be some.
    pub logins_failed: u64,
    /// Publishes, subscriptions and deliveries a client's policy did not allow.
    pub operations_denied: u64,
    /// Connections closed because the client broke the protocol.
    pub violations: u64,
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
}

impl Tally {
    /// The numbers now; those that others keep are passed in.
    pub(crate) fn snapshot(
        &self,
        retained_messages: u64,
        subscriptions: u64,
        absent_sessions: u64,
    ) -> BrokerCounters {
        BrokerCounters {
            connections: self.connections.get(),
            connections_refused: self.connections_refused.get(),
            handshakes_failed: self.handshakes_failed.get(),
            logins_failed: self.logins_failed.get(),
            operations_denied: self.operations_denied.get(),
            violations: self.violations.get(),
            messages_received: self.messages_received.get(),
            messages_not_stored: self.messages_not_stored.get(),
            messages_sent: self.messages_sent.get(),
            messages_dropped: self.messages_dropped.get(),
            messages_expired: self.messages_expired.get(),
            slow_connections_closed: self.slow_connections_closed.get(),
            retained_refused: self.retained_refused.get(),
            retained_messages,
            subscriptions,
            absent_sessions,
        }
    }
}
