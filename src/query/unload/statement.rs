//! `UNLOAD (select) TO 's3://bucket/prefix' WITH (option = value, ...)`, read and checked (spec 1.4).

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::buckets::{Encryption, KEY_BYTES_MAX, is_bucket_name};
use crate::query::error::{Position, QueryError, syntax};
use crate::query::statement::{Parameters, parse_query};
use crate::query::token_reader::{TokenReader, is_word};

/// Bytes of a megabyte and a gigabyte, as `max_file_size` counts them.
const MEGABYTE: f64 = 1e6;
const GIGABYTE: f64 = 1e9;
/// The least and the most of `max_file_size`, in bytes.
const FILE_BYTES: std::ops::RangeInclusive<f64> = 16.0 * MEGABYTE..=78.0 * GIGABYTE;
/// What the name of a result file adds to prefix and partitions: `results/<query id>_<uuid>.parquet`.
const NAME_BYTES: usize = 100;

/// The statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unload {
    pub(crate) select: Box<ast::Query>,
    pub(crate) bucket: String,
    /// The prefix without a slash at its ends; empty for the bucket's top.
    pub(crate) prefix: String,
    pub(crate) options: UnloadOptions,
}

/// The options, checked one by one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnloadOptions {
    /// The last columns of the select, whose values become folders.
    pub(crate) partitioned_by: Vec<String>,
    pub(crate) format: UnloadFormat,
    pub(crate) gzip: bool,
    pub(crate) encryption: Encryption,
    /// A file that is larger is followed by another one.
    pub(crate) file_bytes_max: u64,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnloadFormat {
    Csv { delimiter: u8, escape: u8, header: bool },
    Parquet,
}

/// An option as it is written.
struct Given {
    name: String,
    at: Position,
    values: Vec<String>,
    is_array: bool,
}

/// Reads the statement; the tokens begin with the word UNLOAD, or with blanks before it.
pub(crate) fn parse(tokens: Vec<TokenWithSpan>, parameters: &Parameters) -> Result<Unload, QueryError> {
    let (select, rest) = split(tokens)?;
    let mut words = TokenReader::over(&rest);
    if !words.keyword("TO") {
        return Err(syntax(words.here()));
    }
    let at = words.here();
    let (bucket, prefix) = destination(&words.text()?, at)?;
    let given = if words.keyword("WITH") { written_options(&mut words)? } else { Vec::new() };
    words.end()?;
    let options = options(&given)?;
    check_length(&prefix, &options.partitioned_by)?;
    let select = parse_query(select, parameters)?;
    Ok(Unload { select, bucket, prefix, options })
}

/// The tokens inside the parentheses and those behind them.
fn split(tokens: Vec<TokenWithSpan>) -> Result<(Vec<TokenWithSpan>, Vec<TokenWithSpan>), QueryError> {
    let mut words = tokens.iter().enumerate().filter(|(_, token)| is_word(token)).skip(1);
    let end = tokens.last().map_or(Position::START, |token| token.span.end.into());
    let open = match words.next() {
        Some((at, token)) if token.token == Token::LParen => at,
        Some((_, token)) => return Err(syntax(token.span.start.into())),
        None => return Err(syntax(end)),
    };
    let mut depth = 1_usize;
    let close = words.find(|(_, token)| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    let Some((close, _)) = close else { return Err(syntax(end)) };
    let mut select = tokens;
    let rest = select.split_off(close + 1);
    select.truncate(close);
    Ok((select.split_off(open + 1), rest))
}

/// The bucket and the prefix of `s3://bucket/prefix`.
fn destination(url: &str, at: Position) -> Result<(String, String), QueryError> {
    let wrong = |reason: &str| {
        QueryError::Validation(format!("line {at}: The destination '{url}' is invalid: {reason}"))
    };
    let rest = url.strip_prefix("s3://").ok_or_else(|| wrong("it must begin with s3://"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if !is_bucket_name(bucket) {
        return Err(wrong("it does not name a bucket, as in s3://bucket/prefix"));
    }
    let prefix = prefix.trim_matches('/');
    if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.contains("//") {
        return Err(wrong("the prefix has an empty part, or one that is . or .."));
    }
    if prefix.chars().any(|c| c.is_control()) {
        return Err(wrong("the prefix has a control character"));
    }
    Ok((bucket.to_owned(), prefix.to_owned()))
}

/// Refuses a prefix below which no file could be named, in AWS's words.
fn check_length(prefix: &str, partitioned_by: &[String]) -> Result<(), QueryError> {
    let partitions: usize = partitioned_by.iter().map(|name| name.len() + 2).sum();
    if prefix.len() + partitions + NAME_BYTES <= KEY_BYTES_MAX {
        return Ok(());
    }
    let columns = partitioned_by.join(", ");
    let using = match (prefix.len() + NAME_BYTES > KEY_BYTES_MAX, partitioned_by.is_empty()) {
        (true, _) | (_, true) => format!("the S3 prefix [{prefix}] provided in the destination"),
        _ if partitions + NAME_BYTES > KEY_BYTES_MAX => format!("partitioned_by [{columns}]"),
        _ => format!("the S3 prefix [{prefix}] along with the partitioned_by [{columns}]"),
    };
    Err(QueryError::Validation(format!(
        "UNLOAD result file key when using {using} will exceed the S3 allowed key length. See documentation for \
         more details."
    )))
}

fn options(given: &[Given]) -> Result<UnloadOptions, QueryError> {
    let known = [
        "partitioned_by",
        "format",
        "compression",
        "encryption",
        "kms_key",
        "field_delimiter",
        "escaped_by",
        "include_header",
        "max_file_size",
    ];
    for (index, option) in given.iter().enumerate() {
        let Given { name, at, .. } = option;
        if !known.contains(&name.as_str()) {
            return Err(QueryError::Validation(format!("line {at}: UNLOAD has no option '{name}'")));
        }
        if given[..index].iter().any(|before| before.name == *name) {
            return Err(QueryError::Validation(format!(
                "line {at}: The option {name} is given more than once"
            )));
        }
        if option.is_array != (name == "partitioned_by") {
            return Err(option.wrong(match option.is_array {
                true => "it is one text",
                false => "it is an array of column names, such as ARRAY['region']",
            }));
        }
    }
    let find = |name: &str| given.iter().find(|option| option.name == name);
    let gzip =
        find("compression").map_or(Ok(true), |option| option.choice(&[("GZIP", true), ("NONE", false)]))?;
    let parquet =
        find("format").map_or(Ok(false), |option| option.choice(&[("CSV", false), ("PARQUET", true)]))?;
    let named = find("encryption")
        .map(|option| option.choice(&[("SSE_S3", "SSE_S3"), ("SSE_KMS", "SSE_KMS")]))
        .transpose()?;
    let encryption = match (named, find("kms_key")) {
        (Some("SSE_KMS"), _) | (_, None) => {
            let key = find("kms_key").and_then(|key| key.values.first().cloned());
            Encryption::of_option(named, key)
        }
        (_, Some(key)) => return Err(key.wrong("it requires encryption = 'SSE_KMS'")),
    };
    let delimiter =
        find("field_delimiter").map_or(Ok(b','), |option| option.character(&["\\t", "/t"], b'\t'))?;
    let escape = find("escaped_by").map_or(Ok(b'\\'), |option| option.character(&["\\\\"], b'\\'))?;
    let header = find("include_header")
        .map_or(Ok(false), |option| option.choice(&[("true", true), ("false", false)]))?;
    for (option, byte) in [(find("field_delimiter"), delimiter), (find("escaped_by"), escape)] {
        if let Some(option) = option
            && (matches!(byte, b'"' | b'\n' | b'\r') || delimiter == escape)
        {
            return Err(option.wrong("delimiter, escape, quote and the end of a line must differ"));
        }
    }
    let format = match parquet {
        true => UnloadFormat::Parquet,
        false => UnloadFormat::Csv { delimiter, escape, header },
    };
    let file_bytes_max = find("max_file_size").map_or(Ok(*FILE_BYTES.end()), Given::size)?;
    let partitioned_by = find("partitioned_by").map_or_else(Vec::new, |option| option.values.clone());
    if let Some(twice) =
        partitioned_by.iter().enumerate().find(|(at, name)| partitioned_by[..*at].contains(name))
    {
        let at = find("partitioned_by").map_or(Position::START, |option| option.at);
        return Err(QueryError::Validation(format!(
            "line {at}: partitioned_by names '{}' more than once",
            twice.1
        )));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within FILE_BYTES")]
    let file_bytes_max = file_bytes_max as u64;
    Ok(UnloadOptions { partitioned_by, format, gzip, encryption, file_bytes_max })
}

impl Given {
    fn wrong(&self, reason: &str) -> QueryError {
        let Self { name, at, values, .. } = self;
        let value: String = values.join(", ").chars().take(100).collect();
        QueryError::Validation(format!(
            "line {at}: The value '{value}' of the option {name} is invalid: {reason}"
        ))
    }

    fn text(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, QueryError> {
        let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(self.text()));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("'{word}'")).collect();
            self.wrong(&format!("it must be {}", words.join(" or ")))
        })
    }

    /// One ASCII character; some texts of two stand for one.
    fn character(&self, spellings: &[&str], meant: u8) -> Result<u8, QueryError> {
        match self.text().as_bytes() {
            _ if spellings.contains(&self.text()) => Ok(meant),
            [byte] if byte.is_ascii() && *byte != 0 => Ok(*byte),
            _ => Err(self.wrong("it must be one ASCII character")),
        }
    }

    fn size(&self) -> Result<f64, QueryError> {
        let text = self.text().trim();
        let upper = text.to_ascii_uppercase();
        let (number, unit) = match (upper.strip_suffix("MB"), upper.strip_suffix("GB")) {
            (Some(number), _) => (number, MEGABYTE),
            (None, Some(number)) => (number, GIGABYTE),
            (None, None) => return Err(self.wrong("it must be a number of MB or GB, such as '78GB'")),
        };
        let digits = number.trim();
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let bytes = digits.parse::<f64>().ok().filter(|_| plain).map(|number| number * unit);
        bytes.filter(|bytes| FILE_BYTES.contains(bytes)).ok_or_else(|| self.wrong("it must be 16MB to 78GB"))
    }
}

/// The options in their parentheses.
fn written_options(words: &mut TokenReader<'_>) -> Result<Vec<Given>, QueryError> {
    words.expect(&Token::LParen)?;
    let mut given = Vec::new();
    loop {
        given.push(written_option(words)?);
        if !words.take(|token| *token == Token::Comma) {
            words.expect(&Token::RParen)?;
            return Ok(given);
        }
    }
}

fn written_option(words: &mut TokenReader<'_>) -> Result<Given, QueryError> {
    let at = words.here();
    let name = words.word()?.value.to_ascii_lowercase();
    words.expect(&Token::Eq)?;
    if !words.keyword("ARRAY") {
        let value = match words.peek() {
            Some(Token::Word(word)) if word.quote_style.is_none() => words.word()?.value.clone(),
            _ => words.text()?,
        };
        return Ok(Given { name, at, values: vec![value], is_array: false });
    }
    words.expect(&Token::LBracket)?;
    let mut values = vec![words.text()?];
    while words.take(|token| *token == Token::Comma) {
        values.push(words.text()?);
    }
    words.expect(&Token::RBracket)?;
    Ok(Given { name, at, values, is_array: true })
}
