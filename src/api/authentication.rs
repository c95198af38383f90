//! Who calls: every request passes here before it reaches its operation.
//!
//! Without access keys nobody has to prove anything: the daemon then listens where only those can reach
//! it who may. With access keys a request to an AWS operation has to be signed (`access`), and its
//! caller has to be allowed the operation (`authorization`); the daemon's own pages take a bearer token
//! instead, for Prometheus and browsers do not sign. `/health` is open to everyone.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::middleware::Next;
use serde_json::json;
use tracing::{debug, info};

use super::authorization::{self, Denied};
use super::body::Received;
use super::error::ApiError;
use super::rest::Refusal;
use super::server::Peer;
use super::{Context, json as aws_json, rest};
use crate::access::{BoundPolicy, Claim, Credential, Credentials, Facts, Head, Refused, Secret};
use crate::clock::Clock;

/// Who may call, and when it is.
#[derive(Debug)]
pub struct Guard {
    /// The access keys; without any, everyone may call.
    pub credentials: Arc<Credentials>,
    /// What opens the daemon's own pages to other machines.
    pub token: Option<Secret>,
    /// The time signatures are compared with.
    pub clock: Arc<dyn Clock>,
}

/// Who has signed a request, an extension of requests that are.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Arc<Credential>);

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Timestream,
    Iot,
    IotData,
    /// The daemon itself.
    Own,
}

impl Service {
    fn of(path: &str) -> Self {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
        match first {
            "" => Self::Timestream,
            "rules" | "endpoint" | "tags" | "untag" | "destinations" => Self::Iot,
            "topics" | "retainedMessage" | "connections" => Self::IotData,
            _ => Self::Own,
        }
    }

    /// The names signatures may be scoped to. IoT's have had others, which older SDKs still use.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Timestream => &["timestream"],
            Self::Iot => &["iot", "execute-api"],
            Self::IotData => &["iotdata", "iotdevicegateway", "iot", "execute-api"],
            Self::Own => &[],
        }
    }
}

/// Lets a request through, or answers it.
pub(super) async fn authenticate(
    State((guard, context)): State<(Arc<Guard>, Arc<Context>)>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let service = Service::of(request.uri().path());
    if service == Service::Own {
        return match guard.admits(&request) {
            true => next.run(request).await,
            false => unauthorized(),
        };
    }
    if guard.credentials.is_empty() {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    match signed(&guard, &context, service, &head, body).await {
        Ok((caller, body)) => {
            let mut request = Request::from_parts(head, Body::from(body.bytes().clone()));
            request.extensions_mut().insert(caller);
            // It holds the room of its bytes until the request is answered.
            request.extensions_mut().insert(Arc::new(body));
            next.run(request).await
        }
        Err(failure) => failure.answer(service),
    }
}

/// Why a request goes no further.
enum Failure {
    Refused(Refused),
    Denied(Denied),
    /// The body cannot be read, or not be understood.
    Body(ApiError),
}

impl Failure {
    /// The answer in the form of the service.
    fn answer(self, service: Service) -> Response<Body> {
        let (status, code, message) = match self {
            Self::Body(error) => return aws_json::respond(Err(error)),
            Self::Refused(refused) => (refused.status(), refused.code(), refused.to_string()),
            Self::Denied(denied) => {
                let code =
                    if service == Service::IotData { "ForbiddenException" } else { "AccessDeniedException" };
                (403, code, denied.to_string())
            }
        };
        debug!(code, message, "request refused");
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
        if service != Service::Timestream {
            return rest::respond(Err(Refusal::new(status, code, message)));
        }
        let denied = code == "AccessDeniedException";
        aws_json::respond(Err(if denied {
            ApiError::access_denied(message)
        } else {
            ApiError::front_door(status, code, message)
        }))
    }
}

/// The caller and the body of a signed request whose caller may make it.
async fn signed(
    guard: &Guard,
    context: &Context,
    service: Service,
    parts: &Parts,
    body: Body,
) -> Result<(Caller, Received), Failure> {
    let head = Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or(""),
        headers: &parts.headers,
    };
    let claim = Claim::read(&head, service.names(), &guard.credentials, guard.clock.now());
    let claim = claim.map_err(Failure::Refused)?;
    let received = context.bodies.read(&parts.headers, body).await.map_err(Failure::Body)?;
    let credential = claim.prove(&head, received.bytes()).map_err(Failure::Refused)?;
    let body = context.bodies.unpacked(&received).await.map_err(Failure::Body)?;
    let policy = bound(&credential, parts);
    match authorization::check(context, service, parts, &body, &credential, &policy).await {
        Ok(()) => Ok((Caller(credential), received)),
        Err(authorization::Failure::Denied(denied)) => {
            info!(caller = &*credential.name, action = denied.action, "a caller was denied an operation");
            Err(Failure::Denied(denied))
        }
        Err(authorization::Failure::Unreadable(error)) => Err(Failure::Body(error)),
    }
}

/// What the caller's policy says of it.
fn bound(credential: &Credential, parts: &Parts) -> BoundPolicy {
    struct Caller<'a> {
        credential: &'a Credential,
        address: Option<IpAddr>,
        encrypted: bool,
    }
    impl Facts for Caller<'_> {
        fn fact(&self, key: &str) -> Option<std::borrow::Cow<'_, str>> {
            let is = |name: &str| key.eq_ignore_ascii_case(name);
            if is("aws:SourceIp") {
                return self.address.map(|address| address.to_canonical().to_string().into());
            }
            if is("aws:SecureTransport") {
                return Some(if self.encrypted { "true" } else { "false" }.into());
            }
            is("aws:username").then(|| (*self.credential.name).into())
        }
    }
    let peer = parts.extensions.get::<Peer>();
    let caller = Caller {
        credential,
        address: peer.map(|peer| peer.address),
        encrypted: peer.is_some_and(|peer| peer.encrypted),
    };
    credential.policy.bind(&caller)
}

impl Guard {
    /// A guard that lets everyone through.
    pub fn open(clock: Arc<dyn Clock>) -> Self {
        Self { credentials: Arc::default(), token: None, clock }
    }

    /// Whether a request may see the daemon's own pages: from this machine, with the token, or where
    /// nobody has to prove anything.
    fn admits(&self, request: &Request) -> bool {
        if request.uri().path() == "/health" || self.credentials.is_empty() && self.token.is_none() {
            return true;
        }
        let peer = request.extensions().get::<Peer>();
        // Behind a proxy on this machine everyone seems to be here.
        let proxied = [header::FORWARDED.as_str(), "x-forwarded-for", "x-real-ip"];
        let here = peer.is_some_and(|peer| peer.address.to_canonical().is_loopback())
            && !proxied.iter().any(|name| request.headers().contains_key(*name));
        here || bearer(request.headers())
            .zip(self.token.as_ref())
            .is_some_and(|(given, token)| token.is(given))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized() -> Response<Body> {
    let message =
        "This page needs the bearer token that http.token names, or a request from the daemon's machine.";
    let mut response = Response::new(Body::from(json!({ "message": message }).to_string()));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
