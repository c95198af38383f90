//! The one packet type of the room: what a client says ([`Packet`], [`Connect`]) and what the broker
//! says ([`Reply`], [`Outgoing`]), whatever the version on the wire.
//!
//! A packet that stands here is legal by itself: its flags, texts, numbers and properties have been
//! checked by `codec`. Whether it may be sent now is for the session to say.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::message::{Message, Origin, Properties, QoS};
use crate::topic::TopicName;

use super::error::Reason;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol level 5.
    V5,
}

/// CONNECT. What only MQTT 5 has carries its default in 3.1.1.
#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    /// Whether the client id is the server's choice.
    pub(crate) assigned_id: bool,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Bytes>,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive_seconds: u16,
    pub(crate) will: Option<Will>,
    pub(crate) session_expiry_seconds: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: u32,
    /// How many topic aliases the client takes from us.
    pub(crate) topic_alias_max: u16,
    /// Whether it wants reasons in words where they are not needed.
    pub(crate) problem_information: bool,
    pub(crate) authentication_method: bool,
}

/// The message a client leaves for the case that it vanishes.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) topic: TopicName,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) properties: Properties,
    /// How long it waits for the session to go on before it is published.
    pub(crate) delay_seconds: u32,
    /// Who left it.
    pub(crate) origin: Origin,
}

impl Will {
    /// The message, published at `received`.
    pub(crate) fn message(&self, received: Timestamp) -> Message {
        Message {
            topic: self.topic.clone(),
            payload: self.payload.clone(),
            qos: self.qos,
            retain: self.retain,
            properties: self.properties.clone(),
            origin: self.origin.clone(),
            received,
        }
    }
}

/// What a connected client may say.
#[derive(Debug)]
pub(crate) enum Packet {
    Publish(Publish),
    PubAck {
        id: u16,
    },
    PubRec {
        id: u16,
        refused: bool,
    },
    PubRel {
        id: u16,
    },
    PubComp {
        id: u16,
    },
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    PingReq,
    Disconnect {
        with_will: bool,
        /// Replaces what the CONNECT said.
        session_expiry_seconds: Option<u32>,
    },
    /// A second CONNECT, which is always wrong and therefore not read.
    Connect,
    /// AUTH, which is not offered and therefore not read.
    Auth,
}

/// PUBLISH as it came.
#[derive(Debug)]
pub(crate) struct Publish {
    /// Zero for QoS 0 only.
    pub(crate) id: u16,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Absent when a topic alias stands for it.
    pub(crate) topic: Option<TopicName>,
    pub(crate) alias: Option<u16>,
    pub(crate) payload: Bytes,
    pub(crate) properties: Properties,
}

/// SUBSCRIBE.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) id: u16,
    pub(crate) subscription_id: Option<u32>,
    pub(crate) requests: Vec<SubscribeRequest>,
}

/// One filter of a SUBSCRIBE; the text is not checked yet, since a bad filter has its own answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubscribeRequest {
    pub(crate) filter: String,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: RetainHandling,
}

/// When a subscription is answered with retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetainHandling {
    /// Always; the only way in 3.1.1.
    Always,
    /// When the subscription did not exist.
    WhenNew,
    /// Never.
    Never,
}

/// UNSUBSCRIBE.
#[derive(Debug)]
pub(crate) struct Unsubscribe {
    pub(crate) id: u16,
    pub(crate) filters: Vec<String>,
}

/// What the broker says apart from PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    ConnAck(ConnAck),
    /// CONNACK with a refusal and, in MQTT 5, its reason in words.
    Refuse {
        reason: Reason,
        text: String,
    },
    PubAck {
        id: u16,
    },
    PubRec {
        id: u16,
    },
    /// PUBACK or PUBREC, by `qos`, of a publish the client may not make. MQTT 5 only: 3.1.1 has no
    /// way to say so.
    Denied {
        id: u16,
        qos: QoS,
    },
    /// `known` is false when the PUBREC it answers named an id that is not in flight.
    PubRel {
        id: u16,
        known: bool,
    },
    /// `known` is false when the PUBREL it answers named an id that is not in flight.
    PubComp {
        id: u16,
        known: bool,
    },
    SubAck {
        id: u16,
        outcomes: Vec<Result<QoS, Reason>>,
    },
    UnsubAck {
        id: u16,
        outcomes: Vec<Unsubscribed>,
    },
    PingResp,
    /// MQTT 5 only; in 3.1.1 a server just closes.
    Disconnect {
        reason: Reason,
        text: String,
    },
}

/// CONNACK that accepts. The properties are for MQTT 5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnAck {
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: u32,
    pub(crate) topic_alias_max: u16,
    pub(crate) assigned_client_id: Option<String>,
    /// Whether an earlier session goes on.
    pub(crate) session_present: bool,
    /// How long the session outlives the connection, where that is not what the client asked for.
    pub(crate) session_expiry_seconds: Option<u32>,
    /// The keep-alive, where it is not what the client asked for.
    pub(crate) keep_alive_seconds: Option<u16>,
    /// The highest QoS taken from the client, where that is not 2.
    pub(crate) qos_max: Option<QoS>,
}

/// What became of one filter of an UNSUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsubscribed {
    Removed,
    NotSubscribed,
    FilterInvalid,
}

/// A PUBLISH to a subscriber.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) message: &'a Message,
    /// Zero for QoS 0 only.
    pub(crate) id: u16,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Whether it was sent before: DUP.
    pub(crate) repeated: bool,
    /// What is left of the message's expiry interval.
    pub(crate) expiry_seconds: Option<u32>,
    pub(crate) subscription_ids: &'a [u32],
    /// What stands for the topic from now on, or since an earlier message.
    pub(crate) alias: Option<Alias>,
}

/// A topic alias of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) number: u16,
    /// Whether the client has been told which topic it stands for.
    pub(crate) known: bool,
}
