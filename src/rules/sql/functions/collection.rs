//! Functions on collections, and tests for the absent (spec 3.3).

use std::borrow::Cow;

use super::{Operand, Scope, Value, first};
use crate::rules::sql::eval::undefined;
use crate::rules::sql::number::Number;

/// get(c, k): an item of an array, a character of a string, a member of an object. An object's key is
/// a String and takes no conversion.
pub(super) fn get<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    let [collection, key] = <[Operand<'a>; 2]>::try_from(arguments).unwrap_or([undefined(), undefined()]);
    match collection {
        Cow::Borrowed(collection) => match pick(collection, &key) {
            Picked::Lent(value) => Cow::Borrowed(value),
            Picked::Letter(letter) => Cow::Owned(Value::Str(letter.to_string())),
            Picked::Nothing => undefined(),
        },
        Cow::Owned(collection) => Cow::Owned(match pick(&collection, &key) {
            Picked::Lent(value) => value.clone(),
            Picked::Letter(letter) => Value::Str(letter.to_string()),
            Picked::Nothing => Value::Undefined,
        }),
    }
}

enum Picked<'v> {
    Lent(&'v Value),
    Letter(char),
    Nothing,
}

fn pick<'v>(collection: &'v Value, key: &Value) -> Picked<'v> {
    let place = || key.number().and_then(Number::floor).and_then(|place| usize::try_from(place).ok());
    let found = match collection {
        Value::Array(items) => place().and_then(|place| items.get(place)).map(Picked::Lent),
        Value::Str(text) => place().and_then(|place| text.chars().nth(place)).map(Picked::Letter),
        Value::Object(members) => match key {
            Value::Str(name) => members.get(name).map(Picked::Lent),
            _ => None,
        },
        _ => None,
    };
    found.unwrap_or(Picked::Nothing)
}

/// concat(…): with an array among the arguments one flat array, else the joined string forms.
pub(super) fn concat<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    if arguments.is_empty() || arguments.iter().any(|argument| argument.is_undefined()) {
        return undefined();
    }
    if arguments.iter().any(|argument| matches!(**argument, Value::Array(_))) {
        let items = arguments.into_iter().flat_map(|argument| match argument {
            Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
            Cow::Owned(Value::Array(items)) => items.into_iter().map(Cow::Owned).collect(),
            other => vec![other],
        });
        return scope.array(items);
    }
    let mut joined = String::new();
    for argument in &arguments {
        let Some(text) = argument.text() else { return undefined() };
        if !scope.extend_text(&mut joined, &text) {
            return undefined();
        }
    }
    Cow::Owned(Value::Str(joined))
}

pub(super) fn isnull<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    Cow::Owned(Value::Bool(matches!(*first(arguments), Value::Null)))
}

pub(super) fn isundefined<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    Cow::Owned(Value::Bool(first(arguments).is_undefined()))
}

/// The first argument, or the second (Undefined without one) when the first is Undefined or Null.
pub(super) fn get_or_default<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    let mut arguments = arguments.into_iter();
    let value = arguments.next().unwrap_or_else(undefined);
    match *value {
        Value::Undefined | Value::Null => arguments.next().unwrap_or_else(undefined),
        _ => value,
    }
}

/// As get_or_default: no operation of the language yields the NaN of the name.
pub(super) fn nanvl<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    get_or_default(arguments, scope)
}
