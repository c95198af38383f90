//! Functions on collections, and tests for the absent (spec 3.3).

use std::borrow::Cow;
use std::sync::Arc;

use super::{Expr, Operand, Scope, Value, first};
use crate::rules::sql::eval::undefined;

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
    let place = || key.int().and_then(|place| usize::try_from(place).ok());
    let found = match collection {
        Value::Array(items) => place().and_then(|place| items.get(place)).map(Picked::Lent),
        Value::Str(text) => place().and_then(|place| text.chars().nth(place)).map(Picked::Letter),
        Value::Object(members) => match key {
            Value::Str(name) => members.get(name.as_str()).map(Picked::Lent),
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

/// The first argument, or the second (Undefined without one) when the first is Undefined or Null, or
/// fails: a function that others run, or a regular expression that costs too much.
pub(super) fn get_or_default<'a>(arguments: &'a [Expr], scope: &Scope<'a>) -> Operand<'a> {
    let before = scope.run.swap_failure(None);
    let value = arguments.first().map_or_else(undefined, |argument| scope.eval(argument));
    let failed = scope.run.swap_failure(before).is_some();
    match *value {
        Value::Undefined | Value::Null => {}
        _ if failed => {}
        _ => return value,
    }
    arguments.get(1).map_or_else(undefined, |argument| scope.eval(argument))
}

/// The second argument when the first is Undefined or Null; no operation of the language yields the NaN of
/// the name.
pub(super) fn nanvl<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    let mut arguments = arguments.into_iter();
    let value = arguments.next().unwrap_or_else(undefined);
    match *value {
        Value::Undefined | Value::Null => arguments.next().unwrap_or_else(undefined),
        _ => value,
    }
}

/// transform('enrichArray', object, array): each object of the array with the members of the object; a
/// member of the object replaces one of its name.
pub(super) fn transform<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    let [mode, object, array] = arguments.as_slice() else { return undefined() };
    let (Value::Str(mode), Value::Object(extra), Value::Array(items)) = (&**mode, &**object, &**array) else {
        return undefined();
    };
    if mode != "enrichArray" || items.iter().any(|item| !matches!(item, Value::Object(_))) {
        return undefined();
    }
    // A small object times a large array is larger than either, so the room is taken first.
    let added = object.weight().saturating_mul(items.len());
    if !scope.charge(added.saturating_add(array.weight())) {
        return undefined();
    }
    let enriched = items.iter().map(|item| match item {
        Value::Object(members) => {
            let mut members = members.clone();
            members.extend(extra.iter().map(|(name, value)| (Arc::clone(name), value.clone())));
            Value::Object(members)
        }
        other => other.clone(),
    });
    let enriched = Value::Array(enriched.collect());
    // AWS's limit for what it returns (spec 3.3).
    if scope.charge_text(enriched.json_bytes()) { Cow::Owned(enriched) } else { undefined() }
}
