//! Messages to subscribers: which, how, and what happens when they do not take them.

use std::time::Duration;

use super::wire::{connect_with, packet, properties, publish, publish_with, subscribe, text};
use super::{BrokerOptions, Daemon, SOON, message, until};
use crate::clock::Timestamp;

const NO_LOCAL: u8 = 0b0000_0100;
const AS_PUBLISHED: u8 = 0b0000_1000;
const WHEN_NEW: u8 = 0b0001_0000;
const NEVER: u8 = 0b0010_0000;

#[tokio::test]
async fn each_filter_gets_its_own_answer() {
    let options = BrokerOptions { subscriptions_max: 4, filter_levels_max: 8, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let filters =
        [("a", 0), ("a/#/b", 1), ("$share/g/a", 1), ("a/+", 1), ("b/#", 2), ("1/2/3/4/5/6/7/8/9", 0)];
    let mut new = daemon.client(5, "new").await;
    new.send(&subscribe(5, 9, &[], &filters)).await;
    assert_eq!(new.packet().await, [0x90, 9, 0, 9, 0, 0, 0x8F, 1, 1, 2, 0x8F]);
    let mut old = daemon.client(4, "old").await;
    old.send(&subscribe(4, 9, &[], &filters)).await;
    assert_eq!(old.packet().await, [0x90, 8, 0, 9, 0, 0x80, 1, 1, 2, 0x80]);
    new.send(&subscribe(5, 10, &[], &[("c", 0), ("d", 0), ("a", 1)])).await;
    assert_eq!(new.packet().await, [0x90, 6, 0, 10, 0, 0x97, 0x97, 1], "full, but a replacement fits");
    assert_eq!(daemon.broker.counters().subscriptions, 8);
    new.send(&packet(
        0xA2,
        &[vec![0, 11, 0], text("a"), text("zzz"), text("a#"), text("$share/g/a")].concat(),
    ))
    .await;
    assert_eq!(new.packet().await, [0xB0, 7, 0, 11, 0, 0, 0x11, 0x8F, 0]);
    old.send(&packet(0xA2, &[vec![0, 11], text("a"), text("$share/g/a")].concat())).await;
    assert_eq!(old.packet().await, [0xB0, 2, 0, 11]);
    daemon.broker.publish(&message("a", b"x"));
    old.pings().await;
    new.pings().await;
    drop((old, new));
    until(|| daemon.broker.counters().subscriptions == 0).await;
}

#[tokio::test]
async fn the_broker_holds_a_bounded_number_of_subscriptions() {
    let options = BrokerOptions { subscriptions_total_max: 2, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let _first = daemon.subscriber(5, "a", "a", 0).await;
    let mut second = daemon.client(5, "b").await;
    second.send(&subscribe(5, 1, &[], &[("a", 0), ("b", 0), ("a", 1)])).await;
    assert_eq!(second.packet().await, [0x90, 6, 0, 1, 0, 0, 0x97, 1]);
}

#[tokio::test]
async fn topics_of_the_server_are_apart() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut everything = daemon.subscriber(4, "a", "#", 0).await;
    let mut own = daemon.subscriber(4, "b", "$x/#", 0).await;
    let mut client = daemon.client(4, "c").await;
    client.send(&publish(4, 0, 0, "$x/y", b"1")).await;
    client.send(&publish(4, 0, 0, "größe/höhe", b"2")).await;
    assert_eq!(own.packet().await, publish(4, 0, 0, "$x/y", b"1"));
    assert_eq!(everything.packet().await, publish(4, 0, 0, "größe/höhe", b"2"));
}

#[tokio::test]
async fn basic_ingest_reaches_the_pipeline_and_no_subscriber() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut subscriber = daemon.subscriber(4, "s", "$aws/#", 0).await;
    let mut client = daemon.client(4, "c").await;
    client.send(&publish_with(4, 0b0011, 1, "$aws/rules/r/a", &[], b"x")).await;
    assert_eq!(client.packet().await, [0x40, 2, 0, 1]);
    client.send(&publish(4, 0, 0, "$aws/things/a", b"y")).await;
    assert_eq!(subscriber.packet().await, publish(4, 0, 0, "$aws/things/a", b"y"));
    assert_eq!(daemon.ingest.payloads(), ["x", "y"]);
    assert_eq!(daemon.broker.counters().retained_messages, 0);
}

#[tokio::test]
async fn the_lower_qos_counts_and_acknowledgements_move_the_window() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    // Receive maximum 2.
    let (mut subscriber, _) = daemon.connected(&connect_with(5, "s", 2, 0, &[33, 0, 2], &[])).await;
    subscriber.send(&subscribe(5, 1, &[], &[("t", 2)])).await;
    subscriber.packet().await;
    let mut client = daemon.client(4, "c").await;
    for (qos, id, answer) in
        [(0, 0, None), (1, 1, Some(0x40)), (2, 2, Some(0x50)), (1, 3, Some(0x40)), (0, 0, None)]
    {
        client.send(&publish(4, qos, id, "t", &[b'a' + qos])).await;
        if let Some(answer) = answer {
            assert_eq!(client.packet().await[0], answer);
        }
    }
    assert_eq!(subscriber.packet().await, publish(5, 0, 0, "t", b"a"));
    assert_eq!(subscriber.packet().await, publish(5, 1, 1, "t", b"b"));
    assert_eq!(subscriber.packet().await, publish(5, 2, 2, "t", b"c"));
    subscriber.hears_nothing().await;
    subscriber.send(&[0x50, 2, 0, 2]).await;
    assert_eq!(subscriber.packet().await, [0x62, 2, 0, 2]);
    subscriber.hears_nothing().await;
    subscriber.send(&[0x40, 2, 0, 99]).await;
    subscriber.send(&[0x50, 2, 0, 99]).await;
    assert_eq!(subscriber.packet().await, [0x62, 4, 0, 99, 0x92, 0], "an unknown id");
    subscriber.hears_nothing().await;
    subscriber.send(&[0x70, 2, 0, 2]).await;
    assert_eq!(subscriber.packet().await, publish(5, 1, 3, "t", b"b"));
    assert_eq!(subscriber.packet().await, publish(5, 0, 0, "t", b"a"));
    // A refusing PUBREC ends the message.
    client.send(&[0x62, 2, 0, 2]).await;
    client.send(&publish(4, 2, 2, "t", b"c")).await;
    subscriber.send(&[0x40, 2, 0, 1]).await;
    assert_eq!(subscriber.packet().await, publish(5, 2, 4, "t", b"c"));
    subscriber.send(&[0x50, 3, 0, 4, 0x97]).await;
    client.send(&publish(4, 1, 5, "t", b"d")).await;
    assert_eq!(subscriber.packet().await, publish(5, 1, 5, "t", b"d"));
}

#[tokio::test]
async fn overlapping_subscriptions_give_one_copy() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut new = daemon.client(5, "new").await;
    new.send(&subscribe(5, 1, &[11, 3], &[("a/#", 0)])).await;
    new.send(&subscribe(5, 2, &[11, 200, 1], &[("a/+", 1)])).await;
    new.send(&subscribe(5, 3, &[], &[("#", 0)])).await;
    let mut old = daemon.client(4, "old").await;
    old.send(&subscribe(4, 1, &[], &[("a/#", 0), ("a/+", 2), ("a/b", 1)])).await;
    for _ in 0..3 {
        assert_eq!(new.packet().await[0], 0x90);
    }
    assert_eq!(old.packet().await[0], 0x90);
    daemon.broker.publish(&message("a/b", b"x"));
    let mut got = new.packet().await;
    // The identifiers come in either order.
    let ids = got.split_off(got.len() - 6);
    assert!(ids == [11, 3, 11, 200, 1, b'x'] || ids == [11, 200, 1, 11, 3, b'x'], "{ids:?}");
    assert_eq!(got, [&[0x32, 14][..], &text("a/b"), &[0, 1, 5]].concat());
    assert_eq!(old.packet().await, publish(4, 1, 1, "a/b", b"x"));
    new.pings().await;
    old.pings().await;
}

#[tokio::test]
async fn no_local_and_retain_as_published() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut own = daemon.subscriber(5, "own", "t", NO_LOCAL).await;
    let mut plain = daemon.subscriber(5, "plain", "t", 0).await;
    let mut exact = daemon.subscriber(5, "exact", "t", AS_PUBLISHED | NO_LOCAL).await;
    own.send(&publish_with(5, 1, 0, "t", &[], b"x")).await;
    assert_eq!(plain.packet().await, publish(5, 0, 0, "t", b"x"), "retain is 0 for a standing subscription");
    assert_eq!(exact.packet().await, publish_with(5, 1, 0, "t", &[], b"x"));
    own.pings().await;
}

#[tokio::test]
async fn retained_messages_meet_new_subscriptions() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = daemon.client(4, "c").await;
    for (topic, payload) in [("a/1", &b"old"[..]), ("a/1", b"new"), ("a/2", b"x"), ("a/2", b""), ("b", b"y")]
    {
        client.send(&publish_with(4, 0b0011, 1, topic, &[], payload)).await;
        assert_eq!(client.packet().await[0], 0x40);
    }
    assert_eq!(daemon.broker.counters().retained_messages, 2);
    let mut subscriber = daemon.subscriber(5, "s", "a/#", 0).await;
    let retained = publish_with(5, 1, 0, "a/1", &[], b"new");
    assert_eq!(subscriber.packet().await, retained);
    subscriber.pings().await;
    for (options, expected) in [(0, true), (WHEN_NEW, false), (NEVER, false)] {
        subscriber.send(&subscribe(5, 2, &[], &[("a/#", options)])).await;
        assert_eq!(subscriber.packet().await[0], 0x90);
        if expected {
            assert_eq!(subscriber.packet().await, retained);
        }
        subscriber.pings().await;
    }
    subscriber.send(&subscribe(5, 3, &[11, 7], &[("a/+", WHEN_NEW | 1), ("+", NEVER)])).await;
    assert_eq!(subscriber.packet().await[0], 0x90);
    assert_eq!(subscriber.packet().await, publish_with(5, 0b0011, 1, "a/1", &[11, 7], b"new"));
    subscriber.pings().await;
    // A publisher that wants no echo does not get one from the store either.
    client.send(&[0xE0, 0]).await;
    let mut publisher = daemon.client(5, "c").await;
    publisher.send(&subscribe(5, 1, &[], &[("b", NO_LOCAL)])).await;
    assert_eq!(publisher.packet().await[0], 0x90);
    publisher.pings().await;
}

#[tokio::test]
async fn more_retained_messages_than_the_queue_holds_are_delivered() {
    let options =
        BrokerOptions { outbound_messages_max: 10, outbound_inflight_max: 3, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    for n in 0..1_000 {
        daemon.broker.publish(&message(&format!("r/{n:04}"), b"x"));
    }
    let mut subscriber = daemon.subscriber(4, "s", "r/#", 1).await;
    for n in 0..1_000 {
        let got = subscriber.packet().await;
        assert_eq!(String::from_utf8_lossy(&got[4..10]), format!("r/{n:04}"));
        subscriber.send(&[0x40, 2, got[10], got[11]]).await;
    }
    subscriber.pings().await;
}

#[tokio::test]
async fn a_slow_reader_costs_itself_only() {
    let options = BrokerOptions { outbound_messages_max: 100, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let _lossy = daemon.subscriber(4, "lossy", "t", 0).await;
    let mut slow = daemon.subscriber(5, "slow", "t", 1).await;
    let mut good = daemon.subscriber(4, "good", "t", 1).await;
    let mut publisher = daemon.client(4, "p").await;
    // More than the sockets' buffers take, so that the queues behind them fill.
    let payload = vec![b'x'; 60_000];
    for _ in 0..1_000 {
        publisher.send(&publish(4, 1, 1, "t", &payload)).await;
        assert_eq!(publisher.packet().await, [0x40, 2, 0, 1]);
        let got = good.packet().await;
        good.send(&[0x40, 2, got[7], got[8]]).await;
    }
    let counters = daemon.broker.counters();
    assert_eq!(counters.slow_connections_closed, 1);
    assert!(counters.messages_dropped > 100, "QoS 0 is dropped: {counters:?}");
    until(|| daemon.broker.counters().connections == 3).await;
    let heard = tokio::time::timeout(SOON, async { while slow.next().await.is_some() {} }).await;
    assert!(heard.is_ok(), "the slow connection is closed");
    good.pings().await;
}

#[tokio::test]
async fn a_client_that_acknowledges_nothing_is_told_when_its_queue_is_full() {
    let options = BrokerOptions { outbound_messages_max: 10, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let (mut subscriber, _) = daemon.connected(&connect_with(5, "s", 2, 0, &[33, 0, 1], &[])).await;
    subscriber.send(&subscribe(5, 1, &[], &[("t", 1)])).await;
    subscriber.packet().await;
    daemon.broker.publish(&message("t", b"0"));
    assert_eq!(subscriber.packet().await[0], 0x32);
    for _ in 0..11 {
        daemon.broker.publish(&message("t", b"x"));
    }
    assert_eq!(subscriber.sent_away().await, Some(0x97));
}

#[tokio::test]
async fn a_client_gets_no_packet_larger_than_it_takes() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let (mut subscriber, _) = daemon.connected(&connect_with(5, "s", 2, 0, &[39, 0, 0, 0, 100], &[])).await;
    subscriber.send(&subscribe(5, 1, &[], &[("t", 1)])).await;
    subscriber.packet().await;
    daemon.broker.publish(&message("t", &[b'x'; 92]));
    daemon.broker.publish(&message("t", &[b'x'; 93]));
    daemon.broker.publish(&message("t", b"small"));
    assert_eq!(subscriber.packet().await.len(), 100);
    assert_eq!(subscriber.packet().await, publish(5, 1, 3, "t", b"small"));
    assert_eq!(daemon.broker.counters().messages_dropped, 1);
}

#[tokio::test]
async fn a_message_expires_while_it_waits() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = daemon.client(5, "c").await;
    client.send(&publish_with(5, 0b0011, 1, "t", &[2, 0, 0, 0, 10], b"x")).await;
    client.packet().await;
    daemon.clock.set(Timestamp::from_millis(5_000));
    let mut first = daemon.subscriber(5, "a", "t", 0).await;
    assert_eq!(first.packet().await, publish_with(5, 1, 0, "t", &[2, 0, 0, 0, 6], b"x"));
    daemon.clock.set(Timestamp::from_millis(11_000));
    let mut second = daemon.subscriber(5, "b", "t", 0).await;
    second.pings().await;
    assert_eq!(daemon.broker.counters().messages_expired, 1);
}

#[tokio::test]
async fn properties_travel_with_the_message() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut new = daemon.subscriber(5, "new", "t", 0).await;
    let mut old = daemon.subscriber(4, "old", "t", 0).await;
    let mut client = daemon.client(5, "c").await;
    let list = [
        &[1, 1, 2, 0, 0, 0, 10, 8, 0, 1, b'r', 9, 0, 2, 0, 255][..],
        &[38, 0, 1, b'k', 0, 1, b'1', 38, 0, 1, b'k', 0, 1, b'2', 3, 0, 4, b'j', b's', b'o', b'n'],
    ]
    .concat();
    // The alias is between the client and us, and is not passed on.
    client.send(&publish_with(5, 0, 0, "t", &[&list[..], &[35, 0, 1]].concat(), b"x")).await;
    let expected = packet(0x30, &[text("t"), properties(&list), b"x".to_vec()].concat());
    assert_eq!(new.packet().await, expected);
    assert_eq!(old.packet().await, publish(4, 0, 0, "t", b"x"));
}

#[tokio::test]
async fn a_stuck_socket_does_not_hold_the_daemon() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut publisher = daemon.client(4, "p").await;
    let _stuck = daemon.subscriber(4, "stuck", "t", 0).await;
    let payload = vec![b'x'; 200_000];
    for _ in 0..60 {
        publisher.send(&publish(4, 1, 1, "t", &payload)).await;
        publisher.packet().await;
    }
    assert!(tokio::time::timeout(Duration::from_secs(4), daemon.shutdown.stop(SOON)).await == Ok(0));
}
