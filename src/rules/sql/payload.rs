//! A message's payload, read at most once per reading of numbers and only when a rule asks for it.
//!
//! Only an object or an array counts as JSON (spec 2.6); anything else stays raw bytes, whose
//! attributes are Undefined. Nesting is bounded by [`DEPTH_MAX`], numbers by [`Number`], so a payload
//! costs no more than its length.

use std::cell::OnceCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Version;
use super::json;
use super::number::Number;
use super::value::{UNDEFINED, Value, object_for};

/// How deep a payload may nest.
pub(crate) const DEPTH_MAX: usize = 64;

/// What serde_json calls the key under which it hands over a number's text.
const NUMBER_KEY: &str = "$serde_json::private::Number";

/// A payload and what was read from it.
#[derive(Debug)]
pub(crate) struct Payload<'m> {
    bytes: &'m [u8],
    as_written: OnceCell<Document>,
    whole_as_int: OnceCell<Document>,
}

/// What a payload holds.
#[derive(Debug)]
pub(crate) enum Document {
    /// An object or an array.
    Json(Value),
    /// Bytes that are no JSON object or array, and why.
    Raw(String),
}

impl Document {
    /// The document as a value: Undefined when it is no JSON.
    pub(crate) const fn value(&self) -> &Value {
        match self {
            Self::Json(value) => value,
            Self::Raw(_) => &UNDEFINED,
        }
    }
}

impl<'m> Payload<'m> {
    /// A payload not yet read.
    pub(crate) const fn new(bytes: &'m [u8]) -> Self {
        Self { bytes, as_written: OnceCell::new(), whole_as_int: OnceCell::new() }
    }

    /// The bytes as sent.
    pub(crate) const fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// The payload as rules of `version` see it. The versions differ in what 10.0 is, so each of the
    /// two readings is made when first asked for and shared by all rules after.
    pub(crate) fn document(&self, version: Version) -> &Document {
        let cell = if version == Version::V2015 { &self.as_written } else { &self.whole_as_int };
        cell.get_or_init(|| read(self.bytes, version))
    }
}

fn read(bytes: &[u8], version: Version) -> Document {
    if bytes.is_empty() {
        return Document::Raw("it is empty".to_owned());
    }
    let parsed = json::read(bytes, version).map_or_else(|| read_slowly(bytes, version), Ok);
    match parsed {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => Document::Json(value),
        Ok(value) => Document::Raw(format!("it is {}, not an object or an array", value.kind())),
        Err(error) => Document::Raw(error.to_string()),
    }
}

/// Reads JSON text as a value, whatever it holds; `None` when it is no JSON.
pub(crate) fn read_json(text: &[u8], version: Version) -> Option<Value> {
    json::read(text, version)
}

/// Reads JSON text as serde_json does; the error says what is wrong with it, and where.
pub(super) fn read_slowly(text: &[u8], version: Version) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Reader { version, depth: 0 }.deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

/// Builds a [`Value`] from serde_json, counting how deep it is.
#[derive(Clone, Copy)]
struct Reader {
    version: Version,
    depth: usize,
}

impl Reader {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format_args!("it nests deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    /// A number too large for the language has no value.
    fn number(self, text: &str) -> Value {
        Number::parse(text).map_or(Value::Undefined, |number| self.version.value(number))
    }
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(self.number(&format!("{value:?}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        // Grown once for most payloads. Not inside: a payload may be a million empty objects.
        let mut object = object_for(if self.depth == 0 { 16 } else { 0 });
        while let Some(name) = members.next_key::<String>()? {
            if object.is_empty() && name == NUMBER_KEY {
                return self.spelled_number(&members.next_value::<String>()?);
            }
            let value = members.next_value_seed(inner)?;
            object.insert(name.into(), value);
        }
        Ok(Value::Object(Box::new(object)))
    }
}

impl Reader {
    /// With `arbitrary_precision` serde_json hands over a number as a map of one text.
    fn spelled_number<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
            Ok(self.number(text))
        } else {
            Err(E::custom(format_args!("the name {NUMBER_KEY} is reserved")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], version: Version) -> String {
        match Payload::new(bytes).document(version) {
            Document::Json(value) => value.to_json(),
            Document::Raw(reason) => format!("raw: {reason}"),
        }
    }

    #[test]
    fn numbers_keep_their_text_and_objects_their_order() {
        let payload = br#"{"z":24.040,"a":10.0,"big":123456789012345678901234567890,"e":1E3,"n":null}"#;
        let kept = r#"{"z":24.040,"a":10.0,"big":123456789012345678901234567890,"e":1E+3,"n":null}"#;
        assert_eq!(text(payload, Version::V2015), kept);
        let whole = r#"{"z":24.040,"a":10,"big":123456789012345678901234567890,"e":1000,"n":null}"#;
        assert_eq!(text(payload, Version::V2016), whole);
    }

    #[test]
    fn hostile_numbers_cost_nothing() {
        assert_eq!(text(br#"{"a":1E999999999,"b":1E-999999999}"#, Version::V2016), r#"{"b":0}"#);
        let digits = format!("[{}]", "9".repeat(100_000));
        assert_eq!(text(digits.as_bytes(), Version::V2016), "[null]");
    }

    #[test]
    fn what_is_no_object_or_array_is_raw() {
        assert_eq!(text(b"80", Version::V2016), "raw: it is an Int, not an object or an array");
        assert_eq!(text(b"", Version::V2016), "raw: it is empty");
        assert!(text(b"{\"a\":1} x", Version::V2016).starts_with("raw: trailing characters"));
        assert!(text(&[0xff, 0xfe], Version::V2016).starts_with("raw: "));
        let deep = "[".repeat(65) + &"]".repeat(65);
        assert!(text(deep.as_bytes(), Version::V2016).starts_with("raw: it nests deeper than 64 levels"));
        let allowed = "[".repeat(64) + &"]".repeat(64);
        assert_eq!(text(allowed.as_bytes(), Version::V2016), allowed);
    }
}
