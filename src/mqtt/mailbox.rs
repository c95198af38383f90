//! Where messages for one session wait, and where anyone may tell its connection to end.
//!
//! Putting a message in never waits: when the box is full, QoS 0 is dropped and counted, and anything
//! higher ends the connection, because to skip a message silently would break the promise of its QoS.
//!
//! The box of a session that outlives its connection goes on filling while its client is away, with
//! QoS 1 and 2 only. What waits for all absent clients together is bounded by one [`Absence`]; what
//! finds no room there is dropped and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::lock;
use super::options::BrokerOptions;
use crate::message::{Message, QoS};

/// A message on its way to one subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: Vec<u32>,
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
}

/// The bytes that wait for absent clients, of all sessions together.
#[derive(Debug)]
pub(crate) struct Absence {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Absence {
    /// Nothing waits; at most `bytes_max` may.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), bytes_max }
    }

    /// How much waits now.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes().saturating_add(bytes) <= self.bytes_max
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Waiting {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    told: Option<Told>,
    away: bool,
}

/// The mailbox of one session.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// The session's client id, for MQTT 5's No Local.
    pub(crate) client_id: Arc<str>,
    /// Whether what waits here is kept when the connection ends.
    lasting: bool,
    absence: Arc<Absence>,
    messages_max: usize,
    bytes_max: usize,
    away: AtomicBool,
    waiting: Mutex<Waiting>,
    /// Something is there to be written: a delivery, or a reply of the connection's own.
    pub(crate) mail: Notify,
    end: Notify,
    ended: AtomicBool,
}

impl Mailbox {
    /// An empty box for the client `client_id`.
    pub(crate) fn new(
        client_id: Arc<str>,
        lasting: bool,
        options: &BrokerOptions,
        absence: Arc<Absence>,
    ) -> Self {
        Self {
            client_id,
            lasting,
            absence,
            messages_max: options.outbound_messages_max,
            bytes_max: options.outbound_bytes_max,
            away: AtomicBool::new(false),
            waiting: Mutex::default(),
            mail: Notify::new(),
            end: Notify::new(),
            ended: AtomicBool::new(false),
        }
    }

    /// Puts a message in, never waiting.
    pub(crate) fn put(&self, delivery: Delivery) -> Put {
        let weight = weight(&delivery.message);
        let mut waiting = lock(&self.waiting);
        if waiting.told.is_some() && !self.lasting || waiting.away && delivery.qos == QoS::AtMostOnce {
            return Put::Dropped;
        }
        let is_full =
            waiting.deliveries.len() >= self.messages_max || waiting.bytes + weight > self.bytes_max;
        if is_full || waiting.away && !self.absence.has_room(weight) {
            if waiting.away || waiting.told.is_some() || delivery.qos == QoS::AtMostOnce {
                return Put::Dropped;
            }
            drop(waiting);
            self.tell(Told::TooSlow);
            return Put::Overflowed;
        }
        let was_empty = waiting.deliveries.is_empty();
        waiting.bytes += weight;
        if waiting.away {
            self.absence.add(weight);
        }
        waiting.deliveries.push_back(delivery);
        drop(waiting);
        if was_empty {
            self.mail.notify_one();
        }
        Put::Waiting
    }

    /// Takes the next message if `wanted` says so.
    pub(crate) fn take(&self, wanted: impl FnOnce(&Delivery) -> bool) -> Option<Delivery> {
        let mut waiting = lock(&self.waiting);
        let delivery = waiting.deliveries.pop_front_if(|next| wanted(next))?;
        waiting.bytes -= weight(&delivery.message);
        if waiting.deliveries.is_empty() && waiting.deliveries.capacity() > 64 {
            waiting.deliveries = VecDeque::new();
        }
        Some(delivery)
    }

    /// Tells the connection to end; what waits in the box is given up unless it is a lasting one. The
    /// first reason stands.
    pub(crate) fn tell(&self, told: Told) {
        let mut waiting = lock(&self.waiting);
        let reason = *waiting.told.get_or_insert(told);
        if !self.lasting {
            *waiting = Waiting { told: Some(reason), ..Waiting::default() };
        }
        drop(waiting);
        self.ended.store(true, Ordering::Release);
        self.end.notify_one();
    }

    /// Whether its client is away.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// The connection has ended and the session goes on.
    pub(crate) fn leave(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.deliveries.retain(|delivery| delivery.qos != QoS::AtMostOnce);
        waiting.bytes = waiting.deliveries.iter().map(|delivery| weight(&delivery.message)).sum();
        if !std::mem::replace(&mut waiting.away, true) {
            self.absence.add(waiting.bytes);
        }
        self.away.store(true, Ordering::Relaxed);
    }

    /// A new connection of the session is there.
    pub(crate) fn come_back(&self) {
        let mut waiting = lock(&self.waiting);
        if std::mem::replace(&mut waiting.away, false) {
            self.absence.remove(waiting.bytes);
        }
        waiting.told = None;
        self.away.store(false, Ordering::Relaxed);
        self.ended.store(false, Ordering::Release);
        drop(waiting);
        self.mail.notify_one();
    }

    /// The session has ended; what waits is given up.
    pub(crate) fn give_up(&self) {
        let mut waiting = lock(&self.waiting);
        if std::mem::replace(&mut waiting.away, false) {
            self.absence.remove(waiting.bytes);
        }
        *waiting = Waiting { told: Some(Told::TakenOver), ..Waiting::default() };
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
        Mailbox::new("c".into(), lasting, &options, Arc::new(Absence::new(absent_bytes_max)))
    }

    fn delivery(qos: QoS) -> Delivery {
        let message = Arc::new(message("t", b"0123456789"));
        Delivery { message, qos, retain: false, subscription_ids: Vec::new() }
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
        assert!(mailbox.take(|_| true).is_none(), "what waited is given up");
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
            assert!(mailbox.take(|_| true).is_some());
            assert!(mailbox.take(|_| false).is_none(), "an unwanted message stays");
            assert!(mailbox.take(|_| true).is_some());
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
        assert_eq!(mailbox.absence.bytes(), 2 * one, "QoS 0 is not for the absent");
        assert_eq!(mailbox.put(delivery(QoS::AtMostOnce)), Put::Dropped);
        assert_eq!(mailbox.put(delivery(QoS::AtLeastOnce)), Put::Dropped, "no room for the absent");
        mailbox.come_back();
        assert_eq!((mailbox.absence.bytes(), mailbox.told().now_or_never()), (0, None));
        assert_eq!(mailbox.put(delivery(QoS::AtLeastOnce)), Put::Waiting);
        assert_eq!(mailbox.put(delivery(QoS::AtLeastOnce)), Put::Overflowed);
        mailbox.leave();
        mailbox.give_up();
        assert_eq!(mailbox.absence.bytes(), 0);
        assert!(mailbox.take(|_| true).is_none());
    }
}
