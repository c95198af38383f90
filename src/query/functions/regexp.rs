//! Regular expressions.
//!
//! The engine is the one DataFusion brings: linear in the text whatever the pattern. What it refuses of
//! Java's patterns (look-around, back-references, possessive quantifiers, atomic groups) goes to one that
//! backtracks, so many steps and no more.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, ListBuilder, StringViewBuilder,
};
use datafusion::common::{DataFusionError, Result};
use datafusion::functions::regex::compile_regex;

use super::bounded::{Allowance, Texts};
use super::scalar::{Call, Def, def};
use crate::query::error::{failed, invalid};
use crate::query::limits::STEPS_MAX;

pub(super) const FUNCTIONS: &[Def] = &[
    def(
        "regexp_like",
        &[("regexp_like(varchar, varchar) -> boolean", |call| {
            let mut patterns = Patterns::default();
            call.map::<_, BooleanArray>(|row| {
                let (pattern, text) = (patterns.get(call.text(1).value(row))?, call.text(0).value(row));
                pattern.bear(text)?;
                Ok(Some((pattern.is_match)(text)?))
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
        "regexp_count",
        &[("regexp_count(varchar, varchar) -> bigint", |call| {
            let mut patterns = Patterns::default();
            call.map::<_, Int64Array>(|row| {
                let (pattern, text) = (patterns.get(call.text(1).value(row))?, call.text(0).value(row));
                let mut count = 0_i64;
                pattern.each(text, &call.allowance, |_| {
                    count += 1;
                    Ok(true)
                })?;
                Ok(Some(count))
            })
        })],
    ),
    def(
        "regexp_position",
        &[("regexp_position(varchar, varchar) -> integer", |call| {
            let mut patterns = Patterns::default();
            call.map::<_, Int32Array>(|row| {
                let (pattern, text) = (patterns.get(call.text(1).value(row))?, call.text(0).value(row));
                let mut place = -1;
                pattern.each(text, &call.allowance, |found| {
                    let before = text.get(..found.whole().start).map_or(0, |before| before.chars().count());
                    place = i32::try_from(before + 1).unwrap_or(i32::MAX);
                    Ok(false)
                })?;
                Ok(Some(place))
            })
        })],
    ),
    def(
        "regexp_split",
        &[("regexp_split(varchar, varchar) -> array(varchar)", |call| {
            let mut patterns = Patterns::default();
            texts(call, |row, list| {
                let text = call.text(0).value(row);
                let mut from = 0;
                patterns.get(call.text(1).value(row))?.each(text, &call.allowance, |found| {
                    list.push(Some(&text[from..found.whole().start]))?;
                    from = found.whole().end;
                    Ok(true)
                })?;
                list.push(Some(&text[from..]))
            })
        })],
    ),
];

/// Java's `\Q..\E`, which takes what is inside literally, in words both engines know.
fn unquoted(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains(r"\Q") {
        return Cow::Borrowed(pattern);
    }
    let (mut spelled, mut rest) = (String::with_capacity(pattern.len()), pattern);
    while let Some((before, quoted)) = rest.split_once(r"\Q") {
        let (literal, behind) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
        spelled.push_str(before);
        spelled.push_str(&fancy_regex::escape(literal));
        rest = behind;
    }
    spelled.push_str(rest);
    Cow::Owned(spelled)
}

/// How often one search of a pattern with look-around or back-references may go back.
const BACKTRACKS_MAX: usize = 1_000_000;

/// Most bytes of the linear parts of such a pattern.
const PROGRAM_BYTES_MAX: usize = 10 << 20;

fn too_hard(error: fancy_regex::Error) -> DataFusionError {
    match error {
        fancy_regex::Error::RuntimeError(_) => failed(format!(
            "the regular expression goes back more than {BACKTRACKS_MAX} times; make it more definite"
        )),
        other => failed(format!("the regular expression failed: {other}")),
    }
}

/// Shows one match in a text after another, until it is told `false`.
type Find = Box<dyn Fn(&str, &mut dyn FnMut(Match) -> Result<bool>) -> Result<()>>;

/// Whether a text has a match.
type Test = Box<dyn Fn(&str) -> Result<bool>>;

/// A compiled pattern.
pub(super) struct Pattern {
    /// The names of its groups, the whole match first.
    groups: Vec<Option<String>>,
    /// About how many states it has.
    states: usize,
    is_match: Test,
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
        let pattern = &*unquoted(pattern);
        let Ok(regex) = compile_regex(pattern, None) else { return Self::backtracking(pattern) };
        let groups = regex.capture_names().map(|name| name.map(str::to_owned)).collect();
        let other = regex.clone();
        Ok(Self {
            groups,
            states: states(pattern),
            is_match: Box::new(move |text| Ok(other.is_match(text))),
            find: Box::new(move |text, see| {
                for one in regex.captures_iter(text) {
                    let groups = one.iter().map(|group| group.map(|group| group.range()));
                    if !see(Match(groups.collect()))? {
                        break;
                    }
                }
                Ok(())
            }),
        })
    }

    /// The same for a pattern the linear engine does not know.
    fn backtracking(pattern: &str) -> Result<Self> {
        let regex = fancy_regex::RegexBuilder::new(pattern)
            .backtrack_limit(BACKTRACKS_MAX)
            .delegate_size_limit(PROGRAM_BYTES_MAX)
            .build()
            .map_err(|_| invalid(format!("invalid regular expression '{pattern}'")))?;
        let groups = regex.capture_names().map(|name| name.map(str::to_owned)).collect();
        let other = regex.clone();
        Ok(Self {
            groups,
            // Its own bound holds, search by search.
            states: 1,
            is_match: Box::new(move |text| other.is_match(text).map_err(too_hard)),
            find: Box::new(move |text, see| {
                for one in regex.captures_iter(text) {
                    let one = one.map_err(too_hard)?;
                    let groups = one.iter().map(|group| group.map(|group| group.range()));
                    if !see(Match(groups.collect()))? {
                        break;
                    }
                }
                Ok(())
            }),
        })
    }

    /// Whether a search in `text`, which nothing interrupts, ends soon.
    fn bear(&self, text: &str) -> Result<()> {
        match self.states.saturating_mul(text.len()) > STEPS_MAX * 10 {
            true => Err(failed("the text is too long for so large a regular expression")),
            false => Ok(()),
        }
    }

    /// Shows one match in `text` after another, until `see` has enough.
    pub(super) fn each(
        &self,
        text: &str,
        allowance: &Allowance<'_>,
        mut see: impl FnMut(Match) -> Result<bool>,
    ) -> Result<()> {
        self.bear(text)?;
        (self.find)(text, &mut |found| {
            allowance.check()?;
            see(found)
        })
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

/// About how many states the automaton of a pattern has: counted repetitions multiply, and a class of
/// characters takes several. It is an estimate, for a bound.
fn states(pattern: &str) -> usize {
    const CLASS: usize = 10;
    let (mut outer, mut sum, mut last) = (Vec::new(), 0_usize, 0_usize);
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        last = match c {
            '(' => {
                outer.push(std::mem::take(&mut sum));
                0
            }
            ')' => std::mem::replace(&mut sum, outer.pop().unwrap_or_default()),
            '{' => {
                let counts: String = rest.by_ref().take_while(|c| *c != '}').collect();
                let counts = counts.split(',').filter_map(|count| count.trim().parse::<usize>().ok());
                last.saturating_mul(counts.max().unwrap_or(1).saturating_sub(1))
            }
            '[' => {
                while let Some(c) = rest.next().filter(|c| *c != ']') {
                    if c == '\\' {
                        rest.next();
                    }
                }
                CLASS
            }
            '\\' => {
                rest.next();
                CLASS
            }
            '.' => CLASS,
            _ => 1,
        };
        sum = sum.saturating_add(last);
    }
    outer.into_iter().fold(sum, usize::saturating_add)
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
    call.map_text(|row| {
        let (pattern, text) = (patterns.get(call.text(1).value(row))?, call.text(0).value(row));
        let group = group_number(pattern, group(row))?;
        let mut first = None;
        pattern.each(text, &call.allowance, |found| {
            first = found.group(group, text);
            Ok(false)
        })?;
        Ok(first)
    })
}

/// A list of texts per row; NULL where an operand is.
pub(super) fn texts(
    call: &Call<'_>,
    mut code: impl FnMut(usize, &mut Texts<'_>) -> Result<()>,
) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(StringViewBuilder::new());
    for row in 0..call.rows {
        let valid = call.all_valid(row);
        if valid {
            call.allowance.check()?;
            code(row, &mut Texts { allowance: &call.allowance, values: lists.values(), bytes: 0 })?;
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
        pattern.each(text, &call.allowance, |found| {
            list.push(found.group(group, text))?;
            Ok(true)
        })
    })
}

fn replace(call: &Call<'_>, replacement: impl Fn(usize) -> String) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    call.map_text(|row| {
        let (pattern, text) = (patterns.get(call.text(1).value(row))?, call.text(0).value(row));
        let replacement = replacement(row);
        // Read once for all matches, and by the first one: where there is none, nothing is wrong with it.
        let mut pieces = None;
        let (mut whole, mut from) = (call.allowance.text(), 0);
        pattern.each(text, &call.allowance, |found| {
            whole.push(&text[from..found.whole().start])?;
            if pieces.is_none() {
                pieces = Some(pieces_of(&replacement, pattern)?);
            }
            for piece in pieces.iter().flatten() {
                whole.push(match piece {
                    Piece::Text(text) => text,
                    Piece::Group(group) => found.group(*group, text).unwrap_or_default(),
                })?;
            }
            from = found.whole().end;
            Ok(true)
        })?;
        whole.push(&text[from..])?;
        Ok(Some(whole.finish()))
    })
}

/// A piece of a replacement.
#[derive(Debug, Clone, Copy)]
enum Piece<'r> {
    Text(&'r str),
    /// What the group with this number matched.
    Group(usize),
}

/// Reads a replacement in Java's words: `$1`, `${name}`, and a backslash before what stands for itself.
fn pieces_of<'r>(replacement: &'r str, pattern: &Pattern) -> Result<Vec<Piece<'r>>> {
    let (mut pieces, mut rest) = (Vec::new(), replacement);
    while let Some(at) = rest.find(['\\', '$']) {
        pieces.push(Piece::Text(&rest[..at]));
        let (sign, after) = rest[at..].split_at(1);
        if sign == "\\" {
            let end = after.chars().next().map_or(0, char::len_utf8);
            pieces.push(Piece::Text(&after[..end]));
            rest = &after[end..];
            continue;
        }
        let group = match after.strip_prefix('{') {
            Some(named) => {
                let (name, behind) = named.split_once('}').unwrap_or((named, ""));
                rest = behind;
                pattern.groups.iter().position(|group| group.as_deref() == Some(name))
            }
            None => {
                let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                rest = &after[end..];
                after[..end].parse().ok().filter(|group| *group < pattern.groups.len())
            }
        };
        let group = group.ok_or_else(|| failed(format!("Illegal replacement sequence: {replacement}")))?;
        pieces.push(Piece::Group(group));
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}
