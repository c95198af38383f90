//! `[[upstream]]`: brokers whose messages go to the rules.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::check::{Scope, Wrong, bytes, wrong};
use crate::message::QoS;
use crate::mqtt::{ProtocolVersion, UpstreamOptions, UpstreamTls};
use crate::topic::TopicFilter;

/// More upstreams than anyone has.
const UPSTREAMS_MAX: usize = 100;
/// Filters of one upstream; one SUBSCRIBE carries them all.
const FILTERS_MAX: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    name: String,
    url: String,
    filters: Vec<String>,
    share_group: Option<String>,
    #[serde(default = "version")]
    version: String,
    client_id: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(default = "qos")]
    qos: u8,
    #[serde(default = "receive_maximum")]
    receive_maximum: u16,
    #[serde(default = "packet_bytes_max")]
    packet_bytes_max: toml::Value,
    #[serde(default = "session_expiry_seconds")]
    session_expiry_seconds: u32,
    #[serde(default = "keep_alive_seconds")]
    keep_alive_seconds: u16,
    #[serde(default)]
    tls: WrittenTls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenTls {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    alpn: Option<String>,
}

fn version() -> String {
    "5".into()
}

fn qos() -> u8 {
    1
}

fn receive_maximum() -> u16 {
    1_000
}

fn packet_bytes_max() -> toml::Value {
    "1MiB".into()
}

fn session_expiry_seconds() -> u32 {
    7 * 24 * 60 * 60
}

fn keep_alive_seconds() -> u16 {
    60
}

/// All upstreams.
pub(super) fn check(all: Vec<Written>, scope: &Scope) -> Result<Vec<UpstreamOptions>, Wrong> {
    if all.len() > UPSTREAMS_MAX {
        return Err(wrong("upstream")(format!("there are more than {UPSTREAMS_MAX}")));
    }
    let mut checked: Vec<UpstreamOptions> = Vec::with_capacity(all.len());
    for written in all {
        let upstream = written.check(scope)?;
        let name = &upstream.name;
        if checked.iter().any(|earlier| earlier.name == *name) {
            return Err(wrong("upstream.name")(format!("`{name}` is there twice")));
        }
        checked.push(upstream);
    }
    Ok(checked)
}

impl Written {
    fn check(self, scope: &Scope) -> Result<UpstreamOptions, Wrong> {
        let name = name(self.name).map_err(wrong("upstream.name"))?;
        let server = Server::parse(&self.url).map_err(wrong("upstream.url"))?;
        Ok(UpstreamOptions {
            host: server.host,
            port: server.port,
            tls: self.tls.check(server.tls, scope)?,
            version: protocol(&self.version).map_err(wrong("upstream.version"))?,
            client_id: client_id(self.client_id).map_err(wrong("upstream.client_id"))?,
            login: login(self.username, self.password).map_err(wrong("upstream.username"))?,
            filters: filters(self.filters).map_err(wrong("upstream.filters"))?,
            share_group: self.share_group.map(group).transpose().map_err(wrong("upstream.share_group"))?,
            qos: quality(self.qos).map_err(wrong("upstream.qos"))?,
            receive_maximum: at_least_one(self.receive_maximum).map_err(wrong("upstream.receive_maximum"))?,
            packet_bytes_max: packet(&self.packet_bytes_max).map_err(wrong("upstream.packet_bytes_max"))?,
            session_expiry_seconds: self.session_expiry_seconds,
            keep_alive: Duration::from_secs(
                at_least_one(self.keep_alive_seconds).map_err(wrong("upstream.keep_alive_seconds"))?.into(),
            ),
            name,
        })
    }
}

impl WrittenTls {
    fn check(&self, wanted: bool, scope: &Scope) -> Result<Option<UpstreamTls>, Wrong> {
        let path = |path: &Option<PathBuf>, key| scope.path_if_any(path.as_deref()).map_err(wrong(key));
        let identity = match (
            path(&self.certificate, "upstream.tls.certificate")?,
            path(&self.key, "upstream.tls.key")?,
        ) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(wrong("upstream.tls")(
                    "a certificate needs its key, and a key its certificate".into(),
                ));
            }
        };
        let tls = UpstreamTls { ca: path(&self.ca, "upstream.tls.ca")?, identity, alpn: self.alpn.clone() };
        if !wanted && tls != UpstreamTls::default() {
            return Err(wrong("upstream.tls")(
                "the url begins with mqtt://, which has no TLS; use mqtts://".into(),
            ));
        }
        Ok(wanted.then_some(tls))
    }
}

/// What a URL says.
struct Server {
    host: String,
    port: u16,
    tls: bool,
}

impl Server {
    fn parse(url: &str) -> Result<Self, String> {
        let unusable = || format!("`{url}` is not like mqtt://host:1883 or mqtts://host:8883");
        let (tls, rest, default) = match url.split_once("://") {
            Some(("mqtt", rest)) => (false, rest, 1883),
            Some(("mqtts", rest)) => (true, rest, 8883),
            _ => return Err(unusable()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // An IPv6 address has colons of its own and stands in brackets.
        let bracketed = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = match bracketed {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(unusable)?)),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(default), |port| port.parse().map_err(|_| unusable()))?;
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || !host.chars().all(legal) || port == 0 {
            return Err(unusable());
        }
        // rumqttc puts host and port together with a colon.
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Ok(Self { host, port, tls })
    }
}

fn name(name: String) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
        return Err(format!("`{name}` is not 1 to 64 letters, digits, `-`, `_` and `.`"));
    }
    Ok(name)
}

fn protocol(version: &str) -> Result<ProtocolVersion, String> {
    match version {
        "5" => Ok(ProtocolVersion::V5),
        "3.1.1" => Ok(ProtocolVersion::V3_1_1),
        other => Err(format!("`{other}` is neither \"5\" nor \"3.1.1\"")),
    }
}

/// Empty when none is given.
fn client_id(id: Option<String>) -> Result<String, String> {
    match id {
        Some(id) if id.is_empty() || id.len() > 128 || id.starts_with(' ') => {
            Err(format!("`{id}` is not 1 to 128 bytes that do not begin with a space"))
        }
        id => Ok(id.unwrap_or_default()),
    }
}

fn login(user: Option<String>, password: Option<String>) -> Result<Option<(String, String)>, String> {
    match (user, password) {
        (Some(user), password) => Ok(Some((user, password.unwrap_or_default()))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err("a password needs a user name".into()),
    }
}

fn filters(written: Vec<String>) -> Result<Vec<TopicFilter>, String> {
    if written.is_empty() || written.len() > FILTERS_MAX {
        return Err(format!("there must be 1 to {FILTERS_MAX}"));
    }
    let filter = |text: String| {
        if text.starts_with("$share/") {
            return Err(format!("`{text}`: name the group in share_group"));
        }
        TopicFilter::new(text.as_str()).map_err(|error| format!("`{text}`: {error}"))
    };
    written.into_iter().map(filter).collect()
}

fn group(group: String) -> Result<String, String> {
    if group.is_empty() || group.len() > 128 || group.contains(['/', '+', '#', '\0']) {
        return Err(format!("`{group}` is not 1 to 128 bytes without `/`, `+` and `#`"));
    }
    Ok(group)
}

fn quality(qos: u8) -> Result<QoS, String> {
    match qos {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        other => Err(format!("{other} is neither 0 nor 1")),
    }
}

fn at_least_one(number: u16) -> Result<u16, String> {
    if number == 0 { Err("the least is 1".into()) } else { Ok(number) }
}

fn packet(written: &toml::Value) -> Result<u32, String> {
    let fits = |bytes: &usize| (1024..=256 << 20).contains(bytes);
    bytes(written)
        .filter(fits)
        .and_then(|bytes| u32::try_from(bytes).ok())
        .ok_or_else(|| format!("{written} is not a number of bytes from 1KiB to 256MiB"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/c/config.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_upstream_is_read_whole() {
        let text = "[[upstream]]\nname = \"fleet\"\nurl = \"mqtts://[::1]\"\nfilters = [\"a/#\", \"b/+\"]\n\
                    share_group = \"g\"\nversion = \"3.1.1\"\nusername = \"u\"\nqos = 0\ntls = { ca = \"ca.pem\" }";
        let options = read(text).expect("legal").upstreams.remove(0);
        assert_eq!((options.host.as_str(), options.port), ("[::1]", 8883));
        assert_eq!(options.tls.expect("TLS").ca.as_deref(), Some(Path::new("/c/ca.pem")));
        assert_eq!(options.version, ProtocolVersion::V3_1_1);
        assert_eq!(options.login, Some(("u".into(), String::new())));
        assert_eq!((options.filters.len(), options.qos), (2, QoS::AtMostOnce));
        assert_eq!((options.packet_bytes_max, options.client_id.as_str()), (1 << 20, ""));
    }

    #[test]
    fn mistakes_name_the_key() {
        let with = |rest: &str| {
            let text = format!("[[upstream]]\nname = \"f\"\nurl = \"mqtt://h\"\nfilters = [\"a\"]\n{rest}");
            read(&text).expect_err("refused")
        };
        for (rest, expected) in [
            ("qos = 2", "upstream.qos: 2 is neither 0 nor 1"),
            ("share_group = \"a/b\"", "upstream.share_group: `a/b` is not"),
            ("version = \"4\"", "upstream.version: `4` is neither"),
            ("client_id = \"\"", "upstream.client_id: `` is not"),
            ("password = \"p\"", "upstream.username: a password needs"),
            ("receive_maximum = 0", "upstream.receive_maximum: the least is 1"),
            ("packet_bytes_max = 1", "upstream.packet_bytes_max: 1 is not"),
            ("tls = { ca = \"x\" }", "upstream.tls: the url begins with mqtt://"),
            ("tls = { key = \"x\" }", "upstream.tls: a certificate needs its key"),
            ("fliters = 1", "unknown field `fliters`"),
        ] {
            let error = with(rest);
            assert!(error.contains(expected), "{error} lacks {expected}");
        }
        for (url, filter, expected) in [
            ("http://h", "a", "upstream.url: `http://h` is not like"),
            ("mqtt://:1", "a", "upstream.url"),
            ("mqtt://h:x", "a", "upstream.url"),
            ("mqtt://h", "a/#/b", "upstream.filters: `a/#/b`"),
            ("mqtt://h", "$share/g/a", "name the group in share_group"),
        ] {
            let text = format!("[[upstream]]\nname = \"f\"\nurl = \"{url}\"\nfilters = [\"{filter}\"]\n");
            let error = read(&text).expect_err("refused");
            assert!(error.contains(expected), "{error} lacks {expected}");
        }
        let one = "[[upstream]]\nname = \"f\"\nurl = \"mqtt://h\"\nfilters = [\"a\"]\n";
        assert!(read(&one.repeat(2)).expect_err("refused").contains("upstream.name: `f` is there twice"));
    }
}
