//! SELECT inside an expression: a list becomes a list, an object becomes one value.
//!
//! Names start at the element: its own name first, then its members, then whatever is around the
//! SELECT, up to the message.

use std::borrow::Cow;

use super::eval::{Operand, Output, Scope, undefined, walk};
use super::query::Nested;
use super::value::Value;

impl<'a> Scope<'a> {
    /// What the path `names` leads to.
    pub(super) fn named(&self, names: &[String]) -> &'a Value {
        let Some((first, rest)) = names.split_first() else { return self.root };
        let mut scope = self;
        while let Some(outer) = scope.outer {
            if scope.alias == Some(first) {
                return walk(scope.root, rest);
            }
            let member = scope.root.member(first);
            if !member.is_undefined() {
                return walk(member, rest);
            }
            if !self.run.take_steps(1) {
                break;
            }
            scope = outer;
        }
        walk(scope.root, names)
    }

    /// `(SELECT … FROM source WHERE …)`. Results are always made anew: they outlive their elements.
    pub(super) fn nested(&self, nested: &'a Nested) -> Operand<'a> {
        let source = self.eval(&nested.source);
        Cow::Owned(match &*source {
            Value::Array(items) => {
                let mut selected = Vec::new();
                for item in items {
                    let value = self.element(nested, item);
                    if !self.charge(value.as_ref().map_or(0, Value::weight)) {
                        return undefined();
                    }
                    // A list has no holes: what is Undefined for an element that counts is null.
                    selected
                        .extend(value.map(|value| if value.is_undefined() { Value::Null } else { value }));
                }
                Value::Array(selected)
            }
            object @ Value::Object(_) => match self.element(nested, object) {
                Some(value) if self.charge(value.weight()) => value,
                _ => Value::Undefined,
            },
            _ => Value::Undefined,
        })
    }

    /// `EXISTS (SELECT …)`: whether any element counts. What is no list and no object has none.
    pub(super) fn exists(&self, nested: &'a Nested) -> Operand<'a> {
        let source = self.eval(&nested.source);
        let counts = |element| {
            let inner = self.inner(nested, element);
            inner.run.take_steps(1) && inner.holds(nested.condition.as_ref())
        };
        let found = match &*source {
            Value::Array(items) => items.iter().any(counts),
            object @ Value::Object(_) => counts(object),
            _ => false,
        };
        if self.run.is_exhausted() { undefined() } else { Cow::Owned(Value::Bool(found)) }
    }

    /// What is selected from `element`, if it counts.
    fn element(&self, nested: &Nested, element: &Value) -> Option<Value> {
        let inner = self.inner(nested, element);
        if !self.run.take_steps(1) || !inner.holds(nested.condition.as_ref()) {
            return None;
        }
        Some(match inner.selected(&nested.select) {
            Output::Object(members) => {
                let members = members.into_iter();
                let owned = members.map(|(name, value)| (name.into_owned(), value.into_owned()));
                Value::Object(Box::new(owned.collect()))
            }
            Output::Value(value) => value.into_owned(),
            Output::Bytes => Value::Undefined,
        })
    }

    fn inner<'s>(&'s self, nested: &'s Nested, element: &'s Value) -> Scope<'s> {
        Scope { run: self.run, root: element, alias: nested.alias.as_deref(), outer: Some(self) }
    }
}
