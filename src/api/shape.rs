//! What a request may look like: one declarative description per shape, checked before any handler
//! runs, because SDKs check little of it themselves (spec 1.6).
//!
//! Violations are worded as AWS's framework words them (spec 1.4): paths in lower camel case, list
//! positions from 1 with `.member.`, several violations in one text.

use serde_json::Value;

use super::error::ApiError;
use crate::clock::Timestamp;

/// How many violations one answer names.
const VIOLATIONS_MAX: usize = 10;
/// How much of an offending value is repeated in the answer, in characters.
const VALUE_CHARS_MAX: usize = 128;

/// The shape of a value.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A structure; members it does not name are ignored, as AWS does.
    Structure(&'static [Member]),
    /// A list with `min..=max` items.
    List(&'static Shape, usize, usize),
    /// Text of `min..=max` characters.
    Text(usize, usize),
    /// Text of `min..=max` characters that matches a pattern.
    Matching(Pattern, usize, usize),
    /// One of a set of words.
    Choice(&'static [&'static str]),
    /// A whole number within `min..=max`.
    Integer(i64, i64),
    /// True or false.
    Boolean,
    /// A moment that [`moment`] reads.
    Moment,
}

/// Any text.
pub(crate) const STRING: Shape = Shape::Text(0, usize::MAX);
/// Any text but the empty one.
pub(crate) const FILLED_STRING: Shape = Shape::Text(1, usize::MAX);
/// Any whole number of 32 bits.
pub(crate) const INTEGER: Shape = Shape::Integer(i32::MIN as i64, i32::MAX as i64);
/// Any whole number of 64 bits.
pub(crate) const LONG: Shape = Shape::Integer(i64::MIN, i64::MAX);
/// The name of a database or a table that is created or written to.
pub(crate) const RESOURCE_NAME: Shape = Shape::Matching(Pattern::Name, 0, usize::MAX);

/// The patterns of the models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Names of databases and tables.
    Name,
    /// The id of a query.
    QueryId,
    /// The id of a batch load task.
    TaskId,
    /// The name of a bucket.
    Bucket,
    /// The key of an object in a bucket, or how it begins.
    ObjectKey,
}

impl Pattern {
    /// The pattern as the models and AWS's answers spell it.
    const fn text(self) -> &'static str {
        match self {
            Self::Name => "[a-zA-Z0-9_.-]+",
            Self::QueryId => "[a-zA-Z0-9]+",
            Self::TaskId => "[A-Z0-9]+",
            Self::Bucket => r"[a-z0-9][\.\-a-z0-9]{1,61}[a-z0-9]",
            Self::ObjectKey => r"[a-zA-Z0-9|!\-_*'\(\)]([a-zA-Z0-9]|[!\-_*'\(\)\/.])+",
        }
    }

    fn matches(self, text: &str) -> bool {
        let all = |legal: fn(u8) -> bool| !text.is_empty() && text.bytes().all(legal);
        match self {
            Self::Name => all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)),
            Self::QueryId => all(|byte| byte.is_ascii_alphanumeric()),
            Self::TaskId => all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()),
            Self::Bucket => {
                let edge = |byte: Option<&u8>| byte.is_some_and(|byte| is_lower_or_digit(*byte));
                (3..=63).contains(&text.len())
                    && edge(text.as_bytes().first())
                    && edge(text.as_bytes().last())
                    && text.bytes().all(|byte| is_lower_or_digit(byte) || b".-".contains(&byte))
            }
            Self::ObjectKey => {
                let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_*'()/.".contains(&byte);
                let first = |byte: u8| byte.is_ascii_alphanumeric() || b"|!-_*'()".contains(&byte);
                let (head, tail) = text.as_bytes().split_at(text.len().min(1));
                head.iter().all(|byte| first(*byte)) && !tail.is_empty() && tail.iter().all(|b| inner(*b))
            }
        }
    }
}

fn is_lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// A member of a structure.
#[derive(Debug)]
pub(crate) struct Member {
    name: &'static str,
    required: bool,
    sensitive: bool,
    shape: Shape,
}

impl Member {
    /// The same, and answers do not repeat its value.
    pub(crate) const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }
}

/// A member that may be absent or null.
pub(crate) const fn optional(name: &'static str, shape: Shape) -> Member {
    Member { name, required: false, sensitive: false, shape }
}

/// A member that must be there.
pub(crate) const fn required(name: &'static str, shape: Shape) -> Member {
    Member { name, required: true, sensitive: false, shape }
}

impl Shape {
    /// Checks `value` against this shape.
    ///
    /// # Errors
    /// A ValidationException that lists every violation, or a SerializationException when a value is
    /// of another JSON type than its shape.
    pub(crate) fn check(&self, value: &Value) -> Result<(), ApiError> {
        let mut check = Check { violations: Vec::new(), path: Vec::new(), sensitive: false };
        check.value(self, value)?;
        if check.violations.is_empty() { Ok(()) } else { Err(ApiError::constraints(&check.violations)) }
    }
}

/// The answers [`Shape::check`] gives, without words: for requests that are read without a tree.
impl Shape {
    /// Whether a text fits.
    pub(crate) fn takes_text(&self, text: &str) -> bool {
        match self {
            // Most texts are shorter in bytes than they may be in characters.
            Self::Text(0..=1, max) if text.len() <= *max => {
                !text.is_empty() || matches!(self, Self::Text(0, _))
            }
            Self::Text(min, max) => (*min..=*max).contains(&text.chars().count()),
            Self::Matching(pattern, min, max) => {
                (*min..=*max).contains(&text.chars().count()) && pattern.matches(text)
            }
            Self::Choice(words) => words.contains(&text),
            _ => false,
        }
    }

    /// Whether a list of `length` items fits, whatever they are.
    pub(crate) fn takes_length(&self, length: usize) -> bool {
        matches!(self, Self::List(_, min, max) if (*min..=*max).contains(&length))
    }
}

struct Check {
    violations: Vec<String>,
    /// Where the check is. It becomes text only when there is something to say about the place.
    path: Vec<Step>,
    /// Whether the value it is at must not be repeated.
    sensitive: bool,
}

enum Step {
    Member(&'static str),
    /// An item of a list, counted from 1.
    Item(usize),
}

impl Check {
    fn value(&mut self, shape: &Shape, value: &Value) -> Result<(), ApiError> {
        match (shape, value) {
            (Shape::Structure(members), Value::Object(object)) => {
                for member in *members {
                    self.member(member, object.get(member.name).unwrap_or(&Value::Null))?;
                }
            }
            (Shape::List(item, min, max), Value::Array(items)) => {
                self.length(value, items.len(), *min, *max);
                // A list that is too long is refused as a whole; its items are not worth the time.
                for (index, element) in items.iter().enumerate().take(*max) {
                    self.within(Step::Item(index + 1), |check| check.value(item, element))?;
                }
            }
            (Shape::Text(min, max), Value::String(text)) => {
                self.length(value, text.chars().count(), *min, *max);
            }
            (Shape::Matching(pattern, min, max), Value::String(text)) => {
                self.length(value, text.chars().count(), *min, *max);
                if !pattern.matches(text) {
                    let pattern = pattern.text();
                    self.violation(
                        value,
                        &format!("Member must satisfy regular expression pattern: {pattern}"),
                    );
                }
            }
            (Shape::Choice(words), Value::String(text)) => {
                if !words.contains(&text.as_str()) {
                    let words = words.join(", ");
                    self.violation(value, &format!("Member must satisfy enum value set: [{words}]"));
                }
            }
            (Shape::Integer(min, max), Value::Number(number)) => match number.as_i64() {
                Some(n) if n < *min => {
                    self.violation(value, &format!("Member must have value greater than or equal to {min}"));
                }
                Some(n) if n > *max => {
                    self.violation(value, &format!("Member must have value less than or equal to {max}"));
                }
                Some(_) => {}
                None => return Err(self.mistyped("a whole number")),
            },
            (Shape::Boolean, Value::Bool(_)) => {}
            (Shape::Moment, Value::Number(_)) => {}
            (Shape::Moment, Value::String(_)) if moment(value).is_some() => {}
            (shape, _) => return Err(self.mistyped(shape.json_type())),
        }
        Ok(())
    }

    fn member(&mut self, member: &Member, value: &Value) -> Result<(), ApiError> {
        let outer = std::mem::replace(&mut self.sensitive, member.sensitive);
        let checked = self.within(Step::Member(member.name), |check| match value {
            Value::Null if member.required => {
                check.violation(value, "Member must not be null");
                Ok(())
            }
            Value::Null => Ok(()),
            value => check.value(&member.shape, value),
        });
        self.sensitive = outer;
        checked
    }

    fn within(
        &mut self,
        step: Step,
        inner: impl FnOnce(&mut Self) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        self.path.push(step);
        let result = inner(self);
        self.path.pop();
        result
    }

    fn place(&self) -> String {
        let step = |step: &Step| match step {
            Step::Member(name) => lower_camel(name),
            Step::Item(number) => format!("{number}.member"),
        };
        self.path.iter().map(step).collect::<Vec<_>>().join(".")
    }

    fn length(&mut self, value: &Value, length: usize, min: usize, max: usize) {
        if length < min {
            self.violation(value, &format!("Member must have length greater than or equal to {min}"));
        }
        if length > max {
            self.violation(value, &format!("Member must have length less than or equal to {max}"));
        }
    }

    fn violation(&mut self, value: &Value, constraint: &str) {
        if self.violations.len() >= VIOLATIONS_MAX {
            return;
        }
        let shown = match value {
            _ if self.sensitive => String::new(),
            Value::Null => " null".to_owned(),
            Value::String(text) => format!(" '{}'", shortened(text)),
            other => format!(" '{}'", shortened(&other.to_string())),
        };
        let clause = format!("Value{shown} at '{}' failed to satisfy constraint: {constraint}", self.place());
        self.violations.push(clause);
    }

    fn mistyped(&self, expected: &str) -> ApiError {
        let place = if self.path.is_empty() { "the request".to_owned() } else { self.place() };
        ApiError::serialization(format!("{place} must be {expected}"))
    }
}

impl Shape {
    fn json_type(&self) -> &'static str {
        match self {
            Self::Structure(_) => "an object",
            Self::List(..) => "a list",
            Self::Text(..) | Self::Matching(..) | Self::Choice(_) => "a string",
            Self::Integer(..) => "a whole number",
            Self::Boolean => "true or false",
            Self::Moment => "a number of seconds",
        }
    }
}

/// The moment of a member of shape [`Shape::Moment`]: epoch seconds with or without a fraction, or a text in
/// ISO 8601 (spec 1.2). Nothing if it lies outside 1677 to 2262.
pub(crate) fn moment(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => {
            if let Some(seconds) = number.as_i64() {
                return seconds.checked_mul(1_000_000_000).map(Timestamp::from_nanos);
            }
            let millis = (number.as_f64()? * 1_000.0).round();
            // Milliseconds within the range of nanoseconds are whole numbers that a double holds.
            let in_range = (-9_223_372_036_854.0..=9_223_372_036_854.0).contains(&millis);
            #[expect(clippy::cast_possible_truncation, reason = "it was rounded and is in range")]
            in_range.then(|| Timestamp::from_millis(millis as i64))
        }
        Value::String(text) => {
            let moment = chrono::DateTime::parse_from_rfc3339(text).ok()?;
            moment.timestamp_nanos_opt().map(Timestamp::from_nanos)
        }
        _ => None,
    }
}

fn lower_camel(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DIMENSION: Shape = Shape::Structure(&[
        required("Name", Shape::Text(1, 60)),
        optional("DimensionValueType", Shape::Choice(&["VARCHAR"])),
    ]);
    const RECORD: Shape = Shape::Structure(&[
        optional("Dimensions", Shape::List(&DIMENSION, 0, 2)),
        optional("Version", Shape::Integer(1, 9)),
    ]);
    const REQUEST: Shape = Shape::Structure(&[
        required("DatabaseName", RESOURCE_NAME),
        optional("QueryString", Shape::Text(1, 9)).sensitive(),
        required("Records", Shape::List(&RECORD, 1, 2)),
    ]);

    fn text(value: &Value) -> String {
        let error = REQUEST.check(value).expect_err("refused");
        error.body()["message"].as_str().expect("a text").to_owned()
    }

    #[test]
    fn a_captured_answer_is_reproduced() {
        let dimensions = json!([{ "Name": "a", "DimensionValueType": "DOUBLE" }]);
        let request = json!({ "DatabaseName": "d", "Records": [{ "Dimensions": dimensions }] });
        assert_eq!(
            text(&request),
            "1 validation error detected: Value 'DOUBLE' at 'records.1.member.dimensions.1.member.\
             dimensionValueType' failed to satisfy constraint: Member must satisfy enum value set: [VARCHAR]"
        );
    }

    #[test]
    fn every_violation_is_named() {
        let request = json!({ "DatabaseName": "a b", "Records": [], "Unknown": 1 });
        let text = text(&request);
        assert!(text.starts_with("2 validation errors detected: Value 'a b' at 'databaseName'"), "{text}");
        assert!(text.contains("pattern: [a-zA-Z0-9_.-]+; Value '[]' at 'records'"), "{text}");
    }

    #[test]
    fn sensitive_values_are_not_repeated() {
        let request = json!({ "DatabaseName": "d", "QueryString": "SELECT secret", "Records": [{}] });
        let expected = "1 validation error detected: Value at 'queryString' failed to satisfy constraint: \
                        Member must have length less than or equal to 9";
        assert_eq!(text(&request), expected);
    }

    #[test]
    fn patterns_match_whole_texts() {
        let cases = [
            (Pattern::Name, "a.b-c_D9", true),
            (Pattern::Name, "", false),
            (Pattern::Name, "a b", false),
            (Pattern::QueryId, "AED9", true),
            (Pattern::QueryId, "a-b", false),
            (Pattern::Bucket, "my-bucket.1", true),
            (Pattern::Bucket, "ab", false),
            (Pattern::Bucket, "-ab", false),
            (Pattern::Bucket, "Abc", false),
            (Pattern::ObjectKey, "a/b.c", true),
            (Pattern::ObjectKey, "a", false),
            (Pattern::ObjectKey, "", false),
            (Pattern::ObjectKey, "/a", false),
            (Pattern::ObjectKey, "a|", false),
            (Pattern::ObjectKey, "ä/b", false),
        ];
        for (pattern, text, matches) in cases {
            assert_eq!(pattern.matches(text), matches, "{pattern:?} {text}");
        }
    }

    #[test]
    fn required_members_ranges_and_types() {
        assert!(text(&json!({ "Records": [{}] })).contains("Value null at 'databaseName' failed"));
        let version = json!({ "DatabaseName": "d", "Records": [{ "Version": 10 }] });
        assert!(text(&version).contains("less than or equal to 9"));
        let mistyped = json!({ "DatabaseName": "d", "Records": [{ "Version": "1" }] });
        let error = REQUEST.check(&mistyped).expect_err("refused");
        assert_eq!(error.code(), "SerializationException");
        assert!(REQUEST.check(&json!({ "DatabaseName": "d", "Records": [{ "Version": null }] })).is_ok());
    }

    #[test]
    fn moments_are_seconds_or_iso_texts() {
        let read = |value: Value| {
            let shape = Shape::Structure(const { &[required("At", Shape::Moment)] });
            let fits = shape.check(&json!({ "At": value })).is_ok();
            fits.then(|| moment(&value)).flatten().map(Timestamp::nanos)
        };
        assert_eq!(read(json!(1_723_710_546)), Some(1_723_710_546_000_000_000));
        assert_eq!(read(json!(1_723_710_546.123)), Some(1_723_710_546_123_000_000));
        assert_eq!(read(json!("2024-08-15T08:29:06.5Z")), Some(1_723_710_546_500_000_000));
        for bad in [json!(1e30), json!(i64::MAX), json!("noon"), json!(true), json!(null)] {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn answers_stay_short_however_long_the_value() {
        let request = json!({ "DatabaseName": "ä b".repeat(10_000), "Records": [{}] });
        assert!(text(&request).len() < 1_000);
    }
}
