//! `GET /health`: whether writes are accepted, for load balancers and scripts.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Context;

/// 200 while writes become durable, with the reasons when something else does not work, such as a rule
/// file with a mistake; 503 with the reason once they cannot.
pub(crate) fn health(context: &Context) -> (StatusCode, Value) {
    if let Err(reason) = context.store.health() {
        return (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "unavailable", "reason": reason }));
    }
    let mut reasons = context.store.troubles();
    reasons.extend(context.rulebook.problems());
    reasons.extend(context.upstreams.iter().filter_map(|upstream| upstream.report().trouble));
    match reasons {
        reasons if reasons.is_empty() => (StatusCode::OK, json!({ "status": "ok" })),
        reasons => (StatusCode::OK, json!({ "status": "degraded", "reasons": reasons })),
    }
}
