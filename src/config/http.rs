//! `[http]`: where AWS SDKs connect, and how many of them.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::check::{Scope, Wrong, bytes, whole, wrong};

/// The least that a body may be allowed: a request of 100 records of AWS's size.
const BODY_MIN: usize = 256 << 10;

/// Where AWS SDKs connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
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
            advertise: None,
            connections: 4096,
            body: "8MiB".into(),
            bodies: "256MiB".into(),
            client_timeout_seconds: 30,
        }
    }
}

impl Written {
    pub(super) fn check(self, scope: &Scope) -> Result<HttpConfig, Wrong> {
        let body = size(&self.body, BODY_MIN, "256KiB").map_err(wrong("http.body"))?;
        Ok(HttpConfig {
            listen: scope.listen(&self.listen).map_err(wrong("http.listen"))?,
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
