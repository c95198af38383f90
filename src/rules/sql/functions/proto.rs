//! decode(value, 'proto', bucket, key, file, message): protobuf to JSON (spec 3.2).
//!
//! AWS reads the descriptor set from S3; here it is a file `rules.proto_path`/bucket/key, read when the rule
//! is loaded. The value is `*`, the payload as it came, or a Base64 text; what does not decode is null.

use std::borrow::Cow;

use prost_reflect::{DescriptorPool, DynamicMessage, FileDescriptor, MessageDescriptor};

use super::transfer::from_base64;
use super::{Binder, Expr, Operand, Prepared, Scope, Value, literal, proto_json};
use crate::rules::sql::eval::undefined;

/// How often one statement may decode protobuf.
const DECODES_MAX: usize = 2;

#[derive(Debug)]
struct Proto {
    message: MessageDescriptor,
    /// Whether the value is the payload's bytes.
    payload: bool,
}

pub(super) fn prepare(arguments: &[Expr], binder: &mut Binder<'_>) -> Result<Box<dyn Prepared>, String> {
    if binder.in_template {
        return Err("'proto' cannot be decoded in a template, only in the statement".to_owned());
    }
    binder.protos += 1;
    if binder.protos > DECODES_MAX {
        return Err(format!("a statement may decode 'proto' at most {DECODES_MAX} times"));
    }
    let names: Vec<&str> = (2..6).filter_map(|place| literal(arguments, place)).collect();
    let [bucket, key, file, message] = names.as_slice() else {
        let form = "write decode(value, 'proto', 'bucket', 'key', 'proto file', 'message type'), \
                    with the last four in quotes";
        return Err(form.to_owned());
    };
    let bytes = binder.stand_ins.descriptor(bucket, key)?;
    let pool = DescriptorPool::decode(bytes.as_slice()).map_err(|error| {
        format!("{bucket}/{key} is no descriptor set as protoc --include_imports writes it: {error}")
    })?;
    let message = find(&pool, file, message).map_err(|reason| format!("in {bucket}/{key} {reason}"))?;
    Ok(Box::new(Proto { message, payload: matches!(arguments.first(), Some(Expr::Payload)) }))
}

/// The message `name` of the file `file`, which may lack its ending; a message may lack its package.
fn find(pool: &DescriptorPool, file: &str, name: &str) -> Result<MessageDescriptor, String> {
    let wanted = file.strip_suffix(".proto").unwrap_or(file);
    let is_wanted = |found: &FileDescriptor| {
        let path = found.name().strip_suffix(".proto").unwrap_or_else(|| found.name());
        path == wanted || path.rsplit('/').next() == Some(wanted)
    };
    let Some(found) = pool.files().find(is_wanted) else {
        let files: Vec<String> = pool.files().map(|file| file.name().to_owned()).collect();
        return Err(format!("there is no file {file:?}; there are {}", files.join(", ")));
    };
    let full = format!("{}.{name}", found.package_name());
    let message = pool.get_message_by_name(name).or_else(|| pool.get_message_by_name(&full));
    message.filter(|message| message.parent_file().name() == found.name()).ok_or_else(|| {
        let names: Vec<String> = found.messages().map(|message| message.full_name().to_owned()).collect();
        format!("{} has no message {name:?}; it has {}", found.name(), names.join(", "))
    })
}

impl Prepared for Proto {
    fn run<'a>(&'a self, arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
        let decoded;
        // In a nested SELECT `*` is the element, not the payload.
        let bytes = if self.payload && scope.outer.is_none() {
            scope.payload().bytes()
        } else {
            let Some(Value::Str(text)) = arguments.first().map(|value| &**value) else { return undefined() };
            let Some(bytes) = from_base64(text) else { return Cow::Owned(Value::Null) };
            decoded = bytes;
            &decoded
        };
        if !scope.charge_text(bytes.len()) {
            return undefined();
        }
        let message = DynamicMessage::decode(self.message.clone(), bytes).ok();
        let value = message.and_then(|message| proto_json::value(&message, scope.version()));
        match value {
            Some(value) if scope.charge(value.weight()) => Cow::Owned(value),
            Some(_) => undefined(),
            None => Cow::Owned(Value::Null),
        }
    }
}

#[cfg(test)]
mod tests;
