//! `GET /health`: whether writes are accepted, for load balancers and scripts.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Context;

/// 200 while writes become durable, 503 with the reason once they cannot. What is wrong with rule
/// files is told without changing the status: the rules before them go on working.
pub(crate) fn health(context: &Context) -> (StatusCode, Value) {
    match context.store.health() {
        Ok(()) => {
            let mut body = json!({ "status": "ok" });
            let problems = context.rulebook.problems();
            if !problems.is_empty() {
                body["problems"] = json!(problems);
            }
            (StatusCode::OK, body)
        }
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "status": "unavailable", "reason": reason.to_string() }),
        ),
    }
}
