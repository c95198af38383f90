//! Topic names and topic filters: what is legal and what matches (MQTT 5 section 4.7, the same in 3.1.1).
//!
//! A name or a filter is at least one character, at most 65,535 bytes of UTF-8, without U+0000.
//! A name has no wildcard. In a filter `+` fills a whole level and `#` is the whole last level.

use std::fmt;
use std::sync::Arc;

/// The longest topic an MQTT packet can carry, in bytes.
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Why a text is no topic name or no topic filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The text is empty.
    #[error("a topic must have at least one character")]
    Empty,
    /// The text is longer than a packet can carry.
    #[error("a topic may have at most 65535 bytes")]
    TooLong,
    /// The text contains U+0000.
    #[error("a topic may not contain the null character")]
    Null,
    /// A name contains `+` or `#`.
    #[error("a topic name may not contain the wildcards + and #")]
    WildcardInName,
    /// A wildcard shares its level with other characters, or `#` is not last.
    #[error("in a topic filter + must fill a whole level and # must be the whole last level")]
    MisplacedWildcard,
}

fn check(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    if text.contains('\0') {
        return Err(TopicError::Null);
    }
    Ok(())
}

/// A topic a message is published to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks `text`.
    ///
    /// # Errors
    /// When the text breaks a rule of the module's documentation.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, TopicError> {
        let text = text.into();
        check(&text)?;
        if text.contains(['+', '#']) {
            return Err(TopicError::WildcardInName);
        }
        Ok(Self(text))
    }

    /// The topic's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels between the slashes; `/a` has two, the first of them empty.
    pub fn levels(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.split('/')
    }

    /// Whether the topic is one of the server's own, which a filter that starts with a wildcard
    /// does not match (MQTT 4.7.2).
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicName({:?})", &*self.0)
    }
}

/// A pattern of topics, of a subscription or of a rule's FROM clause.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks `text`.
    ///
    /// # Errors
    /// When the text breaks a rule of the module's documentation.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, TopicError> {
        let text = text.into();
        check(&text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let wild = level.contains(['+', '#']);
            let whole = level == "+" || (level == "#" && levels.peek().is_none());
            if wild && !whole {
                return Err(TopicError::MisplacedWildcard);
            }
        }
        Ok(Self(text))
    }

    /// The filter's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels between the slashes.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether a subscription to this filter receives `topic`: `a/#` matches `a` too (MQTT 4.7.1.2).
    pub fn matches(&self, topic: &TopicName) -> bool {
        self.walk(topic, true)
    }

    /// Whether a rule with this filter in FROM sees `topic`: as [`TopicFilter::matches`], but `a/#`
    /// does not match `a` itself (spec 1.2).
    pub fn matches_for_rule(&self, topic: &TopicName) -> bool {
        self.walk(topic, false)
    }

    fn walk(&self, topic: &TopicName, parent_too: bool) -> bool {
        if topic.is_reserved() && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.levels();
        for pattern in self.levels() {
            let level = levels.next();
            if pattern == "#" {
                return parent_too || level.is_some();
            }
            if level.is_none_or(|level| pattern != "+" && pattern != level) {
                return false;
            }
        }
        levels.next().is_none()
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicFilter({:?})", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).expect("legal name")
    }

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).expect("legal filter")
    }

    #[test]
    fn filters_match_as_the_specification_says() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("+", "a", true),
            ("+", "/a", false),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("#", "a/b", true),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("+/b/#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("größe/+", "größe/höhe", true),
        ];
        for (pattern, topic, expected) in cases {
            assert_eq!(filter(pattern).matches(&name(topic)), expected, "{pattern} on {topic}");
        }
    }

    #[test]
    fn a_rule_does_not_see_the_parent() {
        assert!(!filter("a/#").matches_for_rule(&name("a")));
        assert!(filter("a/#").matches_for_rule(&name("a/b")));
        assert!(filter("#").matches_for_rule(&name("a")));
    }

    #[test]
    fn illegal_topics_are_refused() {
        for text in ["a+/b", "a/#/b", "a#", "##", "++"] {
            assert_eq!(TopicFilter::new(text), Err(TopicError::MisplacedWildcard), "{text}");
        }
        assert_eq!(TopicName::new("a/+"), Err(TopicError::WildcardInName));
        assert_eq!(TopicName::new(""), Err(TopicError::Empty));
        assert_eq!(TopicName::new("a\0b"), Err(TopicError::Null));
        assert_eq!(TopicName::new("x".repeat(65_536)), Err(TopicError::TooLong));
    }
}
