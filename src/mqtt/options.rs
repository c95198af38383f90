//! Every bound of the broker, each with a default that suits a small machine.

use std::time::Duration;

/// The bounds a broker works within.
///
/// A zero where MQTT needs at least one (receive maximum, packets in flight) counts as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerOptions {
    /// Open sockets, those still in their handshake included. One more is closed at once.
    /// Default 10,000.
    pub connections_max: usize,
    /// How long a new socket may take to send its whole CONNECT. Default 10 s.
    pub handshake_timeout: Duration,
    /// The largest packet taken from a client, fixed header included; announced as MQTT 5's Maximum
    /// Packet Size. Default 256 KiB (AWS IoT Core takes 146 KB).
    pub packet_bytes_max: usize,
    /// Publishes of QoS 1 and 2 one connection may have unacknowledged; announced as MQTT 5's
    /// Receive Maximum. A 3.1.1 client is read no further until some are acknowledged. Default 256.
    pub receive_maximum: u16,
    /// Bytes of those publishes; past it the connection is read no further until some are
    /// acknowledged. Default 4 MiB.
    pub unacknowledged_bytes_max: usize,
    /// Topic aliases a client may define. Default 16.
    pub topic_alias_max: u16,
    /// Messages of QoS 1 and 2 sent to one client and not yet acknowledged by it; a smaller Receive
    /// Maximum of the client counts. Default 256.
    pub outbound_inflight_max: u16,
    /// Messages waiting for one client. Default 10,000.
    pub outbound_messages_max: usize,
    /// Bytes of the messages waiting for one client. Default 8 MiB.
    pub outbound_bytes_max: usize,
    /// Sessions of clients that are away; one more ends the one that would have ended first.
    /// Default 10,000.
    pub absent_sessions_max: usize,
    /// Bytes that wait for all absent clients together. Default 256 MiB.
    pub absent_bytes_max: usize,
    /// How long a session may outlive its connection, in seconds; MQTT 5 clients that ask for more are
    /// told this, and 3.1.1 sessions that are not clean last as long. Default 604,800: seven days.
    pub session_expiry_seconds_max: u32,
    /// Subscriptions of one connection. Default 1,000.
    pub subscriptions_max: usize,
    /// Subscriptions of all connections. Default 1,000,000.
    pub subscriptions_total_max: usize,
    /// Levels of a subscription's topic filter. Default 128.
    pub filter_levels_max: usize,
    /// Topics with a retained message. Default 100,000.
    pub retained_messages_max: usize,
    /// Bytes of all retained messages. Default 64 MiB.
    pub retained_bytes_max: usize,
    /// How long a closing connection may take to accept its last bytes. Default 2 s.
    pub close_timeout: Duration,
    /// How long the messages of a closed connection may take to become durable before the broker
    /// stops waiting to hand them to subscribers. Default 30 s.
    pub drain_timeout: Duration,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            handshake_timeout: Duration::from_secs(10),
            packet_bytes_max: 256 * 1024,
            receive_maximum: 256,
            unacknowledged_bytes_max: 4 * 1024 * 1024,
            topic_alias_max: 16,
            outbound_inflight_max: 256,
            outbound_messages_max: 10_000,
            outbound_bytes_max: 8 * 1024 * 1024,
            absent_sessions_max: 10_000,
            absent_bytes_max: 256 * 1024 * 1024,
            session_expiry_seconds_max: 7 * 24 * 60 * 60,
            subscriptions_max: 1_000,
            subscriptions_total_max: 1_000_000,
            filter_levels_max: 128,
            retained_messages_max: 100_000,
            retained_bytes_max: 64 * 1024 * 1024,
            close_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(30),
        }
    }
}
