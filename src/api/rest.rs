//! AWS's REST and JSON, as IoT speaks it: the error stands in a header, its text in the body (spec 7).

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use bytes::Bytes;
use serde_json::{Value, json};
use tracing::debug;
use uuid::Uuid;

use super::json;

/// The media type of answers.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Members beside the text, such as `resourceArn`.
    members: Vec<(&'static str, String)>,
}

impl Refusal {
    /// A refusal with the status and the name AWS's model gives it.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), members: Vec::new() }
    }

    /// The request is wrong, and repeating it is no use.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequestException", message)
    }

    /// The same with a further member.
    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.members.push((name, value));
        self
    }
}

/// Answers a method that a path does not know.
pub(crate) async fn method_not_allowed() -> Response<Body> {
    let message = "There is no such operation on this path.";
    respond(Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowedException", message)))
}

/// The HTTP response of an operation; some answer without a body.
pub(crate) fn respond(result: Result<Option<Value>, Refusal>) -> Response<Body> {
    let (status, body, code) = match result {
        Ok(body) => (StatusCode::OK, body, None),
        Err(refusal) => {
            debug!(code = refusal.code, message = refusal.message, "request refused");
            let mut body = json!({ "message": refusal.message });
            for (name, value) in refusal.members {
                body[name] = value.into();
            }
            (refusal.status, Some(body), Some(refusal.code))
        }
    };
    let mut response = Response::new(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    json::mark(response.headers_mut(), &Uuid::new_v4().to_string(), code);
    response
}

/// The body of a request of at most `limit` bytes.
pub(crate) async fn body(request: Request, limit: usize) -> Result<Bytes, Refusal> {
    let reading = axum::body::to_bytes(request.into_body(), limit);
    match tokio::time::timeout(super::BODY_WITHIN, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let message = format!("The request body cannot be read or is larger than {limit} bytes: {error}");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", message))
        }
        Err(_) => Err(Refusal::invalid("The request body did not arrive in time.")),
    }
}

/// The parameters behind a path's question mark.
#[derive(Debug)]
pub(crate) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    /// The parameters of `uri`.
    pub(crate) fn of(uri: &'a Uri) -> Self {
        Self(form_urlencoded::parse(uri.query().unwrap_or("").as_bytes()).collect())
    }

    /// The parameter called `name`; the first of several.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// A whole number from 1 to `max`.
    pub(crate) fn count(&self, name: &str, max: usize) -> Result<Option<usize>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let count = text.parse().ok().filter(|count| (1..=max).contains(count));
        let refused =
            || Refusal::invalid(format!("{name} must be a whole number from 1 to {max}, not {text:?}."));
        count.map(Some).ok_or_else(refused)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(text) => Err(Refusal::invalid(format!("{name} must be true or false, not {text:?}."))),
        }
    }
}

/// The text of a header.
pub(crate) fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refusal> {
    let text = headers.get(name).map(HeaderValue::to_str).transpose();
    text.map_err(|_| Refusal::invalid(format!("The header {name} is no visible ASCII text.")))
}
