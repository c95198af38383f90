//! MQTT 3.1.1 by hand: what a publisher of QoS 0 or 1 and a counting subscriber need, and no more.
//!
//! A publisher of QoS 1 keeps a window full with blocking calls: it reads what acknowledgements there are and
//! answers with as many publishes in one write, which costs as little as a generator can.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Where everything is published; the shipped rule listens there.
pub(crate) const TOPIC: &str = "iot/topic";
/// The size of a payload.
pub(crate) const PAYLOAD_BYTES: usize = 200;
/// Messages that are prepared and sent in turn.
const PREPARED: usize = 1000;
const PUBACK_BYTES: usize = 4;
/// How many bytes of QoS 0 are sent in one write.
const BURST_BYTES: usize = 16 * 1024;

/// Where the packet id is: behind flags, remaining length (two bytes at this size) and topic.
fn id_at(topic: &str) -> usize {
    3 + 2 + topic.len()
}

/// One connection that publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    stream: TcpStream,
    packets: Vec<Vec<u8>>,
    next: usize,
    /// Where the packet id goes, for QoS 1.
    id_at: Option<usize>,
}

impl Publisher {
    pub(crate) fn connect(address: SocketAddr, number: usize) -> io::Result<Self> {
        Self::to(address, number, TOPIC, 1)
    }

    /// Connects to publish to `topic` with `qos`.
    pub(crate) fn to(address: SocketAddr, number: usize, topic: &str, qos: u8) -> io::Result<Self> {
        let stream = connect(address, &format!("publisher-{number}-{qos}"))?;
        let packets = (0..PREPARED).map(|index| packet(topic, qos, number * PREPARED + index)).collect();
        Ok(Self { stream, packets, next: 0, id_at: (qos > 0).then(|| id_at(topic)) })
    }

    /// Publishes `count` messages of QoS 0 and waits until the server has read them all.
    pub(crate) fn pour(&mut self, count: usize) -> io::Result<()> {
        let mut out = Vec::with_capacity(BURST_BYTES + PAYLOAD_BYTES * 2);
        for sent in 0..count {
            self.put(&mut out, sent);
            if out.len() >= BURST_BYTES {
                self.stream.write_all(&out)?;
                out.clear();
            }
        }
        // PINGREQ; its answer tells that everything before it was read.
        out.extend([0xC0, 0]);
        self.stream.write_all(&out)?;
        let mut answer = [0; 2];
        self.stream.read_exact(&mut answer)?;
        if answer != [0xD0, 0] {
            return Err(io::Error::other(format!("not a PINGRESP: {answer:02x?}")));
        }
        Ok(())
    }

    /// Publishes `count` messages with `window` of them in flight and waits for every
    /// acknowledgement. The seconds each took are pushed to `latencies`.
    pub(crate) fn publish(
        &mut self,
        count: usize,
        window: usize,
        latencies: &mut Vec<f64>,
    ) -> io::Result<()> {
        let (mut sent, mut acknowledged) = (0, 0);
        let mut out = Vec::with_capacity(window * (PAYLOAD_BYTES + 32));
        let mut under_way = VecDeque::with_capacity(window);
        let mut answers = [0; 4096];
        let mut rest = 0;
        while acknowledged < count {
            out.clear();
            let now = Instant::now();
            while sent < count && sent - acknowledged < window {
                self.put(&mut out, sent);
                under_way.push_back(now);
                sent += 1;
            }
            self.stream.write_all(&out)?;
            let read = self.stream.read(&mut answers[rest..])?;
            if read == 0 {
                return Err(io::Error::other("the server closed the connection"));
            }
            let there = rest + read;
            let whole = there / PUBACK_BYTES * PUBACK_BYTES;
            let now = Instant::now();
            for answer in answers[..whole].chunks_exact(PUBACK_BYTES) {
                if answer[..2] != [0x40, 2] {
                    return Err(io::Error::other(format!("not a PUBACK: {answer:02x?}")));
                }
                let began = under_way.pop_front().ok_or_else(|| io::Error::other("a PUBACK too many"))?;
                latencies.push((now - began).as_secs_f64());
                acknowledged += 1;
            }
            answers.copy_within(whole..there, 0);
            rest = there - whole;
        }
        Ok(())
    }

    fn put(&mut self, out: &mut Vec<u8>, sent: usize) {
        let packet = &mut self.packets[self.next];
        self.next = (self.next + 1) % PREPARED;
        if let Some(at) = self.id_at {
            let id = u16::try_from(sent % 65_535 + 1).expect("1 to 65535");
            packet[at..at + 2].copy_from_slice(&id.to_be_bytes());
        }
        out.extend_from_slice(packet);
    }
}

/// Connects at QoS `qos` to everything that is published, counts it in `received` and acknowledges
/// it, until the server goes away.
pub(crate) fn subscribe(
    address: SocketAddr,
    number: usize,
    qos: u8,
    received: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut stream = connect(address, &format!("subscriber-{number}-{qos}"))?;
    let mut body = vec![0, 1];
    text(&mut body, TOPIC);
    body.push(qos);
    let mut packet = vec![0x82, u8::try_from(body.len()).expect("a short topic")];
    packet.extend(body);
    stream.write_all(&packet)?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    if answer != [0x90, 3, 0, 1, qos] {
        return Err(io::Error::other(format!("not the expected SUBACK: {answer:02x?}")));
    }
    stream.set_read_timeout(None)?;
    std::thread::spawn(move || drain(&mut stream, qos, &received));
    Ok(())
}

fn drain(stream: &mut TcpStream, qos: u8, received: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut acknowledgements = Vec::new();
    let mut there = 0;
    loop {
        let read = stream.read(&mut buffer[there..])?;
        if read == 0 {
            return Ok(());
        }
        there += read;
        let mut at = 0;
        acknowledgements.clear();
        // Every packet that comes has a length of two bytes, for all payloads are alike.
        while there - at > 3 {
            let length = usize::from(buffer[at + 1] & 0x7f) + (usize::from(buffer[at + 2]) << 7);
            if there - at < 3 + length {
                break;
            }
            if qos > 0 {
                let id = at + id_at(TOPIC);
                acknowledgements.extend_from_slice(&[0x40, 2, buffer[id], buffer[id + 1]]);
            }
            received.fetch_add(1, Ordering::Relaxed);
            at += 3 + length;
        }
        buffer.copy_within(at..there, 0);
        there -= at;
        stream.write_all(&acknowledgements)?;
    }
}

/// A connection that has been accepted.
pub(crate) fn connect(address: SocketAddr, client_id: &str) -> io::Result<TcpStream> {
    let mut stream = super::connect(address)?;
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    // Protocol level 4, a clean session, no keep-alive.
    body.extend([4, 2, 0, 0]);
    text(&mut body, client_id);
    let mut packet = vec![0x10, u8::try_from(body.len()).expect("a short client id")];
    packet.extend(body);
    stream.write_all(&packet)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    if answer != [0x20, 2, 0, 0] {
        return Err(io::Error::other(format!("not accepted: {answer:02x?}")));
    }
    Ok(stream)
}

/// A PUBLISH with a reading of [`PAYLOAD_BYTES`]; its packet id, if it has one, is still zero.
fn packet(topic: &str, qos: u8, device: usize) -> Vec<u8> {
    let payload = payload(device);
    let id = vec![0; if qos > 0 { 2 } else { 0 }];
    let length = 2 + topic.len() + id.len() + payload.len();
    let low = u8::try_from(length & 0x7f).expect("seven bits") | 0x80;
    let mut packet = vec![0x30 | qos << 1, low, u8::try_from(length >> 7).expect("a short payload")];
    text(&mut packet, topic);
    packet.extend(id);
    packet.extend(payload);
    packet
}

/// What a weather sensor says, made exactly [`PAYLOAD_BYTES`] long by its last field.
pub(crate) fn payload(device: usize) -> Vec<u8> {
    // Never a whole number: IoT SQL makes a BIGINT of one, and a measure keeps its first type.
    let temperature = 15.04 + (device % 150) as f64 / 10.0;
    let humidity = 35.605 + (device % 40) as f64;
    let mut text = format!(
        "{{\"device_id\":{device},\"temperature\":{temperature:.2},\"humidity\":{humidity:.3},\
         \"pressure\":101082,\"rssi\":-88,\"accelerationX\":40,\"accelerationY\":-20,\
         \"accelerationZ\":1016,\"battery\":3007,\"firmware\":\""
    );
    let padding = PAYLOAD_BYTES - 2 - text.len();
    text.extend(std::iter::repeat_n('f', padding));
    text.push_str("\"}");
    assert_eq!(text.len(), PAYLOAD_BYTES);
    text.into_bytes()
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).expect("a short text").to_be_bytes());
    out.extend(text.as_bytes());
}
