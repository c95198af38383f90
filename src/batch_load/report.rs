//! What went wrong in a batch load, kept short however much it is, and the report in the bucket.
//!
//! The report is AWS's: reasons with ranges of lines, by file. Where it lies is not documented there; here it
//! is `<prefix>/<task id>/error-report.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Different reasons that are kept for one file.
const REASONS_MAX: usize = 50;
/// Ranges of lines that are kept for one task.
const RANGES_MAX: usize = 4_000;
/// How much of a reason is kept, in characters.
const REASON_CHARS_MAX: usize = 300;
/// The reason under which the rest is counted.
const UNLISTED: &str = "There are more errors, which are not listed.";

/// The mistakes of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Mistakes {
    /// What concerns no file.
    pub(super) task: Vec<String>,
    files: Vec<FileMistakes>,
    ranges: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileMistakes {
    name: String,
    reasons: Vec<Reason>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reason {
    reason: String,
    ranges: Vec<(u64, u64)>,
}

impl Mistakes {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.task.is_empty() && self.files.is_empty()
    }

    /// Notes that the row in `line` of a file, from 1, failed; nothing for the whole file.
    pub(super) fn note(&mut self, file: &str, reason: &str, line: Option<u64>) {
        let reason = reason.char_indices().nth(REASON_CHARS_MAX).map_or(reason, |(end, _)| &reason[..end]);
        // Files come one after the other.
        if self.files.last().is_none_or(|last| last.name != file) {
            self.files.push(FileMistakes { name: file.to_owned(), reasons: Vec::new() });
        }
        let Some(mistakes) = self.files.last_mut() else { return };
        let full = self.ranges >= RANGES_MAX;
        let known = mistakes.reasons.iter().position(|known| known.reason == reason);
        let at = known.filter(|at| !full || mistakes.reasons[*at].extends(line)).unwrap_or_else(|| {
            let unlisted = full || (known.is_none() && mistakes.reasons.len() >= REASONS_MAX);
            let reason = if unlisted { UNLISTED } else { reason };
            let known = mistakes.reasons.iter().position(|known| known.reason == reason);
            known.unwrap_or_else(|| {
                mistakes.reasons.push(Reason { reason: reason.to_owned(), ranges: Vec::new() });
                mistakes.reasons.len() - 1
            })
        });
        let reason = &mut mistakes.reasons[at];
        match (line, reason.ranges.last_mut()) {
            (Some(line), Some((_, end))) if (*end..=*end + 1).contains(&line) => *end = line,
            // One range for everything that is not listed.
            (Some(line), Some((_, end))) if reason.reason == UNLISTED => *end = line.max(*end),
            (Some(line), _) => {
                reason.ranges.push((line, line));
                self.ranges += 1;
            }
            (None, _) => {}
        }
    }

    /// The report.
    pub(super) fn report(&self, task_id: &str) -> Value {
        let task: Vec<Value> = self.task.iter().map(|reason| json!({ "reason": reason })).collect();
        let reason = |reason: &Reason| json!({ "reason": reason.reason, "lineRanges": reason.ranges });
        let file = |file: &FileMistakes| {
            let errors: Vec<Value> = file.reasons.iter().map(reason).collect();
            json!({ "fileName": file.name, "errors": errors })
        };
        let files: Vec<Value> = self.files.iter().map(file).collect();
        json!({ "taskId": task_id, "taskErrors": task, "fileErrors": files })
    }
}

impl Reason {
    fn extends(&self, line: Option<u64>) -> bool {
        let last = self.ranges.last();
        line.is_none_or(|line| last.is_some_and(|(_, end)| (*end..=*end + 1).contains(&line)))
    }
}

/// The key of a task's report below `prefix`.
pub(super) fn key(prefix: Option<&str>, task_id: &str) -> String {
    match prefix.map(|prefix| prefix.trim_end_matches('/')).filter(|prefix| !prefix.is_empty()) {
        Some(prefix) => format!("{prefix}/{task_id}/error-report.json"),
        None => format!("{task_id}/error-report.json"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_follow_one_another_are_one_range() {
        let mut mistakes = Mistakes::default();
        for line in [2, 3, 3, 5, 9] {
            mistakes.note("example.csv", "late", Some(line));
        }
        mistakes.note("example.csv", "empty", Some(4));
        mistakes.note("other.csv", "no header", None);
        assert_eq!(
            mistakes.report("T"),
            json!({
                "taskId": "T",
                "taskErrors": [],
                "fileErrors": [
                    { "fileName": "example.csv", "errors": [
                        { "reason": "late", "lineRanges": [[2, 3], [5, 5], [9, 9]] },
                        { "reason": "empty", "lineRanges": [[4, 4]] },
                    ] },
                    { "fileName": "other.csv", "errors": [{ "reason": "no header", "lineRanges": [] }] },
                ],
            })
        );
    }

    #[test]
    fn endless_mistakes_stay_short() {
        let mut mistakes = Mistakes::default();
        for line in 0..100_000_u64 {
            mistakes.note("a.csv", "every second line", Some(line * 2));
            mistakes.note("a.csv", &format!("reason {line}"), Some(line * 2 + 1));
        }
        let report = mistakes.report("T").to_string();
        assert!(report.len() < 400_000, "{}", report.len());
        assert!(report.contains(UNLISTED));
        let read: Mistakes =
            serde_json::from_str(&serde_json::to_string(&mistakes).expect("JSON")).expect("the same");
        assert_eq!(read, mistakes);
    }

    #[test]
    fn reports_lie_below_their_prefix() {
        assert_eq!(key(Some("a/b/"), "T"), "a/b/T/error-report.json");
        assert_eq!(key(Some("a"), "T"), "a/T/error-report.json");
        assert_eq!(key(None, "T"), "T/error-report.json");
    }
}
