//! Sessions that outlive their connections, and subscriptions that are shared.

use super::wire::{connect_with, publish, publish_with, subscribe, text};
use super::{BrokerOptions, Daemon, Wire, lock, until};
use crate::clock::{Clock, Timestamp};
use crate::mqtt::keeper;

/// DISCONNECT 0x00.
const GOODBYE: &[u8] = &[0xE0, 0];

/// A CONNECT that goes on with what there is: in MQTT 5 for `expiry` seconds after its end.
fn lasting(level: u8, client_id: &str, expiry: u32) -> Vec<u8> {
    let list = [&[17][..], &expiry.to_be_bytes()].concat();
    connect_with(level, client_id, 0, 0, if level == 5 { &list } else { &[] }, &[])
}

async fn come(daemon: &Daemon, connect: &[u8], present: bool) -> Wire {
    let (client, connack) = daemon.connected(connect).await;
    assert_eq!(connack[2], u8::from(present), "session present");
    client
}

async fn go(mut client: Wire) {
    client.send(GOODBYE).await;
    client.rest().await;
}

#[tokio::test]
async fn an_absent_client_gets_what_it_missed_in_order_and_only_once() {
    for level in [4, 5] {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        let mut publisher = daemon.client(4, "p").await;
        let mut client = come(&daemon, &lasting(level, "c", 60), false).await;
        client.send(&subscribe(level, 1, &[], &[("a/#", 2)])).await;
        client.packet().await;
        go(client).await;
        until(|| daemon.broker.counters().absent_sessions == 1).await;
        for (qos, id) in [(1, 1), (0, 0), (2, 2), (1, 3)] {
            publisher.send(&publish(4, qos, id, "a/b", &[b'0' + u8::try_from(id).unwrap()])).await;
        }
        until(|| daemon.broker.counters().messages_dropped == 1).await;
        publisher.send(&[0x62, 2, 0, 2]).await;
        let mut client = come(&daemon, &lasting(level, "c", 60), true).await;
        for (qos, id) in [(1, 1), (2, 2), (1, 3)] {
            let expected = publish(level, qos, id, "a/b", &[b'0' + u8::try_from(id).unwrap()]);
            assert_eq!(client.packet().await, expected, "QoS 0 is not for the absent");
        }
        client.send(&[0x40, 2, 0, 1]).await;
        client.send(&[0x50, 2, 0, 2]).await;
        assert_eq!(client.packet().await, [0x62, 2, 0, 2]);
        // It vanishes: 1 is settled, 2 waits for PUBCOMP, 3 for PUBACK.
        drop(client);
        let mut client = come(&daemon, &lasting(level, "c", 60), true).await;
        assert_eq!(client.packet().await, [0x62, 2, 0, 2], "the PUBREL again");
        let again = publish_with(level, 0b1010, 3, "a/b", &[], b"3");
        assert_eq!(client.packet().await, again, "the PUBLISH again, with DUP");
        client.send(&[0x70, 2, 0, 2]).await;
        client.send(&[0x40, 2, 0, 3]).await;
        client.pings().await;
        go(client).await;
        let mut client = come(&daemon, &lasting(level, "c", 60), true).await;
        client.pings().await;
        client.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_publish_of_qos_2_is_taken_once_across_connections() {
    for level in [4, 5] {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        let mut client = come(&daemon, &lasting(level, "c", 60), false).await;
        let once = publish(level, 2, 7, "t", b"once");
        client.send(&once).await;
        assert_eq!(client.packet().await, [0x50, 2, 0, 7]);
        drop(client);
        let mut client = come(&daemon, &lasting(level, "c", 60), true).await;
        client.send(&publish_with(level, 0b1100, 7, "t", &[], b"once")).await;
        assert_eq!(client.packet().await, [0x50, 2, 0, 7]);
        client.send(&[0x62, 2, 0, 7]).await;
        assert_eq!(client.packet().await, [0x70, 2, 0, 7]);
        client.send(&once).await;
        assert_eq!(client.packet().await, [0x50, 2, 0, 7], "released, the id is free for another");
        daemon.ingest.has(2).await;
        assert_eq!(daemon.ingest.payloads(), ["once", "once"]);
    }
}

#[tokio::test]
async fn a_takeover_waits_until_the_earlier_connection_has_settled_its_publishes() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut first = come(&daemon, &lasting(5, "c", 60), false).await;
    daemon.ingest.hold();
    first.send(&publish(5, 2, 9, "t", b"x")).await;
    daemon.ingest.has(1).await;
    let mut second = daemon.socket().await;
    second.send(&lasting(5, "c", 60)).await;
    assert_eq!(first.sent_away().await, Some(0x8E));
    second.hears_nothing().await;
    daemon.ingest.resolve(0, Ok(()));
    let connack = second.packet().await;
    assert_eq!((connack[0], connack[2], connack[3]), (0x20, 1, 0));
    second.send(&publish_with(5, 0b1100, 9, "t", &[], b"x")).await;
    assert_eq!(second.packet().await, [0x50, 2, 0, 9], "known, and not taken twice");
    assert_eq!(daemon.ingest.payloads(), ["x"]);
}

#[tokio::test]
async fn a_clean_start_ends_the_session_that_was_kept() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut publisher = daemon.client(4, "p").await;
    for level in [4, 5] {
        let mut client = come(&daemon, &lasting(level, "c", 60), false).await;
        client.send(&subscribe(level, 1, &[], &[("t", 1)])).await;
        client.packet().await;
        go(client).await;
        until(|| daemon.broker.counters().absent_sessions == 1).await;
        publisher.send(&publish(4, 1, 1, "t", b"x")).await;
        publisher.packet().await;
        let (mut client, connack) = daemon.connected(&super::wire::connect(level, "c")).await;
        assert_eq!(connack[2], 0);
        client.pings().await;
        assert_eq!(daemon.broker.counters().subscriptions, 0);
        go(client).await;
        let client = come(&daemon, &lasting(level, "c", 0), false).await;
        go(client).await;
        if level == 4 {
            // 3.1.1 without clean session has just begun to keep one.
            daemon.connected(&super::wire::connect(level, "c")).await;
        }
    }
}

#[tokio::test]
async fn a_session_lasts_as_long_as_was_agreed() {
    let options = BrokerOptions { session_expiry_seconds_max: 100, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let later = |seconds: i64| {
        daemon.clock.set(Timestamp::from_nanos(daemon.clock.now().nanos() + seconds * 1_000_000_000));
    };
    let (client, connack) = daemon.connected(&lasting(5, "c", u32::MAX)).await;
    assert_eq!(connack[5..10], [17, 0, 0, 0, 100], "told what it gets");
    go(client).await;
    until(|| daemon.broker.counters().absent_sessions == 1).await;
    later(99);
    keeper::look(daemon.broker.shared()).await;
    go(come(&daemon, &lasting(5, "c", 50), true).await).await;
    until(|| daemon.broker.counters().absent_sessions == 1).await;
    later(50);
    keeper::look(daemon.broker.shared()).await;
    assert_eq!(daemon.broker.counters().absent_sessions, 0);
    // DISCONNECT may shorten it, also to nothing.
    let mut client = come(&daemon, &lasting(5, "c", 50), false).await;
    client.send(&[0xE0, 7, 0, 5, 17, 0, 0, 0, 0]).await;
    client.rest().await;
    come(&daemon, &lasting(5, "c", 50), false).await;
}

#[tokio::test]
async fn too_many_absent_sessions_end_the_one_that_would_end_first() {
    let options = BrokerOptions { absent_sessions_max: 2, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    for (client_id, expiry) in [("a", 30), ("b", 10), ("c", 20)] {
        go(come(&daemon, &lasting(5, client_id, expiry), false).await).await;
    }
    until(|| daemon.broker.counters().absent_sessions == 3).await;
    keeper::look(daemon.broker.shared()).await;
    assert_eq!(daemon.broker.counters().absent_sessions, 2);
    for (client_id, present) in [("a", true), ("b", false), ("c", true)] {
        come(&daemon, &lasting(5, client_id, 30), present).await;
    }
}

/// A CONNECT with a will on `will` that waits `delay` seconds, and a session of 60.
fn with_delayed_will(delay: u8, clean: bool) -> Vec<u8> {
    let will = [vec![5, 24, 0, 0, 0, delay], text("will"), text("gone")].concat();
    let flags = 0b0000_1100 | if clean { 0b10 } else { 0 };
    connect_with(5, "c", flags, 0, &[17, 0, 0, 0, 60], &will)
}

#[tokio::test]
async fn a_delayed_will_waits_for_the_client_to_come_back() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut watcher = daemon.subscriber(4, "w", "will", 0).await;
    let later = |seconds: i64| {
        daemon.clock.set(Timestamp::from_nanos(daemon.clock.now().nanos() + seconds * 1_000_000_000));
    };
    let is_away = || daemon.broker.counters().absent_sessions == 1;
    drop(come(&daemon, &with_delayed_will(10, false), false).await);
    until(is_away).await;
    later(9);
    keeper::look(daemon.broker.shared()).await;
    // Back in time: nobody hears of it.
    let client = come(&daemon, &with_delayed_will(10, false), true).await;
    later(60);
    keeper::look(daemon.broker.shared()).await;
    watcher.hears_nothing().await;
    drop(client);
    until(is_away).await;
    later(10);
    keeper::look(daemon.broker.shared()).await;
    assert!(watcher.packet().await.ends_with(b"gone"), "the delay is over");
    // With the end of the session it is due at the latest.
    drop(come(&daemon, &with_delayed_will(200, false), true).await);
    until(is_away).await;
    later(60);
    keeper::look(daemon.broker.shared()).await;
    assert!(watcher.packet().await.ends_with(b"gone"), "the session is over");
    drop(come(&daemon, &with_delayed_will(10, false), false).await);
    until(is_away).await;
    come(&daemon, &with_delayed_will(10, true), false).await;
    assert!(watcher.packet().await.ends_with(b"gone"), "a clean start has ended the session");
}

#[tokio::test]
async fn members_of_a_group_share_its_messages() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut publisher = daemon.client(4, "p").await;
    publisher.send(&publish_with(4, 0b0011, 1, "a/kept", &[], b"k")).await;
    publisher.packet().await;
    let mut members = Vec::new();
    for (level, client_id) in [(4, "m1"), (5, "m2"), (5, "m3")] {
        members.push((level, daemon.subscriber(level, client_id, "$share/g/a/#", 1).await));
    }
    for id in 1..=6 {
        publisher.send(&publish(4, 1, id, "a/b", b"x")).await;
        publisher.packet().await;
    }
    for (level, member) in &mut members {
        for id in 1..=2 {
            assert_eq!(member.packet().await, publish(*level, 1, id, "a/b", b"x"), "and nothing retained");
        }
    }
    let (_, gone) = members.remove(0);
    go(gone).await;
    until(|| daemon.broker.counters().subscriptions == 2).await;
    for id in 1..=2 {
        publisher.send(&publish(4, 1, id, "a/b", b"y")).await;
        publisher.packet().await;
    }
    for (_, member) in &mut members {
        assert!(member.packet().await.ends_with(b"y"));
        member.send(&super::wire::packet(0xA2, &[&[0, 9, 0][..], &text("$share/g/a/#")].concat())).await;
        assert_eq!(member.packet().await, [0xB0, 4, 0, 9, 0, 0]);
    }
    assert_eq!(daemon.broker.counters().subscriptions, 0);
    assert_eq!(lock(&daemon.ingest.messages).len(), 9);
}

#[tokio::test]
async fn what_waits_for_the_absent_is_bounded() {
    let options = BrokerOptions { outbound_messages_max: 3, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let mut publisher = daemon.client(4, "p").await;
    let mut client = come(&daemon, &lasting(4, "c", 0), false).await;
    client.send(&subscribe(4, 1, &[], &[("t", 1)])).await;
    client.packet().await;
    go(client).await;
    until(|| daemon.broker.counters().absent_sessions == 1).await;
    for id in 1..=5 {
        publisher.send(&publish(4, 1, id, "t", &[u8::try_from(id).unwrap()])).await;
        publisher.packet().await;
    }
    until(|| daemon.broker.counters().messages_dropped == 2).await;
    let mut client = come(&daemon, &lasting(4, "c", 0), true).await;
    for id in 1..=3 {
        assert_eq!(client.packet().await, publish(4, 1, id, "t", &[u8::try_from(id).unwrap()]));
    }
    client.pings().await;
}
