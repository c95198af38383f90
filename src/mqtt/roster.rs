//! The sessions as an operator sees them, and ends them.

use std::net::IpAddr;

use super::broker::Broker;
use super::clients::{Peer, Removed, Sight};
use super::keeper;
use super::lock;
use super::mailbox::Load;
use super::packet::Version;
use crate::clock::Timestamp;

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// The client id.
    pub client_id: String,
    /// Its connection; nothing while the client is away.
    pub connection: Option<ConnectionInfo>,
    /// Whether the session outlives its connection.
    pub persistent: bool,
    /// When a session without a connection ends.
    pub ends: Option<Timestamp>,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// Messages that wait to be sent to it.
    pub queued_messages: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Messages sent to it and not acknowledged.
    pub in_flight: usize,
}

/// The connection of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Where it comes from.
    pub address: IpAddr,
    /// The version of MQTT, as people write it.
    pub version: &'static str,
    /// When it began.
    pub since: Timestamp,
}

impl Broker {
    /// At most `count` sessions by client id, those behind `after`. Fewer than `count` are the last.
    pub fn clients_after(&self, after: Option<&str>, count: usize) -> Vec<ClientInfo> {
        let sights = lock(self.shared().clients()).after(after, count);
        sights.into_iter().map(ClientInfo::from).collect()
    }

    /// Ends the session of a client, whether it is connected or away; false when there is none. A client
    /// that is connected is told (MQTT 5: 0x98), and its will is published.
    pub async fn end_client(&self, client_id: &str) -> bool {
        let removed = lock(self.shared().clients()).end(client_id);
        match removed {
            Removed::Unknown => false,
            Removed::Told => true,
            Removed::Ended(ended) => {
                if let Some(will) = self.shared().end(*ended) {
                    keeper::publish_will(self.shared(), &will).await;
                }
                true
            }
        }
    }
}

impl From<Sight> for ClientInfo {
    fn from(sight: Sight) -> Self {
        let Sight { client_id, lasting, state, load } = sight;
        let Load { messages, bytes, subscriptions, in_flight } = load;
        let connection = state.ok().map(|Peer { address, version, since }| ConnectionInfo {
            address,
            version: match version {
                Version::V311 => "3.1.1",
                Version::V5 => "5",
            },
            since,
        });
        Self {
            client_id: client_id.to_string(),
            connection,
            persistent: lasting,
            ends: state.err(),
            subscriptions,
            queued_messages: messages,
            queued_bytes: bytes,
            in_flight,
        }
    }
}
