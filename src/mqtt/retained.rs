//! The last retained message of every topic, in memory and bounded.
//!
//! A new subscriber takes them page by page with a [`Cursor`], as fast as it reads them, so that a
//! subscription to everything costs no queue and no long hold of the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::mailbox::weight;
use crate::clock::Timestamp;
use crate::message::{Message, QoS};
use crate::topic::{TopicFilter, TopicName};

/// Topics looked at in one page, whether they match or not: what bounds the hold of the lock.
const TOPICS_PER_PAGE: usize = 512;

/// The retained messages.
#[derive(Debug)]
pub(crate) struct Retained {
    messages: BTreeMap<TopicName, Arc<Message>>,
    /// Those that expire, by when they do.
    expiring: BTreeSet<(Timestamp, TopicName)>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

/// Whether a message could be retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    /// There is no room; the topic has no retained message now, rather than an outdated one.
    NoRoom,
}

/// A subscription's wish for the retained messages of its filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) cursor: Cursor,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) subscription_id: Option<u32>,
}

/// How far a subscription has come in reading the retained messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    filter: TopicFilter,
    after: Option<TopicName>,
}

impl Cursor {
    /// Starts at the first topic that `filter` can match, or behind `after`.
    pub(crate) fn new(filter: TopicFilter, after: Option<TopicName>) -> Self {
        Self { filter, after }
    }

    /// What it looks for.
    pub(crate) fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// Where it stands; nothing at the start.
    pub(crate) fn after(&self) -> Option<&TopicName> {
        self.after.as_ref()
    }
}

/// When a message expires, if it does.
fn end(message: &Message) -> Option<Timestamp> {
    let seconds = message.properties.expiry_seconds?;
    Some(message.received.saturating_add(i64::from(seconds) * 1_000_000_000))
}

/// What a cursor found, and whether there may be more.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) messages: Vec<Arc<Message>>,
    pub(crate) last: bool,
}

impl Retained {
    /// An empty store with room for `messages_max` topics and `bytes_max` bytes.
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { messages: BTreeMap::new(), expiring: BTreeSet::new(), bytes: 0, messages_max, bytes_max }
    }

    /// How many topics have a retained message.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Keeps `message`, which asked for it, or forgets its topic if the payload is empty.
    pub(crate) fn set(&mut self, message: &Arc<Message>) -> Kept {
        self.remove(&message.topic);
        if message.payload.is_empty() {
            return Kept::Yes;
        }
        let weight = weight(message);
        if self.messages.len() >= self.messages_max || self.bytes + weight > self.bytes_max {
            return Kept::NoRoom;
        }
        self.bytes += weight;
        // A large payload still shares the buffer it was read into; this store may keep it for years.
        let mut kept = Message::clone(message);
        kept.payload = Bytes::copy_from_slice(&message.payload);
        if let Some(end) = end(message) {
            self.expiring.insert((end, message.topic.clone()));
        }
        self.messages.insert(message.topic.clone(), Arc::new(kept));
        Kept::Yes
    }

    fn remove(&mut self, topic: &TopicName) {
        let Some((topic, message)) = self.messages.remove_entry(topic) else { return };
        self.bytes -= weight(&message);
        if let Some(end) = end(&message) {
            self.expiring.remove(&(end, topic));
        }
    }

    /// Forgets messages whose time is over at `now`, at most `count`; how many there were.
    pub(crate) fn expire(&mut self, now: Timestamp, count: usize) -> usize {
        for forgotten in 0..count {
            let Some((_, topic)) = self.expiring.first().filter(|(end, _)| *end <= now) else {
                return forgotten;
            };
            let topic = topic.clone();
            self.remove(&topic);
        }
        count
    }

    /// The message of `topic`.
    pub(crate) fn get(&self, topic: &TopicName) -> Option<Arc<Message>> {
        self.messages.get(topic).cloned()
    }

    /// The messages by topic, those behind `after`.
    pub(crate) fn after(&self, after: Option<&TopicName>) -> impl Iterator<Item = &Arc<Message>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.messages.range((start, Bound::Unbounded)).map(|(_, message)| message)
    }

    /// The next messages that `cursor` has not seen, at most `count`.
    pub(crate) fn page(&self, cursor: &mut Cursor, count: usize) -> Page {
        let filter = cursor.filter.as_str();
        let Some(wildcard) = filter.find(['+', '#']) else {
            let topic = TopicName::new(filter).ok().filter(|topic| cursor.after.as_ref() != Some(topic));
            let messages = topic.and_then(|topic| self.messages.get(&topic)).cloned().into_iter().collect();
            return Page { messages, last: true };
        };
        // `a/#` matches `a` as well, so the slash before it is not part of what all matches share.
        let shared = filter[..wildcard].strip_suffix('/').unwrap_or(&filter[..wildcard]);
        let start = match (&cursor.after, TopicName::new(shared)) {
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Ok(first)) => Bound::Included(first),
            (None, Err(_)) => Bound::Unbounded,
        };
        let mut messages = Vec::new();
        let mut seen: Option<&TopicName> = None;
        for (looked_at, (topic, message)) in self.messages.range((start, Bound::Unbounded)).enumerate() {
            if !topic.as_str().starts_with(shared) {
                return Page { messages, last: true };
            }
            if messages.len() == count || looked_at == TOPICS_PER_PAGE {
                cursor.after = seen.cloned();
                return Page { messages, last: false };
            }
            if cursor.filter.matches(topic) {
                messages.push(Arc::clone(message));
            }
            seen = Some(topic);
        }
        Page { messages, last: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::tests::message;

    fn topics(retained: &Retained, filter: &str, per_page: usize) -> Vec<String> {
        let mut cursor = Cursor::new(TopicFilter::new(filter).unwrap(), None);
        let mut all = Vec::new();
        loop {
            let page = retained.page(&mut cursor, per_page);
            assert!(page.messages.len() <= per_page.max(1));
            all.extend(page.messages.iter().map(|message| message.topic.to_string()));
            if page.last {
                return all;
            }
        }
    }

    #[test]
    fn a_cursor_finds_what_the_filter_matches_whatever_the_page() {
        let mut retained = Retained::new(10_000, usize::MAX);
        let all = ["a", "a!", "a/b", "a/b/c", "ab", "b/x", "ä/b", "$s/a", "/b"];
        for topic in all {
            assert_eq!(retained.set(&Arc::new(message(topic, b"x"))), Kept::Yes);
        }
        for filter in ["a", "a/#", "a/+", "+/b", "#", "+", "ä/+", "$s/#", "/+", "nothing/#", "+/b/#"] {
            let parsed = TopicFilter::new(filter).unwrap();
            let mut expected: Vec<&str> =
                all.into_iter().filter(|t| parsed.matches(&TopicName::new(*t).unwrap())).collect();
            expected.sort_unstable();
            for per_page in [1, 2, 100] {
                assert_eq!(topics(&retained, filter, per_page), expected, "{filter} by {per_page}");
            }
        }
    }

    #[test]
    fn a_page_looks_at_a_bounded_number_of_topics() {
        let mut retained = Retained::new(10_000, usize::MAX);
        for n in 0..2_000 {
            retained.set(&Arc::new(message(&format!("a/{n:04}/x"), b"x")));
        }
        let mut cursor = Cursor::new(TopicFilter::new("a/+/y").unwrap(), None);
        let pages = std::iter::from_fn(|| Some(retained.page(&mut cursor, 10).last)).take_while(|last| !last);
        assert_eq!(pages.count(), 3);
        assert_eq!(topics(&retained, "a/+/x", 64).len(), 2_000);
    }

    #[test]
    fn a_retained_message_does_not_keep_the_buffer_it_was_read_into() {
        let message = Arc::new(message("a", b"x"));
        let mut retained = Retained::new(1, usize::MAX);
        retained.set(&message);
        let page = retained.page(&mut Cursor::new(TopicFilter::new("a").unwrap(), None), 1);
        assert_eq!(page.messages[0].payload, message.payload);
        assert_ne!(page.messages[0].payload.as_ptr(), message.payload.as_ptr());
    }

    #[test]
    fn the_store_is_bounded_and_an_empty_payload_deletes() {
        let one = weight(&message("a", b"x"));
        let mut retained = Retained::new(2, 2 * one);
        let set = |retained: &mut Retained, topic: &str, payload: &[u8]| {
            retained.set(&Arc::new(message(topic, payload)))
        };
        assert_eq!(set(&mut retained, "a", b"x"), Kept::Yes);
        assert_eq!(set(&mut retained, "b", b"x"), Kept::Yes);
        assert_eq!(set(&mut retained, "c", b"x"), Kept::NoRoom);
        assert_eq!(set(&mut retained, "a", b"y"), Kept::Yes, "a replacement fits");
        assert_eq!(set(&mut retained, "a", b"xy"), Kept::NoRoom, "bytes count");
        assert_eq!(topics(&retained, "#", 9), ["b"], "no outdated message stays");
        assert_eq!(set(&mut retained, "b", b""), Kept::Yes);
        assert_eq!((retained.len(), retained.bytes), (0, 0));
    }

    #[test]
    fn a_message_makes_room_when_its_time_is_over() {
        let mut retained = Retained::new(3, usize::MAX);
        let set = |retained: &mut Retained, topic: &str, expiry_seconds| {
            let mut message = message(topic, b"x");
            message.properties.expiry_seconds = expiry_seconds;
            retained.set(&Arc::new(message))
        };
        for (topic, expiry) in [("a", Some(5)), ("a", Some(9)), ("b", Some(7)), ("c", Some(7)), ("c", None)] {
            assert_eq!(set(&mut retained, topic, expiry), Kept::Yes);
        }
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        assert_eq!(retained.expire(at(6), 9), 0, "what was replaced does not count");
        assert_eq!(set(&mut retained, "d", None), Kept::NoRoom);
        assert_eq!(retained.expire(at(7), 9), 1);
        assert_eq!(set(&mut retained, "d", None), Kept::Yes);
        assert_eq!(retained.expire(at(1_000), 9), 1);
        assert_eq!((topics(&retained, "#", 9), retained.expiring.len()), (vec!["c".into(), "d".into()], 0));
    }
}
