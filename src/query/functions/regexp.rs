//! Regular expressions (spec 4.5).
//!
//! The engine is the one DataFusion brings: linear in the text whatever the pattern, at the price of
//! Java's look-around and back-references, which it refuses.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, ListBuilder, StringViewArray, StringViewBuilder,
};
use datafusion::common::Result;
use datafusion::functions::regex::compile_regex;

use super::scalar::{Call, Def, def};
use crate::query::error::{failed, invalid};

pub(super) const FUNCTIONS: &[Def] = &[
    def(
        "regexp_like",
        &[("regexp_like(varchar, varchar) -> boolean", |call| {
            let mut patterns = Patterns::default();
            call.map::<_, BooleanArray>(|row| {
                Ok(Some((patterns.get(call.text(1).value(row))?.is_match)(call.text(0).value(row))))
            })
        })],
    ),
    def(
        "regexp_extract",
        &[
            ("regexp_extract(varchar, varchar) -> varchar", |call| extract(call, |_| 0)),
            ("regexp_extract(varchar, varchar, bigint) -> varchar", |call| {
                extract(call, |row| call.bigint(2).value(row))
            }),
        ],
    ),
    def(
        "regexp_extract_all",
        &[
            ("regexp_extract_all(varchar, varchar) -> array(varchar)", |call| extract_all(call, |_| 0)),
            ("regexp_extract_all(varchar, varchar, bigint) -> array(varchar)", |call| {
                extract_all(call, |row| call.bigint(2).value(row))
            }),
        ],
    ),
    def(
        "regexp_replace",
        &[
            ("regexp_replace(varchar, varchar) -> varchar", |call| replace(call, |_| String::new())),
            ("regexp_replace(varchar, varchar, varchar) -> varchar", |call| {
                replace(call, |row| call.text(2).value(row).to_owned())
            }),
        ],
    ),
    def(
        "regexp_split",
        &[("regexp_split(varchar, varchar) -> array(varchar)", |call| {
            let mut patterns = Patterns::default();
            texts(call, |row, list| {
                let text = call.text(0).value(row);
                let mut from = 0;
                for found in patterns.get(call.text(1).value(row))?.all(text) {
                    list.append_value(&text[from..found.whole().start]);
                    from = found.whole().end;
                }
                list.append_value(&text[from..]);
                Ok(())
            })
        })],
    ),
];

/// The first so many matches in a text.
type Find = Box<dyn Fn(&str, usize) -> Vec<Match>>;

/// A compiled pattern.
pub(super) struct Pattern {
    /// The names of its groups, the whole match first.
    groups: Vec<Option<String>>,
    is_match: Box<dyn Fn(&str) -> bool>,
    find: Find,
}

/// Where a pattern matched: the whole, then each group.
pub(super) struct Match(Vec<Option<Range<usize>>>);

impl Match {
    pub(super) fn whole(&self) -> Range<usize> {
        self.0.first().cloned().flatten().unwrap_or_default()
    }

    /// The groups without the whole.
    pub(super) fn groups(&self) -> impl Iterator<Item = Option<Range<usize>>> + '_ {
        self.0.iter().skip(1).cloned()
    }

    fn group<'t>(&self, group: usize, text: &'t str) -> Option<&'t str> {
        text.get(self.0.get(group)?.clone()?)
    }
}

impl Pattern {
    fn compile(pattern: &str) -> Result<Self> {
        let regex = compile_regex(pattern, None).map_err(|_| {
            invalid(format!(
                "invalid regular expression '{pattern}' (look-around and back-references are not supported)"
            ))
        })?;
        let groups = regex.capture_names().map(|name| name.map(str::to_owned)).collect();
        let other = regex.clone();
        Ok(Self {
            groups,
            is_match: Box::new(move |text| other.is_match(text)),
            find: Box::new(move |text, most| {
                let found = regex.captures_iter(text).take(most);
                let ranges =
                    found.map(|one| one.iter().map(|group| group.map(|group| group.range())).collect());
                ranges.map(Match).collect()
            }),
        })
    }

    /// All matches in `text`.
    pub(super) fn all(&self, text: &str) -> Vec<Match> {
        (self.find)(text, usize::MAX)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern").field("groups", &self.groups).finish_non_exhaustive()
    }
}

/// The patterns of a batch, compiled once; mostly there is one.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    known: HashMap<String, Pattern>,
}

impl Patterns {
    /// More patterns than this in one batch come from the data, and are compiled when met.
    const MOST: usize = 256;

    pub(super) fn get(&mut self, pattern: &str) -> Result<&Pattern> {
        if !self.known.contains_key(pattern) {
            if self.known.len() >= Self::MOST {
                self.known.clear();
            }
            self.known.insert(pattern.to_owned(), Pattern::compile(pattern)?);
        }
        self.known.get(pattern).ok_or_else(|| failed("a pattern that was just compiled is gone"))
    }
}

fn group_number(pattern: &Pattern, group: i64) -> Result<usize> {
    let groups = pattern.groups.len().saturating_sub(1);
    match usize::try_from(group) {
        Ok(group) if group <= groups => Ok(group),
        Ok(_) => Err(failed(format!("Pattern has {groups} groups. Cannot access group {group}"))),
        Err(_) => Err(failed("Group cannot be negative")),
    }
}

fn extract(call: &Call<'_>, group: impl Fn(usize) -> i64) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    call.map::<_, StringViewArray>(|row| {
        let (pattern, text) = (patterns.get(call.text(1).value(row))?, call.text(0).value(row));
        let group = group_number(pattern, group(row))?;
        let found = (pattern.find)(text, 1);
        Ok(found.first().and_then(|found| found.group(group, text)).map(str::to_owned))
    })
}

/// A list of texts per row; NULL where an operand is.
pub(super) fn texts(
    call: &Call<'_>,
    mut code: impl FnMut(usize, &mut StringViewBuilder) -> Result<()>,
) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(StringViewBuilder::new());
    for row in 0..call.rows {
        let valid = call.all_valid(row);
        if valid {
            code(row, lists.values())?;
        }
        lists.append(valid);
    }
    let lists = lists.finish();
    debug_assert_eq!(lists.len(), call.rows);
    Ok(Arc::new(lists))
}

fn extract_all(call: &Call<'_>, group: impl Fn(usize) -> i64) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    texts(call, |row, list| {
        let (pattern, text) = (patterns.get(call.text(1).value(row))?, call.text(0).value(row));
        let group = group_number(pattern, group(row))?;
        for found in pattern.all(text) {
            list.append_option(found.group(group, text));
        }
        Ok(())
    })
}

fn replace(call: &Call<'_>, replacement: impl Fn(usize) -> String) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    call.map::<_, StringViewArray>(|row| {
        let (pattern, text) = (patterns.get(call.text(1).value(row))?, call.text(0).value(row));
        let replacement = replacement(row);
        let (mut whole, mut from) = (String::with_capacity(text.len()), 0);
        for found in pattern.all(text) {
            whole.push_str(&text[from..found.whole().start]);
            expand(&replacement, pattern, &found, text, &mut whole)?;
            from = found.whole().end;
        }
        whole.push_str(&text[from..]);
        Ok(Some(whole))
    })
}

/// Writes a replacement in Java's words: `$1`, `${name}`, and a backslash before what stands for itself.
fn expand(replacement: &str, pattern: &Pattern, found: &Match, text: &str, whole: &mut String) -> Result<()> {
    let mut rest = replacement.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => whole.extend(rest.next()),
            '$' => {
                let group = match rest.next_if_eq(&'{') {
                    Some(_) => {
                        let name: String = std::iter::from_fn(|| rest.next_if(|c| *c != '}')).collect();
                        rest.next();
                        pattern.groups.iter().position(|group| group.as_deref() == Some(name.as_str()))
                    }
                    None => {
                        let digits: String =
                            std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
                        digits.parse().ok().filter(|group| *group < pattern.groups.len())
                    }
                };
                let group =
                    group.ok_or_else(|| failed(format!("Illegal replacement sequence: {replacement}")))?;
                whole.push_str(found.group(group, text).unwrap_or_default());
            }
            other => whole.push(other),
        }
    }
    Ok(())
}
