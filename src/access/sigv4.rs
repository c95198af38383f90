//! AWS Signature Version 4, verified: in the Authorization header and in the query string.
//!
//! Two steps, so that most of what is wrong is refused before a body has been read:
//! [`Claim::read`] takes the request apart and asks who claims to have signed it, for which service
//! and when; [`Claim::prove`] computes the signature over head and body and compares.
//!
//! ```text
//! canonical request = method · path · query · headers · names of the headers · SHA-256 of the body
//! string to sign    = AWS4-HMAC-SHA256 · time · scope · SHA-256 of the canonical request
//! scope             = date/region/service/aws4_request
//! ```
//!
//! Any region is served. The hash of the body is always computed: what `x-amz-content-sha256` says has
//! to agree, and `UNSIGNED-PAYLOAD`, which only S3 takes, does not.

mod canonical;
mod parameters;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tracing::debug;

use super::credentials::{Credential, Credentials, Secret};
use super::hexadecimal;
use crate::clock::Timestamp;
use parameters::Parameters;

pub use canonical::decode as percent_decoded;

/// The only algorithm; its asymmetric sibling is for requests that go to several regions.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The last part of every scope.
const TERMINATOR: &str = "aws4_request";
/// The form of dates in signatures.
const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";
/// How far the clock of a caller that signs in a header may be off.
const HEADER_SKEW_MINUTES: i64 = 15;
/// How far ahead the clock of a caller that signs in the query string may be.
const QUERY_SKEW_MINUTES: i64 = 5;

/// The head of a request, as it came over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, not decoded.
    pub path: &'a str,
    /// What stands behind the question mark, not decoded.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// Why a request was not accepted as its caller's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not signed at all.
    #[error("Missing Authentication Token")]
    Unsigned,
    /// The signature lacks a part, or a part has not its form.
    #[error("{0}")]
    Incomplete(String),
    /// No such access key, or a session token that is not the key's.
    #[error("The security token included in the request is invalid.")]
    Unrecognized,
    /// The signature is old, for something else, or not the key's.
    #[error("{0}")]
    Invalid(String),
}

impl Refused {
    /// The exception AWS names it by.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsigned => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::Unrecognized => "UnrecognizedClientException",
            Self::Invalid(_) => "InvalidSignatureException",
        }
    }

    /// The HTTP status AWS answers it with.
    pub fn status(&self) -> u16 {
        if matches!(self, Self::Incomplete(_)) { 400 } else { 403 }
    }
}

/// Who claims to have signed a request, and what there is to check it by.
#[derive(Debug)]
pub struct Claim {
    credential: Arc<Credential>,
    parameters: Parameters,
    scope: String,
    token: Option<String>,
    /// A token in the query string may have been added after signing, as AWS IoT wants it.
    token_may_be_unsigned: bool,
}

impl Claim {
    /// Reads the claim of a request to one of `services`.
    ///
    /// # Errors
    /// When nothing the body could add would make it acceptable.
    pub fn read(
        head: &Head<'_>,
        services: &[&str],
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let parameters = Parameters::of(head)?;
        let [key_id, date, region, service, terminator] =
            parameters.credential[..].split('/').collect::<Vec<_>>()[..]
        else {
            return Err(Refused::Incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, \
                 got '{}'",
                parameters.credential
            )));
        };
        let scoped = |what: &str| Refused::Invalid(format!("Credential should be scoped {what}"));
        if terminator != TERMINATOR {
            let what = format!("with a valid terminator: '{TERMINATOR}', not '{terminator}'.");
            return Err(scoped(&what));
        }
        if !services.contains(&service) {
            return Err(scoped(&format!("to correct service: '{}'.", services[0])));
        }
        if region.is_empty() {
            return Err(scoped("to a valid region."));
        }
        let signed = parameters.date.format("%Y%m%d").to_string();
        if date != signed {
            return Err(Refused::Invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
                 '{date}' != '{signed}', from '{}'.",
                parameters.date.format(DATE_FORMAT)
            )));
        }
        check_signed_headers(&parameters, head)?;
        check_time(&parameters, moment(now))?;
        let credential = credentials.get(key_id).ok_or(Refused::Unrecognized)?;
        let token = parameters.token(head);
        if !fits(credential.session_token.as_ref(), token.as_deref()) {
            return Err(Refused::Unrecognized);
        }
        Ok(Self {
            credential,
            scope: [date, region, service, terminator].join("/"),
            token_may_be_unsigned: service.starts_with("iot"),
            token,
            parameters,
        })
    }

    /// Checks the signature over `head`, the one the claim was read from, and `body`.
    ///
    /// # Errors
    /// When another key signed it, or something else.
    pub fn prove(self, head: &Head<'_>, body: &[u8]) -> Result<Arc<Credential>, Refused> {
        let hash = hexadecimal(&Sha256::digest(body));
        if let Some(given) = head.headers.get("x-amz-content-sha256")
            && !bool::from(given.as_bytes().ct_eq(hash.as_bytes()))
        {
            return Err(Refused::Invalid(
                "The value of x-amz-content-sha256 is not the SHA-256 of the request's body.".into(),
            ));
        }
        if self.signs(head, &hash, &[]) {
            return Ok(self.credential);
        }
        // AWS IoT wants the token behind the signature, most other services under it; clients do either.
        let outside = self.token.is_some() && self.parameters.in_query && self.token_may_be_unsigned;
        if outside && self.signs(head, &hash, &[parameters::TOKEN]) {
            return Ok(self.credential);
        }
        Err(Refused::Invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details."
                .into(),
        ))
    }

    /// Whether the signature is that of the request without the query parameters `left_out`.
    fn signs(&self, head: &Head<'_>, body_hash: &str, left_out: &[&str]) -> bool {
        let Parameters { date, signed_headers, signature, in_query, .. } = &self.parameters;
        let mut left_out = left_out.to_vec();
        if *in_query {
            left_out.push(parameters::SIGNATURE);
        }
        let canonical = canonical::request(head, signed_headers, &left_out, body_hash);
        let text = format!(
            "{ALGORITHM}\n{}\n{}\n{}",
            date.format(DATE_FORMAT),
            self.scope,
            hexadecimal(&Sha256::digest(&canonical))
        );
        let key =
            self.scope.split('/').fold(
                format!("AWS4{}", self.credential.secret_access_key.reveal()).into_bytes(),
                |key, part| hmac(&key, part.as_bytes()),
            );
        let right = hexadecimal(&hmac(&key, text.as_bytes()));
        let same = bool::from(right.as_bytes().ct_eq(signature.as_bytes()));
        if !same {
            let canonical = String::from_utf8_lossy(&canonical);
            debug!(access_key_id = self.credential.access_key_id, %canonical, "a signature does not match");
        }
        same
    }
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn fits(expected: Option<&Secret>, given: Option<&str>) -> bool {
    match (expected, given) {
        (None, None) => true,
        (Some(expected), Some(given)) => expected.is(given),
        _ => false,
    }
}

/// The host has to be signed, and what says what to do: all of AWS's own headers but those a CDN adds
/// and the body's hash, which is checked by itself.
fn check_signed_headers(parameters: &Parameters, head: &Head<'_>) -> Result<(), Refused> {
    let signed = |name: &str| parameters.signed_headers.iter().any(|header| header == name);
    let wanted =
        |name: &str| Refused::Invalid(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."));
    if !signed("host") {
        return Err(wanted("Host' or ':authority"));
    }
    let ours = |name: &&str| {
        name.starts_with("x-amz-") && !name.starts_with("x-amz-cf-") && *name != "x-amz-content-sha256"
    };
    match head.headers.keys().map(|name| name.as_str()).filter(ours).find(|name| !signed(name)) {
        Some(name) => Err(wanted(name)),
        None => Ok(()),
    }
}

fn check_time(parameters: &Parameters, now: DateTime<Utc>) -> Result<(), Refused> {
    let (ahead, old, unit) = match parameters.expires_seconds {
        None => (HEADER_SKEW_MINUTES, TimeDelta::minutes(HEADER_SKEW_MINUTES), None),
        Some(seconds) => (QUERY_SKEW_MINUTES, TimeDelta::seconds(seconds), Some(seconds)),
    };
    let stamp = |moment: DateTime<Utc>| moment.format(DATE_FORMAT);
    let date = parameters.date;
    let (latest, earliest) = (now + TimeDelta::minutes(ahead), now - old);
    if date > latest {
        return Err(Refused::Invalid(format!(
            "Signature not yet current: {} is still later than {} ({} + {ahead} min.)",
            stamp(date),
            stamp(latest),
            stamp(now)
        )));
    }
    if date < earliest {
        let allowed = match unit {
            Some(seconds) if seconds % 60 != 0 => format!("{seconds} sec."),
            _ => format!("{} min.", old.num_minutes()),
        };
        return Err(Refused::Invalid(format!(
            "Signature expired: {} is now earlier than {} ({} - {allowed})",
            stamp(date),
            stamp(earliest),
            stamp(now)
        )));
    }
    Ok(())
}

fn moment(now: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(now.nanos())
}
