//! Cuts whole packets off the bytes of a connection.
//!
//! frame: 0 type (high four bits) and flags · 1..5 remaining length, variable byte integer · the rest.
//! Type, flags and length are judged as soon as they are there, before the rest is waited for.

use bytes::{Bytes, BytesMut};

use crate::mqtt::error::{Reason, Violation};
use crate::mqtt::packet::Version;

/// The packet types, as their high four bits.
pub(crate) mod kind {
    pub(crate) const CONNECT: u8 = 1;
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const PUBACK: u8 = 4;
    pub(crate) const PUBREC: u8 = 5;
    pub(crate) const PUBREL: u8 = 6;
    pub(crate) const PUBCOMP: u8 = 7;
    pub(crate) const SUBSCRIBE: u8 = 8;
    pub(crate) const UNSUBSCRIBE: u8 = 10;
    pub(crate) const PINGREQ: u8 = 12;
    pub(crate) const DISCONNECT: u8 = 14;
    pub(crate) const AUTH: u8 = 15;
}

/// One whole packet.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The packet's first byte.
    pub(crate) first: u8,
    /// How many bytes spell the remaining length.
    pub(crate) length_bytes: usize,
    /// The whole packet, fixed header included.
    pub(crate) bytes: BytesMut,
}

impl Frame {
    /// The packet type, one of [`kind`].
    pub(crate) fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// What follows the fixed header.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[1 + self.length_bytes..]
    }

    /// The whole packet, given away.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// Cuts the next packet off `buffer`, or leaves it alone while the packet is not all there.
///
/// `version` is unknown before the CONNECT.
pub(crate) fn cut(
    buffer: &mut BytesMut,
    version: Option<Version>,
    bytes_max: usize,
) -> Result<Option<Frame>, Violation> {
    let Some(&first) = buffer.first() else { return Ok(None) };
    check_first(first, version)?;
    let Some((length_bytes, remaining)) = remaining_length(&buffer[1..], version)? else { return Ok(None) };
    let total = 1 + length_bytes + remaining;
    if total > bytes_max {
        let what =
            format!("a packet of {total} bytes is larger than the {bytes_max} bytes this server takes");
        return Err(Violation::new(Reason::PacketTooLarge, what));
    }
    if buffer.len() < total {
        return Ok(None);
    }
    Ok(Some(Frame { first, length_bytes, bytes: buffer.split_to(total) }))
}

fn check_first(first: u8, version: Option<Version>) -> Result<(), Violation> {
    let flags = first & 0x0F;
    let expected = match first >> 4 {
        kind::PUBLISH => {
            return match flags & 0b0110 {
                0b0110 => Err(Violation::malformed("a PUBLISH has QoS 3")),
                0 if flags & 0b1000 != 0 => {
                    Err(Violation::malformed("a PUBLISH of QoS 0 has its DUP flag set"))
                }
                _ => Ok(()),
            };
        }
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => 0b0010,
        kind::CONNECT | kind::PUBACK | kind::PUBREC | kind::PUBCOMP | kind::PINGREQ | kind::DISCONNECT => 0,
        kind::AUTH if version == Some(Version::V5) => 0,
        0 | kind::AUTH => return Err(Violation::malformed("the packet type is reserved")),
        _ => return Err(Violation::protocol("a packet came that only a server may send")),
    };
    if flags == expected {
        return Ok(());
    }
    Err(Violation::malformed("the reserved flags of the fixed header are wrong"))
}

/// How many bytes spell the length, and the length; nothing while the length is not all there.
fn remaining_length(bytes: &[u8], version: Option<Version>) -> Result<Option<(usize, usize)>, Violation> {
    let mut length = 0;
    for (position, &byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * position);
        if byte & 0x80 == 0 {
            // 3.1.1 does not ask for the shortest spelling, MQTT 5 does (1.5.5).
            if version == Some(Version::V5) && position > 0 && byte == 0 {
                return Err(Violation::malformed("the remaining length is longer than it needs to be"));
            }
            return Ok(Some((position + 1, length)));
        }
    }
    if bytes.len() >= 4 {
        return Err(Violation::malformed("the remaining length has more than four bytes"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_v5(bytes: &[u8]) -> Result<Option<Frame>, Violation> {
        cut(&mut BytesMut::from(bytes), Some(Version::V5), 1_000)
    }

    fn reason(bytes: &[u8]) -> Option<Reason> {
        cut_v5(bytes).err().map(|violation| violation.reason)
    }

    #[test]
    fn a_packet_is_cut_when_it_is_whole_and_not_before() {
        let mut buffer = BytesMut::from(&[0x30, 0x03, 0, 1][..]);
        assert!(cut(&mut buffer, Some(Version::V311), 100).unwrap().is_none());
        assert_eq!(buffer.len(), 4, "nothing may be taken");
        buffer.extend_from_slice(&[b'a', 0xC0, 0x00]);
        let frame = cut(&mut buffer, Some(Version::V311), 100).unwrap().unwrap();
        assert_eq!((frame.kind(), frame.body()), (kind::PUBLISH, &[0, 1, b'a'][..]));
        assert_eq!(&buffer[..], [0xC0, 0x00]);
    }

    #[test]
    fn wrong_first_bytes_are_refused_at_once() {
        for first in [0x00, 0x36, 0x38, 0x41, 0x60, 0x80, 0xA0, 0xC1, 0xE2, 0x11] {
            assert_eq!(reason(&[first]), Some(Reason::MalformedPacket), "{first:#x}");
        }
        for first in [0x20, 0x90, 0xB0, 0xD0] {
            assert_eq!(reason(&[first]), Some(Reason::ProtocolError), "{first:#x}");
        }
        assert!(cut(&mut BytesMut::from(&[0xF0][..]), Some(Version::V311), 100).is_err(), "AUTH in 3.1.1");
        assert!(cut_v5(&[0xF0]).is_ok());
    }

    #[test]
    fn lengths_are_bounded_before_the_packet_is_there() {
        assert_eq!(reason(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), Some(Reason::MalformedPacket));
        assert_eq!(reason(&[0x30, 0x80, 0x00]), Some(Reason::MalformedPacket));
        assert_eq!(reason(&[0x30, 0xFF, 0xFF, 0x03]), Some(Reason::PacketTooLarge));
        // 998 + 2 bytes of header would be 1,001 with the second length byte.
        assert_eq!(reason(&[0x30, 0xE6, 0x07]), Some(Reason::PacketTooLarge));
        assert_eq!(reason(&[0x30, 0xE5, 0x07]), None);
    }
}
