//! Evaluation: a checked query over one message gives the outgoing payload.
//!
//! Nothing here fails: what the tables do not define is Undefined. Values of the payload are lent, not
//! copied. What a rule makes anew (texts, lists, objects) is charged to a budget of
//! [`MADE_BYTES_MAX`]; a rule that exceeds it gets Undefined from there on, and
//! [`Scope::is_exhausted`] tells its caller to report the rule instead of using the result.

use std::borrow::Cow;
use std::cell::Cell;

use indexmap::IndexMap;

use crate::clock::Timestamp;
use crate::message::Message;

use super::Version;
use super::check::{Case, Expr, Item, Query, Select};
use super::number::Number;
use super::operator::Operator;
use super::payload::Payload;
use super::value::{Object, UNDEFINED, Value};

/// How many bytes of new values one rule may make from one message.
pub(crate) const MADE_BYTES_MAX: usize = 1024 * 1024;
/// How long one text may become: AWS's limit for a message (spec 6.5).
pub(crate) const TEXT_BYTES_MAX: usize = 128 * 1024;

/// A value lent by the payload or the query, or made by the evaluation.
pub(crate) type Operand<'a> = Cow<'a, Value>;

/// The members of an outgoing object: names differ, no value is Undefined.
pub(crate) type Members<'a> = Vec<(Cow<'a, str>, Operand<'a>)>;

/// Members while later ones may still replace earlier ones.
type Draft<'a> = IndexMap<Cow<'a, str>, Operand<'a>>;

/// What one evaluation sees.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    message: &'a Message,
    payload: &'a Payload<'a>,
    root: &'a Value,
    topic: &'a str,
    version: Version,
    account_id: &'a str,
    budget: Cell<usize>,
    exhausted: Cell<bool>,
}

/// The outgoing payload.
#[derive(Debug)]
pub(crate) enum Output<'a> {
    /// An object, by its members.
    Object(Members<'a>),
    /// The payload's bytes, which are no JSON (`SELECT *`).
    Bytes,
    /// Any other value (`SELECT VALUE`, or `SELECT *` of an array).
    Value(Operand<'a>),
}

/// An Undefined that belongs to nobody.
pub(super) const fn undefined<'a>() -> Operand<'a> {
    Cow::Borrowed(&UNDEFINED)
}

impl<'a> Scope<'a> {
    /// A scope for one rule and one message. `topic` is the part of the topic the rule may see.
    pub(crate) fn new(
        message: &'a Message,
        payload: &'a Payload<'a>,
        topic: &'a str,
        version: Version,
        account_id: &'a str,
    ) -> Self {
        Self {
            message,
            payload,
            root: payload.document(version).value(),
            topic,
            version,
            account_id,
            budget: Cell::new(MADE_BYTES_MAX),
            exhausted: Cell::new(false),
        }
    }

    pub(crate) const fn message(&self) -> &'a Message {
        self.message
    }

    /// The processing time.
    pub(crate) const fn received(&self) -> Timestamp {
        self.message.received
    }

    pub(super) const fn payload(&self) -> &'a Payload<'a> {
        self.payload
    }

    pub(super) const fn topic(&self) -> &'a str {
        self.topic
    }

    pub(super) const fn version(&self) -> Version {
        self.version
    }

    pub(super) const fn account_id(&self) -> &'a str {
        self.account_id
    }

    /// What `look` finds when attributes are those of `root` instead of the payload's. What it makes is
    /// charged to this scope.
    pub(crate) fn with_root<'b, T>(&self, root: &'b Value, look: impl FnOnce(&Scope<'b>) -> T) -> T
    where
        'a: 'b,
    {
        let inner = Scope {
            message: self.message,
            payload: self.payload,
            root,
            topic: self.topic,
            version: self.version,
            account_id: self.account_id,
            budget: self.budget.clone(),
            exhausted: self.exhausted.clone(),
        };
        let before = self.budget.get();
        let found = look(&inner);
        self.charge(before.saturating_sub(inner.budget.get()));
        self.exhausted.set(self.exhausted.get() || inner.exhausted.get());
        found
    }

    /// Whether the rule made more than it may, so that its result means nothing.
    pub(crate) const fn is_exhausted(&self) -> bool {
        self.exhausted.get()
    }

    /// Takes `bytes` from the budget; `false` when it is used up.
    pub(super) fn charge(&self, bytes: usize) -> bool {
        let left = self.budget.get().checked_sub(bytes).filter(|_| bytes <= MADE_BYTES_MAX);
        self.budget.set(left.unwrap_or(0));
        if left.is_none() {
            self.exhausted.set(true);
        }
        left.is_some()
    }

    /// Takes the room for a text of `bytes`; `false` when it is too long or the budget is used up.
    pub(super) fn charge_text(&self, bytes: usize) -> bool {
        if bytes > TEXT_BYTES_MAX {
            self.exhausted.set(true);
            return false;
        }
        self.charge(bytes)
    }

    /// Appends `more` to a text in the making, and takes the room for it; `false` when the text grows
    /// too long or the budget is used up.
    pub(crate) fn extend_text(&self, text: &mut String, more: &str) -> bool {
        if text.len() + more.len() > TEXT_BYTES_MAX {
            self.exhausted.set(true);
            return false;
        }
        text.push_str(more);
        self.charge(more.len())
    }

    /// Whether the query's condition holds: only `true` does.
    pub(crate) fn fires(&self, query: &'a Query) -> bool {
        query.condition.as_ref().is_none_or(|condition| matches!(*self.eval(condition), Value::Bool(true)))
    }

    /// The outgoing payload.
    pub(crate) fn output(&self, query: &'a Query) -> Output<'a> {
        match &query.select {
            Select::Payload => self.whole_payload(),
            Select::Value(expr) => match self.eval(expr) {
                Cow::Borrowed(Value::Object(members)) => Output::Object(defined(lend(members))),
                Cow::Owned(Value::Object(members)) => Output::Object(defined(give(*members))),
                value => Output::Value(value),
            },
            Select::Attributes(attributes) => Output::Object(self.attributes(attributes)),
            Select::Object(items) => Output::Object(self.object(items)),
        }
    }

    fn whole_payload(&self) -> Output<'a> {
        match self.root {
            Value::Undefined => Output::Bytes,
            Value::Object(members) => Output::Object(defined(lend(members))),
            value => Output::Value(Cow::Borrowed(value)),
        }
    }

    fn attributes(&self, attributes: &'a [(String, Expr)]) -> Members<'a> {
        let mut members = Vec::with_capacity(attributes.len());
        for (name, expr) in attributes {
            let value = self.eval(expr);
            if !value.is_undefined() {
                members.push((Cow::Borrowed(name.as_str()), value));
            }
        }
        members
    }

    fn object(&self, items: &'a [Item]) -> Members<'a> {
        let mut object = Draft::with_capacity(items.len());
        for item in items {
            match item {
                Item::Lift(expr) => match self.eval(expr) {
                    Cow::Borrowed(Value::Object(members)) => object.extend(lend(members)),
                    Cow::Owned(Value::Object(members)) => object.extend(give(*members)),
                    _ => {}
                },
                Item::Named(path, expr) => self.place(&mut object, path, self.eval(expr)),
            }
        }
        defined(object)
    }

    /// Puts `value` at `path`, making the objects in between; what stands in the way is replaced.
    fn place(&self, object: &mut Draft<'a>, path: &'a [String], value: Operand<'a>) {
        let Some((first, rest)) = path.split_first() else { return };
        let Some((last, between)) = rest.split_last() else {
            object.insert(Cow::Borrowed(first), value);
            return;
        };
        if value.is_undefined() || !self.charge(value.weight()) {
            return;
        }
        let slot = object.entry(Cow::Borrowed(first)).or_insert_with(undefined);
        if matches!(slot, Cow::Borrowed(_)) && !self.charge(slot.weight()) {
            return;
        }
        let mut inner = members_of(slot.to_mut());
        for name in between {
            inner = members_of(inner.entry(name.clone()).or_insert(Value::Undefined));
        }
        inner.insert(last.clone(), value.into_owned());
    }

    /// The value of `expr`.
    pub(crate) fn eval(&self, expr: &'a Expr) -> Operand<'a> {
        match expr {
            Expr::Literal(value) => Cow::Borrowed(value),
            Expr::Payload => Cow::Borrowed(self.root),
            Expr::Path(names) => Cow::Borrowed(walk(self.root, names)),
            Expr::Member(inner, names) => match self.eval(inner) {
                Cow::Borrowed(value) => Cow::Borrowed(walk(value, names)),
                Cow::Owned(value) => Cow::Owned(walk(&value, names).clone()),
            },
            Expr::Not(inner) => Cow::Owned(self.eval(inner).boolean().map(|value| !value).into()),
            Expr::Negate(inner) => {
                let zero = Value::Int(0);
                Cow::Owned(Operator::Minus.apply(&zero, &self.eval(inner), self.version))
            }
            Expr::Chain(first, links) => links.iter().fold(self.eval(first), |left, (operator, right)| {
                Cow::Owned(self.operate(*operator, &left, &self.eval(right)))
            }),
            Expr::Case(case) => self.case(case),
            Expr::Call(call, arguments) => {
                let arguments = arguments.iter().map(|argument| self.eval(argument)).collect();
                call(arguments, self)
            }
            Expr::Cast(inner, kind) => {
                let value = kind.apply(&self.eval(inner));
                match value {
                    Value::Decimal(decimal) => Cow::Owned(self.version.value(Number::Decimal(decimal))),
                    Value::Str(text) => self.text(text),
                    value => Cow::Owned(value),
                }
            }
            Expr::Object(members) => self.object_literal(members),
            Expr::Array(items) => self.array_literal(items),
        }
    }

    fn operate(&self, operator: Operator, left: &Value, right: &Value) -> Value {
        let texts = matches!(left, Value::Str(_)) || matches!(right, Value::Str(_));
        if operator != Operator::Plus || !texts {
            return operator.apply(left, right, self.version);
        }
        let Some((left, right)) = left.text().zip(right.text()) else { return Value::Undefined };
        if self.charge_text(left.len() + right.len()) {
            Value::Str([left, right].concat())
        } else {
            Value::Undefined
        }
    }

    fn case(&self, case: &'a Case) -> Operand<'a> {
        let selector = self.eval(&case.selector);
        if selector.is_undefined() {
            return undefined();
        }
        let arm = case.arms.iter().find(|(wanted, _)| selector.equals(&self.eval(wanted)) == Some(true));
        match (arm, &case.otherwise) {
            (Some((_, result)), _) => self.eval(result),
            (None, Some(otherwise)) => self.eval(otherwise),
            (None, None) => undefined(),
        }
    }

    /// A text made by a function, charged to the budget.
    pub(super) fn text(&self, text: impl Into<Cow<'a, str>>) -> Operand<'a> {
        let text = text.into();
        if self.charge_text(text.len()) { Cow::Owned(Value::Str(text.into_owned())) } else { undefined() }
    }

    /// An array made by the evaluation, charged to the budget; an Undefined item becomes null.
    pub(super) fn array(&self, items: impl Iterator<Item = Operand<'a>>) -> Operand<'a> {
        let mut array = Vec::new();
        for item in items {
            if !self.charge(item.weight()) {
                return undefined();
            }
            array.push(if item.is_undefined() { Value::Null } else { item.into_owned() });
        }
        Cow::Owned(Value::Array(array))
    }

    fn array_literal(&self, items: &'a [Expr]) -> Operand<'a> {
        self.array(items.iter().map(|item| self.eval(item)))
    }

    fn object_literal(&self, members: &'a [(String, Expr)]) -> Operand<'a> {
        let mut object = Object::with_capacity(members.len());
        for (name, expr) in members {
            let value = self.eval(expr);
            if !self.charge(name.len() + value.weight()) {
                return undefined();
            }
            if !value.is_undefined() {
                object.insert(name.clone(), value.into_owned());
            }
        }
        Cow::Owned(Value::Object(Box::new(object)))
    }
}

fn walk<'v>(mut value: &'v Value, names: &[String]) -> &'v Value {
    for name in names {
        value = value.member(name);
    }
    value
}

fn lend(members: &Object) -> impl Iterator<Item = (Cow<'_, str>, Operand<'_>)> {
    members.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), Cow::Borrowed(value)))
}

fn give<'a>(members: Object) -> impl Iterator<Item = (Cow<'a, str>, Operand<'a>)> {
    members.into_iter().map(|(name, value)| (Cow::Owned(name), Cow::Owned(value)))
}

fn defined<'a>(members: impl IntoIterator<Item = (Cow<'a, str>, Operand<'a>)>) -> Members<'a> {
    members.into_iter().filter(|(_, value)| !value.is_undefined()).collect()
}

/// The members of `value`, which becomes an empty object if it is none.
fn members_of(value: &mut Value) -> &mut Object {
    if !matches!(value, Value::Object(_)) {
        *value = Value::Object(Box::default());
    }
    match value {
        Value::Object(members) => members,
        _ => unreachable!("the line above made it an object"),
    }
}
