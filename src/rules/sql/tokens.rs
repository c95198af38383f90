//! Text to tokens, and the pass over them that takes other languages' keywords away.
//!
//! Hundreds of words are special to sqlparser and devices use them as attribute names (`interval`,
//! `position`, `date`): every word that is no keyword of this language becomes a plain name.

use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use super::error::{Position, SqlError, lower_first};

/// A text's tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    /// The tokens, as far as the text is made of some.
    pub(super) list: Vec<TokenWithSpan>,
    /// What is no token, where the list ends early.
    pub(super) broken: Option<SqlError>,
    /// The place behind the last letter.
    pub(super) end: Position,
}

/// Takes `text` apart.
pub(super) fn tokens(dialect: &dyn Dialect, text: &str) -> Tokens {
    let mut list = Vec::new();
    let broken = Tokenizer::new(dialect, text)
        .with_unescape(false)
        .tokenize_with_location_into_buf(&mut list)
        .err()
        .map(|error| SqlError::new(Position::from(error.location), lower_first(&error.message)));
    demote_words(&mut list);
    Tokens { list, broken, end: Position::end_of(text) }
}

/// Where comments stand.
pub(super) fn comments(tokens: &[TokenWithSpan]) -> impl Iterator<Item = SqlError> {
    let comment = |token: &&TokenWithSpan| {
        matches!(
            token.token,
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_))
        )
    };
    tokens
        .iter()
        .filter(comment)
        .map(|token| SqlError::new(Position::from(token.span.start), "comments are not part of AWS IoT SQL"))
}

/// Leaves their meaning to the keywords of this language, and takes it from all other words.
fn demote_words(tokens: &mut [TokenWithSpan]) {
    let mut previous: Option<Token> = None;
    let mut cases = 0_usize;
    for index in 0..tokens.len() {
        if is_blank(&tokens[index].token) {
            continue;
        }
        let called = follows(&tokens[index + 1..], &Token::LParen);
        let token = &mut tokens[index].token;
        if let Token::Word(word) = token {
            let named = matches!(&previous, Some(Token::Period))
                || matches!(&previous, Some(Token::Word(word)) if word.keyword == Keyword::AS);
            let kept = !named
                && match word.keyword {
                    Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::AS => true,
                    Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::IN => true,
                    Keyword::TRUE | Keyword::FALSE | Keyword::NULL | Keyword::CASE => true,
                    Keyword::CAST | Keyword::EXISTS => called,
                    Keyword::WHEN | Keyword::THEN | Keyword::ELSE | Keyword::END => cases > 0,
                    _ => false,
                };
            match word.keyword {
                Keyword::CASE if kept => cases += 1,
                Keyword::END if kept => cases -= 1,
                _ => {}
            }
            if !kept {
                word.keyword = Keyword::NoKeyword;
            }
        }
        previous = Some(token.clone());
    }
}

/// Whether `wanted` is the first token that is no blank. Looks at few: long runs of blanks before a
/// bracket are nobody's style, and a text of blanks must not cost its square.
fn follows(tokens: &[TokenWithSpan], wanted: &Token) -> bool {
    const BLANKS_MAX: usize = 64;
    tokens.iter().take(BLANKS_MAX).find(|token| !is_blank(&token.token)).is_some_and(|it| it.token == *wanted)
}

fn is_blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}
