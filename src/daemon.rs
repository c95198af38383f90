//! Builds every room in order and stops them in reverse: store, query engine, batch loads, pipeline, rulebook,
//! broker, scheduled queries, API.
//!
//! `doors` are the sockets, `ground` makes rooms of the configuration and of one another.

mod doors;
mod error;
mod ground;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::api::Rooms;
use crate::buckets::Buckets;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Renewal};
use crate::message::Message;
use crate::mqtt::{Broker, Logins};
use crate::pipeline::Pipeline;
use crate::query::Engine;
use crate::schedule::Schedules;
use crate::shutdown::Shutdown;
use crate::store::{Store, StoreError};
use crate::tls::TlsEndpoint;
use doors::{Doors, Entrance};
pub use error::StartError;
use ground::Ground;

/// How long a room may take to finish what it has begun.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// How often the files that say who may do what are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    store: Store,
    engine: Engine,
    /// Batch loads, which go on at the next start.
    loading: Shutdown,
    pipeline: Pipeline,
    schedules: Schedules,
    broker: Room,
    /// Where else MQTT clients connect, with the transport.
    further: Vec<(&'static str, SocketAddr)>,
    api: Room,
}

/// A room that listens.
#[derive(Debug)]
struct Room {
    name: &'static str,
    address: SocketAddr,
    stop: Shutdown,
}

impl Daemon {
    /// Starts every room; when this returns, all of them listen. With `accept_loss` a damaged log is cut
    /// at the damage instead of refused.
    ///
    /// # Errors
    /// When a folder or an address cannot be used; nothing is left running then.
    pub async fn start(config: Config, accept_loss: bool) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // What an operator gets wrong most often is tried first, before the store replays its log.
        let doors = Doors::open(&config).await?;
        let (rule_files, rule_options) = ground::rule_files(&config)?;

        let ground = Ground::lay(&config, clock, accept_loss).await?;
        let (store, buckets) = (ground.store.clone(), Buckets::new(config.buckets.clone()));
        let engine = ground.engine(&buckets)?;
        let loading = Shutdown::new();
        let batch_loads = ground.batch_loads(&buckets, &loading).await?;
        let (pipeline, to_subscribers) = ground.pipeline();
        let rulebook = ground.rulebook(rule_files, rule_options, &pipeline)?;

        let upstreams = ground.upstreams(&pipeline);
        let broker = ground.broker(&pipeline)?;
        tokio::spawn(publish(to_subscribers, broker.clone()));
        let schedules = ground.schedules(&engine, buckets)?;
        let api = ground.api(Rooms {
            store: store.clone(),
            engine: engine.clone(),
            batch_loads,
            broker: broker.clone(),
            upstreams: upstreams.clone(),
            rulebook: rulebook.clone(),
            pipeline: pipeline.clone(),
            schedules: schedules.clone(),
        });

        let Doors { mqtt, http, http_address, http_tls, logins } = doors;
        let (broker_room, further) = open_broker(&broker, mqtt);
        for upstream in upstreams {
            broker_room.spawn(|stop| async move { upstream.run(stop).await });
        }
        let renewal = Renewal::of(&config);
        broker_room.spawn(|stop| renew(renewal, logins, stop));
        let api_room = Room::new("api", http_address);
        api_room.spawn(|stop| async move { rulebook.watch(stop).await });
        api_room.watch(http_tls.as_ref());
        let timer = schedules.clone();
        api_room.spawn(|stop| async move { timer.keep(stop).await });
        api_room.spawn(|stop| async move { api.serve(http, http_tls, stop).await });

        Ok(Self { store, engine, loading, pipeline, schedules, broker: broker_room, further, api: api_room })
    }

    /// Where MQTT clients connect.
    pub fn mqtt_address(&self) -> SocketAddr {
        self.broker.address
    }

    /// Where else they do, each with its transport.
    pub fn further_addresses(&self) -> &[(&'static str, SocketAddr)] {
        &self.further
    }

    /// Where AWS SDKs connect.
    pub fn http_address(&self) -> SocketAddr {
        self.api.address
    }

    /// Writes all rows to Parquet; what goes wrong is logged, and tried again by the store itself.
    pub async fn flush(&self) {
        match self.store.flush().await {
            Ok(()) => info!("flushed"),
            Err(error) => warn!(%error, "flush failed"),
        }
    }

    /// Stops every room, the last built first. What has begun is finished: requests under way are
    /// answered and publishes whose rows become durable are acknowledged.
    ///
    /// # Errors
    /// When the store could not write what it still held.
    pub async fn stop(self) -> Result<(), StoreError> {
        self.api.stop().await;
        let left = self.schedules.stop(DRAIN_WITHIN).await;
        if left > 0 {
            warn!(left, "gave up waiting for scheduled queries and their notifications");
        }
        self.broker.stop().await;
        let left = self.pipeline.stop(DRAIN_WITHIN).await;
        if left > 0 {
            warn!(left, "gave up waiting for requests of http actions");
        }
        let left = self.loading.stop(DRAIN_WITHIN).await;
        if left > 0 {
            warn!(left, "gave up waiting for batch loads to pause");
        }
        self.engine.shutdown().await;
        self.store.close().await
    }
}

impl Room {
    fn new(name: &'static str, address: SocketAddr) -> Self {
        Self { name, address, stop: Shutdown::new() }
    }

    /// Runs a task of the room, which ends when it is told to.
    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, task: impl FnOnce(Shutdown) -> F) {
        self.stop.spawn(task(self.stop.clone()));
    }

    /// Keeps the certificate of a listener up to date.
    fn watch(&self, tls: Option<&Arc<TlsEndpoint>>) {
        if let Some(endpoint) = tls.map(Arc::clone) {
            self.spawn(|stop| endpoint.watch(stop));
        }
    }

    async fn stop(&self) {
        let (room, draining) = (self.name, self.stop.running());
        info!(room, draining, "stopping");
        let left = self.stop.stop(DRAIN_WITHIN).await;
        if left > 0 {
            warn!(room, left, "gave up waiting for tasks to finish");
        }
    }
}

/// Hands the messages rules republish to subscribers. The pipeline cannot hold the broker that holds it.
async fn publish(mut republished: mpsc::Receiver<Arc<Message>>, broker: Broker) {
    while let Some(message) = republished.recv().await {
        broker.publish(&message);
    }
}

/// Lets MQTT clients in; says where, apart from the first entrance.
fn open_broker(broker: &Broker, entrances: Vec<Entrance>) -> (Room, Vec<(&'static str, SocketAddr)>) {
    let mut addresses = entrances.iter().map(|entrance| (entrance.transport, entrance.address));
    let first = addresses.next().expect("the configuration has a listener at least");
    let further = addresses.collect();
    let room = Room::new("broker", first.1);
    let keeper = broker.clone();
    room.spawn(|stop| async move { keeper.keep(stop).await });
    for Entrance { socket, address, transport, door } in entrances {
        info!(transport, %address, "MQTT clients are let in");
        room.watch(door.tls.as_ref());
        let serving = broker.clone();
        room.spawn(|stop| async move { serving.serve(socket, door, stop).await });
    }
    (room, further)
}

/// Keeps policies, access keys and users as their files say.
async fn renew(mut renewal: Renewal, logins: Arc<Logins>, stop: Shutdown) {
    loop {
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            let users = renewal.look();
            (renewal, users)
        });
        let users;
        (renewal, users) = match looked.await {
            Ok(looked) => looked,
            Err(failure) => {
                error!(%failure, "looking at policies, access keys and users ended abnormally");
                return;
            }
        };
        if let Some(users) = users {
            logins.replace_users(users);
        }
    }
}
