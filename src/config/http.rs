//! `[http]`: where AWS SDKs connect.

use std::net::SocketAddr;

use serde::Deserialize;

use super::check::{Scope, Wrong, wrong};

/// Where AWS SDKs connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    listen: String,
}

impl Default for Written {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8686".into() }
    }
}

impl Written {
    pub(super) fn check(self, scope: &Scope) -> Result<HttpConfig, Wrong> {
        Ok(HttpConfig { listen: scope.listen(&self.listen).map_err(wrong("http.listen"))? })
    }
}
