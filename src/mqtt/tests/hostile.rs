//! Clients that break the rules: each loses its connection, with the right code, and nobody else does.

use tokio::io::AsyncWriteExt;

use super::wire::{connect, connect_with, packet, properties, publish, publish_with, subscribe, text};
use super::{BrokerOptions, Daemon, until};
use crate::mqtt::codec::hostile_tests::{Dice, mutate, valid_packets};

#[tokio::test]
async fn each_mistake_has_its_reason_code() {
    let options = BrokerOptions { packet_bytes_max: 1_000, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let mut bystander = daemon.subscriber(5, "bystander", "#", 1).await;
    let cases: Vec<(&str, Vec<u8>, u8)> = vec![
        ("packet type 0", vec![0x00, 0], 0x81),
        ("QoS 3", vec![0x36, 0], 0x81),
        ("reserved flags", vec![0xC1, 0], 0x81),
        ("five length bytes", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], 0x81),
        ("too large", vec![0x30, 0xE8, 0x07], 0x95),
        ("far too large", vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F], 0x95),
        ("a server's packet", vec![0x20, 0], 0x82),
        ("second CONNECT", connect(5, "again"), 0x82),
        ("AUTH", vec![0xF0, 2, 0x18, 0], 0x8C),
        ("wildcard topic", publish(5, 1, 1, "a/#", b"x"), 0x90),
        ("topic not UTF-8", packet(0x30, &[0, 2, 0xC3, 0x28, 0]), 0x81),
        ("topic with null", publish(5, 0, 0, "a\0b", b"x"), 0x81),
        ("no topic", publish(5, 0, 0, "", b"x"), 0x82),
        ("packet id 0", publish(5, 1, 0, "a", b"x"), 0x81),
        ("alias 0", publish_with(5, 0, 0, "a", &[35, 0, 0], b"x"), 0x94),
        ("subscription id from a client", publish_with(5, 0, 0, "a", &[11, 1], b"x"), 0x81),
        ("expiry twice", publish_with(5, 0, 0, "a", &[2, 0, 0, 0, 1, 2, 0, 0, 0, 1], b"x"), 0x82),
        ("properties into the payload", packet(0x30, &[0, 1, b'a', 3, 2, 0, 0, 0, 1]), 0x81),
        ("no filter", packet(0x82, &[0, 1, 0]), 0x82),
        ("subscription id 0", subscribe(5, 1, &[11, 0], &[("a", 0)]), 0x82),
        ("subscription options", subscribe(5, 1, &[], &[("a", 0xC0)]), 0x81),
        ("truncated acknowledgement", vec![0x40, 1, 0], 0x81),
        ("new session expiry", vec![0xE0, 7, 0, 5, 17, 0, 0, 0, 8], 0x82),
    ];
    let count = cases.len();
    for (what, bytes, reason) in cases {
        let mut client = daemon.client(5, "hostile").await;
        client.send(&bytes).await;
        let rest = client.rest().await;
        assert_eq!((rest.len(), rest[0][0], rest[0][2]), (1, 0xE0, reason), "{what}: {rest:02x?}");
        assert!(rest[0].len() > 8, "{what}: a reason in words");
        let mut old = daemon.client(4, "hostile").await;
        if bytes[0] != 0xE0 {
            old.send(&[0xFF]).await;
            assert!(old.rest().await.is_empty(), "3.1.1 just closes");
        }
    }
    bystander.pings().await;
    until(|| daemon.broker.counters().connections == 1).await;
    assert!(daemon.broker.counters().violations() >= count as u64);
    assert!(daemon.ingest.payloads().is_empty());
}

#[tokio::test]
async fn good_packets_before_a_bad_one_count() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = daemon.client(5, "c").await;
    client.send(&[publish(5, 0, 0, "a", b"x"), publish(5, 1, 1, "a", b"y"), vec![0x00]].concat()).await;
    assert_eq!(client.sent_away().await, Some(0x81));
    assert_eq!(daemon.ingest.payloads(), ["x", "y"]);
}

#[tokio::test]
async fn a_flood_of_pings_from_a_client_that_does_not_read_is_bounded() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = daemon.client(4, "flood").await;
    let pings = [0xC0, 0].repeat(32 * 1024);
    // The broker stops reading once its replies pile up; the socket's buffers are all there is.
    let flood = async {
        for _ in 0..1_000 {
            client.stream.write_all(&pings).await.unwrap();
        }
    };
    let stuck = tokio::time::timeout(std::time::Duration::from_millis(700), flood).await;
    assert!(stuck.is_err(), "64 MB of pings were swallowed");
    daemon.client(4, "other").await.pings().await;
}

/// What a client has said before it goes wrong, stage by stage.
fn stages(level: u8) -> Vec<Vec<u8>> {
    let lasting: &[u8] = if level == 5 { &[17, 0, 0, 0, 60, 34, 0, 9] } else { &[] };
    let will = [if level == 5 { vec![0] } else { vec![] }, text("w/größe"), text("gone")].concat();
    let hello = connect_with(level, "größe", 0b0000_1100, 0, lasting, &will);
    let taken = publish(level, 2, 7, "t/ä", b"taken");
    vec![
        Vec::new(),
        hello[..9].to_vec(),
        hello.clone(),
        [&hello[..], &subscribe(level, 1, &[], &[("t/#", 2), ("$share/g/+", 1)])].concat(),
        [&hello[..], &taken].concat(),
        [&hello[..], &taken, &[0x62, 2, 0, 7]].concat(),
        [&hello[..], &taken[..9]].concat(),
        [&hello[..], &[0xE0, 0]].concat(),
    ]
}

/// Always the same cases: mutations of every packet, behind every stage of a connection, through a socket.
#[tokio::test]
async fn mutated_packets_at_every_stage_cost_their_connection_at_most() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut bystander = daemon.subscriber(5, "bystander", "bystander", 1).await;
    let mut dice = Dice(0x7374_6167_6573);
    let packets = [valid_packets(4), valid_packets(5)].concat();
    for round in 0..60_u8 {
        for stage in stages(4).iter().chain(&stages(5)) {
            let mut bytes = stage.clone();
            for _ in 0..=dice.below(3) {
                let mut next = packets[dice.below(packets.len())].clone();
                mutate(&mut dice, &mut next, &packets);
                bytes.extend(next);
            }
            let mut client = daemon.socket().await;
            // It may be sent away before it has said everything.
            let _ = client.stream.write_all(&bytes).await;
            let _ = client.stream.shutdown().await;
            client.rest().await;
        }
        bystander.send(&publish(5, 1, u16::from(round) + 1, "bystander", &[round])).await;
        let (one, other) = (bystander.packet().await, bystander.packet().await);
        let (answer, echo) = if one[0] == 0x40 { (one, other) } else { (other, one) };
        assert_eq!((answer[0], echo[0]), (0x40, 0x32));
        bystander.send(&[&[0x40, 2][..], &echo[13..15]].concat()).await;
    }
    until(|| daemon.broker.counters().connections == 1).await;
    let counters = daemon.broker.counters();
    assert!(counters.violations() > 300 && counters.handshakes_failed() > 60, "{counters:?}");
    assert!(counters.messages_received > 100, "{counters:?}");
}

#[tokio::test]
async fn odd_names_are_names() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let long = "level/".repeat(100);
    for name in ["größe/🌡", " ", "/", "//", "a//b", "\u{feff}", "\u{7f}", &long] {
        let mut subscriber = daemon.subscriber(5, "ünïcödé 🦀", name, 1).await;
        subscriber.send(&publish(5, 1, 1, name, name.as_bytes())).await;
        let (first, second) = (subscriber.packet().await, subscriber.packet().await);
        let expected = publish(5, 1, 1, name, name.as_bytes());
        assert!(first == expected || second == expected, "{name:?}");
    }
}

#[tokio::test]
async fn a_filter_as_deep_as_a_packet_is_refused_and_a_topic_as_deep_is_not() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let deep = "/".repeat(65_535);
    let mut client = daemon.subscriber(5, "c", "#", 0).await;
    client.send(&subscribe(5, 2, &[], &[(&deep, 0)])).await;
    assert_eq!(client.packet().await, [0x90, 4, 0, 2, 0, 0x8F]);
    client.send(&publish(5, 0, 0, &deep, b"x")).await;
    assert_eq!(client.packet().await, publish(5, 0, 0, &deep, b"x"));
}

#[tokio::test]
async fn a_reply_a_client_cannot_take_ends_it() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut tiny = daemon.socket().await;
    tiny.send(&connect_with(5, "tiny", 2, 0, &[39, 0, 0, 0, 5], &[])).await;
    assert!(tiny.rest().await.is_empty(), "the CONNACK is larger than 5 bytes");
    let (mut small, _) = daemon.connected(&connect_with(5, "small", 2, 0, &[39, 0, 0, 0, 40], &[])).await;
    let many: Vec<(&str, u8)> = std::iter::repeat_n(("a", 0), 50).collect();
    small.send(&subscribe(5, 1, &[], &many)).await;
    assert_eq!(small.sent_away().await, Some(0x95));
    until(|| daemon.broker.counters().connections == 0).await;
}

#[tokio::test]
async fn a_will_with_a_broken_list_is_refused_before_it_is_kept() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = daemon.socket().await;
    let will = [properties(&[24, 0, 0, 0, 1, 24, 0, 0, 0, 1]), text("t"), text("p")].concat();
    client.send(&connect_with(5, "c", 0b110, 0, &[], &will)).await;
    let answer = client.packet().await;
    assert_eq!((answer[0], answer[3]), (0x20, 0x82));
}
