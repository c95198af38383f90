//! `[mqtt]`: where MQTT clients connect, and who they may be.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::access::granted;
use super::check::{Scope, Wrong, wrong};
use super::{mqtt_limits, tls};
use crate::access::Policy;
use crate::mqtt::{BrokerOptions, User};
use crate::tls::TlsFiles;

/// Where clients connect unless something else is said.
const LISTEN: &str = "127.0.0.1:1883";
/// More listeners than anyone has.
const LISTENERS_MAX: usize = 100;

/// Where MQTT clients connect, and who they may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttConfig {
    /// The listeners, at least one.
    pub listeners: Vec<MqttListener>,
    /// Who may connect with a password.
    pub users: Vec<User>,
    /// How much clients may do, and how much the broker keeps.
    pub broker: BrokerOptions,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttListener {
    /// The key that has its address.
    pub key: &'static str,
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// `tcp`, `tls`, `ws` or `wss`.
    pub transport: &'static str,
    /// Whether MQTT is in WebSocket messages.
    pub websocket: bool,
    /// What to serve TLS with.
    pub tls: Option<TlsFiles>,
    /// Whether clients that prove nothing may do everything.
    pub anonymous: bool,
    /// What clients that show a certificate may do.
    pub certificates: Option<Arc<Policy>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    listen: Option<String>,
    anonymous: Option<bool>,
    listeners: Vec<WrittenListener>,
    users: Vec<WrittenUser>,
    limits: mqtt_limits::Written,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenListener {
    address: String,
    transport: String,
    tls: Option<tls::Written>,
    role: Option<String>,
    policy: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenUser {
    name: String,
    password: String,
    role: Option<String>,
    policy: Option<PathBuf>,
}

/// What decides who a listener may let in.
struct Callers {
    /// Whether clients that prove nothing are let in where that is not forbidden.
    anonymous: bool,
    users: bool,
    /// Whether there are keys to sign URLs with.
    keys: bool,
}

impl Written {
    /// `keys` when there are access keys, with which URLs of WebSockets are signed.
    pub(super) fn check(self, keys: bool, scope: &Scope) -> Result<MqttConfig, Wrong> {
        let users = users(self.users, scope)?;
        let anonymous = self.anonymous.unwrap_or(users.is_empty());
        let callers = Callers { anonymous, users: !users.is_empty(), keys };
        if self.listeners.len() > LISTENERS_MAX {
            return Err(wrong("mqtt.listeners")(format!("there are more than {LISTENERS_MAX}")));
        }
        let mut listeners = Vec::new();
        let plain = self.listen.or_else(|| self.listeners.is_empty().then(|| LISTEN.to_owned()));
        if let Some(address) = plain {
            let written =
                WrittenListener { address, transport: "tcp".into(), tls: None, role: None, policy: None };
            listeners.push(written.check("mqtt.listen", &callers, scope).map_err(wrong("mqtt.listen"))?);
        }
        for written in self.listeners {
            let key = "mqtt.listeners";
            listeners.push(written.check(key, &callers, scope).map_err(wrong(key))?);
        }
        Ok(MqttConfig { listeners, users, broker: self.limits.check(scope)? })
    }
}

fn users(all: Vec<WrittenUser>, scope: &Scope) -> Result<Vec<User>, Wrong> {
    let mut users: Vec<User> = Vec::with_capacity(all.len());
    for written in all {
        let WrittenUser { name, password, role, policy } = written;
        let of = |reason: String| format!("`{name}`: {reason}");
        if name.is_empty() || users.iter().any(|user| *user.name == name) {
            return Err(wrong("mqtt.users.name")(of("the name is empty or there twice".into())));
        }
        let policy = granted(role.as_deref(), policy.as_deref(), scope)
            .map_err(|reason| wrong("mqtt.users.policy")(of(reason)))?;
        let user =
            User::new(&name, &password, policy).map_err(|reason| wrong("mqtt.users.password")(of(reason)))?;
        users.push(user);
    }
    Ok(users)
}

impl WrittenListener {
    fn check(self, key: &'static str, callers: &Callers, scope: &Scope) -> Result<MqttListener, String> {
        let (transport, websocket, encrypted) = match &*self.transport {
            "tcp" => ("tcp", false, false),
            "tls" => ("tls", false, true),
            "ws" => ("ws", true, false),
            "wss" => ("wss", true, true),
            other => {
                return Err(format!("transport: `{other}` is none of \"tcp\", \"tls\", \"ws\" and \"wss\""));
            }
        };
        let tls = match (self.tls, encrypted) {
            (Some(tls), true) => Some(tls.check(scope).map_err(|reason| format!("tls: {reason}"))?),
            (None, false) => None,
            (Some(_), false) => return Err(format!("the transport \"{transport}\" has no tls")),
            (None, true) => {
                return Err(format!("the transport \"{transport}\" needs tls = {{ certificate, key }}"));
            }
        };
        let shown = tls.as_ref().is_some_and(|tls| tls.clients.is_some());
        let certificates = if shown {
            Some(granted(self.role.as_deref(), self.policy.as_deref(), scope)?)
        } else if self.role.is_some() || self.policy.is_some() {
            return Err("role and policy are for clients with certificates: set tls.client_ca too".into());
        } else {
            None
        };
        let address = scope.listen(&self.address)?;
        let exposed = scope.is_exposed(address);
        if exposed && !(shown || callers.users || (websocket && callers.keys)) {
            return Err(format!(
                "`{}` can be reached from other machines and no client could prove who it is: add [[mqtt.users]] \
                 or tls.client_ca, or set insecure = true to let everyone in",
                self.address
            ));
        }
        let anonymous = callers.anonymous && !exposed;
        Ok(MqttListener { key, address, transport, websocket, tls, anonymous, certificates })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA";

    fn read(text: &str) -> Result<MqttConfig, String> {
        let parsed = Config::parse(text, Path::new("/c/config.toml"));
        parsed.map(|config| config.mqtt).map_err(|error| error.to_string())
    }

    fn user() -> String {
        format!("[[mqtt.users]]\nname = \"u\"\npassword = \"{HASH}\"\nrole = \"writer\"\n")
    }

    const TLS: &str =
        "tls = { certificate = \"c.pem\", key = \"k.pem\", client_ca = \"ca.pem\" }\nrole = \"writer\"\n";

    #[test]
    fn listeners_are_those_that_are_named() {
        let config = read("").expect("legal");
        assert_eq!((config.listeners.len(), config.listeners[0].transport), (1, "tcp"));
        assert!(config.listeners[0].anonymous);
        let one = format!("[[mqtt.listeners]]\naddress = \"0.0.0.0:8883\"\ntransport = \"tls\"\n{TLS}");
        let config = read(&one).expect("legal");
        let listener = &config.listeners[0];
        assert_eq!((config.listeners.len(), listener.websocket, listener.anonymous), (1, false, false));
        let files = listener.tls.as_ref().expect("TLS");
        assert_eq!(files.certificate, Path::new("/c/c.pem"));
        assert!(files.clients.as_ref().is_some_and(|clients| clients.required));
        assert!(listener.certificates.is_some());
        let both = read(&format!("[mqtt]\nlisten = \"127.0.0.1:0\"\n{one}")).expect("legal");
        assert_eq!(both.listeners.iter().map(|one| one.transport).collect::<Vec<_>>(), ["tcp", "tls"]);
    }

    #[test]
    fn anonymous_clients_are_for_this_machine() {
        let anonymous = |text: &str| read(text).expect("legal").listeners[0].anonymous;
        assert!(anonymous("insecure = true\n[mqtt]\nlisten = \"0.0.0.0:0\""));
        assert!(!anonymous(&user()), "who has users means them");
        assert!(anonymous(&format!("[mqtt]\nanonymous = true\n{}", user())));
        assert!(!anonymous("[mqtt]\nanonymous = false"));
        assert!(!anonymous(&format!("[mqtt]\nlisten = \"0.0.0.0:0\"\nanonymous = true\n{}", user())));
    }

    #[test]
    fn mistakes_name_the_key() {
        let listener = |rest: &str| format!("[[mqtt.listeners]]\naddress = \"127.0.0.1:0\"\n{rest}");
        let cases = [
            ("[mqtt]\nlisten = \"0.0.0.0:1883\"".to_owned(), "mqtt.listen: `0.0.0.0:1883` can be reached"),
            (listener("transport = \"quic\""), "mqtt.listeners: transport: `quic` is none of"),
            (listener("transport = \"tls\""), "the transport \"tls\" needs tls"),
            (listener(&format!("transport = \"ws\"\n{TLS}")), "the transport \"ws\" has no tls"),
            (listener("transport = \"tcp\"\nrole = \"admin\""), "set tls.client_ca too"),
            (
                listener(
                    "transport = \"wss\"\ntls = { certificate = \"c\", key = \"k\", client_ca = \"a\" }",
                ),
                "it needs either a role or a policy",
            ),
            (
                listener(
                    "transport = \"wss\"\ntls = { certificate = \"c\", key = \"k\", client_certificate = \"optional\" }",
                ),
                "client_certificate needs client_ca",
            ),
            (user().replace("name = \"u\"", "name = \"\""), "mqtt.users.name: ``"),
            (user().repeat(2), "mqtt.users.name: `u`: the name is empty or there twice"),
            (user().replace(HASH, "secret"), "mqtt.users.password: `u`: it is not an argon2 hash"),
            (user().replace("writer", "boss"), "mqtt.users.policy: `u`: the role `boss`"),
        ];
        for (text, expected) in cases {
            let error = read(&text).expect_err("refused");
            assert!(error.contains(expected), "{error} lacks {expected}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
