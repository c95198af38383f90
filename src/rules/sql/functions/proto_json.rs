//! A protobuf message as JSON, by protobuf's own mapping: names in lowerCamelCase, 64-bit integers as texts,
//! bytes as Base64, enums by name, well-known types in their special forms.

use chrono::DateTime;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value as Given};

use super::transfer::to_base64;
use crate::rules::sql::Version;
use crate::rules::sql::number::{Decimal, Number};
use crate::rules::sql::payload::DEPTH_MAX;
use crate::rules::sql::value::{Name, Object, Value};

/// The JSON of `message`; `None` when it has none: it nests too deep, or a well-known type is out of range.
pub(super) fn value(message: &DynamicMessage, version: Version) -> Option<Value> {
    Mapping { version, depth: 0 }.message(message)
}

#[derive(Clone, Copy)]
struct Mapping {
    version: Version,
    depth: usize,
}

impl Mapping {
    fn message(self, message: &DynamicMessage) -> Option<Value> {
        let inner = Self { depth: self.depth + 1, ..self };
        if inner.depth > DEPTH_MAX {
            return None;
        }
        let descriptor = message.descriptor();
        match descriptor.full_name().strip_prefix("google.protobuf.") {
            Some(name) => inner.well_known(name, message),
            None => inner.plain(message).map(|object| Value::Object(Box::new(object))),
        }
    }

    /// The fields that are set, in the order of their numbers.
    fn plain(self, message: &DynamicMessage) -> Option<Object> {
        let mut object = Object::default();
        for (field, value) in message.fields() {
            object.insert(field.json_name().into(), self.field(&field, value)?);
        }
        Some(object)
    }

    fn field(self, field: &FieldDescriptor, value: &Given) -> Option<Value> {
        match value {
            Given::List(items) => {
                let items = items.iter().map(|item| self.single(&field.kind(), item));
                Some(Value::Array(items.collect::<Option<_>>()?))
            }
            Given::Map(entries) => {
                let kind = field.kind().as_message()?.map_entry_value_field().kind();
                let mut members: Vec<(Name, Value)> = entries
                    .iter()
                    .map(|(key, value)| Some((map_key(key).into(), self.single(&kind, value)?)))
                    .collect::<Option<_>>()?;
                // A map has no order of its own, and the same message must give the same text.
                members.sort_by(|(left, _), (right, _)| left.cmp(right));
                Some(Value::Object(Box::new(members.into_iter().collect())))
            }
            value => self.single(&field.kind(), value),
        }
    }

    fn single(self, kind: &Kind, value: &Given) -> Option<Value> {
        Some(match value {
            Given::Bool(value) => Value::Bool(*value),
            Given::I32(value) => Value::Int(i128::from(*value)),
            Given::U32(value) => Value::Int(i128::from(*value)),
            Given::I64(value) => Value::Str(value.to_string()),
            Given::U64(value) => Value::Str(value.to_string()),
            Given::F32(value) => self.real(f64::from(*value), &format!("{value:?}")),
            Given::F64(value) => self.real(*value, &format!("{value:?}")),
            Given::String(value) => Value::Str(value.clone()),
            Given::Bytes(value) => Value::Str(to_base64(value)),
            Given::EnumNumber(number) => {
                let kind = kind.as_enum()?;
                if kind.full_name() == "google.protobuf.NullValue" {
                    return Some(Value::Null);
                }
                match kind.get_value(*number) {
                    Some(known) => Value::Str(known.name().to_owned()),
                    None => Value::Int(i128::from(*number)),
                }
            }
            Given::Message(message) => self.message(message)?,
            Given::List(_) | Given::Map(_) => return None,
        })
    }

    /// A double, by the shortest text that reads back as the same.
    fn real(self, value: f64, text: &str) -> Value {
        if value.is_nan() {
            return Value::Str("NaN".to_owned());
        }
        if value.is_infinite() {
            return Value::Str(if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned());
        }
        Decimal::parse(text).map_or(Value::Undefined, |number| self.version.value(Number::Decimal(number)))
    }

    fn well_known(self, name: &str, message: &DynamicMessage) -> Option<Value> {
        match name {
            "Timestamp" => timestamp(message).map(Value::Str),
            "Duration" => duration(message).map(Value::Str),
            "FieldMask" => field_mask(message).map(Value::Str),
            "Struct" => {
                let fields = message.descriptor().get_field_by_name("fields")?;
                self.field(&fields, &message.get_field(&fields))
            }
            "ListValue" => {
                let values = message.descriptor().get_field_by_name("values")?;
                self.field(&values, &message.get_field(&values))
            }
            // A Value that holds nothing has no JSON.
            "Value" => {
                let (field, value) = message.fields().next()?;
                self.field(&field, value)
            }
            "Any" => self.any(message),
            "BoolValue" | "BytesValue" | "DoubleValue" | "FloatValue" | "Int32Value" | "Int64Value"
            | "StringValue" | "UInt32Value" | "UInt64Value" => {
                let field = message.descriptor().get_field_by_name("value")?;
                self.field(&field, &message.get_field(&field))
            }
            _ => self.plain(message).map(|object| Value::Object(Box::new(object))),
        }
    }

    /// The message inside, whose type has to be in the descriptor set.
    fn any(self, message: &DynamicMessage) -> Option<Value> {
        let url = message.get_field_by_name("type_url")?.as_str()?.to_owned();
        let packed = message.get_field_by_name("value")?.as_bytes()?.clone();
        let name = url.rsplit('/').next()?;
        let kind = message.descriptor().parent_pool().get_message_by_name(name)?;
        let inner = DynamicMessage::decode(kind, packed).ok()?;
        let mut object = Object::from_iter([("@type".into(), Value::Str(url.clone()))]);
        if name.starts_with("google.protobuf.") && name != "google.protobuf.Empty" {
            object.insert("value".into(), self.message(&inner)?);
        } else if self.depth < DEPTH_MAX {
            object.extend(Self { depth: self.depth + 1, ..self }.plain(&inner)?);
        } else {
            return None;
        }
        Some(Value::Object(Box::new(object)))
    }
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn seconds_and_nanos(message: &DynamicMessage) -> Option<(i64, i32)> {
    Some((message.get_field_by_name("seconds")?.as_i64()?, message.get_field_by_name("nanos")?.as_i32()?))
}

/// None, 3, 6 or 9 digits, as few as keep the value.
fn fraction(nanos: u32) -> String {
    match nanos {
        0 => String::new(),
        nanos if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => format!(".{:06}", nanos / 1_000),
        nanos => format!(".{nanos:09}"),
    }
}

/// RFC 3339 in UTC, for the years 1 to 9999.
fn timestamp(message: &DynamicMessage) -> Option<String> {
    let (seconds, nanos) = seconds_and_nanos(message)?;
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let time = DateTime::from_timestamp(seconds, 0)?;
    let text = time.format("%Y-%m-%dT%H:%M:%S").to_string();
    (text.len() == 19 && !text.starts_with("0000")).then(|| format!("{text}{}Z", fraction(nanos)))
}

/// Seconds with a fraction, for ten thousand years in either direction.
fn duration(message: &DynamicMessage) -> Option<String> {
    const SECONDS_MAX: u64 = 315_576_000_000;
    let (seconds, nanos) = seconds_and_nanos(message)?;
    let one_sign = seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0);
    if !one_sign || seconds.unsigned_abs() > SECONDS_MAX || nanos.unsigned_abs() >= 1_000_000_000 {
        return None;
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    Some(format!("{sign}{}{}s", seconds.unsigned_abs(), fraction(nanos.unsigned_abs())))
}

/// Paths in lowerCamelCase, joined by commas.
fn field_mask(message: &DynamicMessage) -> Option<String> {
    let paths = message.get_field_by_name("paths")?;
    let camel = |path: &str| {
        let mut text = String::with_capacity(path.len());
        let mut raise = false;
        for letter in path.chars() {
            match letter {
                '_' => raise = true,
                letter if std::mem::take(&mut raise) => text.push(letter.to_ascii_uppercase()),
                letter => text.push(letter),
            }
        }
        text
    };
    let paths: Option<Vec<String>> = paths.as_list()?.iter().map(|path| path.as_str().map(camel)).collect();
    paths.map(|paths| paths.join(","))
}
