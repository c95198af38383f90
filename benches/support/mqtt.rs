//! MQTT 3.1.1 by hand: what a publisher of QoS 1 and a counting subscriber need, and no more.
//!
//! A publisher keeps a window full with blocking calls: it reads what acknowledgements there are and
//! answers with as many publishes in one write, which costs as little as a generator can.

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
/// Flags and remaining length (two bytes at this size), and the topic; then comes the packet id.
const ID_AT: usize = 3 + 2 + TOPIC.len();
const PUBACK_BYTES: usize = 4;

/// One connection that publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    stream: TcpStream,
    packets: Vec<Vec<u8>>,
    next: usize,
}

impl Publisher {
    pub(crate) fn connect(address: SocketAddr, number: usize) -> io::Result<Self> {
        let stream = connect(address, &format!("publisher-{number}"))?;
        let packets = (0..PREPARED).map(|index| packet(number * PREPARED + index)).collect();
        Ok(Self { stream, packets, next: 0 })
    }

    /// Publishes `count` messages with `window` of them in flight and waits for every
    /// acknowledgement. With a window of 1 the seconds of each are pushed to `latencies`.
    pub(crate) fn publish(
        &mut self,
        count: usize,
        window: usize,
        latencies: &mut Vec<f64>,
    ) -> io::Result<()> {
        let (mut sent, mut acknowledged) = (0, 0);
        let mut out = Vec::with_capacity(window * (PAYLOAD_BYTES + 32));
        let mut answers = [0; 4096];
        let mut rest = 0;
        while acknowledged < count {
            out.clear();
            while sent < count && sent - acknowledged < window {
                self.put(&mut out, sent);
                sent += 1;
            }
            let before = Instant::now();
            self.stream.write_all(&out)?;
            let read = self.stream.read(&mut answers[rest..])?;
            if read == 0 {
                return Err(io::Error::other("the server closed the connection"));
            }
            let there = rest + read;
            let whole = there / PUBACK_BYTES * PUBACK_BYTES;
            for answer in answers[..whole].chunks_exact(PUBACK_BYTES) {
                if answer[..2] != [0x40, 2] {
                    return Err(io::Error::other(format!("not a PUBACK: {answer:02x?}")));
                }
                acknowledged += 1;
            }
            if window == 1 {
                latencies.push(before.elapsed().as_secs_f64());
            }
            answers.copy_within(whole..there, 0);
            rest = there - whole;
        }
        Ok(())
    }

    fn put(&mut self, out: &mut Vec<u8>, sent: usize) {
        let packet = &mut self.packets[self.next];
        self.next = (self.next + 1) % PREPARED;
        let id = u16::try_from(sent % 65_535 + 1).expect("1 to 65535");
        packet[ID_AT..ID_AT + 2].copy_from_slice(&id.to_be_bytes());
        out.extend_from_slice(packet);
    }
}

/// Connects at QoS `qos` to everything that is published, counts it in `received` and acknowledges
/// it, until the server goes away.
pub(crate) fn subscribe(address: SocketAddr, qos: u8, received: Arc<AtomicU64>) -> io::Result<()> {
    let mut stream = connect(address, &format!("subscriber-{qos}"))?;
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
                let id = at + ID_AT;
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

fn connect(address: SocketAddr, client_id: &str) -> io::Result<TcpStream> {
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

/// A PUBLISH of QoS 1 with a reading of [`PAYLOAD_BYTES`]; its packet id is still zero.
fn packet(device: usize) -> Vec<u8> {
    let payload = payload(device);
    let length = 2 + TOPIC.len() + 2 + payload.len();
    let low = u8::try_from(length & 0x7f).expect("seven bits") | 0x80;
    let mut packet = vec![0x32, low, u8::try_from(length >> 7).expect("a short payload")];
    text(&mut packet, TOPIC);
    packet.extend([0, 0]);
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
