//! Reads a folder of rules.
//!
//! One bad file never keeps the others from loading.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::error::{LoadError, RuleProblem};
use super::local_files::LocalFiles;
use super::rule::Rule;
use super::{RuleOptions, RuleSet};

/// The largest rule file: twice AWS's quota for a rule, for comments and blank space.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// The most rule files one folder may hold: ten times AWS's quota.
const FILES_MAX: usize = 10_000;

/// A folder's rules, and what kept other files from becoming rules.
#[derive(Debug)]
pub struct Loaded {
    /// The rules that are in order.
    pub rules: RuleSet,
    /// One entry per mistake, by file.
    pub problems: Vec<RuleProblem>,
}

/// How a rule file is written.
#[derive(Debug, Clone, Copy)]
enum Format {
    Toml,
    Json,
}

impl RuleSet {
    /// Reads every `*.toml` and `*.json` in `folder`, in the order of their names. Files that start
    /// with a point and subfolders are passed over.
    ///
    /// # Errors
    /// When the folder itself cannot be read. Problems of single files are in the result.
    pub fn load(folder: &Path, options: &RuleOptions) -> Result<Loaded, LoadError> {
        let failed = |source: io::Error| LoadError { path: folder.to_owned(), source };
        let mut files = rule_files(folder).map_err(failed)?;
        let mut problems = Vec::new();
        for (path, _) in files.drain(files.len().min(FILES_MAX)..) {
            let reason = format!("passed over: a folder may hold at most {FILES_MAX} rules");
            problems.push(RuleProblem { path, line: None, reason });
        }
        let mut rules = Vec::new();
        let mut names: HashMap<String, PathBuf> = HashMap::new();
        for (path, format) in files {
            match read_rule(&path, format, &options.files) {
                Err(mistakes) => problems.extend(mistakes),
                Ok(rule) => match names.get(&**rule.name()) {
                    Some(first) => {
                        let reason =
                            format!("the rule {} is already defined in {}", rule.name(), first.display());
                        problems.push(RuleProblem { path, line: None, reason });
                    }
                    None => {
                        names.insert(rule.name().to_string(), path);
                        rules.push(rule);
                    }
                },
            }
        }
        Ok(Loaded { rules: Self::with_options(rules, options), problems })
    }
}

fn rule_files(folder: &Path) -> io::Result<Vec<(PathBuf, Format)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Format::Toml,
            Some("json") => Format::Json,
            _ => continue,
        };
        if !hidden && !path.is_dir() {
            files.push((path, format));
        }
    }
    files.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(files)
}

fn read_rule(path: &Path, format: Format, files: &LocalFiles) -> Result<Rule, Vec<RuleProblem>> {
    let problem = |line: Option<u64>, reason: String| RuleProblem { path: path.to_owned(), line, reason };
    let text = read_text(path).map_err(|reason| vec![problem(None, reason)])?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let parsed = match format {
        Format::Toml => Rule::parse_toml_with(&name, &text, files),
        Format::Json => Rule::parse_json_with(&name, &text, files),
    };
    parsed.map_err(|error| {
        error.mistakes.into_iter().map(|mistake| problem(mistake.line, mistake.reason)).collect()
    })
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    // Reading one byte more than allowed tells a large file from one that just fits, whatever the
    // system says about its size.
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "sql = \"SELECT * FROM 'a'\"\n";

    fn load(files: &[(&str, &str)]) -> Loaded {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        fs::create_dir(folder.path().join("folder.toml")).expect("a folder");
        RuleSet::load(folder.path(), &RuleOptions::default()).expect("a readable folder")
    }

    #[test]
    fn a_bad_file_is_reported_and_the_others_load() {
        let json = r#"{"sql": "SELECT a FROM 'b'", "actions": []}"#;
        let loaded = load(&[
            ("one.toml", GOOD),
            ("two.json", json),
            ("broken.toml", "sql = \"SELECT * FROM 'a'\"\n\nsqll = 1\n"),
            ("my-rule.toml", GOOD),
            (".hidden.toml", "oops"),
            ("notes.txt", "oops"),
            ("one.toml~", "oops"),
        ]);
        let names: Vec<&str> = loaded.rules.rules().iter().map(|rule| &**rule.name()).collect();
        assert_eq!(names, ["one", "two"]);
        let [broken, named] = loaded.problems.as_slice() else { panic!("{:?}", loaded.problems) };
        assert_eq!((broken.line, broken.path.file_name()), (Some(3), Some("broken.toml".as_ref())));
        assert!(broken.reason.starts_with("unknown field `sqll`, expected one of `name`, `sql`"), "{broken}");
        assert!(named.reason.starts_with("\"my-rule\" is no name for a rule"), "{named}");
    }

    #[test]
    fn the_second_rule_of_a_name_is_a_problem() {
        let loaded = load(&[("a.toml", GOOD), ("b.toml", &format!("name = \"a\"\n{GOOD}"))]);
        assert_eq!(loaded.rules.len(), 1);
        assert!(loaded.problems[0].reason.starts_with("the rule a is already defined in "));
    }

    #[test]
    fn files_too_large_or_no_text_are_problems() {
        let large = format!("{GOOD}# {}", "x".repeat(256 * 1024));
        let loaded = load(&[("large.toml", &large)]);
        assert_eq!(loaded.problems[0].reason, "is larger than 262144 bytes");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let error =
            RuleSet::load(Path::new("/nonexistent/rules"), &RuleOptions::default()).expect_err("no folder");
        assert!(error.to_string().starts_with("cannot read the rules folder /nonexistent/rules: "));
    }
}
