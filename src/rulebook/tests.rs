//! The book with real folders: what is live, what is refused, what is left after a restart.

use std::fs;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::{Rulebook, RulebookError, Tags};
use crate::clock::{ManualClock, Timestamp};
use crate::rules::{RuleFolder, RuleOptions, RuleSet};

const PAYLOAD: &str = r#"{"sql": "SELECT t FROM 'a/#'", "actions": []}"#;

/// A folder for the user, one for the store, and the sets that were taken into use.
struct Site {
    folder: TempDir,
    clock: Arc<ManualClock>,
    live: Arc<Mutex<Vec<RuleSet>>>,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("rules")).expect("a folder");
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_123)));
        Self { folder, clock, live: Arc::default() }
    }

    fn open(&self) -> Rulebook {
        let mut files = RuleFolder::new(&self.folder.path().join("rules"));
        files.refresh().expect("a readable folder");
        let live = Arc::clone(&self.live);
        let swap = Box::new(move |set| live.lock().expect("no panic").push(set));
        let stored = self.folder.path().join("store/rules");
        let clock = Arc::clone(&self.clock) as Arc<_>;
        Rulebook::open(files, &stored, RuleOptions::default(), clock, swap).expect("a usable folder")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("a written file");
    }

    /// The rules of the set in use, with their FROM; those that are disabled in brackets.
    fn live(&self) -> Vec<String> {
        let live = self.live.lock().expect("no panic");
        let told = live.last().expect("a set").rules().iter().map(|rule| {
            let told = format!("{} {}", rule.name(), rule.topic_filter().unwrap_or_default());
            if rule.is_disabled() { format!("({told})") } else { told }
        });
        told.collect()
    }
}

#[test]
fn a_rule_is_live_at_once_and_after_a_restart() {
    let site = Site::new();
    let tags = Tags::from([("team".to_owned(), "a".to_owned())]);
    let book = site.open();
    assert!(site.live().is_empty());
    book.create("r", PAYLOAD, tags.clone()).expect("made");
    assert_eq!(site.live(), ["r a/#"]);
    site.clock.set(Timestamp::from_millis(1_800_000_000_000));
    book.replace("r", r#"{"Sql": "SELECT t FROM 'b'", "Actions": [], "Description": "d"}"#)
        .expect("replaced");
    book.set_enabled("r", false).expect("disabled");
    assert_eq!(site.live(), ["(r b)"]);
    drop(book);

    let book = site.open();
    assert_eq!(site.live(), ["(r b)"]);
    let entry = book.get("r").expect("a rule");
    assert_eq!((entry.tags, entry.path), (tags, None));
    assert_eq!(entry.created, Some(Timestamp::from_millis(1_700_000_000_123)), "replacing is not creating");
    assert_eq!(entry.rule.definition()["description"], "d");
    book.set_enabled("r", true).expect("enabled");
    assert_eq!(site.live(), ["r b"]);
    book.delete("r").expect("deleted");
    assert!(site.live().is_empty() && book.list().is_empty());
    assert!(site.open().list().is_empty());
    let left = fs::read_dir(site.folder.path().join("store/rules")).expect("a folder").count();
    assert_eq!(left, 0, "nothing is left behind");
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let site = Site::new();
    let book = site.open();
    book.create("r", PAYLOAD, Tags::new()).expect("made");
    assert!(matches!(book.create("r", PAYLOAD, Tags::new()), Err(RulebookError::Exists { path: None, .. })));
    assert!(matches!(book.replace("x", PAYLOAD), Err(RulebookError::Unknown { .. })));
    assert!(matches!(book.delete("x"), Err(RulebookError::Unknown { .. })));
    assert!(matches!(book.set_enabled("x", true), Err(RulebookError::Unknown { .. })));
    assert!(matches!(book.replace("r", r#"{"sql": "SELEC"}"#), Err(RulebookError::Invalid(_))));
    let renamed = r#"{"ruleName": "y", "sql": "SELECT t FROM 'b'"}"#;
    assert!(matches!(book.replace("r", renamed), Err(RulebookError::Invalid(_))));
    assert!(matches!(book.create("a-b", PAYLOAD, Tags::new()), Err(RulebookError::Invalid(_))));
    assert_eq!(site.live(), ["r a/#"]);

    // A folder that cannot be written to.
    let folder = site.folder.path().join("store/rules");
    fs::remove_dir_all(&folder).expect("a folder to remove");
    fs::write(&folder, "").expect("a file in its place");
    let error = book.replace("r", r#"{"sql": "SELECT 1 AS x FROM 'z'"}"#).expect_err("no folder");
    assert!(matches!(error, RulebookError::Disk { .. }));
    assert_eq!(site.live(), ["r a/#"]);
}

#[test]
fn a_users_file_counts_and_only_the_user_changes_it() {
    let site = Site::new();
    let book = site.open();
    book.create("r", PAYLOAD, Tags::new()).expect("made");
    let file = "sql = \"SELECT t FROM 'mine'\"";
    site.write("rules/r.toml", file);
    book.look();
    assert_eq!(site.live(), ["r mine"]);
    let problems = book.problems();
    assert!(problems.len() == 1 && problems[0].contains("r.json: not used, for "), "{problems:?}");
    for refused in [book.replace("r", PAYLOAD), book.delete("r"), book.set_enabled("r", false)] {
        let text = refused.expect_err("refused").to_string();
        assert!(text.contains("rules/r.toml: change that file"), "{text}");
    }
    let error = book.create("r", PAYLOAD, Tags::new()).expect_err("taken");
    assert!(matches!(error, RulebookError::Exists { path: Some(_), .. }));
    assert_eq!(fs::read_to_string(site.folder.path().join("rules/r.toml")).expect("the file"), file);

    fs::remove_file(site.folder.path().join("rules/r.toml")).expect("removed");
    book.look();
    book.look();
    assert_eq!(site.live(), ["r a/#"], "the stored rule is back");
    assert!(book.problems().is_empty());
}

#[test]
fn a_broken_file_is_a_problem_until_it_is_mended() {
    let site = Site::new();
    site.write("rules/r.toml", "sql = \"SELECT t FROM 'a'\"");
    let book = site.open();
    site.write("rules/r.toml", "sql = \"SELECT FROM\"");
    book.look();
    assert_eq!(site.live(), ["r a"]);
    let sets = site.live.lock().expect("no panic").len();
    book.look();
    book.look();
    assert_eq!(site.live.lock().expect("no panic").len(), sets, "nothing changed, nothing swapped");
    assert!(book.problems()[0].ends_with("(the rule this file held before stays in use)"));
    site.write("rules/r.toml", "sql = \"SELECT t FROM 'b'\"");
    book.look();
    assert_eq!((site.live(), book.problems()), (vec!["r b".to_owned()], vec![]));

    fs::rename(site.folder.path().join("rules"), site.folder.path().join("elsewhere")).expect("renamed");
    book.look();
    assert_eq!(site.live(), ["r b"]);
    assert!(book.problems()[0].contains("stay in use"), "{:?}", book.problems());
}

#[test]
fn a_stored_file_that_is_no_rule_is_left_alone_until_told() {
    let site = Site::new();
    site.open().create("r", PAYLOAD, Tags::new()).expect("made");
    site.write(
        "store/rules/r.json",
        r#"{"ruleName": "r", "createdAt": 1, "topicRulePayload": {"sql": "SELEC"}}"#,
    );
    let book = site.open();
    assert!(site.live().is_empty());
    assert!(book.problems()[0].contains("r.json: sql: "), "{:?}", book.problems());
    assert!(matches!(book.create("r", PAYLOAD, Tags::new()), Err(RulebookError::Exists { .. })));
    assert!(matches!(book.set_enabled("r", true), Err(RulebookError::Unknown { .. })));
    book.replace("r", PAYLOAD).expect("replaced");
    assert!(book.problems().is_empty());
    assert_eq!(site.live(), ["r a/#"]);
}
