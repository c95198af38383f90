//! What the broker says to one client: its replies, retained messages it wished for, and messages
//! from its mailbox, many to a system call.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::aliases::Aliases;
use super::broker::Shared;
use super::error::End;
use super::ingest::IngestError;
use super::journal::Place;
use super::mailbox::Delivery;
use super::packet::{Outgoing, Reply, Version};
use super::rights::Rights;
use super::session::Session;
use super::window::Again;
use crate::clock::Timestamp;
use crate::message::Message;

/// Bytes gathered before they are written; what is left waits where it is bounded and counted.
const WRITE_BYTES: usize = 64 * 1024;

/// A buffer larger than this is given back when all is written.
const IDLE_BYTES: usize = 1_024;

/// Retained messages taken from the store at a time.
const RETAINED_PER_PAGE: usize = 32;

/// The writing side of one connection.
///
/// What has been gathered stays here when [`Outbound::run`] is dropped in the middle of a write, so
/// that a last packet follows whole packets only.
#[derive(Debug)]
pub(crate) struct Outbound<'a, W> {
    broker: &'a Shared,
    session: &'a Session,
    rights: &'a Rights,
    stream: W,
    unsent: BytesMut,
    /// Retained messages at hand, a page of them.
    retained: VecDeque<Delivery>,
    aliases: Aliases,
    /// What has to be on disk before more can be written.
    blocked: Option<Place>,
}

impl<'a, W: AsyncWrite + Unpin + Send> Outbound<'a, W> {
    /// Writes to `stream`.
    pub(crate) fn new(broker: &'a Shared, session: &'a Session, rights: &'a Rights, stream: W) -> Self {
        let aliases = Aliases::new(session.topic_alias_max);
        let (unsent, retained) = (BytesMut::new(), VecDeque::new());
        Self { broker, session, rights, stream, unsent, retained, aliases, blocked: None }
    }

    /// Writes whatever there is to write, until the socket fails.
    pub(crate) async fn run(&mut self) -> End {
        loop {
            self.gather();
            if self.unsent.is_empty() {
                if let Err(error) = self.mail().await {
                    return End::NotStored(error);
                }
            } else if let Err(error) = self.write().await {
                return End::Broken(error);
            }
        }
    }

    /// Returns once there may be more to write.
    async fn mail(&mut self) -> Result<(), IngestError> {
        let mail = self.session.mailbox.mail.notified();
        let Some(place) = self.blocked else {
            mail.await;
            return Ok(());
        };
        tokio::select! {
            () = mail => Ok(()),
            synced = self.broker.ledger.synced(place) => synced,
        }
    }

    /// Leaves retained messages that have their packet ids and were not sent to the next connection.
    pub(crate) fn give_back(&mut self) {
        for delivery in self.retained.drain(..).filter(|delivery| delivery.id != 0) {
            self.session.mailbox.push(delivery);
        }
    }

    /// Writes the replies that are left, then `reason` in words if the client can be told it.
    pub(crate) async fn finish(&mut self, end: &End) -> io::Result<()> {
        self.session.take_replies(self.broker.ledger.durable(), &mut self.unsent);
        if let Some(reason) = end.reason()
            && self.session.version == Version::V5
        {
            let reply = Reply::Disconnect { reason, text: end.to_string() };
            // A client that takes no packet of four bytes is told nothing.
            let _ = self.session.writer.encode(reply, &mut self.unsent);
        }
        self.write().await?;
        self.stream.shutdown().await
    }

    async fn write(&mut self) -> io::Result<()> {
        while self.unsent.has_remaining() {
            let written = self.stream.write(&self.unsent).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unsent.advance(written);
        }
        if self.unsent.capacity() > IDLE_BYTES {
            self.unsent = BytesMut::new();
        } else {
            self.unsent.clear();
        }
        self.stream.flush().await
    }

    /// Moves replies and deliveries into the write buffer until it is full or there are no more that
    /// may be sent now. Retained messages and live ones take turns.
    fn gather(&mut self) {
        let durable = self.broker.ledger.durable();
        self.blocked = self.session.take_replies(durable, &mut self.unsent);
        while self.unsent.len() < WRITE_BYTES
            && let Some(again) = self.session.say_again()
        {
            self.say_again(again);
        }
        while self.unsent.len() < WRITE_BYTES {
            let retained = self.take_retained(durable);
            if let Some(delivery) = &retained {
                self.send(delivery);
            }
            // Asked only now: the retained message may have taken the last place in the window.
            let live = self.session.mailbox.take(durable, |next| self.session.may_send(next.qos));
            let live = live.unwrap_or_else(|place| self.wait_for(place));
            if let Some(delivery) = &live {
                self.send(delivery);
            }
            if retained.is_none() && live.is_none() {
                return;
            }
        }
    }

    /// Notes that a message waits for `place`.
    fn wait_for(&mut self, place: Place) -> Option<Delivery> {
        self.blocked = Some(self.blocked.map_or(place, |before| before.min(place)));
        None
    }

    fn take_retained(&mut self, durable: Place) -> Option<Delivery> {
        while self.retained.is_empty() {
            let mut wish = self.session.first_wish()?;
            let page = self.broker.retained_page(&mut wish.cursor, RETAINED_PER_PAGE);
            let own =
                |message: &Message| message.origin.client_id.as_deref() == Some(&*self.session.client_id);
            let mut deliveries = Vec::with_capacity(page.messages.len());
            for message in page.messages {
                if !(wish.no_local && own(&message)) {
                    deliveries.push(Delivery {
                        qos: wish.qos.min(message.qos),
                        retain: true,
                        subscription_ids: wish.subscription_id.into_iter().collect(),
                        message,
                        id: 0,
                        place: Place::START,
                    });
                }
            }
            if self.session.mailbox.lasting {
                deliveries = self.broker.ledger.deliver(self.session.number, deliveries);
            }
            self.session.fulfil((!page.last).then_some(wish.cursor), &self.broker.ledger);
            self.retained.extend(deliveries);
        }
        if let Some(next) = self.retained.front()
            && next.place > durable
        {
            return self.wait_for(next.place);
        }
        self.retained.pop_front_if(|next| self.session.may_send(next.qos))
    }

    /// Says once more what an earlier connection of the session said. A message whose delivery has begun does
    /// not expire (MQTT 5 sections 3.3.2.3.3 and 4.4): were it left out, the client could take the next message
    /// with its id for a repetition.
    fn say_again(&mut self, again: Again) {
        match again {
            Again::Publish { id, delivery } => {
                let message = &delivery.message;
                let left = expiry_left(message, || self.broker.now());
                let expiry_seconds = left.unwrap_or(Some(0));
                self.write_publish(&delivery, id, expiry_seconds, true);
            }
            Again::Release { id } => {
                // A client that takes no packet of four bytes has been sent none that needs this.
                let _ = self.session.writer.encode(Reply::PubRel { id, known: true }, &mut self.unsent);
            }
        }
    }

    fn send(&mut self, delivery: &Delivery) {
        // Asked here and not when it was put into the mailbox: the client may have been away since, and
        // what it may receive is what its present connection may.
        if !self.rights.may_receive(delivery.message.topic.as_str()) {
            self.session.not_sent(delivery.id, &self.broker.ledger);
            return self.broker.tally.operations_denied.add_one();
        }
        let Ok(expiry_seconds) = expiry_left(&delivery.message, || self.broker.now()) else {
            self.session.not_sent(delivery.id, &self.broker.ledger);
            return self.broker.tally.messages_expired.add_one();
        };
        let id = self.session.sending(delivery);
        self.write_publish(delivery, id, expiry_seconds, false);
    }

    fn write_publish(&mut self, delivery: &Delivery, id: u16, expiry_seconds: Option<u32>, repeated: bool) {
        let message = &*delivery.message;
        let tally = &self.broker.tally;
        let outgoing = Outgoing {
            message,
            id,
            qos: delivery.qos,
            retain: delivery.retain,
            repeated,
            expiry_seconds,
            subscription_ids: &delivery.subscription_ids,
            alias: self.aliases.of(&message.topic),
        };
        match self.session.writer.encode_publish(&outgoing, &mut self.unsent) {
            Ok(()) => {
                tally.messages_sent.add_one();
                if let Some(alias) = outgoing.alias {
                    self.aliases.told(&message.topic, alias);
                }
            }
            Err(_) => {
                // MQTT 5 3.1.2.11.4: as if it had been sent.
                self.session.not_sent(id, &self.broker.ledger);
                tally.messages_dropped.add_one();
            }
        }
    }
}

/// The message's time is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired;

/// What is left of the expiry interval, after the time the message has been with us.
pub(crate) fn expiry_left(
    message: &Message,
    now: impl FnOnce() -> Timestamp,
) -> Result<Option<u32>, Expired> {
    let Some(interval) = message.properties.expiry_seconds else { return Ok(None) };
    let waited = now().nanos().saturating_sub(message.received.nanos()).max(0) / 1_000_000_000;
    let left = i64::from(interval) - waited;
    match u32::try_from(left) {
        Ok(left) if left > 0 => Ok(Some(left)),
        _ => Err(Expired),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::tests::message;

    #[test]
    fn the_expiry_interval_shrinks_by_whole_seconds_and_ends() {
        let mut message = message("t", b"x");
        message.received = Timestamp::from_millis(1_000);
        let left = |message: &Message, millis| expiry_left(message, || Timestamp::from_millis(millis));
        assert_eq!(left(&message, i64::MAX), Ok(None));
        message.properties.expiry_seconds = Some(10);
        assert_eq!(left(&message, 1_999), Ok(Some(10)));
        assert_eq!(left(&message, 2_000), Ok(Some(9)));
        assert_eq!(left(&message, 0), Ok(Some(10)), "a clock that stepped back");
        assert_eq!(left(&message, 10_999), Ok(Some(1)));
        assert_eq!(left(&message, 11_000), Err(Expired));
    }
}
