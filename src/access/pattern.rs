//! Texts with wildcards and variables, as policies write them.
//!
//! `*` stands for any characters, `?` for one, `${key}` for what is known of the caller under `key`,
//! and `${*}`, `${?}`, `${$}` for these characters themselves. What a variable brings in is taken
//! literally: a client that calls itself `*` matches nothing but `*`.

use std::borrow::Cow;

use super::condition::Facts;

/// One part of a pattern as written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
    Any,
    One,
}

/// A pattern as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

/// One step of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Byte(u8),
    Any,
    One,
}

/// A pattern whose variables have become text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Step>);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When a variable has no end or no name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            rest = &rest[first.len_utf8()..];
            let part = match first {
                '*' => Part::Any,
                '?' => Part::One,
                '$' if rest.starts_with('{') => {
                    let end =
                        rest.find('}').ok_or_else(|| format!("`{text}` has a variable without an end"))?;
                    let name = &rest[1..end];
                    rest = &rest[end + 1..];
                    match name {
                        "*" | "?" | "$" => {
                            plain.push_str(name);
                            continue;
                        }
                        "" => return Err(format!("`{text}` has a variable without a name")),
                        name => Part::Variable(name.to_owned()),
                    }
                }
                other => {
                    plain.push(other);
                    continue;
                }
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(part);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The pattern for a caller; nothing when a variable has no value for it, for then it matches nothing.
    pub(super) fn bind(&self, facts: &dyn Facts) -> Option<Glob> {
        let mut steps = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => steps.extend(text.bytes().map(Step::Byte)),
                Part::Variable(name) => steps.extend(facts.fact(name)?.bytes().map(Step::Byte)),
                Part::Any => steps.push(Step::Any),
                Part::One => steps.push(Step::One),
            }
        }
        Some(Glob(steps))
    }

    /// The text of the pattern for a caller, with wildcards as plain characters.
    pub(super) fn text(&self, facts: &dyn Facts) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            let piece: Cow<'_, str> = match part {
                Part::Text(text) => text.into(),
                Part::Variable(name) => facts.fact(name)?,
                Part::Any => "*".into(),
                Part::One => "?".into(),
            };
            text.push_str(&piece);
        }
        Some(text)
    }
}

impl Glob {
    /// Whether `text` matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.walk(text.as_bytes(), |left, right| left == right)
    }

    /// Whether `text` matches when the case of ASCII letters does not count.
    pub(super) fn matches_ignoring_case(&self, text: &str) -> bool {
        self.walk(text.as_bytes(), |left, right| left.eq_ignore_ascii_case(&right))
    }

    /// Whether everything matches.
    pub(super) fn is_everything(&self) -> bool {
        self.0 == [Step::Any]
    }

    /// Only the last `*` is ever reconsidered: what stands before it has matched as early as it can.
    fn walk(&self, text: &[u8], same: impl Fn(u8, u8) -> bool) -> bool {
        let (mut step, mut at) = (0, 0);
        let mut last_any: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.0.get(step) {
                Some(Step::Byte(byte)) if same(*byte, text[at]) => {
                    step += 1;
                    at += 1;
                }
                Some(Step::One) => {
                    step += 1;
                    at += 1;
                    // A character is its first byte and the continuations behind it.
                    while text.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {
                        at += 1;
                    }
                }
                Some(Step::Any) => {
                    last_any = Some((step, at));
                    step += 1;
                }
                _ => match last_any {
                    Some((any, from)) => {
                        last_any = Some((any, from + 1));
                        step = any + 1;
                        at = from + 1;
                    }
                    None => return false,
                },
            }
        }
        self.0[step..].iter().all(|step| *step == Step::Any)
    }
}

#[cfg(test)]
mod tests {
    use super::super::condition::NoFacts;
    use super::*;

    struct Client(&'static str);

    impl Facts for Client {
        fn fact(&self, key: &str) -> Option<Cow<'_, str>> {
            (key == "iot:ClientId").then_some(Cow::Borrowed(self.0))
        }
    }

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern).unwrap().bind(&NoFacts).unwrap().matches(text)
    }

    #[test]
    fn wildcards_stand_for_characters() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "a", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("*ab", "aab", true),
            ("?", "ä", true),
            ("??", "ä", false),
            ("*??", "ä", false),
            ("*?", "xä", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a/+/#", "a/b/c", false),
            ("a/+/#", "a/+/#", true),
            ("a${*}", "ab", false),
            ("a${*}${?}${$}{b}", "a*?${b}", true),
            ("$x", "$x", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn variables_are_literal_and_have_to_exist() {
        let pattern = Pattern::parse("client/${iot:ClientId}/*").unwrap();
        let bound = pattern.bind(&Client("*")).unwrap();
        assert!(bound.matches("client/*/x") && !bound.matches("client/b/x"));
        assert!(pattern.bind(&NoFacts).is_none());
        assert_eq!(pattern.text(&Client("ä")).as_deref(), Some("client/ä/*"));
        for wrong in ["${", "a${b", "${}"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
