//! Limits beyond the protocol's own: each costs whoever passes it, and nobody else.

use std::time::Duration;

use tokio::time::Instant;

use super::wire::{connect, connect_with, publish, publish_with, subscribe, text};
use super::{BrokerOptions, Daemon, message, until};

#[tokio::test]
async fn aws_refuses_what_aws_refuses() {
    let daemon = Daemon::start(BrokerOptions::aws()).await;
    let (mut client, connack) = daemon.connected(&connect_with(5, "c", 2, 0, &[], &[])).await;
    // Receive maximum 100, maximum QoS 1, maximum packet size, topic alias maximum 8, server keep-alive.
    assert_eq!(connack[5..], [33, 0, 100, 36, 1, 39, 0, 2, 0x48, 0, 34, 0, 8, 19, 4, 0xB0]);
    let nine: Vec<(&str, u8)> = (0..9).map(|_| ("a", 1)).collect();
    client.send(&subscribe(5, 1, &[], &nine[..8])).await;
    assert_eq!(client.packet().await[0], 0x90);
    client.send(&subscribe(5, 2, &[], &[("1/2/3/4/5/6/7/8/9", 1), ("a", 2)])).await;
    assert_eq!(client.packet().await, [0x90, 5, 0, 2, 0, 0x8F, 1], "QoS 2 is granted as 1");
    for id in 0..50_u16 {
        let filter = format!("f/{id}");
        client.send(&subscribe(5, id + 10, &[], &[(&filter, 0)])).await;
        let code = if id < 49 { 0 } else { 0x97 };
        assert_eq!(client.packet().await[5], code, "{id}");
    }
    let deep = publish(5, 1, 1, "1/2/3/4/5/6/7/8/9", b"x");
    let cases = [
        ("QoS 2", publish(5, 2, 1, "a", b"x"), 0x9B),
        ("levels", deep, 0x90),
        ("bytes of the topic", publish(5, 1, 1, &"t".repeat(257), b"x"), 0x90),
        ("payload", publish(5, 1, 1, "a", &vec![0; 131_073]), 0x95),
        ("filters", subscribe(5, 3, &[], &nine), 0x97),
    ];
    for (what, bytes, reason) in cases {
        let mut client = daemon.client(5, what).await;
        client.send(&bytes).await;
        assert_eq!(client.sent_away().await, Some(reason), "{what}");
    }
    let mut long = daemon.socket().await;
    long.send(&connect(5, &"c".repeat(129))).await;
    assert_eq!(long.packet().await[3], 0x85);
    let will = [vec![0], text("w"), text("x")].concat();
    let mut will_of_qos_2 = daemon.socket().await;
    will_of_qos_2.send(&connect_with(5, "w", 0b0001_0110, 0, &[], &will)).await;
    assert_eq!(will_of_qos_2.packet().await[3], 0x9B);
    assert!(daemon.ingest.payloads().is_empty());
    // Retained messages only for a subscription without wildcards.
    daemon.broker.publish(&message("r/1", b"kept"));
    let mut client = daemon.subscriber(4, "r", "r/+", 0).await;
    client.pings().await;
    client.send(&subscribe(4, 2, &[], &[("r/1", 0)])).await;
    client.packet().await;
    assert_eq!(client.packet().await, publish_with(4, 1, 0, "r/1", &[], b"kept"));
}

#[tokio::test]
async fn a_fast_publisher_is_slowed_down_and_stays() {
    let options = BrokerOptions { publishes_per_second_max: 20, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let mut fast = daemon.client(4, "fast").await;
    let mut other = daemon.client(4, "other").await;
    let started = Instant::now();
    for id in 1..=30 {
        fast.send(&publish(4, 1, id, "t", b"x")).await;
    }
    // Twenty at once, ten more in half a second.
    for id in 1..=30_u16 {
        assert_eq!(fast.packet().await, [&[0x40, 2][..], &id.to_be_bytes()].concat());
        if id == 21 {
            other.pings().await;
        }
    }
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    assert!(daemon.broker.counters().publishes_throttled >= 9);
    fast.pings().await;
}

#[tokio::test]
async fn sockets_of_one_address_are_bounded() {
    let options = BrokerOptions { connections_per_address_max: 2, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let first = daemon.client(4, "a").await;
    let _second = daemon.client(4, "b").await;
    assert!(daemon.socket().await.rest().await.is_empty());
    assert_eq!(daemon.broker.counters().connections_refused, 1);
    drop(first);
    until(|| daemon.broker.counters().connections == 1).await;
    daemon.client(4, "c").await.pings().await;
}

#[tokio::test]
async fn all_queues_together_are_bounded() {
    let bytes_max = 200_000;
    let options = BrokerOptions { queued_bytes_max: bytes_max, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let mut lasting = Vec::new();
    for n in 0..20 {
        let connect = connect_with(4, &format!("c{n}"), 0, 0, &[], &[]);
        let (mut client, _) = daemon.connected(&connect).await;
        client.send(&subscribe(4, 1, &[], &[("t", 1)])).await;
        client.packet().await;
        client.send(&[0xE0, 0]).await;
        client.rest().await;
        lasting.push(client);
    }
    until(|| daemon.broker.counters().absent_sessions == 20).await;
    for _ in 0..100 {
        daemon.broker.publish(&message("t", &[7; 1_000]));
        assert!(daemon.broker.counters().queued_bytes <= bytes_max as u64);
    }
    let counters = daemon.broker.counters();
    assert!(counters.queued_bytes > 190_000, "{counters:?}");
    assert!(counters.messages_dropped > 1_800, "{counters:?}");
    for n in 0..20 {
        let (_client, _) = daemon.connected(&connect(4, &format!("c{n}"))).await;
    }
    until(|| daemon.broker.counters().queued_bytes == 0).await;
}

#[tokio::test]
async fn a_filter_that_is_refused_is_answered_so() {
    let filters_refused = vec!["test/nosubscribe".to_owned()];
    let daemon = Daemon::start(BrokerOptions { filters_refused, ..BrokerOptions::default() }).await;
    for level in [4, 5] {
        let mut client = daemon.client(level, "c").await;
        client.send(&subscribe(level, 1, &[], &[("test/nosubscribe", 1), ("test/other", 1)])).await;
        let answer = client.packet().await;
        assert_eq!(answer[answer.len() - 2..], [0x80, 1]);
    }
}

#[tokio::test]
async fn the_servers_own_topics_are_published_seldom_and_by_nobody_else() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    super::super::sys::publish(&daemon.broker, daemon.broker.shared().now());
    let mut client = daemon.subscriber(5, "s", "$SYS/broker/clients/#", 0).await;
    for (name, number) in [("connected", b"0"), ("disconnected", b"0"), ("total", b"0")] {
        let expected = publish_with(5, 1, 0, &format!("$SYS/broker/clients/{name}"), &[], number);
        assert_eq!(client.packet().await, expected);
    }
    let mut all = daemon.subscriber(5, "all", "#", 0).await;
    all.pings().await;
    assert_eq!(daemon.journal.len(), 0, "nothing for the disk");
    assert!(daemon.broker.retained_after(None, 99).is_empty());
    client.send(&publish(5, 1, 1, "$SYS/broker/clients/total", b"9")).await;
    assert_eq!(client.sent_away().await, Some(0x90));
}

#[tokio::test]
async fn a_session_is_listed_and_ended() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut here = daemon.subscriber(5, "b", "t", 1).await;
    let (mut away, _) = daemon.connected(&connect_with(4, "a", 0, 0, &[], &[])).await;
    away.send(&subscribe(4, 1, &[], &[("t", 1), ("u", 1)])).await;
    away.packet().await;
    away.send(&[0xE0, 0]).await;
    away.rest().await;
    until(|| daemon.broker.counters().absent_sessions == 1).await;
    daemon.broker.publish(&message("t", b"x"));
    here.packet().await;
    let listed = daemon.broker.clients_after(None, 9);
    let seen: Vec<_> = listed
        .iter()
        .map(|one| {
            let version = one.connection.map(|connection| connection.version);
            (&*one.client_id, version, one.persistent, one.subscriptions, one.queued_messages, one.in_flight)
        })
        .collect();
    assert_eq!(seen, [("a", None, true, 2, 1, 0), ("b", Some("5"), false, 1, 0, 1)]);
    assert!(listed[0].ends.is_some() && listed[1].ends.is_none());
    assert_eq!(daemon.broker.clients_after(Some("a"), 9).len(), 1);
    assert_eq!(daemon.broker.clients_after(None, 1).len(), 1);
    assert!(!daemon.broker.end_client("c").await);
    assert!(daemon.broker.end_client("a").await);
    assert!(daemon.broker.end_client("b").await);
    assert_eq!(here.sent_away().await, Some(0x98));
    until(|| daemon.broker.counters().subscriptions == 0).await;
    let daemon = daemon.after_a_crash().await;
    assert_eq!(daemon.broker.counters().absent_sessions, 0);
}

#[tokio::test]
async fn topics_of_what_is_sent_get_aliases_if_the_client_takes_some() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    for most in [0, 1] {
        let (mut client, _) = daemon.connected(&connect_with(5, "c", 2, 0, &[34, 0, most], &[])).await;
        client.send(&subscribe(5, 1, &[], &[("#", 0)])).await;
        client.packet().await;
        for topic in ["a", "b", "a"] {
            let mut message = message(topic, b"x");
            message.retain = false;
            daemon.broker.publish(&message);
        }
        let alias: &[u8] = if most == 1 { &[35, 0, 1] } else { &[] };
        assert_eq!(client.packet().await, publish_with(5, 0, 0, "a", alias, b"x"));
        assert_eq!(client.packet().await, publish(5, 0, 0, "b", b"x"));
        let again = if most == 1 { "" } else { "a" };
        assert_eq!(client.packet().await, publish_with(5, 0, 0, again, alias, b"x"));
    }
}

#[tokio::test]
async fn keep_alives_of_mqtt_5_are_the_servers() {
    let options = BrokerOptions { keep_alive_seconds_max: 1, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let (mut told, connack) = daemon.connected(&connect_with(5, "told", 2, 100, &[], &[])).await;
    assert_eq!(connack[connack.len() - 3..], [19, 0, 1]);
    let (mut own, connack) = daemon.connected(&connect_with(5, "own", 2, 1, &[], &[])).await;
    assert!(!connack.windows(3).any(|bytes| bytes == [19, 0, 1]));
    let (mut old, _) = daemon.connected(&connect_with(4, "old", 2, 100, &[], &[])).await;
    let (mut without, connack) = daemon.connected(&connect_with(5, "without", 2, 0, &[], &[])).await;
    assert_eq!(connack[4], 11, "a client that wants none has none");
    assert_eq!(told.sent_away().await, Some(0x8D));
    assert_eq!(own.sent_away().await, Some(0x8D));
    old.pings().await;
    without.pings().await;
}

#[tokio::test]
async fn a_connection_that_waits_in_vain_is_told_at_once() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let lasting = connect_with(5, "c", 0, 0, &[17, 0, 0, 0, 60], &[]);
    let (mut first, _) = daemon.connected(&lasting).await;
    daemon.ingest.hold();
    first.send(&publish(5, 1, 1, "t", b"x")).await;
    daemon.ingest.has(1).await;
    let mut second = daemon.socket().await;
    second.send(&lasting).await;
    assert_eq!(first.sent_away().await, Some(0x8E));
    second.hears_nothing().await;
    // Another that waits for the same session: the newest is to have it.
    let mut third = daemon.socket().await;
    third.send(&lasting).await;
    let answer = second.packet().await;
    assert_eq!((answer[0], answer[3]), (0x20, 0x89));
    third.hears_nothing().await;
    // And one that does not wait.
    let (mut fourth, _) = daemon.connected(&connect(5, "c")).await;
    let answer = third.packet().await;
    assert_eq!((answer[0], answer[3]), (0x20, 0x89));
    fourth.pings().await;
    daemon.ingest.resolve(0, Ok(()));
    fourth.pings().await;
}

#[tokio::test]
async fn a_client_that_goes_on_talking_still_reads_why_it_was_sent_away() {
    let daemon = Daemon::start(BrokerOptions { receive_maximum: 100, ..BrokerOptions::default() }).await;
    let mut client = daemon.client(5, "c").await;
    for id in 1..=101 {
        client.send(&publish(5, 2, id, "t", b"x")).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    for _ in 0..50 {
        client.send(&[0x62, 2, 0, 1]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(client.sent_away().await, Some(0x93));
}
