//! From the configuration to rooms: each is made of its section, and of the rooms made before it.

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::StartError;
use crate::api::{Api, ApiOptions, BodyLimits, Guard, HttpOptions, Rooms};
use crate::batch_load::BatchLoads;
use crate::buckets::Buckets;
use crate::clock::{Clock, ProcessingTime};
use crate::config::{Config, HttpConfig, QueryConfig};
use crate::message::Message;
use crate::mqtt::{Broker, BrokerParts, Upstream, UpstreamOptions};
use crate::pipeline::{BrokerJournal, Pipeline, PipelineOptions, PipelineParts};
use crate::query::{Engine, QueryOptions};
use crate::rulebook::Rulebook;
use crate::rules::{RuleFolder, RuleOptions, RuleSet};
use crate::schedule::{ScheduleOptions, ScheduleParts, Schedules};
use crate::shutdown::Shutdown;
use crate::store::{Store, StoreError, StoreOptions};

/// The folder below the store's for rules made through the API.
const STORED_RULES: &str = "rules";

/// Republished messages on their way to subscribers; past it rules wait.
const REPUBLISHED_WAITING_MAX: usize = 1_000;

/// What every room is made of.
pub(super) struct Ground<'c> {
    config: &'c Config,
    clock: Arc<dyn Clock>,
    times: Arc<ProcessingTime>,
    pub(super) store: Store,
}

/// The folder of rule files, which can be read, and what its rules know about this service; chance starts anew
/// with every start.
pub(super) fn rule_files(config: &Config) -> Result<(RuleFolder, RuleOptions), StartError> {
    let options = RuleOptions {
        account_id: config.account_id.clone(),
        files: config.rules.stand_ins(),
        seed: Uuid::new_v4().as_u128(),
        ..RuleOptions::default()
    };
    let mut files = RuleFolder::new(&config.rules.path).reading(&options.files);
    files.refresh()?;
    Ok((files, options))
}

impl<'c> Ground<'c> {
    /// Opens the store. With `accept_loss` a damaged log is cut at the damage.
    pub(super) async fn lay(
        config: &'c Config,
        clock: Arc<dyn Clock>,
        accept_loss: bool,
    ) -> Result<Self, StartError> {
        let path = config.store.path.clone();
        let options = StoreOptions {
            compatibility: config.compatibility,
            url: config.store.url.clone(),
            memory_bytes: config.store.memory,
            limits: config.limits,
            accept_loss,
            ..StoreOptions::new(path.clone())
        };
        let opened = Store::open(options, Arc::clone(&clock)).await;
        let store = opened.map_err(|source| match source {
            StoreError::Storage { .. } | StoreError::Moved { .. } => StartError::Storage(source),
            source => StartError::Store { path, source },
        })?;
        Ok(Self { config, clock, times: Arc::default(), store })
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(super) fn engine(&self, buckets: &Buckets) -> Result<Engine, StartError> {
        let QueryConfig { timeout, first_page_within, concurrency, queue, memory } = self.config.query;
        let options = QueryOptions {
            timeout,
            first_page_within,
            concurrency,
            queue,
            memory_bytes: memory,
            buckets: Some(buckets.clone()),
            ..QueryOptions::default()
        };
        Ok(Engine::new(Arc::new(self.store.clone()), options, self.clock())?)
    }

    pub(super) async fn batch_loads(
        &self,
        buckets: &Buckets,
        stop: &Shutdown,
    ) -> Result<BatchLoads, StartError> {
        Ok(BatchLoads::open(self.store.clone(), buckets.clone(), self.clock(), stop.clone()).await?)
    }

    /// A pipeline without rules, which the rulebook hands in, and what its rules republish.
    pub(super) fn pipeline(&self) -> (Pipeline, mpsc::Receiver<Arc<Message>>) {
        let (republished, to_subscribers) = mpsc::channel(REPUBLISHED_WAITING_MAX);
        let (store, times) = (self.store.clone(), Arc::clone(&self.times));
        let parts = PipelineParts { store, clock: self.clock(), times, republished };
        let options = PipelineOptions {
            dead_letters: self.config.store.path.clone(),
            files: self.config.rules.files_path.clone(),
            hops_max: self.config.rules.republish_hops_max,
            function_timeout: self.config.rules.lambda_timeout,
        };
        (Pipeline::new(RuleSet::from_rules(Vec::new()), parts, options), to_subscribers)
    }

    pub(super) fn rulebook(
        &self,
        files: RuleFolder,
        options: RuleOptions,
        pipeline: &Pipeline,
    ) -> Result<Rulebook, StartError> {
        let pipeline = pipeline.clone();
        let swap = Box::new(move |rules| pipeline.swap_rules(rules));
        let stored = self.config.store.path.join(STORED_RULES);
        Ok(Rulebook::open(files, &stored, options, self.clock(), swap)?)
    }

    /// The upstreams of the configuration. Their default client id is the store's, so that it stays the same and
    /// two daemons with one configuration have two.
    pub(super) fn upstreams(&self, pipeline: &Pipeline) -> Vec<Upstream> {
        let upstream = |options: &UpstreamOptions| {
            let mut options = options.clone();
            if options.client_id.is_empty() {
                options.client_id = format!("tidemill-{}-{}", options.name, self.store.id());
            }
            Upstream::new(options, Arc::new(pipeline.clone()), self.clock(), Arc::clone(&self.times))
        };
        self.config.upstreams.iter().map(upstream).collect()
    }

    pub(super) fn broker(&self, pipeline: &Pipeline) -> Result<Broker, StartError> {
        let (journal, recollection) = BrokerJournal::open(&self.store).map_err(|source| {
            let path = self.config.store.path.clone();
            StartError::Store { path, source }
        })?;
        let (ingest, journal) = (Arc::new(pipeline.clone()), Arc::new(journal));
        let parts = BrokerParts { ingest, journal, clock: self.clock(), times: Arc::clone(&self.times) };
        Ok(Broker::new(self.config.mqtt.broker.clone(), parts, recollection))
    }

    /// The scheduled queries; nothing runs before their timer does.
    pub(super) fn schedules(&self, engine: &Engine, buckets: Buckets) -> Result<Schedules, StartError> {
        let options = ScheduleOptions {
            region: self.config.region.clone(),
            account_id: self.config.account_id.clone(),
            queries_max: self.config.limits.scheduled_queries_per_account,
            notifications: self.config.notifications.clone(),
            ..ScheduleOptions::default()
        };
        let (store, engine) = (self.store.clone(), engine.clone());
        Ok(Schedules::open(options, ScheduleParts { store, engine, buckets, clock: self.clock() })?)
    }

    pub(super) fn api(&self, rooms: Rooms) -> Api {
        let Config { region, account_id, compatibility, credentials, http, .. } = self.config;
        let HttpConfig { advertise, connections, body, bodies, client_timeout, token, .. } = http.clone();
        let guard = Guard { credentials: Arc::clone(credentials), token, clock: self.clock() };
        let http = HttpOptions {
            advertise,
            connections,
            bodies: BodyLimits { one: body, all: bodies, within: client_timeout },
            answers_within: client_timeout,
        };
        let (region, account_id) = (region.clone(), account_id.clone());
        Api::new(ApiOptions { region, account_id, compatibility: *compatibility, http }, rooms, guard)
    }
}
