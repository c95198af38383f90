//! The sessions and retained messages that an earlier run of the broker left, put back.

use std::sync::Arc;

use super::broker::Shared;
use super::clients::Absent;
use super::journal::Place;
use super::kept::Kept;
use super::ledger::{Book, Outgoing, Presence};
use super::mailbox::{Delivery, Mailbox};
use super::subscriptions::Subscription;
use super::window::Window;
use crate::clock::Timestamp;

/// Puts a session back, away since its client left, or since now.
pub(crate) fn session(broker: &Shared, mailbox: &Arc<Mailbox>, book: &Book, now: Timestamp) {
    mailbox.leave();
    let mut window = Window::new(1);
    for outgoing in book.in_order() {
        match delivery(outgoing) {
            Some(delivery) if !outgoing.sent => mailbox.push(delivery),
            delivery => window.restore(outgoing.receiver.id, delivery),
        }
    }
    for (filter, terms) in &book.filters {
        let subscription = Subscription { mailbox: Arc::clone(mailbox), terms: terms.clone() };
        broker.restore_subscription(filter, mailbox.number, subscription);
    }
    mailbox.note_subscriptions(book.filters.len());
    mailbox.note_in_flight(window.ids().len());
    let Presence { expiry_seconds, until, will, .. } = book.presence.clone();
    let after = |seconds: u32| now.saturating_add(i64::from(seconds) * 1_000_000_000);
    let was_here = until.is_none();
    let until = until.unwrap_or_else(|| after(expiry_seconds));
    // Its connection broke with the daemon, and nobody has said goodbye.
    let will = will.map(|(will, due)| {
        let due = due.unwrap_or_else(|| after(will.delay_seconds).min(until));
        (will, due)
    });
    if was_here {
        let in_flight = window.ids().collect();
        let will = will.clone().map(|(will, due)| (will, Some(due)));
        let presence = Presence { expiry_seconds, until: Some(until), will, in_flight };
        broker.ledger.presence(mailbox.number, presence);
    }
    let filters = book.filters.keys().cloned().collect();
    let unreleased = book.unreleased.iter().copied();
    let kept = Kept::restored(unreleased, window, filters, book.wishes.clone());
    broker.restore_client(Arc::clone(mailbox), Absent { kept, until, will });
}

fn delivery(outgoing: &Outgoing) -> Option<Delivery> {
    let message = Arc::clone(outgoing.message.as_ref()?);
    let receiver = &outgoing.receiver;
    Some(Delivery {
        message,
        qos: receiver.qos,
        retain: receiver.retain,
        subscription_ids: receiver.subscription_ids.clone(),
        id: receiver.id,
        place: Place::START,
    })
}
