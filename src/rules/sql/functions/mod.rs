//! The functions of spec section 3, found by name once, when a rule is loaded.
//!
//! A function gets its arguments evaluated and answers Undefined for what its table does not list.
//! Conversion classes are the specification's: N1 takes numbers and numeric strings, S takes
//! everything with a string form.

mod base64;
mod collection;
mod context;
mod number;
mod text;

pub(crate) use base64::encode as to_base64;

use std::ops::RangeInclusive;

use super::eval::{Operand, Scope};
use super::query::Expr;
use super::value::Value;

/// A function's code.
pub(crate) type Call = for<'a> fn(Vec<Operand<'a>>, &Scope<'a>) -> Operand<'a>;

/// A function of the language.
#[derive(Debug)]
pub(super) struct Function {
    name: &'static str,
    /// How many arguments it takes.
    pub(super) arity: RangeInclusive<usize>,
    /// Whether 2015-10-08 lacks it.
    pub(super) since_2016: bool,
    /// Its code.
    pub(super) call: Call,
}

/// What a name means.
pub(super) enum Lookup {
    /// A function.
    Found(&'static Function),
    /// A function AWS has and this version of Tidemill has not.
    NotYet,
    /// Nothing.
    Unknown,
}

/// A function of 2015-10-08.
const fn old(name: &'static str, arity: RangeInclusive<usize>, call: Call) -> Function {
    Function { name, arity, since_2016: false, call }
}

/// A function that came with 2016-03-23.
const fn new(name: &'static str, arity: RangeInclusive<usize>, call: Call) -> Function {
    Function { name, arity, since_2016: true, call }
}

/// Functions of AWS IoT SQL that are refused when a rule is loaded: they need chance, a hash, a regular
/// expression, a calendar, a certificate, or another AWS service.
const NOT_YET: [&str; 23] = [
    "aws_lambda",
    "get_dynamodb",
    "get_registry_data",
    "get_secret",
    "get_thing_shadow",
    "machinelearning_predict",
    "md2",
    "md5",
    "newuuid",
    "parse_time",
    "principal",
    "rand",
    "regexp_matches",
    "regexp_replace",
    "regexp_substr",
    "sha1",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "time_to_epoch",
    "traceid",
    "transform",
];

const MANY: usize = usize::MAX;

/// Every function, sorted by name.
static FUNCTIONS: &[Function] = &[
    old("abs", 1..=1, number::abs),
    old("accountid", 0..=0, context::accountid),
    old("acos", 1..=1, number::acos),
    old("asin", 1..=1, number::asin),
    old("atan", 1..=1, number::atan),
    old("atan2", 2..=2, number::atan2),
    old("bitand", 2..=2, number::bitand),
    old("bitnot", 1..=1, number::bitnot),
    old("bitor", 2..=2, number::bitor),
    old("bitxor", 2..=2, number::bitxor),
    old("ceil", 1..=1, number::ceil),
    old("chr", 1..=1, text::chr),
    old("clientid", 0..=0, context::clientid),
    old("concat", 0..=MANY, collection::concat),
    old("cos", 1..=1, number::cos),
    old("cosh", 1..=1, number::cosh),
    new("decode", 2..=2, text::decode),
    new("encode", 2..=2, text::encode),
    old("endswith", 2..=2, text::endswith),
    old("exp", 1..=1, number::exp),
    old("floor", 1..=1, number::floor),
    old("get", 2..=2, collection::get),
    old("get_mqtt_property", 1..=1, context::get_mqtt_property),
    new("get_or_default", 1..=2, collection::get_or_default),
    old("get_user_properties", 0..=1, context::get_user_properties),
    new("indexof", 2..=2, text::indexof),
    old("isnull", 1..=1, collection::isnull),
    new("isundefined", 1..=1, collection::isundefined),
    new("length", 1..=1, text::length),
    old("ln", 1..=1, number::ln),
    old("log", 1..=1, number::log),
    old("lower", 1..=1, text::lower),
    old("lpad", 2..=2, text::lpad),
    old("ltrim", 1..=1, text::ltrim),
    old("mod", 2..=2, number::remainder),
    old("nanvl", 2..=2, collection::nanvl),
    new("numbytes", 1..=1, text::numbytes),
    old("power", 2..=2, number::power),
    old("remainder", 2..=2, number::remainder),
    old("replace", 3..=3, text::replace),
    old("round", 1..=1, number::round),
    old("rpad", 2..=2, text::rpad),
    old("rtrim", 1..=1, text::rtrim),
    old("sign", 1..=1, number::sign),
    old("sin", 1..=1, number::sin),
    old("sinh", 1..=1, number::sinh),
    new("sourceip", 0..=0, context::sourceip),
    old("sql_version", 0..=0, context::sql_version),
    old("sqrt", 1..=1, number::sqrt),
    old("startswith", 2..=2, text::startswith),
    old("substring", 2..=3, text::substring),
    old("tan", 1..=1, number::tan),
    old("tanh", 1..=1, number::tanh),
    old("timestamp", 0..=0, context::timestamp),
    old("topic", 0..=1, context::topic),
    old("trim", 1..=1, text::trim),
    old("trunc", 2..=2, number::trunc),
    old("upper", 1..=1, text::upper),
];

/// Finds the function `name`, which is in lower case, for a call with these arguments.
pub(super) fn lookup(name: &str, arguments: &[Expr]) -> Lookup {
    let proto = match arguments.get(1) {
        Some(Expr::Literal(Value::Str(scheme))) => name == "decode" && scheme.eq_ignore_ascii_case("proto"),
        _ => false,
    };
    if proto || NOT_YET.contains(&name) {
        return Lookup::NotYet;
    }
    match FUNCTIONS.binary_search_by(|function| function.name.cmp(name)) {
        Ok(found) => Lookup::Found(&FUNCTIONS[found]),
        Err(_) => Lookup::Unknown,
    }
}

impl Function {
    /// The arity in words: `1 argument`, `2 to 3 arguments`.
    pub(super) fn arity_words(&self) -> String {
        let (low, high) = (self.arity.start(), self.arity.end());
        match (low, high) {
            (0, 0) => "no arguments".to_owned(),
            (1, 1) => "1 argument".to_owned(),
            (low, high) if low == high => format!("{low} arguments"),
            (low, high) => format!("{low} to {high} arguments"),
        }
    }
}

/// The first argument; Undefined when the checker let none through.
fn first<'a>(arguments: Vec<Operand<'a>>) -> Operand<'a> {
    arguments.into_iter().next().unwrap_or_else(super::eval::undefined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_knows_no_name_twice() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert!(FUNCTIONS.iter().all(|function| !NOT_YET.contains(&function.name)));
    }
}
