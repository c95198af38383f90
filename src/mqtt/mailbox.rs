//! Where messages for one session wait, and where anyone may tell its connection to end.
//!
//! Putting a message in never waits: when the box is full, QoS 0 is dropped and counted, and anything
//! higher ends the connection, because to skip a message silently would break the promise of its QoS.
//!
//! The box of a session that outlives its connection goes on filling while its client is away, with
//! QoS 1 and 2 only. What waits in all boxes together, and what of it waits for absent clients, is bounded
//! by one [`Backlog`]; what finds no room there is dropped and counted.
//!
//! A message of QoS 1 or 2 for such a session carries its place in the journal, and is not taken out
//! before it is on disk.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::journal::Place;
use super::lock;
use super::options::BrokerOptions;
use super::subscriptions::SessionNumber;
use crate::message::{Message, QoS};

/// A message on its way to one subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: Vec<u32>,
    /// The packet id it has in a lasting session; zero elsewhere, and for QoS 0.
    pub(crate) id: u16,
    /// What has to be on disk before it is sent.
    pub(crate) place: Place,
}

/// Roughly the memory a message takes, by which queues and stores are bounded.
pub(crate) fn weight(message: &Message) -> usize {
    const FIXED: usize = size_of::<Message>() + size_of::<Delivery>();
    let given = &message.properties;
    let texts = [&given.content_type, &given.response_topic].into_iter().flatten().map(String::len);
    let user = given.user.iter().map(|(key, value)| key.len() + value.len() + 2 * size_of::<String>());
    let data = given.correlation_data.as_ref().map_or(0, bytes::Bytes::len);
    let properties: usize = texts.chain(user).sum::<usize>() + data;
    FIXED + message.topic.as_str().len() + message.payload.len() + properties
}

/// What became of a message put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It waits for the connection.
    Waiting,
    /// There is no room and nobody to tell, or it is of QoS 0 and the client is away.
    Dropped,
    /// The box is full; the connection has been told to end.
    Overflowed,
}

/// Why a connection is told to end from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Another connection came with its client id.
    TakenOver,
    /// Its mailbox overflowed.
    TooSlow,
    /// An operator has ended the session.
    Removed,
}

/// The bytes that wait in all mailboxes together.
#[derive(Debug)]
pub(crate) struct Backlog {
    all: AtomicUsize,
    all_max: usize,
    absent: AtomicUsize,
    absent_max: usize,
}

impl Backlog {
    /// Nothing waits; at most `all_max` bytes may, and at most `absent_max` of them for clients that are
    /// away.
    pub(crate) fn new(all_max: usize, absent_max: usize) -> Self {
        Self { all: AtomicUsize::new(0), all_max, absent: AtomicUsize::new(0), absent_max }
    }

    /// How much waits in all boxes.
    pub(crate) fn bytes(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// How much of it waits for clients that are away.
    pub(crate) fn absent_bytes(&self) -> usize {
        self.absent.load(Ordering::Relaxed)
    }

    fn has_room(&self, bytes: usize, away: bool) -> bool {
        self.bytes().saturating_add(bytes) <= self.all_max
            && !(away && self.absent_bytes().saturating_add(bytes) > self.absent_max)
    }

    fn add(&self, bytes: usize, away: bool) {
        self.all.fetch_add(bytes, Ordering::Relaxed);
        if away {
            self.absent.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn remove(&self, bytes: usize, away: bool) {
        self.all.fetch_sub(bytes, Ordering::Relaxed);
        if away {
            self.absent.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    told: Option<Told>,
    away: bool,
}

/// How much one session has at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) subscriptions: usize,
    pub(crate) in_flight: usize,
}

/// The mailbox of one session.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// The session's number.
    pub(crate) number: SessionNumber,
    /// The session's client id, for MQTT 5's No Local.
    pub(crate) client_id: Arc<str>,
    /// Whether the session outlives its connection: what waits here is kept then.
    pub(crate) lasting: bool,
    backlog: Arc<Backlog>,
    messages_max: usize,
    bytes_max: usize,
    away: AtomicBool,
    subscriptions: AtomicUsize,
    in_flight: AtomicUsize,
    waiting: Mutex<Waiting>,
    /// Something is there to be written: a delivery, or a reply of the connection's own.
    pub(crate) mail: Notify,
    end: Notify,
    ended: AtomicBool,
}

impl Mailbox {
    /// An empty box for the session `number` of the client `client_id`.
    pub(crate) fn new(
        number: SessionNumber,
        client_id: Arc<str>,
        lasting: bool,
        options: &BrokerOptions,
        backlog: Arc<Backlog>,
    ) -> Self {
        Self {
            number,
            client_id,
            lasting,
            backlog,
            messages_max: options.outbound_messages_max,
            bytes_max: options.outbound_bytes_max,
            away: AtomicBool::new(false),
            subscriptions: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            waiting: Mutex::default(),
            mail: Notify::new(),
            end: Notify::new(),
            ended: AtomicBool::new(false),
        }
    }

    /// Puts a message in, never waiting.
    pub(crate) fn put(&self, delivery: Delivery) -> Put {
        let admitted = self.admit(weight(&delivery.message), delivery.qos, 0);
        if admitted == Put::Waiting {
            self.push(delivery);
        }
        admitted
    }

    /// Whether a message may be put in, when `promised` bytes are on their way into other boxes. If it may not
    /// and somebody has to be told, the connection is.
    pub(crate) fn admit(&self, weight: usize, qos: QoS, promised: usize) -> Put {
        let waiting = lock(&self.waiting);
        if waiting.told.is_some() && !self.lasting || waiting.away && qos == QoS::AtMostOnce {
            return Put::Dropped;
        }
        let is_full =
            waiting.deliveries.len() >= self.messages_max || waiting.bytes + weight > self.bytes_max;
        if !is_full && self.backlog.has_room(weight.saturating_add(promised), waiting.away) {
            return Put::Waiting;
        }
        if waiting.away || waiting.told.is_some() || qos == QoS::AtMostOnce {
            return Put::Dropped;
        }
        drop(waiting);
        self.tell(Told::TooSlow);
        Put::Overflowed
    }

    /// Puts in a message that was admitted.
    pub(crate) fn push(&self, delivery: Delivery) {
        let weight = weight(&delivery.message);
        let mut waiting = lock(&self.waiting);
        if waiting.told.is_some() && !self.lasting {
            return;
        }
        let was_empty = waiting.deliveries.is_empty();
        waiting.bytes += weight;
        self.backlog.add(weight, waiting.away);
        waiting.deliveries.push_back(delivery);
        drop(waiting);
        if was_empty {
            self.mail.notify_one();
        }
    }

    /// Takes the next message if everything up to its place is `durable` and `wanted` says so.
    ///
    /// # Errors
    /// The place that has to be on disk first.
    pub(crate) fn take(
        &self,
        durable: Place,
        wanted: impl FnOnce(&Delivery) -> bool,
    ) -> Result<Option<Delivery>, Place> {
        let mut waiting = lock(&self.waiting);
        if let Some(next) = waiting.deliveries.front()
            && next.place > durable
        {
            return Err(next.place);
        }
        let Some(delivery) = waiting.deliveries.pop_front_if(|next| wanted(next)) else { return Ok(None) };
        let weight = weight(&delivery.message);
        waiting.bytes -= weight;
        self.backlog.remove(weight, waiting.away);
        if waiting.deliveries.is_empty() && waiting.deliveries.capacity() > 64 {
            waiting.deliveries = VecDeque::new();
        }
        Ok(Some(delivery))
    }

    /// Notes how many subscriptions the session has.
    pub(crate) fn note_subscriptions(&self, count: usize) {
        self.subscriptions.store(count, Ordering::Relaxed);
    }

    /// Notes how many messages are sent and not acknowledged.
    pub(crate) fn note_in_flight(&self, count: usize) {
        self.in_flight.store(count, Ordering::Relaxed);
    }

    /// How much the session has at present.
    pub(crate) fn load(&self) -> Load {
        let waiting = lock(&self.waiting);
        Load {
            messages: waiting.deliveries.len(),
            bytes: waiting.bytes,
            subscriptions: self.subscriptions.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }

    /// Tells the connection to end; what waits in the box is given up unless it is a lasting one. The
    /// first reason stands.
    pub(crate) fn tell(&self, told: Told) {
        let mut waiting = lock(&self.waiting);
        let reason = *waiting.told.get_or_insert(told);
        if !self.lasting {
            self.empty(&mut waiting, Some(reason));
        }
        drop(waiting);
        self.ended.store(true, Ordering::Release);
        self.end.notify_one();
    }

    fn empty(&self, waiting: &mut Waiting, told: Option<Told>) {
        self.backlog.remove(waiting.bytes, waiting.away);
        *waiting = Waiting { told, ..Waiting::default() };
    }

    /// Whether its client is away.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// The connection has ended and the session goes on.
    pub(crate) fn leave(&self) {
        let mut waiting = lock(&self.waiting);
        self.backlog.remove(waiting.bytes, waiting.away);
        waiting.deliveries.retain(|delivery| delivery.qos != QoS::AtMostOnce);
        waiting.bytes = waiting.deliveries.iter().map(|delivery| weight(&delivery.message)).sum();
        waiting.away = true;
        self.backlog.add(waiting.bytes, true);
        self.away.store(true, Ordering::Relaxed);
    }

    /// A new connection of the session is there.
    pub(crate) fn come_back(&self) {
        let mut waiting = lock(&self.waiting);
        self.backlog.remove(waiting.bytes, waiting.away);
        waiting.away = false;
        self.backlog.add(waiting.bytes, false);
        waiting.told = None;
        self.away.store(false, Ordering::Relaxed);
        self.ended.store(false, Ordering::Release);
        drop(waiting);
        self.mail.notify_one();
    }

    /// The session has ended; what waits is given up.
    pub(crate) fn give_up(&self) {
        self.empty(&mut lock(&self.waiting), Some(Told::TakenOver));
    }

    /// Resolves once the connection is told to end.
    pub(crate) async fn told(&self) -> Told {
        loop {
            if self.ended.load(Ordering::Acquire)
                && let Some(told) = lock(&self.waiting).told
            {
                return told;
            }
            self.end.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::mqtt::tests::message;

    fn mailbox(lasting: bool, messages_max: usize, bytes_max: usize, absent_bytes_max: usize) -> Mailbox {
        let options = BrokerOptions {
            outbound_messages_max: messages_max,
            outbound_bytes_max: bytes_max,
            ..BrokerOptions::default()
        };
        Mailbox::new(1, "c".into(), lasting, &options, Arc::new(Backlog::new(usize::MAX, absent_bytes_max)))
    }

    fn taken(mailbox: &Mailbox) -> Option<Delivery> {
        mailbox.take(Place::START, |_| true).expect("nothing waits for the disk")
    }

    fn delivery(qos: QoS) -> Delivery {
        let message = Arc::new(message("t", b"0123456789"));
        let (subscription_ids, id, place) = (Vec::new(), 0, Place::START);
        Delivery { message, qos, retain: false, subscription_ids, id, place }
    }

    #[test]
    fn a_full_box_drops_qos_0_and_ends_the_connection_for_more() {
        let mailbox = mailbox(false, 2, usize::MAX, 0);
        assert_eq!(mailbox.put(delivery(QoS::AtMostOnce)), Put::Waiting);
        assert_eq!(mailbox.put(delivery(QoS::AtLeastOnce)), Put::Waiting);
        assert_eq!(mailbox.put(delivery(QoS::AtMostOnce)), Put::Dropped);
        assert_eq!(mailbox.told().now_or_never(), None);
        assert_eq!(mailbox.put(delivery(QoS::AtLeastOnce)), Put::Overflowed);
        assert_eq!(mailbox.told().now_or_never(), Some(Told::TooSlow));
        assert!(taken(&mailbox).is_none(), "what waited is given up");
        mailbox.tell(Told::TakenOver);
        assert_eq!(mailbox.told().now_or_never(), Some(Told::TooSlow), "the first reason stands");
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let one = weight(&message("t", b"0123456789"));
        let mailbox = mailbox(false, 100, 2 * one, 0);
        for _ in 0..3 {
            assert_eq!(mailbox.put(delivery(QoS::AtMostOnce)), Put::Waiting);
            assert_eq!(mailbox.put(delivery(QoS::AtMostOnce)), Put::Waiting);
            assert_eq!(mailbox.put(delivery(QoS::AtMostOnce)), Put::Dropped);
            assert!(taken(&mailbox).is_some());
            assert!(matches!(mailbox.take(Place::START, |_| false), Ok(None)), "an unwanted message stays");
            assert!(taken(&mailbox).is_some());
        }
    }

    #[test]
    fn an_absent_client_is_kept_what_has_room() {
        let one = weight(&message("t", b"0123456789"));
        let mailbox = mailbox(true, 3, usize::MAX, 2 * one);
        assert_eq!(mailbox.put(delivery(QoS::AtMostOnce)), Put::Waiting);
        assert_eq!(mailbox.put(delivery(QoS::ExactlyOnce)), Put::Waiting);
        mailbox.tell(Told::TakenOver);
        assert_eq!(mailbox.put(delivery(QoS::AtLeastOnce)), Put::Waiting, "between two connections");
        mailbox.leave();
        assert_eq!(mailbox.backlog.absent_bytes(), 2 * one, "QoS 0 is not for the absent");
        assert_eq!(mailbox.put(delivery(QoS::AtMostOnce)), Put::Dropped);
        assert_eq!(mailbox.put(delivery(QoS::AtLeastOnce)), Put::Dropped, "no room for the absent");
        mailbox.come_back();
        assert_eq!((mailbox.backlog.absent_bytes(), mailbox.told().now_or_never()), (0, None));
        assert_eq!(mailbox.put(delivery(QoS::AtLeastOnce)), Put::Waiting);
        assert_eq!(mailbox.put(delivery(QoS::AtLeastOnce)), Put::Overflowed);
        mailbox.leave();
        mailbox.give_up();
        assert_eq!(mailbox.backlog.absent_bytes(), 0);
        assert!(taken(&mailbox).is_none());
    }
}
