//! MQTT 5 over rumqttc.
//!
//! Topic aliases are not offered to the other broker: rumqttc hands a message on before it looks its alias up.

use rumqttc::v5::mqttbytes::QoS as WireQoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, Filter, Packet, Publish, PublishProperties, RetainForwardRule, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};

use super::{Delivery, Happening, REQUESTS_MAX};
use crate::message::{Properties, QoS};
use crate::mqtt::upstream::options::UpstreamOptions;
use crate::mqtt::upstream::transport;

/// The receiving side.
pub(in crate::mqtt::upstream) struct Events(EventLoop);

pub(super) fn link(options: &UpstreamOptions) -> Result<(AsyncClient, Events), String> {
    let mut mqtt = MqttOptions::new(&options.client_id, &options.host, options.port);
    mqtt.set_clean_start(false)
        .set_keep_alive(options.keep_alive)
        .set_manual_acks(true)
        .set_transport(transport::of(options)?)
        .set_connect_properties(ConnectProperties {
            session_expiry_interval: Some(options.session_expiry_seconds),
            receive_maximum: Some(options.receive_maximum),
            max_packet_size: Some(options.packet_bytes_max),
            topic_alias_max: Some(0),
            ..ConnectProperties::new()
        });
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
                other => Some(format!("{other:?}")),
            };
            Happening::Subscribed(answer.return_codes.iter().map(refused).collect())
        }
        Packet::Publish(publish) => Happening::Publish(delivery(publish)),
        _ => Happening::Nothing,
    }
}

fn delivery(publish: Publish) -> Delivery {
    Delivery {
        topic: publish.topic,
        payload: publish.payload,
        qos: super::qos(publish.qos as u8),
        stored_earlier: publish.retain,
        properties: publish.properties.map(properties).unwrap_or_default(),
        id: publish.pkid,
    }
}

fn properties(written: PublishProperties) -> Properties {
    Properties {
        payload_is_utf8: written.payload_format_indicator.map(|indicator| indicator == 1),
        expiry_seconds: written.message_expiry_interval,
        content_type: written.content_type,
        response_topic: written.response_topic,
        correlation_data: written.correlation_data,
        user: written.user_properties,
    }
}

pub(super) fn subscribe(client: &AsyncClient, filters: Vec<String>, qos: QoS) -> Result<(), String> {
    let qos = match qos {
        QoS::AtMostOnce => WireQoS::AtMostOnce,
        QoS::AtLeastOnce | QoS::ExactlyOnce => WireQoS::AtLeastOnce,
    };
    let filter = |path: String| {
        let mut filter = Filter::new(path, qos);
        filter.retain_forward_rule = RetainForwardRule::Never;
        filter
    };
    client
        .try_subscribe_many(filters.into_iter().map(filter))
        .map_err(|error| format!("cannot subscribe: {error}"))
}

pub(super) fn acknowledge(client: &AsyncClient, id: u16) -> Result<(), String> {
    let mut publish = Publish::new("", WireQoS::AtLeastOnce, Vec::new(), None);
    publish.pkid = id;
    client.try_ack(&publish).map_err(|error| format!("cannot acknowledge: {error}"))
}
