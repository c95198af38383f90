//! One connection to the other broker, the same for both versions of the protocol.
//!
//! Each connection has a link of its own: what was to be said on an earlier one must never be said on a later
//! one, for packet ids mean something else there.

mod v4;
mod v5;

use bytes::Bytes;

use super::options::{ProtocolVersion, UpstreamOptions};
use crate::message::{Properties, QoS};

/// Packet ids are two bytes, so no more acknowledgements than this can wait to be sent: sending one never
/// waits for room.
const REQUESTS_MAX: usize = 1 << 16;

/// What came.
#[derive(Debug)]
pub(super) enum Happening {
    /// The other broker has accepted us.
    Connected,
    /// It has answered our subscriptions; a reason for each that it refused, in their order.
    Subscribed(Vec<Option<String>>),
    /// It has sent a message.
    Publish(Delivery),
    /// Nothing of interest.
    Nothing,
}

/// A message of the other broker.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    /// Whether it is a copy of a retained message rather than something just published.
    pub(super) stored_earlier: bool,
    pub(super) properties: Properties,
    pub(super) id: u16,
}

/// The receiving side. Not safe to cancel: it is polled to its end or dropped with the connection.
pub(super) enum Events {
    V4(Box<v4::Events>),
    V5(Box<v5::Events>),
}

/// The sending side.
#[derive(Debug, Clone)]
pub(super) enum Requests {
    V4(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

/// Both sides of one connection.
pub(super) struct Link {
    pub(super) events: Events,
    pub(super) requests: Requests,
}

impl Link {
    /// A link that connects when its events are first asked for.
    ///
    /// # Errors
    /// In words, when the certificates cannot be used.
    pub(super) fn new(options: &UpstreamOptions) -> Result<Self, String> {
        match options.version {
            ProtocolVersion::V3_1_1 => {
                let (client, events) = v4::link(options)?;
                Ok(Self { events: Events::V4(Box::new(events)), requests: Requests::V4(client) })
            }
            ProtocolVersion::V5 => {
                let (client, events) = v5::link(options)?;
                Ok(Self { events: Events::V5(Box::new(events)), requests: Requests::V5(client) })
            }
        }
    }
}

impl Events {
    /// Waits for what comes next; connects first if need be.
    ///
    /// # Errors
    /// In words, when the connection is over.
    pub(super) async fn next(&mut self) -> Result<Happening, String> {
        match self {
            Self::V4(events) => events.next().await,
            Self::V5(events) => events.next().await,
        }
    }
}

impl Requests {
    /// Asks for `filters`.
    pub(super) fn subscribe(&self, filters: Vec<String>, qos: QoS) -> Result<(), String> {
        match self {
            Self::V4(client) => v4::subscribe(client, filters, qos),
            Self::V5(client) => v5::subscribe(client, filters, qos),
        }
    }

    /// Acknowledges a message of QoS 1.
    pub(super) fn acknowledge(&self, id: u16) -> Result<(), String> {
        match self {
            Self::V4(client) => v4::acknowledge(client, id),
            Self::V5(client) => v5::acknowledge(client, id),
        }
    }

    /// Says goodbye; the session stays.
    pub(super) fn disconnect(&self) -> Result<(), String> {
        let sent = match self {
            Self::V4(client) => client.try_disconnect().map_err(|error| error.to_string()),
            Self::V5(client) => client.try_disconnect().map_err(|error| error.to_string()),
        };
        sent.map_err(|error| format!("cannot say goodbye: {error}"))
    }
}

/// The quality of service whose number is `number`; we never ask for 2.
fn qos(number: u8) -> QoS {
    match number {
        0 => QoS::AtMostOnce,
        _ => QoS::AtLeastOnce,
    }
}
