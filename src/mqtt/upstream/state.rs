//! What is known of an upstream from outside: whether it is connected, and how far behind it is.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::clock::Timestamp;
use crate::mqtt::counters::Count;
use crate::mqtt::lock;

/// The live state.
#[derive(Debug, Default)]
pub(super) struct State {
    connection: Mutex<Connection>,
    pub(super) connects: Count,
    pub(super) received: Count,
    pub(super) acknowledged: Count,
    pub(super) not_stored: Count,
    pub(super) unusable: Count,
}

#[derive(Debug, Default)]
struct Connection {
    connected: bool,
    trouble: Option<String>,
    /// When each message that is not acknowledged was handed to the rules, the oldest first.
    waiting: VecDeque<Timestamp>,
}

/// How an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamReport {
    /// What it is called.
    pub name: String,
    /// What is wrong, if anything is: why there is no connection, or which filters were refused.
    pub trouble: Option<String>,
    /// The numbers.
    pub counters: UpstreamCounters,
}

/// What an upstream has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpstreamCounters {
    /// 1 while there is a connection.
    pub connected: u64,
    /// Connections made so far.
    pub connects: u64,
    /// Messages received.
    pub received: u64,
    /// Messages acknowledged, because their rows are durable.
    pub acknowledged: u64,
    /// Messages that could not be stored; they come again.
    pub not_stored: u64,
    /// Messages acknowledged without having been seen by rules: their topic is not legal.
    pub unusable: u64,
    /// Messages received and not yet acknowledged.
    pub waiting: u64,
    /// Milliseconds the oldest of those has waited.
    pub oldest_waiting_ms: u64,
}

impl State {
    /// A connection stands; `trouble` tells what of it cannot be used.
    pub(super) fn connected(&self, trouble: Option<String>) {
        let mut connection = lock(&self.connection);
        connection.connected = true;
        connection.trouble = trouble;
    }

    /// There is no connection, because of `reason`. What waited comes again.
    pub(super) fn disconnected(&self, reason: String) {
        *lock(&self.connection) = Connection { trouble: Some(reason), ..Connection::default() };
    }

    /// A message was handed to the rules at `received`, behind those before it.
    pub(super) fn begun(&self, received: Timestamp) {
        lock(&self.connection).waiting.push_back(received);
    }

    /// The oldest message is done with.
    pub(super) fn done(&self) {
        lock(&self.connection).waiting.pop_front();
    }

    pub(super) fn report(&self, name: &str, now: Timestamp) -> UpstreamReport {
        let connection = lock(&self.connection);
        let oldest = connection.waiting.front().map_or(0, |since| now.millis() - since.millis());
        let trouble = connection.trouble.as_ref().map(|reason| format!("upstream {name}: {reason}"));
        let counters = UpstreamCounters {
            connected: connection.connected.into(),
            connects: self.connects.get(),
            received: self.received.get(),
            acknowledged: self.acknowledged.get(),
            not_stored: self.not_stored.get(),
            unusable: self.unusable.get(),
            waiting: connection.waiting.len() as u64,
            oldest_waiting_ms: u64::try_from(oldest).unwrap_or(0),
        };
        UpstreamReport { name: name.to_owned(), trouble, counters }
    }
}
