//! What the journal says so far: the sessions, and what each of them still waits for. The same changes
//! are applied while the broker runs and when it starts again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::entry::{BaseRest, Entry, Presence, Progress, Receiver, Retain, Unfinished};
use crate::message::Message;
use crate::mqtt::kept::add_wish;
use crate::mqtt::retained::{Cursor, Wish};
use crate::mqtt::subscriptions::{SessionNumber, Subscribed, Terms};
use crate::topic::TopicName;

/// Messages to a client that one session may have, in its queue and in flight together: a packet id for
/// each.
const MESSAGES_MAX: usize = 65_000;

/// Messages in one entry of a rewritten session.
const PER_ENTRY: usize = 64;

/// Bytes of the messages in one entry of a rewritten session, roughly; one message may be larger.
const BYTES_PER_ENTRY: usize = 1024 * 1024;

/// A message on its way to a client.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// Its place among the session's messages.
    pub(crate) order: u64,
    /// Absent once PUBREC has come.
    pub(crate) message: Option<Arc<Message>>,
    /// Whether it has been sent, as far as the journal knows.
    pub(crate) sent: bool,
    pub(crate) receiver: Receiver,
}

/// One session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    pub(crate) client_id: Arc<str>,
    pub(crate) presence: Presence,
    pub(crate) filters: HashMap<Subscribed, Terms>,
    /// Ids of QoS 2 that the client has not released.
    pub(crate) unreleased: BTreeSet<u16>,
    pub(crate) outgoing: HashMap<u16, Outgoing>,
    /// Subscriptions that have not been sent all that is retained for them, the first as far as its cursor.
    pub(crate) wishes: VecDeque<Wish>,
    last_id: u16,
    next_order: u64,
}

impl Book {
    /// A packet id that no message of the session has, and the next call does not give.
    fn free_id(&mut self) -> Option<u16> {
        if self.outgoing.len() >= MESSAGES_MAX {
            return None;
        }
        let mut id = self.last_id;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !self.outgoing.contains_key(&id) {
                self.last_id = id;
                return Some(id);
            }
        }
    }

    fn add(&mut self, message: Option<Arc<Message>>, sent: bool, receiver: Receiver) {
        self.last_id = receiver.id;
        let order = self.next_order;
        self.next_order += 1;
        self.outgoing.insert(receiver.id, Outgoing { order, message, sent, receiver });
    }

    /// The first wish has been fulfilled up to `topic`.
    fn has_come_to(&mut self, topic: &TopicName) {
        if let Some(wish) = self.wishes.front_mut() {
            wish.cursor = Cursor::new(wish.cursor.filter().clone(), Some(topic.clone()));
        }
    }

    /// The messages to the client in their order.
    pub(crate) fn in_order(&self) -> Vec<&Outgoing> {
        let mut all: Vec<_> = self.outgoing.values().collect();
        all.sort_unstable_by_key(|outgoing| outgoing.order);
        all
    }

    fn is_present(&self) -> bool {
        self.presence.until.is_none()
    }

    /// The session as entries of its own.
    fn rewritten(&self, session: SessionNumber) -> Vec<Entry> {
        let rest = BaseRest {
            filters: self.filters.iter().map(|(filter, terms)| (filter.clone(), terms.clone())).collect(),
            unreleased: self.unreleased.iter().copied().collect(),
            last_id: self.last_id,
        };
        let (client_id, presence) = (Arc::clone(&self.client_id), self.presence.clone());
        let mut entries = vec![Entry::Base { session, client_id, presence, rest }];
        let (mut messages, mut bytes) = (Vec::new(), 0);
        for outgoing in self.in_order() {
            let Outgoing { message, sent, receiver, .. } = outgoing.clone();
            let weight = message.as_deref().map_or(0, crate::mqtt::mailbox::weight);
            if !messages.is_empty() && (messages.len() >= PER_ENTRY || bytes + weight > BYTES_PER_ENTRY) {
                entries.push(Entry::Waiting { session, messages: std::mem::take(&mut messages) });
                bytes = 0;
            }
            bytes += weight;
            messages.push(Unfinished { message, sent, receiver });
        }
        if !messages.is_empty() {
            entries.push(Entry::Waiting { session, messages });
        }
        let wish = |wish: &Wish| Entry::Wish { session, wish: wish.clone(), rewritten: true };
        entries.extend(self.wishes.iter().map(wish));
        entries.push(Entry::Settled { session });
        entries
    }
}

/// The sessions that survive a restart.
#[derive(Debug, Default)]
pub(crate) struct Books {
    by_number: HashMap<SessionNumber, Book>,
    by_client: HashMap<Arc<str>, SessionNumber>,
    /// Sessions whose rewriting has been read in part.
    unsettled: HashMap<SessionNumber, Book>,
    /// Higher than every session's number so far.
    next_number: SessionNumber,
}

impl Books {
    /// The session `session`.
    pub(crate) fn get(&self, session: SessionNumber) -> Option<&Book> {
        self.by_number.get(&session)
    }

    /// The session of a client.
    pub(crate) fn of_client(&self, client_id: &str) -> Option<SessionNumber> {
        self.by_client.get(client_id).copied()
    }

    /// All sessions' numbers.
    pub(crate) fn numbers(&self) -> Vec<SessionNumber> {
        self.by_number.keys().copied().collect()
    }

    /// A number no session has had.
    pub(crate) fn next_number(&self) -> SessionNumber {
        self.next_number
    }

    /// A packet id for the next message to the client of `session`; none when there is no such session
    /// or it has as many messages as there may be.
    pub(crate) fn free_id(&mut self, session: SessionNumber) -> Option<u16> {
        self.by_number.get_mut(&session)?.free_id()
    }

    /// The session as entries of its own; nothing when there is none.
    pub(crate) fn rewritten(&self, session: SessionNumber) -> Vec<Entry> {
        self.by_number.get(&session).map(|book| book.rewritten(session)).unwrap_or_default()
    }

    /// Makes the change. What concerns a session that is not there is for one that has ended.
    pub(crate) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Open { session, client_id, presence } => {
                self.put(session, Book { client_id, presence, ..Book::default() });
            }
            Entry::Close { session } => self.remove(session),
            Entry::Presence { session, presence } => {
                let Some(book) = self.by_number.get_mut(&session) else { return };
                for id in &presence.in_flight {
                    book.outgoing.entry(*id).and_modify(|outgoing| outgoing.sent = true);
                }
                book.presence = presence;
            }
            Entry::Subscribe { session, filter, terms } => {
                if let Some(book) = self.by_number.get_mut(&session) {
                    book.filters.insert(filter, terms);
                }
            }
            Entry::Unsubscribe { session, filter } => {
                if let Some(book) = self.by_number.get_mut(&session) {
                    book.filters.remove(&filter);
                    if filter.group.is_none() {
                        book.wishes.retain(|wish| wish.cursor.filter() != &filter.filter);
                    }
                }
            }
            Entry::Publish { message, retain, sender, to } => {
                if let Some((session, id)) = sender
                    && let Some(book) = self.by_number.get_mut(&session)
                {
                    book.unreleased.insert(id);
                }
                for receiver in to {
                    if let Some(book) = self.by_number.get_mut(&receiver.session) {
                        if retain == Retain::Wished {
                            book.has_come_to(&message.topic);
                        }
                        book.add(Some(Arc::clone(&message)), false, receiver);
                    }
                }
            }
            Entry::Progress { session, id, what } => self.progress(session, id, what),
            Entry::Base { session, client_id, presence, rest } => {
                let BaseRest { filters, unreleased, last_id } = rest;
                let (filters, unreleased) = (filters.into_iter().collect(), unreleased.into_iter().collect());
                let book = Book { client_id, presence, filters, unreleased, last_id, ..Book::default() };
                self.next_number = self.next_number.max(session + 1);
                self.unsettled.insert(session, book);
            }
            Entry::Waiting { session, messages } => {
                let Some(book) = self.unsettled.get_mut(&session) else { return };
                let last_id = book.last_id;
                messages.into_iter().for_each(|kept| book.add(kept.message, kept.sent, kept.receiver));
                book.last_id = last_id;
            }
            Entry::Wish { session, wish, rewritten } => {
                let books = if rewritten { &mut self.unsettled } else { &mut self.by_number };
                if let Some(book) = books.get_mut(&session) {
                    add_wish(&mut book.wishes, wish);
                }
            }
            Entry::Fulfilled { session } => {
                if let Some(book) = self.by_number.get_mut(&session) {
                    book.wishes.pop_front();
                }
            }
            Entry::Settled { session } => {
                if let Some(book) = self.unsettled.remove(&session) {
                    self.put(session, book);
                }
            }
        }
    }

    fn progress(&mut self, session: SessionNumber, id: u16, what: Progress) {
        let Some(book) = self.by_number.get_mut(&session) else { return };
        match what {
            Progress::Done => drop(book.outgoing.remove(&id)),
            Progress::Received => {
                book.outgoing.entry(id).and_modify(|outgoing| outgoing.message = None);
            }
            Progress::Released => drop(book.unreleased.remove(&id)),
        }
    }

    fn put(&mut self, session: SessionNumber, book: Book) {
        if let Some(earlier) = self.by_client.insert(Arc::clone(&book.client_id), session)
            && earlier != session
        {
            self.by_number.remove(&earlier);
        }
        self.next_number = self.next_number.max(session + 1);
        self.by_number.insert(session, book);
    }

    fn remove(&mut self, session: SessionNumber) {
        self.unsettled.remove(&session);
        if let Some(book) = self.by_number.remove(&session)
            && self.by_client.get(&book.client_id) == Some(&session)
        {
            self.by_client.remove(&book.client_id);
        }
    }

    /// Ends the reading. Of a client that was here when the journal ends, as many messages as could be in
    /// flight count as sent.
    pub(crate) fn settle(&mut self, in_flight_max: usize) {
        self.unsettled.clear();
        for book in self.by_number.values_mut().filter(|book| book.is_present()) {
            let first: Vec<u16> =
                book.in_order().iter().take(in_flight_max).map(|one| one.receiver.id).collect();
            for id in first {
                book.outgoing.entry(id).and_modify(|outgoing| outgoing.sent = true);
            }
        }
    }
}
