//! The file action: the result as one line of JSON at the end of a file. It is ours; AWS has none.
//!
//! The file lies below one folder and its name is fixed when the rule is loaded, so that no device can
//! say where a line goes.

use super::super::checker::Checker;
use super::super::effect::{FailureReason, FileLine};
use super::super::file::FileFile;
use super::super::sql::eval::Output;

/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 255;
/// The sizes at which a file may be put aside.
const FILE_BYTES: (u64, u64) = (4 * 1024, 1024 * 1024 * 1024);
/// How many files put aside may be kept.
const KEEP_MAX: u32 = 99;

/// A checked file action.
#[derive(Debug)]
pub(crate) struct FileAction {
    path: String,
    bytes_max: u64,
    keep: u32,
}

impl FileAction {
    pub(super) fn check(file: &FileFile, checker: &mut Checker<'_>) -> Option<Self> {
        let path = &file.path;
        if let Some(problem) = path_problem(&path.text) {
            checker.mistake(path.start, format!("path: {:?} {problem}", path.text));
        }
        checker.in_range("max_bytes", file.max_bytes, FILE_BYTES.0, FILE_BYTES.1);
        checker.in_range("keep", file.keep, 0, KEEP_MAX.into());
        let keep = u32::try_from(file.keep).ok()?;
        Some(Self { path: path.text.clone(), bytes_max: file.max_bytes, keep })
    }

    pub(super) fn run(&self, output: &Output<'_>) -> Result<FileLine, FailureReason> {
        let line = output.json()?.ok_or_else(|| FailureReason::ResultNotJson { kind: output.kind() })?;
        Ok(FileLine { path: self.path.clone(), line, bytes_max: self.bytes_max, keep: self.keep })
    }
}

fn path_problem(path: &str) -> Option<&'static str> {
    if path.contains("${") {
        return Some("cannot be a template");
    }
    if path.len() > PATH_BYTES_MAX {
        return Some("is longer than 255 bytes");
    }
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let named = |name: &str| !name.is_empty() && !name.starts_with('.') && name.chars().all(plain);
    let problem = "is no path below rules.files_path: write names of letters, digits, _, - and . with / between \
                   them; none begins with a point";
    (!path.split('/').all(named)).then_some(problem)
}
