//! AWS JSON 1.0: bodies in, bodies out, and the headers around them.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::error::ApiError;
use super::shape::Shape;

/// The media type of requests and answers.
const AWS_JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");

/// The JSON of a request's body; an empty body is an empty object.
///
/// # Errors
/// SerializationException when it is not JSON.
pub(crate) fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::serialization(format!("The request body is not JSON: {error}")))
}

/// `input`, checked against `shape`, as the type the handler works with.
///
/// # Errors
/// What the check finds.
pub(crate) fn read<T: DeserializeOwned>(shape: &Shape, input: Value) -> Result<T, ApiError> {
    shape.check(&input)?;
    T::deserialize(input).map_err(|error| ApiError::serialization(error.to_string()))
}

/// The HTTP response of an operation.
pub(crate) fn respond(result: Result<Value, ApiError>) -> Response<Body> {
    let (status, body, code) = match result {
        Ok(body) => (axum::http::StatusCode::OK, body, None),
        Err(error) => (error.status(), error.body(), Some(error.code())),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, AWS_JSON);
    mark(response.headers_mut(), code);
    response
}

/// What every answer's headers say: which request it answers, and the name of its error.
pub(crate) fn mark(headers: &mut HeaderMap, code: Option<&'static str>) {
    let id = Uuid::new_v4().to_string();
    headers.insert("x-amzn-requestid", HeaderValue::from_str(&id).expect("a UUID is visible ASCII"));
    if let Some(code) = code {
        headers.insert("x-amzn-errortype", HeaderValue::from_static(code));
    }
}
