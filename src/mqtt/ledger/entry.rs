//! The entries of the journal: each is one change to what survives a restart.
//!
//! ```text
//! kind u8, then:
//!   1 open         session u64 · client id · presence: a new session; an earlier one of the client ends
//!   2 close        session
//!   3 presence     session · expiry u32 · until i64, if away · will, if any · ids in flight
//!   4 subscribe    session · filter · terms
//!   5 unsubscribe  session · filter
//!   6 publish      message · retain u8 (0 no, 1 keep, 2 forget, 3 no: it is what the receiver's first wish
//!                  brings) · sender, if of QoS 2: session, id
//!                  · for each receiver: session, id, QoS, flags, subscription identifiers
//!   7 progress     session · id · what u8: what became of a message to or from the client
//!   8 base         session · client id · presence · filters with terms · ids received · last id:
//!                  the session as it is, without its messages
//!   9 waiting      session · messages of that session, with how far each has come
//!  10 settled      session: base and what followed it are the session from here on
//!  11 wish         session · filter · QoS · no local · subscription identifier · topic, if one has been
//!                  reached: what is retained is to be sent to this subscription
//!  12 fulfilled    session: its first wish is
//!  13 wish         of a session that is written again
//! ```
//!
//! A rewritten session spans several entries; it counts once `settled` is read, so that a crash between
//! them loses nothing.

use std::sync::Arc;

use super::wire::{EntryFault, Reader, Writer};
use crate::clock::Timestamp;
use crate::message::{Message, Origin, Properties, QoS};
use crate::mqtt::packet::Will;
use crate::mqtt::retained::{Cursor, Wish};
use crate::mqtt::subscriptions::{SessionNumber, Subscribed, Terms};
use crate::topic::{TopicFilter, TopicName};

/// One change.
#[derive(Debug)]
pub(crate) enum Entry {
    Open { session: SessionNumber, client_id: Arc<str>, presence: Presence },
    Close { session: SessionNumber },
    Presence { session: SessionNumber, presence: Presence },
    Subscribe { session: SessionNumber, filter: Subscribed, terms: Terms },
    Unsubscribe { session: SessionNumber, filter: Subscribed },
    Publish { message: Arc<Message>, retain: Retain, sender: Option<(SessionNumber, u16)>, to: Vec<Receiver> },
    Progress { session: SessionNumber, id: u16, what: Progress },
    Base { session: SessionNumber, client_id: Arc<str>, presence: Presence, rest: BaseRest },
    Waiting { session: SessionNumber, messages: Vec<Unfinished> },
    Settled { session: SessionNumber },
    Wish { session: SessionNumber, wish: Wish, rewritten: bool },
    Fulfilled { session: SessionNumber },
}

/// Whether a session's client is here, and what is due when it is not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Presence {
    /// For how long the session outlives its connection.
    pub(crate) expiry_seconds: u32,
    /// When the session ends; nothing while its client is here.
    pub(crate) until: Option<Timestamp>,
    /// What is published when the client stays away, and when, if that is known yet.
    pub(crate) will: Option<(Arc<Will>, Option<Timestamp>)>,
    /// Of a client that is away: the messages that were sent to it and not acknowledged.
    pub(crate) in_flight: Vec<u16>,
}

/// What becomes of a topic's retained message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retain {
    No,
    Keep,
    Forget,
    /// Nothing: it is retained, and sent to a subscription that wished for it.
    Wished,
}

/// A session that a message is for.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) session: SessionNumber,
    pub(crate) id: u16,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: Vec<u32>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// To the client: it needs nothing more.
    Done,
    /// To the client: PUBREC has come, PUBREL is due.
    Received,
    /// From the client: PUBREL has come, the id is free.
    Released,
}

/// The parts of a base beside its presence.
#[derive(Debug, Default)]
pub(crate) struct BaseRest {
    pub(crate) filters: Vec<(Subscribed, Terms)>,
    pub(crate) unreleased: Vec<u16>,
    pub(crate) last_id: u16,
}

/// A message of a session.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// Absent once the client has received it: only PUBREL is due then.
    pub(crate) message: Option<Arc<Message>>,
    pub(crate) sent: bool,
    pub(crate) receiver: Receiver,
}

impl Entry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Open { session, client_id, presence } => {
                out.u8(1);
                out.u64(*session);
                out.text(client_id);
                write_presence(&mut out, presence);
            }
            Self::Close { session } => {
                out.u8(2);
                out.u64(*session);
            }
            Self::Presence { session, presence } => {
                out.u8(3);
                out.u64(*session);
                write_presence(&mut out, presence);
            }
            Self::Subscribe { session, filter, terms } => {
                out.u8(4);
                out.u64(*session);
                write_subscription(&mut out, filter, terms);
            }
            Self::Unsubscribe { session, filter } => {
                out.u8(5);
                out.u64(*session);
                out.text(&filter.to_string());
            }
            Self::Publish { message, retain, sender, to } => {
                out.u8(6);
                write_message(&mut out, message);
                out.u8(*retain as u8);
                out.option(*sender, |out, (session, id)| {
                    out.u64(session);
                    out.u16(id);
                });
                out.count(to.len());
                to.iter().for_each(|receiver| write_receiver(&mut out, receiver));
            }
            Self::Progress { session, id, what } => {
                out.u8(7);
                out.u64(*session);
                out.u16(*id);
                out.u8(*what as u8);
            }
            Self::Wish { session, wish, rewritten } => {
                out.u8(if *rewritten { 13 } else { 11 });
                out.u64(*session);
                write_wish(&mut out, wish);
            }
            Self::Fulfilled { session } => {
                out.u8(12);
                out.u64(*session);
            }
            Self::Base { .. } | Self::Waiting { .. } | Self::Settled { .. } => {
                self.encode_rewritten(&mut out)
            }
        }
        out.0
    }

    /// The entries of a session that is written again.
    fn encode_rewritten(&self, out: &mut Writer) {
        match self {
            Self::Base { session, client_id, presence, rest } => {
                out.u8(8);
                out.u64(*session);
                out.text(client_id);
                write_presence(out, presence);
                out.count(rest.filters.len());
                rest.filters.iter().for_each(|(filter, terms)| write_subscription(out, filter, terms));
                out.count(rest.unreleased.len());
                rest.unreleased.iter().for_each(|id| out.u16(*id));
                out.u16(rest.last_id);
            }
            Self::Waiting { session, messages } => {
                out.u8(9);
                out.u64(*session);
                out.count(messages.len());
                for kept in messages {
                    out.option(kept.message.as_deref(), write_message);
                    out.bool(kept.sent);
                    write_receiver(out, &kept.receiver);
                }
            }
            Self::Settled { session } => {
                out.u8(10);
                out.u64(*session);
            }
            _ => {}
        }
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// When the bytes are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EntryFault> {
        let mut from = Reader::new(bytes);
        let kind = from.u8()?;
        let entry = if kind == 6 { read_publish(&mut from)? } else { read_of_session(kind, &mut from)? };
        from.end()?;
        Ok(entry)
    }
}

fn read_of_session(kind: u8, from: &mut Reader<'_>) -> Result<Entry, EntryFault> {
    let session = from.u64()?;
    Ok(match kind {
        1 => Entry::Open { session, client_id: from.shared_text()?, presence: read_presence(from)? },
        2 => Entry::Close { session },
        3 => Entry::Presence { session, presence: read_presence(from)? },
        4 => {
            let (filter, terms) = read_subscription(from)?;
            Entry::Subscribe { session, filter, terms }
        }
        5 => Entry::Unsubscribe { session, filter: read_filter(from)? },
        7 => {
            let id = from.u16()?;
            let what = match from.u8()? {
                0 => Progress::Done,
                1 => Progress::Received,
                2 => Progress::Released,
                _ => return Err(EntryFault("a progress does not exist")),
            };
            Entry::Progress { session, id, what }
        }
        8 => Entry::Base {
            session,
            client_id: from.shared_text()?,
            presence: read_presence(from)?,
            rest: BaseRest {
                filters: from.list(read_subscription)?,
                unreleased: from.list(Reader::u16)?,
                last_id: from.u16()?,
            },
        },
        9 => {
            let messages = from.list(|from| {
                let message = from.option(read_message)?.map(Arc::new);
                Ok(Unfinished { message, sent: from.bool()?, receiver: read_receiver(from)? })
            })?;
            Entry::Waiting { session, messages }
        }
        10 => Entry::Settled { session },
        11 | 13 => Entry::Wish { session, wish: read_wish(from)?, rewritten: kind == 13 },
        12 => Entry::Fulfilled { session },
        _ => return Err(EntryFault("its kind does not exist")),
    })
}

fn read_publish(from: &mut Reader<'_>) -> Result<Entry, EntryFault> {
    let message = Arc::new(read_message(from)?);
    let retain = match from.u8()? {
        0 => Retain::No,
        1 => Retain::Keep,
        2 => Retain::Forget,
        3 => Retain::Wished,
        _ => return Err(EntryFault("a way to retain does not exist")),
    };
    let sender = from.option(|from| Ok((from.u64()?, from.u16()?)))?;
    Ok(Entry::Publish { message, retain, sender, to: from.list(read_receiver)? })
}

fn write_presence(out: &mut Writer, presence: &Presence) {
    out.u32(presence.expiry_seconds);
    out.option(presence.until, |out, until| out.i64(until.nanos()));
    out.option(presence.will.as_ref(), |out, (will, due)| {
        out.option(*due, |out, due| out.i64(due.nanos()));
        out.u32(will.delay_seconds);
        write_message(out, &will.message(Timestamp::from_nanos(0)));
    });
    out.count(presence.in_flight.len());
    presence.in_flight.iter().for_each(|id| out.u16(*id));
}

fn read_presence(from: &mut Reader<'_>) -> Result<Presence, EntryFault> {
    Ok(Presence {
        expiry_seconds: from.u32()?,
        until: from.option(|from| from.i64().map(Timestamp::from_nanos))?,
        will: from.option(|from| {
            let due = from.option(|from| from.i64().map(Timestamp::from_nanos))?;
            let delay_seconds = from.u32()?;
            let Message { topic, payload, qos, retain, properties, origin, .. } = read_message(from)?;
            Ok((Arc::new(Will { topic, payload, qos, retain, properties, delay_seconds, origin }), due))
        })?,
        in_flight: from.list(Reader::u16)?,
    })
}

fn write_subscription(out: &mut Writer, filter: &Subscribed, terms: &Terms) {
    out.text(&filter.to_string());
    out.u8(terms.qos as u8);
    out.bool(terms.no_local);
    out.bool(terms.retain_as_published);
    out.option(terms.id, Writer::u32);
}

fn read_subscription(from: &mut Reader<'_>) -> Result<(Subscribed, Terms), EntryFault> {
    let filter = read_filter(from)?;
    let terms = Terms {
        qos: read_qos(from)?,
        no_local: from.bool()?,
        retain_as_published: from.bool()?,
        id: from.option(Reader::u32)?,
    };
    Ok((filter, terms))
}

fn write_wish(out: &mut Writer, wish: &Wish) {
    out.text(wish.cursor.filter().as_str());
    out.u8(wish.qos as u8);
    out.bool(wish.no_local);
    out.option(wish.subscription_id, Writer::u32);
    out.option(wish.cursor.after().map(TopicName::as_str), Writer::text);
}

fn read_wish(from: &mut Reader<'_>) -> Result<Wish, EntryFault> {
    let filter = TopicFilter::new(from.text()?).map_err(|_| EntryFault("a topic filter is not one"))?;
    let (qos, no_local) = (read_qos(from)?, from.bool()?);
    let subscription_id = from.option(Reader::u32)?;
    let after =
        from.option(|from| TopicName::new(from.text()?).map_err(|_| EntryFault("a topic is not one")))?;
    Ok(Wish { cursor: Cursor::new(filter, after), qos, no_local, subscription_id })
}

fn read_filter(from: &mut Reader<'_>) -> Result<Subscribed, EntryFault> {
    Subscribed::parse(from.text()?).map_err(|_| EntryFault("a topic filter is not one"))
}

fn read_qos(from: &mut Reader<'_>) -> Result<QoS, EntryFault> {
    match from.u8()? {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        _ => Err(EntryFault("a QoS does not exist")),
    }
}

fn write_receiver(out: &mut Writer, receiver: &Receiver) {
    out.u64(receiver.session);
    out.u16(receiver.id);
    out.u8(receiver.qos as u8);
    out.bool(receiver.retain);
    out.count(receiver.subscription_ids.len());
    receiver.subscription_ids.iter().for_each(|id| out.u32(*id));
}

fn read_receiver(from: &mut Reader<'_>) -> Result<Receiver, EntryFault> {
    Ok(Receiver {
        session: from.u64()?,
        id: from.u16()?,
        qos: read_qos(from)?,
        retain: from.bool()?,
        subscription_ids: from.list(Reader::u32)?,
    })
}

fn write_message(out: &mut Writer, message: &Message) {
    out.text(message.topic.as_str());
    out.bytes(&message.payload);
    out.u8(message.qos as u8);
    out.bool(message.retain);
    out.i64(message.received.nanos());
    let given = &message.properties;
    out.option(given.payload_is_utf8, Writer::bool);
    out.option(given.expiry_seconds, Writer::u32);
    out.option(given.content_type.as_deref(), Writer::text);
    out.option(given.response_topic.as_deref(), Writer::text);
    out.option(given.correlation_data.as_deref(), Writer::bytes);
    out.count(given.user.len());
    for (key, value) in &given.user {
        out.text(key);
        out.text(value);
    }
    let origin = &message.origin;
    out.option(origin.client_id.as_deref(), Writer::text);
    out.option(origin.address, |out, address| out.text(&address.to_string()));
    out.option(origin.principal.as_deref(), Writer::text);
    out.option(origin.trace_id, |out, id| out.bytes(id.as_bytes()));
}

fn read_message(from: &mut Reader<'_>) -> Result<Message, EntryFault> {
    let topic = TopicName::new(from.text()?).map_err(|_| EntryFault("a topic is not one"))?;
    Ok(Message {
        topic,
        payload: from.owned_bytes()?,
        qos: read_qos(from)?,
        retain: from.bool()?,
        received: Timestamp::from_nanos(from.i64()?),
        properties: Properties {
            payload_is_utf8: from.option(Reader::bool)?,
            expiry_seconds: from.option(Reader::u32)?,
            content_type: from.option(|from| from.text().map(str::to_owned))?,
            response_topic: from.option(|from| from.text().map(str::to_owned))?,
            correlation_data: from.option(Reader::owned_bytes)?,
            user: from.list(|from| Ok((from.text()?.to_owned(), from.text()?.to_owned())))?,
        },
        origin: Origin {
            client_id: from.option(Reader::shared_text)?,
            address: from
                .option(|from| from.text()?.parse().map_err(|_| EntryFault("an address is not one")))?,
            principal: from.option(Reader::shared_text)?,
            trace_id: from.option(|from| {
                uuid::Uuid::from_slice(from.bytes()?).map_err(|_| EntryFault("a trace id is not one"))
            })?,
        },
    })
}
