//! Builds every room in order and stops them in reverse: store, query engine, batch loads, pipeline, rulebook,
//! broker, scheduled queries, API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::{info, warn};
use uuid::Uuid;

use crate::api::{Api, ApiOptions, BodyLimits, Guard, HttpOptions, Rooms};
use crate::batch_load::{BatchLoadError, BatchLoads};
use crate::buckets::Buckets;
use crate::clock::{Clock, ProcessingTime, SystemClock};
use crate::config::{Config, HttpConfig, MqttListener, QueryConfig};
use crate::message::Message;
use crate::mqtt::{Broker, BrokerParts, Door, Logins, Upstream, UpstreamOptions};
use crate::pipeline::{BrokerJournal, Pipeline, PipelineOptions, PipelineParts};
use crate::query::{Engine, EngineError, QueryOptions};
use crate::rulebook::{Rulebook, RulebookError};
use crate::rules::{LoadError, RuleFolder, RuleOptions, RuleSet};
use crate::schedule::{ScheduleError, ScheduleOptions, ScheduleParts, Schedules};
use crate::shutdown::Shutdown;
use crate::store::{Store, StoreError, StoreOptions};
use crate::tls::{TlsEndpoint, TlsError, TlsFiles};

/// How long a room may take to finish what it has begun.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// The folder below the store's for rules made through the API.
const STORED_RULES: &str = "rules";

/// What is spoken inside TLS where it begins as HTTP; clients of plain MQTT may ask for anything.
const HTTP: &[&str] = &["http/1.1"];

/// Republished messages on their way to subscribers; past it rules wait.
const REPUBLISHED_WAITING_MAX: usize = 1_000;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What `store.url` names cannot be used; the error begins with the key.
    #[error("{0}")]
    Storage(StoreError),
    /// The store's folder cannot be used.
    #[error("store.path: {}: {source}", path.display())]
    Store {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The folder of the rule files cannot be read.
    #[error("rules.path: {0}")]
    Rules(#[from] LoadError),
    /// The rules made through the API cannot be read.
    #[error("store.path: the rules made through the API: {0}")]
    Rulebook(#[from] RulebookError),
    /// The batch load tasks cannot be read.
    #[error("store.path: the batch load tasks: {0}")]
    BatchLoads(#[from] BatchLoadError),
    /// The scheduled queries cannot be read.
    #[error("store.path: the scheduled queries: {0}")]
    Schedules(#[from] ScheduleError),
    /// The query engine cannot be built.
    #[error("the query engine cannot start: {0}")]
    Query(#[from] EngineError),
    /// The files of a TLS listener cannot be used.
    #[error("{key}: {source}")]
    Tls {
        /// The configuration key with the files.
        key: &'static str,
        /// Which of them, and why not.
        source: TlsError,
    },
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}: {reason}")]
    Listen {
        /// The configuration key with the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
}

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

/// A listener for MQTT and the socket it listens on.
struct Entrance {
    socket: TcpListener,
    address: SocketAddr,
    transport: &'static str,
    door: Door,
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
        let entrances = entrances(&config).await?;
        let (http, http_address) = listen("http.listen", config.http.listen).await?;
        let http_tls = endpoint("http.tls", config.http.tls.as_ref(), HTTP)?;
        let rule_options = rule_options(&config);
        let mut files = RuleFolder::new(&config.rules.path).reading(&rule_options.files);
        files.refresh()?;

        let store = open_store(&config, accept_loss, &clock).await?;
        let buckets = Buckets::new(config.buckets.clone());
        let options = QueryOptions { buckets: Some(buckets.clone()), ..query_options(&config) };
        let engine = Engine::new(Arc::new(store.clone()), options, Arc::clone(&clock))?;
        let loading = Shutdown::new();
        let batch_loads =
            BatchLoads::open(store.clone(), buckets, Arc::clone(&clock), loading.clone()).await?;
        let times = Arc::new(ProcessingTime::default());
        let (republished, to_subscribers) = mpsc::channel(REPUBLISHED_WAITING_MAX);
        let parts = PipelineParts {
            store: store.clone(),
            clock: Arc::clone(&clock),
            times: Arc::clone(&times),
            republished,
        };
        let pipeline = build_pipeline(&config, parts);
        let swapped = pipeline.clone();
        let swap = Box::new(move |rules| swapped.swap_rules(rules));
        let stored_rules = config.store.path.join(STORED_RULES);
        let rulebook = Rulebook::open(files, &stored_rules, rule_options, Arc::clone(&clock), swap)?;

        let upstreams = upstreams(&config, &store, &pipeline, &clock, &times);
        let (journal, recollection) = BrokerJournal::open(&store).map_err(|source| {
            let path = config.store.path.clone();
            StartError::Store { path, source }
        })?;
        let ingest = Arc::new(pipeline.clone());
        let parts = BrokerParts { ingest, journal: Arc::new(journal), clock: Arc::clone(&clock), times };
        let broker = Broker::new(config.mqtt.broker.clone(), parts, recollection);
        tokio::spawn(publish(to_subscribers, broker.clone()));
        let (broker_room, further) = open_broker(&broker, entrances);
        for upstream in upstreams.clone() {
            broker_room.spawn(|stop| async move { upstream.run(stop).await });
        }

        let schedules = open_schedules(&config, &store, &engine, Arc::clone(&clock))?;
        let rooms = Rooms {
            store: store.clone(),
            engine: engine.clone(),
            batch_loads,
            broker,
            upstreams,
            rulebook: rulebook.clone(),
            pipeline: pipeline.clone(),
            schedules: schedules.clone(),
        };
        let api = build_api(config, rooms, clock);
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

/// What rules know about this service; chance starts anew with every start.
fn rule_options(config: &Config) -> RuleOptions {
    RuleOptions {
        account_id: config.account_id.clone(),
        files: config.rules.stand_ins(),
        seed: Uuid::new_v4().as_u128(),
        ..RuleOptions::default()
    }
}

/// Hands the messages rules republish to subscribers. The pipeline cannot hold the broker that holds it.
async fn publish(mut republished: mpsc::Receiver<Arc<Message>>, broker: Broker) {
    while let Some(message) = republished.recv().await {
        broker.publish(&message);
    }
}

async fn open_store(config: &Config, accept_loss: bool, clock: &Arc<dyn Clock>) -> Result<Store, StartError> {
    let path = config.store.path.clone();
    let options = StoreOptions {
        compatibility: config.compatibility,
        url: config.store.url.clone(),
        memory_bytes: config.store.memory,
        limits: config.limits,
        accept_loss,
        ..StoreOptions::new(path.clone())
    };
    Store::open(options, Arc::clone(clock)).await.map_err(|source| match source {
        StoreError::Storage { .. } | StoreError::Moved { .. } => StartError::Storage(source),
        source => StartError::Store { path, source },
    })
}

/// A pipeline without rules: the rulebook hands them in.
fn build_pipeline(config: &Config, parts: PipelineParts) -> Pipeline {
    let options = PipelineOptions {
        dead_letters: config.store.path.clone(),
        files: config.rules.files_path.clone(),
        hops_max: config.rules.republish_hops_max,
        function_timeout: config.rules.lambda_timeout,
    };
    Pipeline::new(RuleSet::from_rules(Vec::new()), parts, options)
}

/// The upstreams of the configuration. Their default client id is the store's, so that it stays the same and
/// two daemons with one configuration have two.
fn upstreams(
    config: &Config,
    store: &Store,
    pipeline: &Pipeline,
    clock: &Arc<dyn Clock>,
    times: &Arc<ProcessingTime>,
) -> Vec<Upstream> {
    let upstream = |options: &UpstreamOptions| {
        let mut options = options.clone();
        if options.client_id.is_empty() {
            options.client_id = format!("tidemill-{}-{}", options.name, store.id());
        }
        Upstream::new(options, Arc::new(pipeline.clone()), Arc::clone(clock), Arc::clone(times))
    };
    config.upstreams.iter().map(upstream).collect()
}

fn query_options(config: &Config) -> QueryOptions {
    let QueryConfig { timeout, first_page_within, concurrency, queue, memory } = config.query;
    QueryOptions {
        timeout,
        first_page_within,
        concurrency,
        queue,
        memory_bytes: memory,
        ..QueryOptions::default()
    }
}

fn http_options(config: HttpConfig) -> HttpOptions {
    let HttpConfig { advertise, connections, body, bodies, client_timeout, .. } = config;
    HttpOptions {
        advertise,
        connections,
        bodies: BodyLimits { one: body, all: bodies, within: client_timeout },
        answers_within: client_timeout,
    }
}

/// Opens the sockets of all listeners for MQTT.
async fn entrances(config: &Config) -> Result<Vec<Entrance>, StartError> {
    let logins = Arc::new(Logins::new(config.mqtt.users.clone(), Arc::clone(&config.credentials)));
    let mut entrances = Vec::new();
    for listener in &config.mqtt.listeners {
        let MqttListener { key, address, transport, websocket, ref tls, anonymous, ref certificates } =
            *listener;
        let (socket, address) = listen(key, address).await?;
        let tls = endpoint(key, tls.as_ref(), if websocket { HTTP } else { &[] })?;
        let (certificates, logins) = (certificates.clone(), Arc::clone(&logins));
        let door = Door { websocket, tls, anonymous, certificates, logins };
        entrances.push(Entrance { socket, address, transport, door });
    }
    Ok(entrances)
}

fn endpoint(
    key: &'static str,
    files: Option<&TlsFiles>,
    protocols: &[&str],
) -> Result<Option<Arc<TlsEndpoint>>, StartError> {
    let open = |files: &TlsFiles| TlsEndpoint::open(files.clone(), protocols);
    files.map(open).transpose().map_err(|source| StartError::Tls { key, source })
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

/// The scheduled queries; nothing runs before their timer does.
fn open_schedules(
    config: &Config,
    store: &Store,
    engine: &Engine,
    clock: Arc<dyn Clock>,
) -> Result<Schedules, StartError> {
    let options = ScheduleOptions {
        region: config.region.clone(),
        account_id: config.account_id.clone(),
        queries_max: config.limits.scheduled_queries_per_account,
        notifications: config.notifications.clone(),
        ..ScheduleOptions::default()
    };
    let buckets = Buckets::new(config.buckets.clone());
    let parts = ScheduleParts { store: store.clone(), engine: engine.clone(), buckets, clock };
    Ok(Schedules::open(options, parts)?)
}

fn build_api(config: Config, rooms: Rooms, clock: Arc<dyn Clock>) -> Api {
    let guard = Guard { credentials: config.credentials, token: config.http.token.clone(), clock };
    let options = ApiOptions {
        region: config.region,
        account_id: config.account_id,
        compatibility: config.compatibility,
        http: http_options(config.http),
    };
    Api::new(options, rooms, guard)
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error: std::io::Error| StartError::Listen { key, address, reason: error.to_string() };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
