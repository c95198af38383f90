//! Reads a folder of rules, once or again and again.
//!
//! One bad file never keeps the others from loading, and a file that breaks while its rule is in use
//! takes nothing away: the rule it held before stays until the file is right again or gone.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::{LoadError, Mistake, RuleProblem};
use super::rule::Rule;
use super::stand_ins::StandIns;
use super::{RuleOptions, RuleSet};
use crate::clock::Timestamp;
use crate::stamp::Stamp;

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

impl RuleSet {
    /// Reads every `*.toml` and `*.json` in `folder`, in the order of their names. Files that start
    /// with a point and subfolders are passed over.
    ///
    /// # Errors
    /// When the folder itself cannot be read. Problems of single files are in the result.
    pub fn load(folder: &Path, options: &RuleOptions) -> Result<Loaded, LoadError> {
        let mut folder = RuleFolder::new(folder).reading(&options.files);
        folder.refresh()?;
        let (defined, problems) = folder.rules();
        let rules = defined.into_iter().map(|defined| defined.rule).collect();
        Ok(Loaded { rules: Self::with_options(rules, options), problems })
    }
}

/// A rule and the file that defines it.
#[derive(Debug, Clone)]
pub struct DefinedRule {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Its file.
    pub path: PathBuf,
    /// When the file was last changed, if the system tells.
    pub modified: Option<Timestamp>,
}

/// A folder of rules that is read again whenever it may have changed.
#[derive(Debug)]
pub struct RuleFolder {
    path: PathBuf,
    local: StandIns,
    files: BTreeMap<PathBuf, FileState>,
    passed_over: Vec<RuleProblem>,
}

/// How a rule file is written.
#[derive(Debug, Clone, Copy)]
enum Format {
    Toml,
    Json,
}

/// What is known of one file.
#[derive(Debug)]
struct FileState {
    stamp: Option<Stamp>,
    content: u64,
    /// Whether the file was read again after its stamp changed. A second change within the same tick
    /// of the file system's clock leaves the stamp as it is.
    settled: bool,
    /// Whether the file was not there when last looked for: editors remove and create again.
    missing: bool,
    rule: Option<Arc<Rule>>,
    mistakes: Vec<Mistake>,
}

impl RuleFolder {
    /// A folder that has not been read yet.
    pub fn new(path: &Path) -> Self {
        let local = StandIns::default();
        Self { path: path.to_owned(), local, files: BTreeMap::new(), passed_over: Vec::new() }
    }

    /// The folder, with what functions of its rules may read. They read it when their rule's own file is
    /// read.
    #[must_use]
    pub fn reading(self, files: &StandIns) -> Self {
        Self { local: files.clone(), ..self }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the folder and reads what changed; says whether [`RuleFolder::rules`] may differ now.
    /// A file that is gone counts as gone when it is not there the second time.
    ///
    /// # Errors
    /// When the folder itself cannot be read; what is known of it stays.
    pub fn refresh(&mut self) -> Result<bool, LoadError> {
        let failed = |source: io::Error| LoadError { path: self.path.clone(), source };
        let mut listed = rule_files(&self.path).map_err(failed)?;
        let surplus = listed.drain(listed.len().min(FILES_MAX)..);
        let reason = format!("passed over: a folder may hold at most {FILES_MAX} rules");
        let passed_over = surplus.map(|(path, _)| RuleProblem::new(&path, None, reason.clone())).collect();
        let mut changed = self.passed_over != passed_over;
        self.passed_over = passed_over;

        let before = self.files.len();
        self.files.retain(|path, state| {
            let there = listed.binary_search_by(|(other, _)| other.cmp(path)).is_ok();
            let kept = there || !state.missing;
            state.missing = !there;
            kept
        });
        changed |= self.files.len() != before;
        for (path, format) in listed {
            changed |= self.look_at(path, format);
        }
        Ok(changed)
    }

    /// The rules, in the order of their files' names, and what is wrong with the folder. Of two files
    /// with one rule the first counts.
    pub fn rules(&self) -> (Vec<DefinedRule>, Vec<RuleProblem>) {
        let mut rules: Vec<DefinedRule> = Vec::new();
        let mut problems = Vec::new();
        let mut names: HashMap<Arc<str>, &Path> = HashMap::new();
        for (path, state) in &self.files {
            for mistake in &state.mistakes {
                let problem = RuleProblem::new(path, mistake.line, mistake.reason.clone());
                problems.push(RuleProblem { earlier_in_use: state.rule.is_some(), ..problem });
            }
            let Some(rule) = &state.rule else { continue };
            if let Some(first) = names.get(rule.name()) {
                let reason = format!("the rule {} is already defined in {}", rule.name(), first.display());
                problems.push(RuleProblem::new(path, None, reason));
                continue;
            }
            names.insert(Arc::clone(rule.name()), path);
            let modified = state.stamp.and_then(Stamp::modified).and_then(timestamp);
            rules.push(DefinedRule { rule: Arc::clone(rule), path: path.clone(), modified });
        }
        problems.extend(self.passed_over.iter().cloned());
        (rules, problems)
    }

    /// Reads the file if it may have changed; says whether it did.
    fn look_at(&mut self, path: PathBuf, format: Format) -> bool {
        let stamp = Stamp::of(&path);
        let known = self.files.get_mut(&path);
        let is_same = |known: &&mut FileState| known.settled && stamp.is_some() && known.stamp == stamp;
        if known.as_ref().is_some_and(|known| is_same(known) && known.mistakes.is_empty()) {
            return false;
        }
        let text = read_text(&path);
        let content = hash_of(&text);
        let rule = match known {
            Some(known) if known.content == content => {
                known.settled = known.stamp == stamp;
                known.stamp = stamp;
                return known.try_again(&path, format, text, &self.local);
            }
            known => known.and_then(|known| known.rule.take()),
        };
        let mut state =
            FileState { stamp, content, settled: false, missing: false, rule, mistakes: Vec::new() };
        match read_rule(&path, format, text, &self.local) {
            Ok(rule) => state.rule = Some(Arc::new(rule)),
            Err(mistakes) => state.mistakes = mistakes,
        }
        self.files.insert(path, state);
        true
    }
}

impl FileState {
    /// Reads a file with mistakes again although it has not changed, because a secret or a descriptor it
    /// names may be there now; says whether that makes a difference.
    fn try_again(
        &mut self,
        path: &Path,
        format: Format,
        text: Result<String, String>,
        local: &StandIns,
    ) -> bool {
        if self.mistakes.is_empty() {
            return false;
        }
        let before = match read_rule(path, format, text, local) {
            Ok(rule) => {
                self.rule = Some(Arc::new(rule));
                std::mem::take(&mut self.mistakes)
            }
            Err(mistakes) => std::mem::replace(&mut self.mistakes, mistakes),
        };
        before != self.mistakes
    }
}

fn timestamp(moment: SystemTime) -> Option<Timestamp> {
    let nanos = moment.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    i64::try_from(nanos).ok().map(Timestamp::from_nanos)
}

fn hash_of(text: &Result<String, String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
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

fn read_rule(
    path: &Path,
    format: Format,
    text: Result<String, String>,
    files: &StandIns,
) -> Result<Rule, Vec<Mistake>> {
    let text = text.map_err(|reason| vec![Mistake::new(None, reason)])?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let parsed = match format {
        Format::Toml => Rule::parse_toml_with(&name, &text, files),
        Format::Json => Rule::parse_json_with(&name, &text, files),
    };
    parsed.map_err(|error| error.mistakes)
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

    /// A folder that has been read, and the names of its rules with their SQL.
    struct Watched {
        folder: tempfile::TempDir,
        rules: RuleFolder,
    }

    impl Watched {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let rules = RuleFolder::new(folder.path());
            let mut watched = Self { folder, rules };
            for (name, text) in files {
                watched.write(name, text);
            }
            assert!(watched.rules.refresh().expect("a readable folder"));
            watched
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), text).expect("a file");
        }

        fn remove(&self, name: &str) {
            fs::remove_file(self.folder.path().join(name)).expect("a file to remove");
        }

        /// What a look at the folder finds: whether it changed, the rules, how many problems.
        fn look(&mut self) -> (bool, Vec<String>, usize) {
            let changed = self.rules.refresh().expect("a readable folder");
            let (rules, problems) = self.rules.rules();
            let told = rules.iter().map(|one| format!("{} {}", one.rule.name(), one.rule.sql())).collect();
            (changed, told, problems.len())
        }
    }

    const A: &str = "sql = \"SELECT * FROM 'a'\"\n";
    const B: &str = "sql = \"SELECT * FROM 'b'\"\n";

    #[test]
    fn only_what_changed_is_read_again() {
        let mut watched = Watched::new(&[("one.toml", A), ("two.toml", A)]);
        let rule = |watched: &Watched, at: usize| Arc::clone(&watched.rules.rules().0[at].rule);
        let (one, two) = (rule(&watched, 0), rule(&watched, 1));
        assert!(!watched.look().0, "nothing changed");
        // The same size in the same tick of the clock: found all the same.
        watched.write("two.toml", B);
        let (changed, told, _) = watched.look();
        assert!(changed);
        assert_eq!(told, ["one SELECT * FROM 'a'", "two SELECT * FROM 'b'"]);
        assert!(Arc::ptr_eq(&one, &rule(&watched, 0)) && !Arc::ptr_eq(&two, &rule(&watched, 1)));
        watched.write("two.toml", B);
        assert!(!watched.look().0, "written again, but the same");
    }

    #[test]
    fn a_change_that_leaves_the_stamp_as_it_is_is_found() {
        let mut watched = Watched::new(&[("one.toml", A)]);
        let path = watched.folder.path().join("one.toml");
        let moment = fs::metadata(&path).expect("a file").modified().expect("a moment");
        watched.write("one.toml", B);
        let file = fs::File::options().write(true).open(&path).expect("a file");
        file.set_modified(moment).expect("a stamp set back");
        assert_eq!(watched.look().1, ["one SELECT * FROM 'b'"]);
    }

    #[test]
    fn a_file_that_breaks_keeps_the_rule_it_had() {
        let mut watched = Watched::new(&[("one.toml", A)]);
        watched.write("one.toml", "sql = \"SELEC\"\n");
        let (changed, told, problems) = watched.look();
        assert_eq!((changed, told, problems), (true, vec!["one SELECT * FROM 'a'".to_owned()], 1));
        let problem = watched.rules.rules().1.remove(0).to_string();
        assert!(problem.contains("one.toml:1: sql: "), "{problem}");
        assert!(problem.ends_with(" (the rule this file held before stays in use)"), "{problem}");
        watched.write("one.toml", B);
        assert_eq!(watched.look(), (true, vec!["one SELECT * FROM 'b'".to_owned()], 0));
        // A file that was never right has nothing to keep.
        watched.write("two.toml", "oops");
        assert_eq!(watched.look().1.len(), 1);
        let problem = watched.rules.rules().1.remove(0);
        assert!(!problem.earlier_in_use);
    }

    #[test]
    fn a_file_is_gone_when_it_is_gone_twice() {
        let mut watched = Watched::new(&[("one.toml", A), ("two.toml", A)]);
        watched.remove("two.toml");
        assert_eq!(watched.look().1.len(), 2);
        watched.write("two.toml", B);
        assert_eq!(watched.look().1[1], "two SELECT * FROM 'b'", "it came back");
        watched.remove("two.toml");
        assert!(!watched.look().0);
        assert_eq!(watched.look(), (true, vec!["one SELECT * FROM 'a'".to_owned()], 0));
        fs::remove_dir_all(watched.folder.path()).expect("a folder to remove");
        assert!(watched.rules.refresh().is_err());
        assert_eq!(watched.rules.rules().0.len(), 1, "what was known stays");
    }

    #[test]
    fn a_secret_that_was_missing_mends_the_rule_once_it_is_there() {
        let secrets = tempfile::tempdir().expect("a folder");
        let folder = tempfile::tempdir().expect("a folder");
        let local = StandIns { secrets: Some(secrets.path().to_owned()), ..StandIns::default() };
        let rules = RuleFolder::new(folder.path()).reading(&local);
        let mut watched = Watched { folder, rules };
        let sql = "SELECT get_secret('key', 'SecretString', 'role') AS k FROM 'a'";
        watched.write("one.toml", &format!("sql = \"{sql}\"\n"));
        assert_eq!(watched.look(), (true, Vec::new(), 1));
        assert_eq!(watched.look(), (false, Vec::new(), 1));
        fs::write(secrets.path().join("key"), "open sesame").expect("a secret");
        assert_eq!(watched.look(), (true, vec![format!("one {sql}")], 0));
        assert!(!watched.look().0);
    }

    #[test]
    fn a_name_that_becomes_free_is_taken_by_the_next_file() {
        let mut watched = Watched::new(&[("a.toml", A), ("b.toml", &format!("name = \"a\"\n{B}"))]);
        assert_eq!(watched.look(), (false, vec!["a SELECT * FROM 'a'".to_owned()], 1));
        watched.remove("a.toml");
        watched.look();
        assert_eq!(watched.look(), (true, vec!["a SELECT * FROM 'b'".to_owned()], 0));
    }
}
