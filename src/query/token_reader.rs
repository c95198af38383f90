//! The words of a statement that is none of SQL's, read from left to right: metadata statements and what
//! stands behind the select of an UNLOAD.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::error::{Position, QueryError, syntax};

/// Tokens without blanks, and how far they were read.
pub(super) struct TokenReader<'a> {
    tokens: Vec<&'a TokenWithSpan>,
    next: usize,
}

impl<'a> TokenReader<'a> {
    /// A reader at the first word of `tokens`.
    pub(super) fn over(tokens: &'a [TokenWithSpan]) -> Self {
        Self { tokens: tokens.iter().filter(|token| is_word(token)).collect(), next: 0 }
    }

    /// Where the next token stands, or the last one ended.
    pub(super) fn here(&self) -> Position {
        match (self.tokens.get(self.next), self.tokens.last()) {
            (Some(token), _) => token.span.start.into(),
            (None, Some(last)) => last.span.end.into(),
            (None, None) => Position::START,
        }
    }

    /// The next token, which stays the next.
    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next).map(|token| &token.token)
    }

    /// Takes the next token if it is `wanted`.
    pub(super) fn take(&mut self, wanted: impl Fn(&Token) -> bool) -> bool {
        let found = self.peek().is_some_and(wanted);
        self.next += usize::from(found);
        found
    }

    /// Takes this unquoted word, in any case, if it is next.
    pub(super) fn keyword(&mut self, name: &str) -> bool {
        self.take(|token| {
            matches!(token, Token::Word(word)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(name))
        })
    }

    pub(super) fn expect(&mut self, wanted: &Token) -> Result<(), QueryError> {
        if self.take(|token| token == wanted) { Ok(()) } else { Err(syntax(self.here())) }
    }

    /// Any word, quoted or not.
    pub(super) fn word(&mut self) -> Result<&'a Word, QueryError> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.next += 1;
                Ok(word)
            }
            _ => Err(syntax(self.here())),
        }
    }

    /// A text in single quotes.
    pub(super) fn text(&mut self) -> Result<String, QueryError> {
        match self.peek() {
            Some(Token::SingleQuotedString(text)) => {
                self.next += 1;
                Ok(text.clone())
            }
            _ => Err(syntax(self.here())),
        }
    }

    /// How many tokens were read.
    pub(super) fn place(&self) -> usize {
        self.next
    }

    /// What was read since `place`, as it is written.
    pub(super) fn written_since(&self, place: usize) -> String {
        let written = self.tokens.get(place..self.next).unwrap_or_default();
        written.iter().map(|token| token.token.to_string()).collect()
    }

    /// Nothing more, but for a semicolon.
    pub(super) fn end(&mut self) -> Result<(), QueryError> {
        self.take(|token| *token == Token::SemiColon);
        if self.next < self.tokens.len() { Err(syntax(self.here())) } else { Ok(()) }
    }
}

/// Whether a token is more than room between words.
pub(super) fn is_word(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_) | Token::EOF)
}
