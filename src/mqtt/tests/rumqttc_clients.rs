//! The clients people use: rumqttc in both versions against one broker.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5 as five;
use rumqttc::{mqttbytes as three, v5};
use tokio::sync::mpsc;

use super::{BrokerOptions, Daemon, SOON};

/// Runs the event loop of a 3.1.1 client and passes on what comes.
fn client_v4(daemon: &Daemon, id: &str) -> (rumqttc::AsyncClient, mpsc::UnboundedReceiver<rumqttc::Packet>) {
    let mut options = rumqttc::MqttOptions::new(id, "127.0.0.1", daemon.address.port());
    options.set_keep_alive(Duration::from_secs(5));
    options.set_credentials("user", "password");
    let (client, mut events) = rumqttc::AsyncClient::new(options, 200);
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            if let rumqttc::Event::Incoming(packet) = event {
                let _ = sender.send(packet);
            }
        }
    });
    (client, receiver)
}

fn client_v5(daemon: &Daemon, id: &str) -> (v5::AsyncClient, mpsc::UnboundedReceiver<five::Packet>) {
    let mut options = v5::MqttOptions::new(id, "127.0.0.1", daemon.address.port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = v5::AsyncClient::new(options, 200);
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            if let v5::Event::Incoming(packet) = event {
                let _ = sender.send(packet);
            }
        }
    });
    (client, receiver)
}

/// The next packet that `wanted` accepts.
async fn wait_for<P: Send, T: Send>(
    packets: &mut mpsc::UnboundedReceiver<P>,
    wanted: impl Fn(P) -> Option<T> + Send + Sync,
) -> T {
    let waiting = async {
        loop {
            if let Some(found) = wanted(packets.recv().await.expect("the client lives")) {
                return found;
            }
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("the packet never came")
}

#[tokio::test]
async fn messages_cross_between_the_versions_at_every_qos() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let (old, mut old_packets) = client_v4(&daemon, "alt-ä");
    let (new, mut new_packets) = client_v5(&daemon, "neu-ü");
    old.subscribe("von/neu/#", three::QoS::ExactlyOnce).await.unwrap();
    new.subscribe("von/alt/+", v5::mqttbytes::QoS::ExactlyOnce).await.unwrap();
    wait_for(&mut old_packets, |p| matches!(p, rumqttc::Packet::SubAck(_)).then_some(())).await;
    wait_for(&mut new_packets, |p| matches!(p, five::Packet::SubAck(_)).then_some(())).await;
    let qualities = [three::QoS::AtMostOnce, three::QoS::AtLeastOnce, three::QoS::ExactlyOnce];
    for qos in qualities {
        old.publish("von/alt/größe", qos, false, format!("{qos:?}")).await.unwrap();
        let got =
            wait_for(&mut new_packets, |p| if let five::Packet::Publish(p) = p { Some(p) } else { None })
                .await;
        assert_eq!((&got.topic[..], got.qos as u8), ("von/alt/größe".as_bytes(), qos as u8));
        assert_eq!(got.payload, format!("{qos:?}"));
    }
    let qualities =
        [v5::mqttbytes::QoS::AtMostOnce, v5::mqttbytes::QoS::AtLeastOnce, v5::mqttbytes::QoS::ExactlyOnce];
    for qos in qualities {
        new.publish("von/neu/höhe", qos, false, format!("{qos:?}")).await.unwrap();
        let got =
            wait_for(&mut old_packets, |p| if let rumqttc::Packet::Publish(p) = p { Some(p) } else { None })
                .await;
        assert_eq!((&*got.topic, got.qos as u8), ("von/neu/höhe", qos as u8));
    }
    wait_for(&mut new_packets, |p| matches!(p, five::Packet::PubComp(_)).then_some(())).await;
    assert_eq!(daemon.ingest.payloads().len(), 6);
    old.disconnect().await.unwrap();
    new.disconnect().await.unwrap();
    super::until(|| daemon.broker.counters().connections == 0).await;
    assert_eq!(daemon.broker.counters().violations(), 0);
}

#[tokio::test]
async fn properties_retained_messages_and_identifiers_reach_an_mqtt_5_client() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let (publisher, mut publisher_packets) = client_v5(&daemon, "p");
    let sent = five::PublishProperties {
        payload_format_indicator: Some(1),
        content_type: Some("application/json".to_owned()),
        response_topic: Some("antwort".to_owned()),
        correlation_data: Some(Bytes::from_static(&[0, 255])),
        user_properties: vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
        ..five::PublishProperties::default()
    };
    let qos = v5::mqttbytes::QoS::AtLeastOnce;
    publisher.publish_with_properties("t", qos, true, "{}", sent.clone()).await.unwrap();
    wait_for(&mut publisher_packets, |p| matches!(p, five::Packet::PubAck(_)).then_some(())).await;
    let (subscriber, mut packets) = client_v5(&daemon, "s");
    let list =
        five::SubscribeProperties { id: Some(77), user_properties: vec![("x".to_owned(), "y".to_owned())] };
    subscriber.subscribe_with_properties("+", qos, list).await.unwrap();
    let got = wait_for(&mut packets, |p| if let five::Packet::Publish(p) = p { Some(p) } else { None }).await;
    assert!(got.retain);
    assert_eq!(got.properties, Some(five::PublishProperties { subscription_identifiers: vec![77], ..sent }));
}

#[tokio::test]
async fn a_client_with_a_full_window_gets_every_message_through() {
    let daemon = Daemon::start(BrokerOptions::default()).await;
    let (subscriber, mut packets) = client_v4(&daemon, "s");
    subscriber.subscribe("t", three::QoS::AtLeastOnce).await.unwrap();
    wait_for(&mut packets, |p| matches!(p, rumqttc::Packet::SubAck(_)).then_some(())).await;
    let (publisher, mut publisher_packets) = client_v5(&daemon, "p");
    tokio::spawn(async move {
        for n in 0..3_000 {
            publisher.publish("t", v5::mqttbytes::QoS::AtLeastOnce, false, n.to_string()).await.unwrap();
        }
    });
    for n in 0..3_000 {
        let got =
            wait_for(&mut packets, |p| if let rumqttc::Packet::Publish(p) = p { Some(p) } else { None })
                .await;
        assert_eq!(got.payload, n.to_string());
    }
    for _ in 0..3_000 {
        wait_for(&mut publisher_packets, |p| matches!(p, five::Packet::PubAck(_)).then_some(())).await;
    }
}
