//! The broker's door for the daemon's own rooms: publishing without a socket, reading what is retained.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::broker::Broker;
use super::ingest::IngestError;
use super::ledger::is_ephemeral;
use super::lock;
use super::outbound::expiry_left;
use crate::message::{Message, Origin, Properties, QoS};
use crate::topic::TopicName;

/// A message that came by another way than MQTT.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Where to publish it.
    pub topic: TopicName,
    /// Its payload.
    pub payload: Bytes,
    /// Its quality of service.
    pub qos: QoS,
    /// Whether to retain it.
    pub retain: bool,
    /// Its MQTT 5 properties.
    pub properties: Properties,
    /// The address it came from.
    pub address: Option<IpAddr>,
    /// Who has proved to be its publisher.
    pub principal: Option<Arc<str>>,
}

impl Broker {
    /// Publishes `draft` as a client's message is published: first the rules and the disk, then the
    /// retained store and the subscribers. Once begun it has to be run to its end.
    ///
    /// # Errors
    /// When it could not be stored; then nobody has received it.
    pub async fn accept(&self, draft: Draft) -> Result<(), IngestError> {
        let broker = self.shared();
        let message = Arc::new(Message {
            topic: draft.topic,
            payload: draft.payload,
            qos: draft.qos,
            retain: draft.retain,
            properties: draft.properties,
            origin: Origin { address: draft.address, principal: draft.principal, ..Origin::default() },
            received: broker.processing_time(),
        });
        broker.tally.messages_received.add_one();
        if let Err(error) = broker.ingest.submit(&message).await.await {
            broker.tally.messages_not_stored.add_one();
            return Err(error);
        }
        let place = broker.fan_out(&message, None);
        broker.ledger.synced(place).await
    }

    /// The retained message of `topic`.
    pub fn retained(&self, topic: &TopicName) -> Option<Arc<Message>> {
        let broker = self.shared();
        let message = lock(broker.retained()).get(topic)?;
        expiry_left(&message, || broker.now()).is_ok().then_some(message)
    }

    /// At most `count` retained messages by topic, those behind `after`. Fewer than `count` are the
    /// last.
    pub fn retained_after(&self, after: Option<&TopicName>, count: usize) -> Vec<Arc<Message>> {
        let broker = self.shared();
        let now = broker.now();
        let retained = lock(broker.retained());
        let fresh =
            |message: &&Arc<Message>| expiry_left(message, || now).is_ok() && !is_ephemeral(&message.topic);
        retained.after(after).filter(fresh).take(count).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::mqtt::BrokerOptions;
    use crate::mqtt::tests::{Daemon, until};

    fn draft(topic: &str, payload: &'static [u8], retain: bool) -> Draft {
        Draft {
            topic: TopicName::new(topic).unwrap(),
            payload: Bytes::from_static(payload),
            qos: QoS::AtLeastOnce,
            retain,
            properties: Properties::default(),
            address: Some([192, 0, 2, 1].into()),
            principal: None,
        }
    }

    #[tokio::test]
    async fn a_message_from_inside_reaches_subscribers_once_it_is_stored() {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        let mut subscriber = daemon.subscriber(4, "s", "a/#", 1).await;
        daemon.ingest.hold();
        let broker = daemon.broker.clone();
        let publishing = tokio::spawn(async move { broker.accept(draft("a/b", b"x", false)).await });
        daemon.ingest.has(1).await;
        subscriber.hears_nothing().await;
        assert!(!publishing.is_finished());
        daemon.ingest.resolve(0, Ok(()));
        assert_eq!(publishing.await.unwrap(), Ok(()));
        let packet = subscriber.packet().await;
        assert_eq!((packet[0], &packet[4..7]), (0x32, b"a/b".as_slice()));
        let message = Arc::clone(&daemon.ingest.messages()[0]);
        assert_eq!(
            (message.origin.client_id.as_ref(), message.origin.address),
            (None, Some([192, 0, 2, 1].into()))
        );

        let broker = daemon.broker.clone();
        let publishing = tokio::spawn(async move { broker.accept(draft("a/b", b"y", true)).await });
        daemon.ingest.has(2).await;
        daemon.ingest.resolve(1, Err(IngestError::Unavailable("full".into())));
        assert!(publishing.await.unwrap().is_err());
        subscriber.hears_nothing().await;
        assert!(daemon.broker.retained(&TopicName::new("a/b").unwrap()).is_none());
        until(|| daemon.broker.counters().messages_not_stored == 1).await;
    }

    #[tokio::test]
    async fn retained_messages_are_read_page_by_page_until_they_expire() {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        for topic in ["a", "b/c", "b/d"] {
            daemon.broker.accept(draft(topic, b"x", true)).await.unwrap();
        }
        let mut brief = draft("b/brief", b"x", true);
        brief.properties.expiry_seconds = Some(5);
        daemon.broker.accept(brief).await.unwrap();
        let page = |after: Option<&str>, count| {
            let after = after.map(|topic| TopicName::new(topic).unwrap());
            let page = daemon.broker.retained_after(after.as_ref(), count);
            page.iter().map(|message| message.topic.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(page(None, 2), ["a", "b/brief"]);
        assert_eq!(page(Some("b/brief"), 9), ["b/c", "b/d"]);
        daemon.clock.set(Timestamp::from_millis(7_000));
        assert_eq!(page(None, 2), ["a", "b/c"]);
        assert!(daemon.broker.retained(&TopicName::new("b/brief").unwrap()).is_none());
    }
}
