//! Entries come back as they were written, and nothing else passes for one.

use std::sync::Arc;

use super::entry::{BaseRest, Entry, Unfinished};
use super::*;
use crate::clock::Timestamp;
use crate::message::{Origin, Properties};
use crate::mqtt::packet::Will;
use crate::mqtt::retained::Cursor;
use crate::topic::TopicFilter;

fn message(payload: &'static [u8]) -> Arc<Message> {
    Arc::new(Message {
        topic: TopicName::new("größe/1").unwrap(),
        payload: bytes::Bytes::from_static(payload),
        qos: QoS::ExactlyOnce,
        retain: true,
        properties: Properties {
            payload_is_utf8: Some(true),
            expiry_seconds: Some(9),
            content_type: Some("json".to_owned()),
            response_topic: Some("r".to_owned()),
            correlation_data: Some(bytes::Bytes::from_static(&[0, 255])),
            user: vec![("k".to_owned(), "v".to_owned()), ("k".to_owned(), String::new())],
        },
        origin: Origin {
            client_id: Some("ä".into()),
            address: Some([192, 0, 2, 1].into()),
            principal: Some("thumbprint".into()),
            trace_id: Some(uuid::Uuid::from_u128(7)),
        },
        received: Timestamp::from_nanos(-5),
    })
}

fn wish(after: Option<&str>) -> Wish {
    let cursor =
        Cursor::new(TopicFilter::new("a/+").unwrap(), after.map(|after| TopicName::new(after).unwrap()));
    Wish { cursor, qos: QoS::ExactlyOnce, no_local: true, subscription_id: Some(5) }
}

fn entries() -> Vec<Entry> {
    let sent = message(b"payload");
    let Message { topic, payload, qos, retain, properties, origin, .. } = Message::clone(&sent);
    let will = Arc::new(Will { topic, payload, qos, retain, properties, delay_seconds: 3, origin });
    let presence = Presence {
        expiry_seconds: 60,
        until: Some(Timestamp::from_nanos(77)),
        will: Some((will, Some(Timestamp::from_nanos(78)))),
        in_flight: vec![1, 65_535],
    };
    let filter = Subscribed::parse("$share/g/a/#").unwrap();
    let terms =
        Terms { qos: QoS::AtLeastOnce, no_local: true, retain_as_published: true, id: Some(268_435_455) };
    let receiver =
        Receiver { session: 1, id: 4, qos: QoS::ExactlyOnce, retain: true, subscription_ids: vec![1, 300] };
    let client_id: Arc<str> = "c\u{1f980}".into();
    let rest = BaseRest { filters: vec![(filter.clone(), terms.clone())], unreleased: vec![7], last_id: 4 };
    let to = vec![receiver.clone()];
    vec![
        Entry::Open { session: 1, client_id: Arc::clone(&client_id), presence: presence.clone() },
        Entry::Presence { session: 1, presence: Presence::default() },
        Entry::Subscribe { session: 1, filter: filter.clone(), terms },
        Entry::Publish { message: Arc::clone(&sent), retain: Retain::Keep, sender: Some((1, 9)), to },
        Entry::Progress { session: 1, id: 9, what: Progress::Released },
        Entry::Base { session: 1, client_id, presence, rest },
        Entry::Waiting {
            session: 1,
            messages: vec![
                Unfinished { message: Some(sent), sent: true, receiver: receiver.clone() },
                Unfinished { message: None, sent: true, receiver: Receiver { id: 5, ..receiver } },
            ],
        },
        Entry::Settled { session: 1 },
        Entry::Wish { session: 1, wish: wish(None), rewritten: false },
        Entry::Wish { session: 1, wish: wish(Some("a/größe")), rewritten: true },
        Entry::Fulfilled { session: 1 },
        Entry::Unsubscribe { session: 1, filter },
        Entry::Close { session: 2 },
    ]
}

#[test]
fn entries_come_back_as_they_were() {
    for entry in entries() {
        let bytes = entry.encode();
        let read = Entry::decode(&bytes).unwrap();
        assert_eq!(
            format!("{read:?}").replace("delay_seconds: 3", ""),
            format!("{entry:?}").replace("delay_seconds: 3", "")
        );
        assert_eq!(read.encode(), bytes);
        for cut in 0..bytes.len() {
            assert!(Entry::decode(&bytes[..cut]).is_err(), "{entry:?} cut at {cut}");
        }
        assert!(Entry::decode(&[&bytes[..], &[0]].concat()).is_err(), "bytes behind {entry:?}");
    }
    let mut recollection = Recollection::default();
    for entry in entries() {
        recollection.replay(&entry.encode()).unwrap();
    }
    let book = recollection.books.get(1).expect("it was not closed");
    assert_eq!((book.outgoing.len(), book.filters.len(), book.unreleased.len()), (2, 0, 1));
    assert_eq!(recollection.retained.len(), 1);
}

/// Whatever an entry's bytes become, reading them is an answer and no panic, and memory follows what is
/// there, not what is claimed.
#[test]
fn mutated_entries_are_read_or_refused() {
    let mut state = 0x6A6F_7572_u64;
    let mut roll = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let originals: Vec<Vec<u8>> = entries().iter().map(Entry::encode).collect();
    let (mut read, mut refused) = (0, 0);
    for case in 0..50_000 {
        let mut bytes = originals[case % originals.len()].clone();
        for _ in 0..=roll(3) {
            let at = roll(bytes.len());
            match roll(3) {
                0 => bytes[at] ^= 1 << roll(8),
                1 => bytes[at] = [0, 1, 255][roll(3)],
                _ => bytes.truncate(at.max(1)),
            }
        }
        let mut recollection = Recollection::default();
        match recollection.replay(&bytes) {
            Ok(()) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 1_000 && refused > 1_000, "{read} read, {refused} refused");
}

#[test]
fn half_a_rewritten_session_does_not_count() {
    let mut recollection = Recollection::default();
    let all = entries();
    for entry in &all[..4] {
        recollection.replay(&entry.encode()).unwrap();
    }
    let settled = |recollection: &Recollection| recollection.books.get(1).unwrap().outgoing.len();
    let before = settled(&recollection);
    for entry in &all[5..7] {
        recollection.replay(&entry.encode()).unwrap();
        assert_eq!(settled(&recollection), before);
    }
    recollection.replay(&all[7].encode()).unwrap();
    assert_eq!(settled(&recollection), 2);
    assert_eq!(recollection.books.next_number(), 2);
}
