//! Java's regular expressions (`java.util.regex`) in the words of `fancy-regex`.
//!
//! The two agree on most of their syntax and differ in meaning here and there: `\d` is ASCII in Java, `.`
//! stops at five kinds of line end, `$` also stands before a last one, `\h` is a blank and no hexadecimal
//! digit, every backslash before a letter without a meaning is a mistake. So a pattern is read letter by
//! letter and written anew; what Java refuses is refused. Blocks (`\p{InGreek}`), `\X` and `\N{…}` are the
//! only parts of Java's syntax left out. Case is ignored for all letters, where Java without `(?u)` does so
//! for ASCII only.

mod escape;

/// The ends of a line, as `.`, `$` and `\R` know them.
const LINE_ENDS: &str = r"\n\r\x{85}\x{2028}\x{2029}";

/// A pattern in the words of `fancy-regex`, and its groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Translated {
    /// The pattern; its groups have numbers only.
    pub(super) pattern: String,
    /// How many groups it captures.
    pub(super) groups: usize,
    /// Names of groups and their numbers.
    pub(super) names: Vec<(String, usize)>,
}

/// What `(?…)` switches.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    /// s: `.` is any character.
    any: bool,
    /// m: `^` and `$` stand at every line.
    lines: bool,
    /// d: only `\n` ends a line.
    unix: bool,
    /// x: blanks and comments do not count.
    comments: bool,
    /// U: classes are Unicode's.
    unicode: bool,
}

struct Translator<'p> {
    rest: std::iter::Peekable<std::str::Chars<'p>>,
    out: Translated,
    flags: Flags,
    /// Of every open group: what to come back to, and where it starts.
    open: Vec<(Flags, Option<&'static str>, usize)>,
    /// The case that `(?i)` or `(?-i)` chose for the rest of the group, as a group of its own: written as it
    /// stands, `fancy-regex` would let it go on behind the group.
    case: Option<&'static str>,
    /// Where the atom starts that a quantifier would repeat.
    atom: Option<usize>,
}

/// Translates `pattern`; `None` when Java would refuse it, or it is one of the parts left out.
pub(super) fn translate(pattern: &str) -> Option<Translated> {
    let mut translator = Translator {
        rest: pattern.chars().peekable(),
        out: Translated::default(),
        flags: Flags::default(),
        open: Vec::new(),
        case: None,
        atom: None,
    };
    while let Some(letter) = translator.rest.next() {
        translator.step(letter)?;
    }
    translator.end_case();
    translator.open.is_empty().then_some(translator.out)
}

impl Translator<'_> {
    fn step(&mut self, letter: char) -> Option<()> {
        match letter {
            _ if self.flags.comments && letter.is_ascii_whitespace() => {}
            '#' if self.flags.comments => while self.rest.next_if(|&c| c != '\n').is_some() {},
            '\\' => self.escape()?,
            '[' => {
                let start = self.out.pattern.len();
                self.class()?;
                self.atom = Some(start);
            }
            '(' => self.group()?,
            ')' => {
                let (flags, case, start) = self.open.pop()?;
                self.end_case();
                self.out.pattern.push(')');
                (self.flags, self.case, self.atom) = (flags, case, Some(start));
            }
            '|' => {
                self.end_case();
                self.out.pattern.push('|');
                self.begin_case();
                self.atom = None;
            }
            '*' | '+' | '?' => self.quantifier(letter.to_string())?,
            '{' => {
                let bounds = self.bounds()?;
                self.quantifier(bounds)?;
            }
            '.' => {
                let any = match (self.flags.any, self.flags.unix) {
                    (true, _) => "(?s:.)".to_owned(),
                    (false, true) => r"[^\n]".to_owned(),
                    (false, false) => format!("[^{LINE_ENDS}]"),
                };
                self.push_atom(&any);
            }
            '^' => self.push_atom(if self.flags.lines { "(?m:^)" } else { r"\A" }),
            '$' if self.flags.lines => self.push_atom("(?m:$)"),
            '$' => self.end_of_text(),
            other => {
                self.atom = Some(self.out.pattern.len());
                push_literal(&mut self.out.pattern, other);
            }
        }
        Some(())
    }

    fn begin_case(&mut self) {
        if let Some(case) = self.case {
            self.out.pattern.push_str(case);
        }
    }

    fn end_case(&mut self) {
        if self.case.is_some() {
            self.out.pattern.push(')');
        }
    }

    fn push_atom(&mut self, text: &str) {
        self.atom = Some(self.out.pattern.len());
        self.out.pattern.push_str(text);
    }

    /// The end of the text, or before the line end that ends it.
    fn end_of_text(&mut self) {
        let ends = if self.flags.unix { r"\n".to_owned() } else { format!(r"\r\n|[{LINE_ENDS}]") };
        self.push_atom(&format!(r"(?=(?:{ends})?\z)"));
    }

    /// Repeats the atom before; a possessive quantifier becomes an atomic group.
    fn quantifier(&mut self, mut quantifier: String) -> Option<()> {
        let start = self.atom.take()?;
        if self.rest.next_if_eq(&'+').is_some() {
            self.out.pattern.insert_str(start, "(?>");
            quantifier.push(')');
        } else if self.rest.next_if_eq(&'?').is_some() {
            quantifier.push('?');
        }
        self.out.pattern.push_str(&quantifier);
        Some(())
    }

    /// `n}`, `n,}` or `n,m}`.
    fn bounds(&mut self) -> Option<String> {
        let low = self.digits()?;
        let mut text = format!("{{{low}");
        if self.rest.next_if_eq(&',').is_some() {
            text.push(',');
            if let Some(high) = self.digits() {
                if high < low {
                    return None;
                }
                text.push_str(&high.to_string());
            }
        }
        (self.rest.next()? == '}').then(|| text + "}")
    }

    fn digits(&mut self) -> Option<u32> {
        let mut value = None;
        while let Some(digit) = self.rest.peek().and_then(|letter| letter.to_digit(10)) {
            self.rest.next();
            value = Some(value.unwrap_or(0_u32).checked_mul(10)?.checked_add(digit)?);
        }
        value
    }

    fn group(&mut self) -> Option<()> {
        let (flags, start) = (self.flags, self.out.pattern.len());
        if self.rest.next_if_eq(&'?').is_none() {
            self.out.groups += 1;
            self.out.pattern.push('(');
        } else {
            match self.rest.next()? {
                kind @ (':' | '=' | '!' | '>') => {
                    self.out.pattern.push_str("(?");
                    self.out.pattern.push(kind);
                }
                '<' => match self.rest.next_if(|&letter| letter == '=' || letter == '!') {
                    Some(kind) => {
                        self.out.pattern.push_str("(?<");
                        self.out.pattern.push(kind);
                    }
                    None => {
                        let name = self.name()?;
                        if self.out.names.iter().any(|(known, _)| *known == name) {
                            return None;
                        }
                        self.out.groups += 1;
                        self.out.names.push((name, self.out.groups));
                        self.out.pattern.push('(');
                    }
                },
                first => {
                    if !self.switches(first)? {
                        self.atom = None;
                        return Some(());
                    }
                }
            }
        }
        self.open.push((flags, self.case.take(), start));
        self.atom = None;
        Some(())
    }

    /// `name>`: a letter, then letters and digits.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        loop {
            match self.rest.next()? {
                '>' if !name.is_empty() => return Some(name),
                letter if letter.is_ascii_alphabetic() => name.push(letter),
                digit if digit.is_ascii_digit() && !name.is_empty() => name.push(digit),
                _ => return None,
            }
        }
    }

    /// `i-s)` or `i-s:`, whose first letter is read; true when a group begins.
    fn switches(&mut self, first: char) -> Option<bool> {
        let (mut letter, mut on, mut ignore_case) = (first, true, None);
        loop {
            match letter {
                'i' => ignore_case = Some(on),
                's' => self.flags.any = on,
                'm' => self.flags.lines = on,
                'd' => self.flags.unix = on,
                'x' => self.flags.comments = on,
                'U' => self.flags.unicode = on,
                'u' => {}
                '-' if on => on = false,
                ')' | ':' => break,
                _ => return None,
            }
            letter = self.rest.next()?;
        }
        let case = ignore_case.map(|ignore| if ignore { "(?i:" } else { "(?-i:" });
        let group = letter == ':';
        if group {
            self.out.pattern.push_str(case.unwrap_or("(?:"));
        } else if case.is_some() {
            self.end_case();
            self.case = case;
            self.begin_case();
        }
        Some(group)
    }
}

/// Writes a letter so that it means itself, within brackets or without.
fn push_literal(pattern: &mut String, letter: char) {
    if r"\.+*?()|[]{}^$#&-~".contains(letter) {
        pattern.push('\\');
    }
    pattern.push(letter);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_java_refuses_is_refused() {
        let patterns = [
            "(",
            ")",
            "[",
            "[]",
            "a**",
            "*a",
            "+",
            "a{",
            "a{x}",
            "a{3,2}",
            "{2}",
            "\\",
            "\\y",
            "\\K",
            "\\g1",
            "(?~a)",
            "(?P<a>b)",
            "(?(1)a|b)",
            "(?1)",
            "(*FAIL)",
            "(?<a>b)(?<a>c)",
            "(?<1a>b)",
            "\\k<a>",
            "(?z)",
            "[z-a]",
            "\\x1",
            "\\u12",
            "\\uD83D",
            "\\p{InGreek}",
            "\\p{",
            "\\08",
            "a|*",
        ];
        for pattern in patterns {
            assert_eq!(translate(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn groups_are_counted_and_named() {
        let translated = translate("(a)(?:b)(?<year>c)(?=d)(?<!e)\\k<year>\\1\\12").expect("a pattern");
        assert_eq!(translated.groups, 2);
        assert_eq!(translated.names, [("year".to_owned(), 2)]);
        assert_eq!(translated.pattern, r"(a)(?:b)(c)(?=d)(?<!e)(?:\2)(?:\1)(?:\1)2");
    }
}
