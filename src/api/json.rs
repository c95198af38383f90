//! AWS JSON 1.0: bodies in, bodies out, and the headers around them (spec 1.1, 1.3).

use axum::body::{Body, Bytes};
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
pub(crate) fn respond(result: Result<Bytes, ApiError>) -> Response<Body> {
    let (status, body, code) = match result {
        Ok(body) => (axum::http::StatusCode::OK, body, None),
        Err(error) => (error.status(), error.body().to_string().into(), Some(error.code())),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, AWS_JSON);
    mark(response.headers_mut(), &request_id(), code);
    response
}

/// What every answer's headers say: which request it answers, and the name of its error.
pub(crate) fn mark(headers: &mut HeaderMap, id: &str, code: Option<&'static str>) {
    headers.insert("x-amzn-requestid", HeaderValue::from_str(id).expect("ids are visible ASCII"));
    if let Some(code) = code {
        headers.insert("x-amzn-errortype", HeaderValue::from_static(code));
    }
}

/// The id of a request as Timestream's hosts give them: 26 characters of base 32 (spec 1.3).
fn request_id() -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let chance = Uuid::new_v4().as_u128();
    let digit = |place: u32| {
        let five_bits = (chance >> (place * 5)) & 31;
        char::from(ALPHABET[usize::try_from(five_bits).expect("less than 32")])
    };
    (0..26).map(digit).collect()
}
