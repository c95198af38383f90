//! Messages of QoS 1 and 2 sent to one client and not yet acknowledged by it: their packet ids and what
//! each waits for. How many there may be is the client's receive maximum or ours, whichever is lower.
//!
//! The window of a session that outlives its connection keeps the messages as well, to send them again.

use std::collections::{HashMap, VecDeque};

use super::mailbox::Delivery;
use super::packet::Packet;
use crate::message::QoS;

/// What a sent message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaiting {
    /// PUBACK, for QoS 1.
    Acknowledged,
    /// PUBREC, for QoS 2.
    Received,
    /// PUBCOMP, for QoS 2 after PUBREC.
    Completed,
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The place of this id is free again.
    Freed(u16),
    /// PUBREL is due; `known` is false when its id is not in flight.
    Release { id: u16, known: bool },
    /// Nothing: no such message waits for it.
    Ignored,
}

/// What is to be said again on a new connection of the session (MQTT 5 section 4.4).
#[derive(Debug)]
pub(crate) enum Again {
    /// The PUBLISH, with DUP set.
    Publish { id: u16, delivery: Delivery },
    /// The PUBREL.
    Release { id: u16 },
}

#[derive(Debug)]
struct Sent {
    awaiting: Awaiting,
    /// Its place in the order of sending.
    order: u64,
    /// What to send again; absent once PUBREC has come, and in a session nothing outlives.
    delivery: Option<Delivery>,
}

/// The messages in flight to one client.
#[derive(Debug)]
pub(crate) struct Window {
    sent: HashMap<u16, Sent>,
    last_id: u16,
    next_order: u64,
    maximum: u16,
    /// Ids of earlier connections that this one has not been told of yet, in the order of sending.
    again: VecDeque<u16>,
}

impl Window {
    /// An empty window for at most `maximum` messages, and at least one.
    pub(crate) fn new(maximum: u16) -> Self {
        Self {
            sent: HashMap::new(),
            last_id: 0,
            next_order: 0,
            maximum: maximum.max(1),
            again: VecDeque::new(),
        }
    }

    /// The same messages on a new connection, to a client that takes `maximum` at a time.
    pub(crate) fn resumed(mut self, maximum: u16) -> Self {
        self.maximum = maximum.max(1);
        let mut ids: Vec<(u64, u16)> = self.sent.iter().map(|(id, sent)| (sent.order, *id)).collect();
        ids.sort_unstable();
        self.again = ids.into_iter().map(|(_, id)| id).collect();
        self
    }

    /// What to say again next; nothing when all is said, or as much is in flight as may be.
    pub(crate) fn say_again(&mut self) -> Option<Again> {
        loop {
            let id = *self.again.front()?;
            let sent = self.sent.get(&id).expect("what is acknowledged leaves both");
            if sent.awaiting == Awaiting::Completed {
                self.again.pop_front();
                return Some(Again::Release { id });
            }
            if self.sent.len() - self.again.len() >= usize::from(self.maximum) {
                return None;
            }
            let delivery = sent.delivery.clone();
            self.again.pop_front();
            match delivery {
                Some(delivery) => return Some(Again::Publish { id, delivery }),
                None => drop(self.sent.remove(&id)),
            }
        }
    }

    /// Whether another message fits.
    pub(crate) fn has_place(&self) -> bool {
        self.again.is_empty() && self.sent.len() < usize::from(self.maximum)
    }

    /// A packet id for a message of `qos`, which is in flight from now on; zero for QoS 0, which is
    /// never in flight, and when there is no place. `delivery` is what a later connection repeats, under
    /// the id it has.
    pub(crate) fn open(&mut self, qos: QoS, delivery: Option<Delivery>) -> u16 {
        let awaiting = match qos {
            QoS::AtMostOnce => return 0,
            QoS::AtLeastOnce => Awaiting::Acknowledged,
            QoS::ExactlyOnce => Awaiting::Received,
        };
        if !self.has_place() {
            return 0;
        }
        if let Some(given) = delivery.as_ref().map(|delivery| delivery.id).filter(|id| *id != 0) {
            self.insert(given, awaiting, delivery);
            return given;
        }
        // There are 65,535 ids and fewer than 65,535 in use, so one is free.
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.sent.contains_key(&self.last_id) {
                self.insert(self.last_id, awaiting, delivery);
                return self.last_id;
            }
        }
    }

    fn insert(&mut self, id: u16, awaiting: Awaiting, delivery: Option<Delivery>) {
        self.sent.insert(id, Sent { awaiting, order: self.next_order, delivery });
        self.next_order += 1;
    }

    /// Puts back what an earlier run of the broker had sent; without a delivery, its PUBREL is due.
    pub(crate) fn restore(&mut self, id: u16, delivery: Option<Delivery>) {
        let awaiting = match &delivery {
            None => Awaiting::Completed,
            Some(delivery) if delivery.qos == QoS::ExactlyOnce => Awaiting::Received,
            Some(_) => Awaiting::Acknowledged,
        };
        self.insert(id, awaiting, delivery);
    }

    /// The ids of what is in flight, and how many.
    pub(crate) fn ids(&self) -> impl ExactSizeIterator<Item = u16> {
        self.sent.keys().copied()
    }

    /// Forgets a message that was not sent after all.
    pub(crate) fn abandon(&mut self, id: u16) {
        self.sent.remove(&id);
    }

    /// Takes PUBACK, PUBREC and PUBCOMP. An id that is not in flight is no error: it may belong to a
    /// session this broker no longer knows.
    pub(crate) fn acknowledged(&mut self, packet: &Packet) -> Outcome {
        match *packet {
            Packet::PubAck { id } => self.free(id, Awaiting::Acknowledged),
            Packet::PubComp { id } => self.free(id, Awaiting::Completed),
            Packet::PubRec { id, refused: true } => self.free(id, Awaiting::Received),
            Packet::PubRec { id, refused: false } => {
                let known = match self.sent.get_mut(&id) {
                    Some(sent) if sent.awaiting != Awaiting::Acknowledged => {
                        sent.awaiting = Awaiting::Completed;
                        sent.delivery = None;
                        true
                    }
                    _ => false,
                };
                Outcome::Release { id, known }
            }
            _ => Outcome::Ignored,
        }
    }

    fn free(&mut self, id: u16, expected: Awaiting) -> Outcome {
        if self.sent.get(&id).is_none_or(|sent| sent.awaiting != expected) {
            return Outcome::Ignored;
        }
        self.sent.remove(&id);
        if !self.again.is_empty() {
            self.again.retain(|owed| *owed != id);
        }
        if self.sent.is_empty() && self.sent.capacity() > 64 {
            self.sent = HashMap::new();
        }
        Outcome::Freed(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_are_never_zero_and_never_in_use_twice() {
        let mut window = Window::new(u16::MAX);
        let mut seen = std::collections::HashSet::from([0]);
        for _ in 0..65_535 {
            assert!(seen.insert(window.open(QoS::AtLeastOnce, None)));
        }
        assert!(!window.has_place());
        assert_eq!(window.open(QoS::AtLeastOnce, None), 0, "all are in use");
        assert_eq!(window.acknowledged(&Packet::PubAck { id: 77 }), Outcome::Freed(77));
        assert_eq!(window.open(QoS::ExactlyOnce, None), 77, "the only one that is free");
        assert_eq!(window.open(QoS::AtMostOnce, None), 0);
    }

    #[test]
    fn each_acknowledgement_ends_what_waits_for_it_and_nothing_else() {
        let mut window = Window::new(2);
        assert_eq!((window.open(QoS::AtLeastOnce, None), window.open(QoS::ExactlyOnce, None)), (1, 2));
        assert!(!window.has_place());
        let released = |id, known| Outcome::Release { id, known };
        let steps = [
            (Packet::PubAck { id: 2 }, Outcome::Ignored),
            (Packet::PubComp { id: 2 }, Outcome::Ignored),
            (Packet::PubRec { id: 1, refused: false }, released(1, false)),
            (Packet::PubRec { id: 2, refused: false }, released(2, true)),
            (Packet::PubRec { id: 2, refused: false }, released(2, true)),
            (Packet::PubRec { id: 2, refused: true }, Outcome::Ignored),
            (Packet::PubComp { id: 2 }, Outcome::Freed(2)),
            (Packet::PubComp { id: 2 }, Outcome::Ignored),
            (Packet::PubAck { id: 1 }, Outcome::Freed(1)),
        ];
        for (packet, outcome) in steps {
            assert_eq!(window.acknowledged(&packet), outcome, "{packet:?}");
        }
        let id = window.open(QoS::ExactlyOnce, None);
        assert_eq!(window.acknowledged(&Packet::PubRec { id, refused: true }), Outcome::Freed(id));
    }

    #[test]
    fn a_new_connection_hears_again_what_was_not_acknowledged_in_order_and_within_its_maximum() {
        let delivery = |topic: &str| Delivery {
            message: std::sync::Arc::new(crate::mqtt::tests::message(topic, b"x")),
            qos: QoS::ExactlyOnce,
            retain: false,
            subscription_ids: Vec::new(),
            id: 0,
            place: crate::mqtt::journal::Place::START,
        };
        let mut window = Window::new(9);
        for (id, qos) in
            [(1, QoS::ExactlyOnce), (2, QoS::AtLeastOnce), (3, QoS::ExactlyOnce), (4, QoS::AtLeastOnce)]
        {
            assert_eq!(window.open(qos, Some(delivery(&id.to_string()))), id);
        }
        window.acknowledged(&Packet::PubRec { id: 3, refused: false });
        let mut window = window.resumed(2);
        assert!(!window.has_place(), "first what is owed");
        let mut said = Vec::new();
        while let Some(again) = window.say_again() {
            said.push(match again {
                Again::Publish { id, delivery } => (id, delivery.message.topic.to_string()),
                Again::Release { id } => (id, "release".to_owned()),
            });
        }
        assert_eq!(said, [(1, "1".to_owned()), (2, "2".to_owned()), (3, "release".to_owned())]);
        assert_eq!(window.acknowledged(&Packet::PubAck { id: 2 }), Outcome::Freed(2));
        assert!(window.say_again().is_none(), "1 and 3 are in flight");
        assert_eq!(
            window.acknowledged(&Packet::PubAck { id: 4 }),
            Outcome::Freed(4),
            "it had come after all"
        );
        assert_eq!(window.acknowledged(&Packet::PubComp { id: 3 }), Outcome::Freed(3));
        assert!(window.say_again().is_none() && window.has_place());
    }
}
