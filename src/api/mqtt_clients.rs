//! The broker's sessions for its operator: listed page by page, and ended.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode, Uri};
use axum::routing::{delete, get};
use serde_json::{Value, json};

use super::rest::{self, Parameters, Refusal, respond};
use super::{Context, paging};
use crate::mqtt::ClientInfo;

/// The most sessions a page may have.
const RESULTS_MAX: usize = 250;

/// The paths of these operations.
pub(super) fn router() -> Router<Arc<Context>> {
    Router::new()
        .route("/mqtt/clients", get(list).fallback(rest::method_not_allowed))
        .route("/mqtt/clients/{*client_id}", delete(end).fallback(rest::method_not_allowed))
}

async fn list(State(context): State<Arc<Context>>, uri: Uri) -> Response<Body> {
    respond(page(&context, &Parameters::of(&uri)))
}

fn page(context: &Context, parameters: &Parameters<'_>) -> Result<Option<Value>, Refusal> {
    let count = parameters.count("maxResults", RESULTS_MAX)?.unwrap_or(RESULTS_MAX);
    let after = match parameters.text("nextToken").filter(|token| !token.is_empty()) {
        None => None,
        Some(token) => Some(
            paging::decode(token)
                .ok_or_else(|| Refusal::invalid("nextToken was not made by this service."))?,
        ),
    };
    let mut page = context.broker.clients_after(after.as_deref(), count + 1);
    let more = page.len() > count;
    page.truncate(count);
    let mut answer = json!({ "clients": page.iter().map(described).collect::<Vec<Value>>() });
    if let Some(last) = page.last().filter(|_| more) {
        answer["nextToken"] = json!(paging::encode(&last.client_id));
    }
    Ok(Some(answer))
}

fn described(client: &ClientInfo) -> Value {
    let mut described = json!({
        "clientId": client.client_id,
        "connected": client.connection.is_some(),
        "persistent": client.persistent,
        "subscriptions": client.subscriptions,
        "queuedMessages": client.queued_messages,
        "queuedBytes": client.queued_bytes,
        "inFlight": client.in_flight,
    });
    if let Some(connection) = &client.connection {
        described["address"] = json!(connection.address.to_string());
        described["version"] = json!(connection.version);
        described["connectedSince"] = json!(connection.since.millis());
    }
    if let Some(ends) = client.ends {
        described["sessionEnds"] = json!(ends.millis());
    }
    described
}

async fn end(
    State(context): State<Arc<Context>>,
    client_id: Result<Path<String>, PathRejection>,
) -> Response<Body> {
    let ended = async {
        let Path(client_id) = client_id.map_err(|error| Refusal::invalid(error.body_text()))?;
        // A task of its own: a caller that hangs up must not leave a session half ended.
        let broker = context.broker.clone();
        let id = client_id.clone();
        let ended = tokio::spawn(async move { broker.end_client(&id).await }).await;
        match ended {
            Ok(true) => Ok(None),
            _ => {
                let message = format!("There is no MQTT session of the client {client_id:?}.");
                Err(Refusal::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message))
            }
        }
    };
    respond(ended.await)
}
