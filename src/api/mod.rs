//! AWS's wire: both Timestream services and IoT's rules and data on one HTTP port, `/health`, `/metrics`.
//!
//! Timestream (spec 1): `target` says which operation a request asks for, `shape` what it may look like, one file per
//! group of operations does the work, `error` alone knows codes and statuses. A user's mistake is
//! never answered with a 5xx, for SDKs would repeat it (spec 1.5). IoT: `rest` holds what its two
//! groups of paths, `iot_rules` and `iot_data`, have in common.

mod account;
mod arn;
mod authentication;
mod authorization;
mod batch_load;
mod body;
mod databases;
mod endpoints;
mod error;
mod health;
mod iot_data;
mod iot_rules;
mod json;
mod metrics;
mod mqtt_clients;
mod paging;
mod patience;
mod query;
mod rest;
mod scheduled_queries;
mod server;
mod shape;
mod tables;
mod tags;
mod target;
mod write_records;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, header};
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tracing::{debug, error};

use crate::batch_load::BatchLoads;
use crate::mqtt::{Broker, Upstream};
use crate::pipeline::Pipeline;
use crate::query::Engine;
use crate::rulebook::Rulebook;
use crate::schedule::Schedules;
use crate::shutdown::Shutdown;
use crate::store::{Compatibility, Store, StoreError};
use crate::tls::TlsEndpoint;
use arn::Arns;
pub use authentication::Guard;
pub use body::BodyLimits;
use body::{Bodies, Received};
use error::ApiError;
use query::{RateControl, Repeats};
pub use server::HttpOptions;
use target::Operation;

/// How long a client may take to send the body of a call to IoT.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// What the API needs to know about the installation.
#[derive(Debug, Clone)]
pub struct ApiOptions {
    /// The region in ARNs.
    pub region: String,
    /// The account in ARNs.
    pub account_id: String,
    /// Whether to refuse what only a local service accepts.
    pub compatibility: Compatibility,
    /// How HTTP is served.
    pub http: HttpOptions,
}

/// The rooms behind the API.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// Where rows are written.
    pub store: Store,
    /// Where they are queried.
    pub engine: Engine,
    /// Where files become rows.
    pub batch_loads: BatchLoads,
    /// Where messages are published.
    pub broker: Broker,
    /// Where messages come from beside it.
    pub upstreams: Vec<Upstream>,
    /// Where rules are kept.
    pub rulebook: Rulebook,
    /// Where rules are run, and counted.
    pub pipeline: Pipeline,
    /// The queries that run by themselves.
    pub schedules: Schedules,
}

/// What handlers work with.
#[derive(Debug)]
struct Context {
    store: Store,
    engine: Engine,
    batch_loads: BatchLoads,
    broker: Broker,
    upstreams: Vec<Upstream>,
    rulebook: Rulebook,
    pipeline: Pipeline,
    schedules: Schedules,
    arns: Arns,
    compatibility: Compatibility,
    bodies: Bodies,
    advertise: Option<String>,
    repeats: Repeats,
    insights_rate: RateControl,
    /// Held while account settings change.
    account_changes: tokio::sync::Mutex<()>,
}

impl Context {
    /// Runs a call that may touch the disk where it holds up no socket.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || call(&store)).await {
            Ok(result) => Ok(result?),
            Err(failure) => {
                error!(%failure, "a store call ended abnormally");
                Err(ApiError::internal("The request could not be completed."))
            }
        }
    }
}

/// The HTTP side of the daemon.
#[derive(Debug, Clone)]
pub struct Api {
    context: Arc<Context>,
    http: HttpOptions,
    guard: Arc<Guard>,
}

impl Api {
    /// An API over `rooms` for those whom `guard` lets through.
    pub fn new(options: ApiOptions, rooms: Rooms, guard: Guard) -> Self {
        let Rooms { store, engine, batch_loads, broker, upstreams, rulebook, pipeline, schedules } = rooms;
        let arns = Arns::new(options.region, options.account_id);
        let compatibility = options.compatibility;
        let context = Context {
            store,
            engine,
            batch_loads,
            broker,
            upstreams,
            rulebook,
            pipeline,
            schedules,
            arns,
            compatibility,
            bodies: Bodies::new(options.http.bodies),
            advertise: options.http.advertise.clone(),
            repeats: Repeats::default(),
            insights_rate: RateControl::default(),
            account_changes: tokio::sync::Mutex::default(),
        };
        Self { context: Arc::new(context), http: options.http, guard: Arc::new(guard) }
    }

    /// Serves requests on `listener`, with TLS if there is an endpoint for it, until `shutdown` is
    /// requested.
    pub async fn serve(&self, listener: TcpListener, tls: Option<Arc<TlsEndpoint>>, shutdown: Shutdown) {
        server::serve(listener, tls, &self.http, self.router(), shutdown).await;
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/", post(aws_json).fallback(unknown_operation))
            .route("/health", get(answer_health))
            .route("/metrics", get(answer_metrics))
            .route("/metrics.json", get(answer_metrics_json))
            .merge(iot_rules::router())
            .merge(iot_data::router())
            .merge(mqtt_clients::router())
            .fallback(unknown_operation)
            .with_state(Arc::clone(&self.context))
            .layer(middleware::from_fn_with_state(
                (Arc::clone(&self.guard), Arc::clone(&self.context)),
                authentication::authenticate,
            ))
    }
}

async fn unknown_operation() -> Response<Body> {
    json::respond(Err(ApiError::unknown_operation()))
}

async fn answer_health(State(context): State<Arc<Context>>) -> Response<Body> {
    let (status, body) = health::health(&context);
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
}

async fn answer_metrics(State(context): State<Arc<Context>>) -> Response<Body> {
    let mut response = Response::new(Body::from(metrics::text(&context)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::TEXT));
    response
}

async fn answer_metrics_json(State(context): State<Arc<Context>>) -> Response<Body> {
    rest::respond(Ok(Some(metrics::json(&context))))
}

async fn aws_json(State(context): State<Arc<Context>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let result = answer(&context, &head, body).await;
    if let Err(error) = &result {
        debug!(code = error.code(), status = error.status().as_u16(), "request refused");
    }
    json::respond(result)
}

async fn answer(context: &Context, head: &Parts, body: Body) -> Result<Bytes, ApiError> {
    let operation = Operation::of(&head.headers)?;
    // Read already where a signature had to be checked.
    let received = match head.extensions.get::<Arc<Received>>() {
        Some(received) => Arc::clone(received),
        None => Arc::new(context.bodies.read(&head.headers, body).await?),
    };
    let body = context.bodies.unpacked(&received).await?;
    run(context, operation, head, &body).await
}

/// Carries out one operation; its answer is JSON.
async fn run(context: &Context, operation: Operation, head: &Parts, body: &[u8]) -> Result<Bytes, ApiError> {
    let input = || json::parse(body);
    let answer = match operation {
        // A page is written straight as text: a tree of values would cost more than the rest of a small query.
        Operation::Query => return query::query(context, head.extensions.get(), input()?).await,
        Operation::CancelQuery => query::cancel(context, input()?),
        Operation::CreateBatchLoadTask => batch_load::create(context, input()?).await,
        Operation::CreateDatabase => databases::create(context, input()?).await,
        Operation::CreateScheduledQuery => scheduled_queries::create(context, input()?).await,
        Operation::CreateTable => tables::create(context, input()?).await,
        Operation::DeleteDatabase => databases::delete(context, input()?).await,
        Operation::DeleteScheduledQuery => scheduled_queries::delete(context, input()?).await,
        Operation::DeleteTable => tables::delete(context, input()?).await,
        Operation::DescribeAccountSettings => account::describe(context, input()?).await,
        Operation::DescribeBatchLoadTask => batch_load::describe(context, input()?),
        Operation::DescribeDatabase => databases::describe(context, input()?).await,
        Operation::DescribeEndpoints => {
            endpoints::describe_endpoints(context.advertise.as_deref(), &head.headers)
        }
        Operation::DescribeScheduledQuery => scheduled_queries::describe(context, input()?).await,
        Operation::DescribeTable => tables::describe(context, input()?).await,
        Operation::ExecuteScheduledQuery => scheduled_queries::execute(context, input()?).await,
        Operation::ListBatchLoadTasks => batch_load::list(context, input()?),
        Operation::ListDatabases => databases::list(context, input()?).await,
        Operation::ListScheduledQueries => scheduled_queries::list(context, input()?).await,
        Operation::ListTables => tables::list(context, input()?).await,
        Operation::ListTagsForResource => tags::list(context, input()?).await,
        Operation::PrepareQuery => query::prepare(context, input()?).await,
        Operation::ResumeBatchLoadTask => batch_load::resume(context, input()?).await,
        Operation::TagResource => tags::tag(context, input()?).await,
        Operation::UntagResource => tags::untag(context, input()?).await,
        Operation::UpdateAccountSettings => account::update(context, input()?).await,
        Operation::UpdateDatabase => databases::update(context, input()?).await,
        Operation::UpdateScheduledQuery => scheduled_queries::update(context, input()?).await,
        Operation::UpdateTable => tables::update(context, input()?).await,
        Operation::WriteRecords => write_records::write(context, body).await,
    };
    Ok(answer?.to_string().into())
}
