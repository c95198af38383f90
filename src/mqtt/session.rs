//! What the loops of one connection share: publishes on their way in and not yet acknowledged,
//! messages on their way out and not yet acknowledged, and replies not yet written.
//!
//! All loops run in one task, so the lock is never fought for; it exists because the task may move
//! between threads. It is not held across an await.

mod deliveries;
mod publishes;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use tokio::sync::Notify;

use super::codec::Codec;
use super::error::{Reason, Violation};
use super::ingest::Receipt;
use super::journal::Place;
use super::kept::Kept;
use super::ledger::{Ledger, Progress};
use super::lock;
use super::mailbox::Mailbox;
use super::options::BrokerOptions;
use super::packet::{Connect, Reply, Version};
use super::pulse::Pulse;
use super::replies::Replies;
use super::retained::{Cursor, Wish};
use super::subscriptions::{SessionNumber, Subscribed};
use crate::message::Message;

/// Unwritten replies past which the client is read no further.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// A publish of QoS 1 or 2 that has been handed over and is not yet durable.
pub(crate) struct Pending {
    pub(crate) id: u16,
    pub(crate) message: Arc<Message>,
    /// Absent when the client may not publish it: it is refused in its turn.
    pub(crate) receipt: Option<Receipt>,
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
    /// A SUBACK is on its way: what is retained for its subscriptions comes behind it.
    wishes_wait: bool,
    closed: bool,
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
            kept: kept.resumed(send_maximum),
            wishes_wait: false,
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
    pub(crate) pulse: Pulse,
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
        Self {
            number: mailbox.number,
            client_id: Arc::clone(&mailbox.client_id),
            address,
            version: connect.version,
            mailbox,
            writer: connect.codec(options),
            keep_alive_seconds: connect.keep_alive_seconds,
            pulse: Pulse::new(connect.keep_alive_seconds),
            topic_alias_max: connect.topic_alias_max.min(options.topic_alias_max),
            expiry_seconds: AtomicU32::new(connect.session_expiry_seconds),
            lasting: connect.session_expiry_seconds > 0,
            receive_maximum: usize::from(options.receive_maximum.max(1)),
            unacknowledged_bytes_max: options.unacknowledged_bytes_max,
            state: Mutex::new(State::new(kept, connect.receive_maximum.min(options.outbound_inflight_max))),
            arrived: Notify::new(),
            room: Notify::new(),
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

    /// Writes down what became of message `id`, if the session outlives its connection.
    fn write_down(&self, ledger: &Ledger, id: u16, what: Progress) -> Place {
        if self.mailbox.lasting { ledger.progress(self.number, id, what) } else { Place::START }
    }

    // Subscriptions.

    /// How many filters the client has subscribed to.
    pub(crate) fn filter_count(&self) -> usize {
        lock(&self.state).kept.filters().len()
    }

    /// Whether the client has subscribed to `filter`.
    pub(crate) fn has_filter(&self, filter: &Subscribed) -> bool {
        lock(&self.state).kept.filters().contains(filter)
    }

    /// Notes a filter, to be given up with the session.
    pub(crate) fn add_filter(&self, filter: Subscribed) {
        let kept = &mut lock(&self.state).kept;
        kept.add_filter(filter);
        self.mailbox.note_subscriptions(kept.filters().len());
    }

    /// Forgets a filter.
    pub(crate) fn remove_filter(&self, filter: &Subscribed) {
        let kept = &mut lock(&self.state).kept;
        kept.remove_filter(filter);
        self.mailbox.note_subscriptions(kept.filters().len());
    }

    /// Notes a wish for retained messages; what has to be on disk before it is certain.
    pub(crate) fn wish(&self, wish: Wish, ledger: &Ledger) -> Place {
        let place = if self.mailbox.lasting { ledger.wish(self.number, wish.clone()) } else { Place::START };
        lock(&self.state).kept.wish(wish);
        place
    }

    /// Whether wishes wait for a SUBACK.
    pub(crate) fn set_wishes_wait(&self, wait: bool) {
        lock(&self.state).wishes_wait = wait;
        if !wait {
            self.mailbox.mail.notify_one();
        }
    }

    /// The wish whose turn it is.
    pub(crate) fn first_wish(&self) -> Option<Wish> {
        let state = lock(&self.state);
        state.kept.first_wish().filter(|_| !state.wishes_wait).cloned()
    }

    /// The wish whose turn it is has been fulfilled as far as `cursor`; without one, to its end.
    pub(crate) fn fulfil(&self, cursor: Option<Cursor>, ledger: &Ledger) {
        if cursor.is_none() && self.mailbox.lasting {
            ledger.fulfilled(self.number);
        }
        lock(&self.state).kept.fulfil(cursor);
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
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::message::QoS;
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
            problem_information: true,
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
