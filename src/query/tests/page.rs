//! What docs/sql.md says about functions, held against the functions there are and the files of queries.

use std::collections::BTreeSet;
use std::path::Path;

use crate::query::functions::Registry;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// What stands in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The texts of the queries in a file, without what comes back, in lower case.
fn queries(file: &str) -> String {
    let text = read(&format!("tests/queries/{file}")).to_lowercase();
    let blocks = text.split("\n\n").filter_map(|block| block.split_once("\n----"));
    blocks.map(|(query, _)| query).collect::<Vec<_>>().join("\n")
}

/// Files and functions of a line of the table of functions. A name in a form with operands, as
/// `truncate(x, n)`, is the word before the parenthesis.
fn family(line: &str) -> Option<(Vec<&str>, Vec<&str>)> {
    let [_, _, files, functions, _] = line.split('|').collect::<Vec<_>>().try_into().ok()?;
    let files: Vec<&str> = quoted(files).filter(|file| file.ends_with(".slt")).collect();
    let names = quoted(functions).flat_map(|span| words(span.split('(').next().unwrap_or_default()));
    (!files.is_empty()).then(|| (files, names.collect()))
}

#[test]
fn every_function_of_the_page_is_in_the_file_it_names_and_every_function_is_on_the_page() {
    let page = read("docs/sql.md");
    let (_, table) = page.split_once("## Operators and functions").expect("the table of functions");
    let mut told = BTreeSet::new();
    let mut untested = Vec::new();
    // `||` is written with bars that do not end a cell.
    let table = table.replace("\\|", "");
    for (files, names) in table.lines().filter_map(family) {
        let text: String = files.iter().map(|file| queries(file)).collect();
        let asked: BTreeSet<&str> = words(&text).collect();
        untested.extend(names.iter().filter(|name| !asked.contains(name.to_lowercase().as_str())).copied());
        told.extend(names);
    }
    assert!(told.len() > 200, "the table of functions has another shape: {told:?}");
    assert!(untested.is_empty(), "no query of the file of their family calls {untested:?}");
    let registry = Registry::new();
    let untold: Vec<&str> = registry.names().into_iter().filter(|name| !told.contains(name)).collect();
    assert!(untold.is_empty(), "docs/sql.md does not tell of {untold:?}");
}
