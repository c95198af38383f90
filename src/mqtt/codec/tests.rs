//! Packets in both versions: what is read, what is refused and with which code, what is written.

use bytes::BytesMut;

use super::{Codec, NoConnect, TooLarge, decode_connect};
use crate::message::{Message, QoS};
use crate::mqtt::error::{Reason, Violation};
use crate::mqtt::packet::{
    ConnAck, Connect, Outgoing, Packet, Reply, RetainHandling, SubscribeRequest, Unsubscribed, Version,
};
use crate::mqtt::tests::message;
use crate::mqtt::tests::wire::{connect, packet, properties, publish, text};

const V3: Version = Version::V311;
const V5: Version = Version::V5;

fn decode(version: Version, bytes: &[u8]) -> Result<Packet, Violation> {
    let mut buffer = BytesMut::from(bytes);
    let packet = Codec::new(version, 1_000_000, usize::MAX).decode(&mut buffer)?;
    assert!(buffer.is_empty(), "the packet must be taken whole");
    Ok(packet.expect("a whole packet"))
}

fn refused(version: Version, bytes: &[u8]) -> Option<Reason> {
    decode(version, bytes).err().map(|violation| violation.reason)
}

fn connected(bytes: &[u8]) -> Result<Connect, NoConnect> {
    decode_connect(&mut BytesMut::from(bytes), 1_000_000).map(|connect| connect.expect("a whole packet"))
}

fn wrong_connect(bytes: &[u8]) -> Option<Reason> {
    match connected(bytes) {
        Err(NoConnect::Wrong { violation, .. }) => Some(violation.reason),
        _ => None,
    }
}

#[test]
fn a_connect_is_read_with_its_will_and_without_its_credentials() {
    let mut body =
        [text("MQTT"), vec![5, 0b1110_1110, 0, 60], properties(&[17, 0, 0, 0, 9, 33, 0, 7])].concat();
    let will_properties = [24, 0, 0, 0, 1, 2, 0, 0, 0, 5, 1, 1, 38, 0, 1, b'k', 0, 1, b'v'];
    body.extend([text("gerät"), properties(&will_properties), text("will/ä"), text("gone")].concat());
    // A password that is no UTF-8, which rumqttc would refuse.
    body.extend([text("user"), vec![0, 2, 0xC3, 0x28]].concat());
    let connect = connected(&packet(0x10, &body)).unwrap();
    assert_eq!((connect.version, &*connect.client_id, connect.keep_alive_seconds), (V5, "gerät", 60));
    assert_eq!((connect.session_expiry_seconds, connect.receive_maximum), (9, 7));
    assert!(connect.clean_start);
    let will = connect.will.unwrap();
    assert_eq!(
        (will.topic.as_str(), &will.payload[..], will.qos, will.retain),
        ("will/ä", &b"gone"[..], QoS::AtLeastOnce, true)
    );
    assert_eq!((will.properties.expiry_seconds, will.properties.payload_is_utf8), (Some(5), Some(true)));
    assert_eq!(will.properties.user, [("k".to_owned(), "v".to_owned())]);

    let body = [text("MQTT"), vec![4, 0b1100_0000, 0, 0], text("c"), text(""), vec![0, 1, 0xFF]].concat();
    let connect = connected(&packet(0x10, &body)).unwrap();
    assert_eq!((connect.version, connect.clean_start, connect.will.is_none()), (V3, false, true));
}

#[test]
fn versions_are_told_apart() {
    assert_eq!(connected(&connect(3, "c")).unwrap_err(), NoConnect::Unsupported { later: false });
    assert_eq!(connected(&connect(6, "c")).unwrap_err(), NoConnect::Unsupported { later: true });
    let old = [text("MQIsdp"), vec![3, 2, 0, 0], text("c")].concat();
    assert_eq!(connected(&packet(0x10, &old)).unwrap_err(), NoConnect::Unsupported { later: false });
    let other = [text("HTTP"), vec![4, 2, 0, 0], text("c")].concat();
    assert_eq!(wrong_connect(&packet(0x10, &other)), Some(Reason::ProtocolError));
    assert_eq!(wrong_connect(b"GET / HTTP/1.1"), Some(Reason::ProtocolError));
}

#[test]
fn wrong_connects_are_refused() {
    let v3 = |flags: u8, rest: &[u8]| {
        packet(0x10, &[&text("MQTT")[..], &[4, flags, 0, 0], &text("c"), rest].concat())
    };
    let wrong = [
        ("reserved flag", v3(0b0000_0011, &[])),
        ("will QoS without will", v3(0b0000_1010, &[])),
        ("will retain without will", v3(0b0010_0010, &[])),
        ("will QoS 3", v3(0b0001_1110, &[text("t"), text("p")].concat())),
        ("password without user", v3(0b0100_0010, &text("p"))),
        ("missing will", v3(0b0000_0110, &[])),
        ("bytes left over", v3(0b0000_0010, &[0])),
        ("user name with null", v3(0b1000_0010, &text("\0"))),
    ];
    for (what, bytes) in wrong {
        assert_eq!(wrong_connect(&bytes), Some(Reason::MalformedPacket), "{what}");
    }
    let will_with_wildcard = v3(0b0000_0110, &[text("a/#"), text("p")].concat());
    assert_eq!(wrong_connect(&will_with_wildcard), Some(Reason::TopicNameInvalid));
    let twice = [text("MQTT"), vec![5, 2, 0, 0], properties(&[33, 0, 1, 33, 0, 1]), text("c")].concat();
    assert_eq!(wrong_connect(&packet(0x10, &twice)), Some(Reason::ProtocolError));
}

#[test]
fn a_publish_is_read_in_both_versions() {
    for version in [V3, V5] {
        let level = if version == V3 { 4 } else { 5 };
        let Packet::Publish(read) = decode(version, &publish(level, 2, 7, "größe/höhe", b"42")).unwrap()
        else {
            panic!("not a PUBLISH")
        };
        assert_eq!((read.id, read.qos, read.retain), (7, QoS::ExactlyOnce, false));
        assert_eq!((read.topic.unwrap().as_str(), &read.payload[..]), ("größe/höhe", &b"42"[..]));
        assert_eq!(refused(version, &publish(level, 1, 0, "t", b"")), Some(Reason::MalformedPacket), "id 0");
        assert_eq!(refused(version, &publish(level, 0, 0, "a/+", b"")), Some(Reason::TopicNameInvalid));
        assert_eq!(refused(version, &publish(level, 0, 0, "a\0", b"")), Some(Reason::MalformedPacket));
        assert_eq!(refused(version, &packet(0x30, &[0, 2, 0xC3, 0x28, 0])), Some(Reason::MalformedPacket));
        assert_eq!(refused(version, &packet(0x30, &[0, 9, b'a'])), Some(Reason::MalformedPacket));
        assert_eq!(refused(version, &packet(0x32, &[0, 1, b'a', 0])), Some(Reason::MalformedPacket));
    }
    assert_eq!(refused(V3, &publish(4, 0, 0, "", b"")), Some(Reason::TopicNameInvalid));
    assert_eq!(refused(V5, &publish(5, 0, 0, "", b"")), Some(Reason::ProtocolError));
}

#[test]
fn properties_of_a_publish_stay_out_of_the_payload() {
    let list =
        [1, 1, 2, 0, 0, 0, 9, 3, 0, 1, b'c', 8, 0, 1, b'r', 9, 0, 2, 0, 255, 35, 0, 3, 38, 0, 1, b'k', 0, 0];
    let body = [text("t"), properties(&list), b"payload".to_vec()].concat();
    let Packet::Publish(read) = decode(V5, &packet(0x30, &body)).unwrap() else { panic!("not a PUBLISH") };
    let given = read.properties;
    assert_eq!((given.payload_is_utf8, given.expiry_seconds, read.alias), (Some(true), Some(9), Some(3)));
    assert_eq!((given.content_type.as_deref(), given.response_topic.as_deref()), (Some("c"), Some("r")));
    assert_eq!(given.correlation_data.as_deref(), Some(&[0, 255][..]));
    assert_eq!(given.user, [("k".to_owned(), String::new())]);
    assert_eq!(&read.payload[..], b"payload");

    let overrun = [text("t"), vec![3, 2, 0, 0], vec![0, 9], b"payload".to_vec()].concat();
    assert_eq!(refused(V5, &packet(0x30, &overrun)), Some(Reason::MalformedPacket));
    let endless = [text("t"), vec![0xFF, 0xFF, 0xFF]].concat();
    assert_eq!(refused(V5, &packet(0x30, &endless)), Some(Reason::MalformedPacket), "not: more bytes needed");
}

#[test]
fn a_subscribe_with_an_identifier_keeps_the_properties_after_it_apart() {
    let list = [11, 0x80, 0x01, 38, 0, 1, b'k', 0, 1, b'v'];
    let body = [vec![0, 9], properties(&list), text("a/#"), vec![0b0010_1110], text("b"), vec![0b0001_0001]]
        .concat();
    let Packet::Subscribe(read) = decode(V5, &packet(0x82, &body)).unwrap() else {
        panic!("not a SUBSCRIBE")
    };
    assert_eq!((read.id, read.subscription_id), (9, Some(128)));
    let request = |filter: &str, qos, no_local, retain_as_published, retain_handling| SubscribeRequest {
        filter: filter.to_owned(),
        qos,
        no_local,
        retain_as_published,
        retain_handling,
    };
    assert_eq!(
        read.requests,
        [
            request("a/#", QoS::ExactlyOnce, true, true, RetainHandling::Never),
            request("b", QoS::AtLeastOnce, false, false, RetainHandling::WhenNew),
        ]
    );
}

#[test]
fn wrong_subscribes_and_unsubscribes_are_refused() {
    let v5 = |options: u8| packet(0x82, &[vec![0, 1, 0], text("a"), vec![options]].concat());
    assert_eq!(refused(V5, &v5(0b0100_0000)), Some(Reason::MalformedPacket), "reserved bits");
    assert_eq!(refused(V5, &v5(0b0000_0011)), Some(Reason::ProtocolError), "QoS 3");
    assert_eq!(refused(V5, &v5(0b0011_0000)), Some(Reason::ProtocolError), "retain handling 3");
    let v3 = |options: u8| packet(0x82, &[vec![0, 1], text("a"), vec![options]].concat());
    assert!(decode(V3, &v3(2)).is_ok());
    assert_eq!(refused(V3, &v3(3)), Some(Reason::MalformedPacket));
    assert_eq!(refused(V3, &v3(4)), Some(Reason::MalformedPacket), "no local does not exist in 3.1.1");
    for first in [0x82, 0xA2] {
        assert_eq!(refused(V3, &packet(first, &[0, 1])), Some(Reason::ProtocolError), "no filter");
        assert_eq!(refused(V5, &packet(first, &[0, 1, 0])), Some(Reason::ProtocolError), "no filter");
        let zero = [vec![0, 0, 0], text("a"), vec![0]].concat();
        assert_eq!(refused(V5, &packet(first, &zero)), Some(Reason::MalformedPacket), "id 0");
    }
    let shared = packet(0x82, &[vec![0, 1, 0], text("$share/g/a"), vec![0b0000_0100]].concat());
    assert_eq!(refused(V5, &shared), Some(Reason::ProtocolError), "no local on a shared subscription");
}

#[test]
fn a_disconnect_has_three_forms_in_mqtt_5_and_one_in_3_1_1() {
    let read = |version, bytes: &[u8]| match decode(version, bytes) {
        Ok(Packet::Disconnect { with_will, session_expiry_seconds }) => {
            Some((with_will, session_expiry_seconds))
        }
        _ => None,
    };
    assert_eq!(read(V5, &[0xE0, 0]), Some((false, None)));
    assert_eq!(read(V5, &[0xE0, 1, 0x04]), Some((true, None)));
    assert_eq!(read(V5, &[0xE0, 7, 0x00, 5, 17, 0, 0, 0, 8]), Some((false, Some(8))));
    assert_eq!(read(V3, &[0xE0, 0]), Some((false, None)));
    assert_eq!(refused(V3, &[0xE0, 1, 0]), Some(Reason::MalformedPacket));
    assert_eq!(refused(V5, &[0xE0, 1, 0x8E]), Some(Reason::ProtocolError), "a server's code");
    assert_eq!(refused(V5, &[0xE0, 3, 0, 0, 0]), Some(Reason::MalformedPacket));
}

#[test]
fn acknowledgements_are_checked() {
    for first in [0x40, 0x50, 0x62, 0x70] {
        assert!(decode(V3, &[first, 2, 0, 1]).is_ok() && decode(V5, &[first, 2, 0, 1]).is_ok());
        assert_eq!(refused(V3, &[first, 2, 0, 0]), Some(Reason::MalformedPacket), "id 0");
        assert_eq!(refused(V5, &[first, 2, 0, 0]), Some(Reason::MalformedPacket), "id 0");
        assert_eq!(refused(V3, &[first, 3, 0, 1, 0]), Some(Reason::MalformedPacket));
        assert!(decode(V5, &[first, 3, 0, 1, 0]).is_ok());
        assert!(decode(V5, &[first, 4, 0, 1, 0, 0]).is_ok());
        assert_eq!(refused(V5, &[first, 5, 0, 1, 0, 0, 0]), Some(Reason::MalformedPacket));
        assert_eq!(refused(V5, &[first, 3, 0, 1, 0x77]), Some(Reason::MalformedPacket), "no such code");
        assert_eq!(refused(V5, &[first, 1, 0]), Some(Reason::MalformedPacket));
    }
    let refuses = |bytes: &[u8]| matches!(decode(V5, bytes), Ok(Packet::PubRec { refused: true, .. }));
    assert!(refuses(&[0x50, 3, 0, 1, 0x87]));
    assert!(!refuses(&[0x50, 3, 0, 1, 0x10]), "no matching subscribers is a success");
    assert_eq!(refused(V3, &[0xC0, 1, 0]), Some(Reason::MalformedPacket), "a PINGREQ with a body");
}

fn encode(version: Version, reply: Reply) -> Vec<u8> {
    let mut out = BytesMut::new();
    Codec::new(version, 0, usize::MAX).encode(reply, &mut out).unwrap();
    out.to_vec()
}

#[test]
fn replies_are_written_as_long_as_they_say() {
    let connack = ConnAck {
        receive_maximum: 256,
        packet_bytes_max: 1_000,
        topic_alias_max: 16,
        assigned_client_id: Some("x".to_owned()),
        session_present: true,
        session_expiry_seconds: Some(0),
        keep_alive_seconds: Some(60),
        qos_max: Some(QoS::AtLeastOnce),
    };
    let codes = vec![Ok(QoS::AtLeastOnce), Err(Reason::TopicFilterInvalid), Err(Reason::QuotaExceeded)];
    let unsubscribed = vec![Unsubscribed::Removed, Unsubscribed::NotSubscribed, Unsubscribed::FilterInvalid];
    let cases = [
        (Reply::PubAck { id: 258 }, vec![0x40, 2, 1, 2], vec![0x40, 2, 1, 2]),
        (Reply::PubRec { id: 258 }, vec![0x50, 2, 1, 2], vec![0x50, 2, 1, 2]),
        (Reply::PubRel { id: 258, known: true }, vec![0x62, 2, 1, 2], vec![0x62, 2, 1, 2]),
        (Reply::PubComp { id: 258, known: false }, vec![0x70, 2, 1, 2], vec![0x70, 4, 1, 2, 0x92, 0]),
        (Reply::PubRel { id: 258, known: false }, vec![0x62, 2, 1, 2], vec![0x62, 4, 1, 2, 0x92, 0]),
        (Reply::PingResp, vec![0xD0, 0], vec![0xD0, 0]),
        (
            Reply::SubAck { id: 1, outcomes: codes },
            vec![0x90, 5, 0, 1, 1, 0x80, 0x80],
            vec![0x90, 6, 0, 1, 0, 1, 0x8F, 0x97],
        ),
        (
            Reply::UnsubAck { id: 1, outcomes: unsubscribed },
            vec![0xB0, 2, 0, 1],
            vec![0xB0, 6, 0, 1, 0, 0, 0x11, 0x8F],
        ),
        (
            Reply::ConnAck(connack),
            vec![0x20, 2, 1, 0],
            vec![
                0x20, 28, 1, 0, 25, 17, 0, 0, 0, 0, 33, 1, 0, 36, 1, 39, 0, 0, 3, 232, 18, 0, 1, b'x', 34, 0,
                16, 19, 0, 60,
            ],
        ),
        (
            Reply::Refuse { reason: Reason::ClientIdInvalid, text: "no".to_owned() },
            vec![0x20, 2, 0, 2],
            vec![0x20, 8, 0, 0x85, 5, 31, 0, 2, b'n', b'o'],
        ),
        (
            Reply::Disconnect { reason: Reason::BadAuthenticationMethod, text: "é".to_owned() },
            vec![],
            vec![0xE0, 7, 0x8C, 5, 31, 0, 2, 0xC3, 0xA9],
        ),
    ];
    for (reply, v3, v5) in cases {
        assert_eq!(encode(V3, reply.clone()), v3, "{reply:?} in 3.1.1");
        assert_eq!(encode(V5, reply.clone()), v5, "{reply:?} in 5");
    }
}

#[test]
fn every_refusal_can_be_written() {
    let reasons = [
        Reason::MalformedPacket,
        Reason::ProtocolError,
        Reason::ImplementationSpecific,
        Reason::UnsupportedVersion,
        Reason::ClientIdInvalid,
        Reason::ShuttingDown,
        Reason::BadAuthenticationMethod,
        Reason::TopicNameInvalid,
        Reason::PacketTooLarge,
        Reason::QuotaExceeded,
    ];
    for reason in reasons {
        for version in [V3, V5] {
            assert_eq!(encode(version, Reply::Refuse { reason, text: String::new() })[0], 0x20);
        }
    }
}

#[test]
fn a_long_reason_is_cut_at_a_character_and_left_out_when_there_is_no_room() {
    let reply = Reply::Disconnect { reason: Reason::ProtocolError, text: "ö".repeat(500) };
    let written = encode(V5, reply.clone());
    assert_eq!(written.len(), 2 + usize::from(written[1]));
    assert!(std::str::from_utf8(&written[7..]).is_ok());
    let mut out = BytesMut::new();
    Codec::new(V5, 0, 20).encode(reply.clone(), &mut out).unwrap();
    assert_eq!(&out[..], [0xE0, 2, 0x82, 0]);
    out.clear();
    assert_eq!(Codec::new(V5, 0, 3).encode(reply, &mut out), Err(TooLarge));
    assert!(out.is_empty());
}

fn outgoing<'a>(message: &'a Message, subscription_ids: &'a [u32]) -> Outgoing<'a> {
    Outgoing {
        repeated: false,
        message,
        id: 5,
        qos: QoS::AtLeastOnce,
        retain: true,
        expiry_seconds: Some(4),
        subscription_ids,
        alias: None,
    }
}

#[test]
fn a_publish_is_written_with_its_properties() {
    let mut message = message("ä/b", b"payload");
    message.properties.payload_is_utf8 = Some(true);
    message.properties.user = vec![("k".to_owned(), "v".to_owned())];
    let mut out = BytesMut::new();
    Codec::new(V5, 0, usize::MAX).encode_publish(&outgoing(&message, &[1, 300]), &mut out).unwrap();
    let list = [1, 1, 2, 0, 0, 0, 4, 38, 0, 1, b'k', 0, 1, b'v', 11, 1, 11, 0xAC, 0x02];
    let body = [text("ä/b"), vec![0, 5], properties(&list), b"payload".to_vec()].concat();
    assert_eq!(&out[..], packet(0x33, &body));
    out.clear();
    Codec::new(V3, 0, usize::MAX).encode_publish(&outgoing(&message, &[1]), &mut out).unwrap();
    assert_eq!(&out[..], packet(0x33, &[text("ä/b"), vec![0, 5], b"payload".to_vec()].concat()));
}

#[test]
fn what_mqtt_or_the_client_cannot_carry_is_not_written() {
    let mut message = message("t", &[0; 100]);
    let mut out = BytesMut::from(&b"before"[..]);
    let codec = Codec::new(V5, 0, 100);
    assert_eq!(codec.encode_publish(&outgoing(&message, &[]), &mut out), Err(TooLarge));
    message.properties.content_type = Some("x".repeat(65_536));
    let codec = Codec::new(V5, 0, usize::MAX);
    assert_eq!(codec.encode_publish(&outgoing(&message, &[]), &mut out), Err(TooLarge));
    assert_eq!(&out[..], b"before");
}
