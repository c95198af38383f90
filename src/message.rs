//! A PUBLISH with the protocol peeled off: what rules see and subscribers receive.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::topic::TopicName;

/// MQTT's quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QoS {
    /// 0: delivered at most once, never acknowledged.
    AtMostOnce,
    /// 1: delivered at least once, acknowledged with PUBACK.
    AtLeastOnce,
    /// 2: delivered exactly once, acknowledged with PUBREC and PUBCOMP.
    ExactlyOnce,
}

/// The application properties an MQTT 5 publisher may attach; all absent in 3.1.1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// Payload Format Indicator: `Some(true)` when the publisher declares UTF-8 text.
    pub payload_is_utf8: Option<bool>,
    /// Message Expiry Interval, in seconds, as the publisher sent it.
    pub expiry_seconds: Option<u32>,
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic.
    pub response_topic: Option<String>,
    /// Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// User Properties, in order; a key may come several times.
    pub user: Vec<(String, String)>,
}

/// Who published a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The MQTT client id; absent when the message did not come over MQTT.
    pub client_id: Option<Arc<str>>,
    /// The address the message came from.
    pub address: Option<IpAddr>,
    /// Who the publisher proved to be: a certificate's thumbprint or a user's name.
    pub principal: Option<Arc<str>>,
    /// The id to find the message by, if its maker gave it one; rules make one up otherwise.
    pub trace_id: Option<Uuid>,
}

/// One published message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where it was published.
    pub topic: TopicName,
    /// The payload, as sent.
    pub payload: Bytes,
    /// The publisher's quality of service.
    pub qos: QoS,
    /// Whether the publisher asked for it to be retained.
    pub retain: bool,
    /// MQTT 5 properties.
    pub properties: Properties,
    /// Who published it.
    pub origin: Origin,
    /// The processing time: no two messages of one daemon share it.
    pub received: Timestamp,
}
