//! Publishes from the client: taken, awaited in their order, acknowledged, released.

use std::collections::VecDeque;

use super::{Arrival, Pending, REPLY_BYTES_MAX, Session};
use crate::message::{Message, QoS};
use crate::mqtt::error::{Reason, Violation};
use crate::mqtt::journal::Place;
use crate::mqtt::ledger::{Ledger, Progress};
use crate::mqtt::lock;
use crate::mqtt::mailbox::weight;
use crate::mqtt::packet::{Reply, Version};

impl Session {
    /// Resolves when there is room for what the client says next.
    pub(crate) async fn has_room(&self) {
        while self.is_crowded() {
            self.pulse.set_held_up(true);
            self.room.notified().await;
        }
        self.pulse.set_held_up(false);
    }

    fn is_crowded(&self) -> bool {
        let state = lock(&self.state);
        state.replies.len() >= REPLY_BYTES_MAX
            || state.pending_bytes >= self.unacknowledged_bytes_max
            // An MQTT 5 client knows the bound and is told when it breaks it.
            || (self.version == Version::V311 && state.pending_count >= self.receive_maximum)
    }

    /// Notes a publish of QoS 1 or 2.
    ///
    /// # Errors
    /// When an MQTT 5 client has more in flight than it may.
    pub(crate) fn arrive(&self, id: u16, qos: QoS) -> Result<Arrival, Violation> {
        let mut state = lock(&self.state);
        if qos == QoS::ExactlyOnce
            && let Some(&received) = state.kept.unreleased.get(&id)
        {
            if received {
                // Behind the PUBREC it repeats, if that still waits.
                self.reply_in(&mut state, Reply::PubRec { id }, Place::START, Place::START)?;
            }
            return Ok(Arrival::Repeated);
        }
        if self.version == Version::V5 && state.in_flight >= self.receive_maximum {
            let what = format!("more than {} publishes are unacknowledged", self.receive_maximum);
            return Err(Violation::new(Reason::ReceiveMaximumExceeded, what));
        }
        state.in_flight += 1;
        if qos == QoS::ExactlyOnce {
            state.kept.unreleased.insert(id, false);
        }
        Ok(Arrival::New)
    }

    /// Queues a publish that [`Session::arrive`] let in and that has been handed over.
    pub(crate) fn expect_receipt(&self, pending: Pending) {
        let mut state = lock(&self.state);
        state.pending_count += 1;
        state.pending_bytes += weight(&pending.message);
        let was_empty = state.pending.is_empty();
        state.pending.push_back(pending);
        drop(state);
        if was_empty {
            self.arrived.notify_one();
        }
    }

    /// The next publish whose receipt is to be awaited; nothing once the session is closed and all
    /// have been taken.
    pub(crate) async fn next_pending(&self) -> Option<Pending> {
        loop {
            let closed = {
                let mut state = lock(&self.state);
                if let Some(pending) = state.pending.pop_front() {
                    return Some(pending);
                }
                if state.pending.capacity() > 64 {
                    state.pending = VecDeque::new();
                }
                state.closed
            };
            if closed {
                return None;
            }
            self.arrived.notified().await;
        }
    }

    /// Queues PUBACK or PUBREC for a publish that is stored, to be written once `place` is `durable` too.
    ///
    /// # Errors
    /// When the client takes no packets of that size.
    pub(crate) fn acknowledge(
        &self,
        id: u16,
        message: &Message,
        place: Place,
        durable: Place,
    ) -> Result<(), Violation> {
        let mut state = lock(&self.state);
        state.pending_count -= 1;
        state.pending_bytes -= weight(message);
        let reply = if message.qos == QoS::ExactlyOnce {
            state.kept.unreleased.insert(id, true);
            Reply::PubRec { id }
        } else {
            state.in_flight -= 1;
            Reply::PubAck { id }
        };
        let replied = self.reply_in(&mut state, reply, place, durable);
        drop(state);
        self.room.notify_one();
        replied
    }

    /// Queues PUBACK or PUBREC for a publish the client may not make; that ends it, for QoS 2 too.
    ///
    /// # Errors
    /// When the client takes no packets of that size.
    pub(crate) fn deny(&self, id: u16, message: &Message) -> Result<(), Violation> {
        let mut state = lock(&self.state);
        state.pending_count -= 1;
        state.pending_bytes -= weight(message);
        state.in_flight -= 1;
        state.kept.unreleased.remove(&id);
        let denied = Reply::Denied { id, qos: message.qos };
        let replied = self.reply_in(&mut state, denied, Place::START, Place::START);
        drop(state);
        self.room.notify_one();
        replied
    }

    /// Answers PUBREL.
    ///
    /// # Errors
    /// When it releases a publish that has not been acknowledged: PUBCOMP would promise too much.
    pub(crate) fn release(&self, id: u16, ledger: &Ledger) -> Result<(), Violation> {
        let mut state = lock(&self.state);
        let known = match state.kept.unreleased.get(&id) {
            Some(false) => return Err(Violation::protocol("a PUBREL came before its PUBREC was sent")),
            Some(true) => {
                state.kept.unreleased.remove(&id);
                state.in_flight -= 1;
                true
            }
            None => false,
        };
        let place = if known { self.write_down(ledger, id, Progress::Released) } else { Place::START };
        self.reply_in(&mut state, Reply::PubComp { id, known }, place, ledger.durable())
    }

    /// No more publishes will come; [`Session::next_pending`] ends after those that have.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.arrived.notify_one();
    }
}
