//! regexp_matches(), regexp_replace(), regexp_substr() (spec 3.2).
//!
//! A pattern in quotes is compiled when the rule is loaded; any other is compiled when it is met and kept
//! until another comes. A pattern that is none makes the result Undefined. One that backtracks too much
//! fails the rule; compiling and searching take steps from the rule's budget, so that many cheap searches
//! end, too.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fancy_regex::{Captures, Regex, RegexBuilder};

use super::java_regex::{Translated, translate};
use super::{Binder, Expr, Operand, Prepared, Scope, Value, literal};
use crate::rules::effect::FailureReason;
use crate::rules::sql::eval::undefined;

/// The longest pattern, in bytes. A longer one is none.
const PATTERN_BYTES_MAX: usize = 4 * 1024;
/// How large a compiled pattern may be, in bytes; repetitions of repetitions are what grows.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// How many instructions the backtracking machine may have.
const INSTRUCTIONS_MAX: usize = 64 * 1024;
/// How often a search may backtrack at first, and when given a second chance.
const BACKTRACKS: [usize; 2] = [10_000, 1_000_000];
/// What a search costs, in steps of the rule: at first, and when given a second chance.
const SEARCH_STEPS: [usize; 2] = [100, 50_000];
/// What compiling a pattern of the message costs.
const COMPILE_STEPS: usize = 10_000;

/// A compiled pattern.
#[derive(Debug)]
struct Pattern {
    quick: Regex,
    patient: OnceLock<Option<Regex>>,
    translated: Translated,
}

/// A search took too many steps.
struct TooCostly;

impl Pattern {
    fn new(text: &str) -> Option<Self> {
        if text.len() > PATTERN_BYTES_MAX {
            return None;
        }
        let translated = translate(text)?;
        let quick = compile(&translated.pattern, BACKTRACKS[0])?;
        Some(Self { quick, patient: OnceLock::new(), translated })
    }

    fn patient(&self) -> Option<&Regex> {
        self.patient.get_or_init(|| compile(&self.translated.pattern, BACKTRACKS[1])).as_ref()
    }
}

fn compile(pattern: &str, backtracks: usize) -> Option<Regex> {
    RegexBuilder::new(pattern)
        .backtrack_limit(backtracks)
        .delegate_size_limit(COMPILED_BYTES_MAX)
        .delegate_dfa_size_limit(COMPILED_BYTES_MAX)
        .max_prog_size(INSTRUCTIONS_MAX)
        .build()
        .ok()
}

/// The searches of one call.
struct Search<'p, 's, 'a> {
    pattern: &'p Pattern,
    scope: &'s Scope<'a>,
}

impl<'p> Search<'p, '_, '_> {
    /// Most searches are short, and many of them together must be; a few may be long.
    fn run<T>(&self, search: impl Fn(&'p Regex) -> fancy_regex::Result<T>) -> Result<T, TooCostly> {
        self.pay(SEARCH_STEPS[0])?;
        if let Ok(found) = search(&self.pattern.quick) {
            return Ok(found);
        }
        self.pay(SEARCH_STEPS[1])?;
        self.pattern.patient().and_then(|patient| search(patient).ok()).ok_or(TooCostly)
    }

    fn pay(&self, steps: usize) -> Result<(), TooCostly> {
        if self.scope.run.take_steps(steps) { Ok(()) } else { Err(TooCostly) }
    }
}

/// Where a call's pattern comes from.
#[derive(Debug)]
enum Source {
    /// The statement; `None` when the text is no pattern.
    Statement(Option<Arc<Pattern>>),
    /// The message; the last text and what it compiled to.
    Message(Mutex<Option<Kept>>),
}

type Kept = (String, Option<Arc<Pattern>>);

impl Source {
    fn new(arguments: &[Expr]) -> Self {
        match literal(arguments, 1) {
            Some(text) => Self::Statement(Pattern::new(text).map(Arc::new)),
            None => Self::Message(Mutex::new(None)),
        }
    }

    /// What `apply` makes of the pattern; Undefined without one. One that costs too much fails the rule.
    fn with<'a>(
        &self,
        text: &str,
        scope: &Scope<'a>,
        apply: impl FnOnce(Search<'_, '_, 'a>) -> Result<Operand<'a>, TooCostly>,
    ) -> Operand<'a> {
        let kept;
        let pattern = match self {
            Self::Statement(pattern) => pattern.as_deref(),
            Self::Message(last) => {
                kept = Self::kept(last, text, scope);
                kept.as_deref()
            }
        };
        let Some(pattern) = pattern else { return undefined() };
        apply(Search { pattern, scope }).unwrap_or_else(|TooCostly| {
            scope.run.fail(FailureReason::PatternTooCostly);
            undefined()
        })
    }

    fn kept(last: &Mutex<Option<Kept>>, text: &str, scope: &Scope<'_>) -> Option<Arc<Pattern>> {
        let lock = || last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, pattern)) = &*lock()
            && known == text
        {
            return pattern.clone();
        }
        if !scope.run.take_steps(COMPILE_STEPS) {
            return None;
        }
        // Compiled outside the lock, so that one slow pattern does not hold up other messages.
        let pattern = Pattern::new(text).map(Arc::new);
        if text.len() <= PATTERN_BYTES_MAX {
            *lock() = Some((text.to_owned(), pattern.clone()));
        }
        pattern
    }
}

#[derive(Debug)]
struct Matches(Source);

#[derive(Debug)]
struct Substr(Source);

#[derive(Debug)]
struct Replace {
    source: Source,
    /// The replacement, when it and the pattern stand in the statement; `None` inside when it is none.
    replacement: Option<Option<Replacement>>,
}

pub(super) fn prepare_matches(arguments: &[Expr], _: &mut Binder<'_>) -> Result<Box<dyn Prepared>, String> {
    Ok(Box::new(Matches(Source::new(arguments))))
}

pub(super) fn prepare_substr(arguments: &[Expr], _: &mut Binder<'_>) -> Result<Box<dyn Prepared>, String> {
    Ok(Box::new(Substr(Source::new(arguments))))
}

pub(super) fn prepare_replace(arguments: &[Expr], _: &mut Binder<'_>) -> Result<Box<dyn Prepared>, String> {
    let source = Source::new(arguments);
    let replacement = match (&source, literal(arguments, 2)) {
        (Source::Statement(Some(pattern)), Some(text)) => Some(Replacement::parse(text, &pattern.translated)),
        _ => None,
    };
    Ok(Box::new(Replace { source, replacement }))
}

impl Prepared for Matches {
    /// Whether the text contains a match.
    fn run<'a>(&'a self, arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
        let [text, pattern] = arguments.as_slice() else { return undefined() };
        let (Some(text), Some(pattern)) = (text.text(), pattern.text()) else { return undefined() };
        self.0.with(&pattern, scope, |search| {
            let found = search.run(|regex| regex.is_match(&*text))?;
            Ok(Cow::Owned(Value::Bool(found)))
        })
    }
}

impl Prepared for Substr {
    /// The first match; Undefined without one.
    fn run<'a>(&'a self, arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
        let [text, pattern] = arguments.as_slice() else { return undefined() };
        let (Some(text), Some(pattern)) = (text.text(), pattern.text()) else { return undefined() };
        self.0.with(&pattern, scope, |search| {
            let found = search.run(|regex| regex.find(&*text))?;
            Ok(found.map_or_else(undefined, |found| scope.text(found.as_str().to_owned())))
        })
    }
}

impl Prepared for Replace {
    fn run<'a>(&'a self, arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
        let [text, pattern, with] = arguments.as_slice() else { return undefined() };
        let (Some(text), Some(pattern), Some(with)) = (text.text(), pattern.text(), with.text()) else {
            return undefined();
        };
        self.source.with(&pattern, scope, |search| {
            let parsed;
            let replacement = match &self.replacement {
                Some(prepared) => prepared.as_ref(),
                None => {
                    parsed = Replacement::parse(&with, &search.pattern.translated);
                    parsed.as_ref()
                }
            };
            match replacement {
                Some(replacement) => replace_all(&search, &text, replacement),
                None => Ok(undefined()),
            }
        })
    }
}

/// Replaces as Java does: an empty match right behind another match counts.
fn replace_all<'a>(
    search: &Search<'_, '_, 'a>,
    text: &str,
    replacement: &Replacement,
) -> Result<Operand<'a>, TooCostly> {
    let scope = search.scope;
    let mut replaced = String::new();
    let (mut copied, mut from) = (0, 0);
    while from <= text.len() {
        let Some(found) = search.run(|regex| regex.captures_from_pos(text, from))? else { break };
        let Some(whole) = found.get(0) else { break };
        if !scope.extend_text(&mut replaced, &text[copied..whole.start()])
            || !replacement.append(&found, &mut replaced, scope)
        {
            return Ok(undefined());
        }
        copied = whole.end();
        from = whole.end();
        if whole.start() == whole.end() {
            from += text[from..].chars().next().map_or(1, char::len_utf8);
        }
    }
    if !scope.extend_text(&mut replaced, &text[copied..]) {
        return Ok(undefined());
    }
    Ok(Cow::Owned(Value::Str(replaced)))
}

/// What stands for a match.
#[derive(Debug, PartialEq, Eq)]
struct Replacement(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Replacement {
    /// Java's syntax: `$1`, `${name}`, and a backslash before what means itself. `None` when `text` is
    /// no such thing or names a group the pattern lacks.
    fn parse(text: &str, pattern: &Translated) -> Option<Self> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(letter) = rest.next() {
            match letter {
                '\\' => plain.push(rest.next()?),
                '$' => {
                    let group = if rest.next_if_eq(&'{').is_some() {
                        let mut name = String::new();
                        loop {
                            match rest.next()? {
                                '}' => break,
                                letter => name.push(letter),
                            }
                        }
                        pattern.names.iter().find(|(known, _)| *known == name)?.1
                    } else {
                        group_number(&mut rest, pattern.groups)?
                    };
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Group(group));
                }
                letter => plain.push(letter),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Some(Self(parts))
    }

    /// Appends what stands for `found`; a group that took no part is empty.
    fn append(&self, found: &Captures<'_, str>, out: &mut String, scope: &Scope<'_>) -> bool {
        self.0.iter().all(|part| match part {
            Part::Text(text) => scope.extend_text(out, text),
            Part::Group(number) => {
                found.get(*number).is_none_or(|group| scope.extend_text(out, group.as_str()))
            }
        })
    }
}

/// The first digit counts whatever it is; further ones as long as there is such a group.
fn group_number(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, groups: usize) -> Option<usize> {
    let digit = |letter: &char| letter.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
    let mut number = digit(&rest.next()?)?;
    if number > groups {
        return None;
    }
    while let Some(more) = rest.peek().and_then(digit) {
        let longer = number * 10 + more;
        if longer > groups {
            break;
        }
        rest.next();
        number = longer;
    }
    Some(number)
}

#[cfg(test)]
mod tests;
