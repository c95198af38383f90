//! What a message and a filter may be like, beyond what MQTT itself says.

use super::error::{Reason, Violation};
use super::fan_out::BASIC_INGEST;
use super::options::BrokerOptions;
use super::packet::Will;
use super::sys;
use crate::message::{Properties, QoS};
use crate::topic::{TopicFilter, TopicName};

impl BrokerOptions {
    /// Checks what a client wants to publish.
    ///
    /// # Errors
    /// When it is more than is taken.
    pub(crate) fn check_publish(
        &self,
        topic: &TopicName,
        payload_bytes: usize,
        qos: QoS,
        properties: &Properties,
    ) -> Result<(), Violation> {
        if qos > self.qos_max {
            let what = format!("this server takes no publishes of QoS {}", qos as u8);
            return Err(Violation::new(Reason::QosNotSupported, what));
        }
        if payload_bytes > self.payload_bytes_max {
            let what = format!(
                "a payload of {payload_bytes} bytes is larger than the {} bytes this server takes",
                self.payload_bytes_max
            );
            return Err(Violation::new(Reason::PacketTooLarge, what));
        }
        if topic.as_str().starts_with(sys::PREFIX) {
            let what = "topics below $SYS/ are the server's own";
            return Err(Violation::new(Reason::TopicNameInvalid, what));
        }
        self.check_topic(topic)?;
        self.check_properties(properties)
    }

    /// Checks what a client leaves for the case that it vanishes.
    ///
    /// # Errors
    /// When it is more than is taken.
    pub(crate) fn check_will(&self, will: &Will) -> Result<(), Violation> {
        self.check_publish(&will.topic, will.payload.len(), will.qos, &will.properties)
    }

    fn check_topic(&self, topic: &TopicName) -> Result<(), Violation> {
        let text = topic.as_str();
        // The rule's name and what is before it do not count (spec 6.6).
        let counted = text
            .strip_prefix(BASIC_INGEST)
            .map_or(text, |rest| rest.split_once('/').map_or("", |(_, counted)| counted));
        let invalid = |what| Err(Violation::new(Reason::TopicNameInvalid, what));
        if counted.len() > self.topic_bytes_max {
            return invalid(format!("a topic has more than {} bytes", self.topic_bytes_max));
        }
        if counted.split('/').count() > self.topic_levels_max {
            return invalid(format!("a topic has more than {} levels", self.topic_levels_max));
        }
        Ok(())
    }

    fn check_properties(&self, given: &Properties) -> Result<(), Violation> {
        let user: usize = given.user.iter().map(|(key, value)| key.len() + value.len()).sum();
        let data = given.correlation_data.as_ref().map_or(0, bytes::Bytes::len);
        if user.max(data) > self.properties_bytes_max {
            let what = format!(
                "user properties or correlation data have more than {} bytes",
                self.properties_bytes_max
            );
            return Err(Violation::new(Reason::PacketTooLarge, what));
        }
        Ok(())
    }

    /// Checks what a client wants to subscribe to.
    ///
    /// # Errors
    /// The code its SUBACK has for it.
    pub(crate) fn check_filter(&self, text: &str, filter: &TopicFilter) -> Result<(), Reason> {
        if self.filters_refused.iter().any(|refused| refused == text) {
            return Err(Reason::Unspecified);
        }
        let is_long = filter.as_str().len() > self.topic_bytes_max;
        if is_long || filter.levels().count() > self.filter_levels_max {
            return Err(Reason::TopicFilterInvalid);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(options: &BrokerOptions, topic: &str, payload_bytes: usize, qos: QoS) -> Option<Reason> {
        let topic = TopicName::new(topic).unwrap();
        let checked = options.check_publish(&topic, payload_bytes, qos, &Properties::default());
        checked.err().map(|violation| violation.reason)
    }

    #[test]
    fn aws_takes_so_much_and_no_more() {
        let aws = BrokerOptions::aws();
        let local = BrokerOptions::default();
        let long = "ä".repeat(128);
        let cases = [
            ("1/2/3/4/5/6/7/8", 131_072, QoS::AtLeastOnce, None),
            ("1/2/3/4/5/6/7/8/9", 0, QoS::AtLeastOnce, Some(Reason::TopicNameInvalid)),
            (&*long, 0, QoS::AtMostOnce, None),
            (&*format!("{long}x"), 0, QoS::AtMostOnce, Some(Reason::TopicNameInvalid)),
            ("$aws/rules/rule/1/2/3/4/5/6/7/8", 0, QoS::AtMostOnce, None),
            ("$aws/rules/rule/1/2/3/4/5/6/7/8/9", 0, QoS::AtMostOnce, Some(Reason::TopicNameInvalid)),
            ("$aws/rules/rule", 0, QoS::AtMostOnce, None),
            ("a", 131_073, QoS::AtMostOnce, Some(Reason::PacketTooLarge)),
            ("a", 0, QoS::ExactlyOnce, Some(Reason::QosNotSupported)),
        ];
        for (topic, payload_bytes, qos, expected) in cases {
            assert_eq!(reason(&aws, topic, payload_bytes, qos), expected, "{topic}");
            assert_eq!(reason(&local, topic, payload_bytes, qos), None, "{topic}");
        }
        assert_eq!(reason(&local, "$SYS/broker/x", 0, QoS::AtMostOnce), Some(Reason::TopicNameInvalid));
        assert_eq!(reason(&local, "$SYSTEM", 0, QoS::AtMostOnce), None);
        let user = vec![("k".repeat(4_096), "v".repeat(4_096))];
        let mut properties = Properties { user, ..Properties::default() };
        let topic = TopicName::new("a").unwrap();
        assert!(aws.check_publish(&topic, 0, QoS::AtMostOnce, &properties).is_ok());
        properties.user.push(("k".into(), String::new()));
        assert!(aws.check_publish(&topic, 0, QoS::AtMostOnce, &properties).is_err());
    }

    #[test]
    fn keep_alives_are_held_within_bounds() {
        let aws = BrokerOptions::aws();
        for (asked, given) in [(0, 1_200), (1, 30), (30, 30), (1_200, 1_200), (1_201, 1_200)] {
            assert_eq!(
                (aws.keep_alive_seconds(asked, true), aws.keep_alive_seconds(asked, false)),
                (given, given)
            );
        }
        let local = BrokerOptions::default();
        for (asked, told, untold) in [(0, 0, 0), (1, 1, 1), (60, 60, 60), (120, 60, 120)] {
            assert_eq!(
                (local.keep_alive_seconds(asked, true), local.keep_alive_seconds(asked, false)),
                (told, untold)
            );
        }
    }
}
