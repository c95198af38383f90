//! `[http]`: where AWS SDKs connect, and how many of them.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::check::{Scope, Wrong, bytes, whole, wrong};
use super::tls;
use crate::access::Secret;
use crate::tls::TlsFiles;

/// The shortest bearer token: shorter ones can be guessed.
const TOKEN_CHARACTERS_MIN: usize = 16;

/// The least that a body may be allowed: a request of 100 records of AWS's size.
const BODY_MIN: usize = 256 << 10;

/// Where AWS SDKs connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What to serve HTTPS with; plain HTTP without it.
    pub tls: Option<TlsFiles>,
    /// What opens the daemon's own pages to other machines.
    pub token: Option<Secret>,
    /// What DescribeEndpoints answers with; `None` for the host the caller asked.
    pub advertise: Option<String>,
    /// How many connections are served at once.
    pub connections: usize,
    /// The largest body of a request, in bytes.
    pub body: usize,
    /// All bodies of requests under way, in bytes.
    pub bodies: usize,
    /// How long a client may take to send a body, or to take any more of its answer.
    pub client_timeout: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    listen: String,
    tls: Option<tls::Written>,
    token: Option<String>,
    advertise: Option<String>,
    connections: usize,
    body: toml::Value,
    bodies: toml::Value,
    client_timeout_seconds: u64,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8686".into(),
            tls: None,
            token: None,
            advertise: None,
            connections: 4096,
            body: "8MiB".into(),
            bodies: "256MiB".into(),
            client_timeout_seconds: 30,
        }
    }
}

impl Written {
    /// `proved` when callers have to prove who they are.
    pub(super) fn check(self, proved: bool, scope: &Scope) -> Result<HttpConfig, Wrong> {
        let listen = scope.listen(&self.listen).map_err(wrong("http.listen"))?;
        if !proved && scope.is_exposed(listen) {
            return Err(wrong("http.listen")(format!(
                "`{}` can be reached from other machines and there are no [[credentials]] to know callers by; \
                 add some, or set insecure = true to let everyone in",
                self.listen
            )));
        }
        let tls = self.tls.map(|tls| tls.check(scope)).transpose().map_err(wrong("http.tls"))?;
        if tls.as_ref().is_some_and(|tls| tls.clients.is_some()) {
            return Err(wrong("http.tls")("client certificates are for MQTT; over HTTP callers sign".into()));
        }
        if self.token.as_ref().is_some_and(|token| token.chars().count() < TOKEN_CHARACTERS_MIN) {
            return Err(wrong("http.token")(format!("it has fewer than {TOKEN_CHARACTERS_MIN} characters")));
        }
        let body = size(&self.body, BODY_MIN, "256KiB").map_err(wrong("http.body"))?;
        Ok(HttpConfig {
            listen,
            tls,
            token: self.token.map(Secret::new),
            advertise: self.advertise.map(advertised).transpose().map_err(wrong("http.advertise"))?,
            connections: whole(self.connections, 1, 1 << 20).map_err(wrong("http.connections"))?,
            body,
            bodies: size(&self.bodies, body, "http.body").map_err(wrong("http.bodies"))?,
            client_timeout: whole(self.client_timeout_seconds, 1, 3_600)
                .map(Duration::from_secs)
                .map_err(wrong("http.client_timeout_seconds"))?,
        })
    }
}

fn size(written: &toml::Value, least: usize, called: &str) -> Result<usize, String> {
    match bytes(written) {
        None => Err(format!("{written} is not a number of bytes such as \"8MiB\"")),
        Some(bytes) if bytes < least => Err(format!("{written} is less than {called}")),
        Some(bytes) => Ok(bytes),
    }
}

/// A URL without a path, or a host with or without a port.
fn advertised(text: String) -> Result<String, String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(&text);
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if host.is_empty() || !host.chars().all(legal) {
        return Err(format!("`{text}` is neither a host nor a URL such as https://mill.example:8686"));
    }
    Ok(text)
}
