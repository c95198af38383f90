//! `GET /health`: whether writes are accepted, for load balancers and scripts.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Context;

/// 200 while writes become durable, 503 with the reason once they cannot.
pub(crate) fn health(context: &Context) -> (StatusCode, Value) {
    match context.store.health() {
        Ok(()) => (StatusCode::OK, json!({ "status": "ok" })),
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "status": "unavailable", "reason": reason.to_string() }),
        ),
    }
}
