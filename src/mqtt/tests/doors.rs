//! Ways in and who may: WebSocket, TLS, passwords, certificates and policies, byte by byte.

use futures::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message as WebMessage};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::wire::{connect, connect_with, publish, publish_with, subscribe, text};
use super::*;
use crate::access::{Certificate, Policy};
use crate::mqtt::{Logins, User, hash_password};
use crate::tls::tests::Authority;
use crate::tls::{ClientAuthorities, TlsEndpoint, TlsFiles};

fn policy(statements: &str) -> Arc<Policy> {
    Arc::new(Policy::parse(&format!("{{\"Statement\": [{statements}]}}")).unwrap())
}

/// Connects as itself, publishes below its name, retains one topic, subscribes to two filters and
/// receives from one.
const DEVICE: &str = r#"
    {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
    {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/dt/${iot:ClientId}/*"},
    {"Effect": "Allow", "Action": "iot:RetainPublish", "Resource": "arn:aws:iot:*:*:topic/dt/*/state"},
    {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": ["arn:aws:iot:*:*:topicfilter/cmd/#", "arn:aws:iot:*:*:topicfilter/dt/+/state"]},
    {"Effect": "Allow", "Action": "iot:Receive", "Resource": "arn:aws:iot:*:*:topic/cmd/*"},
    {"Effect": "Deny", "Action": "iot:Receive", "Resource": "arn:aws:iot:*:*:topic/cmd/secret"}"#;

/// A listener for one user, `pump` with the password `pw`.
fn guarded() -> Door {
    let user = User::new("pump", &hash_password(b"pw").unwrap(), policy(DEVICE)).unwrap();
    let logins = Arc::new(Logins::new(vec![user], Arc::default()));
    Door { anonymous: false, logins, ..Door::open() }
}

fn login(level: u8, client_id: &str, name: &str, password: &str) -> Vec<u8> {
    connect_with(level, client_id, 0b1100_0010, 0, &[], &[text(name), text(password)].concat())
}

async fn pump(daemon: &Daemon, level: u8) -> Wire {
    daemon.connected(&login(level, "pump", "pump", "pw")).await.0
}

#[tokio::test]
async fn a_password_lets_in_whom_it_belongs_to() {
    let daemon = Daemon::start_behind(guarded(), BrokerOptions::default()).await;
    let cases = [
        ("wrong password", login(4, "pump", "pump", "PW"), vec![0x20, 2, 0, 4]),
        ("unknown user", login(4, "pump", "nobody", "pw"), vec![0x20, 2, 0, 4]),
        ("nothing", connect(4, "pump"), vec![0x20, 2, 0, 5]),
        ("another client id", login(4, "other", "pump", "pw"), vec![0x20, 2, 0, 5]),
    ];
    for (what, connect, expected) in cases {
        let mut client = daemon.socket().await;
        client.send(&connect).await;
        assert_eq!(client.rest().await, [expected], "{what}");
    }
    let will = |topic: &str, flags: u8| {
        let rest = [vec![0], text(topic), text("gone"), text("pump"), text("pw")].concat();
        connect_with(5, "pump", 0b1100_0110 | flags, 0, &[], &rest)
    };
    let cases = [
        ("wrong password", login(5, "pump", "pump", "x"), 0x86),
        ("nothing", connect(5, "pump"), 0x87),
        ("another client id", login(5, "other", "pump", "pw"), 0x87),
        ("a will for another's topic", will("dt/other/gone", 0), 0x87),
        ("a will that may not be retained", will("dt/pump/gone", 0b0010_0000), 0x87),
    ];
    for (what, connect, expected) in cases {
        let mut client = daemon.socket().await;
        client.send(&connect).await;
        let answers = client.rest().await;
        assert_eq!(answers.len(), 1, "{what}");
        assert_eq!((answers[0][0], answers[0][3]), (0x20, expected), "{what}");
    }
    assert_eq!(daemon.broker.counters().logins_failed, 5);
    pump(&daemon, 4).await.pings().await;
    let (mut client, _) = daemon.connected(&will("dt/pump/gone", 0)).await;
    client.send(&publish(5, 1, 7, "dt/pump/x", b"x")).await;
    assert_eq!(client.packet().await, [0x40, 2, 0, 7]);
    drop(client);
    daemon.ingest.has(2).await;
    for message in daemon.ingest.messages() {
        assert_eq!(message.origin.principal.as_deref(), Some("pump"), "{}", message.topic);
    }
}

#[tokio::test]
async fn a_publish_that_is_denied_is_answered_in_its_turn_or_ends_the_connection() {
    let daemon = Daemon::start_behind(guarded(), BrokerOptions::default()).await;
    daemon.ingest.hold();
    let mut client = pump(&daemon, 5).await;
    let retained = |topic: &str, id| publish_with(5, 0b0011, id, topic, &[], b"x");
    client.send(&publish(5, 1, 1, "dt/pump/x", b"x")).await;
    client.send(&publish(5, 1, 2, "dt/other/x", b"x")).await;
    client.send(&publish(5, 2, 3, "other", b"x")).await;
    client.send(&retained("dt/pump/x", 4)).await;
    client.send(&retained("dt/pump/state", 5)).await;
    daemon.ingest.has(2).await;
    client.hears_nothing().await;
    daemon.ingest.resolve(0, Ok(()));
    daemon.ingest.resolve(1, Ok(()));
    assert_eq!(client.packet().await, [0x40, 2, 0, 1]);
    for (first, id) in [(0x40, 2), (0x50, 3), (0x40, 4)] {
        let packet = client.packet().await;
        assert_eq!((packet[0], &packet[2..5]), (first, &[0, id, 0x87][..]));
    }
    assert_eq!(client.packet().await, [0x40, 2, 0, 5]);
    // The refusal has ended the exchange: the id is free again.
    client.send(&[0x62, 2, 0, 3]).await;
    let packet = client.packet().await;
    assert_eq!((packet[0], packet[4]), (0x70, 0x92));
    client.send(&publish(5, 0, 0, "other", b"x")).await;
    assert_eq!(client.sent_away().await, Some(0x87));
    // In words, unless the client does not want them (Request Problem Information) or cannot take them.
    let rest = [text("pump"), text("pw")].concat();
    for (list, words) in [(&[][..], true), (&[23, 1], true), (&[23, 0], false), (&[39, 0, 0, 0, 40], false)] {
        let (mut client, _) = daemon.connected(&connect_with(5, "pump", 0b1100_0010, 0, list, &rest)).await;
        for (qos, first) in [(1, 0x40), (2, 0x50)] {
            client.send(&publish(5, qos, 7, "other", b"x")).await;
            let packet = client.packet().await;
            assert_eq!((packet[0], &packet[2..5]), (first, &[0, 7, 0x87][..]));
            assert_eq!(packet.ends_with(b"may not publish to this topic"), words, "{list:?}");
        }
    }

    for qos in [0, 1, 2] {
        let mut client = pump(&daemon, 4).await;
        client.send(&publish(4, qos, 9, "other", b"x")).await;
        assert!(client.rest().await.is_empty(), "3.1.1 has no words for it");
    }
    assert_eq!(daemon.ingest.messages().len(), 2);
    assert_eq!(daemon.broker.counters().operations_denied, 15);
}

#[tokio::test]
async fn subscriptions_and_deliveries_are_allowed_one_by_one() {
    let daemon = Daemon::start_behind(guarded(), BrokerOptions::default()).await;
    for (level, denied) in [(4, 0x80), (5, 0x87)] {
        let mut client = pump(&daemon, level).await;
        let filters = [("cmd/#", 1), ("#", 1), ("$share/g/cmd/#", 1), ("dt/+/state", 0)];
        client.send(&subscribe(level, 1, &[], &filters)).await;
        let suback = client.packet().await;
        assert_eq!(suback[suback.len() - 4..], [1, denied, denied, 0]);
    }
    let mut client = pump(&daemon, 5).await;
    daemon.broker.publish(&message("cmd/secret", b"no"));
    daemon.broker.publish(&message("cmd/kept", b"yes"));
    client.send(&subscribe(5, 1, &[], &[("cmd/#", 0), ("dt/+/state", 0)])).await;
    assert_eq!(client.packet().await[0], 0x90);
    let packet = client.packet().await;
    assert!(packet.ends_with(b"yes"), "what is retained is received or not, too");
    daemon.broker.publish(&message("dt/other/state", b"no"));
    daemon.broker.publish(&message("cmd/secret", b"no"));
    daemon.broker.publish(&message("cmd/x", b"live"));
    assert!(client.packet().await.ends_with(b"live"));
    client.pings().await;
}

/// A broker behind WebSocket, for everyone.
async fn web(options: BrokerOptions) -> Daemon {
    Daemon::start_behind(Door { websocket: true, ..Door::open() }, options).await
}

fn request(path: &str, protocol: Option<&str>) -> Request {
    let mut request = format!("ws://127.0.0.1{path}").into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    request
}

/// MQTT in binary messages, whole bytes in and out.
struct WebClient<S> {
    stream: WebSocketStream<S>,
    heard: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebClient<S> {
    async fn begin(stream: S) -> Self {
        let (stream, response) = client_async(request("/mqtt", Some("other, mqtt")), stream).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
        Self { stream, heard: Vec::new() }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.send(WebMessage::Binary(bytes.to_vec().into())).await.unwrap();
    }

    /// Fails when anything but `expected` comes next.
    async fn hears(&mut self, expected: &[u8]) {
        while self.heard.len() < expected.len() {
            match timeout(SOON, self.stream.next()).await.expect("nothing came").expect("the end").unwrap() {
                WebMessage::Binary(bytes) => self.heard.extend_from_slice(&bytes),
                other => panic!("{other:?} came"),
            }
        }
        let rest = self.heard.split_off(expected.len());
        assert_eq!(std::mem::replace(&mut self.heard, rest), expected);
    }

    /// Waits for the end.
    async fn ends(&mut self) {
        let end = async {
            while let Some(Ok(message)) = self.stream.next().await {
                if message.is_close() {
                    return;
                }
            }
        };
        timeout(SOON, end).await.expect("the broker did not close the connection");
    }
}

async fn web_client(daemon: &Daemon) -> WebClient<TcpStream> {
    WebClient::begin(TcpStream::connect(daemon.address).await.unwrap()).await
}

#[tokio::test]
async fn packets_and_messages_need_not_begin_together() {
    let daemon = web(BrokerOptions::default()).await;
    let mut client = web_client(&daemon).await;
    let greeting = connect(4, "c");
    client.send(&greeting[..3]).await;
    client.send(&[]).await;
    client.send(&greeting[3..]).await;
    client.hears(&[0x20, 2, 0, 0]).await;
    client.send(&[publish(4, 1, 7, "t", b"x"), publish(4, 1, 8, "t", b"y"), vec![0xC0]].concat()).await;
    client.hears(&[0x40, 2, 0, 7, 0x40, 2, 0, 8]).await;
    client.send(&[0]).await;
    client.hears(&[0xD0, 0]).await;

    // One message in three frames, with a ping between them.
    let packet = publish(4, 1, 9, "t", b"z");
    let frame = |bytes: &[u8], opcode, last| {
        WebMessage::Frame(Frame::message(bytes.to_vec(), OpCode::Data(opcode), last))
    };
    client.stream.send(frame(&packet[..2], Data::Binary, false)).await.unwrap();
    client.stream.send(WebMessage::Ping(b"there?".to_vec().into())).await.unwrap();
    client.stream.send(frame(&packet[2..4], Data::Continue, false)).await.unwrap();
    client.stream.send(frame(&packet[4..], Data::Continue, true)).await.unwrap();
    let answer = timeout(SOON, client.stream.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer, WebMessage::Pong(b"there?".to_vec().into()));
    client.hears(&[0x40, 2, 0, 9]).await;

    // More than one message has room for, both ways.
    client.send(&subscribe(4, 1, &[], &[("large", 0)])).await;
    client.hears(&[0x90, 3, 0, 1, 0]).await;
    let packet = publish(4, 0, 0, "large", &vec![7; 200_000]);
    client.send(&packet).await;
    client.hears(&packet).await;
    client.send(&[0xE0, 0]).await;
    client.ends().await;
    until(|| daemon.broker.counters().connections == 0).await;
}

#[tokio::test]
async fn what_is_no_mqtt_over_websocket_is_refused() {
    let daemon = web(BrokerOptions::default()).await;
    for (path, protocol, status) in
        [("/", Some("mqtt"), 404), ("/mqttx", Some("mqtt"), 404), ("/mqtt", Some("mqttv3.1"), 400)]
    {
        let stream = TcpStream::connect(daemon.address).await.unwrap();
        let Err(Error::Http(response)) = client_async(request(path, protocol), stream).await else {
            panic!("{path} {protocol:?} was not refused");
        };
        assert_eq!(response.status(), status, "{path} {protocol:?}");
    }
    let mut texting = web_client(&daemon).await;
    texting.send(&connect(4, "text")).await;
    texting.hears(&[0x20, 2, 0, 0]).await;
    texting.stream.send(WebMessage::Text("PUBLISH".into())).await.unwrap();
    texting.ends().await;

    let mut closing = web_client(&daemon).await;
    closing.send(&connect(4, "closing")).await;
    closing.hears(&[0x20, 2, 0, 0]).await;
    closing.stream.close(None).await.unwrap();
    closing.ends().await;

    let small = web(BrokerOptions { packet_bytes_max: 1_000, ..BrokerOptions::default() }).await;
    let mut shouting = web_client(&small).await;
    shouting.send(&connect(4, "shouting")).await;
    shouting.hears(&[0x20, 2, 0, 0]).await;
    let _ = shouting.stream.send(WebMessage::Binary(vec![0x30; 5_000].into())).await;
    shouting.ends().await;
    web_client(&daemon).await.send(&connect(4, "good")).await;
}

#[tokio::test]
async fn hostile_websocket_handshakes_end() {
    let options = BrokerOptions { handshake_timeout: Duration::from_millis(300), ..BrokerOptions::default() };
    let daemon = web(options).await;
    let endless = format!("GET /mqtt HTTP/1.1\r\nx: {}", "y".repeat(80_000));
    let many = format!("GET /mqtt HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(500));
    let half = "GET /mqtt HTTP/1.1\r\nHost: x\r\n";
    let plain = connect(4, "c");
    for bytes in [b"".as_slice(), half.as_bytes(), endless.as_bytes(), many.as_bytes(), &plain, &[0xFF; 999]]
    {
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the broker did not close");
        assert!(!answer.starts_with(b"HTTP/1.1 101"));
    }
    until(|| daemon.broker.counters().connections == 0).await;
    // A key with a flood of pings nobody reads the answers of costs itself only.
    let mut client = web_client(&daemon).await;
    client.send(&connect(4, "good")).await;
    client.hears(&[0x20, 2, 0, 0]).await;
}

fn behind_tls(authority: &Authority, required: bool, websocket: bool) -> Door {
    let clients = Some(ClientAuthorities { path: authority.path("ca.pem"), required });
    let tls = TlsEndpoint::open(TlsFiles { clients, ..authority.write_pair() }, &[]).unwrap();
    Door { tls: Some(tls), websocket, certificates: Some(policy(CERTIFIED)), anonymous: true, ..Door::open() }
}

const CERTIFIED: &str = r#"
    {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
    {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/${iot:Certificate.Subject.CommonName}/x"}"#;

#[tokio::test]
async fn a_certificate_says_who_a_client_is() {
    let authority = Authority::new();
    let server = ServerName::try_from("localhost").unwrap();
    for websocket in [false, true] {
        let daemon =
            Daemon::start_behind(behind_tls(&authority, false, websocket), BrokerOptions::default()).await;
        let (certificate, key) = authority.sign("pump");
        let id = Certificate::read(&certificate).id;
        let socket = TcpStream::connect(daemon.address).await.unwrap();
        let connector = authority.client(Some((certificate, key)));
        let mut stream = connector.connect(server.clone(), socket).await.unwrap();
        let greeting = login(5, "any", "?SDK=Python", "");
        let publishes = [publish(5, 1, 7, "pump/x", b"x"), publish(5, 1, 8, "valve/x", b"x")].concat();
        let answer = if websocket {
            let mut client = WebClient::begin(stream).await;
            client.send(&greeting).await;
            client.hears(&[0x20, 14, 0, 0, 11, 33, 1, 0, 39, 0, 4, 0, 0, 34, 0, 16]).await;
            client.send(&publishes).await;
            client.hears(&[0x40, 2, 0, 7]).await;
            client.hears(&[0x40]).await;
            continue;
        } else {
            stream.write_all(&[greeting, publishes].concat()).await.unwrap();
            let mut answer = vec![0; 16 + 4 + 5];
            timeout(SOON, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
            answer
        };
        assert_eq!(answer[16..20], [0x40, 2, 0, 7]);
        assert_eq!((answer[20], answer[24]), (0x40, 0x87), "another's topic");
        assert_eq!(daemon.ingest.messages()[0].origin.principal.as_deref(), Some(&*id));
    }
}

#[tokio::test]
async fn tls_handshakes_hold_up_nobody() {
    let authority = Authority::new();
    let options = BrokerOptions { handshake_timeout: Duration::from_millis(500), ..BrokerOptions::default() };
    let daemon = Daemon::start_behind(behind_tls(&authority, false, false), options).await;
    let mut waiting = Vec::new();
    for bytes in
        [b"".as_slice(), &[22, 3, 1], b"GET / HTTP/1.1\r\n\r\n", &connect(4, "plain"), &[0xFF; 2_000]]
    {
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        waiting.push(stream);
    }
    let socket = TcpStream::connect(daemon.address).await.unwrap();
    let server = ServerName::try_from("localhost").unwrap();
    let mut good = authority.client(None).connect(server, socket).await.unwrap();
    good.write_all(&connect(4, "good")).await.unwrap();
    let mut connack = [0; 4];
    timeout(SOON, good.read_exact(&mut connack)).await.expect("an answer").unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    until(|| daemon.broker.counters().connections == 1).await;
    assert_eq!(daemon.broker.counters().handshakes_failed(), 5);
}

#[tokio::test]
async fn a_url_signed_with_an_unknown_key_is_refused() {
    let mut credentials = crate::access::Credentials::default();
    assert!(credentials.add(crate::access::Credential {
        access_key_id: "AKID".into(),
        secret_access_key: crate::access::Secret::new("secret"),
        session_token: None,
        name: "app".into(),
        policy: policy(CERTIFIED),
    }));
    let logins = Arc::new(Logins::new(Vec::new(), Arc::new(credentials)));
    let door = Door { websocket: true, anonymous: false, logins, ..Door::open() };
    let daemon = Daemon::start_behind(door, BrokerOptions::default()).await;
    let url = "/mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=NOBODY%2F19700101%2Fr%2Fiotdevicegateway%2F\
               aws4_request&X-Amz-Date=19700101T000001Z&X-Amz-SignedHeaders=host&X-Amz-Signature=0";
    for (path, status) in
        [(url.to_owned(), 403), (url.replace("NOBODY", "AKID"), 403), (url.replace("&X-Amz-Date", "&D"), 400)]
    {
        let stream = TcpStream::connect(daemon.address).await.unwrap();
        let Err(Error::Http(response)) = client_async(request(&path, Some("mqtt")), stream).await else {
            panic!("{path} was not refused");
        };
        assert_eq!(response.status(), status, "{path}");
    }
    let mut unsigned = web_client(&daemon).await;
    unsigned.send(&connect(5, "c")).await;
    let answer = timeout(SOON, unsigned.stream.next()).await.unwrap().unwrap().unwrap().into_data();
    assert_eq!(answer[3], 0x87);
}
