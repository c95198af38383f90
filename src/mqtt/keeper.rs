//! What time brings without a packet: sessions end, wills are due, the broker's own numbers are published,
//! and the journal is rewritten when it has grown.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::broker::{Broker, Shared};
use super::packet::Will;
use super::{lock, sys};
use crate::message::QoS;
use crate::shutdown::Shutdown;

/// Intervals of sessions and wills are whole seconds.
const PERIOD: Duration = Duration::from_secs(1);

/// Retained messages forgotten under one hold of their lock.
const FORGOTTEN_PER_STEP: usize = 512;

/// Looks once a second until `shutdown` is requested.
pub(crate) async fn run(broker: &Broker, shutdown: &Shutdown) {
    let shared = broker.shared();
    let started = shared.now();
    let interval = u64::from(shared.options.sys_interval_seconds);
    for second in 0_u64.. {
        if interval > 0 && second % interval == 0 {
            sys::publish(broker, started);
        }
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        look(shared).await;
    }
}

/// Ends the sessions whose time is over, publishes the wills that are due, forgets retained messages that have
/// expired, and rewrites the journal if it has grown.
pub(crate) async fn look(broker: &Shared) {
    let mut wills = broker.expire_sessions();
    wills.extend(broker.due_wills());
    for will in wills {
        publish_will(broker, &will).await;
    }
    // The journal needs no word of it: whoever reads it later sees the same clock.
    while lock(broker.retained()).expire(broker.now(), FORGOTTEN_PER_STEP) == FORGOTTEN_PER_STEP {
        tokio::task::yield_now().await;
    }
    if broker.ledger.is_due()
        && let Err(error) = broker.ledger.rewrite(broker.retained()).await
    {
        warn!(%error, "the MQTT journal was not rewritten");
    }
}

/// Publishes a will like any message: the pipeline first, subscribers when it is durable.
pub(crate) async fn publish_will(broker: &Shared, will: &Will) {
    let client_id = &will.origin.client_id;
    let publishing = async {
        let message = Arc::new(will.message(broker.processing_time()));
        broker.tally.messages_received.add_one();
        let receipt = broker.ingest.submit(&message).await;
        if message.qos != QoS::AtMostOnce
            && let Err(error) = receipt.await
        {
            broker.tally.messages_not_stored.add_one();
            warn!(?client_id, %error, "a will was not stored");
            return;
        }
        broker.fan_out(&message, None);
    };
    if tokio::time::timeout(broker.options.drain_timeout, publishing).await.is_err() {
        warn!(?client_id, "gave up waiting for a will to be stored");
    }
}
