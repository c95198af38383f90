//! Substitution templates: text with `${expression}` in it (spec section 4).
//!
//! Expressions see the original payload and the message around it, never the SELECT's aliases. Where
//! an expression ends is found by parsing it, so a `}` inside a string or an object literal does not
//! end it. An expression without a value (Undefined or null) fails the action: an empty dimension
//! nobody asked for would be worse.

use std::borrow::Cow;
use std::sync::Arc;

use super::effect::FailureReason;
use super::sql::eval::Scope;
use super::sql::run::MADE_BYTES_MAX;
use super::sql::{self, Expr, Version};

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
    Expression { source: String, expr: Expr },
}

impl Template {
    /// Checks `text`. The error is a sentence without a period.
    pub(crate) fn parse(text: &str, version: Version) -> Result<Self, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("a template may have at most {TEMPLATE_BYTES_MAX} bytes"));
        }
        if text.contains("@{") {
            return Err("@{…} belongs to the InfluxDB action, write ${…}".to_owned());
        }
        let mut parts = Vec::new();
        let mut variables = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, expression) = (&rest[..at], &rest[at + 2..]);
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let found = sql::parse_until_brace(expression, version)
                .map_err(|errors| format!("in the template {text:?}, after ${{: {errors}"))?;
            let source = expression[..found.brace].trim().to_owned();
            variables.extend(found.variables);
            parts.push(Part::Expression { source, expr: found.expr });
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

    /// The same as [`Template::render`], for a name: one without expressions is made only once.
    pub(crate) fn render_name<'a>(
        &'a self,
        scope: &Scope<'a>,
        field: impl Fn() -> String,
    ) -> Result<Arc<str>, FailureReason> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Ok(Arc::clone(text)),
            _ => self.render(scope, field).map(Into::into),
        }
    }

    /// The text with every expression replaced by its value. `field` names the place for the error.
    pub(crate) fn render<'a>(
        &'a self,
        scope: &Scope<'a>,
        field: impl Fn() -> String,
    ) -> Result<String, FailureReason> {
        if let [only] = self.parts.as_slice() {
            return only.text(scope, &field).map(Cow::into_owned);
        }
        let mut rendered = String::new();
        for part in &self.parts {
            if !scope.extend_text(&mut rendered, &part.text(scope, &field)?) {
                return Err(FailureReason::ResultTooLarge { limit: MADE_BYTES_MAX });
            }
        }
        Ok(rendered)
    }
}

impl Part {
    fn text<'a>(
        &'a self,
        scope: &Scope<'a>,
        field: &impl Fn() -> String,
    ) -> Result<Cow<'a, str>, FailureReason> {
        let (source, expr) = match self {
            Self::Text(text) => return Ok(Cow::Borrowed(text)),
            Self::Expression { source, expr } => (source, expr),
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
        let template = Template::parse(text, Version::V2016).expect("a template");
        let source = |part: &Part| match part {
            Part::Text(text) => text.to_string(),
            Part::Expression { source, .. } => format!("<{source}>"),
        };
        template.parts.iter().map(source).collect()
    }

    #[test]
    fn expressions_end_where_they_end() {
        assert_eq!(sources("${topic()}/republish"), ["<topic()>", "/republish"]);
        assert_eq!(sources("a${ concat('}', x) }b"), ["a", "<concat('}', x)>", "b"]);
        assert_eq!(
            sources("${get({\"a}\": {'b': 1}}, 'a}').b}it's -- fine"),
            ["<get({\"a}\": {'b': 1}}, 'a}').b>", "it's -- fine"]
        );
        assert_eq!(sources("${a}${\n  b\n}é${c}"), ["<a>", "<b>", "é", "<c>"]);
        assert_eq!(sources("$$aws/x $ {y}"), ["$$aws/x $ {y}"]);
        assert!(sources("").is_empty());
    }

    #[test]
    fn mistakes_name_the_template() {
        for text in ["${", "${}", "${a", "${a +}", "${a b}", "${foo()}", "${'}", "@{x}"] {
            assert!(Template::parse(text, Version::V2016).is_err(), "{text}");
        }
        let error = Template::parse("x-${a +}", Version::V2016).expect_err("no expression");
        assert_eq!(
            error,
            "in the template \"x-${a +}\", after ${: line 1:4: expected an expression, found }"
        );
    }
}
