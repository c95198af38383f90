//! What can be wrong with rule files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of rules cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the rules folder {}: {source}", path.display())]
pub struct LoadError {
    /// The folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// One mistake in a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line of the rule's file, counted from 1, where it is known.
    pub line: Option<u64>,
    /// What is wrong and what to change.
    pub reason: String,
    /// Whether the mistake is one of the SQL statement: AWS's API tells those from others.
    pub in_statement: bool,
}

impl Mistake {
    pub(super) fn new(line: Option<u64>, reason: impl fmt::Display) -> Self {
        Self { line, reason: reason.to_string(), in_statement: false }
    }

    pub(super) fn in_statement(line: Option<u64>, reason: impl fmt::Display) -> Self {
        Self { in_statement: true, ..Self::new(line, reason) }
    }
}

/// Everything wrong with one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// The mistakes; at least one.
    pub mistakes: Vec<Mistake>,
}

impl std::error::Error for RuleError {}

impl From<Mistake> for RuleError {
    fn from(mistake: Mistake) -> Self {
        Self { mistakes: vec![mistake] }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            if let Some(line) = mistake.line {
                write!(f, "line {line}: ")?;
            }
            f.write_str(&mistake.reason)?;
        }
        Ok(())
    }
}

/// A rule file, or a mistake in one, that keeps its rule from being used. All other rules are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// The file.
    pub path: PathBuf,
    /// The line of the file, counted from 1, where it is known.
    pub line: Option<u64>,
    /// What is wrong and what to change.
    pub reason: String,
    /// Whether the rule the file held before the mistake goes on working.
    pub earlier_in_use: bool,
}

impl RuleProblem {
    /// A mistake in the file at `path`, or of it as a whole.
    pub fn new(path: &Path, line: Option<u64>, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, reason: reason.into(), earlier_in_use: false }
    }
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.reason)?;
        if self.earlier_in_use {
            f.write_str(" (the rule this file held before stays in use)")?;
        }
        Ok(())
    }
}
