//! What all connections share: who is connected, who subscribed to what, what is retained, and the
//! fan-out from one message to its subscribers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::net::TcpListener;
use tracing::debug;

use super::clients::{Absent, Clients, Ended, Found};
use super::counters::{BrokerCounters, Tally};
use super::error::Reason;
use super::ingest::Ingest;
use super::listener::{self, Door};
use super::mailbox::{Absence, Delivery, Mailbox, Put};
use super::options::BrokerOptions;
use super::packet::Will;
use super::retained::{Cursor, Kept, Page, Retained};
use super::subscriptions::{SessionNumber, Subscribed, Subscription, Subscriptions};
use super::{keeper, lock};
use crate::clock::{Clock, ProcessingTime, Timestamp};
use crate::message::{Message, QoS};
use crate::shutdown::Shutdown;

/// Messages on these topics are for one rule and nobody else (AWS IoT Core's Basic Ingest): no
/// subscriber receives them and none is retained.
const BASIC_INGEST: &str = "$aws/rules/";

/// The embedded broker; clones are the same broker.
#[derive(Debug, Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

impl Broker {
    /// A broker without connections. `times` is the daemon's one source of processing times.
    pub fn new(
        options: BrokerOptions,
        ingest: Arc<dyn Ingest>,
        clock: Arc<dyn Clock>,
        times: Arc<ProcessingTime>,
    ) -> Self {
        let retained = Retained::new(options.retained_messages_max, options.retained_bytes_max);
        let shared = Shared {
            ingest,
            clock,
            times,
            tally: Tally::default(),
            next_number: AtomicU64::new(0),
            absence: Arc::new(Absence::new(options.absent_bytes_max)),
            options,
            clients: Mutex::default(),
            subscriptions: RwLock::default(),
            retained: Mutex::new(retained),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Accepts connections until `shutdown` is requested; every connection is a task of `shutdown`.
    /// May run for several listeners at once.
    pub async fn serve(&self, listener: TcpListener, door: Door, shutdown: Shutdown) {
        listener::serve(&self.shared, &listener, &Arc::new(door), &shutdown).await;
    }

    /// Ends sessions whose time is over and publishes wills that are due, until `shutdown` is
    /// requested. Runs once, beside any number of listeners.
    pub async fn keep(&self, shutdown: Shutdown) {
        keeper::run(&self.shared, &shutdown).await;
    }

    /// Hands `message` to its subscribers and, if it asks for it, to the retained store. It does not
    /// pass [`Ingest`]: this is for messages that have been there.
    pub fn publish(&self, message: &Message) {
        self.shared.fan_out(&Arc::new(message.clone()));
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What has been counted so far.
    pub fn counters(&self) -> BrokerCounters {
        let retained = lock(&self.shared.retained).len();
        let subscriptions = self.shared.subscriptions().len();
        let absent = lock(&self.shared.clients).absent();
        self.shared.tally.snapshot(retained as u64, subscriptions as u64, absent as u64)
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
    next_number: AtomicU64,
    absence: Arc<Absence>,
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

    /// An empty mailbox for a session of `client_id`.
    pub(crate) fn mailbox(&self, client_id: Arc<str>, lasting: bool) -> Arc<Mailbox> {
        Arc::new(Mailbox::new(client_id, lasting, &self.options, Arc::clone(&self.absence)))
    }

    /// Lets a connection in, as [`Clients::enter`] says, with `mailbox` for a new session.
    pub(crate) fn enter(
        &self,
        mailbox: &Arc<Mailbox>,
        resume: bool,
        lasting: bool,
    ) -> (SessionNumber, Found) {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        (number, lock(&self.clients).enter(number, mailbox, resume, lasting))
    }

    /// A connection has ended and its session goes on as `absent`, unless another has replaced it: then
    /// it comes back, ended.
    pub(crate) fn put_down(&self, number: SessionNumber, client_id: &str, absent: Absent) -> Option<Absent> {
        lock(&self.clients).put_down(number, client_id, absent)
    }

    /// A connection has ended, and its session with it.
    pub(crate) fn leave(
        &self,
        number: SessionNumber,
        client_id: &str,
        filters: impl IntoIterator<Item = Subscribed>,
    ) {
        lock(&self.clients).remove(number, client_id);
        self.forget(number, filters);
    }

    /// Ends the sessions whose time is over; their wills are due.
    pub(crate) fn expire_sessions(&self) -> Vec<(Arc<str>, Will)> {
        let ended = lock(&self.clients).expire(self.now(), self.options.absent_sessions_max);
        ended.into_iter().filter_map(|ended| self.end(ended)).collect()
    }

    /// The wills of absent clients whose delay is over.
    pub(crate) fn due_wills(&self) -> Vec<(Arc<str>, Will)> {
        lock(&self.clients).due_wills(self.now())
    }

    /// Gives up what an ended session held; its will, if it has one, is due.
    pub(crate) fn end(&self, ended: Ended) -> Option<(Arc<str>, Will)> {
        let Ended { number, mailbox, absent } = ended;
        self.forget(number, absent.kept.into_filters());
        mailbox.give_up();
        absent.will.map(|(will, _)| (Arc::clone(&mailbox.client_id), will))
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

    /// Adds or replaces a subscription; says whether it is new.
    ///
    /// # Errors
    /// When the broker holds as many subscriptions as it may.
    pub(crate) fn subscribe(
        &self,
        filter: &Subscribed,
        number: SessionNumber,
        subscription: Subscription,
    ) -> Result<bool, Reason> {
        let mut subscriptions = self.subscriptions_mut();
        let new = !subscriptions.contains(filter, number);
        if new && subscriptions.len() >= self.options.subscriptions_total_max {
            return Err(Reason::QuotaExceeded);
        }
        subscriptions.insert(filter, number, subscription);
        Ok(new)
    }

    /// Removes a subscription; false when there was none.
    pub(crate) fn unsubscribe(&self, filter: &Subscribed, number: SessionNumber) -> bool {
        self.subscriptions_mut().remove(filter, number)
    }

    pub(crate) const fn retained(&self) -> &Mutex<Retained> {
        &self.retained
    }

    /// The next retained messages of `cursor`.
    pub(crate) fn retained_page(&self, cursor: &mut Cursor, count: usize) -> Page {
        lock(&self.retained).page(cursor, count)
    }

    /// Hands `message` to its subscribers and, if it asks for it, to the retained store.
    pub(crate) fn fan_out(&self, message: &Arc<Message>) {
        if message.topic.as_str().starts_with(BASIC_INGEST) {
            return;
        }
        if !message.retain {
            return self.deliver(message);
        }
        // Held across the delivery, so that of two messages on one topic the one that stays retained
        // is also the one every subscriber hears last.
        let mut retained = lock(&self.retained);
        if retained.set(message) == Kept::NoRoom {
            self.tally.retained_refused.add_one();
            debug!(topic = ?message.topic, "the retained store is full; the message is not kept");
        }
        self.deliver(message);
    }

    fn deliver(&self, message: &Arc<Message>) {
        let subscriptions = self.subscriptions();
        let mut matches = subscriptions.matching(&message.topic);
        if matches.filters > 1 {
            matches.found.sort_unstable_by_key(|(number, _)| *number);
        }
        for same in matches.found.chunk_by(|(left, _), (right, _)| left == right) {
            self.deliver_to(same, message);
        }
        // Each is a subscription of its own, even of a session that has others.
        for shared in &matches.shared {
            self.deliver_to(std::slice::from_ref(shared), message);
        }
    }

    /// One copy for one session, whichever of its filters match: at the highest QoS, with the
    /// identifiers of all of them.
    fn deliver_to(&self, same: &[(SessionNumber, &Subscription)], message: &Arc<Message>) {
        let publisher = message.origin.client_id.as_deref();
        let mut qos = None;
        let mut retain = false;
        let mut subscription_ids = Vec::new();
        for (_, subscription) in same {
            if subscription.no_local && publisher == Some(&*subscription.mailbox.client_id) {
                continue;
            }
            qos = qos.max(Some(subscription.qos));
            retain |= subscription.retain_as_published && message.retain;
            subscription_ids.extend(subscription.id);
        }
        let (Some(qos), Some((_, subscription))) = (qos, same.first()) else { return };
        let qos: QoS = qos.min(message.qos);
        let delivery = Delivery { message: Arc::clone(message), qos, retain, subscription_ids };
        match subscription.mailbox.put(delivery) {
            Put::Waiting => {}
            Put::Dropped => self.tally.messages_dropped.add_one(),
            Put::Overflowed => self.tally.slow_connections_closed.add_one(),
        }
    }

    fn subscriptions(&self) -> RwLockReadGuard<'_, Subscriptions> {
        self.subscriptions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscriptions_mut(&self) -> RwLockWriteGuard<'_, Subscriptions> {
        self.subscriptions.write().unwrap_or_else(PoisonError::into_inner)
    }
}
