//! Reads MQTT's field types off a slice and never past its end (MQTT 5 section 1.5).
//!
//! The checks of `codec` walk a packet with this before rumqttc's reader sees it.

use crate::mqtt::error::Violation;

/// What is left of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts at the beginning of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| Violation::malformed("a field reaches past the end of its packet"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Byte.
    pub(crate) fn u8(&mut self) -> Result<u8, Violation> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two Byte Integer.
    pub(crate) fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four Byte Integer.
    pub(crate) fn u32(&mut self) -> Result<u32, Violation> {
        self.array().map(u32::from_be_bytes)
    }

    /// A packet identifier, which is never zero.
    pub(crate) fn packet_id(&mut self) -> Result<u16, Violation> {
        match self.u16()? {
            0 => Err(Violation::malformed("a packet identifier must not be zero")),
            id => Ok(id),
        }
    }

    /// Variable Byte Integer: at most four bytes, and none more than needed.
    pub(crate) fn variable(&mut self) -> Result<u32, Violation> {
        let mut value = 0_u32;
        for position in 0..4 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << (7 * position);
            if byte & 0x80 == 0 {
                if position > 0 && byte == 0 {
                    return Err(Violation::malformed(
                        "a variable byte integer is longer than it needs to be",
                    ));
                }
                return Ok(value);
            }
        }
        Err(Violation::malformed("a variable byte integer has more than four bytes"))
    }

    /// Binary Data.
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// UTF-8 Encoded String, without U+0000.
    pub(crate) fn text(&mut self) -> Result<&'a str, Violation> {
        let text = std::str::from_utf8(self.binary()?)
            .map_err(|_| Violation::malformed("a text is not well-formed UTF-8"))?;
        if text.contains('\0') {
            return Err(Violation::malformed("a text contains the null character"));
        }
        Ok(text)
    }

    /// Refuses bytes that no field accounts for.
    pub(crate) fn end(&self) -> Result<(), Violation> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Violation::malformed("a packet has bytes after its last field"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_integers_have_one_spelling() {
        let read = |bytes: &[u8]| Fields::new(bytes).variable().ok();
        assert_eq!(read(&[0x00]), Some(0));
        assert_eq!(read(&[0x80, 0x01]), Some(128));
        assert_eq!(read(&[0xFF, 0xFF, 0xFF, 0x7F]), Some(268_435_455));
        assert_eq!(read(&[0x80, 0x00]), None, "one byte too many");
        assert_eq!(read(&[0xFF, 0xFF, 0xFF, 0xFF, 0x01]), None, "five bytes");
        assert_eq!(read(&[0x80]), None, "cut short");
    }

    #[test]
    fn fields_end_where_the_packet_ends() {
        assert!(Fields::new(&[0, 5, b'a']).binary().is_err());
        assert!(Fields::new(&[0]).u16().is_err());
        assert!(Fields::new(&[0, 1, 0]).text().is_err(), "null character");
        assert!(Fields::new(&[0, 2, 0xC3, 0x28]).text().is_err(), "not UTF-8");
        assert!(Fields::new(&[0, 3, 0xED, 0xA0, 0x80]).text().is_err(), "surrogate");
        assert_eq!(Fields::new("\0\u{3}h\u{e9}".as_bytes()).text().ok(), Some("h\u{e9}"));
    }
}
