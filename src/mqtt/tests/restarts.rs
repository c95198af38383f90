//! What a broker knows after a crash: all it has acknowledged, and nothing that was settled.

use super::wire::{connect_with, publish, publish_with, subscribe, text};
use super::{BrokerOptions, Daemon, Wire, message, until};
use crate::clock::{Clock, Timestamp};
use crate::message::QoS;
use crate::mqtt::keeper;

/// DISCONNECT 0x00.
const GOODBYE: &[u8] = &[0xE0, 0];

/// A CONNECT that goes on with what there is: in MQTT 5 for an hour after its end.
fn lasting(level: u8, client_id: &str) -> Vec<u8> {
    let list: &[u8] = if level == 5 { &[17, 0, 0, 0x0E, 0x10] } else { &[] };
    connect_with(level, client_id, 0, 0, list, &[])
}

async fn come(daemon: &Daemon, level: u8, client_id: &str, present: bool) -> Wire {
    let (client, connack) = daemon.connected(&lasting(level, client_id)).await;
    assert_eq!(connack[2], u8::from(present), "session present");
    client
}

async fn subscribed(daemon: &Daemon, level: u8, client_id: &str, filter: &str, options: u8) -> Wire {
    let mut client = come(daemon, level, client_id, false).await;
    client.send(&subscribe(level, 1, &[], &[(filter, options)])).await;
    assert_eq!(client.packet().await[0], 0x90);
    client
}

async fn go(mut client: Wire) {
    client.send(GOODBYE).await;
    client.rest().await;
}

/// Publishes with QoS 1 or 2 and sees it acknowledged.
async fn say(client: &mut Wire, qos: u8, id: u16, topic: &str, payload: &[u8]) {
    client.send(&publish(4, qos, id, topic, payload)).await;
    let answer = if qos == 1 { 0x40 } else { 0x50 };
    let [high, low] = id.to_be_bytes();
    assert_eq!(client.packet().await, [answer, 2, high, low]);
}

#[tokio::test]
async fn an_absent_client_gets_after_a_crash_what_was_acknowledged_before() {
    for level in [4, 5] {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        go(subscribed(&daemon, level, "c", "a/#", 2).await).await;
        until(|| daemon.broker.counters().absent_sessions == 1).await;
        let mut publisher = daemon.client(4, "p").await;
        say(&mut publisher, 1, 1, "a/1", b"one").await;
        say(&mut publisher, 2, 2, "a/2", b"two").await;
        let daemon = daemon.after_a_crash().await;
        assert_eq!(daemon.broker.counters().subscriptions, 1);
        let mut client = come(&daemon, level, "c", true).await;
        assert_eq!(client.packet().await, publish(level, 1, 1, "a/1", b"one"), "not sent before: no DUP");
        assert_eq!(client.packet().await, publish(level, 2, 2, "a/2", b"two"));
        client.send(&[0x40, 2, 0, 1]).await;
        client.send(&[0x50, 2, 0, 2]).await;
        assert_eq!(client.packet().await, [0x62, 2, 0, 2]);
        // It is connected when the broker crashes: 1 is settled, 2 waits for PUBCOMP.
        let daemon = daemon.after_a_crash().await;
        let mut client = come(&daemon, level, "c", true).await;
        assert_eq!(client.packet().await, [0x62, 2, 0, 2]);
        client.send(&[0x70, 2, 0, 2]).await;
        client.pings().await;
        let daemon = daemon.after_a_crash().await;
        let mut client = come(&daemon, level, "c", true).await;
        client.pings().await;
        client.hears_nothing().await;
        // The subscription lives on, and ids go on behind those that were used.
        let mut publisher = daemon.client(4, "p").await;
        say(&mut publisher, 1, 1, "a/3", b"three").await;
        assert_eq!(client.packet().await, publish(level, 1, 3, "a/3", b"three"));
    }
}

#[tokio::test]
async fn what_was_sent_and_not_acknowledged_is_sent_again_under_its_id() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = subscribed(&daemon, 5, "c", "t", 2).await;
    let mut publisher = daemon.client(4, "p").await;
    say(&mut publisher, 2, 1, "t", b"first").await;
    say(&mut publisher, 1, 2, "t", b"second").await;
    assert_eq!(client.packet().await, publish(5, 2, 1, "t", b"first"));
    assert_eq!(client.packet().await, publish(5, 1, 2, "t", b"second"));
    client.send(&[0x40, 2, 0, 2]).await;
    client.pings().await;
    let daemon = daemon.after_a_crash().await;
    let mut client = come(&daemon, 5, "c", true).await;
    assert_eq!(client.packet().await, publish_with(5, 0b1100, 1, "t", &[], b"first"), "the id, and DUP");
    client.pings().await;
}

#[tokio::test]
async fn a_publish_of_qos_2_is_taken_once_across_a_crash() {
    for level in [4, 5] {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        go(subscribed(&daemon, 4, "s", "t", 2).await).await;
        let mut client = come(&daemon, level, "c", false).await;
        client.send(&publish(level, 2, 7, "t", b"once")).await;
        assert_eq!(client.packet().await, [0x50, 2, 0, 7]);
        let daemon = daemon.after_a_crash().await;
        let mut client = come(&daemon, level, "c", true).await;
        client.send(&publish_with(level, 0b1100, 7, "t", &[], b"once")).await;
        assert_eq!(client.packet().await, [0x50, 2, 0, 7]);
        client.send(&[0x62, 2, 0, 7]).await;
        assert_eq!(client.packet().await, [0x70, 2, 0, 7]);
        let daemon = daemon.after_a_crash().await;
        let mut client = come(&daemon, level, "c", true).await;
        client.send(&publish(level, 2, 7, "t", b"next")).await;
        assert_eq!(client.packet().await, [0x50, 2, 0, 7], "released before the crash: another message");
        assert_eq!(daemon.ingest.payloads(), ["next"]);
        let mut subscriber = come(&daemon, 4, "s", true).await;
        assert_eq!(subscriber.packet().await, publish(4, 2, 1, "t", b"once"));
        assert_eq!(subscriber.packet().await, publish(4, 2, 2, "t", b"next"));
        subscriber.pings().await;
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_or_sent_on_before_it_is_on_disk() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut lasting = subscribed(&daemon, 4, "s", "t", 2).await;
    let mut plain = daemon.subscriber(4, "plain", "t", 1).await;
    let mut publisher = daemon.client(4, "p").await;
    daemon.journal.hold();
    publisher.send(&publish(4, 1, 1, "t", b"x")).await;
    assert_eq!(plain.packet().await, publish(4, 1, 1, "t", b"x"), "its session ends with us anyway");
    publisher.hears_nothing().await;
    lasting.hears_nothing().await;
    // What needs no disk goes on, and does not overtake.
    publisher.send(&publish(4, 1, 2, "other", b"y")).await;
    publisher.hears_nothing().await;
    let lost = daemon.after_a_crash().await;
    let mut again = come(&lost, 4, "s", true).await;
    again.pings().await;
    daemon.journal.sync();
    assert_eq!(publisher.packet().await, [0x40, 2, 0, 1]);
    assert_eq!(publisher.packet().await, [0x40, 2, 0, 2]);
    assert_eq!(lasting.packet().await, publish(4, 1, 1, "t", b"x"));
    // QoS 2 towards the client: PUBREL waits for PUBREC to be on disk.
    say(&mut publisher, 2, 3, "t", b"z").await;
    assert_eq!(lasting.packet().await, publish(4, 2, 2, "t", b"z"));
    daemon.journal.hold();
    lasting.send(&[0x50, 2, 0, 2]).await;
    lasting.hears_nothing().await;
    daemon.journal.sync();
    assert_eq!(lasting.packet().await, [0x62, 2, 0, 2]);
}

#[tokio::test]
async fn without_lasting_sessions_nothing_is_written() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut subscriber = daemon.subscriber(5, "s", "#", 2).await;
    let mut publisher = daemon.client(4, "p").await;
    daemon.journal.hold();
    for (qos, id) in [(1, 1), (2, 2)] {
        say(&mut publisher, qos, id, "t", b"x").await;
        assert_eq!(subscriber.packet().await[0] >> 4, 3);
    }
    assert_eq!(daemon.journal.len(), 0);
}

#[tokio::test]
async fn retained_messages_survive_and_deleted_ones_stay_deleted() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = daemon.client(5, "c").await;
    let user = [38, 0, 1, b'k', 0, 1, b'v'];
    for (topic, payload) in [("a/1", &b"old"[..]), ("a/1", b"new"), ("a/2", b"x"), ("a/2", b"")] {
        client.send(&publish_with(5, 0b0011, 1, topic, &user, payload)).await;
        assert_eq!(client.packet().await[0], 0x40);
    }
    client.send(&publish_with(5, 0b0001, 0, "a/3", &[], b"quick")).await;
    client.pings().await;
    let mut daemon = daemon;
    for _ in 0..2 {
        daemon = daemon.after_a_crash().await;
        let mut subscriber = daemon.subscriber(5, "s", "a/#", 1).await;
        assert_eq!(subscriber.packet().await, publish_with(5, 0b0011, 1, "a/1", &user, b"new"));
        assert_eq!(subscriber.packet().await, publish_with(5, 1, 0, "a/3", &[], b"quick"));
        subscriber.pings().await;
        // The same from a journal that was rewritten.
        let shared = daemon.broker.shared();
        shared.ledger.rewrite(shared.retained()).await.unwrap();
    }
}

#[tokio::test]
async fn a_rewritten_journal_says_the_same() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut client = subscribed(&daemon, 5, "c", "t/+", 2).await;
    client.send(&subscribe(5, 2, &[11, 9], &[("$share/g/u", 1 | 0b1000)])).await;
    client.packet().await;
    client.send(&publish(5, 2, 77, "x", b"")).await;
    assert_eq!(client.packet().await, [0x50, 2, 0, 77]);
    let mut publisher = daemon.client(4, "p").await;
    for id in 1..=3 {
        say(&mut publisher, 2, id, "t/1", b"x").await;
        assert_eq!(client.packet().await, publish(5, 2, id, "t/1", b"x"));
    }
    client.send(&[0x50, 2, 0, 2]).await;
    assert_eq!(client.packet().await, [0x62, 2, 0, 2]);
    go(client).await;
    until(|| daemon.broker.counters().absent_sessions == 1).await;
    for id in 4..=200 {
        say(&mut publisher, 1, id, "t/1", b"y").await;
    }
    say(&mut publisher, 1, 201, "u", b"u").await;
    let shared = daemon.broker.shared();
    shared.ledger.rewrite(shared.retained()).await.unwrap();
    let daemon = daemon.after_a_crash().await;
    let mut client = come(&daemon, 5, "c", true).await;
    assert_eq!(client.packet().await, publish_with(5, 0b1100, 1, "t/1", &[], b"x"));
    assert_eq!(client.packet().await, [0x62, 2, 0, 2]);
    assert_eq!(client.packet().await, publish_with(5, 0b1100, 3, "t/1", &[], b"x"));
    for id in 4..=200 {
        assert_eq!(client.packet().await, publish(5, 1, id, "t/1", b"y"));
        client.send(&[&[0x40, 2][..], &id.to_be_bytes()].concat()).await;
    }
    assert_eq!(client.packet().await, publish_with(5, 0b0010, 201, "u", &[11, 9], b"u"));
    client.send(&publish_with(5, 0b1100, 77, "x", &[], b"")).await;
    assert_eq!(client.packet().await, [0x50, 2, 0, 77]);
    assert!(daemon.ingest.payloads().is_empty(), "known");
}

#[tokio::test]
async fn sessions_end_by_the_clock_on_the_wall_and_stay_ended() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    go(subscribed(&daemon, 5, "away", "t", 1).await).await;
    let ended = subscribed(&daemon, 5, "ended", "t", 1).await;
    go(ended).await;
    let (client, _) = daemon.connected(&super::wire::connect(5, "ended")).await;
    drop(client);
    let _here = subscribed(&daemon, 5, "here", "t", 1).await;
    until(|| daemon.broker.counters().connections == 1).await;
    let later = |daemon: &Daemon, seconds: i64| {
        daemon.clock.set(Timestamp::from_nanos(daemon.clock.now().nanos() + seconds * 1_000_000_000));
    };
    later(&daemon, 3_000);
    let daemon = daemon.after_a_crash().await;
    assert_eq!(daemon.broker.counters().absent_sessions, 2, "a clean start has ended the third");
    later(&daemon, 599);
    keeper::look(daemon.broker.shared()).await;
    assert_eq!(daemon.broker.counters().absent_sessions, 2);
    later(&daemon, 1);
    keeper::look(daemon.broker.shared()).await;
    assert_eq!(daemon.broker.counters().absent_sessions, 1, "an hour after it left, the crash included");
    let daemon = daemon.after_a_crash().await;
    assert_eq!(daemon.broker.counters().absent_sessions, 1);
    later(&daemon, 3_000);
    keeper::look(daemon.broker.shared()).await;
    assert_eq!(daemon.broker.counters().absent_sessions, 0, "an hour after the first crash");
}

#[tokio::test]
async fn a_will_is_published_after_the_crash_that_broke_the_connection() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut clients = Vec::new();
    for (client_id, delay) in [("now", 0), ("later", 10)] {
        let will = [vec![5, 24, 0, 0, 0, delay], text("will"), text(client_id)].concat();
        let connect = connect_with(5, client_id, 0b0000_1100, 0, &[17, 0, 0, 0, 60], &will);
        clients.push(daemon.connected(&connect).await);
    }
    let daemon = daemon.after_a_crash().await;
    let mut watcher = daemon.subscriber(4, "w", "will", 0).await;
    keeper::look(daemon.broker.shared()).await;
    assert_eq!(watcher.packet().await, publish(4, 0, 0, "will", b"now"));
    watcher.hears_nothing().await;
    let daemon = daemon.after_a_crash().await;
    let mut watcher = daemon.subscriber(4, "w", "will", 0).await;
    daemon.clock.set(Timestamp::from_nanos(daemon.clock.now().nanos() + 10_000_000_000));
    keeper::look(daemon.broker.shared()).await;
    assert_eq!(watcher.packet().await, publish(4, 0, 0, "will", b"later"), "and the other only once");
    watcher.hears_nothing().await;
}

#[tokio::test]
async fn retained_messages_for_a_lasting_session_are_not_sent_twice() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut publisher = daemon.client(4, "p").await;
    for n in 0..3 {
        let topic = format!("r/{n}");
        publisher.send(&publish_with(4, 0b0101, 9, &topic, &[], b"x")).await;
        assert_eq!(publisher.packet().await, [0x50, 2, 0, 9]);
        publisher.send(&[0x62, 2, 0, 9]).await;
        assert_eq!(publisher.packet().await, [0x70, 2, 0, 9]);
    }
    let mut client = subscribed(&daemon, 5, "c", "r/#", 2).await;
    for id in 1..=3 {
        let topic = format!("r/{}", id - 1);
        assert_eq!(client.packet().await, publish_with(5, 0b0101, id, &topic, &[], b"x"));
    }
    client.send(&[0x50, 2, 0, 2]).await;
    assert_eq!(client.packet().await, [0x62, 2, 0, 2]);
    let daemon = daemon.after_a_crash().await;
    let mut client = come(&daemon, 5, "c", true).await;
    assert_eq!(client.packet().await, publish_with(5, 0b1101, 1, "r/0", &[], b"x"));
    assert_eq!(client.packet().await, [0x62, 2, 0, 2]);
    assert_eq!(client.packet().await, publish_with(5, 0b1101, 3, "r/2", &[], b"x"));
    client.pings().await;
}

/// A client that takes one message at a time, has subscribed to a hundred retained ones and acknowledged three.
async fn in_the_middle_of_what_is_retained(daemon: &Daemon) -> (Wire, Vec<u8>) {
    for n in 0..100 {
        let mut kept = message(&format!("r/{n:02}"), b"x");
        kept.qos = if n % 10 == 9 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        daemon.broker.publish(&kept);
    }
    let one_at_a_time = connect_with(5, "c", 0, 0, &[17, 0, 0, 0x0E, 0x10, 33, 0, 1], &[]);
    let (mut client, _) = daemon.connected(&one_at_a_time).await;
    client.send(&subscribe(5, 1, &[11, 7], &[("r/+", 1)])).await;
    assert_eq!(client.packet().await[0], 0x90);
    for n in 0..3_u8 {
        assert_eq!(client.packet().await, retained(n, 0b0011, n + 1));
        client.send(&[0x40, 2, 0, n + 1]).await;
    }
    assert_eq!(client.packet().await, retained(3, 0b0011, 4));
    (client, one_at_a_time)
}

fn retained(n: u8, flags: u8, id: u8) -> Vec<u8> {
    publish_with(5, flags, id.into(), &format!("r/{n:02}"), &[11, 7], b"x")
}

/// The next `count` retained messages, acknowledged one by one, and nothing behind them; their numbers in order.
async fn hears(client: &mut Wire, count: usize) -> Vec<u8> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let packet = client.packet().await;
        assert_eq!(&packet[2..6], [0, 4, b'r', b'/']);
        numbers.push(std::str::from_utf8(&packet[6..8]).unwrap().parse().unwrap());
        if packet[0] & 0b0110 != 0 {
            client.send(&[0x40, 2, packet[8], packet[9]]).await;
        }
    }
    client.pings().await;
    client.hears_nothing().await;
    numbers.sort_unstable();
    numbers
}

/// What has not been acknowledged, but for QoS 0 that was at hand when the connection broke: pages have 32.
fn the_rest(end: u8) -> Vec<u8> {
    (3..end).filter(|n| n % 10 != 9 || *n > 32).collect()
}

#[tokio::test]
async fn what_is_retained_goes_on_where_a_connection_broke() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let (client, connect) = in_the_middle_of_what_is_retained(&daemon).await;
    drop(client);
    until(|| daemon.broker.counters().absent_sessions == 1).await;
    let (mut client, _) = daemon.connected(&connect).await;
    assert_eq!(hears(&mut client, 94).await, the_rest(100));
}

#[tokio::test]
async fn what_is_retained_goes_on_after_a_crash() {
    for rewritten in [false, true] {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        let (_client, connect) = in_the_middle_of_what_is_retained(&daemon).await;
        if rewritten {
            let shared = daemon.broker.shared();
            shared.ledger.rewrite(shared.retained()).await.unwrap();
        }
        let daemon = daemon.after_a_crash().await;
        let (mut client, _) = daemon.connected(&connect).await;
        assert_eq!(hears(&mut client, 94).await, the_rest(100), "rewritten: {rewritten}");
        // It is over: neither another connection nor another crash begins again.
        let daemon = daemon.after_a_crash().await;
        let (mut client, _) = daemon.connected(&connect).await;
        hears(&mut client, 0).await;
    }
}

#[tokio::test]
async fn unsubscribing_ends_what_is_retained_for_it() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let (mut client, connect) = in_the_middle_of_what_is_retained(&daemon).await;
    client.send(&super::wire::packet(0xA2, &[&[0, 2, 0][..], &text("r/+")].concat())).await;
    assert_eq!(client.packet().await, [0xB0, 4, 0, 2, 0, 0]);
    drop(client);
    until(|| daemon.broker.counters().absent_sessions == 1).await;
    for daemon in [daemon.after_a_crash().await, daemon] {
        let (mut client, _) = daemon.connected(&connect).await;
        // What had its packet id by then is still sent: the rest of the page.
        assert_eq!(hears(&mut client, 26).await, the_rest(32));
    }
}

#[tokio::test]
async fn retained_messages_that_found_no_place_in_the_window_come_on_the_next_connection() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let mut publisher = daemon.client(4, "p").await;
    for n in 0..3 {
        publisher.send(&publish_with(4, 0b0011, 9, &format!("r/{n}"), &[], b"x")).await;
        assert_eq!(publisher.packet().await, [0x40, 2, 0, 9]);
    }
    let one_at_a_time = connect_with(5, "c", 0, 0, &[17, 0, 0, 0x0E, 0x10, 33, 0, 1], &[]);
    let (mut client, _) = daemon.connected(&one_at_a_time).await;
    client.send(&subscribe(5, 1, &[], &[("r/#", 1)])).await;
    assert_eq!(client.packet().await[0], 0x90);
    assert_eq!(client.packet().await, publish_with(5, 0b0011, 1, "r/0", &[], b"x"));
    drop(client);
    until(|| daemon.broker.counters().absent_sessions == 1).await;
    let mut client = come(&daemon, 5, "c", true).await;
    assert_eq!(client.packet().await, publish_with(5, 0b1011, 1, "r/0", &[], b"x"));
    assert_eq!(client.packet().await, publish_with(5, 0b0011, 2, "r/1", &[], b"x"));
    assert_eq!(client.packet().await, publish_with(5, 0b0011, 3, "r/2", &[], b"x"));
}
