//! Messages of QoS 1 and 2 sent to one client and not yet acknowledged by it: their packet ids and what
//! each waits for. How many there may be is the client's receive maximum or ours, whichever is lower.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

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
    /// A place is free again.
    Freed,
    /// PUBREL is due; `known` is false when its id is not in flight.
    Release { id: u16, known: bool },
    /// Nothing: no such message waits for it.
    Ignored,
}

/// The messages in flight to one client.
#[derive(Debug)]
pub(crate) struct Window {
    sent: HashMap<u16, Awaiting>,
    last_id: u16,
    maximum: u16,
}

impl Window {
    /// An empty window for at most `maximum` messages, and at least one.
    pub(crate) fn new(maximum: u16) -> Self {
        Self { sent: HashMap::new(), last_id: 0, maximum: maximum.max(1) }
    }

    /// Whether another message fits.
    pub(crate) fn has_place(&self) -> bool {
        self.sent.len() < usize::from(self.maximum)
    }

    /// A packet id for a message of `qos`, which is in flight from now on; zero for QoS 0, which is
    /// never in flight, and when there is no place.
    pub(crate) fn open(&mut self, qos: QoS) -> u16 {
        let awaiting = match qos {
            QoS::AtMostOnce => return 0,
            QoS::AtLeastOnce => Awaiting::Acknowledged,
            QoS::ExactlyOnce => Awaiting::Received,
        };
        if !self.has_place() {
            return 0;
        }
        // There are 65,535 ids and fewer than 65,535 in use, so one is free.
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if let Entry::Vacant(free) = self.sent.entry(self.last_id) {
                free.insert(awaiting);
                return self.last_id;
            }
        }
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
                    Some(awaiting @ (Awaiting::Received | Awaiting::Completed)) => {
                        *awaiting = Awaiting::Completed;
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
        if self.sent.get(&id) != Some(&expected) {
            return Outcome::Ignored;
        }
        self.sent.remove(&id);
        if self.sent.is_empty() && self.sent.capacity() > 64 {
            self.sent = HashMap::new();
        }
        Outcome::Freed
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
            assert!(seen.insert(window.open(QoS::AtLeastOnce)));
        }
        assert!(!window.has_place());
        assert_eq!(window.open(QoS::AtLeastOnce), 0, "all are in use");
        assert_eq!(window.acknowledged(&Packet::PubAck { id: 77 }), Outcome::Freed);
        assert_eq!(window.open(QoS::ExactlyOnce), 77, "the only one that is free");
        assert_eq!(window.open(QoS::AtMostOnce), 0);
    }

    #[test]
    fn each_acknowledgement_ends_what_waits_for_it_and_nothing_else() {
        let mut window = Window::new(2);
        assert_eq!((window.open(QoS::AtLeastOnce), window.open(QoS::ExactlyOnce)), (1, 2));
        assert!(!window.has_place());
        let released = |id, known| Outcome::Release { id, known };
        let steps = [
            (Packet::PubAck { id: 2 }, Outcome::Ignored),
            (Packet::PubComp { id: 2 }, Outcome::Ignored),
            (Packet::PubRec { id: 1, refused: false }, released(1, false)),
            (Packet::PubRec { id: 2, refused: false }, released(2, true)),
            (Packet::PubRec { id: 2, refused: false }, released(2, true)),
            (Packet::PubRec { id: 2, refused: true }, Outcome::Ignored),
            (Packet::PubComp { id: 2 }, Outcome::Freed),
            (Packet::PubComp { id: 2 }, Outcome::Ignored),
            (Packet::PubAck { id: 1 }, Outcome::Freed),
        ];
        for (packet, outcome) in steps {
            assert_eq!(window.acknowledged(&packet), outcome, "{packet:?}");
        }
        let id = window.open(QoS::ExactlyOnce);
        assert_eq!(window.acknowledged(&Packet::PubRec { id, refused: true }), Outcome::Freed);
    }
}
