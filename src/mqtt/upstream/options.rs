//! Where an upstream broker is, as whom to connect and what to consume.

use std::path::PathBuf;
use std::time::Duration;

use crate::message::QoS;
use crate::topic::TopicFilter;

/// Everything one upstream is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamOptions {
    /// What logs and metrics call it.
    pub name: String,
    /// The host name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the connection is TLS, and with which certificates.
    pub tls: Option<UpstreamTls>,
    /// The version of the protocol to speak.
    pub version: ProtocolVersion,
    /// The client id. Two daemons need different ones; one daemon always the same.
    pub client_id: String,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// What to subscribe to.
    pub filters: Vec<TopicFilter>,
    /// The group that shares the messages, if any.
    pub share_group: Option<String>,
    /// The quality of service to ask for: 0 or 1.
    pub qos: QoS,
    /// Messages that may be on their way to the disk at once; in MQTT 5 told as Receive Maximum.
    pub receive_maximum: u16,
    /// The largest packet taken, in bytes; in MQTT 5 told as Maximum Packet Size.
    pub packet_bytes_max: u32,
    /// How long the other broker should keep the session for us, in seconds. MQTT 3.1.1 has no way to say it.
    pub session_expiry_seconds: u32,
    /// The keep-alive interval.
    pub keep_alive: Duration,
}

/// Certificates for TLS, as PEM files. They are read again for every connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Who vouches for the server; the system's certificate authorities when absent.
    pub ca: Option<PathBuf>,
    /// Our own certificate (the chain) and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The protocol to name in ALPN. AWS IoT Core on port 443 wants `x-amzn-mqtt-ca`.
    pub alpn: Option<String>,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolVersion {
    /// MQTT 3.1.1.
    V3_1_1,
    /// MQTT 5.
    V5,
}

impl UpstreamOptions {
    /// The filters as they are subscribed to: with the group, if there is one.
    pub(super) fn subscriptions(&self) -> Vec<String> {
        let shared = |filter: &TopicFilter| match &self.share_group {
            Some(group) => format!("$share/{group}/{}", filter.as_str()),
            None => filter.as_str().to_owned(),
        };
        self.filters.iter().map(shared).collect()
    }
}
