//! What one query may use, and the checks on its text that come before any parser sees it.
//!
//! A parser builds trees, and trees are walked and dropped by recursion: a chain of forty thousand
//! `AND`s would overflow a stack long before it would mean anything. [`check_text`] therefore counts
//! what makes trees deep, in one pass over the tokens.

use std::time::Duration;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::error::QueryError;
use crate::buckets::Buckets;

/// The longest query text, in characters (spec 5.5).
pub(crate) const TEXT_CHARS_MAX: usize = 262_144;

/// How deep parentheses, brackets and cases may nest.
pub(crate) const NESTING_MAX: usize = 100;

/// How many operators, joins and set operations a query may chain.
pub(crate) const CHAIN_MAX: usize = 2_000;

/// How many of them one expression may chain without AND, OR or a comma between: the planner looks at
/// all of a chain again for every operator it plans.
pub(crate) const RUN_MAX: usize = 200;

/// Stack of the query runtime's threads: what the two bounds above need, with room to spare.
pub(crate) const STACK_BYTES: usize = 32 * 1024 * 1024;

/// Most bytes of a text, or of an array, that a function makes. A row of a result has at most 1 MB.
pub(crate) const VALUE_BYTES_MAX: usize = 16 << 20;

/// Most bytes one call of a function makes for the rows of one batch.
pub(crate) const CALL_BYTES_MAX: usize = 256 << 20;

/// Most steps of a function whose work is a product of the lengths of its operands, for one row.
pub(crate) const STEPS_MAX: usize = 100_000_000;

/// What the query engine may use.
#[derive(Debug, Clone)]
pub struct QueryOptions {
    /// Memory all running queries share; what can spill does. Default: 1 GiB.
    pub memory_bytes: usize,
    /// Disk all running queries share for what they spill. Default: 10 GiB.
    pub spill_bytes: u64,
    /// How long one call may work on a page before it is given up. Default: 60 s, the read time-out
    /// of the AWS SDKs.
    pub timeout: Duration,
    /// How long a caller waits for the first rows of a query before it is given a page without rows and a
    /// token to ask again with. Default: 10 s.
    pub first_page_within: Duration,
    /// How many queries run at once. Default: 8.
    pub concurrency: usize,
    /// How many queries may wait for their turn; one more is throttled. Default: 64.
    pub queue: usize,
    /// Threads of the query runtime. Default: one per processor.
    pub threads: usize,
    /// So many rows are read by one thread before others have begun: a query that can reach no more is not
    /// spread over threads. Default: 100,000.
    pub rows_alone: usize,
    /// Bytes of one result page. Default: 1 MB, as Timestream has it.
    pub page_bytes: usize,
    /// Rows of a page whose request names no limit. Default: 1,000.
    pub page_rows: usize,
    /// How long a page token is good for. Default: one hour.
    pub token_lifetime: Duration,
    /// How often one token may be used. Default: 5.
    pub token_uses: u32,
    /// How many unfinished results are kept open; the one unused for longest gives way. Default: 64.
    pub cursors: usize,
    /// Where UNLOAD writes. Default: nowhere, so that it is refused.
    pub buckets: Option<Buckets>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            memory_bytes: 1 << 30,
            spill_bytes: 10 << 30,
            timeout: Duration::from_secs(60),
            first_page_within: Duration::from_secs(10),
            concurrency: 8,
            queue: 64,
            threads,
            rows_alone: 100_000,
            page_bytes: 1_000_000,
            page_rows: 1_000,
            token_lifetime: Duration::from_secs(3_600),
            token_uses: 5,
            cursors: 64,
            buckets: None,
        }
    }
}

/// Whether a text of this length may be looked at.
pub(crate) fn check_length(sql: &str) -> Result<(), QueryError> {
    let chars = sql.chars().count();
    if chars == 0 {
        return Err(QueryError::Validation("QueryString must not be empty".to_owned()));
    }
    if chars > TEXT_CHARS_MAX {
        return Err(QueryError::Validation(format!(
            "QueryString has {chars} characters; a query may have at most {TEXT_CHARS_MAX}"
        )));
    }
    Ok(())
}

/// Whether the tokens can be parsed, planned and dropped within [`STACK_BYTES`].
pub(crate) fn check_text(tokens: &[TokenWithSpan]) -> Result<(), QueryError> {
    let mut counts = Counts::default();
    for token in tokens {
        counts.count(&token.token);
        let at = token.span.start;
        if counts.depth > NESTING_MAX {
            return Err(QueryError::Validation(format!(
                "line {}:{}: the query nests deeper than {NESTING_MAX} levels",
                at.line, at.column
            )));
        }
        if counts.run > RUN_MAX {
            return Err(QueryError::Validation(format!(
                "line {}:{}: an expression may have at most {RUN_MAX} operators",
                at.line, at.column
            )));
        }
    }
    if counts.chain > CHAIN_MAX {
        return Err(QueryError::Validation(format!(
            "the query has {} operators; a query may have at most {CHAIN_MAX}",
            counts.chain
        )));
    }
    Ok(())
}

#[derive(Default)]
struct Counts {
    depth: usize,
    chain: usize,
    run: usize,
}

impl Counts {
    fn count(&mut self, token: &Token) {
        match token {
            Token::LParen | Token::LBrace => self.depth += 1,
            Token::LBracket => {
                self.depth += 1;
                self.operator();
            }
            Token::RParen | Token::RBracket | Token::RBrace => self.depth = self.depth.saturating_sub(1),
            Token::Comma | Token::SemiColon => self.run = 0,
            Token::Word(word) if word.quote_style.is_none() => self.keyword(word.keyword),
            Token::Word(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Whitespace(_)
            | Token::EOF => {}
            // A dot is an operator only in a run of dots.
            Token::Period => self.run += 1,
            _ => self.operator(),
        }
    }

    fn operator(&mut self) {
        self.chain += 1;
        self.run += 1;
    }

    fn keyword(&mut self, keyword: Keyword) {
        match keyword {
            Keyword::CASE => self.depth += 1,
            Keyword::END => self.depth = self.depth.saturating_sub(1),
            Keyword::AND | Keyword::OR | Keyword::JOIN | Keyword::SELECT => {
                self.chain += 1;
                self.run = 0;
            }
            Keyword::FROM
            | Keyword::WHERE
            | Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
            | Keyword::ON
            | Keyword::BY
            | Keyword::HAVING => self.run = 0,
            Keyword::NOT
            | Keyword::IS
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::BETWEEN
            | Keyword::AT
            | Keyword::COLLATE
            | Keyword::UNION
            | Keyword::EXCEPT
            | Keyword::INTERSECT
            | Keyword::UNNEST
            | Keyword::OVER => self.operator(),
            _ => {}
        }
    }
}
