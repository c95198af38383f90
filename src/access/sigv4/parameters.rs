//! The parts of a signature, from the Authorization header or from the query string.

use chrono::{DateTime, NaiveDateTime, Utc};
use hyper::header::{AUTHORIZATION, DATE};

use super::canonical::decode;
use super::{ALGORITHM, DATE_FORMAT, Head, Refused};

/// The query parameter with the session token.
pub(super) const TOKEN: &str = "X-Amz-Security-Token";
/// The query parameter with the signature.
pub(super) const SIGNATURE: &str = "X-Amz-Signature";
/// What a presigned request is valid for when it does not say, in seconds.
const EXPIRES_SECONDS: i64 = 300;
/// The longest a presigned request may be valid, in seconds: seven days.
const EXPIRES_SECONDS_MAX: i64 = 604_800;

/// What a request says of its signature.
#[derive(Debug)]
pub(super) struct Parameters {
    /// `key/date/region/service/aws4_request`.
    pub(super) credential: String,
    /// The names of the signed headers, as given.
    pub(super) signed_headers: Vec<String>,
    /// In hexadecimal digits.
    pub(super) signature: String,
    /// When it was made.
    pub(super) date: DateTime<Utc>,
    /// How long a presigned request is valid.
    pub(super) expires_seconds: Option<i64>,
    /// Whether it stands in the query string.
    pub(super) in_query: bool,
}

impl Parameters {
    /// Reads the signature of a request; a header goes before the query string.
    ///
    /// # Errors
    /// When there is none, or it is not whole.
    pub(super) fn of(head: &Head<'_>) -> Result<Self, Refused> {
        if let Some(header) = head.headers.get(AUTHORIZATION) {
            let text = header.to_str().unwrap_or_default();
            return Self::in_header(text, head);
        }
        if parameter(head, "X-Amz-Algorithm").is_some() {
            return Self::in_query(head);
        }
        Err(Refused::Unsigned)
    }

    fn in_header(text: &str, head: &Head<'_>) -> Result<Self, Refused> {
        let (algorithm, rest) = text.trim().split_once(' ').unwrap_or((text, ""));
        if algorithm != ALGORITHM {
            return Err(Refused::Incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'.")));
        }
        let part = |name: &str| {
            let mut parts = rest.split(',').filter_map(|part| part.trim().split_once('='));
            parts.find(|(known, _)| *known == name).map(|(_, value)| value.trim().to_owned())
        };
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let date = header("x-amz-date").or_else(|| header(DATE.as_str()));
        let (credential, signed_headers, signature) =
            (part("Credential"), part("SignedHeaders"), part("Signature"));
        let mut missing: Vec<String> = Vec::new();
        for (name, value) in
            [("Credential", &credential), ("Signature", &signature), ("SignedHeaders", &signed_headers)]
        {
            if value.as_deref().is_none_or(str::is_empty) {
                missing.push(format!("Authorization header requires '{name}' parameter."));
            }
        }
        if date.is_none() {
            missing.push(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.".into(),
            );
        }
        let (Some(credential), Some(signed), Some(signature), Some(date), []) =
            (credential, signed_headers, signature, date, &missing[..])
        else {
            return Err(Refused::Incomplete(missing.join(" ")));
        };
        let signed_headers = names(&signed);
        let date = moment(date)?;
        Ok(Self { credential, signed_headers, signature, date, expires_seconds: None, in_query: false })
    }

    fn in_query(head: &Head<'_>) -> Result<Self, Refused> {
        let mut missing = Vec::new();
        let mut required = |name: &'static str| {
            let value = parameter(head, name).filter(|value| !value.is_empty());
            if value.is_none() {
                missing.push(format!("AWS query-string parameters must include '{name}'."));
            }
            value.unwrap_or_default()
        };
        let algorithm = required("X-Amz-Algorithm");
        let credential = required("X-Amz-Credential");
        let signature = required(SIGNATURE);
        let signed = required("X-Amz-SignedHeaders");
        let date = required("X-Amz-Date");
        if !missing.is_empty() {
            missing.push("Re-examine the query-string parameters.".into());
            return Err(Refused::Incomplete(missing.join(" ")));
        }
        if algorithm != ALGORITHM {
            return Err(Refused::Incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'.")));
        }
        let expires_seconds = match parameter(head, "X-Amz-Expires") {
            None => EXPIRES_SECONDS,
            Some(text) => match text.parse() {
                Ok(seconds) if (1..=EXPIRES_SECONDS_MAX).contains(&seconds) => seconds,
                _ => {
                    return Err(Refused::Incomplete(format!(
                        "X-Amz-Expires must be a number of seconds from 1 to {EXPIRES_SECONDS_MAX}, a week; got \
                         '{text}'."
                    )));
                }
            },
        };
        Ok(Self {
            credential,
            signed_headers: names(&signed),
            signature,
            date: moment(&date)?,
            expires_seconds: Some(expires_seconds),
            in_query: true,
        })
    }

    /// The session token that came with the request.
    pub(super) fn token(&self, head: &Head<'_>) -> Option<String> {
        if self.in_query {
            return parameter(head, TOKEN);
        }
        let token = head.headers.get("x-amz-security-token")?;
        Some(String::from_utf8_lossy(token.as_bytes()).into_owned())
    }
}

fn names(signed: &str) -> Vec<String> {
    signed.split(';').map(str::to_ascii_lowercase).collect()
}

/// The first query parameter called `name`, decoded.
fn parameter(head: &Head<'_>, name: &str) -> Option<String> {
    let mut pairs = head.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(known, _)| *decode(known) == *name.as_bytes())?;
    Some(String::from_utf8_lossy(&decode(value)).into_owned())
}

/// A date in the form of signatures, or as HTTP's own header has it.
fn moment(text: &str) -> Result<DateTime<Utc>, Refused> {
    let basic = NaiveDateTime::parse_from_str(text, DATE_FORMAT).map(|moment| moment.and_utc());
    let moment = basic.or_else(|_| DateTime::parse_from_rfc2822(text).map(|moment| moment.to_utc()));
    moment.map_err(|_| {
        Refused::Incomplete(format!(
            "Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ))
    })
}
