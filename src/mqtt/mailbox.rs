//! Where messages for one connection wait, and where anyone may tell that connection to end.
//!
//! Putting a message in never waits: when the box is full, QoS 0 is dropped and counted, and anything
//! higher ends the connection, because to skip a message silently would break the promise of its QoS.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::lock;
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
    /// It was of QoS 0 and the box is full, or the connection is ending.
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

#[derive(Debug, Default)]
struct Waiting {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    told: Option<Told>,
}

/// The mailbox of one connection.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// The connection's client id, for MQTT 5's No Local.
    pub(crate) client_id: Arc<str>,
    messages_max: usize,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    /// Something is there to be written: a delivery, or a reply of the connection's own.
    pub(crate) mail: Notify,
    end: Notify,
    ended: AtomicBool,
}

impl Mailbox {
    /// An empty box for the client `client_id`.
    pub(crate) fn new(client_id: Arc<str>, messages_max: usize, bytes_max: usize) -> Self {
        Self {
            client_id,
            messages_max,
            bytes_max,
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
        if waiting.told.is_some() {
            return Put::Dropped;
        }
        if waiting.deliveries.len() >= self.messages_max || waiting.bytes + weight > self.bytes_max {
            if delivery.qos == QoS::AtMostOnce {
                return Put::Dropped;
            }
            drop(waiting);
            self.tell(Told::TooSlow);
            return Put::Overflowed;
        }
        let was_empty = waiting.deliveries.is_empty();
        waiting.bytes += weight;
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

    /// Tells the connection to end; what waits in the box is given up. The first reason stands.
    pub(crate) fn tell(&self, told: Told) {
        let mut waiting = lock(&self.waiting);
        let reason = *waiting.told.get_or_insert(told);
        *waiting = Waiting { told: Some(reason), ..Waiting::default() };
        drop(waiting);
        self.ended.store(true, Ordering::Release);
        self.end.notify_one();
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

    fn delivery(qos: QoS) -> Delivery {
        let message = Arc::new(message("t", b"0123456789"));
        Delivery { message, qos, retain: false, subscription_ids: Vec::new() }
    }

    #[test]
    fn a_full_box_drops_qos_0_and_ends_the_connection_for_more() {
        let mailbox = Mailbox::new("c".into(), 2, usize::MAX);
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
        let mailbox = Mailbox::new("c".into(), 100, 2 * one);
        for _ in 0..3 {
            assert_eq!(mailbox.put(delivery(QoS::AtMostOnce)), Put::Waiting);
            assert_eq!(mailbox.put(delivery(QoS::AtMostOnce)), Put::Waiting);
            assert_eq!(mailbox.put(delivery(QoS::AtMostOnce)), Put::Dropped);
            assert!(mailbox.take(|_| true).is_some());
            assert!(mailbox.take(|_| false).is_none(), "an unwanted message stays");
            assert!(mailbox.take(|_| true).is_some());
        }
    }
}
