//! get_secret(id, type[, key], role): a secret from a local folder (spec 3.4).
//!
//! The secret is read when the rule is loaded, so its arguments are texts in quotes. The role is AWS's
//! business and not looked at.

use std::borrow::Cow;
use std::fmt;

use super::transfer::to_base64;
use super::{Binder, Expr, Operand, Prepared, Scope, Value, literal};
use crate::rules::sql::Version;
use crate::rules::sql::eval::undefined;
use crate::rules::sql::payload::read_json;

/// A secret's value, as each reading of numbers has it.
struct Secret {
    as_written: Value,
    whole_as_int: Value,
}

/// Nobody should find a secret in a log line.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Prepared for Secret {
    fn run<'a>(&'a self, _: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
        let value = if scope.version() == Version::V2015 { &self.as_written } else { &self.whole_as_int };
        if scope.charge(value.weight()) { Cow::Borrowed(value) } else { undefined() }
    }
}

pub(super) fn prepare(arguments: &[Expr], binder: &mut Binder<'_>) -> Result<Box<dyn Prepared>, String> {
    let quoted = "its arguments are texts in quotes, because secrets are read when a rule is loaded";
    let (Some(id), Some(kind)) = (literal(arguments, 0), literal(arguments, 1)) else {
        return Err(quoted.to_owned());
    };
    let key = match arguments.len() {
        4 => Some(literal(arguments, 2).ok_or(quoted)?),
        _ => None,
    };
    let binary = match kind {
        "SecretString" => false,
        "SecretBinary" => true,
        other => return Err(format!("{other:?} is no type of secret, write SecretString or SecretBinary")),
    };
    let bytes = binder.stand_ins.secret(id)?;
    if binary {
        if key.is_some() {
            return Err("a SecretBinary has no keys".to_owned());
        }
        let text = Value::Str(to_base64(&bytes));
        return Ok(Box::new(Secret { as_written: text.clone(), whole_as_int: text }));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("the secret {id:?} is no UTF-8 text"))?;
    // Editors end a file with a line break that nobody means.
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    let read = |version| secret_value(id, text, key, version);
    Ok(Box::new(Secret { as_written: read(Version::V2015)?, whole_as_int: read(Version::V2016)? }))
}

/// The value of `key`, the whole object, or a text that is no JSON object.
fn secret_value(id: &str, text: &str, key: Option<&str>, version: Version) -> Result<Value, String> {
    let object = read_json(text.as_bytes(), version).filter(|value| matches!(value, Value::Object(_)));
    match (object, key) {
        (Some(object), None) => Ok(object),
        (None, None) => Ok(Value::Str(text.to_owned())),
        (None, Some(_)) => Err(format!("the secret {id:?} is no JSON object and so has no keys")),
        (Some(object), Some(key)) => match object.member(key) {
            Value::Undefined => Err(format!("the secret {id:?} has no key {key:?}")),
            value => Ok(value.clone()),
        },
    }
}
