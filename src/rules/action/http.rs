//! The http action: the result is posted to a URL.
//!
//! Scheme, host and port stand in the rule; a template may only fill what comes behind them, so that no
//! device can say whom the daemon calls.

use super::super::checker::Checker;
use super::super::effect::{FailureReason, HttpPost};
use super::super::file::HttpFile;
use super::super::sql::Version;
use super::super::sql::eval::{Output, Scope};
use super::super::template::Template;
use super::shortened;

/// The longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;
/// The most headers.
const HEADERS_MAX: usize = 100;
/// The longest name of a header, in bytes.
const HEADER_NAME_BYTES_MAX: usize = 256;
/// How long one attempt may take, in milliseconds.
const TIMEOUT_MS: (u64, u64) = (1, 60_000);
/// How often an attempt may be repeated.
const RETRIES_MAX: u32 = 10;
/// What the request says of its body unless the action does.
const CONTENT_TYPE: (&str, &str) = ("Content-Type", "application/json");

/// A checked http action.
#[derive(Debug)]
pub(crate) struct HttpAction {
    url: Template,
    headers: Vec<(String, Template)>,
    says_content_type: bool,
    timeout_ms: u64,
    retries: u32,
}

impl HttpAction {
    pub(super) fn check(file: HttpFile, version: Version, checker: &mut Checker<'_>) -> Option<Self> {
        let url = checker.template("url", &file.url, version);
        if let Some(problem) = url.as_ref().and_then(url_problem) {
            checker.mistake(file.url.start, format!("url: {:?} {problem}", file.url.text));
        }
        if file.headers.len() > HEADERS_MAX {
            let count = file.headers.len();
            checker.mistake(None, format!("an action has at most {HEADERS_MAX} headers, this has {count}"));
        }
        let mut headers = Vec::with_capacity(file.headers.len());
        for (name, value) in file.headers {
            if !is_header_name(&name.text) {
                checker.mistake(name.start, format!("{:?} is no name for a header", name.text));
            }
            let template = checker.template(&format!("header {}", name.text), &value, version);
            headers.extend(template.map(|template| (name.text, template)));
        }
        checker.in_range("timeout_ms", file.timeout_ms, TIMEOUT_MS.0, TIMEOUT_MS.1);
        checker.in_range("retries", file.retries, 0, RETRIES_MAX.into());
        let says_content_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE.0));
        let retries = u32::try_from(file.retries).ok()?;
        Some(Self { url: url?, headers, says_content_type, timeout_ms: file.timeout_ms, retries })
    }

    pub(super) fn run<'a>(
        &'a self,
        scope: &Scope<'a>,
        output: &Output<'_>,
    ) -> Result<HttpPost, FailureReason> {
        let url = self.url.render(scope, || "url".to_owned())?;
        if url.len() > URL_BYTES_MAX {
            let problem = format!("is longer than {URL_BYTES_MAX} bytes");
            return Err(FailureReason::Field { field: "url", text: shortened(url), problem });
        }
        let mut headers = Vec::with_capacity(self.headers.len() + 1);
        if !self.says_content_type {
            headers.push((CONTENT_TYPE.0.to_owned(), CONTENT_TYPE.1.to_owned()));
        }
        for (name, value) in &self.headers {
            headers.push((name.clone(), value.render(scope, || format!("header {name}"))?));
        }
        let body = output.payload(scope.message())?;
        Ok(HttpPost { url, headers, body, timeout_ms: self.timeout_ms, retries: self.retries })
    }
}

/// What keeps `url` from saying whom to call before any template begins.
fn url_problem(url: &Template) -> Option<&'static str> {
    let begun = url.constant_beginning();
    let rest = begun.strip_prefix("http://").or_else(|| begun.strip_prefix("https://"));
    let Some(rest) = rest else { return Some("does not begin with http:// or https:// and a host") };
    let host = rest.find(['/', '?', '#']).map_or(rest, |end| &rest[..end]);
    if host.is_empty() {
        return Some("has no host");
    }
    if host.len() == rest.len() && url.constant().is_none() {
        return Some("has a template in its host: a slash has to stand before the first template");
    }
    let legal =
        |letter: char| letter.is_ascii_graphic() && !matches!(letter, '\\' | '"' | '<' | '>' | '^' | '`');
    (!host.chars().all(legal)).then_some("has a host with characters that hosts do not have")
}

/// Whether `name` is a token as HTTP defines it (RFC 9110 section 5.6.2).
fn is_header_name(name: &str) -> bool {
    let token = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
    (1..=HEADER_NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(token)
}
