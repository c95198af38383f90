//! Statements of the specifications that no other file here has a natural place for; each test names the
//! sections it holds the broker to (MQTT 5, or 3.1.1 where only that has it).

use super::wire::{connect_with, packet, publish, publish_with, subscribe, text};
use super::{BrokerOptions, Daemon, Wire, lock, message, until};
use crate::clock::{Clock, Timestamp};
use crate::mqtt::keeper;

/// DISCONNECT 0x00.
const GOODBYE: &[u8] = &[0xE0, 0];

/// A CONNECT that goes on with what there is, in MQTT 5 for a minute after its end and with `more` properties.
fn lasting(level: u8, client_id: &str, more: &[u8]) -> Vec<u8> {
    let list = [&[17, 0, 0, 0, 60][..], more].concat();
    connect_with(level, client_id, 0, 0, if level == 5 { &list } else { &[] }, &[])
}

async fn come(daemon: &Daemon, connect: &[u8], present: bool) -> Wire {
    let (client, connack) = daemon.connected(connect).await;
    assert_eq!(connack[2], u8::from(present), "session present");
    client
}

async fn subscribed(daemon: &Daemon, connect: &[u8], filter: &str, options: u8) -> Wire {
    let level = connect[8];
    let mut client = come(daemon, connect, false).await;
    client.send(&subscribe(level, 1, &[], &[(filter, options)])).await;
    assert_eq!(client.packet().await[0], 0x90);
    client
}

async fn away(daemon: &Daemon, mut client: Wire) {
    client.send(GOODBYE).await;
    client.rest().await;
    until(|| daemon.broker.counters().absent_sessions == 1).await;
}

fn later(daemon: &Daemon, seconds: i64) {
    daemon.clock.set(Timestamp::from_nanos(daemon.clock.now().nanos() + seconds * 1_000_000_000));
}

/// 3.1.4: what stands behind a CONNECT that is refused is not looked at.
#[tokio::test]
async fn nothing_behind_a_refused_connect_counts() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut witness = daemon.subscriber(4, "witness", "#", 0).await;
    let refused = [
        (5, connect_with(5, "c", 2, 0, &[21, 0, 1, b'm'], &[]), 0x8C),
        (4, connect_with(4, "", 0, 0, &[], &[]), 2),
        (5, connect_with(6, "c", 2, 0, &[], &[]), 0x84),
    ];
    for (level, connect, code) in refused {
        let mut client = daemon.socket().await;
        client.send(&[connect, publish(level, 1, 1, "t", b"x")].concat()).await;
        let answers = client.rest().await;
        assert_eq!((answers.len(), answers[0][0], answers[0][2], answers[0][3]), (1, 0x20, 0, code));
    }
    witness.pings().await;
    assert!(daemon.ingest.payloads().is_empty());
}

/// 3.2.2.3: a refusal is no larger than its client takes; the reason in words goes first.
#[tokio::test]
async fn a_refusal_fits_its_client() {
    let daemon = Daemon::start(BrokerOptions { client_id_bytes_max: 3, ..BrokerOptions::default() }).await;
    for (bytes_max, length) in [(200, Some(200)), (20, Some(5)), (5, Some(5)), (4, None)] {
        let mut client = daemon.socket().await;
        client.send(&connect_with(5, "client", 2, 0, &[39, 0, 0, 0, bytes_max], &[])).await;
        let answers = client.rest().await;
        assert_eq!(answers.first().map(|answer| answer[3]), length.map(|_| 0x85));
        assert!(answers.first().map(Vec::len) <= length, "{bytes_max}: {answers:02x?}");
    }
}

/// 3.3.1.1: DUP of a publish that comes says nothing of those that go out.
#[tokio::test]
async fn dup_is_not_passed_on() {
    for level in [4, 5] {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        let mut subscriber = daemon.subscriber(level, "s", "t", 2).await;
        let mut client = daemon.client(level, "c").await;
        for (qos, id, answer) in [(1, 1, 0x40), (2, 2, 0x50)] {
            client.send(&publish_with(level, 0b1000 | qos << 1, id, "t", &[], b"x")).await;
            assert_eq!(client.packet().await[0], answer);
            assert_eq!(subscriber.packet().await, publish(level, qos, id, "t", b"x"));
        }
    }
}

/// 3.3.1.3: an empty retained publish goes to subscribers like any other, one without the flag changes nothing
/// that is retained, one of QoS 0 is retained as well.
#[tokio::test]
async fn what_is_retained_is_changed_by_retained_publishes_only() {
    const AS_PUBLISHED: u8 = 0b0000_1000;
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut standing = daemon.subscriber(5, "standing", "t", AS_PUBLISHED).await;
    let mut client = daemon.client(5, "c").await;
    for (flags, payload, kept) in [
        (1, &b"kept"[..], Some(&b"kept"[..])),
        (0, b"", Some(b"kept")),
        (0, b"x", Some(b"kept")),
        (1, b"", None),
    ] {
        let bytes = publish_with(5, flags, 0, "t", &[], payload);
        client.send(&bytes).await;
        assert_eq!(standing.packet().await, bytes);
        let mut new = daemon.subscriber(5, "new", "t", 0).await;
        if let Some(kept) = kept {
            assert_eq!(new.packet().await, publish_with(5, 1, 0, "t", &[], kept));
        }
        new.pings().await;
    }
}

/// 3.3.2.3.3: a retained message that has expired is gone, and its place is free.
#[tokio::test]
async fn an_expired_retained_message_makes_room() {
    let daemon = Daemon::start(BrokerOptions { retained_messages_max: 1, ..BrokerOptions::default() }).await;
    let mut client = daemon.client(5, "c").await;
    client.send(&publish_with(5, 0b0011, 1, "brief", &[2, 0, 0, 0, 10], b"x")).await;
    client.packet().await;
    later(&daemon, 10);
    keeper::look(daemon.broker.shared()).await;
    assert_eq!(daemon.broker.counters().retained_messages, 0);
    client.send(&publish_with(5, 0b0011, 1, "t", &[], b"y")).await;
    client.packet().await;
    assert_eq!(daemon.broker.counters().retained_refused, 0);
    let daemon = daemon.after_a_crash().await;
    let mut subscriber = daemon.subscriber(5, "s", "#", 0).await;
    assert_eq!(subscriber.packet().await, publish_with(5, 1, 0, "t", &[], b"y"));
}

/// 3.10.4: a delivery that has begun is completed after UNSUBSCRIBE, across connections too; none begins.
#[tokio::test]
async fn unsubscribing_leaves_alone_what_is_under_way() {
    for level in [4, 5] {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        let mut client = subscribed(&daemon, &lasting(level, "c", &[]), "t", 2).await;
        let mut publisher = daemon.client(4, "p").await;
        for id in 1..=2 {
            publisher.send(&publish(4, 2, 10 + id, "t", b"x")).await;
            assert_eq!(publisher.packet().await[0], 0x50);
            assert_eq!(client.packet().await, publish(level, 2, id, "t", b"x"));
        }
        let empty: &[u8] = if level == 5 { &[0] } else { &[] };
        client.send(&packet(0xA2, &[&[0, 9][..], empty, &text("t")].concat())).await;
        assert_eq!(client.packet().await[0], 0xB0);
        publisher.publish("t", b"missed").await;
        client.send(&[0x50, 2, 0, 1]).await;
        assert_eq!(client.packet().await, [0x62, 2, 0, 1]);
        away(&daemon, client).await;
        let mut client = come(&daemon, &lasting(level, "c", &[]), true).await;
        assert_eq!(client.packet().await, [0x62, 2, 0, 1]);
        assert_eq!(client.packet().await, publish_with(level, 0b1100, 2, "t", &[], b"x"));
        client.send(&[[0x70, 2, 0, 1], [0x50, 2, 0, 2]].concat()).await;
        assert_eq!(client.packet().await, [0x62, 2, 0, 2]);
        client.send(&[0x70, 2, 0, 2]).await;
        client.pings().await;
    }
}

/// 3.8.4: a subscription to the same filter takes the place of the earlier one, with all its terms.
#[tokio::test]
async fn a_subscription_is_replaced_with_all_its_terms() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = daemon.client(5, "c").await;
    for (list, options, expected) in [
        (&[11, 1][..], 2, publish_with(5, 0b0010, 1, "t", &[11, 1], b"x")),
        (&[11, 2], 1, publish_with(5, 0b0010, 2, "t", &[11, 2], b"x")),
        (&[], 0, publish(5, 0, 0, "t", b"x")),
    ] {
        client.send(&subscribe(5, 1, list, &[("t", options)])).await;
        assert_eq!(client.packet().await, [0x90, 4, 0, 1, 0, options]);
        let mut live = message("t", b"x");
        live.retain = false;
        daemon.broker.publish(&live);
        assert_eq!(client.packet().await, expected);
    }
    client.pings().await;
    assert_eq!(daemon.broker.counters().subscriptions, 1);
}

/// 3.3.1.3: Retain Handling 1 asks whether the subscription was there, not whether the connection is new.
#[tokio::test]
async fn a_subscription_that_was_kept_is_not_a_new_one() {
    const WHEN_NEW: u8 = 0b0001_0000;
    let daemon = Daemon::start(BrokerOptions::default()).await;
    daemon.broker.publish(&message("t", b"kept"));
    let mut client = subscribed(&daemon, &lasting(5, "c", &[]), "t", WHEN_NEW).await;
    assert_eq!(client.packet().await, publish_with(5, 1, 0, "t", &[], b"kept"));
    away(&daemon, client).await;
    let mut client = come(&daemon, &lasting(5, "c", &[]), true).await;
    client.send(&subscribe(5, 1, &[], &[("t", WHEN_NEW), ("+", WHEN_NEW)])).await;
    assert_eq!(client.packet().await, [0x90, 5, 0, 1, 0, 0, 0]);
    assert_eq!(client.packet().await, publish_with(5, 1, 0, "t", &[], b"kept"), "for the other filter");
    client.pings().await;
}

/// 1.5.4 and 4.7.3: texts are compared byte by byte; nothing is normalized, skipped or stripped.
#[tokio::test]
async fn texts_are_taken_as_they_are() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let names = ["\u{e9}", "e\u{301}", "E\u{301}", "\u{feff}\u{e9}", "\u{e9}/", "/\u{e9}"];
    let mut clients = Vec::new();
    for name in names {
        // Client ids that look alike are different clients, too.
        clients.push(daemon.subscriber(5, name, name, 0).await);
    }
    for name in names {
        daemon.broker.publish(&message(name, name.as_bytes()));
    }
    for (client, name) in clients.iter_mut().zip(names) {
        assert_eq!(client.packet().await, publish(5, 0, 0, name, name.as_bytes()));
        client.pings().await;
    }
}

/// 4.4 and 4.3.3: whatever was sent and not acknowledged is sent again with its id, expired or not; else the
/// client would take the next message with that id for a repetition.
#[tokio::test]
async fn a_message_that_was_sent_does_not_expire() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = subscribed(&daemon, &lasting(5, "c", &[]), "t", 2).await;
    let mut publisher = daemon.client(5, "p").await;
    let with_expiry =
        |flags: u8, id: u16, seconds: u8| publish_with(5, flags, id, "t", &[2, 0, 0, 0, seconds], b"x");
    for (qos, id, answer) in [(2, 1, 0x50), (1, 2, 0x40), (2, 3, 0x50)] {
        publisher.send(&with_expiry(qos << 1, id, 10)).await;
        assert_eq!(publisher.packet().await[0], answer);
        assert_eq!(client.packet().await, with_expiry(qos << 1, id, 10));
    }
    client.send(&[0x50, 2, 0, 3]).await;
    assert_eq!(client.packet().await, [0x62, 2, 0, 3]);
    away(&daemon, client).await;
    publisher.send(&with_expiry(0b0100, 4, 10)).await;
    assert_eq!(publisher.packet().await[0], 0x50);
    later(&daemon, 30);
    let mut client = come(&daemon, &lasting(5, "c", &[]), true).await;
    assert_eq!(client.packet().await, with_expiry(0b1100, 1, 0));
    assert_eq!(client.packet().await, with_expiry(0b1010, 2, 0));
    assert_eq!(client.packet().await, [0x62, 2, 0, 3]);
    client.pings().await;
    assert_eq!(daemon.broker.counters().messages_expired, 1, "the fourth was never sent");
}

/// 4.8.2: what a member of a group refuses, or leaves behind, goes to no other member.
#[tokio::test]
async fn what_a_member_was_given_stays_its_own() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let shared = "$share/g/t";
    let mut first = subscribed(&daemon, &lasting(5, "first", &[]), shared, 1).await;
    let mut publisher = daemon.client(4, "p").await;
    publisher.publish("t", b"refused").await;
    assert_eq!(first.packet().await, publish(5, 1, 1, "t", b"refused"));
    let mut second = daemon.subscriber(5, "second", shared, 1).await;
    first.send(&[0x40, 3, 0, 1, 0x83]).await;
    first.pings().await;
    second.pings().await;
    // The only member, and away: it is kept for it.
    second.send(GOODBYE).await;
    second.rest().await;
    until(|| daemon.broker.counters().subscriptions == 1).await;
    away(&daemon, first).await;
    publisher.publish("t", b"waits").await;
    let mut third = daemon.subscriber(5, "third", shared, 1).await;
    publisher.publish("t", b"live").await;
    assert_eq!(third.packet().await, publish(5, 1, 1, "t", b"live"));
    let mut first = come(&daemon, &lasting(5, "first", &[]), true).await;
    assert_eq!(first.packet().await, publish(5, 1, 2, "t", b"waits"));
    away(&daemon, first).await;
    assert!(daemon.broker.end_client("first").await);
    third.pings().await;
}

/// 3.1.2.5 and 3.1.3.2: a will goes out with its QoS, its flag and its properties in their order.
#[tokio::test]
async fn a_will_says_what_its_client_wrote() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut watcher = daemon.subscriber(5, "w", "will", 2 | 0b0000_1000).await;
    let said = [
        &[1, 1, 2, 0, 0, 0, 60, 8, 0, 1, b'r', 9, 0, 2, 0, 255][..],
        &[38, 0, 1, b'k', 0, 1, b'1', 38, 0, 1, b'a', 0, 1, b'2', 38, 0, 1, b'k', 0, 1, b'0'],
        &[3, 0, 4, b'j', b's', b'o', b'n'],
    ]
    .concat();
    let list = super::wire::properties(&[&said[..], &[24, 0, 0, 0, 0]].concat());
    let will = [list, text("will"), text("gone")].concat();
    for (flags, expected) in [(0b0010_0110, 0b0001), (0b0000_1110, 0b0010), (0b0011_0110, 0b0101)] {
        let (client, _) = daemon.connected(&connect_with(5, "c", flags, 0, &[], &will)).await;
        drop(client);
        let got = watcher.packet().await;
        let id = if expected & 0b0110 == 0 { 0 } else { u16::from(got[9]) };
        assert_eq!(got, publish_with(5, expected, id, "will", &said, b"gone"));
    }
}

/// 3.3.2.3.4: aliases end with their connection, those of a message that is sent again as well.
#[tokio::test]
async fn a_repetition_names_its_topic() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let connect = lasting(5, "c", &[34, 0, 5]);
    let mut client = subscribed(&daemon, &connect, "t", 1).await;
    let mut publisher = daemon.client(4, "p").await;
    for (id, topic) in [(1, "t"), (2, "")] {
        publisher.publish("t", b"x").await;
        assert_eq!(client.packet().await, publish_with(5, 0b0010, id, topic, &[35, 0, 1], b"x"));
    }
    away(&daemon, client).await;
    let mut client = come(&daemon, &connect, true).await;
    for (id, topic) in [(1, "t"), (2, "")] {
        assert_eq!(client.packet().await, publish_with(5, 0b1010, id, topic, &[35, 0, 1], b"x"));
    }
}

/// 4.9: a client's receive maximum holds for what is sent again as well.
#[tokio::test]
async fn repetitions_keep_to_the_receive_maximum() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = subscribed(&daemon, &lasting(5, "c", &[]), "t", 1).await;
    let mut publisher = daemon.client(4, "p").await;
    for id in 1..=3 {
        publisher.publish("t", b"x").await;
        assert_eq!(client.packet().await, publish(5, 1, id, "t", b"x"));
    }
    away(&daemon, client).await;
    let mut client = come(&daemon, &lasting(5, "c", &[33, 0, 1]), true).await;
    for id in 1..=3 {
        assert_eq!(client.packet().await, publish_with(5, 0b1010, id, "t", &[], b"x"));
        client.pings().await;
        client.send(&[0x40, 2, 0, u8::try_from(id).unwrap()]).await;
    }
    client.pings().await;
}

/// 3.14.4: every reason of a DISCONNECT but 0x00 lets the will be published.
#[tokio::test]
async fn only_a_normal_disconnect_takes_the_will_along() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut watcher = daemon.subscriber(4, "w", "will", 0).await;
    let will = [vec![0], text("will"), text("gone")].concat();
    for reason in [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
        let (mut client, _) = daemon.connected(&connect_with(5, "c", 0b110, 0, &[], &will)).await;
        client.send(&[0xE0, 1, reason]).await;
        assert_eq!(client.sent_away().await, None, "{reason:#x}");
        assert_eq!(watcher.packet().await, publish(4, 0, 0, "will", b"gone"), "{reason:#x}");
    }
    assert_eq!(lock(&daemon.ingest.messages).len(), 13);
}
