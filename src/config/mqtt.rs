//! `[mqtt]`: where MQTT clients connect.

use std::net::SocketAddr;

use serde::Deserialize;

use super::check::{Scope, Wrong, wrong};

/// Where MQTT clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttConfig {
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
        Self { listen: "127.0.0.1:1883".into() }
    }
}

impl Written {
    pub(super) fn check(self, scope: &Scope) -> Result<MqttConfig, Wrong> {
        Ok(MqttConfig { listen: scope.listen(&self.listen).map_err(wrong("mqtt.listen"))? })
    }
}
