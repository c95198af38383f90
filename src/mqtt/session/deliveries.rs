//! Messages to the client: packet ids given, acknowledgements taken, what is to be said again.

use super::Session;
use crate::message::QoS;
use crate::mqtt::error::Violation;
use crate::mqtt::journal::Place;
use crate::mqtt::ledger::{Ledger, Progress};
use crate::mqtt::lock;
use crate::mqtt::mailbox::Delivery;
use crate::mqtt::packet::{Packet, Reply};
use crate::mqtt::window::{Again, Outcome};

impl Session {
    /// Whether a message of `qos` may be sent now.
    pub(crate) fn may_send(&self, qos: QoS) -> bool {
        qos == QoS::AtMostOnce || lock(&self.state).kept.window.has_place()
    }

    /// A packet id for a delivery that may be sent now; zero for QoS 0.
    pub(crate) fn sending(&self, delivery: &Delivery) -> u16 {
        if delivery.qos == QoS::AtMostOnce {
            return 0;
        }
        let kept = self.mailbox.lasting.then(|| delivery.clone());
        let window = &mut lock(&self.state).kept.window;
        let id = window.open(delivery.qos, kept);
        self.mailbox.note_in_flight(window.ids().len());
        id
    }

    /// What an earlier connection of the session left unacknowledged and is to be said again now.
    pub(crate) fn say_again(&self) -> Option<Again> {
        lock(&self.state).kept.window.say_again()
    }

    /// The message with this id was not sent after all.
    pub(crate) fn not_sent(&self, id: u16, ledger: &Ledger) {
        lock(&self.state).kept.window.abandon(id);
        if id != 0 {
            self.write_down(ledger, id, Progress::Done);
        }
    }

    /// Takes PUBACK, PUBREC and PUBCOMP.
    ///
    /// # Errors
    /// When the client takes no packets of the size of a PUBREL.
    pub(crate) fn acknowledged(&self, packet: &Packet, ledger: &Ledger) -> Result<(), Violation> {
        let mut state = lock(&self.state);
        match state.kept.window.acknowledged(packet) {
            Outcome::Ignored => Ok(()),
            Outcome::Release { id, known } => {
                let place =
                    if known { self.write_down(ledger, id, Progress::Received) } else { Place::START };
                self.reply_in(&mut state, Reply::PubRel { id, known }, place, ledger.durable())
            }
            Outcome::Freed(id) => {
                self.write_down(ledger, id, Progress::Done);
                self.mailbox.note_in_flight(state.kept.window.ids().len());
                drop(state);
                self.mailbox.mail.notify_one();
                Ok(())
            }
        }
    }
}
