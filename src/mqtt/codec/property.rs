//! Checks MQTT 5 property lists (section 2.2.2): each within its declared length, each property known,
//! at home in its packet, given once, and within its range.
//!
//! rumqttc's readers follow the declared length only until a property starts, so a list could run on
//! into the payload; they take duplicates and zeros; and they miscount the Subscription Identifier.
//! After this check the first three cannot happen, and the identifier is taken from here.

use super::fields::Fields;
use crate::mqtt::error::{Reason, Violation};
use crate::topic::TopicName;

/// Which packet a list stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Connect,
    Will,
    Publish,
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

/// What the room reads from the check itself.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) subscription_id: Option<u32>,
    pub(crate) session_expiry_seconds: Option<u32>,
    pub(crate) topic_alias: bool,
}

mod id {
    pub(super) const PAYLOAD_FORMAT_INDICATOR: u8 = 1;
    pub(super) const MESSAGE_EXPIRY_INTERVAL: u8 = 2;
    pub(super) const CONTENT_TYPE: u8 = 3;
    pub(super) const RESPONSE_TOPIC: u8 = 8;
    pub(super) const CORRELATION_DATA: u8 = 9;
    pub(super) const SUBSCRIPTION_IDENTIFIER: u8 = 11;
    pub(super) const SESSION_EXPIRY_INTERVAL: u8 = 17;
    pub(super) const AUTHENTICATION_METHOD: u8 = 21;
    pub(super) const AUTHENTICATION_DATA: u8 = 22;
    pub(super) const REQUEST_PROBLEM_INFORMATION: u8 = 23;
    pub(super) const WILL_DELAY_INTERVAL: u8 = 24;
    pub(super) const REQUEST_RESPONSE_INFORMATION: u8 = 25;
    pub(super) const REASON_STRING: u8 = 31;
    pub(super) const RECEIVE_MAXIMUM: u8 = 33;
    pub(super) const TOPIC_ALIAS_MAXIMUM: u8 = 34;
    pub(super) const TOPIC_ALIAS: u8 = 35;
    pub(super) const USER_PROPERTY: u8 = 38;
    pub(super) const MAXIMUM_PACKET_SIZE: u8 = 39;
}

/// Whether a client may put property `property` into `place`.
fn at_home(property: u8, place: Place) -> bool {
    use Place::{Acknowledgement, Connect, Disconnect, Publish, Subscribe, Will};
    match property {
        id::USER_PROPERTY => true,
        id::PAYLOAD_FORMAT_INDICATOR
        | id::MESSAGE_EXPIRY_INTERVAL
        | id::CONTENT_TYPE
        | id::RESPONSE_TOPIC
        | id::CORRELATION_DATA => matches!(place, Publish | Will),
        id::TOPIC_ALIAS => place == Publish,
        id::WILL_DELAY_INTERVAL => place == Will,
        id::SUBSCRIPTION_IDENTIFIER => place == Subscribe,
        id::SESSION_EXPIRY_INTERVAL => matches!(place, Connect | Disconnect),
        id::REASON_STRING => matches!(place, Acknowledgement | Disconnect),
        id::AUTHENTICATION_METHOD
        | id::AUTHENTICATION_DATA
        | id::REQUEST_PROBLEM_INFORMATION
        | id::REQUEST_RESPONSE_INFORMATION
        | id::RECEIVE_MAXIMUM
        | id::TOPIC_ALIAS_MAXIMUM
        | id::MAXIMUM_PACKET_SIZE => place == Connect,
        _ => false,
    }
}

/// Checks the list that `fields` stands at and moves past it.
pub(crate) fn check(fields: &mut Fields<'_>, place: Place) -> Result<Checked, Violation> {
    let length = fields.variable()?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut list = Fields::new(fields.take(length)?);
    let mut checked = Checked::default();
    let mut seen = 0_u64;
    while !list.is_empty() {
        // Identifiers are variable byte integers; all that exist fit one byte.
        let property = list.u8()?;
        if !at_home(property, place) {
            let what = format!("property {property} does not exist or does not belong into this packet");
            return Err(Violation::malformed(what));
        }
        let bit = 1_u64 << property;
        if seen & bit != 0 && property != id::USER_PROPERTY {
            return Err(Violation::protocol(format!("property {property} is given twice")));
        }
        seen |= bit;
        check_value(property, &mut list, &mut checked)?;
    }
    let given = |property: u8| seen & (1_u64 << property) != 0;
    if given(id::AUTHENTICATION_DATA) && !given(id::AUTHENTICATION_METHOD) {
        return Err(Violation::protocol("authentication data is given without an authentication method"));
    }
    Ok(checked)
}

fn check_value(property: u8, list: &mut Fields<'_>, checked: &mut Checked) -> Result<(), Violation> {
    match property {
        id::PAYLOAD_FORMAT_INDICATOR | id::REQUEST_PROBLEM_INFORMATION | id::REQUEST_RESPONSE_INFORMATION => {
            if list.u8()? > 1 {
                return Err(Violation::protocol(format!("property {property} is neither 0 nor 1")));
            }
        }
        id::RECEIVE_MAXIMUM => not_zero(property, u32::from(list.u16()?))?,
        id::MAXIMUM_PACKET_SIZE => not_zero(property, list.u32()?)?,
        id::TOPIC_ALIAS => {
            if list.u16()? == 0 {
                return Err(Violation::new(Reason::TopicAliasInvalid, "a topic alias must not be zero"));
            }
            checked.topic_alias = true;
        }
        id::TOPIC_ALIAS_MAXIMUM => {
            list.u16()?;
        }
        id::SUBSCRIPTION_IDENTIFIER => {
            let value = list.variable()?;
            not_zero(property, value)?;
            checked.subscription_id = Some(value);
        }
        id::SESSION_EXPIRY_INTERVAL => checked.session_expiry_seconds = Some(list.u32()?),
        id::MESSAGE_EXPIRY_INTERVAL | id::WILL_DELAY_INTERVAL => {
            list.u32()?;
        }
        id::RESPONSE_TOPIC => {
            let topic = list.text()?;
            TopicName::new(topic)
                .map_err(|error| Violation::protocol(format!("the response topic is not legal: {error}")))?;
        }
        id::CORRELATION_DATA | id::AUTHENTICATION_DATA => {
            list.binary()?;
        }
        id::USER_PROPERTY => {
            list.text()?;
            list.text()?;
        }
        // The texts are left: content type, authentication method, reason string.
        _ => {
            list.text()?;
        }
    }
    Ok(())
}

fn not_zero(property: u8, value: u32) -> Result<(), Violation> {
    if value == 0 {
        return Err(Violation::protocol(format!("property {property} must not be zero")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(list: &[u8], place: Place) -> Option<Reason> {
        check(&mut Fields::new(list), place).err().map(|violation| violation.reason)
    }

    #[test]
    fn a_list_ends_where_it_says() {
        // The expiry interval claims four bytes, the list has three; the fourth is payload.
        assert_eq!(reason(&[4, 2, 0, 0, 0, 9], Place::Publish), Some(Reason::MalformedPacket));
        assert_eq!(reason(&[9, 2, 0, 0, 0, 9], Place::Publish), Some(Reason::MalformedPacket));
        let mut fields = Fields::new(&[5, 2, 0, 0, 0, 9, 0xAA]);
        check(&mut fields, Place::Publish).unwrap();
        assert_eq!(fields.u8().ok(), Some(0xAA));
    }

    #[test]
    fn a_property_comes_once_and_at_home() {
        assert_eq!(reason(&[4, 1, 1, 1, 1], Place::Publish), Some(Reason::ProtocolError));
        assert_eq!(reason(&[2, 1, 1], Place::Subscribe), Some(Reason::MalformedPacket));
        assert_eq!(reason(&[2, 11, 1], Place::Publish), Some(Reason::MalformedPacket));
        assert_eq!(reason(&[2, 200, 1], Place::Publish), Some(Reason::MalformedPacket));
        let twice = [14, 38, 0, 1, b'k', 0, 1, b'v', 38, 0, 1, b'k', 0, 1, b'w'];
        assert_eq!(reason(&twice, Place::Publish), None, "user properties may repeat");
    }

    #[test]
    fn values_are_in_range() {
        assert_eq!(reason(&[2, 1, 2], Place::Publish), Some(Reason::ProtocolError));
        assert_eq!(reason(&[3, 35, 0, 0], Place::Publish), Some(Reason::TopicAliasInvalid));
        assert_eq!(reason(&[3, 33, 0, 0], Place::Connect), Some(Reason::ProtocolError));
        assert_eq!(reason(&[5, 39, 0, 0, 0, 0], Place::Connect), Some(Reason::ProtocolError));
        assert_eq!(reason(&[2, 11, 0], Place::Subscribe), Some(Reason::ProtocolError));
        assert_eq!(reason(&[6, 8, 0, 3, b'a', b'/', b'#'], Place::Publish), Some(Reason::ProtocolError));
        assert_eq!(reason(&[4, 22, 0, 1, 0], Place::Connect), Some(Reason::ProtocolError));
    }
}
