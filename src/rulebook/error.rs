//! Why a change to the rules was refused.

use std::io;
use std::path::PathBuf;

use crate::rules::RuleError;

/// Why a rule could not be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum RulebookError {
    /// The name is taken.
    #[error("Rule {name} already exists{}", in_file(path.as_ref()))]
    Exists {
        /// The rule.
        name: String,
        /// The user's file that defines it, if one does.
        path: Option<PathBuf>,
    },
    /// There is no such rule.
    #[error("there is no rule {name}")]
    Unknown {
        /// The rule.
        name: String,
    },
    /// The rule is defined in a file of the user's, which only the user changes.
    #[error("Rule {name} is defined in {}: change that file, it is read again within seconds", path.display())]
    InFile {
        /// The rule.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// What was given is no rule.
    #[error("{0}")]
    Invalid(#[from] RuleError),
    /// There are as many rules as there may be.
    #[error("there are {limit} rules already; delete one first")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// The rule could not be written down; nothing changed.
    #[error("{}: {source}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn in_file(path: Option<&PathBuf>) -> String {
    path.map_or_else(String::new, |path| format!(" in {}", path.display()))
}
