//! What stands behind a backslash or between brackets in Java's regular expressions.

use super::{Translator, push_literal};

const DIGITS: &str = "0-9";
const WORD: &str = "A-Za-z0-9_";
const SPACES: &str = r" \t\n\x0B\x0C\r";
const BLANKS: &str = r" \t\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}";
const VERTICAL: &str = r"\n\x0B\x0C\r\x{85}\x{2028}\x{2029}";

impl Translator<'_> {
    pub(super) fn escape(&mut self) -> Option<()> {
        let letter = self.rest.next()?;
        match letter {
            'b' if self.rest.peek() == Some(&'{') => return None,
            'b' | 'B' | 'A' | 'G' | 'z' => self.push_atom(&format!(r"\{letter}")),
            'Z' => self.end_of_text(),
            'R' => self.push_atom(&format!(r"(?>\r\n|[{VERTICAL}])")),
            'Q' => self.quoted(),
            'k' => {
                if self.rest.next()? != '<' {
                    return None;
                }
                let name = self.name()?;
                let (_, number) = self.out.names.iter().find(|(known, _)| *known == name)?;
                let reference = format!(r"(?:\{number})");
                self.push_atom(&reference);
            }
            '1'..='9' => self.back_reference(letter),
            _ => {
                let start = self.out.pattern.len();
                match self.shared_escape(letter)? {
                    Escaped::Letter(letter) => push_literal(&mut self.out.pattern, letter),
                    Escaped::Class(class) => self.out.pattern.push_str(&class),
                }
                self.atom = Some(start);
            }
        }
        Some(())
    }

    /// `\Q…\E`: everything in between means itself.
    fn quoted(&mut self) {
        while let Some(letter) = self.rest.next() {
            if letter == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.atom = Some(self.out.pattern.len());
            push_literal(&mut self.out.pattern, letter);
        }
    }

    /// As many digits as name a group that has begun; a group that has not never matches.
    fn back_reference(&mut self, first: char) {
        let mut number = first.to_digit(10).and_then(|digit| usize::try_from(digit).ok()).unwrap_or(0);
        while let Some(digit) = self.rest.peek().and_then(|letter| letter.to_digit(10)) {
            let longer = number * 10 + usize::try_from(digit).unwrap_or(0);
            if longer > self.out.groups {
                break;
            }
            self.rest.next();
            number = longer;
        }
        let reference = if number > self.out.groups { "(?!)".to_owned() } else { format!(r"(?:\{number})") };
        self.push_atom(&reference);
    }

    /// An escape that means the same inside and outside of brackets.
    fn shared_escape(&mut self, letter: char) -> Option<Escaped> {
        let class = |negated: bool, members: &str| {
            Escaped::Class(if negated { format!("[^{members}]") } else { format!("[{members}]") })
        };
        Some(match letter {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' if self.flags.unicode => Escaped::Class(format!(r"\{letter}")),
            'd' | 'D' => class(letter == 'D', DIGITS),
            'w' | 'W' => class(letter == 'W', WORD),
            's' | 'S' => class(letter == 'S', SPACES),
            'h' | 'H' => class(letter == 'H', BLANKS),
            'v' | 'V' => class(letter == 'V', VERTICAL),
            'p' | 'P' => self.property(letter == 'P')?,
            't' => Escaped::Letter('\t'),
            'n' => Escaped::Letter('\n'),
            'r' => Escaped::Letter('\r'),
            'f' => Escaped::Letter('\x0C'),
            'a' => Escaped::Letter('\x07'),
            'e' => Escaped::Letter('\x1B'),
            'c' => Escaped::Letter(char::from_u32(u32::from(self.rest.next()?) ^ 64)?),
            '0' => Escaped::Letter(self.octal()?),
            'x' if self.rest.next_if_eq(&'{').is_some() => {
                let digits = self.until('}')?;
                Escaped::Letter(char::from_u32(hexadecimal(&digits)?)?)
            }
            'x' => Escaped::Letter(char::from_u32(self.hexadecimal_digits(2)?)?),
            'u' => Escaped::Letter(self.utf16()?),
            letter if letter.is_ascii_alphanumeric() => return None,
            letter => Escaped::Letter(letter),
        })
    }

    fn until(&mut self, end: char) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.rest.next()? {
                letter if letter == end => return Some(text),
                letter => text.push(letter),
            }
        }
    }

    fn hexadecimal_digits(&mut self, count: usize) -> Option<u32> {
        let digits: String = self.rest.by_ref().take(count).collect();
        if digits.len() == count { hexadecimal(&digits) } else { None }
    }

    /// Up to three digits that stay below 256.
    fn octal(&mut self) -> Option<char> {
        let mut value = self.rest.next()?.to_digit(8)?;
        for _ in 0..2 {
            match self.rest.peek().and_then(|letter| letter.to_digit(8)) {
                Some(digit) if value * 8 + digit < 256 => value = value * 8 + digit,
                _ => break,
            }
            self.rest.next();
        }
        char::from_u32(value)
    }

    /// Four digits, or twice four for a character beyond them.
    fn utf16(&mut self) -> Option<char> {
        let high = self.hexadecimal_digits(4)?;
        if !(0xD800..0xDC00).contains(&high) {
            return char::from_u32(high);
        }
        if self.rest.next()? != '\\' || self.rest.next()? != 'u' {
            return None;
        }
        let low = self.hexadecimal_digits(4)?.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
        char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + low)
    }

    /// `{name}` or one letter.
    fn property(&mut self, negated: bool) -> Option<Escaped> {
        let name = match self.rest.next()? {
            '{' => self.until('}')?,
            letter => letter.to_string(),
        };
        let members = match name.as_str() {
            "Lower" => "a-z",
            "Upper" => "A-Z",
            "ASCII" => r"\x00-\x7F",
            "Alpha" => "A-Za-z",
            "Digit" => "0-9",
            "Alnum" => "A-Za-z0-9",
            "Punct" => r"!-/:-@\[-`{-~",
            "Graph" => "!-~",
            "Print" => " -~",
            "Blank" => r" \t",
            "Cntrl" => r"\x00-\x1F\x7F",
            "XDigit" => "0-9A-Fa-f",
            "Space" => SPACES,
            "javaLowerCase" => r"\p{Lowercase}",
            "javaUpperCase" => r"\p{Uppercase}",
            "javaLetter" => r"\p{L}",
            "javaDigit" => r"\p{Nd}",
            "javaLetterOrDigit" => r"\p{L}\p{Nd}",
            "javaWhitespace" => r"\s",
            name => {
                let plain = name.strip_prefix("Is").unwrap_or(name);
                let legal = |letter: char| letter.is_ascii_alphanumeric() || "_= ".contains(letter);
                if plain.is_empty() || name.starts_with("In") || !plain.chars().all(legal) {
                    return None;
                }
                let letter = if negated { 'P' } else { 'p' };
                return Some(Escaped::Class(format!(r"\{letter}{{{plain}}}")));
            }
        };
        Some(Escaped::Class(format!("[{}{members}]", if negated { "^" } else { "" })))
    }

    /// A class whose `[` is read. Nesting is bounded by what `fancy-regex` takes.
    pub(super) fn class(&mut self) -> Option<()> {
        let mut empty = self.open_class();
        let mut depth = 1_usize;
        while depth > 0 {
            match self.rest.next()? {
                ']' if !empty => {
                    self.out.pattern.push(']');
                    depth -= 1;
                }
                '[' => {
                    empty = self.open_class();
                    depth += 1;
                    continue;
                }
                '&' if self.rest.next_if_eq(&'&').is_some() => self.out.pattern.push_str("&&"),
                letter if self.flags.comments && letter.is_ascii_whitespace() => continue,
                letter => self.class_item(letter)?,
            }
            empty = false;
        }
        Some(())
    }

    /// Writes `[` or `[^`; true, because nothing is inside yet.
    fn open_class(&mut self) -> bool {
        let negated = self.rest.next_if_eq(&'^').is_some();
        self.out.pattern.push_str(if negated { "[^" } else { "[" });
        true
    }

    /// A letter, a range, or an escape within brackets.
    fn class_item(&mut self, letter: char) -> Option<()> {
        let Escaped::Letter(low) = self.class_letter(letter)? else { return Some(()) };
        push_literal(&mut self.out.pattern, low);
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || matches!(ahead.next(), None | Some(']' | '[')) {
            return Some(());
        }
        self.rest.next();
        let next = self.rest.next()?;
        let before = self.out.pattern.len();
        match self.class_letter(next)? {
            Escaped::Letter(high) if high >= low => {
                self.out.pattern.push('-');
                push_literal(&mut self.out.pattern, high);
            }
            Escaped::Letter(_) => return None,
            // A class ends no range, so the hyphen means itself.
            Escaped::Class(_) => self.out.pattern.insert_str(before, r"\-"),
        }
        Some(())
    }

    /// The letter meant; a class is written at once.
    fn class_letter(&mut self, letter: char) -> Option<Escaped> {
        if letter != '\\' {
            return Some(Escaped::Letter(letter));
        }
        let escaped = self.rest.next()?;
        if escaped == 'Q' {
            self.quoted();
            return Some(Escaped::Class(String::new()));
        }
        let escaped = self.shared_escape(escaped)?;
        if let Escaped::Class(class) = &escaped {
            self.out.pattern.push_str(class);
        }
        Some(escaped)
    }
}

enum Escaped {
    Letter(char),
    Class(String),
}

fn hexadecimal(digits: &str) -> Option<u32> {
    let legal = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if legal { u32::from_str_radix(digits, 16).ok() } else { None }
}
