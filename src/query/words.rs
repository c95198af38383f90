//! Which words mean something to Timestream's SQL, and which are names like any other (spec 2.1).
//!
//! sqlparser knows the words of many dialects, and would take a column called `user`, `view` or `cluster`
//! for something else. Every word Timestream does not know becomes a plain one before sqlparser sees it,
//! and so does a word that means something only before certain others and does not stand before them.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// The words that must be quoted to be names.
const RESERVED: &[&str] = &[
    "ALTER",
    "AND",
    "AS",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CONSTRAINT",
    "CREATE",
    "CROSS",
    "CUBE",
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "DEALLOCATE",
    "DELETE",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "ESCAPE",
    "EXCEPT",
    "EXECUTE",
    "EXISTS",
    "EXTRACT",
    "FALSE",
    "FOR",
    "FROM",
    "FULL",
    "GROUP",
    "GROUPING",
    "HAVING",
    "IN",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "NATURAL",
    "NORMALIZE",
    "NOT",
    "NULL",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "PREPARE",
    "RECURSIVE",
    "RIGHT",
    "ROLLUP",
    "SELECT",
    "TABLE",
    "THEN",
    "TRUE",
    "UESCAPE",
    "UNION",
    "UNNEST",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
];

/// The others that mean something in a query.
const KNOWN: &[&str] = &[
    "ALL",
    "ANY",
    "ARRAY",
    "ASC",
    "AT",
    "BIGINT",
    "BOOLEAN",
    "BOTH",
    "CEIL",
    "CURRENT",
    "DATE",
    "DAY",
    "DESC",
    "DOUBLE",
    "ERROR",
    "FETCH",
    "FILTER",
    "FIRST",
    "FLOOR",
    "FOLLOWING",
    "GROUPS",
    "HOUR",
    "IGNORE",
    "INT",
    "INTEGER",
    "INTERVAL",
    "LAST",
    "LEADING",
    "LIMIT",
    "MINUTE",
    "MONTH",
    "NEXT",
    "NULLS",
    "OFFSET",
    "ONLY",
    "ORDINALITY",
    "OVER",
    "OVERFLOW",
    "PARTITION",
    "POSITION",
    "PRECEDING",
    "PRECISION",
    "QUARTER",
    "RANGE",
    "RESPECT",
    "ROW",
    "ROWS",
    "SECOND",
    "SETS",
    "SOME",
    "SUBSTRING",
    "TIES",
    "TIME",
    "TIMESTAMP",
    "TO",
    "TRAILING",
    "TRIM",
    "UNBOUNDED",
    "VARCHAR",
    "WEEK",
    "WINDOW",
    "WITHIN",
    "YEAR",
    "ZONE",
];

/// Whether an unquoted `word` can be no name.
pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}

/// The tokens with every word plain that means nothing where it stands.
pub(crate) fn plain(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let places: Vec<usize> = (0..tokens.len()).filter(|i| !is_blank(&tokens[*i].token)).collect();
    for (n, place) in places.iter().enumerate() {
        let at = |n: usize| places.get(n).map(|place| &tokens[*place].token);
        let before = n.checked_sub(1).and_then(at);
        let Token::Word(word) = &tokens[*place].token else { continue };
        if word.quote_style.is_some() || word.keyword == Keyword::NoKeyword || is_reserved(&word.value) {
            continue;
        }
        let known = KNOWN.iter().any(|known| known.eq_ignore_ascii_case(&word.value));
        let named = matches!(before, Some(Token::Period)) || keyword(before) == Keyword::AS;
        if (!known || named || !goes_on(word.keyword, before, at(n + 1), at(n + 2)))
            && let Token::Word(word) = &mut tokens[*place].token
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
    tokens
}

fn is_blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

fn keyword(token: Option<&Token>) -> Keyword {
    match token {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// Whether `word` stands before what it goes on with.
fn goes_on(word: Keyword, before: Option<&Token>, next: Option<&Token>, after: Option<&Token>) -> bool {
    match word {
        Keyword::LIMIT => match next {
            Some(Token::Number(..) | Token::SingleQuotedString(_) | Token::Minus | Token::AtSign) => true,
            // At the end of a text it is one that lacks its number, unless a name must stand there.
            None | Some(Token::EOF) => matches!(before, Some(Token::RParen)) || is_name(before),
            next => matches!(keyword(next), Keyword::ALL | Keyword::NULL),
        },
        Keyword::OFFSET => matches!(next, Some(Token::Number(..) | Token::Minus)),
        Keyword::FETCH => matches!(keyword(next), Keyword::FIRST | Keyword::NEXT),
        Keyword::PARTITION => keyword(next) == Keyword::BY,
        Keyword::IGNORE | Keyword::RESPECT => keyword(next) == Keyword::NULLS,
        Keyword::WINDOW => keyword(after) == Keyword::AS && matches!(next, Some(Token::Word(_))),
        Keyword::ARRAY => matches!(next, Some(Token::LBracket)),
        Keyword::TRIM | Keyword::FILTER | Keyword::ANY | Keyword::SOME => matches!(next, Some(Token::LParen)),
        Keyword::AT => keyword(next) == Keyword::TIME,
        Keyword::WITHIN => keyword(next) == Keyword::GROUP,
        Keyword::OVERFLOW => keyword(before) == Keyword::ON && keyword(next) == Keyword::ERROR,
        Keyword::ERROR => keyword(before) == Keyword::OVERFLOW,
        Keyword::OVER => matches!(next, Some(Token::LParen)) || is_name(next),
        Keyword::INTERVAL => matches!(
            next,
            Some(Token::SingleQuotedString(_) | Token::Minus | Token::Plus | Token::Number(..))
        ),
        Keyword::ALL => match next {
            Some(Token::Comma | Token::Period | Token::Eq) => false,
            Some(Token::RParen) => keyword(before) == Keyword::LIMIT,
            _ => true,
        },
        _ => true,
    }
}

fn is_name(token: Option<&Token>) -> bool {
    matches!(token, Some(Token::Word(word)) if word.quote_style.is_some() || !is_reserved(&word.value))
}
