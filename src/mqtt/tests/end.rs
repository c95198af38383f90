//! How connections end, and what a client leaves behind.

use std::time::Duration;

use super::wire::{connect_with, publish, text};
use super::{BrokerOptions, Daemon, IngestError, SOON, lock};
use crate::message::QoS;

/// Will flag, QoS 1, retain, clean.
const WILL: u8 = 0b0010_1110;

fn with_will(level: u8, client_id: &str, keep_alive: u16) -> Vec<u8> {
    // Will delay 60 s: the session ends with its connection, and the will is due then.
    let list = if level == 5 { vec![12, 24, 0, 0, 0, 60, 38, 0, 1, b'k', 0, 1, b'v'] } else { vec![] };
    let will = [list, text("will/ä"), text("gone")].concat();
    connect_with(level, client_id, WILL, keep_alive, &[], &will)
}

#[tokio::test]
async fn a_will_is_published_when_the_client_vanishes() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    for level in [4, 5] {
        let mut subscriber = daemon.subscriber(5, "s", "will/#", 0).await;
        let (client, _) = daemon.connected(&with_will(level, "c", 0)).await;
        subscriber.hears_nothing().await;
        drop(client);
        assert!(subscriber.packet().await.ends_with(b"gone"));
        let messages = std::mem::take(&mut *lock(&daemon.ingest.messages));
        assert_eq!(messages.len(), 1, "a will passes the pipeline like any message");
        assert_eq!((messages[0].topic.as_str(), messages[0].qos), ("will/ä", QoS::AtLeastOnce));
        assert!(messages[0].retain);
        assert_eq!(messages[0].properties.user.len(), usize::from(level == 5));
        assert_eq!(messages[0].origin.client_id.as_deref(), Some("c"));
        // Retained: forget it before the next round.
        subscriber.send(&super::wire::publish_with(5, 1, 0, "will/ä", &[], b"")).await;
        subscriber.packet().await;
        daemon.ingest.has(1).await;
        lock(&daemon.ingest.messages).clear();
        subscriber.send(&[0xE0, 0]).await;
        subscriber.rest().await;
    }
}

#[tokio::test]
async fn a_goodbye_takes_the_will_along_unless_it_says_otherwise() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut subscriber = daemon.subscriber(4, "s", "will/#", 0).await;
    for (level, goodbye, published) in
        [(4, &[0xE0, 0][..], false), (5, &[0xE0, 0], false), (5, &[0xE0, 1, 4], true)]
    {
        let (mut client, _) = daemon.connected(&with_will(level, "c", 0)).await;
        client.send(goodbye).await;
        assert_eq!(client.sent_away().await, None);
        if published {
            assert!(subscriber.packet().await.ends_with(b"gone"));
        } else {
            subscriber.hears_nothing().await;
        }
    }
}

#[tokio::test]
async fn a_will_that_is_not_stored_is_not_published() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut subscriber = daemon.subscriber(4, "s", "#", 0).await;
    daemon.ingest.hold();
    let (client, _) = daemon.connected(&with_will(4, "c", 0)).await;
    drop(client);
    daemon.ingest.has(1).await;
    daemon.ingest.resolve(0, Err(IngestError::Unavailable("no".to_owned())));
    subscriber.hears_nothing().await;
    assert_eq!(daemon.broker.counters().messages_not_stored, 1);
}

#[tokio::test]
async fn silence_ends_a_connection_after_one_and_a_half_keep_alives() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut subscriber = daemon.subscriber(4, "s", "will/#", 0).await;
    let (mut silent, _) = daemon.connected(&with_will(5, "silent", 1)).await;
    let (mut old, _) = daemon.connected(&connect_with(4, "old", 2, 1, &[], &[])).await;
    let (mut lively, _) = daemon.connected(&connect_with(4, "lively", 2, 1, &[], &[])).await;
    let started = tokio::time::Instant::now();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(350)).await;
        lively.pings().await;
    }
    assert_eq!(silent.sent_away().await, Some(0x8D));
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(1_350) && waited < Duration::from_millis(2_500), "{waited:?}");
    assert_eq!(old.sent_away().await, None);
    assert!(subscriber.packet().await.ends_with(b"gone"));
    lively.pings().await;
}

#[tokio::test]
async fn the_newest_connection_owns_a_client_id() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut watcher = daemon.subscriber(4, "w", "will/#", 0).await;
    let (mut first, _) = daemon.connected(&with_will(5, "id", 0)).await;
    first.send(&super::wire::subscribe(5, 1, &[], &[("t", 0)])).await;
    first.packet().await;
    let mut second = daemon.subscriber(4, "id", "t", 0).await;
    assert_eq!(first.sent_away().await, Some(0x8E));
    assert!(watcher.packet().await.ends_with(b"gone"));
    let mut third = daemon.subscriber(5, "id", "t", 0).await;
    assert_eq!(second.sent_away().await, None, "3.1.1 has no DISCONNECT of the server");
    watcher.send(&publish(4, 0, 0, "t", b"x")).await;
    assert_eq!(third.packet().await, publish(5, 0, 0, "t", b"x"), "one copy, for the living");
    third.pings().await;
    // Another id is another client, however alike it looks.
    let _other = daemon.client(4, "Id").await;
    third.pings().await;
}

#[tokio::test]
async fn a_stop_tells_everyone_and_takes_no_will_for_a_death() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let (mut new, _) = daemon.connected(&with_will(5, "new", 0)).await;
    let mut old = daemon.client(4, "old").await;
    let mut greeting = daemon.socket().await;
    daemon.ingest.hold();
    old.send(&publish(4, 1, 1, "t", b"x")).await;
    daemon.ingest.has(1).await;
    let stopping = tokio::spawn({
        let shutdown = daemon.shutdown.clone();
        async move { shutdown.stop(SOON).await }
    });
    assert_eq!(new.sent_away().await, Some(0x8B));
    assert!(greeting.rest().await.is_empty());
    assert_eq!(daemon.shutdown.running(), 1, "a publish that was taken is waited for");
    daemon.ingest.resolve(0, Ok(()));
    assert_eq!(old.rest().await, [[0x40, 2, 0, 1]], "and acknowledged before the end");
    assert_eq!(stopping.await.unwrap(), 0);
    assert_eq!(daemon.ingest.payloads(), ["x"]);
    assert_eq!(daemon.broker.counters().connections, 0);
}
