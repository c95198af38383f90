//! Why a configuration was refused, in words that name what to change.

use std::path::{Path, PathBuf};

use super::check::Wrong;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not TOML, has an unknown key or a value of the wrong type.
    #[error("{}, line {line}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with the key's name.
        reason: String,
    },
    /// A key's value is not acceptable.
    #[error("{}: {key}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl ConfigError {
    pub(super) fn of_key(path: &Path, wrong: Wrong) -> Self {
        Self::Key { path: path.to_owned(), key: wrong.key, reason: wrong.reason }
    }

    pub(super) fn malformed(text: &str, path: &Path, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        // The parser names a key without its table; the table is what the reader looks for.
        let table = before.lines().rev().find_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']'));
        let place = table.map_or_else(String::new, |table| format!("in [{table}]: "));
        let reason = format!("{place}{}", error.message().replace('\n', " "));
        Self::Malformed { path: path.to_owned(), line, reason }
    }
}
