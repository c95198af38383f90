//! Publishes from clients: what is acknowledged, when, and what is not.

use std::time::Duration;

use super::wire::{connect_with, publish, publish_with};
use super::{A_WHILE, BrokerOptions, Daemon, IngestError, SOON, lock, until};
use crate::message::QoS;

fn unavailable() -> Result<(), IngestError> {
    Err(IngestError::Unavailable("the disk is full".to_owned()))
}

#[tokio::test]
async fn an_acknowledgement_waits_for_the_receipt_and_so_do_subscribers() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut subscriber = daemon.subscriber(4, "s", "t", 0).await;
    daemon.ingest.hold();
    let mut held = 0;
    for level in [4, 5] {
        let mut client = daemon.client(level, "c").await;
        for (qos, answer) in [(1, 0x40), (2, 0x50)] {
            client.send(&publish(level, qos, 7, "t", b"x")).await;
            daemon.ingest.has(held + 1).await;
            tokio::join!(client.hears_nothing(), subscriber.hears_nothing());
            daemon.ingest.resolve(held, Ok(()));
            assert_eq!(client.packet().await, [answer, 2, 0, 7]);
            assert_eq!(subscriber.packet().await, publish(4, 0, 0, "t", b"x"));
            held += 1;
        }
    }
    let messages = lock(&daemon.ingest.messages);
    assert_eq!(messages[0].qos, QoS::AtLeastOnce);
    assert_eq!(messages[0].origin.client_id.as_deref(), Some("c"));
    assert!(messages[0].origin.address.is_some_and(|address| address.is_loopback()));
    assert!(messages.windows(2).all(|pair| pair[0].received < pair[1].received), "processing times differ");
}

#[tokio::test]
async fn many_publishes_are_in_flight_and_are_acknowledged_in_their_order() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    daemon.ingest.hold();
    let mut client = daemon.client(5, "c").await;
    for id in 1..=5 {
        client.send(&publish(5, 1, id, "t", id.to_string().as_bytes())).await;
    }
    daemon.ingest.has(5).await;
    client.pings().await;
    for index in [4, 3, 2, 1] {
        daemon.ingest.resolve(index, Ok(()));
    }
    client.hears_nothing().await;
    daemon.ingest.resolve(0, Ok(()));
    for id in 1..=5 {
        assert_eq!(client.packet().await, [0x40, 2, 0, id]);
    }
    assert_eq!(daemon.ingest.payloads(), ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn a_publish_that_is_not_stored_is_not_acknowledged_and_ends_the_connection() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut subscriber = daemon.subscriber(4, "s", "#", 1).await;
    daemon.ingest.hold();
    for (round, level) in [4, 5].into_iter().enumerate() {
        let mut client = daemon.client(level, "c").await;
        for id in 1..=3 {
            client.send(&publish(level, 1, id, "t", b"x")).await;
        }
        daemon.ingest.has(3 * round + 3).await;
        daemon.ingest.resolve(3 * round, Ok(()));
        assert_eq!(client.packet().await, [0x40, 2, 0, 1]);
        assert_eq!(subscriber.packet().await[0], 0x32);
        daemon.ingest.resolve(3 * round + 1, unavailable());
        daemon.ingest.resolve(3 * round + 2, Ok(()));
        let rest = client.rest().await;
        if level == 4 {
            assert!(rest.is_empty(), "neither the failed one nor the one after it: {rest:02x?}");
        } else {
            assert_eq!((rest.len(), rest[0][0], rest[0][2]), (1, 0xE0, 0x83));
            assert!(String::from_utf8_lossy(&rest[0]).contains("the disk is full"));
        }
        subscriber.hears_nothing().await;
    }
    assert_eq!(daemon.broker.counters().messages_not_stored, 2);
}

#[tokio::test]
async fn qos_0_does_not_wait_for_its_receipt() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut subscriber = daemon.subscriber(4, "s", "t", 2).await;
    daemon.ingest.hold();
    let mut client = daemon.client(4, "c").await;
    client.send(&publish(4, 0, 0, "t", b"x")).await;
    assert_eq!(subscriber.packet().await, publish(4, 0, 0, "t", b"x"));
    client.pings().await;
    assert_eq!(daemon.ingest.payloads(), ["x"]);
}

#[tokio::test]
async fn qos_2_is_taken_once_until_it_is_released() {
    for level in [4, 5] {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        daemon.ingest.hold();
        let mut client = daemon.client(level, "c").await;
        let again = publish_with(level, 0b1100, 7, "t", &[], b"x");
        client.send(&publish(level, 2, 7, "t", b"x")).await;
        client.send(&again).await;
        client.pings().await;
        daemon.ingest.resolve(0, Ok(()));
        assert_eq!(client.packet().await, [0x50, 2, 0, 7]);
        client.send(&again).await;
        assert_eq!(client.packet().await, [0x50, 2, 0, 7], "a repetition is answered again");
        assert_eq!(daemon.ingest.payloads(), ["x"]);
        client.send(&[0x62, 2, 0, 7]).await;
        assert_eq!(client.packet().await, [0x70, 2, 0, 7]);
        client.send(&[0x62, 2, 0, 7]).await;
        let unknown = if level == 4 { vec![0x70, 2, 0, 7] } else { vec![0x70, 4, 0, 7, 0x92, 0] };
        assert_eq!(client.packet().await, unknown);
        client.send(&publish(level, 2, 7, "t", b"y")).await;
        daemon.ingest.has(2).await;
        assert_eq!(daemon.ingest.payloads(), ["x", "y"], "a released id is a new message");
        // PUBCOMP for it would acknowledge what is not durable.
        client.send(&[0x62, 2, 0, 7]).await;
        assert_eq!(client.sent_away().await, (level == 5).then_some(0x82));
    }
}

#[tokio::test]
async fn the_receive_maximum_is_enforced() {
    let options = BrokerOptions { receive_maximum: 3, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let mut client = daemon.client(5, "c").await;
    for id in 1..=3 {
        client.send(&publish(5, 2, id, "t", b"x")).await;
        assert_eq!(client.packet().await, [0x50, 2, 0, u8::try_from(id).unwrap()]);
    }
    client.send(&[0x62, 2, 0, 1]).await;
    assert_eq!(client.packet().await, [0x70, 2, 0, 1]);
    client.send(&publish(5, 1, 4, "t", b"x")).await;
    assert_eq!(client.packet().await, [0x40, 2, 0, 4], "a finished publish gives its place back");
    client.send(&[publish(5, 2, 5, "t", b"x"), publish(5, 2, 6, "t", b"x")].concat()).await;
    assert_eq!(client.sent_away().await, Some(0x93));
}

#[tokio::test]
async fn a_3_1_1_client_is_read_no_further_than_the_window() {
    let options = BrokerOptions { receive_maximum: 3, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    daemon.ingest.hold();
    let mut client = daemon.client(4, "c").await;
    let all: Vec<u8> = (1..=9).flat_map(|id| publish(4, 1, id, "t", b"x")).collect();
    client.send(&all).await;
    daemon.ingest.has(3).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(daemon.ingest.payloads().len(), 3);
    for index in 0..9 {
        daemon.ingest.has(index + 1).await;
        daemon.ingest.resolve(index, Ok(()));
        assert_eq!(client.packet().await, [0x40, 2, 0, u8::try_from(index + 1).unwrap()]);
    }
}

#[tokio::test]
async fn unacknowledged_bytes_are_bounded_for_both_versions() {
    let options = BrokerOptions { unacknowledged_bytes_max: 10_000, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    daemon.ingest.hold();
    for (round, level) in [4, 5].into_iter().enumerate() {
        let mut client = daemon.client(level, "c").await;
        for id in 1..=3 {
            client.send(&publish(level, 1, id, "t", &[b'x'; 9_000])).await;
        }
        daemon.ingest.has(3 * round + 2).await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(daemon.ingest.payloads().len(), 3 * round + 2);
        for index in 0..3 {
            daemon.ingest.has(3 * round + index + 1).await;
            daemon.ingest.resolve(3 * round + index, Ok(()));
            assert_eq!(client.packet().await[0], 0x40);
        }
    }
}

#[tokio::test]
async fn a_full_pipeline_stops_the_reading_and_not_the_daemon() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut other = daemon.client(4, "other").await;
    let (mut client, _) = daemon.connected(&connect_with(5, "c", 2, 1, &[], &[])).await;
    let room = daemon.ingest.room.forget_permits(usize::MAX);
    assert!(room > 0);
    for id in 1..=3 {
        client.send(&publish(5, 1, id, "t", id.to_string().as_bytes())).await;
    }
    client.send(&[0xC0, 0]).await;
    client.hears_nothing().await;
    other.pings().await;
    // Longer than one and a half times its keep-alive of 1 s: its PINGREQ waits unread, which is not
    // its fault.
    tokio::time::sleep(Duration::from_millis(1_700)).await;
    daemon.ingest.room.add_permits(1_000);
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(client.packet().await);
    }
    // The PINGRESP need not wait for receipts.
    answers.retain(|answer| answer != &[0xD0, 0]);
    assert_eq!(answers, [[0x40, 2, 0, 1], [0x40, 2, 0, 2], [0x40, 2, 0, 3]]);
    assert_eq!(daemon.ingest.payloads(), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_topic_alias_stands_for_its_topic() {
    let options = BrokerOptions { topic_alias_max: 2, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let alias = |number: u8, topic: &str| publish_with(5, 0, 0, topic, &[35, 0, number], b"x");
    let mut client = daemon.client(5, "c").await;
    for bytes in [alias(2, "a"), alias(2, ""), alias(1, "b"), alias(2, "c"), alias(1, ""), alias(2, "")] {
        client.send(&bytes).await;
    }
    daemon.ingest.has(6).await;
    let topics: Vec<String> = lock(&daemon.ingest.messages).iter().map(|m| m.topic.to_string()).collect();
    assert_eq!(topics, ["a", "a", "b", "c", "b", "c"]);
    client.send(&alias(3, "a")).await;
    assert_eq!(client.sent_away().await, Some(0x94), "above the maximum");
    let mut client = daemon.client(5, "c").await;
    client.send(&alias(2, "")).await;
    assert_eq!(client.sent_away().await, Some(0x94), "aliases end with their connection");
}

#[tokio::test]
async fn publishes_before_an_abrupt_end_still_reach_subscribers() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut subscriber = daemon.subscriber(4, "s", "t", 0).await;
    daemon.ingest.hold();
    let endings: [&[u8]; 3] = [&[0xE0, 0], &[0xFF, 0xFF], &[]];
    for (index, ending) in endings.into_iter().enumerate() {
        let mut client = daemon.client(4, "c").await;
        client.send(&publish(4, 1, 1, "t", b"x")).await;
        daemon.ingest.has(index + 1).await;
        client.send(ending).await;
        drop(client);
        subscriber.hears_nothing().await;
        daemon.ingest.resolve(index, Ok(()));
        assert_eq!(subscriber.packet().await, publish(4, 0, 0, "t", b"x"));
    }
}

#[tokio::test]
async fn a_client_that_closes_its_sending_half_still_gets_its_acknowledgements() {
    use tokio::io::AsyncWriteExt;
    let daemon = Daemon::start(BrokerOptions::default()).await;
    daemon.ingest.hold();
    let mut client = daemon.client(4, "c").await;
    client.send(&[publish(4, 1, 1, "t", b"x"), publish(4, 1, 2, "t", b"y")].concat()).await;
    client.stream.shutdown().await.unwrap();
    daemon.ingest.has(2).await;
    daemon.ingest.resolve(0, Ok(()));
    tokio::time::sleep(A_WHILE).await;
    daemon.ingest.resolve(1, Ok(()));
    assert_eq!(client.rest().await, [[0x40, 2, 0, 1], [0x40, 2, 0, 2]]);
}

#[tokio::test]
async fn a_pipeline_that_never_answers_does_not_keep_closed_connections() {
    let options = BrokerOptions { drain_timeout: Duration::from_millis(100), ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    daemon.ingest.hold();
    let mut client = daemon.client(4, "c").await;
    client.send(&publish(4, 1, 1, "t", b"x")).await;
    daemon.ingest.has(1).await;
    drop(client);
    until(|| daemon.broker.counters().connections == 0).await;
    assert_eq!(daemon.shutdown.stop(SOON).await, 0);
}
