//! The broker's own numbers, published below `$SYS/broker/` for whoever subscribes to them: seldom, each
//! retained, and never on disk.

use std::sync::Arc;

use bytes::Bytes;

use super::broker::{Broker, Shared};
use super::counters::BrokerCounters;
use crate::clock::Timestamp;
use crate::message::{Message, Origin, Properties, QoS};
use crate::topic::TopicName;

/// What the server's own topics begin with.
pub(crate) const PREFIX: &str = "$SYS/";

/// Publishes the numbers as they are.
pub(crate) fn publish(broker: &Broker, started: Timestamp) {
    let shared = broker.shared();
    let uptime = shared.now().nanos().saturating_sub(started.nanos()).max(0) / 1_000_000_000;
    let counted = broker.counters();
    let BrokerCounters { absent_sessions, connections, .. } = counted;
    let numbers = [
        ("uptime", format!("{uptime} seconds")),
        ("version", format!("tidemill {}", env!("CARGO_PKG_VERSION"))),
        ("clients/connected", connections.to_string()),
        ("clients/disconnected", absent_sessions.to_string()),
        ("clients/total", (connections + absent_sessions).to_string()),
        ("messages/received", counted.messages_received.to_string()),
        ("messages/sent", counted.messages_sent.to_string()),
        ("publish/messages/dropped", counted.messages_dropped.to_string()),
        ("retained messages/count", counted.retained_messages.to_string()),
        ("subscriptions/count", counted.subscriptions.to_string()),
        ("store/messages/bytes", counted.queued_bytes.to_string()),
    ];
    for (name, text) in numbers {
        publish_one(shared, name, text);
    }
}

fn publish_one(broker: &Shared, name: &str, text: String) {
    let topic = TopicName::new(format!("{PREFIX}broker/{name}")).expect("a name of ours is legal");
    broker.fan_out(
        &Arc::new(Message {
            topic,
            payload: Bytes::from(text),
            qos: QoS::AtMostOnce,
            retain: true,
            properties: Properties::default(),
            origin: Origin::default(),
            received: broker.now(),
        }),
        None,
    );
}
