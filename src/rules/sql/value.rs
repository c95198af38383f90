//! A value of the language: what JSON has, plus Undefined, with numbers kept as decimals.
//!
//! Conversions are the tables of spec 2.2 (implicit) and 2.3 (`cast`); a conversion the tables do not
//! know is `None`, which reads as Undefined.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::sync::Arc;

use ahash::RandomState;
use indexmap::IndexMap;

use super::number::{Decimal, Number};

/// A name of a member: shared, because every rule hands on the names of one payload or its own.
pub(crate) type Name = Arc<str>;

/// Something by name, in the order it was written. Names come from strangers: the hash has a secret seed.
pub(crate) type Named<K, V> = IndexMap<K, V, RandomState>;

/// The members of an object.
pub(crate) type Object = Named<Name, Value>;

/// An object with room for `members`.
pub(crate) fn object_for(members: usize) -> Object {
    Object::with_capacity_and_hasher(members, RandomState::default())
}

/// One value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// No value at all: a missing attribute, or a function given what it cannot take.
    Undefined,
    /// JSON's null.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Decimal(Decimal),
    /// Text.
    Str(String),
    /// A list of values of any kind.
    Array(Vec<Value>),
    /// Named values. Boxed, because most values are not objects.
    Object(Box<Object>),
}

/// The Undefined that borrowed results point to.
pub(crate) static UNDEFINED: Value = Value::Undefined;

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(value) => Self::Int(value),
            Number::Decimal(value) => Self::Decimal(value),
        }
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Undefined, Into::into)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

impl Value {
    /// The kind's name, as messages spell it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "Undefined",
            Self::Null => "null",
            Self::Bool(_) => "a Boolean",
            Self::Int(_) => "an Int",
            Self::Decimal(_) => "a Decimal",
            Self::Str(_) => "a String",
            Self::Array(_) => "an Array",
            Self::Object(_) => "an Object",
        }
    }

    pub(crate) const fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined)
    }

    /// The member `name`; Undefined when the value is no object or has none of that name.
    pub(crate) fn member(&self, name: &str) -> &Self {
        match self {
            Self::Object(members) => members.get(name).unwrap_or(&UNDEFINED),
            _ => &UNDEFINED,
        }
    }

    /// The number this is, or that a String spells (spec 2.2).
    pub(crate) fn number(&self) -> Option<Number> {
        match self {
            Self::Int(value) => Some(Number::Int(*value)),
            Self::Decimal(value) => Some(Number::Decimal(*value)),
            Self::Str(text) => numeric_text(text).map(Number::Decimal),
            _ => None,
        }
    }

    /// The Int this is where an Int is wanted: a Decimal is rounded down, what a String spells is cut (spec 2.2).
    pub(crate) fn int(&self) -> Option<i128> {
        let number = self.number()?;
        match self {
            Self::Str(_) if number.decimal().sign() < 0 => number.decimal().ceil(),
            _ => number.floor(),
        }
    }

    /// The Boolean this is, or that a String spells in any case.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Str(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::Str(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// The standard string form; Null and Undefined have none.
    pub(crate) fn text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Undefined | Self::Null => return None,
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            // Most Ints are short, and printing 64 bits is several times cheaper than 128.
            Self::Int(value) => Cow::Owned(
                i64::try_from(*value).map_or_else(|_| value.to_string(), |value| value.to_string()),
            ),
            Self::Decimal(value) => Cow::Owned(value.to_string()),
            Self::Str(text) => Cow::Borrowed(text),
            Self::Array(_) | Self::Object(_) => Cow::Owned(self.to_json()),
        })
    }

    /// The language's `=`: numbers by value, everything else only within its kind. `None` when
    /// either side is Undefined.
    pub(crate) fn equals(&self, other: &Self) -> Option<bool> {
        if self.is_undefined() || other.is_undefined() {
            return None;
        }
        Some(self.same(other))
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined, Self::Undefined) | (Self::Null, Self::Null) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Str(left), Self::Str(right)) => left == right,
            (Self::Int(left), Self::Int(right)) => left == right,
            (Self::Int(_) | Self::Decimal(_), Self::Int(_) | Self::Decimal(_)) => {
                let pair = self.number().zip(other.number());
                pair.is_some_and(|(a, b)| a.decimal().compare(b.decimal()) == Ordering::Equal)
            }
            (Self::Array(left), Self::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.same(b))
            }
            (Self::Object(left), Self::Object(right)) => {
                left.len() == right.len()
                    && left.iter().all(|(name, a)| right.get(name).is_some_and(|b| a.same(b)))
            }
            _ => false,
        }
    }

    /// About how many bytes the value takes, for the evaluator's budget.
    pub(crate) fn weight(&self) -> usize {
        const SLOT: usize = size_of::<Value>();
        match self {
            Self::Str(text) => SLOT + text.len(),
            Self::Array(items) => SLOT + items.iter().map(Self::weight).sum::<usize>(),
            Self::Object(members) => {
                SLOT + members.iter().map(|(name, value)| SLOT + name.len() + value.weight()).sum::<usize>()
            }
            _ => SLOT,
        }
    }

    /// How many items or members the value has, at least 1.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Array(items) => items.len().max(1),
            Self::Object(members) => members.len().max(1),
            _ => 1,
        }
    }

    /// About how many steps reading through the value takes, for the evaluator's budget.
    pub(crate) fn effort(&self) -> usize {
        /// How many letters are read in a step.
        const LETTERS: usize = 16;
        match self {
            Self::Str(text) => text.len() / LETTERS,
            Self::Array(items) => items.len() + items.iter().map(Self::effort).sum::<usize>(),
            Self::Object(members) => {
                members.iter().map(|(name, value)| 1 + name.len() / LETTERS + value.effort()).sum()
            }
            _ => 0,
        }
    }

    /// How long the value's JSON text is, in bytes.
    pub(crate) fn json_bytes(&self) -> usize {
        let separated = |count: usize| count.saturating_sub(1) + 2;
        match self {
            Self::Undefined | Self::Null => 4,
            Self::Array(items) => separated(items.len()) + items.iter().map(Self::json_bytes).sum::<usize>(),
            Self::Object(members) => {
                let members = members.iter().filter(|(_, value)| !value.is_undefined());
                let lengths = members.map(|(name, value)| text_bytes(name) + 1 + value.json_bytes());
                let (count, sum) = lengths.fold((0, 0), |(count, sum), length| (count + 1, sum + length));
                separated(count) + sum
            }
            Self::Str(text) => text_bytes(text),
            Self::Bool(_) | Self::Int(_) | Self::Decimal(_) => self.to_json().len(),
        }
    }

    /// Compact JSON text. Undefined members are left out, an Undefined item or a bare Undefined is null.
    pub(crate) fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Undefined | Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => push_display(out, value),
            Self::Decimal(value) => push_display(out, value),
            Self::Str(text) => write_json_text(text, out),
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                let mut first = true;
                for (name, value) in members.iter().filter(|(_, value)| !value.is_undefined()) {
                    if !std::mem::take(&mut first) {
                        out.push(',');
                    }
                    write_json_text(name, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

fn push_display(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to a String cannot fail");
}

/// How long a text is as JSON.
fn text_bytes(text: &str) -> usize {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
        0..0x20 => 5,
        _ => 0,
    });
    2 + text.len() + escaped.sum::<usize>()
}

fn write_json_text(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                write!(out, "\\u{:04x}", u32::from(control)).expect("writing to a String cannot fail");
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

/// Reads text as `^-?\d+(\.\d+)?((?i)E-?\d+)?$`, the only spelling the conversion knows (spec 2.2).
pub(crate) fn numeric_text(text: &str) -> Option<Decimal> {
    /// Far more digits than a number of 34 with an exponent of 999 can need.
    const BYTES_MAX: usize = 4_096;
    let signed_exponent = || text.contains("E+") || text.contains("e+");
    if text.len() > BYTES_MAX || signed_exponent() { None } else { Decimal::parse(text) }
}

/// The types `cast` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CastType {
    /// Decimal, Double.
    Decimal,
    /// Int, Integer.
    Int,
    /// Boolean, Bool.
    Boolean,
    /// String, Nvarchar, Text, Ntext, Varchar.
    Text,
}

impl CastType {
    /// The type called `name` in any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "decimal" | "double" => Self::Decimal,
            "int" | "integer" => Self::Int,
            "boolean" | "bool" => Self::Boolean,
            "string" | "nvarchar" | "text" | "ntext" | "varchar" => Self::Text,
            _ => return None,
        })
    }

    /// `cast(value AS self)` (spec 2.3).
    pub(crate) fn apply(self, value: &Value) -> Value {
        match self {
            Self::Decimal => match value {
                Value::Bool(flag) => Value::Decimal(if *flag { ONE } else { ZERO }),
                // An Int keeps its digits and becomes a Decimal; a version that has no whole Decimals makes
                // an Int of it again.
                _ => value.number().map(|number| Value::Decimal(number.decimal())).into(),
            },
            Self::Int => match value {
                Value::Bool(flag) => Value::Int(i128::from(*flag)),
                _ => value.number().and_then(Number::floor).map_or(Value::Undefined, Value::Int),
            },
            Self::Boolean => match value {
                Value::Int(number) => Value::Bool(*number != 0),
                Value::Decimal(number) => Value::Bool(!number.is_zero()),
                _ => value.boolean().into(),
            },
            Self::Text => value.text().map(Cow::into_owned).into(),
        }
    }
}

/// 1.0 and 0.0, what `cast` makes of a Boolean.
const ONE: Decimal = Decimal::tenths(10);
const ZERO: Decimal = Decimal::tenths(0);

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::super::payload::read_json;
    use super::*;

    #[test]
    fn only_the_documented_spelling_of_a_number_converts() {
        for text in ["5", "-5.123", "5E-12", "1e3", "007"] {
            assert!(numeric_text(text).is_some(), "{text}");
        }
        for text in ["+5", ".5", "5.", "1E+3", " 5", "5 ", "", "abc", "0x10", "1E", "--1", "NaN"] {
            assert!(numeric_text(text).is_none(), "{text}");
        }
    }

    #[test]
    fn json_text_is_compact_and_escaped() {
        let mut members = Object::default();
        members.insert("a\"b".into(), Value::Array(vec![Value::Int(1), Value::Undefined, Value::Null]));
        members.insert("gone".into(), Value::Undefined);
        members.insert("t".into(), Value::Str("x\n\u{1}\\".to_owned()));
        let text = Value::Object(Box::new(members)).to_json();
        assert_eq!(text, r#"{"a\"b":[1,null,null],"t":"x\n\u0001\\"}"#);
    }

    #[test]
    fn the_length_of_json_text_is_known_without_writing_it() {
        let texts = [
            r#"{"a\"b":[1,null,2.50],"t":"x\n\u0001é","o":{},"l":[],"n":{"x":[[true],{"y":-1E-9}]}}"#,
            "[]",
            "{}",
            r#"["\t"]"#,
        ];
        for text in texts {
            let value = read_json(text.as_bytes(), Version::V2015).expect("JSON");
            assert_eq!(value.json_bytes(), value.to_json().len(), "{text}");
        }
    }
}
