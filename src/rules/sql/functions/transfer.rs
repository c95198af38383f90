//! encode() and decode(): Base64 here, protobuf in `proto`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Binder, Expr, Operand, Prepared, Scope, Value, literal, proto};
use crate::rules::sql::eval::undefined;
use crate::rules::sql::payload::read_json;

/// The standard alphabet. Reading is as lenient as Java's basic decoder: padding may be missing, and
/// bits behind the last byte do not count.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The Base64 text of `bytes`.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// The bytes of a Base64 text.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

fn is_base64(scheme: &Value) -> bool {
    matches!(scheme, Value::Str(name) if name.eq_ignore_ascii_case("base64"))
}

/// encode(value, 'base64'): the string form of a value, or for `*` the payload's bytes, JSON or not.
pub(super) fn encode<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    let [value, scheme] = arguments.as_slice() else { return undefined() };
    if !is_base64(scheme) {
        return undefined();
    }
    let root = scope.payload().document(scope.version()).value();
    let whole = matches!(value, Cow::Borrowed(value) if std::ptr::eq(*value, root));
    let encoded = if whole {
        to_base64(scope.payload().bytes())
    } else {
        match value.text() {
            Some(text) => to_base64(text.as_bytes()),
            None => return undefined(),
        }
    };
    scope.text(encoded)
}

/// decode(value, 'base64'), or decode(value, 'proto', bucket, key, file, message).
pub(super) fn prepare_decode(
    arguments: &[Expr],
    binder: &mut Binder<'_>,
) -> Result<Box<dyn Prepared>, String> {
    let scheme = literal(arguments, 1).map(str::to_ascii_lowercase);
    match (scheme.as_deref(), arguments.len()) {
        (Some("proto"), _) => proto::prepare(arguments, binder),
        (_, 2) => Ok(Box::new(Base64)),
        _ => Err("with 'base64' it takes 2 arguments; with 'proto' 6: the value, 'proto', a bucket, a key, \
                  the .proto file's name and a message type"
            .to_owned()),
    }
}

#[derive(Debug)]
struct Base64;

impl Prepared for Base64 {
    /// The JSON document in the bytes, else their text; null when they are neither.
    fn run<'a>(&'a self, arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
        let [value, scheme] = arguments.as_slice() else { return undefined() };
        let Value::Str(text) = &**value else { return undefined() };
        if !is_base64(scheme) {
            return undefined();
        }
        let Some(bytes) = from_base64(text) else { return Cow::Owned(Value::Null) };
        if let Some(document) = read_json(&bytes, scope.version()) {
            return if scope.charge(document.weight()) { Cow::Owned(document) } else { undefined() };
        }
        match String::from_utf8(bytes) {
            Ok(text) => scope.text(text),
            Err(_) => Cow::Owned(Value::Null),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_leniently_as_java_reads_it() {
        let read = |text: &str| from_base64(text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        for text in ["Zm9vYg==", "Zm9vYg", "Zm9vYh=="] {
            assert_eq!(read(text).as_deref(), Some("foob"), "{text}");
        }
        for text in ["Z", "Z===", "====", "Zg==Zg==", "Zm9v!!!!", "Zm 9", "Zm9_"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(to_base64(b"fooba"), "Zm9vYmE=");
    }
}
