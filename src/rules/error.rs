//! What can be wrong with rule files.

use std::fmt;
use std::io;
use std::path::PathBuf;

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
}

impl Mistake {
    pub(super) fn new(line: Option<u64>, reason: impl fmt::Display) -> Self {
        Self { line, reason: reason.to_string() }
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
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.reason),
            None => write!(f, "{}: {}", self.path.display(), self.reason),
        }
    }
}
