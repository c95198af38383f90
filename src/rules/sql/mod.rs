//! AWS IoT SQL: text in, a checked [`Query`] out, and its evaluation over one message.
//!
//! The stages have a type each and a later one never sees an earlier one's: text, then the syntax
//! tree (`statement`, `dialect`), then the checked query (`check`), then the outgoing payload (`eval`). The
//! language is the one of spec sections 1 to 3; `docs/rules.md` lists what is left out.

mod check;
mod dialect;
pub(crate) mod error;
pub(crate) mod eval;
mod functions;
mod json;
mod nested;
pub(crate) mod number;
mod operator;
pub(crate) mod payload;
mod query;
pub(crate) mod run;
mod statement;
mod tokens;
pub(crate) mod value;

use std::fmt;

#[cfg(test)]
pub(crate) use functions::{names as function_names, names_elsewhere as function_names_elsewhere};
pub(crate) use functions::{to_base64, trace_id};
pub(crate) use query::{Expr, Query};

use super::stand_ins::StandIns;
use error::{Position, SqlError, SqlErrors};
use number::Number;
use value::Value;

/// The longest statement, in bytes: AWS's quota for a whole rule (spec 6.4).
pub(crate) const STATEMENT_BYTES_MAX: usize = 128 * 1024;

/// The version of the language a rule is written in (spec 1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// 2015-10-08: whole-number decimals stay decimals.
    V2015,
    /// 2016-03-23.
    V2016,
    /// The newest beta; here the same as 2016-03-23.
    Beta,
}

impl Version {
    /// The version spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::V2015, Self::V2016, Self::Beta].into_iter().find(|version| version.as_str() == text)
    }

    /// The version as rules spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2015 => "2015-10-08",
            Self::V2016 => "2016-03-23",
            Self::Beta => "beta",
        }
    }

    /// A number as a value of this version: from 2016-03-23 on a whole one is an Int.
    pub(crate) fn value(self, number: Number) -> Value {
        match number {
            Number::Decimal(decimal) if self != Self::V2015 => {
                decimal.whole().map_or(Value::Decimal(decimal), Value::Int)
            }
            number => number.into(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses and checks a statement.
///
/// `files` is where functions that AWS answers from other services find their answers.
pub(crate) fn parse(sql: &str, version: Version, files: &StandIns) -> Result<Query, SqlErrors> {
    if sql.len() > STATEMENT_BYTES_MAX {
        let message =
            format!("a statement may have at most {STATEMENT_BYTES_MAX} bytes, this has {}", sql.len());
        return Err(SqlError { position: None, message }.into());
    }
    let (ast, aside) = dialect::parse_statement(sql);
    check::check_statement(ast, aside, version, files)
}

/// A checked expression in front of a `}`.
#[derive(Debug)]
pub(crate) struct Braced {
    /// The expression.
    pub(crate) expr: Expr,
    /// The variables of SET it needs.
    pub(crate) variables: Vec<String>,
    /// At which byte the `}` stands.
    pub(crate) brace: usize,
}

/// Parses and checks the expression at the start of `text` that a `}` ends.
pub(crate) fn parse_until_brace(text: &str, version: Version, files: &StandIns) -> Result<Braced, SqlErrors> {
    let ((ast, place), aside) = dialect::parse_until_brace(text)?;
    let (expr, variables) = check::check_expression(ast, aside, version, files)?;
    let brace = Position::offset_in(place, text).ok_or_else(|| {
        SqlErrors::from(SqlError { position: None, message: "the expression has no end".to_owned() })
    })?;
    Ok(Braced { expr, variables, brace })
}
