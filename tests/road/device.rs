//! A device of raw MQTT 3.1.1 with a session of its own: it keeps what the protocol says a client keeps, over
//! any number of connections, and does nothing behind the test's back.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a broker may take to say something.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
struct Link(TcpStream);

/// First byte and body.
type Packet = (u8, Vec<u8>);

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let low = u8::try_from(left % 128).expect("below 128");
        left /= 128;
        bytes.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

impl Link {
    /// Connects without clean session; whether there was one.
    fn open(address: SocketAddr, client_id: &str) -> std::io::Result<(Self, bool)> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut link = Self(stream);
        let body = [&text("MQTT")[..], &[4, 0, 0, 0], &text(client_id)].concat();
        link.say(&packet(0x10, &body))?;
        let (first, body) = link.hear()?;
        assert_eq!((first, body[1]), (0x20, 0), "refused");
        Ok((link, body[0] == 1))
    }

    fn say(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    fn hear(&mut self) -> std::io::Result<Packet> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        let first = byte[0];
        let (mut length, mut shift) = (0, 0);
        loop {
            self.0.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7F) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((first, body))
    }
}

fn id_of(body: &[u8]) -> u16 {
    u16::from_be_bytes([body[0], body[1]])
}

/// A publish under way.
#[derive(Debug, Clone, Copy)]
struct Flight {
    number: u64,
    id: u16,
    /// QoS 2, and PUBREC has come.
    received: bool,
}

impl Flight {
    fn qos(self) -> u8 {
        if self.number.is_multiple_of(2) { 2 } else { 1 }
    }
}

/// Publishes the numbers 0, 1, 2 and so on: even ones with QoS 2, odd ones with QoS 1.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) name: String,
    flights: VecDeque<Flight>,
    next: u64,
    last_id: u16,
    /// Whether it has been accepted once: there is a session from then on.
    known: bool,
    /// Numbers whose acknowledgement is complete.
    pub(crate) acknowledged: BTreeSet<u64>,
}

impl Publisher {
    pub(crate) fn new(name: String) -> Self {
        let (flights, acknowledged) = (VecDeque::new(), BTreeSet::new());
        Self { name, flights, next: 0, last_id: 0, known: false, acknowledged }
    }

    /// How many numbers were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.next
    }

    /// Publishes `count` more numbers, `window` at a time, until all are acknowledged; false when the
    /// connection broke before.
    pub(crate) fn run(&mut self, address: SocketAddr, count: u64, window: usize) -> bool {
        self.try_run(address, count, window).is_ok()
    }

    fn try_run(&mut self, address: SocketAddr, count: u64, window: usize) -> std::io::Result<()> {
        let (mut link, present) = Link::open(address, &self.name)?;
        assert!(present || !self.known, "{}: the session is gone", self.name);
        self.known = true;
        for flight in self.flights.clone() {
            let again = self.bytes(flight, true);
            link.say(&again)?;
        }
        let end = self.next + count;
        loop {
            while self.next < end && self.flights.len() < window {
                let flight = self.take_off();
                let bytes = self.bytes(flight, false);
                link.say(&bytes)?;
            }
            if self.flights.is_empty() {
                return Ok(());
            }
            let (first, body) = link.hear()?;
            self.hear(&mut link, first >> 4, id_of(&body))?;
        }
    }

    fn take_off(&mut self) -> Flight {
        loop {
            self.last_id = self.last_id % 100 + 1;
            if self.flights.iter().all(|flight| flight.id != self.last_id) {
                break;
            }
        }
        let flight = Flight { number: self.next, id: self.last_id, received: false };
        self.next += 1;
        self.flights.push_back(flight);
        flight
    }

    fn bytes(&self, flight: Flight, again: bool) -> Vec<u8> {
        if flight.received {
            return packet(0x62, &flight.id.to_be_bytes());
        }
        let topic = text(&format!("q{}/{}", flight.qos(), self.name));
        let body = [&topic[..], &flight.id.to_be_bytes(), flight.number.to_string().as_bytes()].concat();
        packet(0x30 | (flight.qos() << 1) | (u8::from(again) << 3), &body)
    }

    fn hear(&mut self, link: &mut Link, kind: u8, id: u16) -> std::io::Result<()> {
        let place = self.flights.iter().position(|flight| flight.id == id);
        let place = place.unwrap_or_else(|| panic!("{}: packet type {kind} for id {id}", self.name));
        match kind {
            5 => {
                self.flights[place].received = true;
                link.say(&packet(0x62, &id.to_be_bytes()))
            }
            4 | 7 => {
                let flight = self.flights.remove(place).expect("found above");
                assert_eq!(kind == 7, flight.qos() == 2, "{}: {flight:?}", self.name);
                self.acknowledged.insert(flight.number);
                Ok(())
            }
            other => panic!("{}: a publisher got packet type {other}", self.name),
        }
    }
}

/// Receives everything below `q1/` and `q2/`.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) name: String,
    known: bool,
    /// Ids of QoS 2 that were received and not released.
    unreleased: BTreeSet<u16>,
    /// Topic and number, as they came; a repetition of QoS 2 that the id tells is left out.
    received: Vec<(String, u64)>,
    /// The same, each once.
    pub(crate) distinct: HashSet<(String, u64)>,
}

impl Subscriber {
    pub(crate) fn new(name: String) -> Self {
        let (unreleased, received, distinct) = (BTreeSet::new(), Vec::new(), HashSet::new());
        Self { name, known: false, unreleased, received, distinct }
    }

    /// Receives until the connection breaks, nothing comes for a while or, asked before each packet, `done` says
    /// that it is to end.
    pub(crate) fn run(&mut self, address: SocketAddr, mut done: impl FnMut(&Self) -> bool) {
        let _ = self.try_run(address, &mut done);
    }

    fn try_run(&mut self, address: SocketAddr, done: &mut dyn FnMut(&Self) -> bool) -> std::io::Result<()> {
        let (mut link, present) = Link::open(address, &self.name)?;
        assert!(present || !self.known, "{}: the session is gone", self.name);
        if !self.known {
            let body = [&[0, 1][..], &text("q1/#"), &[1], &text("q2/#"), &[2]].concat();
            link.say(&packet(0x82, &body))?;
            let (first, body) = link.hear()?;
            assert_eq!((first, &body[..]), (0x90, &[0, 1, 1, 2][..]));
            self.known = true;
        }
        while !done(self) {
            let (first, body) = link.hear()?;
            match first >> 4 {
                3 => self.publish(&mut link, first, &body)?,
                6 => {
                    self.unreleased.remove(&id_of(&body));
                    link.say(&packet(0x70, &body))?;
                }
                other => panic!("{}: a subscriber got packet type {other}", self.name),
            }
        }
        link.say(&[0xE0, 0])
    }

    fn publish(&mut self, link: &mut Link, first: u8, body: &[u8]) -> std::io::Result<()> {
        let length = usize::from(id_of(body));
        let topic = String::from_utf8(body[2..2 + length].to_vec()).expect("UTF-8");
        let id = id_of(&body[2 + length..]);
        let number = std::str::from_utf8(&body[4 + length..]).expect("UTF-8").parse().expect("a number");
        let exactly_once = first & 0b0110 == 0b0100;
        if !exactly_once || self.unreleased.insert(id) {
            self.distinct.insert((topic.clone(), number));
            self.received.push((topic, number));
        }
        link.say(&packet(if exactly_once { 0x50 } else { 0x40 }, &id.to_be_bytes()))
    }

    /// Whether everything of `publisher` that was acknowledged has come; QoS 2 once and in order, QoS 1 in
    /// order of first arrival, and nothing that was never sent.
    pub(crate) fn judge(&self, publisher: &Publisher, story: &str) {
        for qos in [1, 2] {
            let topic = format!("q{qos}/{}", publisher.name);
            let all: Vec<u64> =
                self.received.iter().filter(|(came, _)| *came == topic).map(|(_, number)| *number).collect();
            let mut first = all.clone();
            let mut seen = BTreeSet::new();
            first.retain(|number| seen.insert(*number));
            let who = format!("{story}: {} from {topic}", self.name);
            if qos == 2 {
                assert_eq!(all.len(), seen.len(), "{who}: QoS 2 came twice: {all:?}");
            }
            assert!(first.is_sorted(), "{who}: not in order: {first:?}");
            let made_up = seen.iter().find(|number| **number >= publisher.sent());
            assert_eq!(made_up, None, "{who}: never sent");
            let parity = u64::from(qos == 1);
            let owed = publisher.acknowledged.iter().filter(|number| **number % 2 == parity);
            let lost: Vec<_> = owed.filter(|number| !seen.contains(number)).take(5).collect();
            assert!(lost.is_empty(), "{who}: acknowledged and lost: {lost:?} and maybe more");
        }
    }
}
