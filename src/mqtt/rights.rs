//! What one connected client may do, by AWS IoT's policies.
//!
//! A policy is bound to the connection when it begins: what it says of the client (`${iot:ClientId}`
//! and the like) does not change while it lasts. AWS has no thing without its registry; here a client
//! has the thing its certificate's common name or its user name says, if that is its client id too.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::access::{BoundPolicy, Certificate, Decision, Facts, Policy};

/// Whom a policy speaks of.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) address: IpAddr,
    pub(crate) encrypted: bool,
    /// Its user name, or the name of its access key.
    pub(crate) name: Option<&'a str>,
    pub(crate) certificate: Option<&'a Certificate>,
    /// Whether its session is to outlive its connection.
    pub(crate) persistent: bool,
    /// Whether it leaves a will.
    pub(crate) will: bool,
}

impl Client<'_> {
    /// The name of its thing; AWS knows it only where the client id is the same.
    fn thing(&self) -> Option<&str> {
        let own = match self.certificate {
            Some(certificate) => certificate.common_name(),
            None => self.name,
        };
        own.filter(|name| *name == self.client_id)
    }
}

impl Facts for Client<'_> {
    fn fact(&self, key: &str) -> Option<Cow<'_, str>> {
        let word = |word: bool| Some(Cow::Borrowed(if word { "true" } else { "false" }));
        match key {
            "iot:ClientId" => Some(self.client_id.into()),
            "iot:Connection.Thing.ThingName" => self.thing().map(Cow::Borrowed),
            "iot:Connection.Thing.IsAttached" => word(self.thing().is_some()),
            "iot:CertificateId" => self.certificate.map(|certificate| Cow::Borrowed(&*certificate.id)),
            // IAM's own keys come in any case.
            key if key.eq_ignore_ascii_case("aws:SourceIp") => {
                Some(self.address.to_canonical().to_string().into())
            }
            key if key.eq_ignore_ascii_case("aws:SecureTransport") => word(self.encrypted),
            key if key.eq_ignore_ascii_case("aws:username") => self.name.map(Cow::Borrowed),
            key => self.certificate?.attribute(key.strip_prefix("iot:Certificate.")?).map(Cow::Borrowed),
        }
    }

    fn facts(&self, key: &str) -> Vec<Cow<'_, str>> {
        if key != "iot:ConnectAttributes" {
            return self.fact(key).into_iter().collect();
        }
        let attributes = [(self.persistent, "PersistentConnect"), (self.will, "LastWill")];
        attributes.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.into()).collect()
    }
}

/// What a client may do, and as whom.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    /// Who the client has proved to be.
    pub(crate) principal: Option<Arc<str>>,
    /// Absent for those who need prove nothing: they may do everything.
    policy: Option<BoundPolicy>,
    /// Whether every topic may be published to, and received from: then nothing need be asked.
    publishes_everywhere: bool,
    receives_everywhere: bool,
}

impl Rights {
    /// What `policy` gives `client`, who has proved to be `principal`.
    pub(crate) fn of(policy: &Policy, client: &Client<'_>, principal: Arc<str>) -> Self {
        let bound = policy.bind(client);
        let everywhere = |action| bound.decide_everywhere(action) == Some(Decision::Allowed);
        Self {
            principal: Some(principal),
            publishes_everywhere: everywhere("iot:Publish") && everywhere("iot:RetainPublish"),
            receives_everywhere: everywhere("iot:Receive"),
            policy: Some(bound),
        }
    }

    /// May it connect as `client_id`?
    pub(crate) fn may_connect(&self, client_id: &str) -> bool {
        self.may("iot:Connect", "client", client_id)
    }

    /// May it publish to `topic`?
    pub(crate) fn may_publish(&self, topic: &str, retain: bool) -> bool {
        self.publishes_everywhere
            || self.may("iot:Publish", "topic", topic)
                && (!retain || self.may("iot:RetainPublish", "topic", topic))
    }

    /// May it subscribe to `filter`, which may be a shared one?
    pub(crate) fn may_subscribe(&self, filter: &str) -> bool {
        self.may("iot:Subscribe", "topicfilter", filter)
    }

    /// May it be sent what is published to `topic`?
    pub(crate) fn may_receive(&self, topic: &str) -> bool {
        self.receives_everywhere || self.may("iot:Receive", "topic", topic)
    }

    fn may(&self, action: &str, kind: &str, name: &str) -> bool {
        let Some(policy) = &self.policy else { return true };
        policy.decide(action, "iot", &format!("{kind}/{name}")) == Decision::Allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    fn client<'a>(client_id: &'a str, name: Option<&'a str>) -> Client<'a> {
        let address = IpAddr::from([10, 0, 0, 1]);
        let (certificate, encrypted) = (None, false);
        Client { client_id, address, encrypted, name, certificate, persistent: false, will: false }
    }

    fn rights(statement: &str, client: &Client<'_>) -> Rights {
        let policy = Policy::parse(&format!(r#"{{"Statement": [{statement}]}}"#)).unwrap();
        Rights::of(&policy, client, "p".into())
    }

    #[test]
    fn nobody_in_particular_may_do_everything() {
        let rights = Rights::default();
        assert!(rights.may_connect("c") && rights.may_publish("t", true) && rights.may_receive("t"));
        assert!(rights.may_subscribe("#") && rights.principal.is_none());
    }

    #[test]
    fn each_action_has_its_resource() {
        let statement = r#"
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
            {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/dt/${iot:ClientId}/*"},
            {"Effect": "Allow", "Action": "iot:RetainPublish", "Resource": "arn:aws:iot:*:*:topic/dt/*/state"},
            {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "arn:aws:iot:*:*:topicfilter/cmd/${iot:ClientId}/#"},
            {"Effect": "Allow", "Action": "iot:Receive", "Resource": "arn:aws:iot:*:*:topic/cmd/*"}"#;
        let own = rights(statement, &client("pump", Some("pump")));
        assert!(own.may_connect("pump") && !own.may_connect("other"));
        assert!(own.may_publish("dt/pump/x", false) && !own.may_publish("dt/other/x", false));
        assert!(own.may_publish("dt/pump/state", true) && !own.may_publish("dt/pump/x", true));
        assert!(own.may_subscribe("cmd/pump/#") && !own.may_subscribe("cmd/+/#") && !own.may_subscribe("#"));
        assert!(!own.may_subscribe("$share/g/cmd/pump/#"));
        assert!(own.may_receive("cmd/x") && !own.may_receive("dt/pump/x"));
        let other = rights(statement, &client("pump", Some("sensor")));
        assert!(!other.may_connect("pump"), "the thing is another's");
    }

    #[test]
    fn facts_are_those_of_the_connection() {
        let statement = r#"{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "true"}, "IpAddress": {"aws:sourceIp": "10.0.0.0/8"}}}"#;
        assert!(!rights(statement, &client("c", None)).may_connect("c"));
        assert!(rights(statement, &Client { encrypted: true, ..client("c", None) }).may_connect("c"));
    }

    #[test]
    fn what_a_connect_asks_for_can_be_forbidden() {
        let statement = r#"{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*", "Condition":
            {"ForAllValues:StringEquals": {"iot:ConnectAttributes": ["LastWill"]}}}"#;
        let plain = || client("c", None);
        assert!(rights(statement, &plain()).may_connect("c"));
        assert!(rights(statement, &Client { will: true, ..plain() }).may_connect("c"));
        assert!(!rights(statement, &Client { will: true, persistent: true, ..plain() }).may_connect("c"));
    }

    #[test]
    fn roles_need_no_look_at_topics() {
        let admin = Rights::of(&Role::Admin.policy(), &client("c", None), "p".into());
        assert!(admin.publishes_everywhere && admin.receives_everywhere);
        let reader = Rights::of(&Role::Reader.policy(), &client("c", None), "p".into());
        assert!(!reader.may_publish("t", false) && reader.receives_everywhere && reader.may_subscribe("#"));
    }
}
