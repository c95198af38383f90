//! The checked query: every name resolved, nothing left that could be wrong. It cannot fail to evaluate.

use crate::topic::TopicFilter;

use super::Version;
use super::error::SqlError;
use super::functions::Call;
use super::operator::Operator;
use super::value::{CastType, Name, Value};

/// A checked statement.
#[derive(Debug)]
pub(crate) struct Query {
    /// The version whose rules apply.
    pub(crate) version: Version,
    /// What SET names, in the order of the statement.
    pub(crate) variables: Vec<Variable>,
    /// What the outgoing payload is made of.
    pub(crate) select: Select,
    /// The topics the rule listens to; `None` for rules reached by Basic Ingest alone.
    pub(crate) from: Option<TopicFilter>,
    /// The condition; `None` always fires.
    pub(crate) condition: Option<Expr>,
    /// What is legal and hardly meant.
    pub(crate) remarks: Vec<SqlError>,
}

/// `@name = expression`.
#[derive(Debug)]
pub(crate) struct Variable {
    /// The name, without the `@`.
    pub(crate) name: String,
    /// Its value, which sees the message and earlier variables.
    pub(crate) expr: Expr,
}

/// What SELECT yields.
#[derive(Debug)]
pub(crate) enum Select {
    /// `SELECT *` alone: the payload, whatever it is.
    Payload,
    /// `SELECT VALUE expression`.
    Value(Expr),
    /// An object of attributes whose names all differ.
    Attributes(Vec<(Name, Expr)>),
    /// An object made of these items, in order; a later one replaces an earlier one of its name.
    Object(Vec<Item>),
}

/// One item of a SELECT list.
#[derive(Debug)]
pub(crate) enum Item {
    /// The members of an object, lifted to the top: `*`, `path.*`, an object without an alias.
    Lift(Expr),
    /// One attribute; more than one name nests.
    Named(Vec<Name>, Expr),
}

/// A checked expression.
#[derive(Debug)]
pub(crate) enum Expr {
    /// A value known at load time.
    Literal(Value),
    /// `*`: the whole payload, or in a nested SELECT the element.
    Payload,
    /// An attribute, by its path.
    Path(Vec<String>),
    /// A variable of SET, and a path into it.
    Variable(String, Vec<String>),
    /// A member of a computed value.
    Member(Box<Expr>, Vec<String>),
    /// `NOT x`.
    Not(Box<Expr>),
    /// `-x`.
    Negate(Box<Expr>),
    /// `first op x op y …`, evaluated from the left.
    Chain(Box<Expr>, Vec<(Operator, Expr)>),
    /// `CASE selector WHEN … THEN … ELSE … END`.
    Case(Box<Case>),
    /// A function and its arguments.
    Call(Called, Vec<Expr>),
    /// `cast(x AS type)`.
    Cast(Box<Expr>, CastType),
    /// `{'name': expression}`.
    Object(Vec<(Name, Expr)>),
    /// `[expression]`.
    Array(Vec<Expr>),
    /// `(SELECT … FROM source …)`.
    Nested(Box<Nested>),
    /// `EXISTS (SELECT … FROM source …)`.
    Exists(Box<Nested>),
}

/// The parts of a CASE.
#[derive(Debug)]
pub(crate) struct Case {
    /// What the arms are compared with.
    pub(crate) selector: Expr,
    /// What to equal, and what to yield then.
    pub(crate) arms: Vec<(Expr, Expr)>,
    /// What to yield when no arm matches.
    pub(crate) otherwise: Option<Expr>,
}

/// The function of a call.
#[derive(Debug)]
pub(crate) struct Called {
    /// Its code.
    pub(crate) call: Call,
    /// Whether it takes lists and objects without reading them through, so that they cost nothing.
    pub(crate) glances: bool,
}

/// A SELECT inside an expression.
#[derive(Debug)]
pub(crate) struct Nested {
    /// What each element becomes.
    pub(crate) select: Select,
    /// What the elements come from.
    pub(crate) source: Expr,
    /// The name of the element.
    pub(crate) alias: Option<String>,
    /// Which elements count.
    pub(crate) condition: Option<Expr>,
}
