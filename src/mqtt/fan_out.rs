//! From one message to its subscribers: which sessions it is for, at which QoS, and in which way it gets
//! there: straight into the mailbox, or by way of the ledger when the session outlives its connection.

use std::sync::Arc;

use tracing::debug;

use super::broker::Shared;
use super::journal::Place;
use super::ledger::{Retain, Target, is_ephemeral};
use super::lock;
use super::mailbox::{Delivery, Put};
use super::retained::Kept;
use super::subscriptions::{SessionNumber, Subscription};
use crate::message::{Message, QoS};

/// Messages on these topics are for one rule and nobody else (AWS IoT Core's Basic Ingest): no
/// subscriber receives them and none is retained.
pub(crate) const BASIC_INGEST: &str = "$aws/rules/";

/// A publish of QoS 2 from a lasting session: the session and the packet id.
pub(crate) type Sender = (SessionNumber, u16);

impl Shared {
    /// Hands `message` to its subscribers and, if it asks for it, to the retained store. Whatever of that
    /// has to survive a restart is on disk once everything up to the place is.
    pub(crate) fn fan_out(&self, message: &Arc<Message>, sender: Option<Sender>) -> Place {
        if message.topic.as_str().starts_with(BASIC_INGEST) {
            return self.ledger.publish(message, Retain::No, sender, Vec::new(), |_| {});
        }
        if !message.retain {
            return self.deliver(message, Retain::No, sender);
        }
        // Held across the delivery, so that of two messages on one topic the one that stays retained
        // is also the one every subscriber hears last, now and after a restart.
        let mut retained = lock(self.retained());
        let retain = match retained.set(message) {
            _ if is_ephemeral(&message.topic) => Retain::No,
            Kept::Yes if message.payload.is_empty() => Retain::Forget,
            Kept::Yes => Retain::Keep,
            Kept::NoRoom => {
                self.tally.retained_refused.add_one();
                debug!(topic = ?message.topic, "the retained store is full; the message is not kept");
                Retain::Forget
            }
        };
        self.deliver(message, retain, sender)
    }

    fn deliver(&self, message: &Arc<Message>, retain: Retain, sender: Option<Sender>) -> Place {
        let subscriptions = self.subscriptions();
        let mut matches = subscriptions.matching(&message.topic);
        if matches.filters > 1 {
            matches.found.sort_unstable_by_key(|(number, _)| *number);
        }
        let mut lasting = Vec::new();
        for same in matches.found.chunk_by(|(left, _), (right, _)| left == right) {
            lasting.extend(self.deliver_to(same, message));
        }
        // Each is a subscription of its own, even of a session that has others.
        for shared in &matches.shared {
            lasting.extend(self.deliver_to(std::slice::from_ref(shared), message));
        }
        self.ledger.publish(message, retain, sender, lasting, |put| self.count(put))
    }

    /// One copy for one session, whichever of its filters match: at the highest QoS, with the
    /// identifiers of all of them. What comes back is for a session that survives a restart.
    fn deliver_to(&self, same: &[(SessionNumber, &Subscription)], message: &Arc<Message>) -> Option<Target> {
        let publisher = message.origin.client_id.as_deref();
        let mut qos = None;
        let mut retain = false;
        let mut subscription_ids = Vec::new();
        for (_, Subscription { mailbox, terms }) in same {
            if terms.no_local && publisher == Some(&*mailbox.client_id) {
                continue;
            }
            qos = qos.max(Some(terms.qos));
            retain |= terms.retain_as_published && message.retain;
            subscription_ids.extend(terms.id);
        }
        let (qos, (_, subscription)) = (qos?, same.first()?);
        let qos: QoS = qos.min(message.qos);
        let (message, mailbox) = (Arc::clone(message), &subscription.mailbox);
        let delivery = Delivery { message, qos, retain, subscription_ids, id: 0, place: Place::START };
        if mailbox.lasting && qos != QoS::AtMostOnce {
            return Some(Target { mailbox: Arc::clone(mailbox), delivery });
        }
        self.count(mailbox.put(delivery));
        None
    }

    fn count(&self, put: Put) {
        match put {
            Put::Waiting => {}
            Put::Dropped => self.tally.messages_dropped.add_one(),
            Put::Overflowed => {
                self.tally.messages_dropped.add_one();
                self.tally.slow_connections_closed.add_one();
            }
        }
    }
}
