//! `VALUES 1, 2, 3` and `GROUP BY DISTINCT x`, which no hook of the dialect reaches.
//!
//! A pass puts parentheses around bare rows in the token stream, another takes quantifiers away. They carry the places of their
//! neighbours, so that an error still points into the user's own text.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::groupings;

/// The tokens with parentheses around every row of `VALUES` that has none.
pub(crate) fn wrap_bare_rows(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_values = |token: &TokenWithSpan| {
        matches!(&token.token, Token::Word(word)
            if word.keyword == Keyword::VALUES && word.quote_style.is_none())
    };
    if !tokens.iter().any(is_values) {
        return tokens;
    }
    let mut rewritten = Vec::with_capacity(tokens.len() + 8);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        rewritten.push(token.clone());
        at += 1;
        if is_values(token) {
            at = copy_rows(&tokens, at, &mut rewritten);
        }
    }
    rewritten
}

/// The tokens without the ALL of `GROUP BY ALL x`, which says what is so anyway, and with a key in place of the
/// DISTINCT of `GROUP BY DISTINCT x`, by which `groupings` knows it.
pub(crate) fn without_group_quantifier(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let keyword = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let mut before = kept.iter().rev().filter(|token| !is_blank(token)).map(keyword);
        let word = keyword(&token);
        let quantifies = matches!(word, Keyword::ALL | Keyword::DISTINCT)
            && before.next() == Some(Keyword::BY)
            && before.next() == Some(Keyword::GROUP);
        match quantifies {
            true if word == Keyword::DISTINCT => {
                let key = Token::make_word(groupings::DISTINCT, Some('"'));
                kept.push(TokenWithSpan { token: key, span: token.span });
                kept.push(TokenWithSpan { token: Token::Comma, span: token.span });
            }
            true => {}
            false => kept.push(token),
        }
    }
    kept
}

/// Copies the rows that begin at `at` and returns where they end.
fn copy_rows(tokens: &[TokenWithSpan], mut at: usize, rewritten: &mut Vec<TokenWithSpan>) -> usize {
    loop {
        while let Some(blank) = tokens.get(at).filter(|token| is_blank(token)) {
            rewritten.push(blank.clone());
            at += 1;
        }
        let end = row_end(tokens, at);
        let row = tokens.get(at..end).unwrap_or_default();
        let fields = row_fields(row);
        match (row.first(), row.last()) {
            (Some(first), Some(last)) if !is_wrapped(fields) => {
                rewritten.push(TokenWithSpan { token: Token::LParen, span: first.span });
                rewritten.extend(fields.iter().cloned());
                rewritten.push(TokenWithSpan { token: Token::RParen, span: last.span });
            }
            _ => rewritten.extend(fields.iter().cloned()),
        }
        at = end;
        match tokens.get(at) {
            Some(comma) if comma.token == Token::Comma => {
                rewritten.push(comma.clone());
                at += 1;
            }
            _ => return at,
        }
    }
}

fn is_blank(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// Where the row that begins at `at` ends: at a comma, a closing parenthesis or a clause.
fn row_end(tokens: &[TokenWithSpan], at: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(at) {
        match &token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth > 0 => depth -= 1,
            Token::RParen | Token::RBracket | Token::EOF => return i,
            Token::Comma | Token::SemiColon if depth == 0 => return i,
            Token::Word(word) if depth == 0 && ends_rows(word.keyword) => return i,
            _ => {}
        }
    }
    tokens.len()
}

fn ends_rows(keyword: Keyword) -> bool {
    use Keyword::{EXCEPT, FETCH, INTERSECT, LIMIT, OFFSET, ORDER, UNION};
    matches!(keyword, ORDER | LIMIT | UNION | OFFSET | FETCH | EXCEPT | INTERSECT)
}

/// Whether one pair of parentheses holds the whole row: `(1, 2)`, but not `(1) + (2)`.
fn is_wrapped(row: &[TokenWithSpan]) -> bool {
    let row = trimmed(row);
    if row.first().is_none_or(|token| token.token != Token::LParen) {
        return false;
    }
    let mut depth = 0_usize;
    for (i, token) in row.iter().enumerate() {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return i + 1 == row.len();
        }
    }
    false
}

/// The row without what says nothing: the outer pair of `(('a', 1))`, the word of `ROW('a', 1)`.
fn row_fields(row: &[TokenWithSpan]) -> &[TokenWithSpan] {
    let mut row = trimmed(row);
    while is_wrapped(row) {
        let inner = row_fields(row.get(1..row.len() - 1).unwrap_or_default());
        if !is_wrapped(inner) {
            break;
        }
        row = inner;
    }
    match row.split_first() {
        Some((first, rest)) if is_row(first) && is_wrapped(rest) => trimmed(rest),
        _ => row,
    }
}

fn is_row(token: &TokenWithSpan) -> bool {
    matches!(&token.token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("row"))
}

fn trimmed(mut row: &[TokenWithSpan]) -> &[TokenWithSpan] {
    while let Some((_, rest)) = row.split_first().filter(|(first, _)| is_blank(first)) {
        row = rest;
    }
    while let Some((_, rest)) = row.split_last().filter(|(last, _)| is_blank(last)) {
        row = rest;
    }
    row
}
