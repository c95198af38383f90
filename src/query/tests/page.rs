//! What docs/sql.md says, held against the functions there are and the files of queries.
//!
//! A row of the tables of statements and types shows patterns in backticks: words and signs as they are
//! written, a single letter for whatever stands there, `..` for whatever else. A row with a tick has each
//! of them in a query that is answered, or in the types of its answer; a row with a reason has each in a
//! query that is refused.

use std::collections::BTreeSet;
use std::path::Path;

use crate::query::functions::Registry;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// What is asked somewhere, and what is asked and answered there.
#[derive(Default)]
struct Cases {
    answered: Vec<String>,
    refused: Vec<String>,
}

impl Cases {
    /// The queries of a file, without remarks; with an answered one stand the names and types of its answer.
    /// What is asked in a file of Rust is answered as far as anyone can tell by reading it.
    fn read(&mut self, file: &str) {
        if file.ends_with(".rs") {
            self.answered.push(read(&format!("src/query/tests/{file}")).to_lowercase());
            return;
        }
        for block in read(&format!("tests/queries/{file}")).to_lowercase().split("\n\n") {
            let Some((query, answer)) = block.split_once("\n----\n") else { continue };
            let query = query.lines().filter(|line| !line.starts_with('#') && !line.starts_with("query"));
            let query = query.collect::<Vec<_>>().join("\n");
            let header = answer.lines().next().unwrap_or_default();
            match header.contains(" error: ") {
                true => self.refused.push(query),
                // A type is named there as the API names it: INTERVAL_DAY_TO_SECOND.
                false => self.answered.push(format!("{query}\n{header}\n{}", header.replace('_', " "))),
            }
        }
    }

    fn of(files: &[&str]) -> Self {
        let mut cases = Self::default();
        files.iter().for_each(|file| cases.read(file));
        cases
    }
}

/// Words, and every sign that is no blank. A text in quotes is one token, whatever it says.
fn tokens(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => rest[1..].find('\'').map_or(rest.len(), |end| end + 2),
            '.' if rest.starts_with("..") => 2,
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

/// Whether `text` begins with what `pattern` says.
fn begins(pattern: &[&str], text: &[&str]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return true };
    let is_letter = |token: &str| token.len() == 1 && token.chars().all(|c| c.is_ascii_alphabetic());
    match *first {
        ".." => (0..=text.len()).any(|skipped| begins(rest, &text[skipped..])),
        letter if is_letter(letter) => (1..=text.len()).any(|skipped| begins(rest, &text[skipped..])),
        token => text.first() == Some(&token) && begins(rest, &text[1..]),
    }
}

fn is_in(pattern: &[&str], text: &str) -> bool {
    let text = tokens(text);
    (0..text.len()).any(|start| begins(pattern, &text[start..]))
}

/// The cells of the rows of the only table of a section.
fn table<const COLUMNS: usize>(page: &str, section: &str) -> Vec<[String; COLUMNS]> {
    let (_, rest) = page.split_once(&format!("\n## {section}\n")).expect("the section");
    let section = rest.split("\n## ").next().unwrap_or_default();
    // `||` is written with bars that do not end a cell.
    let section = section.replace("\\|", "\u{1}");
    let lines = section.lines().filter(|line| line.starts_with('|'));
    // The heads and the line below them.
    let rows = lines.skip(2).map(|line| {
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|"));
        <[String; COLUMNS]>::try_from(cells.collect::<Vec<_>>()).unwrap_or_else(|_| panic!("{line}"))
    });
    rows.collect()
}

fn files(cell: &str) -> Vec<&str> {
    let files: Vec<&str> = quoted(cell).collect();
    let is_file = |file: &&str| file.ends_with(".slt") || file.ends_with(".rs");
    assert!(!files.is_empty() && files.iter().all(is_file), "no file of queries: {cell}");
    files
}

#[test]
fn every_statement_and_type_of_the_page_is_asked_or_refused_in_the_file_it_names() {
    let page = read("docs/sql.md");
    let mut wrong = Vec::new();
    for (section, least) in [("Statements", 20), ("Types", 4)] {
        let rows = table::<3>(&page, section);
        assert!(rows.len() >= least, "the table of {section} has another shape: {rows:?}");
        for [what, named, verdict] in rows {
            let is_ticked = verdict == "✓" || verdict.starts_with("✓ ");
            assert!(is_ticked || verdict.starts_with("– "), "neither a tick nor a reason: {what}: {verdict}");
            let cases = Cases::of(&files(&named));
            let asked = if is_ticked { cases.answered } else { cases.refused };
            let what = what.to_lowercase();
            assert!(what.contains('`'), "nothing to look for: {what}");
            let is_missing = |span: &&str| !asked.iter().any(|query| is_in(&tokens(span), query));
            wrong.extend(
                quoted(&what).filter(is_missing).map(|span| format!("`{span}` in {named}: {verdict}")),
            );
        }
    }
    assert!(wrong.is_empty(), "not asked, or not answered as the page says:\n{}", wrong.join("\n"));
}

#[test]
fn every_function_of_the_page_is_in_the_file_it_names_and_every_function_is_on_the_page() {
    let page = read("docs/sql.md");
    let rows = table::<3>(&page, "Operators and functions");
    let words = |text: &str| -> Vec<String> {
        let is_word = |token: &&str| token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        tokens(text).into_iter().filter(is_word).map(str::to_owned).collect()
    };
    let mut told = BTreeSet::new();
    let mut untested = Vec::new();
    for [_, named, functions] in &rows {
        let cases = Cases::of(&files(named));
        let asked: BTreeSet<String> = cases.answered.iter().flat_map(|query| words(query)).collect();
        // A name in a form with operands, as `truncate(x, n)`, is the word before the parenthesis.
        let names = quoted(functions).flat_map(|span| words(span.split('(').next().unwrap_or_default()));
        let names: Vec<String> = names.collect();
        untested.extend(names.iter().filter(|name| !asked.contains(&name.to_lowercase())).cloned());
        told.extend(names);
    }
    assert!(told.len() > 200, "the table of functions has another shape: {told:?}");
    assert!(untested.is_empty(), "no answered query of the file of their family calls {untested:?}");
    let registry = Registry::new();
    let untold: Vec<&str> = registry.names().into_iter().filter(|name| !told.contains(*name)).collect();
    assert!(untold.is_empty(), "docs/sql.md does not tell of {untold:?}");
}
