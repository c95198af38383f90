//! An upstream against a broker of ours, in both versions: acknowledgements wait for receipts, what was not
//! acknowledged comes again, a group shares.

use std::sync::Arc;

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::message::QoS;
use crate::mqtt::tests::{Daemon, FakeIngest, until};
use crate::mqtt::{BrokerOptions, IngestError};
use crate::topic::TopicFilter;

const WITHIN: Duration = Duration::from_secs(5);

/// A consumer of the daemon's messages, and the rules it feeds.
struct Consumer {
    upstream: Upstream,
    ingest: Arc<FakeIngest>,
    stop: Shutdown,
}

impl Consumer {
    fn start(daemon: &Daemon, version: ProtocolVersion, client_id: &str, group: Option<&str>) -> Self {
        let ingest = FakeIngest::storing();
        let upstream = Self::over(daemon, version, client_id, group, &ingest);
        Self::run(upstream, ingest)
    }

    fn over(
        daemon: &Daemon,
        version: ProtocolVersion,
        client_id: &str,
        group: Option<&str>,
        ingest: &Arc<FakeIngest>,
    ) -> Upstream {
        let options = UpstreamOptions {
            name: "test".into(),
            host: "127.0.0.1".into(),
            port: daemon.port(),
            tls: None,
            version,
            client_id: client_id.into(),
            login: Some(("u".into(), "p".into())),
            filters: vec![TopicFilter::new("up/#").unwrap()],
            share_group: group.map(str::to_owned),
            qos: QoS::AtLeastOnce,
            receive_maximum: 10,
            packet_bytes_max: 1 << 20,
            session_expiry_seconds: 3600,
            keep_alive: Duration::from_secs(30),
        };
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(5_000)));
        Upstream::new(options, Arc::clone(ingest) as _, clock, Arc::default())
    }

    fn run(upstream: Upstream, ingest: Arc<FakeIngest>) -> Self {
        let stop = Shutdown::new();
        let (running, stopping) = (upstream.clone(), stop.clone());
        stop.spawn(async move { running.run(stopping).await });
        Self { upstream, ingest, stop }
    }

    fn counters(&self) -> UpstreamCounters {
        self.upstream.report().counters
    }

    fn payloads(&self) -> Vec<String> {
        let text =
            |message: &Arc<crate::message::Message>| String::from_utf8(message.payload.to_vec()).unwrap();
        self.ingest.messages().iter().map(text).collect()
    }
}

/// Waits until `daemon` has as many subscriptions as `count`.
async fn subscribed(daemon: &Daemon, count: u64) {
    until(|| daemon.broker.counters().subscriptions == count).await;
}

async fn publish(daemon: &Daemon, payloads: std::ops::Range<u32>) {
    let mut publisher = daemon.client(4, "publisher").await;
    for number in payloads {
        publisher.publish("up/a", number.to_string().as_bytes()).await;
    }
}

#[tokio::test]
async fn messages_are_acknowledged_in_order_once_they_are_durable() {
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        let consumer = Consumer::start(&daemon, version, "c", None);
        consumer.ingest.hold();
        subscribed(&daemon, 1).await;
        publish(&daemon, 0..3).await;
        consumer.ingest.has(3).await;
        assert_eq!(consumer.payloads(), ["0", "1", "2"]);
        let message = &consumer.ingest.messages()[0];
        assert_eq!((message.topic.as_str(), message.qos), ("up/a", QoS::AtLeastOnce));
        consumer.ingest.resolve(2, Ok(()));
        consumer.ingest.resolve(1, Ok(()));
        until(|| consumer.counters().waiting == 3).await;
        assert_eq!(consumer.counters().acknowledged, 0, "the first is not durable yet");
        consumer.ingest.resolve(0, Ok(()));
        until(|| consumer.counters().acknowledged == 3).await;
        assert_eq!(consumer.stop.stop(WITHIN).await, 0);
        let counted = consumer.counters();
        assert_eq!((counted.connects, counted.received, counted.waiting), (1, 3, 0));
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again() {
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let daemon = Daemon::start(BrokerOptions::default()).await;
        let first = Consumer::start(&daemon, version, "c", None);
        first.ingest.hold();
        subscribed(&daemon, 1).await;
        publish(&daemon, 0..2).await;
        first.ingest.has(2).await;
        first.ingest.resolve(0, Ok(()));
        until(|| first.counters().acknowledged == 1).await;
        // The second is not durable when the process ends: nobody answers for it.
        first.stop.stop(Duration::from_millis(200)).await;
        drop(first);
        publish(&daemon, 2..4).await;

        let second = Consumer::start(&daemon, version, "c", None);
        second.ingest.has(3).await;
        assert_eq!(second.payloads(), ["1", "2", "3"]);
        assert_eq!(second.stop.stop(WITHIN).await, 0);
    }
}

#[tokio::test]
async fn a_message_that_was_not_stored_comes_again_over_a_new_connection() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let consumer = Consumer::start(&daemon, ProtocolVersion::V5, "c", None);
    consumer.ingest.hold();
    subscribed(&daemon, 1).await;
    publish(&daemon, 0..1).await;
    consumer.ingest.has(1).await;
    consumer.ingest.resolve(0, Err(IngestError::Unavailable("full".into())));
    until(|| consumer.counters().connects == 2).await;
    consumer.ingest.has(2).await;
    assert_eq!(consumer.payloads(), ["0", "0"]);
    consumer.ingest.resolve(1, Ok(()));
    until(|| consumer.counters().acknowledged == 1).await;
    assert_eq!(consumer.counters().not_stored, 1);
    assert_eq!(consumer.stop.stop(WITHIN).await, 0);
}

#[tokio::test]
async fn a_group_shares_and_loses_nothing_when_one_of_it_ends() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let one = Consumer::start(&daemon, ProtocolVersion::V5, "one", Some("g"));
    let two = Consumer::start(&daemon, ProtocolVersion::V5, "two", Some("g"));
    subscribed(&daemon, 2).await;
    publish(&daemon, 0..20).await;
    until(|| one.ingest.messages().len() + two.ingest.messages().len() == 20).await;
    assert!(!one.payloads().is_empty() && !two.payloads().is_empty(), "both have a share");
    assert_eq!(one.stop.stop(WITHIN).await, 0);
    publish(&daemon, 20..40).await;
    until(|| one.ingest.messages().len() + two.ingest.messages().len() == 40).await;
    let mut all: Vec<u32> =
        one.payloads().iter().chain(&two.payloads()).map(|payload| payload.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
    assert_eq!(two.stop.stop(WITHIN).await, 0);
}

#[tokio::test]
async fn without_a_server_it_says_so_and_stops_when_told() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let ingest = FakeIngest::storing();
    let mut upstream = Consumer::over(&daemon, ProtocolVersion::V3_1_1, "c", None, &ingest);
    let shared = Arc::get_mut(&mut upstream.shared).expect("no clones yet");
    // Nothing listens on port 1 of the loopback device.
    shared.options.port = 1;
    let consumer = Consumer::run(upstream, ingest);
    until(|| consumer.upstream.report().trouble.is_some()).await;
    let report = consumer.upstream.report();
    assert!(report.trouble.expect("no server").starts_with("upstream test: "));
    assert_eq!(report.counters.connected, 0);
    assert_eq!(consumer.stop.stop(WITHIN).await, 0);
}

#[tokio::test]
async fn a_server_that_takes_too_little_is_told_about() {
    let options = BrokerOptions { subscriptions_max: 1, ..BrokerOptions::default() };
    let daemon = Daemon::start(options).await;
    let ingest = FakeIngest::storing();
    let mut upstream = Consumer::over(&daemon, ProtocolVersion::V5, "c", None, &ingest);
    let shared = Arc::get_mut(&mut upstream.shared).expect("no clones yet");
    shared.options.filters.push(TopicFilter::new("more").unwrap());
    let consumer = Consumer::run(upstream, ingest);
    until(|| consumer.upstream.report().trouble.is_some()).await;
    let trouble = consumer.upstream.report().trouble.expect("a filter was refused");
    assert_eq!(trouble, "upstream test: the server refused the filters more (QuotaExceeded)");
    // What was granted works all the same.
    publish(&daemon, 0..1).await;
    consumer.ingest.has(1).await;
    assert_eq!(consumer.stop.stop(WITHIN).await, 0);
}
