//! From a socket to a session, or not.

use std::time::Duration;

use super::wire::{connect, connect_with, packet, publish, text};
use super::{BrokerOptions, Daemon, until};

#[tokio::test]
async fn both_versions_share_the_port() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let (mut old, connack) = daemon.connected(&connect(4, "old")).await;
    assert_eq!(connack, [0x20, 2, 0, 0]);
    let (mut new, connack) = daemon.connected(&connect(5, "new")).await;
    // Receive maximum, maximum packet size, topic alias maximum.
    assert_eq!(connack, [0x20, 14, 0, 0, 11, 33, 1, 0, 39, 0, 4, 0, 0, 34, 0, 16]);
    old.pings().await;
    new.pings().await;
    assert_eq!(daemon.broker.counters().connections, 2);
}

#[tokio::test]
async fn a_connect_may_come_in_pieces() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = daemon.socket().await;
    for byte in connect(4, "slow") {
        client.send(&[byte]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(client.packet().await, [0x20, 2, 0, 0]);
    for byte in publish(4, 1, 7, "t", b"x") {
        client.send(&[byte]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(client.packet().await, [0x40, 2, 0, 7]);
}

#[tokio::test]
async fn packets_behind_the_connect_are_not_lost() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = daemon.socket().await;
    client.send(&[connect(4, "eager"), publish(4, 1, 7, "t", b"x")].concat()).await;
    assert_eq!(client.packet().await, [0x20, 2, 0, 0]);
    assert_eq!(client.packet().await, [0x40, 2, 0, 7]);
}

#[tokio::test]
async fn a_handshake_has_a_deadline_and_needs_a_connect() {
    let options = BrokerOptions { handshake_timeout: Duration::from_millis(100), ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let mut silent = daemon.socket().await;
    let mut half = daemon.socket().await;
    half.send(&connect(5, "half")[..9]).await;
    let mut other = daemon.socket().await;
    other.send(&[0xC0, 0]).await;
    let mut web = daemon.socket().await;
    web.send(b"GET / HTTP/1.1\r\n\r\n").await;
    for client in [&mut silent, &mut half, &mut other, &mut web] {
        assert!(client.rest().await.is_empty(), "there is nobody to answer yet");
    }
    until(|| daemon.broker.counters().connections == 0).await;
    assert_eq!(daemon.broker.counters().handshakes_failed(), 4);
    daemon.client(4, "good").await.pings().await;
}

#[tokio::test]
async fn refusals_speak_the_clients_version() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mqisdp = packet(0x10, &[text("MQIsdp"), vec![3, 2, 0, 0], text("c")].concat());
    let cases = [
        ("3.1", mqisdp, vec![0x20, 2, 0, 1]),
        ("level 3", connect(3, "c"), vec![0x20, 2, 0, 1]),
        ("no id, not clean", connect_with(4, "", 0, 0, &[], &[]), vec![0x20, 2, 0, 2]),
    ];
    for (what, connect, expected) in cases {
        let mut client = daemon.socket().await;
        client.send(&connect).await;
        assert_eq!(client.rest().await, [expected], "{what}");
    }
    let authentication = connect_with(5, "c", 2, 0, &[21, 0, 1, b'm'], &[]);
    let receive_maximum_zero = connect_with(5, "c", 2, 0, &[33, 0, 0], &[]);
    let will_topic = connect_with(5, "c", 0b110, 0, &[], &[vec![0], text("a/#"), text("")].concat());
    let cases = [
        ("level 6", connect(6, "c"), 0x84),
        ("authentication method", authentication, 0x8C),
        ("receive maximum 0", receive_maximum_zero, 0x82),
        ("reserved flag", connect_with(5, "c", 3, 0, &[], &[]), 0x81),
        ("will with a wildcard", will_topic, 0x90),
    ];
    for (what, connect, expected) in cases {
        let mut client = daemon.socket().await;
        client.send(&connect).await;
        let answers = client.rest().await;
        assert_eq!(answers.len(), 1, "{what}");
        assert_eq!((answers[0][0], answers[0][3]), (0x20, expected), "{what}");
    }
}

#[tokio::test]
async fn an_empty_client_id_is_given_one() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let (mut first, connack) = daemon.connected(&connect(5, "")).await;
    let at = connack.windows(8).position(|bytes| &bytes[3..] == b"auto-").expect("an assigned client id");
    assert_eq!(connack[at], 18, "the Assigned Client Identifier property");
    let (mut second, other) = daemon.connected(&connect(5, "")).await;
    assert_ne!(connack, other, "no two clients get the same id");
    let (mut third, _) = daemon.connected(&connect(4, "")).await;
    for client in [&mut first, &mut second, &mut third] {
        client.pings().await;
    }
    first.send(&publish(5, 0, 0, "t", b"x")).await;
    daemon.ingest.has(1).await;
    let id = super::lock(&daemon.ingest.messages)[0].origin.client_id.clone().unwrap();
    assert_eq!(id.as_bytes(), &connack[at + 3..at + 3 + id.len()]);
}

#[tokio::test]
async fn credentials_are_taken_whatever_their_bytes() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    for level in [4, 5] {
        let credentials = [text("user"), vec![0, 3, 0xFF, 0, 0xC3]].concat();
        let (mut client, _) =
            daemon.connected(&connect_with(level, "c", 0b1100_0010, 0, &[], &credentials)).await;
        client.pings().await;
    }
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let options = BrokerOptions { connections_max: 2, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let first = daemon.client(4, "a").await;
    let mut second = daemon.client(4, "b").await;
    let mut third = daemon.socket().await;
    assert!(third.rest().await.is_empty());
    assert_eq!(daemon.broker.counters().connections_refused, 1);
    drop(first);
    until(|| daemon.broker.counters().connections == 1).await;
    daemon.client(4, "c").await.pings().await;
    second.pings().await;
}
