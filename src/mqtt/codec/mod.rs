//! Bytes to packets and back, for both versions: rumqttc's codec, and what it lacks for a broker.
//!
//! Promise: no bytes make this module panic, read past a packet, or take a packet that the
//! specification forbids; whatever it returns is one packet for either version.
//!
//! A packet is cut off whole (`frame`), walked field by field (`fields`, `property`), and only then
//! read by rumqttc's reader of its version (`v4`, `v5`). The walk exists because rumqttc 0.25 was
//! written for clients. What it gets wrong, and where that is mended:
//!
//! - flags, reserved bits, U+0000, zero packet ids, bytes after the last field and packets that only
//!   a server sends are all taken: refused in `frame` and in the walks;
//! - an MQTT 5 property list may run past its declared length into the payload, and duplicates and
//!   zeros are taken: `property`;
//! - an error inside a whole packet can look like "more bytes needed", after which its tokio codec
//!   would go on at the wrong place: here a frame is whole before it is read, so it is an error;
//! - it reads passwords as UTF-8, though they are binary: the credentials are cut off the CONNECT
//!   before it sees the packet;
//! - the Subscription Identifier is counted twice, so the properties after it are taken for topic
//!   filters: of a SUBSCRIBE, only the filters are given to it;
//! - a DISCONNECT of MQTT 5 without reason or without properties, the usual ones, is refused, and
//!   one written without properties is a byte longer than it says: both ends of DISCONNECT are ours;
//! - AUTH is unknown to it: recognised in `frame`, never read, since it is not offered;
//! - texts over 65,535 bytes are written with a truncated length: such a message is not sent.

mod connect;
mod fields;
mod frame;
mod property;
mod v4;
mod v5;

#[cfg(test)]
pub(crate) mod hostile_tests;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};

use super::error::Violation;
use super::packet::{Outgoing, Packet, Reply, Version};
use crate::topic::{TopicError, TopicName};

pub(crate) use connect::{NoConnect, decode_connect};

use super::error::Reason;
use frame::kind;

/// The longest text MQTT can carry, in bytes.
const TEXT_BYTES_MAX: usize = 65_535;

/// Payloads up to this size are copied out of the read buffer, so that a small message that waits
/// somewhere does not keep a large buffer alive.
const COPY_BYTES_MAX: usize = 4_096;

/// The codec of one connection.
#[derive(Debug)]
pub(crate) struct Codec {
    version: Version,
    receive_bytes_max: usize,
    send_bytes_max: usize,
    /// Whether an acknowledgement may have its reason in words (MQTT 5's Request Problem Information).
    explains: bool,
    /// Most clients publish to one topic; checking and copying it once is enough.
    last_topic: Option<TopicName>,
}

/// Why a packet was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet is larger than the client takes, or than MQTT can carry")]
pub(crate) struct TooLarge;

impl Codec {
    /// A codec for a client that speaks `version` and takes packets of `send_bytes_max` bytes.
    pub(crate) fn new(version: Version, receive_bytes_max: usize, send_bytes_max: usize) -> Self {
        Self { version, receive_bytes_max, send_bytes_max, explains: true, last_topic: None }
    }

    /// The same for a client that wants reasons in words, or does not.
    pub(crate) fn explaining(self, explains: bool) -> Self {
        Self { explains, ..self }
    }

    /// A second codec for the same connection: one loop reads while another writes.
    pub(crate) fn twin(&self) -> Self {
        Self { last_topic: None, ..*self }
    }

    /// Takes the next packet off `buffer`; nothing while it is not all there.
    ///
    /// # Errors
    /// When the bytes are not a packet a connected client may send; the connection is beyond repair.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, Violation> {
        let Some(frame) = frame::cut(buffer, Some(self.version), self.receive_bytes_max)? else {
            return Ok(None);
        };
        let packet = match frame.kind() {
            kind::CONNECT => Packet::Connect,
            kind::AUTH => Packet::Auth,
            kind::PINGREQ => {
                fields::Fields::new(frame.body()).end()?;
                Packet::PingReq
            }
            kind::PUBLISH => match self.version {
                Version::V311 => v4::publish(frame, &mut self.last_topic)?,
                Version::V5 => v5::publish(frame, &mut self.last_topic)?,
            },
            _ => match self.version {
                Version::V311 => v4::decode(frame)?,
                Version::V5 => v5::decode(frame)?,
            },
        };
        Ok(Some(packet))
    }

    /// Appends `reply` to `out`, or nothing.
    ///
    /// # Errors
    /// When the client does not take packets of that size; never in 3.1.1.
    pub(crate) fn encode(&self, reply: Reply, out: &mut BytesMut) -> Result<(), TooLarge> {
        match self.version {
            Version::V311 => v4::encode(reply, out),
            Version::V5 => v5::encode(reply, out, self.send_bytes_max, self.explains),
        }
    }

    /// Appends a PUBLISH to `out`, or nothing.
    ///
    /// # Errors
    /// When the client does not take packets of that size, or a text of the message is longer than
    /// MQTT can carry.
    pub(crate) fn encode_publish(&self, outgoing: &Outgoing<'_>, out: &mut BytesMut) -> Result<(), TooLarge> {
        match self.version {
            Version::V311 => v4::encode_publish(outgoing, out),
            Version::V5 => v5::encode_publish(outgoing, out, self.send_bytes_max),
        }
    }
}

/// The topic name `text`, shared with the last one when it is the same.
fn topic_name(text: &str, last: &mut Option<TopicName>) -> Result<TopicName, Violation> {
    if let Some(last) = last.as_ref().filter(|last| last.as_str() == text) {
        return Ok(last.clone());
    }
    let topic = checked_topic(text)?;
    *last = Some(topic.clone());
    Ok(topic)
}

fn checked_topic(text: &str) -> Result<TopicName, Violation> {
    TopicName::new(text).map_err(|error| match error {
        TopicError::Null => Violation::malformed(error.to_string()),
        _ => Violation::new(Reason::TopicNameInvalid, error.to_string()),
    })
}

/// A payload that may be kept without keeping much else.
fn detached(payload: Bytes) -> Bytes {
    if payload.len() > COPY_BYTES_MAX { payload } else { Bytes::copy_from_slice(&payload) }
}
