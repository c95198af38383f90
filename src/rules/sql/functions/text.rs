//! Functions on strings. Characters are Unicode code points.

use std::borrow::Cow;

use super::{Operand, Scope, Value, first};
use crate::rules::sql::eval::undefined;
use crate::rules::sql::number::Number;

/// The most spaces lpad and rpad add.
const PADDING_MAX: u32 = 1_000;

/// The string form of the only argument, as class S has it, and what `apply` makes of it.
fn mapped<'a>(
    arguments: Vec<Operand<'a>>,
    scope: &Scope<'a>,
    apply: impl Fn(&str) -> Cow<'_, str>,
) -> Operand<'a> {
    let argument = first(arguments);
    match argument.text() {
        Some(text) => scope.text(apply(&text).into_owned()),
        None => undefined(),
    }
}

/// The string forms of two arguments and a test on them.
fn test<'a>(arguments: &[Operand<'a>], apply: impl Fn(&str, &str) -> Value) -> Operand<'a> {
    Cow::Owned(match arguments {
        [left, right] => match left.text().zip(right.text()) {
            Some((left, right)) => apply(&left, &right),
            None => Value::Undefined,
        },
        _ => Value::Undefined,
    })
}

fn measured<'a>(arguments: Vec<Operand<'a>>, apply: impl Fn(&str) -> usize) -> Operand<'a> {
    let length = first(arguments).text().map(|text| apply(&text));
    Cow::Owned(length.map_or(Value::Undefined, count))
}

fn count(length: usize) -> Value {
    i128::try_from(length).map_or(Value::Undefined, Value::Int)
}

pub(super) fn upper<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    mapped(arguments, scope, |text| text.to_uppercase().into())
}

pub(super) fn lower<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    mapped(arguments, scope, |text| text.to_lowercase().into())
}

pub(super) fn trim<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    mapped(arguments, scope, |text| text.trim().into())
}

pub(super) fn ltrim<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    mapped(arguments, scope, |text| text.trim_start_matches([' ', '\t']).into())
}

pub(super) fn rtrim<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    mapped(arguments, scope, |text| text.trim_end_matches([' ', '\t']).into())
}

pub(super) fn length<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    measured(arguments, |text| text.chars().count())
}

pub(super) fn numbytes<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    measured(arguments, str::len)
}

pub(super) fn startswith<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    test(&arguments, |text, part| Value::Bool(text.starts_with(part)))
}

pub(super) fn endswith<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    test(&arguments, |text, part| Value::Bool(text.ends_with(part)))
}

/// The first place of the second text in the first, counted from 0; -1 when it is not there.
pub(super) fn indexof<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    test(&arguments, |text, part| match text.find(part) {
        Some(at) => count(text[..at].chars().count()),
        None => Value::Int(-1),
    })
}

/// Adds n spaces; n is not the final width.
fn padded<'a>(arguments: &[Operand<'a>], scope: &Scope<'a>, left: bool) -> Operand<'a> {
    let [value, spaces] = arguments else { return undefined() };
    let Some((text, spaces)) = value.text().zip(spaces.number()) else { return undefined() };
    let spaces = " ".repeat(usize::try_from(spaces.floor_within(0, PADDING_MAX)).unwrap_or(0));
    scope.text(if left { spaces + &text } else { text.into_owned() + &spaces })
}

pub(super) fn lpad<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    padded(&arguments, scope, true)
}

pub(super) fn rpad<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    padded(&arguments, scope, false)
}

/// substring(s, start[, end]): counted from 0, end exclusive, both moved into the text.
pub(super) fn substring<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    let Some(text) = arguments.first().and_then(|value| value.text()) else { return undefined() };
    let place = |number: Number| usize::try_from(number.floor_within(0, u32::MAX)).unwrap_or(usize::MAX);
    let Some(start) = arguments.get(1).and_then(|value| value.number()).map(place) else {
        return undefined();
    };
    let end = match arguments.get(2) {
        None => usize::MAX,
        Some(value) => match value.number() {
            Some(number) => place(number),
            None => return undefined(),
        },
    };
    let cut: String = text.chars().skip(start).take(end.saturating_sub(start)).collect();
    scope.text(cut)
}

/// replace(s, part, with): every occurrence, found from the left. The result's size is known before
/// it is made.
pub(super) fn replace<'a>(arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
    let [text, part, with] = arguments.as_slice() else { return undefined() };
    let (Some(text), Some(part), Some(with)) = (text.text(), part.text(), with.text()) else {
        return undefined();
    };
    let found = text.matches(&*part).count();
    let size = (text.len() - found * part.len()).saturating_add(found.saturating_mul(with.len()));
    if scope.charge_text(size) { Cow::Owned(Value::Str(text.replace(&*part, &with))) } else { undefined() }
}

/// The ASCII character of a code.
pub(super) fn chr<'a>(arguments: Vec<Operand<'a>>, _: &Scope<'a>) -> Operand<'a> {
    let code = first(arguments).number().and_then(Number::floor).and_then(|code| u8::try_from(code).ok());
    let letter = code.filter(u8::is_ascii).map(|code| char::from(code).to_string());
    Cow::Owned(letter.into())
}
