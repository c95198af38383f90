//! A broker on a port of its own, a pipeline that does as it is told, and clients of both kinds:
//! rumqttc's, and raw bytes.

mod doors;
mod end;
mod handshake;
mod hostile;
mod inbound;
mod limits;
mod outbound;
mod restarts;
mod rumqttc_clients;
mod sessions;
mod statements;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::journal::{Journal, Place};
use super::{Broker, BrokerOptions, BrokerParts, Door, Ingest, IngestError, Receipt, Recollection, lock};
use crate::clock::{ManualClock, ProcessingTime, Timestamp};
use crate::message::{Message, Origin, Properties, QoS};
use crate::shutdown::Shutdown;
use crate::topic::TopicName;

/// Long enough for anything that is to happen.
const SOON: Duration = Duration::from_secs(5);

/// Long enough to believe that nothing happens.
const A_WHILE: Duration = Duration::from_millis(60);

/// A retained message of QoS 1.
pub(crate) fn message(topic: &str, payload: &[u8]) -> Message {
    Message {
        topic: TopicName::new(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Properties::default(),
        origin: Origin::default(),
        received: Timestamp::from_nanos(0),
    }
}

/// Resolves a receipt.
type Held = oneshot::Sender<Result<(), IngestError>>;

/// A pipeline that stores at once, or when told, or never.
#[derive(Debug)]
pub(crate) struct FakeIngest {
    messages: Mutex<Vec<Arc<Message>>>,
    hold: AtomicBool,
    held: Mutex<Vec<Option<Held>>>,
    /// Permits to submit; without any, `submit` waits.
    room: Semaphore,
}

#[async_trait::async_trait]
impl Ingest for FakeIngest {
    async fn submit(&self, message: &Arc<Message>) -> Receipt {
        self.room.acquire().await.expect("never closed").forget();
        lock(&self.messages).push(Arc::clone(message));
        if !self.hold.load(Ordering::SeqCst) {
            return async { Ok(()) }.boxed();
        }
        let (sender, receiver) = oneshot::channel();
        lock(&self.held).push(Some(sender));
        async move { receiver.await.expect("the test resolves or outlives it") }.boxed()
    }
}

impl FakeIngest {
    /// A pipeline that stores at once.
    pub(crate) fn storing() -> Arc<Self> {
        Arc::new(Self {
            messages: Mutex::default(),
            hold: AtomicBool::new(false),
            held: Mutex::default(),
            room: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    /// From now on receipts resolve when told.
    pub(crate) fn hold(&self) {
        self.hold.store(true, Ordering::SeqCst);
    }

    /// Resolves the held receipt number `index`.
    pub(crate) fn resolve(&self, index: usize, result: Result<(), IngestError>) {
        let sender = lock(&self.held)[index].take().expect("not resolved yet");
        let _ = sender.send(result);
    }

    pub(crate) fn messages(&self) -> Vec<Arc<Message>> {
        lock(&self.messages).clone()
    }

    fn payloads(&self) -> Vec<String> {
        lock(&self.messages).iter().map(|m| String::from_utf8_lossy(&m.payload).into_owned()).collect()
    }

    pub(crate) async fn has(&self, count: usize) {
        until(|| lock(&self.messages).len() >= count).await;
    }
}

/// A disk that syncs at once, or when told.
#[derive(Debug, Default)]
pub(crate) struct FakeJournal {
    entries: Mutex<Vec<Vec<u8>>>,
    durable: Arc<Mutex<usize>>,
    hold: AtomicBool,
    synced: Arc<tokio::sync::Notify>,
}

impl FakeJournal {
    /// From now on entries get to the disk when told.
    pub(crate) fn hold(&self) {
        self.hold.store(true, Ordering::SeqCst);
    }

    /// Brings all entries to the disk, and those that come.
    pub(crate) fn sync(&self) {
        self.hold.store(false, Ordering::SeqCst);
        *lock(&self.durable) = lock(&self.entries).len();
        self.synced.notify_waiters();
    }

    /// What is on disk.
    fn on_disk(&self) -> Vec<Vec<u8>> {
        lock(&self.entries)[..*lock(&self.durable)].to_vec()
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.entries).len()
    }
}

#[async_trait::async_trait]
impl Journal for FakeJournal {
    fn append(&self, entry: &[u8]) -> Option<Place> {
        let mut entries = lock(&self.entries);
        entries.push(entry.to_vec());
        if !self.hold.load(Ordering::SeqCst) {
            *lock(&self.durable) = entries.len();
        }
        Some(Place::new(entries.len() as u64))
    }

    fn durable(&self) -> Place {
        Place::new(*lock(&self.durable) as u64)
    }

    fn next(&self) -> Place {
        Place::new(self.len() as u64 + 1)
    }

    fn synced(&self, place: Place) -> Receipt {
        let (durable, synced) = (Arc::clone(&self.durable), Arc::clone(&self.synced));
        let waiting = async move {
            loop {
                let told = synced.notified();
                if *lock(&durable) as u64 >= place.number() {
                    return Ok(());
                }
                told.await;
            }
        };
        waiting.boxed()
    }

    async fn room(&self) {}

    fn retire(&self, keep: Place) -> Result<(), String> {
        // The numbers stay: what is gone is replaced by nothing.
        let keep = usize::try_from(keep.number()).unwrap();
        for entry in lock(&self.entries).iter_mut().take(keep - 1) {
            entry.clear();
        }
        Ok(())
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(condition: impl Fn() -> bool + Send + Sync) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, wait).await.expect("the condition never came true");
}

/// A running broker.
pub(crate) struct Daemon {
    pub(crate) broker: Broker,
    pub(crate) ingest: Arc<FakeIngest>,
    pub(crate) journal: Arc<FakeJournal>,
    pub(crate) clock: Arc<ManualClock>,
    address: SocketAddr,
    shutdown: Shutdown,
}

impl Daemon {
    pub(crate) async fn start(options: BrokerOptions) -> Self {
        Self::start_behind(Door::open(), options).await
    }

    /// A broker whose listener is `door`.
    async fn start_behind(door: Door, options: BrokerOptions) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
        Self::start_with(door, options, Vec::new(), clock).await
    }

    /// A daemon that finds `entries` in its journal.
    async fn start_with(
        door: Door,
        options: BrokerOptions,
        entries: Vec<Vec<u8>>,
        clock: Arc<ManualClock>,
    ) -> Self {
        let ingest = FakeIngest::storing();
        let mut recollection = Recollection::default();
        for entry in entries.iter().filter(|entry| !entry.is_empty()) {
            recollection.replay(entry).unwrap();
        }
        let durable = Arc::new(Mutex::new(entries.len()));
        let journal = FakeJournal { entries: Mutex::new(entries), durable, ..FakeJournal::default() };
        let journal = Arc::new(journal);
        let parts = BrokerParts {
            ingest: Arc::clone(&ingest) as _,
            journal: Arc::clone(&journal) as _,
            clock: Arc::clone(&clock) as _,
            times: Arc::new(ProcessingTime::default()),
        };
        let broker = Broker::new(options, parts, recollection);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let (serving, stop) = (broker.clone(), shutdown.clone());
        shutdown.spawn(async move { serving.serve(listener, door, stop).await });
        Self { broker, ingest, journal, clock, address, shutdown }
    }

    /// A daemon that starts with what this one has on disk, as after a power cut.
    async fn after_a_crash(&self) -> Self {
        let options = self.broker.shared().options.clone();
        Self::start_with(Door::open(), options, self.journal.on_disk(), Arc::clone(&self.clock)).await
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// A socket that has sent nothing.
    async fn socket(&self) -> Wire {
        Wire { stream: TcpStream::connect(self.address).await.unwrap() }
    }

    /// A client past its handshake.
    pub(crate) async fn client(&self, level: u8, client_id: &str) -> Wire {
        self.connected(&wire::connect(level, client_id)).await.0
    }

    /// A client that has sent `connect` and was accepted, and its CONNACK.
    async fn connected(&self, connect: &[u8]) -> (Wire, Vec<u8>) {
        let mut client = self.socket().await;
        client.send(connect).await;
        let connack = client.packet().await;
        assert_eq!((connack[0], connack[3]), (0x20, 0), "refused: {connack:02x?}");
        (client, connack)
    }

    /// A client that has subscribed to `filter`.
    pub(crate) async fn subscriber(&self, level: u8, client_id: &str, filter: &str, options: u8) -> Wire {
        let mut client = self.client(level, client_id).await;
        client.send(&wire::subscribe(level, 1, &[], &[(filter, options)])).await;
        assert_eq!(client.packet().await[0], 0x90);
        client
    }
}

/// A client of raw bytes.
pub(crate) struct Wire {
    stream: TcpStream,
}

impl Wire {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Publishes with QoS 1 in 3.1.1 and waits for the PUBACK.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.send(&wire::publish(4, 1, 1, topic, payload)).await;
        assert_eq!(self.packet().await[0], 0x40);
    }

    /// The next packet, whole.
    pub(crate) async fn packet(&mut self) -> Vec<u8> {
        timeout(SOON, self.next()).await.expect("no packet came").expect("the connection was closed")
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![self.stream.read_u8().await.ok()?];
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            packet.push(byte);
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let header = packet.len();
        packet.resize(header + length, 0);
        self.stream.read_exact(&mut packet[header..]).await.ok()?;
        Some(packet)
    }

    /// Fails when the broker says anything.
    pub(crate) async fn hears_nothing(&mut self) {
        let heard = timeout(A_WHILE, self.stream.read_u8()).await;
        assert!(heard.is_err(), "the broker said something: {heard:?}");
    }

    /// Whatever comes until the broker closes.
    async fn rest(&mut self) -> Vec<Vec<u8>> {
        let reading = async {
            let mut packets = Vec::new();
            while let Some(packet) = self.next().await {
                packets.push(packet);
            }
            packets
        };
        timeout(SOON, reading).await.expect("the broker did not close the connection")
    }

    /// The reason code of the DISCONNECT that ends what the broker says; nothing when it just closes.
    async fn sent_away(&mut self) -> Option<u8> {
        self.rest().await.last().filter(|packet| packet[0] == 0xE0).map(|packet| packet[2])
    }

    /// A PINGREQ is answered, and nothing came before the answer.
    async fn pings(&mut self) {
        self.send(&[0xC0, 0]).await;
        assert_eq!(self.packet().await, [0xD0, 0]);
    }
}
