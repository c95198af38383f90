//! MQTT 5 on rumqttc's `v5::mqttbytes::v5`.

use bytes::{BufMut, Bytes, BytesMut};
use rumqttc::v5::mqttbytes::{self, v5};

use super::fields::Fields;
use super::frame::{Frame, kind};
use super::property::{self, Place};
use super::v4::walk_unsubscribe;
use super::{TEXT_BYTES_MAX, TooLarge, detached, topic_name};
use crate::message::{Message, Properties, QoS};
use crate::mqtt::error::{Reason, Violation};
use crate::mqtt::packet::{
    Alias, ConnAck, Outgoing, Packet, Publish, Reply, RetainHandling, Subscribe, SubscribeRequest,
    Unsubscribe, Unsubscribed,
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

/// A text that rumqttc leaves as bytes.
pub(crate) fn walked_text(bytes: &[u8]) -> Result<&str, Violation> {
    std::str::from_utf8(bytes).map_err(|_| Violation::malformed("a text is not well-formed UTF-8"))
}

fn header(frame: &Frame) -> v5::FixedHeader {
    v5::FixedHeader::new(frame.first, frame.length_bytes, frame.body().len())
}

fn unreadable(error: mqttbytes::Error) -> Violation {
    Violation::malformed(format!("the packet cannot be read: {error}"))
}

/// Reads a PUBLISH.
pub(crate) fn publish(frame: Frame, last: &mut Option<TopicName>) -> Result<Packet, Violation> {
    let mut fields = Fields::new(frame.body());
    fields.text()?;
    if frame.first & 0b0110 != 0 {
        fields.packet_id()?;
    }
    let has_alias = property::check(&mut fields, Place::Publish)?.topic_alias;
    let publish = v5::Publish::read(header(&frame), frame.into_bytes()).map_err(unreadable)?;
    let topic = match walked_text(&publish.topic)? {
        "" if has_alias => None,
        "" => return Err(Violation::protocol("a PUBLISH has neither a topic nor a topic alias")),
        text => Some(topic_name(text, last)?),
    };
    let given = publish.properties;
    let alias = given.as_ref().and_then(|given| given.topic_alias);
    Ok(Packet::Publish(Publish {
        id: publish.pkid,
        qos: qos(publish.qos),
        retain: publish.retain,
        topic,
        alias,
        payload: detached(publish.payload),
        properties: given.map_or_else(Properties::default, |given| Properties {
            payload_is_utf8: given.payload_format_indicator.map(|indicator| indicator == 1),
            expiry_seconds: given.message_expiry_interval,
            content_type: given.content_type,
            response_topic: given.response_topic,
            correlation_data: given.correlation_data.map(|data| Bytes::copy_from_slice(&data)),
            user: given.user_properties,
        }),
    }))
}

/// Reads any packet but PUBLISH, CONNECT, AUTH and PINGREQ.
pub(crate) fn decode(frame: Frame) -> Result<Packet, Violation> {
    match frame.kind() {
        kind::SUBSCRIBE => subscribe(frame),
        kind::UNSUBSCRIBE => unsubscribe(frame),
        kind::DISCONNECT => disconnect(frame.body()),
        _ => acknowledgement(frame),
    }
}

/// Packet id [· reason [· properties]].
fn acknowledgement(frame: Frame) -> Result<Packet, Violation> {
    let mut fields = Fields::new(frame.body());
    let id = fields.packet_id()?;
    if !fields.is_empty() {
        fields.u8()?;
    }
    if !fields.is_empty() {
        property::check(&mut fields, Place::Acknowledgement)?;
        fields.end()?;
    }
    let (header, kind) = (header(&frame), frame.kind());
    let bytes = frame.into_bytes();
    match kind {
        kind::PUBACK => v5::PubAck::read(header, bytes).map(|_| Packet::PubAck { id }),
        kind::PUBREC => v5::PubRec::read(header, bytes).map(|packet| {
            let accepted = [v5::PubRecReason::Success, v5::PubRecReason::NoMatchingSubscribers];
            Packet::PubRec { id, refused: !accepted.contains(&packet.reason) }
        }),
        kind::PUBREL => v5::PubRel::read(header, bytes).map(|_| Packet::PubRel { id }),
        _ => v5::PubComp::read(header, bytes).map(|_| Packet::PubComp { id }),
    }
    .map_err(unreadable)
}

fn subscribe(frame: Frame) -> Result<Packet, Violation> {
    let mut fields = Fields::new(frame.body());
    let id = fields.packet_id()?;
    let subscription_id = property::check(&mut fields, Place::Subscribe)?.subscription_id;
    let filters_at = frame.bytes.len() - fields.len();
    walk_subscribe(fields)?;
    let mut filters = frame.into_bytes().split_off(filters_at);
    let request = |filter: v5::Filter| SubscribeRequest {
        filter: filter.path,
        qos: qos(filter.qos),
        no_local: filter.nolocal,
        retain_as_published: filter.preserve_retain,
        retain_handling: match filter.retain_forward_rule {
            v5::RetainForwardRule::OnEverySubscribe => RetainHandling::Always,
            v5::RetainForwardRule::OnNewSubscribe => RetainHandling::WhenNew,
            v5::RetainForwardRule::Never => RetainHandling::Never,
        },
    };
    let requests = v5::Filter::read(&mut filters).map_err(unreadable)?.into_iter().map(request).collect();
    Ok(Packet::Subscribe(Subscribe { id, subscription_id, requests }))
}

fn walk_subscribe(mut fields: Fields<'_>) -> Result<(), Violation> {
    if fields.is_empty() {
        return Err(Violation::protocol("a SUBSCRIBE has no topic filter"));
    }
    while !fields.is_empty() {
        let filter = fields.text()?;
        let options = fields.u8()?;
        if options & 0b1100_0000 != 0 {
            return Err(Violation::malformed("the reserved bits of the subscription options are set"));
        }
        if options & 0b0000_0011 == 3 || options & 0b0011_0000 == 0b0011_0000 {
            return Err(Violation::protocol("the subscription options ask for QoS 3 or retain handling 3"));
        }
        if options & 0b0000_0100 != 0 && filter.starts_with("$share/") {
            return Err(Violation::protocol("a shared subscription asks for no local"));
        }
    }
    Ok(())
}

fn unsubscribe(frame: Frame) -> Result<Packet, Violation> {
    let mut fields = Fields::new(frame.body());
    fields.packet_id()?;
    property::check(&mut fields, Place::Unsubscribe)?;
    walk_unsubscribe(fields)?;
    let packet = v5::Unsubscribe::read(header(&frame), frame.into_bytes()).map_err(unreadable)?;
    Ok(Packet::Unsubscribe(Unsubscribe { id: packet.pkid, filters: packet.filters }))
}

/// [reason [· properties]]; rumqttc refuses the two short forms.
fn disconnect(body: &[u8]) -> Result<Packet, Violation> {
    let mut fields = Fields::new(body);
    let reason = if fields.is_empty() { 0 } else { fields.u8()? };
    let mut session_expiry_seconds = None;
    if !fields.is_empty() {
        session_expiry_seconds = property::check(&mut fields, Place::Disconnect)?.session_expiry_seconds;
        fields.end()?;
    }
    // The codes a client may give (3.14.2.1): all but these are a server's or do not exist.
    if !matches!(reason, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99) {
        let what = format!("a client cannot disconnect with reason code {reason:#04x}");
        return Err(Violation::protocol(what));
    }
    Ok(Packet::Disconnect { with_will: reason != 0, session_expiry_seconds })
}

/// Writes anything but PUBLISH. `explains` is whether acknowledgements may have their reasons in words.
pub(crate) fn encode(
    reply: Reply,
    out: &mut BytesMut,
    bytes_max: usize,
    explains: bool,
) -> Result<(), TooLarge> {
    let before = out.len();
    let written = match reply {
        Reply::ConnAck(accepted) => connack(accepted).write(out),
        Reply::Refuse { reason, text } => {
            refusal(reason, (text.len() + 16 <= bytes_max).then_some(text)).write(out)
        }
        Reply::PubAck { id } => v5::PubAck::new(id, None).write(out),
        Reply::PubRec { id } => v5::PubRec::new(id, None).write(out),
        Reply::Denied { id, qos } => denied(id, qos, explains && DENIED.len() + 16 <= bytes_max, out),
        Reply::PubRel { id, known } => {
            let reason =
                if known { v5::PubRelReason::Success } else { v5::PubRelReason::PacketIdentifierNotFound };
            v5::PubRel { pkid: id, reason, properties: None }.write(out)
        }
        Reply::PubComp { id, known } => {
            let reason =
                if known { v5::PubCompReason::Success } else { v5::PubCompReason::PacketIdentifierNotFound };
            v5::PubComp { pkid: id, reason, properties: None }.write(out)
        }
        Reply::SubAck { id, outcomes } => {
            let return_codes = outcomes.into_iter().map(subscribe_code).collect();
            v5::SubAck { pkid: id, return_codes, properties: None }.write(out)
        }
        Reply::UnsubAck { id, outcomes } => {
            let reasons = outcomes.into_iter().map(unsubscribe_code).collect();
            v5::UnsubAck { pkid: id, reasons, properties: None }.write(out)
        }
        Reply::PingResp => v5::PingResp::write(out),
        Reply::Disconnect { reason, text } => {
            write_disconnect(reason, &text, out, bytes_max);
            Ok(0)
        }
    };
    if written.is_err() || out.len() - before > bytes_max {
        out.truncate(before);
        return Err(TooLarge);
    }
    Ok(())
}

/// Why a publish is denied.
const DENIED: &str = "this client may not publish to this topic";

/// PUBACK or PUBREC 0x87, `in_words` too.
fn denied(id: u16, qos: QoS, in_words: bool, out: &mut BytesMut) -> Result<usize, mqttbytes::Error> {
    let (reason_string, user_properties) = (in_words.then(|| DENIED.to_owned()), Vec::new());
    if qos == QoS::ExactlyOnce {
        let properties = in_words.then_some(v5::PubRecProperties { reason_string, user_properties });
        v5::PubRec { pkid: id, reason: v5::PubRecReason::NotAuthorized, properties }.write(out)
    } else {
        let properties = in_words.then_some(v5::PubAckProperties { reason_string, user_properties });
        v5::PubAck { pkid: id, reason: v5::PubAckReason::NotAuthorized, properties }.write(out)
    }
}

fn no_properties() -> v5::ConnAckProperties {
    v5::ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}

fn connack(accepted: ConnAck) -> v5::ConnAck {
    let properties = v5::ConnAckProperties {
        session_expiry_interval: accepted.session_expiry_seconds,
        receive_max: Some(accepted.receive_maximum),
        max_packet_size: Some(accepted.packet_bytes_max),
        assigned_client_identifier: accepted.assigned_client_id,
        topic_alias_max: Some(accepted.topic_alias_max),
        server_keep_alive: accepted.keep_alive_seconds,
        max_qos: accepted.qos_max.map(|qos| qos as u8),
        ..no_properties()
    };
    let session_present = accepted.session_present;
    v5::ConnAck { session_present, code: v5::ConnectReturnCode::Success, properties: Some(properties) }
}

fn refusal(reason: Reason, text: Option<String>) -> v5::ConnAck {
    // rumqttc's list also has codes of 3.1.1, on which its writer panics; none of them is named here.
    let code = match reason {
        Reason::MalformedPacket => v5::ConnectReturnCode::MalformedPacket,
        Reason::ProtocolError => v5::ConnectReturnCode::ProtocolError,
        Reason::UnsupportedVersion => v5::ConnectReturnCode::UnsupportedProtocolVersion,
        Reason::ClientIdInvalid => v5::ConnectReturnCode::ClientIdentifierNotValid,
        Reason::BadUserNameOrPassword => v5::ConnectReturnCode::BadUserNamePassword,
        Reason::NotAuthorized => v5::ConnectReturnCode::NotAuthorized,
        Reason::BadAuthenticationMethod => v5::ConnectReturnCode::BadAuthenticationMethod,
        Reason::TopicNameInvalid => v5::ConnectReturnCode::TopicNameInvalid,
        Reason::PacketTooLarge => v5::ConnectReturnCode::PacketTooLarge,
        Reason::QuotaExceeded => v5::ConnectReturnCode::QuotaExceeded,
        Reason::ServerBusy => v5::ConnectReturnCode::ServerBusy,
        Reason::QosNotSupported => v5::ConnectReturnCode::QoSNotSupported,
        _ => v5::ConnectReturnCode::UnspecifiedError,
    };
    let properties = v5::ConnAckProperties { reason_string: text, ..no_properties() };
    v5::ConnAck { session_present: false, code, properties: Some(properties) }
}

fn subscribe_code(outcome: Result<QoS, Reason>) -> v5::SubscribeReasonCode {
    match outcome {
        Ok(qos) => v5::SubscribeReasonCode::Success(their_qos(qos)),
        Err(Reason::TopicFilterInvalid) => v5::SubscribeReasonCode::TopicFilterInvalid,
        Err(Reason::QuotaExceeded) => v5::SubscribeReasonCode::QuotaExceeded,
        Err(Reason::NotAuthorized) => v5::SubscribeReasonCode::NotAuthorized,
        Err(_) => v5::SubscribeReasonCode::Unspecified,
    }
}

fn unsubscribe_code(outcome: Unsubscribed) -> v5::UnsubAckReason {
    match outcome {
        Unsubscribed::Removed => v5::UnsubAckReason::Success,
        Unsubscribed::NotSubscribed => v5::UnsubAckReason::NoSubscriptionExisted,
        Unsubscribed::FilterInvalid => v5::UnsubAckReason::TopicFilterInvalid,
    }
}

/// first byte · length · reason · property length · [31 · reason string]. rumqttc writes one byte more
/// than it announces when there are no properties, and does not know code 0x8C.
fn write_disconnect(reason: Reason, text: &str, out: &mut BytesMut, bytes_max: usize) {
    const REASON_STRING: u8 = 31;
    /// One byte each for remaining length and property length then suffices.
    const TEXT_BYTES_MAX: usize = 120;
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text.as_bytes()[..end];
    let Ok(length) = u8::try_from(text.len()) else { return };
    if text.is_empty() || usize::from(length) + 7 > bytes_max {
        out.put_slice(&[0xE0, 2, reason as u8, 0]);
        return;
    }
    out.put_slice(&[0xE0, length + 5, reason as u8, length + 3, REASON_STRING, 0, length]);
    out.put_slice(text);
}

/// Writes a PUBLISH.
pub(crate) fn encode_publish(
    outgoing: &Outgoing<'_>,
    out: &mut BytesMut,
    bytes_max: usize,
) -> Result<(), TooLarge> {
    let message = outgoing.message;
    if has_oversized_text(message) {
        return Err(TooLarge);
    }
    let publish = v5::Publish {
        dup: outgoing.repeated,
        qos: their_qos(outgoing.qos),
        retain: outgoing.retain,
        topic: match outgoing.alias {
            Some(Alias { known: true, .. }) => Bytes::new(),
            _ => Bytes::copy_from_slice(message.topic.as_str().as_bytes()),
        },
        pkid: outgoing.id,
        payload: message.payload.clone(),
        properties: publish_properties(outgoing),
    };
    let before = out.len();
    if publish.size() > bytes_max || publish.write(out).is_err() {
        out.truncate(before);
        return Err(TooLarge);
    }
    Ok(())
}

fn has_oversized_text(message: &Message) -> bool {
    let given = &message.properties;
    let texts = [&given.content_type, &given.response_topic].into_iter().flatten().map(String::len);
    let user = given.user.iter().flat_map(|(key, value)| [key.len(), value.len()]);
    let data = given.correlation_data.iter().map(Bytes::len);
    texts.chain(user).chain(data).any(|length| length > TEXT_BYTES_MAX)
}

fn publish_properties(outgoing: &Outgoing<'_>) -> Option<v5::PublishProperties> {
    let given = &outgoing.message.properties;
    if *given == Properties::default() && outgoing.subscription_ids.is_empty() && outgoing.alias.is_none() {
        return None;
    }
    Some(v5::PublishProperties {
        payload_format_indicator: given.payload_is_utf8.map(u8::from),
        message_expiry_interval: outgoing.expiry_seconds,
        topic_alias: outgoing.alias.map(|alias| alias.number),
        response_topic: given.response_topic.clone(),
        correlation_data: given.correlation_data.clone(),
        user_properties: given.user.clone(),
        subscription_identifiers: outgoing.subscription_ids.iter().map(|&id| id as usize).collect(),
        content_type: given.content_type.clone(),
    })
}
