//! What survives a restart: sessions with their subscriptions, their messages and their QoS 2 ids, and
//! retained messages.
//!
//! Promise: whatever the broker acknowledges it still knows after a crash, and nothing that was settled
//! comes back. So each of these waits for the disk:
//!
//! - PUBACK and PUBREC, for the message in every lasting session it is for, for its being retained, and,
//!   of QoS 2, for the sender's id;
//! - a PUBLISH to a lasting session, for the packet id it will have after a crash as well;
//! - PUBREL and PUBCOMP, for the step that they answer;
//! - CONNACK, SUBACK and UNSUBACK of a lasting session.
//!
//! PUBACK and PUBCOMP from a client are written down without waiting: at worst it is told once more.
//!
//! Every change is an entry of the journal (`entry`) and is applied to the books (`book`) under one lock,
//! so that the books are at any moment what the journal says. Old entries go once everything that is
//! alive has been written again behind them.

mod book;
mod entry;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::{debug, error};

pub(crate) use book::{Book, Books, Outgoing};
pub(crate) use entry::{Presence, Progress, Receiver, Retain};
pub use wire::EntryFault;

use entry::Entry;

use super::ingest::IngestError;
use super::journal::{ENTRY_BYTES_MAX, Journal, Place};
use super::lock;
use super::mailbox::{Delivery, Mailbox, Put, weight};
use super::retained::{Retained, Wish};
use super::subscriptions::{SessionNumber, Subscribed, Terms};
use crate::message::{Message, QoS};
use crate::topic::TopicName;

/// Receivers named in one entry.
const RECEIVERS_PER_ENTRY: usize = 10_000;

/// Old entries go once this many bytes of new ones have come, or twice what is alive.
const REWRITE_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// Retained messages written again under one hold of their lock.
const RETAINED_PER_STEP: usize = 256;

/// What a journal holds, read entry by entry before the broker starts.
#[derive(Debug, Default)]
pub struct Recollection {
    pub(crate) books: Books,
    pub(crate) retained: std::collections::BTreeMap<TopicName, Arc<Message>>,
    bytes: u64,
}

impl Recollection {
    /// Adds the next entry.
    ///
    /// # Errors
    /// When it is none.
    pub fn replay(&mut self, entry: &[u8]) -> Result<(), EntryFault> {
        self.bytes += entry.len() as u64;
        let entry = Entry::decode(entry)?;
        if let Entry::Publish { message, retain, .. } = &entry {
            match retain {
                Retain::No | Retain::Wished => {}
                Retain::Keep => drop(self.retained.insert(message.topic.clone(), Arc::clone(message))),
                Retain::Forget => drop(self.retained.remove(&message.topic)),
            }
        }
        self.books.apply(entry);
        Ok(())
    }
}

/// A message for one lasting session.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) delivery: Delivery,
}

/// The journal and what it says.
#[derive(Debug)]
pub(crate) struct Ledger {
    journal: Arc<dyn Journal>,
    books: Mutex<Books>,
    /// Bytes appended since everything alive was last written again, and how many that took.
    appended: AtomicU64,
    alive: AtomicU64,
}

impl Ledger {
    /// Goes on behind what was read from `journal`.
    pub(crate) fn new(journal: Arc<dyn Journal>, books: Books, bytes: u64) -> Self {
        let (appended, alive) = (AtomicU64::new(bytes), AtomicU64::new(0));
        Self { journal, books: Mutex::new(books), appended, alive }
    }

    /// The sessions as they are, for a broker that starts.
    pub(crate) fn books(&self) -> Vec<(SessionNumber, Book)> {
        let books = lock(&self.books);
        let sessions = books.numbers().into_iter();
        sessions.filter_map(|number| Some((number, books.get(number)?.clone()))).collect()
    }

    /// Everything up to here is on disk.
    pub(crate) fn durable(&self) -> Place {
        self.journal.durable()
    }

    /// Returns once everything up to `place` is on disk.
    ///
    /// # Errors
    /// When it never will be.
    pub(crate) async fn synced(&self, place: Place) -> Result<(), IngestError> {
        if place <= self.durable() {
            return Ok(());
        }
        if place == Place::NEVER {
            return Err(IngestError::Unavailable("the MQTT journal takes no entries".to_owned()));
        }
        self.journal.synced(place).await
    }

    /// Waits while the journal has more to write than it should.
    pub(crate) async fn room(&self) {
        self.journal.room().await;
    }

    fn append(&self, entry: &Entry) -> Place {
        let bytes = entry.encode();
        self.appended.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if bytes.len() > ENTRY_BYTES_MAX {
            error!(bytes = bytes.len(), "an entry is larger than the MQTT journal takes");
            return Place::NEVER;
        }
        self.journal.append(&bytes).unwrap_or(Place::NEVER)
    }

    fn record(&self, books: &mut Books, entry: Entry) -> Place {
        let place = self.append(&entry);
        books.apply(entry);
        place
    }

    fn change(&self, session: SessionNumber, entry: impl FnOnce() -> Entry) -> Place {
        let mut books = lock(&self.books);
        if books.get(session).is_none() {
            return Place::START;
        }
        self.record(&mut books, entry())
    }

    /// A lasting session begins; an earlier one of the client ends.
    pub(crate) fn open(&self, session: SessionNumber, client_id: Arc<str>, presence: Presence) -> Place {
        self.record(&mut lock(&self.books), Entry::Open { session, client_id, presence })
    }

    /// The session ends.
    pub(crate) fn close(&self, session: SessionNumber) -> Place {
        self.change(session, || Entry::Close { session })
    }

    /// The session of a client ends, if it has one.
    pub(crate) fn close_client(&self, client_id: &str) -> Place {
        let mut books = lock(&self.books);
        match books.of_client(client_id) {
            Some(session) => self.record(&mut books, Entry::Close { session }),
            None => Place::START,
        }
    }

    /// The session's client has come, or gone.
    pub(crate) fn presence(&self, session: SessionNumber, presence: Presence) -> Place {
        self.change(session, || Entry::Presence { session, presence })
    }

    pub(crate) fn subscribe(&self, session: SessionNumber, filter: &Subscribed, terms: &Terms) -> Place {
        let (filter, terms) = (filter.clone(), terms.clone());
        self.change(session, || Entry::Subscribe { session, filter, terms })
    }

    pub(crate) fn unsubscribe(&self, session: SessionNumber, filter: &Subscribed) -> Place {
        self.change(session, || Entry::Unsubscribe { session, filter: filter.clone() })
    }

    /// A subscription is to be sent what is retained for it.
    pub(crate) fn wish(&self, session: SessionNumber, wish: Wish) -> Place {
        self.change(session, || Entry::Wish { session, wish, rewritten: false })
    }

    /// The session's first wish has been fulfilled.
    pub(crate) fn fulfilled(&self, session: SessionNumber) {
        self.change(session, || Entry::Fulfilled { session });
    }

    /// What became of message `id` of the session.
    pub(crate) fn progress(&self, session: SessionNumber, id: u16, what: Progress) -> Place {
        self.change(session, || Entry::Progress { session, id, what })
    }

    /// Writes down a message and puts it into the mailboxes of the lasting sessions it is for, each with
    /// the packet id it will have. `dropped` is told what became of those that find no room.
    pub(crate) fn publish(
        &self,
        message: &Arc<Message>,
        retain: Retain,
        sender: Option<(SessionNumber, u16)>,
        targets: Vec<Target>,
        mut dropped: impl FnMut(Put),
    ) -> Place {
        if retain == Retain::No && sender.is_none() && targets.is_empty() {
            return Place::START;
        }
        let weight = weight(message);
        let mut books = lock(&self.books);
        let mut entries = Vec::new();
        let mut ready: Vec<Target> = Vec::new();
        let mut to = Vec::new();
        for mut target in targets {
            let session = target.mailbox.number;
            // Nobody else puts messages of QoS 1 and 2 into this box, so what has room now still has it below.
            let promised = weight * ready.len();
            let admitted = target.mailbox.admit(weight, target.delivery.qos, promised);
            if admitted != Put::Waiting {
                dropped(admitted);
                continue;
            }
            let Some(id) = books.free_id(session) else {
                dropped(Put::Dropped);
                continue;
            };
            target.delivery.id = id;
            let Delivery { qos, retain, subscription_ids, .. } = &target.delivery;
            let (qos, retain, subscription_ids) = (*qos, *retain, subscription_ids.clone());
            to.push(Receiver { session, id, qos, retain, subscription_ids });
            ready.push(target);
            if to.len() == RECEIVERS_PER_ENTRY {
                let to = std::mem::take(&mut to);
                entries.push(Entry::Publish {
                    message: Arc::clone(message),
                    retain: Retain::No,
                    sender: None,
                    to,
                });
            }
        }
        // Last, so that the sender's id is on disk only with all of them.
        entries.push(Entry::Publish { message: Arc::clone(message), retain, sender, to });
        let mut place = Place::START;
        for entry in entries {
            place = self.record(&mut books, entry);
        }
        for Target { mailbox, mut delivery } in ready {
            delivery.place = place;
            mailbox.push(delivery);
        }
        place
    }

    /// Writes down retained messages that the first wish of a lasting session brings: each gets its packet id
    /// and place. Those that find none are left out.
    pub(crate) fn deliver(&self, session: SessionNumber, deliveries: Vec<Delivery>) -> Vec<Delivery> {
        let mut books = lock(&self.books);
        let mut numbered = Vec::new();
        for mut delivery in deliveries {
            if delivery.qos != QoS::AtMostOnce {
                let Some(id) = books.free_id(session) else { continue };
                let Delivery { qos, retain, subscription_ids, .. } = &delivery;
                let (qos, retain, subscription_ids) = (*qos, *retain, subscription_ids.clone());
                let to = vec![Receiver { session, id, qos, retain, subscription_ids }];
                let (message, retain) = (Arc::clone(&delivery.message), Retain::Wished);
                delivery.id = id;
                delivery.place =
                    self.record(&mut books, Entry::Publish { message, retain, sender: None, to });
            }
            numbered.push(delivery);
        }
        numbered
    }

    /// Whether old entries take more room than they should.
    pub(crate) fn is_due(&self) -> bool {
        let alive = self.alive.load(Ordering::Relaxed);
        self.appended.load(Ordering::Relaxed) > REWRITE_BYTES_MIN.max(2 * alive)
    }

    /// Writes everything that is alive again and forgets what came before.
    ///
    /// # Errors
    /// When the journal fails.
    pub(crate) async fn rewrite(&self, retained: &Mutex<Retained>) -> Result<(), IngestError> {
        let keep = self.journal.next();
        let before = self.appended.swap(0, Ordering::Relaxed);
        let mut last = Place::START;
        let numbers = lock(&self.books).numbers();
        for session in numbers {
            {
                // Held over all of them: no change of the session may stand between.
                let books = lock(&self.books);
                for entry in books.rewritten(session) {
                    last = self.append(&entry);
                }
            }
            self.room().await;
        }
        let mut after: Option<TopicName> = None;
        loop {
            {
                let retained = lock(retained);
                let step: Vec<_> = retained.after(after.as_ref()).take(RETAINED_PER_STEP).cloned().collect();
                let Some(end) = step.last() else { break };
                after = Some(end.topic.clone());
                for message in step.into_iter().filter(|message| !is_ephemeral(&message.topic)) {
                    let to = Vec::new();
                    last = self.append(&Entry::Publish { message, retain: Retain::Keep, sender: None, to });
                }
            }
            self.room().await;
        }
        self.alive.store(self.appended.load(Ordering::Relaxed), Ordering::Relaxed);
        self.synced(last).await?;
        let journal = Arc::clone(&self.journal);
        let retired = tokio::task::spawn_blocking(move || journal.retire(keep)).await;
        match retired {
            Ok(Ok(())) => {
                debug!(before, after = self.alive.load(Ordering::Relaxed), "the MQTT journal was rewritten")
            }
            Ok(Err(reason)) => error!(reason, "old entries of the MQTT journal cannot be removed"),
            Err(failure) => error!(%failure, "old entries of the MQTT journal cannot be removed"),
        }
        Ok(())
    }
}

/// Whether messages on `topic` are news of this run and nothing for the disk.
pub(crate) fn is_ephemeral(topic: &TopicName) -> bool {
    topic.as_str().starts_with(super::sys::PREFIX)
}

impl Recollection {
    /// How many bytes were read.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}
