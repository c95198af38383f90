//! What the loops of one connection share: publishes on their way in and not yet acknowledged,
//! messages on their way out and not yet acknowledged, and replies not yet written.
//!
//! All loops run in one task, so the lock is never fought for; it exists because the task may move
//! between threads. It is not held across an await.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::codec::Codec;
use super::error::{Reason, Violation};
use super::ingest::Receipt;
use super::journal::Place;
use super::ledger::{Ledger, Progress};
use super::lock;
use super::mailbox::{Delivery, Mailbox, weight};
use super::options::BrokerOptions;
use super::packet::{Connect, Packet, Reply, Version};
use super::replies::Replies;
use super::retained::Cursor;
use super::subscriptions::{SessionNumber, Subscribed};
use super::window::{Again, Outcome, Window};
use crate::message::{Message, QoS};

/// Unwritten replies past which the client is read no further.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// A publish of QoS 1 or 2 that has been handed over and is not yet durable.
pub(crate) struct Pending {
    pub(crate) id: u16,
    pub(crate) message: Arc<Message>,
    /// Absent when the client may not publish it: it is refused in its turn.
    pub(crate) receipt: Option<Receipt>,
}

/// A subscription's wish for the retained messages of its filter.
#[derive(Debug)]
pub(crate) struct RetainedWish {
    pub(crate) cursor: Cursor,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) subscription_id: Option<u32>,
}

/// What an inbound publish of QoS 1 or 2 is to this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    New,
    /// QoS 2, seen before and not released: already on its way, or acknowledged again.
    Repeated,
}

struct State {
    replies: Replies,
    pending: VecDeque<Pending>,
    /// Handed over and not yet acknowledged, whether still in `pending` or being awaited.
    pending_count: usize,
    pending_bytes: usize,
    /// Inbound publishes that count against the receive maximum: to PUBACK or PUBCOMP.
    in_flight: usize,
    kept: Kept,
    wishes: VecDeque<RetainedWish>,
    closed: bool,
}

/// What a session is made of beside its mailbox, and what the next connection goes on with.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Inbound QoS 2 ids not yet released; true once PUBREC is on its way. At most 65,535.
    unreleased: HashMap<u16, bool>,
    window: Window,
    filters: HashSet<Subscribed>,
}

impl Kept {
    /// A new session's.
    pub(crate) fn new() -> Self {
        Self { unreleased: HashMap::new(), window: Window::new(1), filters: HashSet::new() }
    }

    /// What an earlier run of the broker left.
    pub(crate) fn restored(
        unreleased: impl IntoIterator<Item = u16>,
        window: Window,
        filters: HashSet<Subscribed>,
    ) -> Self {
        Self { unreleased: unreleased.into_iter().map(|id| (id, true)).collect(), window, filters }
    }

    /// The ids of messages sent and not acknowledged.
    pub(crate) fn in_flight(&self) -> Vec<u16> {
        self.window.ids().collect()
    }

    /// What the session subscribed to.
    pub(crate) fn into_filters(self) -> HashSet<Subscribed> {
        self.filters
    }
}

impl State {
    fn new(kept: Kept, send_maximum: u16) -> Self {
        Self {
            replies: Replies::default(),
            pending: VecDeque::new(),
            pending_count: 0,
            pending_bytes: 0,
            // What an earlier connection has not released counts against this one's receive maximum.
            in_flight: kept.unreleased.len(),
            kept: Kept { window: kept.window.resumed(send_maximum), ..kept },
            wishes: VecDeque::new(),
            closed: false,
        }
    }
}

/// One connection past its handshake.
pub(crate) struct Session {
    pub(crate) number: SessionNumber,
    pub(crate) client_id: Arc<str>,
    pub(crate) address: IpAddr,
    pub(crate) version: Version,
    pub(crate) mailbox: Arc<Mailbox>,
    /// Writes packets; reading them has a codec of its own.
    pub(crate) writer: Codec,
    pub(crate) keep_alive_seconds: u16,
    /// How many topics of what it is sent may have an alias.
    pub(crate) topic_alias_max: u16,
    /// For how long the session outlives the connection, at present.
    expiry_seconds: AtomicU32,
    /// Whether the CONNECT asked for that; what a DISCONNECT may say hangs on it.
    pub(crate) lasting: bool,
    receive_maximum: usize,
    unacknowledged_bytes_max: usize,
    state: Mutex<State>,
    arrived: Notify,
    room: Notify,
    started: Instant,
    heard_millis: AtomicU64,
    held_up: AtomicBool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, client_id, address, version, .. } = self;
        write!(f, "Session {{ {number} of {client_id:?} at {address}, {version:?} }}")
    }
}

impl Session {
    /// The session of `mailbox` on the connection of a client that has sent `connect`.
    pub(crate) fn new(
        mailbox: Arc<Mailbox>,
        kept: Kept,
        address: IpAddr,
        connect: &Connect,
        options: &BrokerOptions,
    ) -> Self {
        let send_bytes_max = usize::try_from(connect.packet_bytes_max).unwrap_or(usize::MAX);
        Self {
            number: mailbox.number,
            client_id: Arc::clone(&mailbox.client_id),
            address,
            version: connect.version,
            mailbox,
            writer: Codec::new(connect.version, options.packet_bytes_max, send_bytes_max),
            keep_alive_seconds: connect.keep_alive_seconds,
            topic_alias_max: connect.topic_alias_max.min(options.topic_alias_max),
            expiry_seconds: AtomicU32::new(connect.session_expiry_seconds),
            lasting: connect.session_expiry_seconds > 0,
            receive_maximum: usize::from(options.receive_maximum.max(1)),
            unacknowledged_bytes_max: options.unacknowledged_bytes_max,
            state: Mutex::new(State::new(kept, connect.receive_maximum.min(options.outbound_inflight_max))),
            arrived: Notify::new(),
            room: Notify::new(),
            started: Instant::now(),
            heard_millis: AtomicU64::new(0),
            held_up: AtomicBool::new(false),
        }
    }

    // Replies.

    /// Queues a reply to be written.
    ///
    /// # Errors
    /// When the client takes no packets of that size.
    pub(crate) fn reply(&self, reply: Reply) -> Result<(), Violation> {
        self.reply_in(&mut lock(&self.state), reply, Place::START, Place::START)
    }

    /// Queues a reply that may be written once everything up to `place` is on disk, where everything up to
    /// `durable` is.
    fn reply_in(
        &self,
        state: &mut State,
        reply: Reply,
        place: Place,
        durable: Place,
    ) -> Result<(), Violation> {
        let was_empty = state.replies.len() == 0;
        let write = |out: &mut BytesMut| self.writer.encode(reply, out);
        state.replies.add(place, durable, write).map_err(|error| {
            Violation::new(Reason::PacketTooLarge, format!("a reply cannot be sent: {error}"))
        })?;
        if was_empty {
            self.mailbox.mail.notify_one();
        }
        Ok(())
    }

    /// Moves the replies that may be written to the end of `out`; says what the others wait for.
    pub(crate) fn take_replies(&self, durable: Place, out: &mut BytesMut) -> Option<Place> {
        let blocked = lock(&self.state).replies.take(durable, out);
        self.room.notify_one();
        blocked
    }

    /// What has to be on disk before the last reply may be written.
    pub(crate) fn last_gate(&self) -> Option<Place> {
        lock(&self.state).replies.last_gate()
    }

    // Publishes from the client.

    /// Resolves when there is room for what the client says next.
    pub(crate) async fn has_room(&self) {
        while self.is_crowded() {
            self.held_up.store(true, Ordering::Relaxed);
            self.room.notified().await;
        }
        self.held_up.store(false, Ordering::Relaxed);
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

    fn write_down(&self, ledger: &Ledger, id: u16, what: Progress) -> Place {
        if self.mailbox.lasting { ledger.progress(self.number, id, what) } else { Place::START }
    }

    /// No more publishes will come; [`Session::next_pending`] ends after those that have.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.arrived.notify_one();
    }

    // Messages to the client.

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

    // Subscriptions.

    /// How many filters the client has subscribed to.
    pub(crate) fn filter_count(&self) -> usize {
        lock(&self.state).kept.filters.len()
    }

    /// Whether the client has subscribed to `filter`.
    pub(crate) fn has_filter(&self, filter: &Subscribed) -> bool {
        lock(&self.state).kept.filters.contains(filter)
    }

    /// Notes a filter, to be given up with the session.
    pub(crate) fn add_filter(&self, filter: Subscribed) {
        let filters = &mut lock(&self.state).kept.filters;
        filters.insert(filter);
        self.mailbox.note_subscriptions(filters.len());
    }

    /// Forgets a filter.
    pub(crate) fn remove_filter(&self, filter: &Subscribed) {
        let filters = &mut lock(&self.state).kept.filters;
        filters.remove(filter);
        self.mailbox.note_subscriptions(filters.len());
    }

    // The end of the connection.

    /// Notes what a DISCONNECT said about the session's time.
    pub(crate) fn set_expiry(&self, seconds: u32) {
        self.expiry_seconds.store(seconds, Ordering::Relaxed);
    }

    /// For how many seconds the session goes on once the connection has ended.
    pub(crate) fn expiry_seconds(&self) -> u32 {
        self.expiry_seconds.load(Ordering::Relaxed)
    }

    /// Takes what the next connection goes on with. Publishes of QoS 2 whose receipt has not come are
    /// forgotten: the client sends them again, and they count as new.
    pub(crate) fn take_kept(&self) -> Kept {
        let mut kept = std::mem::replace(&mut lock(&self.state).kept, Kept::new());
        kept.unreleased.retain(|_, received| *received);
        kept
    }

    /// Queues a wish for retained messages, unless as many wait as there may be subscriptions.
    pub(crate) fn wish(&self, wish: RetainedWish, wishes_max: usize) {
        let mut state = lock(&self.state);
        if state.wishes.len() < wishes_max {
            state.wishes.push_back(wish);
            drop(state);
            self.mailbox.mail.notify_one();
        }
    }

    /// The next wish for retained messages.
    pub(crate) fn next_wish(&self) -> Option<RetainedWish> {
        lock(&self.state).wishes.pop_front()
    }

    // Keep-alive.

    /// Notes that the client has been heard.
    pub(crate) fn heard(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_millis.store(millis, Ordering::Relaxed);
    }

    /// Resolves when nothing has been heard for one and a half keep-alive times; never without one.
    pub(crate) async fn silent(&self) {
        if self.keep_alive_seconds == 0 {
            return std::future::pending().await;
        }
        let patience = Duration::from_millis(u64::from(self.keep_alive_seconds) * 1_500);
        loop {
            let heard = Duration::from_millis(self.heard_millis.load(Ordering::Relaxed));
            let due = self.started + heard + patience;
            if Instant::now() >= due {
                if !self.held_up.load(Ordering::Relaxed) {
                    return;
                }
                // It is we who do not listen: what it says may be waiting in the socket.
                self.heard();
                continue;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    /// Notes that the pipeline is being waited for, or no longer.
    pub(crate) fn set_held_up(&self, held_up: bool) {
        self.held_up.store(held_up, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::mqtt::mailbox::Backlog;
    use crate::mqtt::tests::message;

    fn session(version: Version) -> Session {
        let connect = Connect {
            version,
            client_id: String::new(),
            assigned_id: false,
            user_name: None,
            password: None,
            clean_start: true,
            keep_alive_seconds: 0,
            will: None,
            session_expiry_seconds: 0,
            receive_maximum: 1,
            packet_bytes_max: u32::MAX,
            topic_alias_max: 0,
            authentication_method: false,
        };
        let options = BrokerOptions::default();
        let mailbox = Mailbox::new(1, "c".into(), false, &options, Arc::new(Backlog::new(0, 0)));
        Session::new(Arc::new(mailbox), Kept::new(), IpAddr::from([127, 0, 0, 1]), &connect, &options)
    }

    #[tokio::test]
    async fn unwritten_replies_hold_up_the_reading() {
        let session = session(Version::V5);
        let mut replies = 0;
        while session.has_room().now_or_never().is_some() {
            session.reply(Reply::PingResp).unwrap();
            replies += 2;
            assert!(replies <= 2 * REPLY_BYTES_MAX, "replies pile up");
        }
        assert_eq!(replies, REPLY_BYTES_MAX);
        session.take_replies(Place::START, &mut BytesMut::new());
        assert!(session.has_room().now_or_never().is_some());
    }

    #[tokio::test]
    async fn pending_publishes_outlive_the_closing() {
        let session = session(Version::V311);
        let message = Arc::new(message("t", b"x"));
        for id in 1..=2 {
            assert_eq!(session.arrive(id, QoS::AtLeastOnce), Ok(Arrival::New));
            let receipt = async { Ok(()) }.boxed();
            session.expect_receipt(Pending { id, message: Arc::clone(&message), receipt: Some(receipt) });
        }
        session.close();
        for id in 1..=2 {
            let pending = session.next_pending().await.map(|pending| pending.id);
            assert_eq!(pending, Some(id));
            session.acknowledge(id, &message, Place::START, Place::START).unwrap();
        }
        assert!(session.next_pending().await.is_none());
        let mut out = BytesMut::new();
        session.take_replies(Place::START, &mut out);
        assert_eq!(&out[..], [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
    }
}
