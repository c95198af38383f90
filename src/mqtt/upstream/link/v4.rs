//! MQTT 3.1.1 over rumqttc.

use bytes::Bytes;
use rumqttc::mqttbytes::v4::{Packet, Publish, SubscribeReasonCode};
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, SubscribeFilter};

use super::{Delivery, Happening, REQUESTS_MAX};
use crate::message::{Properties, QoS};
use crate::mqtt::upstream::options::UpstreamOptions;
use crate::mqtt::upstream::transport;

/// The receiving side.
pub(in crate::mqtt::upstream) struct Events(EventLoop);

pub(super) fn link(options: &UpstreamOptions) -> Result<(AsyncClient, Events), String> {
    let mut mqtt = MqttOptions::new(&options.client_id, &options.host, options.port);
    let packet_bytes = usize::try_from(options.packet_bytes_max).unwrap_or(usize::MAX);
    mqtt.set_clean_session(false)
        .set_keep_alive(options.keep_alive)
        .set_max_packet_size(packet_bytes, packet_bytes)
        .set_manual_acks(true)
        .set_transport(transport::of(options)?);
    if let Some((user, password)) = &options.login {
        mqtt.set_credentials(user, password);
    }
    let (client, events) = AsyncClient::new(mqtt, REQUESTS_MAX);
    Ok((client, Events(events)))
}

impl Events {
    pub(super) async fn next(&mut self) -> Result<Happening, String> {
        match self.0.poll().await {
            Ok(Event::Incoming(packet)) => Ok(happening(packet)),
            Ok(Event::Outgoing(_)) => Ok(Happening::Nothing),
            Err(ConnectionError::ConnectionRefused(code)) => Err(format!("the server refused: {code:?}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn happening(packet: Packet) -> Happening {
    match packet {
        Packet::ConnAck(_) => Happening::Connected,
        Packet::SubAck(answer) => {
            let refused = |code: &SubscribeReasonCode| match code {
                SubscribeReasonCode::Success(_) => None,
                SubscribeReasonCode::Failure => Some("refused".to_owned()),
            };
            Happening::Subscribed(answer.return_codes.iter().map(refused).collect())
        }
        Packet::Publish(publish) => Happening::Publish(Delivery {
            topic: Bytes::from(publish.topic),
            payload: publish.payload,
            qos: super::qos(publish.qos as u8),
            stored_earlier: publish.retain,
            properties: Properties::default(),
            id: publish.pkid,
        }),
        _ => Happening::Nothing,
    }
}

pub(super) fn subscribe(client: &AsyncClient, filters: Vec<String>, qos: QoS) -> Result<(), String> {
    let qos = match qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce | QoS::ExactlyOnce => rumqttc::QoS::AtLeastOnce,
    };
    let filters = filters.into_iter().map(|path| SubscribeFilter { path, qos });
    client.try_subscribe_many(filters).map_err(|error| format!("cannot subscribe: {error}"))
}

pub(super) fn acknowledge(client: &AsyncClient, id: u16) -> Result<(), String> {
    let publish = Publish { pkid: id, ..Publish::new("", rumqttc::QoS::AtLeastOnce, Vec::new()) };
    client.try_ack(&publish).map_err(|error| format!("cannot acknowledge: {error}"))
}
