//! What all connections share: who is connected, who subscribed to what, what is retained, and the
//! fan-out from one message to its subscribers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::net::TcpListener;

use super::clients::{Absent, Arrival, Clients, Due, Ended, Found};
use super::counters::{BrokerCounters, Levels, Tally};
use super::error::Reason;
use super::ingest::Ingest;
use super::journal::{Journal, Place};
use super::ledger::{Ledger, Presence, Recollection};
use super::lines::Lines;
use super::listener::{self, Door};
use super::mailbox::{Backlog, Mailbox};
use super::options::BrokerOptions;
use super::outbound::expiry_left;
use super::packet::Will;
use super::restore;
use super::retained::{Cursor, Page, Retained};
use super::seats::Seats;
use super::subscriptions::{SessionNumber, Subscribed, Subscription, Subscriptions};
use super::{keeper, lock};
use crate::clock::{Clock, ProcessingTime, Timestamp};
use crate::message::Message;
use crate::shutdown::Shutdown;

/// What a broker works with.
#[derive(Debug, Clone)]
pub struct BrokerParts {
    /// Where messages go before they are acknowledged.
    pub ingest: Arc<dyn Ingest>,
    /// Where what survives a restart is written down.
    pub journal: Arc<dyn Journal>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The daemon's one source of processing times.
    pub times: Arc<ProcessingTime>,
}

/// The embedded broker; clones are the same broker.
#[derive(Debug, Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

impl Broker {
    /// A broker without connections, which goes on with what `recollection` has read from the journal.
    pub fn new(options: BrokerOptions, parts: BrokerParts, recollection: Recollection) -> Self {
        let BrokerParts { ingest, journal, clock, times } = parts;
        let bytes = recollection.bytes();
        let Recollection { mut books, retained, .. } = recollection;
        books.settle(options.outbound_inflight_max.into());
        let next_number = AtomicU64::new(books.next_number());
        let mut kept = Retained::new(options.retained_messages_max, options.retained_bytes_max);
        // What has expired is in the journal still, and would take the place of what has not.
        let now = clock.now();
        for message in retained.into_values().filter(|message| expiry_left(message, || now).is_ok()) {
            kept.set(&message);
        }
        let shared = Shared {
            ingest,
            ledger: Ledger::new(journal, books, bytes),
            clock,
            times,
            tally: Tally::default(),
            next_number,
            backlog: Arc::new(Backlog::new(options.queued_bytes_max, options.absent_bytes_max)),
            seats: Seats::default(),
            lines: Lines::default(),
            options,
            clients: Mutex::default(),
            subscriptions: RwLock::default(),
            retained: Mutex::new(kept),
        };
        shared.restore();
        Self { shared: Arc::new(shared) }
    }

    /// Accepts connections until `shutdown` is requested; every connection is a task of `shutdown`.
    /// May run for several listeners at once.
    pub async fn serve(&self, listener: TcpListener, door: Door, shutdown: Shutdown) {
        listener::serve(&self.shared, &listener, &Arc::new(door), &shutdown).await;
    }

    /// Ends sessions whose time is over, publishes wills that are due and the broker's own numbers, and keeps
    /// the journal short, until `shutdown` is requested. Runs once, beside any number of listeners.
    pub async fn keep(&self, shutdown: Shutdown) {
        keeper::run(self, &shutdown).await;
    }

    /// Hands `message` to its subscribers and, if it asks for it, to the retained store. It does not
    /// pass [`Ingest`]: this is for messages that have been there.
    pub fn publish(&self, message: &Message) {
        self.shared.fan_out(&Arc::new(message.clone()), None);
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What has been counted so far.
    pub fn counters(&self) -> BrokerCounters {
        let retained = lock(&self.shared.retained).len();
        let subscriptions = self.shared.subscriptions().len();
        let absent = lock(&self.shared.clients).absent();
        let levels = Levels {
            retained_messages: retained as u64,
            subscriptions: subscriptions as u64,
            absent_sessions: absent as u64,
            queued_bytes: self.shared.backlog.bytes() as u64,
        };
        self.shared.tally.snapshot(levels)
    }
}

/// The insides of a broker.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: BrokerOptions,
    pub(crate) ingest: Arc<dyn Ingest>,
    clock: Arc<dyn Clock>,
    times: Arc<ProcessingTime>,
    pub(crate) tally: Tally,
    pub(crate) ledger: Ledger,
    next_number: AtomicU64,
    backlog: Arc<Backlog>,
    pub(crate) seats: Seats,
    pub(crate) lines: Lines,
    clients: Mutex<Clients>,
    subscriptions: RwLock<Subscriptions>,
    retained: Mutex<Retained>,
}

impl Shared {
    /// The present moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The processing time of a message that arrives now.
    pub(crate) fn processing_time(&self) -> Timestamp {
        self.times.next(&*self.clock)
    }

    /// An empty mailbox for a new session of `client_id`.
    pub(crate) fn mailbox(&self, client_id: Arc<str>, lasting: bool) -> Arc<Mailbox> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.numbered_mailbox(number, client_id, lasting)
    }

    fn numbered_mailbox(&self, number: SessionNumber, client_id: Arc<str>, lasting: bool) -> Arc<Mailbox> {
        let backlog = Arc::clone(&self.backlog);
        Arc::new(Mailbox::new(number, client_id, lasting, &self.options, backlog))
    }

    /// Puts back the sessions of an earlier run.
    fn restore(&self) {
        let now = self.now();
        for (number, book) in self.ledger.books() {
            let mailbox = self.numbered_mailbox(number, Arc::clone(&book.client_id), true);
            restore::session(self, &mailbox, &book, now);
        }
    }

    /// Puts back a session whose client is away.
    pub(crate) fn restore_client(&self, mailbox: Arc<Mailbox>, absent: Absent) {
        lock(&self.clients).restore(mailbox, absent);
    }

    /// Puts back a subscription.
    pub(crate) fn restore_subscription(
        &self,
        filter: &Subscribed,
        number: SessionNumber,
        subscription: Subscription,
    ) {
        self.subscriptions_mut().insert(filter, number, subscription);
    }

    /// Lets a connection in, as [`Clients::enter`] says, with `mailbox` for a new session. What it finds
    /// is certain once everything up to the place is on disk.
    pub(crate) fn enter(
        &self,
        mailbox: &Arc<Mailbox>,
        arrival: &Arrival,
        presence: Presence,
    ) -> (Found, Place) {
        let mut clients = lock(&self.clients);
        let found = clients.enter(mailbox, arrival);
        let place = match &found {
            Found::Session(earlier, _) => self.ledger.presence(earlier.number, presence),
            Found::Nothing(_) if arrival.lasting => {
                self.ledger.open(mailbox.number, Arc::clone(&mailbox.client_id), presence)
            }
            Found::Nothing(_) => self.ledger.close_client(&mailbox.client_id),
            Found::Occupied(..) | Found::Overtaken => Place::START,
        };
        (found, place)
    }

    /// A connection has ended and its session goes on as `absent`, unless another has replaced it: then
    /// it comes back, ended.
    pub(crate) fn put_down(&self, number: SessionNumber, client_id: &str, absent: Absent) -> Option<Absent> {
        let presence = Presence {
            expiry_seconds: 0,
            until: Some(absent.until),
            will: absent.will.as_ref().map(|(will, due)| (Arc::clone(will), Some(*due))),
            in_flight: absent.kept.in_flight(),
        };
        let mut clients = lock(&self.clients);
        let back = clients.put_down(number, client_id, absent);
        if back.is_none() {
            self.ledger.presence(number, presence);
        }
        back
    }

    /// A connection has ended, and its session with it.
    pub(crate) fn leave(
        &self,
        number: SessionNumber,
        client_id: &str,
        filters: impl IntoIterator<Item = Subscribed>,
    ) {
        lock(&self.clients).remove(number, client_id);
        self.ledger.close(number);
        self.forget(number, filters);
    }

    /// Ends the sessions whose time is over; their wills are due.
    pub(crate) fn expire_sessions(&self) -> Vec<Arc<Will>> {
        let ended = lock(&self.clients).expire(self.now(), self.options.absent_sessions_max);
        ended.into_iter().filter_map(|ended| self.end(ended)).collect()
    }

    /// The wills of absent clients whose delay is over.
    pub(crate) fn due_wills(&self) -> Vec<Arc<Will>> {
        let mut clients = lock(&self.clients);
        let due = clients.due_wills(self.now());
        for Due { number, until, .. } in &due {
            self.ledger.presence(*number, Presence { until: Some(*until), ..Presence::default() });
        }
        due.into_iter().map(|due| due.will).collect()
    }

    /// Gives up what an ended session held; its will, if it has one, is due.
    pub(crate) fn end(&self, ended: Ended) -> Option<Arc<Will>> {
        let Ended { number, mailbox, absent } = ended;
        self.ledger.close(number);
        self.forget(number, absent.kept.into_filters());
        mailbox.give_up();
        absent.will.map(|(will, _)| will)
    }

    /// The table of clients.
    pub(crate) const fn clients(&self) -> &Mutex<Clients> {
        &self.clients
    }

    fn forget(&self, number: SessionNumber, filters: impl IntoIterator<Item = Subscribed>) {
        let mut filters = filters.into_iter().peekable();
        if filters.peek().is_some() {
            let mut subscriptions = self.subscriptions_mut();
            for filter in filters {
                subscriptions.remove(&filter, number);
            }
        }
    }

    /// Adds or replaces a subscription; says whether it is new, and what has to be on disk before it is
    /// certain.
    ///
    /// # Errors
    /// When the broker holds as many subscriptions as it may.
    pub(crate) fn subscribe(
        &self,
        filter: &Subscribed,
        number: SessionNumber,
        subscription: Subscription,
    ) -> Result<(bool, Place), Reason> {
        let mut subscriptions = self.subscriptions_mut();
        let new = !subscriptions.contains(filter, number);
        if new && subscriptions.len() >= self.options.subscriptions_total_max {
            return Err(Reason::QuotaExceeded);
        }
        let place = if subscription.mailbox.lasting {
            self.ledger.subscribe(number, filter, &subscription.terms)
        } else {
            Place::START
        };
        subscriptions.insert(filter, number, subscription);
        Ok((new, place))
    }

    /// Removes a subscription; nothing when there was none, else what has to be on disk before it is
    /// certain to be gone.
    pub(crate) fn unsubscribe(&self, filter: &Subscribed, mailbox: &Mailbox) -> Option<Place> {
        let mut subscriptions = self.subscriptions_mut();
        let removed = subscriptions.remove(filter, mailbox.number);
        removed.then(|| {
            if mailbox.lasting { self.ledger.unsubscribe(mailbox.number, filter) } else { Place::START }
        })
    }

    pub(crate) const fn retained(&self) -> &Mutex<Retained> {
        &self.retained
    }

    /// The next retained messages of `cursor`.
    pub(crate) fn retained_page(&self, cursor: &mut Cursor, count: usize) -> Page {
        lock(&self.retained).page(cursor, count)
    }

    pub(crate) fn subscriptions(&self) -> RwLockReadGuard<'_, Subscriptions> {
        self.subscriptions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscriptions_mut(&self) -> RwLockWriteGuard<'_, Subscriptions> {
        self.subscriptions.write().unwrap_or_else(PoisonError::into_inner)
    }
}
