//! `[mqtt.limits]`: how much a client may do, and how much the broker keeps.
//!
//! A key that is absent has the default, or with `compatibility = "aws"` AWS IoT Core's value.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use super::check::{Scope, Wrong, bytes};
use crate::message::QoS;
use crate::mqtt::BrokerOptions;
use crate::store::Compatibility;

/// The largest packet: one entry of the journal holds it, and more.
const PACKET_BYTES_MOST: usize = 8 * 1024 * 1024;

/// The filter Eclipse Paho's interoperability suite expects every server to refuse.
const REFUSED: &str = "test/nosubscribe";

/// Keys as written: counts, sizes with an optional unit, and the rest.
macro_rules! written {
    (counts { $($count:ident: $type:ty, $least:expr, $most:expr;)* } sizes { $($size:ident, $smallest:expr, $largest:expr;)* }) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct Written {
            $($count: Option<u64>,)*
            $($size: Option<toml::Value>,)*
            handshake_seconds: Option<u64>,
            qos_max: Option<u64>,
            retained_for_wildcards: Option<bool>,
            filters_refused: Option<Vec<String>>,
        }

        impl Written {
            fn numbers(&self, options: &mut BrokerOptions) -> Result<(), Wrong> {
                $(if let Some(given) = self.$count {
                    let key = concat!("mqtt.limits.", stringify!($count));
                    options.$count = within(key, given, <$type>::try_from(given).ok(), $least..=$most)?;
                })*
                $(if let Some(given) = &self.$size {
                    let key = concat!("mqtt.limits.", stringify!($size));
                    options.$size = within(key, given, bytes(given), $smallest..=$largest)?;
                })*
                Ok(())
            }
        }
    };
}

written! {
    counts {
    connections_max: usize, 1, 1_000_000;
    connections_per_address_max: usize, 1, 1_000_000;
    keep_alive_seconds_min: u16, 0, u16::MAX;
    keep_alive_seconds_max: u16, 0, u16::MAX;
    client_id_bytes_max: usize, 1, 65_535;
    topic_bytes_max: usize, 1, 65_535;
    topic_levels_max: usize, 1, 65_536;
    filter_levels_max: usize, 1, 1_024;
    receive_maximum: u16, 1, u16::MAX;
    publishes_per_second_max: u32, 0, u32::MAX;
    publish_bytes_per_second_max: u32, 0, u32::MAX;
    sys_interval_seconds: u32, 0, u32::MAX;
    topic_alias_max: u16, 0, 1_024;
    outbound_inflight_max: u16, 1, u16::MAX;
    outbound_messages_max: usize, 1, 60_000;
    absent_sessions_max: usize, 0, 10_000_000;
    session_expiry_seconds_max: u32, 0, u32::MAX;
    persistent_session_seconds: u32, 0, u32::MAX;
    filters_per_subscribe_max: usize, 1, 65_535;
    subscriptions_max: usize, 1, 1_000_000;
    subscriptions_total_max: usize, 1, 100_000_000;
    retained_messages_max: usize, 0, 100_000_000;
    }
    sizes {
    packet_bytes_max, 128, PACKET_BYTES_MOST;
    payload_bytes_max, 1, PACKET_BYTES_MOST;
    properties_bytes_max, 1, PACKET_BYTES_MOST;
    unacknowledged_bytes_max, 1_024, usize::MAX;
    outbound_bytes_max, 1_024, usize::MAX;
    queued_bytes_max, 1_024, usize::MAX;
    absent_bytes_max, 0, usize::MAX;
    retained_bytes_max, 0, usize::MAX;
    }
}

impl Written {
    pub(super) fn check(self, scope: &Scope<'_>) -> Result<BrokerOptions, Wrong> {
        let mut options = match scope.compatibility {
            Compatibility::Local => BrokerOptions::default(),
            Compatibility::Aws => BrokerOptions::aws(),
        };
        self.numbers(&mut options)?;
        if let Some(seconds) = self.handshake_seconds {
            let seconds = within("mqtt.limits.handshake_seconds", seconds, Some(seconds), 1..=3_600)?;
            options.handshake_timeout = Duration::from_secs(seconds);
        }
        if let Some(given) = self.qos_max {
            options.qos_max = match within("mqtt.limits.qos_max", given, Some(given), 0..=2)? {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            };
        }
        if options.keep_alive_seconds_max > 0
            && options.keep_alive_seconds_min > options.keep_alive_seconds_max
        {
            let reason = "it is more than keep_alive_seconds_max".to_owned();
            return Err(Wrong { key: "mqtt.limits.keep_alive_seconds_min", reason });
        }
        options.retained_for_wildcards =
            self.retained_for_wildcards.unwrap_or(options.retained_for_wildcards);
        options.filters_refused = self.filters_refused.unwrap_or_else(|| vec![REFUSED.to_owned()]);
        Ok(options)
    }
}

/// The number that `given` stands for, if it is within `range`.
fn within<T: PartialOrd + Display>(
    key: &'static str,
    given: impl Display,
    number: Option<T>,
    range: RangeInclusive<T>,
) -> Result<T, Wrong> {
    number.filter(|number| range.contains(number)).ok_or_else(|| {
        let (least, most) = range.into_inner();
        Wrong { key, reason: format!("{given} is not a number from {least} to {most}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::Policies;

    /// The options, or the key that is wrong.
    fn checked(text: &str, compatibility: Compatibility) -> Result<BrokerOptions, &'static str> {
        let known = Policies::default();
        let scope = Scope::new(std::path::Path::new(""), false, compatibility, &known);
        toml::from_str::<Written>(text).expect("well formed").check(&scope).map_err(|wrong| wrong.key)
    }

    #[test]
    fn keys_count_beside_the_values_of_either_mode() {
        let text = "subscriptions_max = 7\npacket_bytes_max = \"1MiB\"\nqos_max = 2\nfilters_refused = []";
        let local = checked(text, Compatibility::Local).expect("fine");
        assert_eq!((local.subscriptions_max, local.packet_bytes_max), (7, 1 << 20));
        assert_eq!((local.receive_maximum, local.filters_refused.len()), (256, 0));
        let aws = checked(text, Compatibility::Aws).expect("fine");
        assert_eq!((aws.subscriptions_max, aws.receive_maximum, aws.qos_max), (7, 100, QoS::ExactlyOnce));
        assert_eq!(checked("", Compatibility::Aws).expect("fine").filters_refused, [REFUSED]);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for (text, key) in [
            ("subscriptions_max = 0", "mqtt.limits.subscriptions_max"),
            ("receive_maximum = 65536", "mqtt.limits.receive_maximum"),
            ("packet_bytes_max = \"9MiB\"", "mqtt.limits.packet_bytes_max"),
            ("packet_bytes_max = \"some\"", "mqtt.limits.packet_bytes_max"),
            ("qos_max = 3", "mqtt.limits.qos_max"),
            ("handshake_seconds = 0", "mqtt.limits.handshake_seconds"),
            ("keep_alive_seconds_min = 61", "mqtt.limits.keep_alive_seconds_min"),
        ] {
            assert_eq!(checked(text, Compatibility::Local), Err(key));
        }
    }
}
