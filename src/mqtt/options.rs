//! Every bound of the broker, each with a default that suits a small machine, and AWS IoT Core's.

use std::time::Duration;

use crate::message::QoS;

/// The bounds a broker works within.
///
/// A zero where MQTT needs at least one (receive maximum, packets in flight) counts as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerOptions {
    /// Open sockets, those still in their handshake included. One more is closed at once.
    /// Default 10,000.
    pub connections_max: usize,
    /// Open sockets from one address. Default 10,000: devices behind one router share theirs.
    pub connections_per_address_max: usize,
    /// How long a new socket may take to send its whole CONNECT. Default 10 s.
    pub handshake_timeout: Duration,
    /// Keep-alives below this count as this, in seconds. Default 0. AWS: 30.
    pub keep_alive_seconds_min: u16,
    /// MQTT 5 clients that ask for a longer keep-alive are told this one, in seconds; 0 lets them have theirs.
    /// Default 60, so that a client that vanished is known to have. AWS: 1,200.
    pub keep_alive_seconds_max: u16,
    /// Whether that maximum is also for clients that ask for none, and for those of 3.1.1, which cannot be told.
    /// Default no. AWS: yes.
    pub keep_alive_max_for_all: bool,
    /// The bytes of a client id. Default 65,535. AWS: 128.
    pub client_id_bytes_max: usize,
    /// The largest packet taken from a client, fixed header included; announced as MQTT 5's Maximum
    /// Packet Size. Default 256 KiB. AWS: 146 KB.
    pub packet_bytes_max: usize,
    /// The bytes of a payload. Default 8 MiB, more than a packet. AWS: 128 KB.
    pub payload_bytes_max: usize,
    /// The bytes of a topic, without a Basic Ingest prefix. Default 65,535. AWS: 256.
    pub topic_bytes_max: usize,
    /// The levels of a topic, without a Basic Ingest prefix. Default 65,536. AWS: 8.
    pub topic_levels_max: usize,
    /// The levels of a subscription's topic filter. Default 128. AWS: 8.
    pub filter_levels_max: usize,
    /// The bytes of a message's MQTT 5 properties: of all user properties together, and of the
    /// correlation data. Default 8 MiB, more than a packet. AWS: 8 KB.
    pub properties_bytes_max: usize,
    /// The highest QoS. Default 2. AWS: 1.
    pub qos_max: QoS,
    /// Publishes of QoS 1 and 2 one connection may have unacknowledged; announced as MQTT 5's
    /// Receive Maximum. A 3.1.1 client is read no further until some are acknowledged. Default 256.
    /// AWS: 100.
    pub receive_maximum: u16,
    /// Bytes of those publishes; past it the connection is read no further until some are
    /// acknowledged. Default 4 MiB.
    pub unacknowledged_bytes_max: usize,
    /// Publishes of one connection a second; a faster client is read no further until it is time. 0 is any
    /// number, the default. AWS: 100.
    pub publishes_per_second_max: u32,
    /// Bytes of payload of one connection a second, in the same way. Default 0. AWS: 512 KB.
    pub publish_bytes_per_second_max: u32,
    /// Topic aliases a client may define, and that are defined for a client that takes as many.
    /// Default 16. AWS: 8.
    pub topic_alias_max: u16,
    /// Messages of QoS 1 and 2 sent to one client and not yet acknowledged by it; a smaller Receive
    /// Maximum of the client counts. Default 256. AWS: 100.
    pub outbound_inflight_max: u16,
    /// Messages waiting for one client. Default 10,000.
    pub outbound_messages_max: usize,
    /// Bytes of the messages waiting for one client. Default 8 MiB.
    pub outbound_bytes_max: usize,
    /// Bytes that wait for all clients together. Default 512 MiB.
    pub queued_bytes_max: usize,
    /// Sessions of clients that are away; one more ends the one that would have ended first.
    /// Default 10,000.
    pub absent_sessions_max: usize,
    /// Bytes that wait for all absent clients together. Default 256 MiB.
    pub absent_bytes_max: usize,
    /// How long a session may outlive its connection, in seconds; MQTT 5 clients that ask for more are
    /// told this. Default 604,800: seven days.
    pub session_expiry_seconds_max: u32,
    /// How long a 3.1.1 session that is not clean outlives its connection, in seconds. Default 604,800.
    /// AWS: 3,600.
    pub persistent_session_seconds: u32,
    /// Filters of one SUBSCRIBE. Default 1,000. AWS: 8.
    pub filters_per_subscribe_max: usize,
    /// Subscriptions of one connection. Default 1,000. AWS: 50.
    pub subscriptions_max: usize,
    /// Subscriptions of all connections. Default 1,000,000.
    pub subscriptions_total_max: usize,
    /// Topic filters nobody may subscribe to, word for word.
    pub filters_refused: Vec<String>,
    /// Whether a subscription with a wildcard is sent retained messages. Default yes. AWS: no.
    pub retained_for_wildcards: bool,
    /// Topics with a retained message. Default 100,000.
    pub retained_messages_max: usize,
    /// Bytes of all retained messages. Default 64 MiB.
    pub retained_bytes_max: usize,
    /// How often the broker publishes its own numbers below `$SYS/broker`, in seconds; 0 is never.
    /// Default 60.
    pub sys_interval_seconds: u32,
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
            connections_per_address_max: 10_000,
            handshake_timeout: Duration::from_secs(10),
            keep_alive_seconds_min: 0,
            keep_alive_seconds_max: 60,
            keep_alive_max_for_all: false,
            client_id_bytes_max: 65_535,
            packet_bytes_max: 256 * 1024,
            payload_bytes_max: 8 * 1024 * 1024,
            topic_bytes_max: 65_535,
            topic_levels_max: 65_536,
            filter_levels_max: 128,
            properties_bytes_max: 8 * 1024 * 1024,
            qos_max: QoS::ExactlyOnce,
            receive_maximum: 256,
            unacknowledged_bytes_max: 4 * 1024 * 1024,
            publishes_per_second_max: 0,
            publish_bytes_per_second_max: 0,
            topic_alias_max: 16,
            outbound_inflight_max: 256,
            outbound_messages_max: 10_000,
            outbound_bytes_max: 8 * 1024 * 1024,
            queued_bytes_max: 512 * 1024 * 1024,
            absent_sessions_max: 10_000,
            absent_bytes_max: 256 * 1024 * 1024,
            session_expiry_seconds_max: 7 * 24 * 60 * 60,
            persistent_session_seconds: 7 * 24 * 60 * 60,
            filters_per_subscribe_max: 1_000,
            subscriptions_max: 1_000,
            subscriptions_total_max: 1_000_000,
            filters_refused: Vec::new(),
            retained_for_wildcards: true,
            retained_messages_max: 100_000,
            retained_bytes_max: 64 * 1024 * 1024,
            sys_interval_seconds: 60,
            close_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl BrokerOptions {
    /// AWS IoT Core's quotas for one connection (spec 6.5); what AWS bounds for an account is bounded as by
    /// default.
    pub fn aws() -> Self {
        Self {
            keep_alive_seconds_min: 30,
            keep_alive_seconds_max: 1_200,
            keep_alive_max_for_all: true,
            client_id_bytes_max: 128,
            packet_bytes_max: 146 * 1024,
            payload_bytes_max: 128 * 1024,
            topic_bytes_max: 256,
            topic_levels_max: 8,
            filter_levels_max: 8,
            properties_bytes_max: 8 * 1024,
            qos_max: QoS::AtLeastOnce,
            receive_maximum: 100,
            publishes_per_second_max: 100,
            publish_bytes_per_second_max: 512 * 1024,
            topic_alias_max: 8,
            outbound_inflight_max: 100,
            persistent_session_seconds: 3_600,
            filters_per_subscribe_max: 8,
            subscriptions_max: 50,
            retained_for_wildcards: false,
            ..Self::default()
        }
    }

    /// The keep-alive of a client that asks for `asked`, which `is_told` when it gets another.
    pub(crate) fn keep_alive_seconds(&self, asked: u16, is_told: bool) -> u16 {
        let (most, for_all) = (self.keep_alive_seconds_max, self.keep_alive_max_for_all);
        match asked {
            0 if for_all => most,
            0 => 0,
            _ if most > 0 && asked > most && (is_told || for_all) => most,
            _ => asked.max(self.keep_alive_seconds_min),
        }
    }
}
