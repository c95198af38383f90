//! Tens of thousands of hostile inputs: decoding answers every one of them and panics at none.
//!
//! The inputs follow from fixed seeds, so a failure names the case that repeats it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;

use super::{Codec, decode_connect};
use crate::mqtt::packet::{Packet, Version};
use crate::mqtt::tests::wire::{connect, packet, properties, publish, text};

const BYTES_MAX: usize = 4_096;

/// xorshift64*: small, and the same on every machine.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() >> 33).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        // Boundary values find more than even chances do.
        const EDGES: [u8; 12] = [0, 1, 2, 3, 11, 35, 38, 0x7F, 0x80, 0x81, 0xFE, 0xFF];
        if self.below(2) == 0 { EDGES[self.below(EDGES.len())] } else { self.roll().to_be_bytes()[0] }
    }
}

/// Packets of every kind a client may send, with every property.
pub(crate) fn valid_packets(level: u8) -> Vec<Vec<u8>> {
    let five = level == 5;
    let list = |list: &[u8]| if five { properties(list) } else { Vec::new() };
    let user = [38, 0, 1, b'k', 0, 1, b'v'];
    let all =
        [&[1, 1, 2, 0, 0, 0, 9, 3, 0, 1, b'c', 8, 0, 1, b'r', 9, 0, 1, 0, 35, 0, 3][..], &user].concat();
    let will = [list(&[24, 0, 0, 0, 1, 1, 1]), text("w/ä"), text("gone")].concat();
    let connect_list =
        [17, 0, 0, 0, 9, 33, 0, 7, 39, 0, 1, 0, 0, 34, 0, 3, 25, 1, 23, 1, 21, 0, 1, b'm', 22, 0, 1, 9];
    let head = [text("MQTT"), vec![level, 0b1111_0110, 0, 60], list(&connect_list)].concat();
    let mut packets = vec![
        connect(level, "client"),
        packet(0x10, &[head, text("c"), will, text("user"), text("pass")].concat()),
        publish(level, 0, 0, "a/b", b"payload"),
        publish(level, 1, 1, "größe", b""),
        packet(0x3D, &[text("a/b/c"), vec![0, 9], list(&all), b"{\"x\":1}".to_vec()].concat()),
        packet(
            0x82,
            &[
                vec![0, 9],
                list(&[&[11, 0x80, 1][..], &user].concat()),
                text("a/#"),
                vec![1],
                text("+"),
                vec![2],
            ]
            .concat(),
        ),
        packet(0xA2, &[vec![0, 9], list(&user), text("a/#"), text("b")].concat()),
        vec![0xC0, 0],
        vec![0xE0, 0],
    ];
    for first in [0x40, 0x50, 0x62, 0x70] {
        packets.push(packet(first, &[0, 1]));
        if five {
            packets.push(packet(
                first,
                &[&[0, 1, 0][..], &properties(&[&[31, 0, 2, b'o', b'k'][..], &user].concat())].concat(),
            ));
        }
    }
    if five {
        packets.push(packet(0xE0, &[&[4][..], &properties(&[17, 0, 0, 0, 8, 31, 0, 0])].concat()));
        packets.push(packet(0xF0, &[0x18, 0]));
    }
    packets
}

/// Changes `bytes` in a few places.
pub(crate) fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len().max(1));
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), dice.byte()),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => bytes.extend_from_slice(&others[dice.below(others.len())]),
            // The length that the packet claims.
            4 if bytes.len() > 1 => bytes[1] = dice.byte(),
            5 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            _ if !bytes.is_empty() => bytes[at] = dice.byte(),
            _ => bytes.push(dice.byte()),
        }
    }
}

/// Decodes like a connection: packet after packet until an error or the end. Returns how many came.
fn decode_all(version: Version, bytes: &[u8]) -> usize {
    let mut buffer = BytesMut::from(bytes);
    let mut codec = Codec::new(version, BYTES_MAX, usize::MAX);
    let mut packets = 0;
    while let Ok(Some(packet)) = codec.decode(&mut buffer) {
        packets += 1;
        if let Packet::Publish(publish) = packet {
            assert!(publish.payload.len() < bytes.len(), "a payload from nowhere");
            assert!(publish.topic.is_some() || publish.alias.is_some());
        }
    }
    packets
}

fn survives(case: usize, bytes: &[u8]) -> usize {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut buffer = BytesMut::from(bytes);
        let connected = decode_connect(&mut buffer, BYTES_MAX).is_ok_and(|connect| connect.is_some());
        usize::from(connected) + decode_all(Version::V311, bytes) + decode_all(Version::V5, bytes)
    }));
    outcome.unwrap_or_else(|_| panic!("case {case} panics: {bytes:02x?}"))
}

#[test]
fn valid_packets_decode() {
    for (level, version) in [(4, Version::V311), (5, Version::V5)] {
        for bytes in valid_packets(level) {
            let is_connect = bytes[0] == 0x10;
            let decoded = if is_connect {
                usize::from(decode_connect(&mut BytesMut::from(&bytes[..]), BYTES_MAX).unwrap().is_some())
            } else {
                decode_all(version, &bytes)
            };
            assert_eq!(decoded, 1, "{bytes:02x?}");
        }
    }
}

#[test]
fn mutated_packets_do_not_panic() {
    let mut dice = Dice(0x7469_6465_6D69_6C6C);
    let packets = [valid_packets(4), valid_packets(5)].concat();
    let mut decoded = 0;
    for case in 0..60_000 {
        let mut bytes = packets[dice.below(packets.len())].clone();
        mutate(&mut dice, &mut bytes, &packets);
        decoded += survives(case, &bytes);
    }
    assert!(decoded > 10_000, "mutations so rough that nothing is decoded test little: {decoded}");
}

#[test]
fn random_bytes_do_not_panic() {
    let mut dice = Dice(0x6D71_7474);
    for case in 0..40_000 {
        let length = dice.below(48);
        let mut bytes: Vec<u8> = (0..length).map(|_| dice.byte()).collect();
        if length > 2 && case % 2 == 0 {
            // A right type, flags and length, so that the body is reached.
            const FIRST: [u8; 13] =
                [0x10, 0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0, 0xF0];
            bytes[0] = FIRST[dice.below(FIRST.len())];
            bytes[1] = u8::try_from(length - 2).unwrap();
        }
        survives(case, &bytes);
    }
}

/// Every packet cut at every place: never an error, never a packet, until it is whole.
#[test]
fn half_packets_wait() {
    for (level, version) in [(4, Version::V311), (5, Version::V5)] {
        for bytes in valid_packets(level) {
            for end in 0..bytes.len() {
                let mut buffer = BytesMut::from(&bytes[..end]);
                let nothing = if bytes[0] == 0x10 {
                    matches!(decode_connect(&mut buffer, BYTES_MAX), Ok(None))
                } else {
                    matches!(Codec::new(version, BYTES_MAX, 0).decode(&mut buffer), Ok(None))
                };
                assert!(nothing && buffer.len() == end, "{end} bytes of {bytes:02x?}");
            }
        }
    }
}
