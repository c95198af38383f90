//! What a connected client says: publishes go to the pipeline, subscriptions to the broker,
//! acknowledgements to the session.

use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::time::Instant;

use super::broker::Shared;
use super::codec::Codec;
use super::error::{End, Reason, Violation};
use super::journal::Place;
use super::options::BrokerOptions;
use super::pace::Pace;
use super::packet::{
    Packet, Publish, Reply, RetainHandling, Subscribe, SubscribeRequest, Unsubscribe, Unsubscribed, Version,
};
use super::reader::Reader;
use super::retained::{Cursor, Wish};
use super::rights::Rights;
use super::session::{Arrival, Pending, Session};
use super::subscriptions::{Subscribed, Subscription, Terms};
use crate::message::{Message, Origin, QoS};
use crate::topic::TopicName;

/// The reading side of one connection.
#[derive(Debug)]
pub(crate) struct Inbound<'a, R> {
    broker: &'a Shared,
    session: &'a Session,
    rights: &'a Rights,
    reader: Reader<R>,
    codec: Codec,
    /// Topic aliases, number 1 first.
    aliases: Vec<Option<TopicName>>,
    pace: Pace,
}

impl<'a, R: AsyncRead + Unpin + Send> Inbound<'a, R> {
    /// Goes on reading where the handshake stopped.
    pub(crate) fn new(
        broker: &'a Shared,
        session: &'a Session,
        rights: &'a Rights,
        reader: Reader<R>,
    ) -> Self {
        let codec = session.writer.twin();
        let BrokerOptions { publishes_per_second_max, publish_bytes_per_second_max, .. } = broker.options;
        let pace = Pace::new(publishes_per_second_max, publish_bytes_per_second_max);
        Self { broker, session, rights, reader, codec, aliases: Vec::new(), pace }
    }

    /// The socket, for whatever is left to be read from it.
    pub(crate) fn into_reader(self) -> Reader<R> {
        self.reader
    }

    /// Reads until the connection has to end.
    pub(crate) async fn run(&mut self) -> End {
        loop {
            if let Err(end) = self.handle_buffered().await {
                return end;
            }
            if self.reader.is_busy() {
                // A client that always has more to say must not keep its thread from the others.
                tokio::task::yield_now().await;
            }
            match self.reader.fill().await {
                Ok(0) => return End::Closed,
                Ok(_) => self.session.pulse.heard(),
                Err(error) => return End::Broken(error),
            }
        }
    }

    async fn handle_buffered(&mut self) -> Result<(), End> {
        while let Some(packet) = self.codec.decode(&mut self.reader.buffer)? {
            self.session.has_room().await;
            self.handle(packet).await?;
        }
        Ok(())
    }

    async fn handle(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.publish(publish).await?,
            Packet::PubAck { .. } | Packet::PubRec { .. } | Packet::PubComp { .. } => {
                self.session.acknowledged(&packet, &self.broker.ledger)?;
            }
            Packet::PubRel { id } => self.session.release(id, &self.broker.ledger)?,
            Packet::Subscribe(subscribe) => self.subscribe(subscribe).await?,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe).await?,
            Packet::PingReq => self.session.reply(Reply::PingResp)?,
            Packet::Disconnect { with_will, session_expiry_seconds } => {
                if let Some(seconds) = session_expiry_seconds {
                    if seconds > 0 && !self.session.lasting {
                        let what = "the DISCONNECT has a session expiry interval and the CONNECT had none";
                        return Err(Violation::protocol(what).into());
                    }
                    self.session.set_expiry(seconds.min(self.broker.options.session_expiry_seconds_max));
                }
                return Err(End::Goodbye { will: with_will });
            }
            Packet::Connect => return Err(Violation::protocol("a second CONNECT came").into()),
            Packet::Auth => {
                let what = "extended authentication is not offered";
                return Err(Violation::new(Reason::BadAuthenticationMethod, what).into());
            }
        }
        Ok(())
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), End> {
        let topic = self.topic(publish.topic, publish.alias)?;
        let qos = publish.qos;
        self.broker.options.check_publish(&topic, publish.payload.len(), qos, &publish.properties)?;
        self.keep_pace(publish.payload.len()).await;
        if qos != QoS::AtMostOnce && self.session.arrive(publish.id, qos)? == Arrival::Repeated {
            return Ok(());
        }
        let message = Arc::new(Message {
            topic,
            payload: publish.payload,
            qos,
            retain: publish.retain,
            properties: publish.properties,
            origin: Origin {
                client_id: Some(Arc::clone(&self.session.client_id)),
                address: Some(self.session.address),
                principal: self.rights.principal.clone(),
                ..Origin::default()
            },
            received: self.broker.processing_time(),
        });
        if !self.rights.may_publish(message.topic.as_str(), message.retain) {
            return self.deny(publish.id, message);
        }
        self.broker.tally.messages_received.add_one();
        self.session.pulse.set_held_up(true);
        let receipt = self.broker.ingest.submit(&message).await;
        self.session.pulse.set_held_up(false);
        if qos == QoS::AtMostOnce {
            self.broker.fan_out(&message, None);
        } else {
            self.session.expect_receipt(Pending { id: publish.id, message, receipt: Some(receipt) });
        }
        Ok(())
    }

    /// A publish the client may not make. MQTT 5 tells it in the acknowledgement, in its turn; where there
    /// is none the connection ends, as it does at AWS: an acknowledgement would claim that it was stored.
    fn deny(&self, id: u16, message: Arc<Message>) -> Result<(), End> {
        self.broker.tally.operations_denied.add_one();
        if self.session.version == Version::V5 && message.qos != QoS::AtMostOnce {
            self.session.expect_receipt(Pending { id, message, receipt: None });
            return Ok(());
        }
        let what = format!("this client may not publish to {:?}", message.topic.as_str());
        Err(Violation::new(Reason::NotAuthorized, what).into())
    }

    /// Waits while the client publishes faster than it may.
    async fn keep_pace(&mut self, payload_bytes: usize) {
        if let Some(wait) = self.pace.publish(payload_bytes, Instant::now()) {
            self.broker.tally.publishes_throttled.add_one();
            self.session.pulse.set_held_up(true);
            tokio::time::sleep(wait).await;
            self.session.pulse.set_held_up(false);
        }
    }

    /// The topic of a PUBLISH, after its alias.
    fn topic(&mut self, topic: Option<TopicName>, alias: Option<u16>) -> Result<TopicName, Violation> {
        let invalid = |what: &'static str| Violation::new(Reason::TopicAliasInvalid, what);
        let Some(alias) = alias else {
            return topic.ok_or_else(|| Violation::protocol("a PUBLISH has no topic"));
        };
        if alias > self.broker.options.topic_alias_max {
            return Err(invalid("a topic alias is higher than this server's maximum"));
        }
        let index = usize::from(alias).checked_sub(1).ok_or_else(|| invalid("a topic alias is zero"))?;
        match topic {
            Some(topic) => {
                if self.aliases.len() <= index {
                    self.aliases.resize(index + 1, None);
                }
                self.aliases[index] = Some(topic.clone());
                Ok(topic)
            }
            None => self
                .aliases
                .get(index)
                .and_then(Clone::clone)
                .ok_or_else(|| invalid("a topic alias is used before it was given a topic")),
        }
    }

    async fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), End> {
        let most = self.broker.options.filters_per_subscribe_max;
        if subscribe.requests.len() > most {
            let what = format!("a SUBSCRIBE has more than {most} topic filters");
            return Err(Violation::new(Reason::QuotaExceeded, what).into());
        }
        let mut certain = Place::START;
        let mut outcomes = Vec::with_capacity(subscribe.requests.len());
        self.session.set_wishes_wait(true);
        for request in subscribe.requests {
            let outcome = self.subscribe_one(request, subscribe.subscription_id);
            outcomes.push(outcome.map(|(qos, place)| {
                certain = certain.max(place);
                qos
            }));
        }
        self.certain(certain).await?;
        // The SUBACK is queued first, so that it is out before the first retained message.
        self.session.reply(Reply::SubAck { id: subscribe.id, outcomes })?;
        self.session.set_wishes_wait(false);
        Ok(())
    }

    fn subscribe_one(&self, request: SubscribeRequest, id: Option<u32>) -> Result<(QoS, Place), Reason> {
        let options = &self.broker.options;
        let filter = Subscribed::parse(&request.filter).map_err(|_| Reason::TopicFilterInvalid)?;
        options.check_filter(&request.filter, &filter.filter)?;
        if !self.rights.may_subscribe(&request.filter) {
            self.broker.tally.operations_denied.add_one();
            return Err(Reason::NotAuthorized);
        }
        let qos = request.qos.min(options.qos_max);
        if self.session.filter_count() >= options.subscriptions_max && !self.session.has_filter(&filter) {
            return Err(Reason::QuotaExceeded);
        }
        let SubscribeRequest { no_local, retain_as_published, .. } = request;
        let terms = Terms { qos, no_local, retain_as_published, id };
        let subscription = Subscription { mailbox: Arc::clone(&self.session.mailbox), terms };
        let (new, mut place) = self.broker.subscribe(&filter, self.session.number, subscription)?;
        self.session.add_filter(filter.clone());
        let wanted = match request.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::WhenNew => new,
            RetainHandling::Never => false,
        };
        // No member of a group is sent what is retained (MQTT 5 section 4.8.2).
        let wildcard = filter.filter.as_str().contains(['+', '#']);
        if wanted && filter.group.is_none() && (options.retained_for_wildcards || !wildcard) {
            let wish = Wish { cursor: Cursor::new(filter.filter, None), qos, no_local, subscription_id: id };
            place = place.max(self.session.wish(wish, &self.broker.ledger));
        }
        Ok((qos, place))
    }

    /// Returns once everything up to `place` is on disk.
    async fn certain(&mut self, place: Place) -> Result<(), End> {
        self.session.pulse.set_held_up(true);
        let synced = self.broker.ledger.synced(place).await;
        self.session.pulse.set_held_up(false);
        synced.map_err(End::from)
    }

    async fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<(), End> {
        let mut certain = Place::START;
        let mut outcome = |text: String| match Subscribed::parse(&text) {
            Err(_) => Unsubscribed::FilterInvalid,
            Ok(filter) => {
                self.session.remove_filter(&filter);
                match self.broker.unsubscribe(&filter, &self.session.mailbox) {
                    Some(place) => {
                        certain = certain.max(place);
                        Unsubscribed::Removed
                    }
                    None => Unsubscribed::NotSubscribed,
                }
            }
        };
        let outcomes = unsubscribe.filters.into_iter().map(&mut outcome).collect();
        self.certain(certain).await?;
        Ok(self.session.reply(Reply::UnsubAck { id: unsubscribe.id, outcomes })?)
    }
}
