//! MQTT 3.1.1 on rumqttc's `mqttbytes::v4`.

use bytes::BytesMut;
use rumqttc::mqttbytes::{self, v4};

use super::fields::Fields;
use super::frame::{Frame, kind};
use super::{TEXT_BYTES_MAX, TooLarge, detached, topic_name};
use crate::message::{Properties, QoS};
use crate::mqtt::error::{Reason, Violation};
use crate::mqtt::packet::{
    Outgoing, Packet, Publish, Reply, RetainHandling, Subscribe, SubscribeRequest, Unsubscribe,
};
use crate::topic::TopicName;

/// rumqttc's QoS as ours.
pub(crate) fn qos(qos: mqttbytes::QoS) -> QoS {
    match qos {
        mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn their_qos(qos: QoS) -> mqttbytes::QoS {
    match qos {
        QoS::AtMostOnce => mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => mqttbytes::QoS::ExactlyOnce,
    }
}

fn header(frame: &Frame) -> mqttbytes::FixedHeader {
    mqttbytes::FixedHeader::new(frame.first, frame.length_bytes, frame.body().len())
}

fn unreadable(error: mqttbytes::Error) -> Violation {
    Violation::malformed(format!("the packet cannot be read: {error}"))
}

/// Reads a PUBLISH.
pub(crate) fn publish(frame: Frame, last: &mut Option<TopicName>) -> Result<Packet, Violation> {
    let publish = v4::Publish::read(header(&frame), frame.into_bytes()).map_err(unreadable)?;
    Ok(Packet::Publish(Publish {
        id: publish.pkid,
        qos: qos(publish.qos),
        retain: publish.retain,
        topic: Some(topic_name(&publish.topic, last)?),
        alias: None,
        payload: detached(publish.payload),
        properties: Properties::default(),
    }))
}

/// Reads any packet but PUBLISH, CONNECT and PINGREQ.
pub(crate) fn decode(frame: Frame) -> Result<Packet, Violation> {
    let mut fields = Fields::new(frame.body());
    let header = header(&frame);
    if frame.kind() == kind::DISCONNECT {
        fields.end()?;
        return Ok(Packet::Disconnect { with_will: false, session_expiry_seconds: None });
    }
    let id = fields.packet_id()?;
    match frame.kind() {
        kind::SUBSCRIBE => {
            walk_subscribe(fields)?;
            subscribe(v4::Subscribe::read(header, frame.into_bytes()).map_err(unreadable)?)
        }
        kind::UNSUBSCRIBE => {
            walk_unsubscribe(fields)?;
            let packet = v4::Unsubscribe::read(header, frame.into_bytes()).map_err(unreadable)?;
            Ok(Packet::Unsubscribe(Unsubscribe { id: packet.pkid, filters: packet.topics }))
        }
        other => {
            fields.end()?;
            // These four are a packet identifier and nothing else; there is nothing left to read.
            match other {
                kind::PUBACK => Ok(Packet::PubAck { id }),
                kind::PUBREC => Ok(Packet::PubRec { id, refused: false }),
                kind::PUBREL => Ok(Packet::PubRel { id }),
                kind::PUBCOMP => Ok(Packet::PubComp { id }),
                _ => Err(Violation::malformed("the packet type does not exist in MQTT 3.1.1")),
            }
        }
    }
}

fn walk_subscribe(mut fields: Fields<'_>) -> Result<(), Violation> {
    if fields.is_empty() {
        return Err(Violation::protocol("a SUBSCRIBE has no topic filter"));
    }
    while !fields.is_empty() {
        fields.text()?;
        if fields.u8()? > 2 {
            return Err(Violation::malformed("a requested QoS is none of 0, 1 and 2"));
        }
    }
    Ok(())
}

/// Walks the filters of an UNSUBSCRIBE.
pub(crate) fn walk_unsubscribe(mut fields: Fields<'_>) -> Result<(), Violation> {
    if fields.is_empty() {
        return Err(Violation::protocol("an UNSUBSCRIBE has no topic filter"));
    }
    while !fields.is_empty() {
        fields.text()?;
    }
    Ok(())
}

fn subscribe(packet: v4::Subscribe) -> Result<Packet, Violation> {
    let request = |filter: v4::SubscribeFilter| SubscribeRequest {
        filter: filter.path,
        qos: qos(filter.qos),
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Always,
    };
    Ok(Packet::Subscribe(Subscribe {
        id: packet.pkid,
        subscription_id: None,
        requests: packet.filters.into_iter().map(request).collect(),
    }))
}

/// Writes anything but PUBLISH. 3.1.1 has no words for a reason.
pub(crate) fn encode(reply: Reply, out: &mut BytesMut) -> Result<(), TooLarge> {
    let written = match reply {
        Reply::ConnAck(accepted) => {
            v4::ConnAck::new(v4::ConnectReturnCode::Success, accepted.session_present).write(out)
        }
        Reply::Refuse { reason, .. } => v4::ConnAck::new(return_code(reason), false).write(out),
        Reply::PubAck { id } => v4::PubAck::new(id).write(out),
        Reply::PubRec { id } => v4::PubRec::new(id).write(out),
        Reply::Denied { .. } => return Ok(()),
        Reply::PubRel { id, .. } => v4::PubRel::new(id).write(out),
        Reply::PubComp { id, .. } => v4::PubComp::new(id).write(out),
        Reply::SubAck { id, outcomes } => {
            let code = |outcome: Result<QoS, Reason>| match outcome {
                Ok(qos) => v4::SubscribeReasonCode::Success(their_qos(qos)),
                Err(_) => v4::SubscribeReasonCode::Failure,
            };
            v4::SubAck::new(id, outcomes.into_iter().map(code).collect()).write(out)
        }
        Reply::UnsubAck { id, .. } => v4::UnsubAck::new(id).write(out),
        Reply::PingResp => v4::PingResp.write(out),
        Reply::Disconnect { .. } => return Ok(()),
    };
    written.map(drop).map_err(|_| TooLarge)
}

fn return_code(reason: Reason) -> v4::ConnectReturnCode {
    match reason {
        Reason::UnsupportedVersion => v4::ConnectReturnCode::RefusedProtocolVersion,
        Reason::ClientIdInvalid => v4::ConnectReturnCode::BadClientId,
        Reason::BadUserNameOrPassword => v4::ConnectReturnCode::BadUserNamePassword,
        Reason::NotAuthorized => v4::ConnectReturnCode::NotAuthorized,
        _ => v4::ConnectReturnCode::ServiceUnavailable,
    }
}

/// Writes a PUBLISH.
pub(crate) fn encode_publish(outgoing: &Outgoing<'_>, out: &mut BytesMut) -> Result<(), TooLarge> {
    let message = outgoing.message;
    if message.topic.as_str().len() > TEXT_BYTES_MAX {
        return Err(TooLarge);
    }
    let publish = v4::Publish {
        dup: outgoing.repeated,
        qos: their_qos(outgoing.qos),
        retain: outgoing.retain,
        topic: message.topic.as_str().to_owned(),
        pkid: outgoing.id,
        payload: message.payload.clone(),
    };
    let before = out.len();
    publish.write(out).map(drop).map_err(|_| {
        out.truncate(before);
        TooLarge
    })
}
