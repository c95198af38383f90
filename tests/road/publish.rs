//! Publishing as devices do, over both protocol versions.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::v5;
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, Outgoing, QoS};
use tokio::time::timeout;

use crate::daemon::PATIENCE;

/// Which protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    V311,
    V5,
}

/// Publishes one message and returns once it is acknowledged; QoS 0 is followed by a ping, whose
/// answer says that the daemon has read it.
pub(crate) fn publish(address: SocketAddr, protocol: Protocol, qos: QoS, topic: &str, payload: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let done = async {
        match protocol {
            Protocol::V311 => publish_v311(address, qos, topic, payload).await,
            Protocol::V5 => publish_v5(address, qos, topic, payload).await,
        }
    };
    runtime.block_on(async { timeout(PATIENCE, done).await.expect("an acknowledgement") });
}

async fn publish_v311(address: SocketAddr, qos: QoS, topic: &str, payload: &str) {
    let mut options = MqttOptions::new("device-311", address.ip().to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, 10);
    client.publish(topic, qos, false, payload).await.expect("a queued message");
    loop {
        let event = events.poll().await.expect("a connection");
        match (qos, event) {
            (QoS::AtMostOnce, Event::Outgoing(Outgoing::Publish(_))) => break,
            (QoS::AtLeastOnce, Event::Incoming(Incoming::PubAck(_))) => break,
            (QoS::ExactlyOnce, Event::Incoming(Incoming::PubComp(_))) => break,
            _ => {}
        }
    }
    client.disconnect().await.expect("a queued goodbye");
    while events.poll().await.is_ok() {}
}

async fn publish_v5(address: SocketAddr, qos: QoS, topic: &str, payload: &str) {
    use v5::mqttbytes::QoS as Level;
    let level = match qos {
        QoS::AtMostOnce => Level::AtMostOnce,
        QoS::AtLeastOnce => Level::AtLeastOnce,
        QoS::ExactlyOnce => Level::ExactlyOnce,
    };
    let mut options = v5::MqttOptions::new("device-5", address.ip().to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = v5::AsyncClient::new(options, 10);
    client.publish(topic, level, false, payload.to_owned()).await.expect("a queued message");
    loop {
        let event = events.poll().await.expect("a connection");
        match (qos, event) {
            (QoS::AtMostOnce, v5::Event::Outgoing(Outgoing::Publish(_))) => break,
            (QoS::AtLeastOnce, v5::Event::Incoming(v5::Incoming::PubAck(_))) => break,
            (QoS::ExactlyOnce, v5::Event::Incoming(v5::Incoming::PubComp(_))) => break,
            _ => {}
        }
    }
    client.disconnect().await.expect("a queued goodbye");
    while events.poll().await.is_ok() {}
}

/// What became of a stream of QoS 1 publishes.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The numbers that went out.
    pub(crate) sent: HashSet<u64>,
    /// The numbers that were acknowledged.
    pub(crate) acknowledged: HashSet<u64>,
}

/// Publishes the numbers from 0 to `count` as QoS 1 messages of device `device`, many in flight,
/// until all are acknowledged or the connection breaks.
pub(crate) async fn stream(address: SocketAddr, device: usize, count: u64) -> Outcome {
    let id = format!("stream-{device}");
    let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
    options.set_inflight(50);
    let (client, mut events) = AsyncClient::new(options, 100);
    let publishing = tokio::spawn(async move {
        for n in 0..count {
            let payload = format!("{{\"n\":{n},\"device_id\":{device}}}");
            if client.publish(format!("crash/{device}"), QoS::AtLeastOnce, false, payload).await.is_err() {
                return;
            }
        }
        // The client must outlive its messages, or the event loop ends before they are acknowledged.
        std::future::pending::<()>().await;
    });
    let mut outcome = Outcome::default();
    let mut waiting: HashMap<u16, VecDeque<u64>> = HashMap::new();
    let mut next = 0;
    while outcome.acknowledged.len() < usize::try_from(count).expect("a small count") {
        match timeout(PATIENCE, events.poll()).await.expect("progress") {
            Ok(Event::Outgoing(Outgoing::Publish(id))) => {
                waiting.entry(id).or_default().push_back(next);
                outcome.sent.insert(next);
                next += 1;
            }
            Ok(Event::Incoming(Incoming::PubAck(ack))) => {
                let n = waiting
                    .get_mut(&ack.pkid)
                    .and_then(VecDeque::pop_front)
                    .expect("a publish to acknowledge");
                outcome.acknowledged.insert(n);
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    publishing.abort();
    outcome
}
