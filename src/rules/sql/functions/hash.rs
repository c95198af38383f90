//! Hashes of a value's string form, as lower-case hexadecimal text.
//!
//! MD2 is written out below, because no kept crate has it; nobody should choose it today.

use std::fmt::Write as _;

use md5::Md5;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::{Operand, Scope, first};
use crate::rules::sql::eval::undefined;

fn hashed<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>, hash: impl Fn(&[u8]) -> String) -> Operand<'a> {
    let argument = first(arguments);
    match argument.text() {
        Some(text) => scope.text(hash(text.as_bytes())),
        None => undefined(),
    }
}

fn digest<D: Digest>(bytes: &[u8]) -> String {
    hexadecimal(&D::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

macro_rules! hash_functions {
    ($($name:ident = $hash:expr;)*) => {$(
        pub(super) fn $name<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
            hashed(arguments, scope, $hash)
        }
    )*};
}

hash_functions! {
    md2 = |bytes| hexadecimal(&md2_of(bytes));
    md5 = digest::<Md5>;
    sha1 = digest::<Sha1>;
    sha224 = digest::<Sha224>;
    sha256 = digest::<Sha256>;
    sha384 = digest::<Sha384>;
    sha512 = digest::<Sha512>;
}

/// MD2 (RFC 1319): blocks of 16 bytes, padded with their missing count, then a checksum block.
fn md2_of(bytes: &[u8]) -> [u8; 16] {
    let missing = 16 - bytes.len() % 16;
    let padding = [u8::try_from(missing).unwrap_or(16); 16];
    let mut state = [0_u8; 48];
    let mut checksum = [0_u8; 16];
    let mut block = [0_u8; 16];
    let absorb = |block: &[u8; 16], state: &mut [u8; 48]| {
        for at in 0..16 {
            state[16 + at] = block[at];
            state[32 + at] = block[at] ^ state[at];
        }
        let mut last = 0_u8;
        for round in 0..18_u8 {
            for byte in state.iter_mut() {
                *byte ^= MD2_TABLE[usize::from(last)];
                last = *byte;
            }
            last = last.wrapping_add(round);
        }
    };
    let whole = bytes.len() / 16;
    for index in 0..=whole {
        let rest = &bytes[index * 16..];
        let taken = rest.len().min(16);
        block[..taken].copy_from_slice(&rest[..taken]);
        block[taken..].copy_from_slice(&padding[taken..]);
        absorb(&block, &mut state);
        let mut last = checksum[15];
        for at in 0..16 {
            checksum[at] ^= MD2_TABLE[usize::from(block[at] ^ last)];
            last = checksum[at];
        }
    }
    absorb(&checksum, &mut state);
    let mut hash = [0_u8; 16];
    hash.copy_from_slice(&state[..16]);
    hash
}

/// A permutation of all bytes, made from the digits of pi.
#[rustfmt::skip]
const MD2_TABLE: [u8; 256] = [
    41, 46, 67, 201, 162, 216, 124, 1, 61, 54, 84, 161, 236, 240, 6, 19,
    98, 167, 5, 243, 192, 199, 115, 140, 152, 147, 43, 217, 188, 76, 130, 202,
    30, 155, 87, 60, 253, 212, 224, 22, 103, 66, 111, 24, 138, 23, 229, 18,
    190, 78, 196, 214, 218, 158, 222, 73, 160, 251, 245, 142, 187, 47, 238, 122,
    169, 104, 121, 145, 21, 178, 7, 63, 148, 194, 16, 137, 11, 34, 95, 33,
    128, 127, 93, 154, 90, 144, 50, 39, 53, 62, 204, 231, 191, 247, 151, 3,
    255, 25, 48, 179, 72, 165, 181, 209, 215, 94, 146, 42, 172, 86, 170, 198,
    79, 184, 56, 210, 150, 164, 125, 182, 118, 252, 107, 226, 156, 116, 4, 241,
    69, 157, 112, 89, 100, 113, 135, 32, 134, 91, 207, 101, 230, 45, 168, 2,
    27, 96, 37, 173, 174, 176, 185, 246, 28, 70, 97, 105, 52, 64, 126, 15,
    85, 71, 163, 35, 221, 81, 175, 58, 195, 92, 249, 206, 186, 197, 234, 38,
    44, 83, 13, 110, 133, 40, 132, 9, 211, 223, 205, 244, 65, 129, 77, 82,
    106, 220, 55, 200, 108, 193, 171, 250, 36, 225, 123, 8, 12, 189, 177, 74,
    120, 136, 149, 139, 227, 99, 232, 109, 233, 203, 213, 254, 59, 0, 29, 57,
    242, 239, 183, 14, 102, 88, 208, 228, 166, 119, 114, 248, 235, 117, 75, 10,
    49, 68, 80, 180, 143, 237, 31, 26, 219, 153, 141, 51, 159, 17, 131, 20,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The test suite at the end of RFC 1319; the last two cross a block.
    #[test]
    fn md2_gives_what_its_rfc_prints() {
        let vectors = [
            ("", "8350e5a3e24c153df2275c9f80692773"),
            ("a", "32ec01ec4a6dac72c0ab96fb34c0b5d1"),
            ("abcdefghijklmnopqrstuvwxyz", "4e8ddff3650292ab5a4108c3aa47940b"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "d5976f79d83d3a0dc9806c3c66f3efd8",
            ),
        ];
        for (text, hash) in vectors {
            assert_eq!(hexadecimal(&md2_of(text.as_bytes())), hash, "{text}");
        }
    }
}
