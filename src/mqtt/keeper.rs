//! What time brings without a packet: sessions end, and wills are due.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::broker::Shared;
use super::packet::Will;
use crate::message::{Message, Origin, QoS};
use crate::shutdown::Shutdown;

/// Intervals of sessions and wills are whole seconds.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks once a second until `shutdown` is requested.
pub(crate) async fn run(broker: &Shared, shutdown: &Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        look(broker).await;
    }
}

/// Ends the sessions whose time is over and publishes the wills that are due.
pub(crate) async fn look(broker: &Shared) {
    let mut wills = broker.expire_sessions();
    wills.extend(broker.due_wills());
    for (client_id, will) in wills {
        publish_will(broker, client_id, will).await;
    }
}

/// Publishes a will like any message: the pipeline first, subscribers when it is durable.
pub(crate) async fn publish_will(broker: &Shared, client_id: Arc<str>, will: Will) {
    let publishing = async {
        let message = Arc::new(Message {
            topic: will.topic,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            properties: will.properties,
            origin: Origin { client_id: Some(Arc::clone(&client_id)), ..will.origin },
            received: broker.processing_time(),
        });
        broker.tally.messages_received.add_one();
        let receipt = broker.ingest.submit(&message).await;
        if message.qos != QoS::AtMostOnce
            && let Err(error) = receipt.await
        {
            broker.tally.messages_not_stored.add_one();
            warn!(?client_id, %error, "a will was not stored");
            return;
        }
        broker.fan_out(&message);
    };
    if tokio::time::timeout(broker.options.drain_timeout, publishing).await.is_err() {
        warn!(?client_id, "gave up waiting for a will to be stored");
    }
}
