//! The functions of spec section 3, found by name once, when a rule is loaded.
//!
//! A function gets its arguments evaluated and answers Undefined for what its table does not list.
//! Conversion classes are the specification's: N1 takes numbers and numeric strings, S takes
//! everything with a string form. What can be prepared when a rule is loaded (patterns, descriptors,
//! secrets) is: see [`Prepared`].

mod chance;
mod collection;
mod context;
mod hash;
mod java_regex;
mod lambda;
mod number;
mod proto;
mod proto_json;
mod regexp;
mod secret;
mod text;
mod time_format;
mod time_parse;
mod time_pattern;
mod time_resolve;
mod transfer;
mod zone;
mod zone_names;

pub(crate) use chance::trace_id;
pub(crate) use transfer::to_base64;

use std::fmt;
use std::ops::RangeInclusive;

use super::super::stand_ins::StandIns;
use super::eval::{Operand, Scope};
use super::query::Expr;
use super::value::Value;

/// The code of a function whose arguments are evaluated first.
pub(crate) type Plain = for<'a> fn(Vec<Operand<'a>>, &Scope<'a>) -> Operand<'a>;

/// The code of a function that decides itself which arguments are evaluated.
pub(crate) type Lazy = for<'a> fn(&'a [Expr], &Scope<'a>) -> Operand<'a>;

/// A function made ready for one place in a statement.
pub(crate) trait Prepared: fmt::Debug + Send + Sync {
    /// The function's value.
    fn run<'a>(&'a self, arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a>;
}

/// Makes a function ready for these arguments. The error is a sentence without a period.
type Prepare = fn(&[Expr], &mut Binder<'_>) -> Result<Box<dyn Prepared>, String>;

/// A function bound to its place in a statement.
#[derive(Debug)]
pub(crate) enum Call {
    /// Arguments first.
    Plain(Plain),
    /// Arguments when it wants them.
    Lazy(Lazy),
    /// Arguments first, with what was prepared for them.
    Prepared(Box<dyn Prepared>),
}

impl Call {
    /// The value of the call; one that evaluates its arguments itself has none here.
    pub(super) fn run<'a>(&'a self, arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
        match self {
            Self::Plain(code) => code(arguments, scope),
            Self::Prepared(prepared) => prepared.run(arguments, scope),
            Self::Lazy(_) => super::eval::undefined(),
        }
    }
}

/// What binding knows about the text around a call.
#[derive(Debug)]
pub(super) struct Binder<'f> {
    stand_ins: &'f StandIns,
    in_template: bool,
    protos: usize,
    /// Whether a call bound so far asks others for its value.
    pub(super) asks: bool,
}

impl<'f> Binder<'f> {
    /// For a statement.
    pub(super) const fn statement(stand_ins: &'f StandIns) -> Self {
        Self { stand_ins, in_template: false, protos: 0, asks: false }
    }

    /// Whether the expression stands in a substitution template.
    pub(super) const fn is_template(&self) -> bool {
        self.in_template
    }

    /// For an expression in a substitution template.
    pub(super) const fn template(stand_ins: &'f StandIns) -> Self {
        Self { stand_ins, in_template: true, protos: 0, asks: false }
    }
}

#[derive(Debug, Clone, Copy)]
enum Code {
    Plain(Plain),
    Lazy(Lazy),
    Prepared(Prepare),
}

/// A function of the language.
#[derive(Debug)]
pub(super) struct Function {
    name: &'static str,
    /// How many arguments it takes.
    pub(super) arity: RangeInclusive<usize>,
    /// Whether 2015-10-08 lacks it.
    pub(super) since_2016: bool,
    code: Code,
}

/// What a name means.
pub(super) enum Lookup {
    /// A function.
    Found(&'static Function),
    /// A function AWS answers from a service that is not here; the end of a sentence says which.
    Elsewhere(&'static str),
    /// Nothing.
    Unknown,
}

/// A function of 2015-10-08.
const fn old(name: &'static str, arity: RangeInclusive<usize>, call: Plain) -> Function {
    Function { name, arity, since_2016: false, code: Code::Plain(call) }
}

/// A function that came with 2016-03-23.
const fn new(name: &'static str, arity: RangeInclusive<usize>, call: Plain) -> Function {
    Function { name, arity, since_2016: true, code: Code::Plain(call) }
}

const fn lazy(name: &'static str, arity: RangeInclusive<usize>, call: Lazy) -> Function {
    Function { name, arity, since_2016: true, code: Code::Lazy(call) }
}

const fn prepared(
    name: &'static str,
    arity: RangeInclusive<usize>,
    since_2016: bool,
    prepare: Prepare,
) -> Function {
    Function { name, arity, since_2016, code: Code::Prepared(prepare) }
}

/// Functions of AWS IoT SQL that are refused when a rule is loaded, and why.
const ELSEWHERE: [(&str, &str); 4] = [
    (
        "get_dynamodb",
        "reads Amazon DynamoDB while the rule is evaluated, and rules here do no I/O: put what it would look up into the message or join it when querying",
    ),
    (
        "get_registry_data",
        "reads the AWS IoT registry, and there is none here: put what it would look up into the message or join it when querying",
    ),
    (
        "get_thing_shadow",
        "reads AWS IoT device shadows, and there are none here: put what it would look up into the message",
    ),
    ("machinelearning_predict", "calls Amazon Machine Learning, which AWS closed to new users"),
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
    prepared("aws_lambda", 2..=2, false, lambda::prepare),
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
    prepared("decode", 2..=6, true, transfer::prepare_decode),
    new("encode", 2..=2, transfer::encode),
    old("endswith", 2..=2, text::endswith),
    old("exp", 1..=1, number::exp),
    old("floor", 1..=1, number::floor),
    old("get", 2..=2, collection::get),
    old("get_mqtt_property", 1..=1, context::get_mqtt_property),
    lazy("get_or_default", 1..=2, collection::get_or_default),
    prepared("get_secret", 3..=4, false, secret::prepare),
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
    old("md2", 1..=1, hash::md2),
    old("md5", 1..=1, hash::md5),
    old("mod", 2..=2, number::remainder),
    old("nanvl", 2..=2, collection::nanvl),
    old("newuuid", 0..=0, chance::newuuid),
    new("numbytes", 1..=1, text::numbytes),
    prepared("parse_time", 2..=3, true, time_format::prepare),
    old("power", 2..=2, number::power),
    old("principal", 0..=0, context::principal),
    old("rand", 0..=0, chance::rand),
    prepared("regexp_matches", 2..=2, false, regexp::prepare_matches),
    prepared("regexp_replace", 3..=3, false, regexp::prepare_replace),
    prepared("regexp_substr", 2..=2, false, regexp::prepare_substr),
    old("remainder", 2..=2, number::remainder),
    old("replace", 3..=3, text::replace),
    old("round", 1..=1, number::round),
    old("rpad", 2..=2, text::rpad),
    old("rtrim", 1..=1, text::rtrim),
    old("sha1", 1..=1, hash::sha1),
    old("sha224", 1..=1, hash::sha224),
    old("sha256", 1..=1, hash::sha256),
    old("sha384", 1..=1, hash::sha384),
    old("sha512", 1..=1, hash::sha512),
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
    prepared("time_to_epoch", 2..=2, true, time_parse::prepare),
    old("timestamp", 0..=0, context::timestamp),
    old("topic", 0..=1, context::topic),
    old("traceid", 0..=0, chance::traceid),
    new("transform", 3..=3, collection::transform),
    old("trim", 1..=1, text::trim),
    old("trunc", 2..=2, number::trunc),
    old("upper", 1..=1, text::upper),
];

/// Finds the function `name`, which is in lower case.
pub(super) fn lookup(name: &str) -> Lookup {
    if let Some((_, reason)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name) {
        return Lookup::Elsewhere(reason);
    }
    match FUNCTIONS.binary_search_by(|function| function.name.cmp(name)) {
        Ok(found) => Lookup::Found(&FUNCTIONS[found]),
        Err(_) => Lookup::Unknown,
    }
}

/// The names of all functions, each with whether 2015-10-08 lacks it.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = (&'static str, bool)> {
    FUNCTIONS.iter().map(|function| (function.name, function.since_2016))
}

/// The names of those that are refused.
#[cfg(test)]
pub(crate) fn names_elsewhere() -> impl Iterator<Item = &'static str> {
    ELSEWHERE.iter().map(|(name, _)| *name)
}

impl Function {
    /// Binds the function to its arguments in a statement or template. The error is a sentence without
    /// a period.
    pub(super) fn bind(&self, arguments: &[Expr], binder: &mut Binder<'_>) -> Result<Call, String> {
        Ok(match self.code {
            Code::Plain(code) => Call::Plain(code),
            Code::Lazy(code) => Call::Lazy(code),
            Code::Prepared(prepare) => Call::Prepared(prepare(arguments, binder)?),
        })
    }

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

/// The text of a literal argument.
fn literal(arguments: &[Expr], place: usize) -> Option<&str> {
    match arguments.get(place) {
        Some(Expr::Literal(Value::Str(text))) => Some(text),
        _ => None,
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
        let known = |name: &str| FUNCTIONS.iter().any(|function| function.name == name);
        assert!(ELSEWHERE.iter().all(|(name, _)| !known(name)));
    }
}
