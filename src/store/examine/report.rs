//! What an examination found, for an operator to read.

use std::fmt;

/// What was looked at and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many tables there are.
    pub tables: u64,
    /// How many parts were read.
    pub parts: u64,
    /// How many frames of the log are good.
    pub frames: u64,
    /// What was found, in the order in which it was met.
    pub findings: Vec<Finding>,
}

/// One thing that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, below the store's folder.
    pub file: String,
    /// Where in the file, when it is a place.
    pub offset: Option<u64>,
    /// What it means.
    pub meaning: String,
    /// How many rows are known to be affected; there may be more that cannot be read. `None` when
    /// nothing can be said.
    pub rows: Option<u64>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The store opens and nothing is lost.
    Harmless,
    /// Rows are lost or will be.
    Loss,
    /// The store does not open.
    Refused,
}

impl Report {
    /// Whether the store opens and has lost nothing.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Harmless)
    }
}

impl Finding {
    pub(crate) fn new(severity: Severity, file: impl ToString, meaning: impl Into<String>) -> Self {
        Self { severity, file: file.to_string(), offset: None, meaning: meaning.into(), rows: None }
    }

    pub(crate) fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    pub(super) fn affecting(self, rows: u64) -> Self {
        Self { rows: Some(rows), ..self }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Harmless => "harmless",
            Self::Loss => "loss",
            Self::Refused => "refused",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.file)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}", self.meaning)?;
        match self.rows {
            Some(rows) => write!(f, " (at least {rows} rows)"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} tables, {} parts, {} frames in the log", self.tables, self.parts, self.frames)?;
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        f.write_str(if self.is_sound() { "the store is sound" } else { "the store is damaged" })
    }
}
