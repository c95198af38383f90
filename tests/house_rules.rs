//! The house rules, executable: which room may use which, how long files may be, what they begin with.

use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this fails; tests that stand in files of their own do not count.
const FILE_LINES_MAX: usize = 650;

/// A room and what it may use; `docs/architecture.md` draws the same table.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("shutdown", &[]),
    ("topic", &[]),
    ("message", &["clock", "topic"]),
    ("record", &["clock"]),
    ("outlet", &[]),
    ("stamp", &[]),
    ("posts", &["shutdown"]),
    ("buckets", &[]),
    ("access", &["clock"]),
    ("tls", &["shutdown", "stamp"]),
    ("mqtt", &["clock", "shutdown", "topic", "message", "access", "tls"]),
    ("rules", &["clock", "topic", "message", "record", "stamp"]),
    ("store", &["clock", "shutdown", "record", "buckets"]),
    ("query", &["clock", "shutdown", "record", "buckets", "store"]),
    (
        "pipeline",
        &["clock", "shutdown", "topic", "message", "record", "outlet", "posts", "mqtt", "rules", "store"],
    ),
    ("batch_load", &["clock", "shutdown", "record", "buckets", "store"]),
    ("schedule", &["buckets", "clock", "shutdown", "record", "posts", "store", "query"]),
    ("rulebook", &["clock", "shutdown", "rules"]),
    (
        "api",
        &[
            "clock",
            "shutdown",
            "topic",
            "message",
            "record",
            "access",
            "tls",
            "mqtt",
            "rules",
            "store",
            "query",
            "batch_load",
            "pipeline",
            "rulebook",
            "schedule",
        ],
    ),
    ("config", &["topic", "message", "stamp", "access", "tls", "mqtt", "buckets", "rules", "store"]),
    (
        "daemon",
        &[
            "clock",
            "shutdown",
            "buckets",
            "config",
            "message",
            "record",
            "access",
            "tls",
            "mqtt",
            "rules",
            "store",
            "query",
            "batch_load",
            "pipeline",
            "rulebook",
            "schedule",
            "api",
        ],
    ),
    (
        "cli",
        &[
            "clock", "topic", "message", "record", "tls", "mqtt", "config", "rules", "store", "query",
            "daemon",
        ],
    ),
];

/// A crate that only some rooms may name, so that what it does has one home.
const CRATES: &[(&str, &[&str])] = &[
    ("datafusion", &["query"]),
    ("axum", &["api"]),
    ("rumqttc", &["mqtt"]),
    ("redb", &["store"]),
    ("socket2", &["mqtt"]),
    ("parquet", &["store", "query"]),
    ("sqlparser", &["rules", "query"]),
    ("clap", &["cli"]),
    ("mimalloc", &["main"]),
    ("rustls", &["tls", "mqtt"]),
    ("tokio_rustls", &["tls"]),
    ("x509_parser", &["access"]),
    ("rcgen", &["cli"]),
    ("argon2", &["mqtt"]),
    ("tokio_tungstenite", &["mqtt"]),
    ("anyhow", &["cli", "main"]),
    ("reqwest", &["posts"]),
    ("croner", &["schedule"]),
    ("std::fs", &["stamp", "buckets", "tls", "store", "config", "rules", "rulebook", "outlet", "cli"]),
    ("tokio::fs", &[]),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "types", "misc", "manager", "impl"];

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

impl Source {
    /// Lines with their number, without comments and without what stands in a test module.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let in_tests = self.is_test();
        self.text
            .lines()
            .enumerate()
            .take_while(|(_, line)| *line != "#[cfg(test)]")
            .filter(move |(_, line)| !in_tests && !line.trim_start().starts_with("//"))
            .map(|(index, line)| (index + 1, line))
    }

    fn is_test(&self) -> bool {
        let in_folder = self.path.components().any(|part| part.as_os_str() == "tests");
        in_folder || self.path.file_name().is_some_and(|name| name == "tests.rs")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let below = path.strip_prefix(root().join("src")).expect("below src");
            let first = below.components().next().expect("a component").as_os_str();
            let room = first.to_str().expect("UTF-8").trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).expect("UTF-8");
            found.push(Source { path, room, text });
        }
    }
}

fn report(mistakes: Vec<String>) {
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

#[test]
fn rooms_use_only_what_they_may() {
    let mut mistakes = Vec::new();
    for source in sources() {
        if source.room == "lib" || source.room == "main" {
            continue;
        }
        let Some((_, allowed)) = DIRECTIONS.iter().find(|(room, _)| *room == source.room) else {
            mistakes.push(format!("{}: the room has no line in DIRECTIONS", source.path.display()));
            continue;
        };
        for (number, line) in source.code() {
            for (_, rest) in line.match_indices("crate::").map(|(at, _)| line.split_at(at + "crate::".len()))
            {
                let used: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let known = DIRECTIONS.iter().any(|(room, _)| *room == used);
                if known && used != source.room && !allowed.contains(&used.as_str()) {
                    let path = source.path.display();
                    mistakes.push(format!("{path}:{number}: {} may not use {used}", source.room));
                }
            }
        }
    }
    report(mistakes);
}

#[test]
fn crates_are_named_in_their_rooms_only() {
    let mut mistakes = Vec::new();
    for source in sources() {
        for (number, line) in source.code() {
            for (name, rooms) in CRATES {
                let named = line.contains(&format!("{name}::")) || line.contains(&format!("use {name};"));
                if named && !rooms.contains(&source.room.as_str()) {
                    mistakes
                        .push(format!("{}:{number}: only {rooms:?} may name {name}", source.path.display()));
                }
            }
        }
    }
    report(mistakes);
}

#[test]
fn every_file_says_what_it_is_for() {
    let without = |source: &Source| !source.text.starts_with("//! ");
    report(
        sources().iter().filter(|s| without(s)).map(|s| format!("{}: no //!", s.path.display())).collect(),
    );
}

#[test]
fn files_stay_readable() {
    let mut mistakes = Vec::new();
    for source in sources() {
        let lines = source.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        if !source.is_test() && lines > FILE_LINES_MAX {
            mistakes.push(format!("{}: {lines} lines", source.path.display()));
        }
        let stem = source.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) {
            mistakes.push(format!("{}: the name says nothing", source.path.display()));
        }
    }
    report(mistakes);
}

/// A test that cannot fail would hide the mistakes of the others.
#[test]
fn the_rules_see_a_mistake() {
    let text = "//! x\nuse crate::store::Store; // fine\n// use crate::api;\n#[cfg(test)]\nuse crate::api;";
    let path = PathBuf::from("src/rules/x.rs");
    let source = Source { path, room: "rules".into(), text: text.into() };
    let code: Vec<usize> = source.code().map(|(number, _)| number).filter(|number| *number > 1).collect();
    assert_eq!(code, [2]);
}
