//! The seam to the pipeline: where messages go, and what comes back once they are durable.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::message::Message;

/// Takes messages off the broker's hands.
#[async_trait::async_trait]
pub trait Ingest: std::fmt::Debug + Send + Sync + 'static {
    /// Hands over a message; waits while there is no room for it. The order of calls is the order
    /// of messages. While it waits, the broker does not read the socket the message came from.
    ///
    /// The returned receipt may be dropped without ever being polled (QoS 0): the message goes its
    /// way all the same.
    async fn submit(&self, message: &Arc<Message>) -> Receipt;
}

/// Resolves once every row the message made is durable.
pub type Receipt = BoxFuture<'static, Result<(), IngestError>>;

/// Why a message was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// The message, or one of its rows, is not durable; nothing may be acknowledged.
    #[error("the store is not available: {0}")]
    Unavailable(String),
}
