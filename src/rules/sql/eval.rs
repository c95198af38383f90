//! Evaluation: a checked query over one message gives the outgoing payload.
//!
//! Nothing here fails: what the tables do not define is Undefined. Values of the payload are lent, not
//! copied. What it all may cost is [`Run`]'s business; `nested` evaluates SELECTs inside expressions.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::message::Message;

use super::Version;
use super::functions::Call;
use super::number::Number;
use super::operator::Operator;
use super::payload::Payload;
use super::query::{Called, Case, Expr, Item, Query, Select};
use super::run::{Run, Site};
use super::value::{Name, Named, Object, UNDEFINED, Value, object_for};

/// How long one text may become: AWS's limit for a message (spec 6.5).
pub(crate) const TEXT_BYTES_MAX: usize = 128 * 1024;

/// A value lent by the payload or the query, or made by the evaluation.
pub(crate) type Operand<'a> = Cow<'a, Value>;

/// The members of an outgoing object: names differ, no value is Undefined.
pub(crate) type Members<'a> = Vec<(Cow<'a, Name>, Operand<'a>)>;

/// Members while later ones may still replace earlier ones.
type Draft<'a> = Named<Cow<'a, Name>, Operand<'a>>;

/// What an expression sees: the message, or in a nested SELECT an element and what is around it.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(super) run: &'a Run<'a>,
    /// Where names start: the payload, or the element.
    pub(super) root: &'a Value,
    /// The element's name.
    pub(super) alias: Option<&'a str>,
    /// What is around a nested SELECT.
    pub(super) outer: Option<&'a Self>,
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
    /// What the outermost expressions of a rule see.
    pub(crate) fn new(run: &'a Run<'a>) -> Self {
        let root = run.payload.document(run.query.version).value();
        Self { run, root, alias: None, outer: None }
    }

    pub(crate) const fn message(&self) -> &'a Message {
        self.run.message
    }

    /// The processing time.
    pub(crate) const fn received(&self) -> Timestamp {
        self.run.message.received
    }

    pub(super) const fn payload(&self) -> &'a Payload<'a> {
        self.run.payload
    }

    pub(super) const fn topic(&self) -> &'a str {
        self.run.topic
    }

    pub(super) const fn version(&self) -> Version {
        self.run.query.version
    }

    pub(super) const fn site(&self) -> Site<'a> {
        self.run.site
    }

    /// What `look` finds when attributes are those of `root` instead of the payload's.
    pub(crate) fn with_root<'b, T>(&self, root: &'b Value, look: impl FnOnce(&Scope<'b>) -> T) -> T
    where
        'a: 'b,
    {
        look(&Scope { run: self.run, root, alias: None, outer: None })
    }

    /// Takes `bytes` from the budget; `false` when it is used up.
    pub(super) fn charge(&self, bytes: usize) -> bool {
        self.run.take_bytes(bytes)
    }

    /// Takes the room for a text of `bytes`; `false` when it is too long or the budget is used up.
    pub(super) fn charge_text(&self, bytes: usize) -> bool {
        if bytes > TEXT_BYTES_MAX {
            self.run.exceed_text();
            return false;
        }
        self.charge(bytes)
    }

    /// Appends `more` to a text in the making, and takes the room for it; `false` when the text grows
    /// too long or the budget is used up.
    pub(crate) fn extend_text(&self, text: &mut String, more: &str) -> bool {
        if text.len() + more.len() > TEXT_BYTES_MAX {
            self.run.exceed_text();
            return false;
        }
        text.push_str(more);
        self.charge(more.len())
    }

    /// Whether the query's condition holds.
    pub(crate) fn fires(&self, query: &'a Query) -> bool {
        self.holds(query.condition.as_ref())
    }

    /// Whether `condition` holds: only `true` does.
    pub(super) fn holds(&self, condition: Option<&'a Expr>) -> bool {
        condition.is_none_or(|condition| matches!(*self.eval(condition), Value::Bool(true)))
    }

    /// The outgoing payload.
    pub(crate) fn output(&self, query: &'a Query) -> Output<'a> {
        match self.selected(&query.select) {
            // 2015-10-08 knows no array as an outgoing payload of its own making.
            Output::Value(value) if matches!(*value, Value::Array(_)) && self.version() == Version::V2015 => {
                match query.select {
                    Select::Value(_) => Output::Value(undefined()),
                    _ => Output::Value(value),
                }
            }
            output => output,
        }
    }

    /// What `select` makes of what this scope sees.
    pub(super) fn selected(&self, select: &'a Select) -> Output<'a> {
        match select {
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

    fn attributes(&self, attributes: &'a [(Name, Expr)]) -> Members<'a> {
        let mut members = Vec::with_capacity(attributes.len());
        for (name, expr) in attributes {
            let value = self.eval(expr);
            if !value.is_undefined() {
                members.push((Cow::Borrowed(name), value));
            }
        }
        members
    }

    fn object(&self, items: &'a [Item]) -> Members<'a> {
        let mut object = Draft::default();
        for item in items {
            match item {
                Item::Lift(expr) => match self.eval(expr) {
                    value if !self.run.take_steps(value.length()) => {}
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
    fn place(&self, object: &mut Draft<'a>, path: &'a [Name], value: Operand<'a>) {
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
            inner = members_of(inner.entry(Arc::clone(name)).or_insert(Value::Undefined));
        }
        inner.insert(Arc::clone(last), value.into_owned());
    }

    /// The value of `expr`.
    pub(crate) fn eval(&self, expr: &'a Expr) -> Operand<'a> {
        if !self.run.take_steps(1) {
            return undefined();
        }
        match expr {
            Expr::Literal(value) => Cow::Borrowed(value),
            Expr::Payload => Cow::Borrowed(self.root),
            Expr::Path(names) => Cow::Borrowed(self.named(names)),
            Expr::Variable(name, path) => self.variable(name, path),
            Expr::Member(inner, names) => match self.eval(inner) {
                Cow::Borrowed(value) => Cow::Borrowed(walk(value, names)),
                Cow::Owned(value) => Cow::Owned(walk(&value, names).clone()),
            },
            Expr::Not(inner) => Cow::Owned(self.eval(inner).boolean().map(|value| !value).into()),
            Expr::Negate(inner) => {
                let zero = Value::Int(0);
                Cow::Owned(self.operate(Operator::Minus, &zero, &self.eval(inner)))
            }
            Expr::Chain(first, links) => links.iter().fold(self.eval(first), |left, (operator, right)| {
                Cow::Owned(self.operate(*operator, &left, &self.eval(right)))
            }),
            Expr::Case(case) => self.case(case),
            Expr::Call(called, arguments) => self.call(called, arguments),
            Expr::Cast(inner, kind) => {
                let value = self.eval(inner);
                if !self.run.take_steps(value.effort()) {
                    return undefined();
                }
                match kind.apply(&value) {
                    Value::Decimal(decimal) => Cow::Owned(self.version().value(Number::Decimal(decimal))),
                    Value::Str(text) => self.text(text),
                    value => Cow::Owned(value),
                }
            }
            Expr::Object(members) => self.object_literal(members),
            Expr::Array(items) => self.array_literal(items),
            Expr::Nested(nested) => self.nested(nested),
            Expr::Exists(nested) => self.exists(nested),
        }
    }

    fn call(&self, called: &'a Called, arguments: &'a [Expr]) -> Operand<'a> {
        if let Call::Lazy(code) = called.call {
            return code(arguments, self);
        }
        let arguments: Vec<Operand<'a>> = arguments.iter().map(|argument| self.eval(argument)).collect();
        let effort = arguments.iter().map(|argument| match &**argument {
            Value::Array(_) | Value::Object(_) if called.glances => 0,
            argument => argument.effort(),
        });
        if !self.run.take_steps(effort.sum()) {
            return undefined();
        }
        called.call.run(arguments, self)
    }

    /// A variable of SET, or what it holds at `path`. Its value is made at most once.
    fn variable(&self, name: &str, path: &'a [String]) -> Operand<'a> {
        let query = self.run.query;
        let place = query.variables.iter().position(|variable| variable.name == name);
        let Some((place, slot)) = place.and_then(|place| Some((place, self.run.slot(place)?))) else {
            return undefined();
        };
        if let Some(value) = slot.made.get() {
            return Cow::Borrowed(walk(value, path));
        }
        // SET stands outside of everything, so its expressions see the message and no element.
        let value: &'a Value = match Scope::new(self.run).eval(&query.variables[place].expr) {
            Cow::Borrowed(value) => value,
            Cow::Owned(value) => slot.made.get_or_init(|| value),
        };
        if self.run.measure(slot, value) { Cow::Borrowed(walk(value, path)) } else { undefined() }
    }

    fn operate(&self, operator: Operator, left: &Value, right: &Value) -> Value {
        if !self.run.take_steps(operator.effort(left, right)) {
            return Value::Undefined;
        }
        let texts = matches!(left, Value::Str(_)) || matches!(right, Value::Str(_));
        if operator != Operator::Plus || !texts {
            return operator.apply(left, right, self.version());
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
        let arm = case.arms.iter().find(|(wanted, _)| {
            let is_it = self.operate(Operator::Equal, &selector, &self.eval(wanted));
            matches!(is_it, Value::Bool(true))
        });
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

    fn object_literal(&self, members: &'a [(Name, Expr)]) -> Operand<'a> {
        let mut object = object_for(members.len());
        for (name, expr) in members {
            let value = self.eval(expr);
            if !self.charge(name.len() + value.weight()) {
                return undefined();
            }
            if !value.is_undefined() {
                object.insert(Arc::clone(name), value.into_owned());
            }
        }
        Cow::Owned(Value::Object(Box::new(object)))
    }
}

pub(super) fn walk<'v>(mut value: &'v Value, names: &[String]) -> &'v Value {
    for name in names {
        value = value.member(name);
    }
    value
}

fn lend(members: &Object) -> impl Iterator<Item = (Cow<'_, Name>, Operand<'_>)> {
    members.iter().map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)))
}

fn give<'a>(members: Object) -> impl Iterator<Item = (Cow<'a, Name>, Operand<'a>)> {
    members.into_iter().map(|(name, value)| (Cow::Owned(name), Cow::Owned(value)))
}

fn defined<'a>(members: impl IntoIterator<Item = (Cow<'a, Name>, Operand<'a>)>) -> Members<'a> {
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
