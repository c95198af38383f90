//! What patterns of Joda-Time and of java.time share: letters that repeat, quoted text, English names.

/// The longest pattern, in bytes; a longer one is none.
const PATTERN_BYTES_MAX: usize = 256;

/// The short form of a month or a day.
pub(super) fn short(name: &'static str) -> &'static str {
    name.get(..3).unwrap_or(name)
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// One letter and how often it stands there.
    Letters(char, usize),
    /// Text that means itself.
    Text(String),
    /// `[`, where the dialect has it.
    Open,
    /// `]`, where the dialect has it.
    Close,
}

/// How the two dialects differ before their letters mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Joda-Time: a quote may stay open, brackets mean themselves.
    Joda,
    /// java.time: a quote has to close, brackets make optional, `{`, `}` and `#` are reserved.
    JavaTime,
}

/// The pieces of `pattern`; `None` when it is none of the dialect.
pub(super) fn tokens(pattern: &str, dialect: Dialect) -> Option<Vec<Token>> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return None;
    }
    let mut tokens = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(letter) = rest.next() {
        if letter.is_ascii_alphabetic() {
            let mut count = 1;
            while rest.next_if_eq(&letter).is_some() {
                count += 1;
            }
            tokens.push(Token::Letters(letter, count));
            continue;
        }
        let token = match letter {
            '\'' => Token::Text(quoted(&mut rest, dialect)?),
            '[' if dialect == Dialect::JavaTime => Token::Open,
            ']' if dialect == Dialect::JavaTime => Token::Close,
            '{' | '}' | '#' if dialect == Dialect::JavaTime => return None,
            letter => Token::Text(letter.to_string()),
        };
        match (tokens.last_mut(), token) {
            (Some(Token::Text(before)), Token::Text(text)) => before.push_str(&text),
            (_, token) => tokens.push(token),
        }
    }
    Some(tokens)
}

/// The text behind an opening quote; two quotes are one, outside of text and inside.
fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, dialect: Dialect) -> Option<String> {
    if rest.next_if_eq(&'\'').is_some() {
        return Some("'".to_owned());
    }
    let mut text = String::new();
    loop {
        match rest.next() {
            Some('\'') if rest.next_if_eq(&'\'').is_some() => text.push('\''),
            Some('\'') => return Some(text),
            Some(letter) => text.push(letter),
            None => return (dialect == Dialect::Joda).then_some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_letters_are_told_apart() {
        let text = |text: &str| Token::Text(text.to_owned());
        let found = tokens("yyyy-MM'T'''HH''[x]'o''c", Dialect::Joda).expect("a pattern");
        let wanted = [
            Token::Letters('y', 4),
            text("-"),
            Token::Letters('M', 2),
            text("T'"),
            Token::Letters('H', 2),
            text("'["),
            Token::Letters('x', 1),
            text("]o'c"),
        ];
        assert_eq!(found, wanted);
        assert_eq!(
            tokens("[H]", Dialect::JavaTime),
            Some(vec![Token::Open, Token::Letters('H', 1), Token::Close])
        );
        for pattern in ["'T", "{", "a#", &"y".repeat(257)] {
            assert_eq!(tokens(pattern, Dialect::JavaTime), None, "{pattern}");
        }
    }
}
