//! What is wrong with a statement: where, and what to change.

use std::fmt;

use sqlparser::parser::ParserError;
use sqlparser::tokenizer::Location;

/// The most mistakes listed for one statement.
const LISTED_MAX: usize = 20;

/// A place in a statement's text, both counted from 1; characters, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    /// The line.
    pub(crate) line: u64,
    /// The column.
    pub(crate) column: u64,
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line, column: location.column }
    }
}

impl Position {
    /// The place behind the last letter of `text`.
    pub(super) fn end_of(text: &str) -> Self {
        let last = text.rsplit('\n').next().unwrap_or_default();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let breaks = text.bytes().filter(|&byte| byte == b'\n').count();
        Self { line: count(breaks + 1), column: count(last.chars().count() + 1) }
    }

    /// The byte offset of this place in `text`.
    pub(crate) fn offset_in(self, text: &str) -> Option<usize> {
        let line_start = match usize::try_from(self.line).ok()?.checked_sub(2) {
            None => 0,
            Some(breaks) => text.match_indices('\n').nth(breaks)?.0 + 1,
        };
        let column = usize::try_from(self.column).ok()?.checked_sub(1)?;
        let rest = text.get(line_start..)?;
        rest.char_indices().map(|(at, _)| at).chain([rest.len()]).nth(column).map(|at| line_start + at)
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlError {
    /// Where it stands; `None` when the whole statement is meant.
    pub(crate) position: Option<Position>,
    /// What is wrong, as a sentence without a period.
    pub(crate) message: String,
}

impl SqlError {
    pub(super) fn new(at: Position, message: impl Into<String>) -> Self {
        let position = (at.line > 0).then_some(at);
        Self { position, message: message.into() }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(Position { line, column }) => write!(f, "line {line}:{column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl From<ParserError> for SqlError {
    /// Takes the place out of sqlparser's message, which ends in ` at Line: 1, Column: 8`.
    fn from(error: ParserError) -> Self {
        let text = match error {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
            ParserError::RecursionLimitExceeded => {
                "an expression or alias nests deeper than 64 levels".to_owned()
            }
        };
        let located = text.rsplit_once(" at Line: ").and_then(|(message, place)| {
            let (line, column) = place.split_once(", Column: ")?;
            let position = Position { line: line.parse().ok()?, column: column.parse().ok()? };
            Some(Self { position: Some(position), message: plain(message) })
        });
        located.unwrap_or_else(|| Self { position: None, message: plain(&text) })
    }
}

/// `Expected: FROM, found: EOF` as a sentence.
fn plain(message: &str) -> String {
    lower_first(message)
        .replace("expected: ", "expected ")
        .replace(", found: EOF", ", but the text ends")
        .replace(", found: ", ", found ")
}

/// sqlparser's messages start with a capital letter; ours stand inside sentences. A keyword stays.
pub(super) fn lower_first(message: &str) -> String {
    let mut letters = message.chars();
    match (letters.next(), letters.as_str().starts_with(char::is_lowercase)) {
        (Some(first), true) => first.to_lowercase().chain(letters).collect(),
        _ => message.to_owned(),
    }
}

/// All mistakes of one statement, in the order they stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlErrors(Vec<SqlError>);

impl std::error::Error for SqlErrors {}

impl SqlErrors {
    pub(super) fn new(mut errors: Vec<SqlError>) -> Self {
        errors.sort_by_key(|error| error.position);
        errors.truncate(LISTED_MAX);
        Self(errors)
    }

    /// The mistakes.
    pub(crate) fn list(&self) -> &[SqlError] {
        &self.0
    }
}

impl From<SqlError> for SqlErrors {
    fn from(error: SqlError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for SqlErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}
