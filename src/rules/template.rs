//! Substitution templates: text with `${expression}` in it (spec section 4).
//!
//! Expressions see the original payload and the message around it, never the SELECT's aliases. Where
//! an expression ends is found by parsing it, so a `}` inside a string or an object literal does not
//! end it. An expression without a value (Undefined or null) fails the action: an empty dimension
//! nobody asked for would be worse.
//!
//! `@{expression}` reads one item of the result instead of the payload, as it does in AWS's InfluxDB action;
//! only the Timestream action takes it.

use std::borrow::Cow;
use std::sync::Arc;

use super::effect::FailureReason;
use super::sql::eval::Scope;
use super::sql::run::MADE_BYTES_MAX;
use super::sql::{self, Expr, Version};
use super::stand_ins::StandIns;

/// The longest template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 8 * 1024;

/// A checked template.
#[derive(Debug)]
pub(crate) struct Template {
    parts: Vec<Part>,
    variables: Vec<String>,
}

#[derive(Debug)]
enum Part {
    Text(Arc<str>),
    Expression { of: Of, source: String, expr: Expr },
}

/// Whose attributes an expression reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// `${…}`: the message's.
    Message,
    /// `@{…}`: those of one item of the result.
    Item,
}

/// What a template is rendered over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'s, 'a> {
    /// The message.
    pub(crate) message: &'s Scope<'a>,
    /// One item of the result; for templates that know no items the message once more.
    pub(crate) item: &'s Scope<'a>,
}

impl Template {
    /// Checks `text`; functions find local answers in `files`. The error is a sentence without a period.
    pub(crate) fn parse(text: &str, version: Version, files: &StandIns) -> Result<Self, String> {
        if text.contains("@{") {
            return Err("@{…} reads an item of the result, which only the Timestream action's dimensions, \
                        timestamp, version and multi_measure_name can; write ${…}"
                .to_owned());
        }
        Self::parse_for_items(text, version, files)
    }

    /// Checks `text`, in which `@{…}` reads an item of the result.
    pub(crate) fn parse_for_items(text: &str, version: Version, files: &StandIns) -> Result<Self, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("a template may have at most {TEMPLATE_BYTES_MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut variables = Vec::new();
        let mut rest = text;
        while let Some((at, of)) = next_expression(rest) {
            let (before, expression) = (&rest[..at], &rest[at + 2..]);
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let found = sql::parse_until_brace(expression, version, files).map_err(|errors| {
                format!("in the template {text:?}, after {}: {errors}", &rest[at..at + 2])
            })?;
            let source = format!("{}{}}}", &rest[at..at + 2], expression[..found.brace].trim());
            variables.extend(found.variables);
            parts.push(Part::Expression { of, source, expr: found.expr });
            rest = &expression[found.brace + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self { parts, variables })
    }

    /// A variable the template needs and SET does not name.
    pub(crate) fn unknown_variable(&self, mut is_known: impl FnMut(&str) -> bool) -> Option<&str> {
        self.variables.iter().map(String::as_str).find(|name| !is_known(name))
    }

    /// The text, if the template has no expressions.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text in front of the first expression.
    pub(crate) fn constant_beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The attribute the template consists of, if it is nothing but one top-level attribute.
    pub(crate) fn attribute(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Expression { expr: Expr::Path(names), .. }] => match names.as_slice() {
                [name] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the template reads an item of the result.
    pub(crate) fn reads_item(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Expression { of: Of::Item, .. }))
    }

    /// The same as [`Template::render_for_item`], for a name: one without expressions is made only once.
    pub(crate) fn render_name<'a>(
        &'a self,
        view: View<'_, 'a>,
        field: impl Fn() -> String,
    ) -> Result<Arc<str>, FailureReason> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Ok(Arc::clone(text)),
            _ => self.render_for_item(view, field).map(Into::into),
        }
    }

    /// The text with every expression replaced by its value. `field` names the place for the error.
    pub(crate) fn render<'a>(
        &'a self,
        scope: &Scope<'a>,
        field: impl Fn() -> String,
    ) -> Result<String, FailureReason> {
        self.render_for_item(View { message: scope, item: scope }, field)
    }

    /// As [`Template::render`], with an item of the result for `@{…}`.
    pub(crate) fn render_for_item<'a>(
        &'a self,
        view: View<'_, 'a>,
        field: impl Fn() -> String,
    ) -> Result<String, FailureReason> {
        if let [only] = self.parts.as_slice() {
            return only.text(view, &field).map(Cow::into_owned);
        }
        let mut rendered = String::new();
        for part in &self.parts {
            if !view.item.extend_text(&mut rendered, &part.text(view, &field)?) {
                return Err(FailureReason::ResultTooLarge { limit: MADE_BYTES_MAX });
            }
        }
        Ok(rendered)
    }
}

/// Where the next expression begins, and whose it is.
fn next_expression(text: &str) -> Option<(usize, Of)> {
    let of_message = text.find("${").map(|at| (at, Of::Message));
    let of_item = text.find("@{").map(|at| (at, Of::Item));
    of_message.into_iter().chain(of_item).min_by_key(|(at, _)| *at)
}

impl Part {
    fn text<'a>(
        &'a self,
        view: View<'_, 'a>,
        field: &impl Fn() -> String,
    ) -> Result<Cow<'a, str>, FailureReason> {
        let (scope, source, expr) = match self {
            Self::Text(text) => return Ok(Cow::Borrowed(text)),
            Self::Expression { of: Of::Message, source, expr } => (view.message, source, expr),
            Self::Expression { of: Of::Item, source, expr } => (view.item, source, expr),
        };
        let value = scope.eval(expr);
        let text = match &value {
            Cow::Borrowed(value) => value.text(),
            Cow::Owned(value) => value.text().map(|text| Cow::Owned(text.into_owned())),
        };
        text.ok_or_else(|| FailureReason::TemplateWithoutValue {
            field: field(),
            expression: source.clone(),
            value: value.kind(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Vec<String> {
        let template =
            Template::parse_for_items(text, Version::V2016, &StandIns::default()).expect("a template");
        let source = |part: &Part| match part {
            Part::Text(text) => text.to_string(),
            Part::Expression { source, .. } => source.clone(),
        };
        template.parts.iter().map(source).collect()
    }

    #[test]
    fn expressions_end_where_they_end() {
        assert_eq!(sources("${topic()}/republish"), ["${topic()}", "/republish"]);
        assert_eq!(sources("a${ concat('}', x) }b"), ["a", "${concat('}', x)}", "b"]);
        assert_eq!(
            sources("${get({\"a}\": {'b': 1}}, 'a}').b}it's -- fine"),
            ["${get({\"a}\": {'b': 1}}, 'a}').b}", "it's -- fine"]
        );
        assert_eq!(sources("${a}${\n  b\n}é${c}"), ["${a}", "${b}", "é", "${c}"]);
        assert_eq!(sources("$$aws/x $ {y}"), ["$$aws/x $ {y}"]);
        assert_eq!(sources("@{a}-${b}@{ c }@d"), ["@{a}", "-", "${b}", "@{c}", "@d"]);
        assert!(sources("").is_empty());
    }

    #[test]
    fn mistakes_name_the_template() {
        for text in ["${", "${}", "${a", "${a +}", "${a b}", "${foo()}", "${'}", "@{x}"] {
            assert!(Template::parse(text, Version::V2016, &StandIns::default()).is_err(), "{text}");
        }
        let error =
            Template::parse("x-${a +}", Version::V2016, &StandIns::default()).expect_err("no expression");
        assert_eq!(
            error,
            "in the template \"x-${a +}\", after ${: line 1:4: expected an expression, found }"
        );
    }
}
