//! x
use crate::clock::Timestamp;
use crate::message::{Message, Origin, Properties, QoS};
use crate::topic::TopicName;
use bytes::Bytes;
/// A message of QoS 1.
pub(crate) fn message(topic: &str, payload: &[u8]) -> Message {
    Message {
        topic: TopicName::new(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Properties::default(),
        origin: Origin::default(),
        received: Timestamp::from_nanos(0),
    }
}
