//! Reads the CONNECT, the packet that says which version all others are in.
//!
//! ```text
//! protocol name, text · level, byte · flags, byte · keep-alive, u16 · properties (5) · client id, text
//!   · will: properties (5), topic, text, payload, binary · user name, text · password, binary
//! ```
//!
//! The flags say which of will, user name and password are there.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes as v4_codec;
use rumqttc::v5::mqttbytes as v5_codec;

use super::fields::Fields;
use super::frame::{self, Frame, kind};
use super::property::{self, Place};
use super::{checked_topic, detached, v5};
use crate::message::{Origin, Properties, QoS};
use crate::mqtt::error::Violation;
use crate::mqtt::packet::{Connect, Version, Will};

const RESERVED: u8 = 0b0000_0001;
const WILL: u8 = 0b0000_0100;
const WILL_QOS_AND_RETAIN: u8 = 0b0011_1000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// Why the first packet is not a CONNECT to go on with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoConnect {
    /// It asks for a version this broker does not speak; `later` than MQTT 5 or earlier than 3.1.1.
    Unsupported { later: bool },
    /// It is wrong; the version says in which form to answer, if at all.
    Wrong { version: Option<Version>, violation: Violation },
}

impl From<Violation> for NoConnect {
    fn from(violation: Violation) -> Self {
        Self::Wrong { version: None, violation }
    }
}

/// Takes a CONNECT off `buffer`; nothing while it is not all there.
///
/// # Errors
/// When the first packet is anything else, or a CONNECT that cannot be accepted as it stands.
pub(crate) fn decode_connect(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Connect>, NoConnect> {
    if buffer.first().is_some_and(|first| first >> 4 != kind::CONNECT) {
        return Err(Violation::protocol("the first packet is not a CONNECT").into());
    }
    let Some(frame) = frame::cut(buffer, None, bytes_max)? else { return Ok(None) };
    let mut fields = Fields::new(frame.body());
    let name = fields.text()?;
    let level = fields.u8()?;
    let version = match (name, level) {
        ("MQTT", 4) => Version::V311,
        ("MQTT", 5) => Version::V5,
        ("MQTT" | "MQIsdp", _) => return Err(NoConnect::Unsupported { later: level > 5 }),
        _ => return Err(Violation::protocol("the protocol name of the CONNECT is not MQTT").into()),
    };
    read(frame, version).map(Some).map_err(|violation| NoConnect::Wrong { version: Some(version), violation })
}

/// What the walk finds out and rumqttc does not say.
struct Walked {
    user_name: Option<String>,
    password: Option<Bytes>,
    /// Where the credentials start, counted from the packet's first byte.
    credentials_at: usize,
    flags_at: usize,
}

fn walk(frame: &Frame, version: Version) -> Result<Walked, Violation> {
    let mut fields = Fields::new(frame.body());
    let position = |fields: &Fields<'_>| frame.bytes.len() - fields.len();
    fields.text()?;
    fields.u8()?;
    let flags_at = position(&fields);
    let flags = fields.u8()?;
    check_flags(flags, version)?;
    fields.u16()?;
    if version == Version::V5 {
        property::check(&mut fields, Place::Connect)?;
    }
    fields.text()?;
    if flags & WILL != 0 {
        if version == Version::V5 {
            property::check(&mut fields, Place::Will)?;
        }
        fields.text()?;
        fields.binary()?;
    }
    let credentials_at = position(&fields);
    let user_name = if flags & USER_NAME != 0 { Some(fields.text()?.to_owned()) } else { None };
    let password = if flags & PASSWORD != 0 { Some(Bytes::copy_from_slice(fields.binary()?)) } else { None };
    fields.end()?;
    Ok(Walked { user_name, password, credentials_at, flags_at })
}

fn check_flags(flags: u8, version: Version) -> Result<(), Violation> {
    if flags & RESERVED != 0 {
        return Err(Violation::malformed("the reserved flag of the CONNECT is set"));
    }
    if flags & WILL == 0 && flags & WILL_QOS_AND_RETAIN != 0 {
        return Err(Violation::malformed("the CONNECT sets will QoS or will retain without a will"));
    }
    if flags & 0b0001_1000 == 0b0001_1000 {
        return Err(Violation::malformed("the will has QoS 3"));
    }
    if version == Version::V311 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(Violation::malformed("the CONNECT has a password without a user name"));
    }
    Ok(())
}

fn read(mut frame: Frame, version: Version) -> Result<Connect, Violation> {
    let walked = walk(&frame, version)?;
    // rumqttc reads a password as text and refuses those that are not.
    frame.bytes.truncate(walked.credentials_at);
    frame.bytes[walked.flags_at] &= !(USER_NAME | PASSWORD);
    let (first, length_bytes, remaining) = (frame.first, frame.length_bytes, frame.body().len());
    let bytes = frame.into_bytes();
    let connect = match version {
        Version::V311 => read_v4(v4_codec::FixedHeader::new(first, length_bytes, remaining), bytes)?,
        Version::V5 => read_v5(v5_codec::v5::FixedHeader::new(first, length_bytes, remaining), bytes)?,
    };
    Ok(Connect { user_name: walked.user_name, password: walked.password, ..connect })
}

fn read_v4(header: v4_codec::FixedHeader, bytes: Bytes) -> Result<Connect, Violation> {
    let connect = v4_codec::v4::Connect::read(header, bytes)
        .map_err(|error| Violation::malformed(format!("the CONNECT cannot be read: {error}")))?;
    let will = connect.last_will.map(|will| {
        Ok::<_, Violation>(Will {
            topic: checked_topic(&will.topic)?,
            payload: detached(will.message),
            qos: super::v4::qos(will.qos),
            retain: will.retain,
            properties: Properties::default(),
            delay_seconds: 0,
            origin: Origin::default(),
        })
    });
    Ok(Connect {
        version: Version::V311,
        client_id: connect.client_id,
        assigned_id: false,
        user_name: None,
        password: None,
        clean_start: connect.clean_session,
        keep_alive_seconds: connect.keep_alive,
        will: will.transpose()?,
        // A session that is not clean lasts as long as the server keeps it (3.1.2.4).
        session_expiry_seconds: if connect.clean_session { 0 } else { u32::MAX },
        receive_maximum: u16::MAX,
        packet_bytes_max: u32::MAX,
        topic_alias_max: 0,
        problem_information: true,
        authentication_method: false,
    })
}

fn read_v5(header: v5_codec::v5::FixedHeader, bytes: Bytes) -> Result<Connect, Violation> {
    let (connect, will, _) = v5_codec::v5::Connect::read(header, bytes)
        .map_err(|error| Violation::malformed(format!("the CONNECT cannot be read: {error}")))?;
    let properties = connect.properties.unwrap_or_default();
    Ok(Connect {
        version: Version::V5,
        client_id: connect.client_id,
        assigned_id: false,
        user_name: None,
        password: None,
        clean_start: connect.clean_start,
        keep_alive_seconds: connect.keep_alive,
        will: will.map(read_will).transpose()?,
        session_expiry_seconds: properties.session_expiry_interval.unwrap_or(0),
        receive_maximum: properties.receive_maximum.unwrap_or(u16::MAX),
        packet_bytes_max: properties.max_packet_size.unwrap_or(u32::MAX),
        topic_alias_max: properties.topic_alias_max.unwrap_or(0),
        problem_information: properties.request_problem_info != Some(0),
        authentication_method: properties.authentication_method.is_some(),
    })
}

fn read_will(will: v5_codec::v5::LastWill) -> Result<Will, Violation> {
    let qos: QoS = v5::qos(will.qos);
    let delay_seconds = will.properties.as_ref().and_then(|given| given.delay_interval).unwrap_or(0);
    let properties = will.properties.map_or_else(Properties::default, |given| Properties {
        payload_is_utf8: given.payload_format_indicator.map(|indicator| indicator == 1),
        expiry_seconds: given.message_expiry_interval,
        content_type: given.content_type,
        response_topic: given.response_topic,
        correlation_data: given.correlation_data.map(|data| Bytes::copy_from_slice(&data)),
        user: given.user_properties,
    });
    Ok(Will {
        topic: checked_topic(v5::walked_text(&will.topic)?)?,
        payload: detached(will.message),
        qos,
        retain: will.retain,
        properties,
        delay_seconds,
        origin: Origin::default(),
    })
}
