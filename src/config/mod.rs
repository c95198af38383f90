//! The TOML as written becomes the checked options of each room.
//!
//! Two stages: `Written` is the file, key by key, with nothing but its shape checked; [`Config`] has
//! passed every check. Each section has a file with both; `check` holds what several need. An error is one
//! sentence that names the key or the path to change.

mod check;
mod error;

mod access;
mod buckets;
mod http;
mod limits;
mod mqtt;
mod mqtt_limits;
mod notifications;
mod query;
mod renewal;
mod rules;
mod store;
mod tls;
mod upstream;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::access::Credentials;
use crate::buckets::BucketOptions;
use crate::mqtt::UpstreamOptions;
use crate::store::{Compatibility, Limits};
use check::{Policies, Scope, wrong};
pub use error::ConfigError;
pub use http::HttpConfig;
pub use mqtt::{MqttConfig, MqttListener};
pub use query::QueryConfig;
pub use renewal::Renewal;
pub use rules::RulesConfig;
pub use store::StoreConfig;

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The daemon's configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    path: PathBuf,
    /// The policies of files.
    policies: Policies,
    /// The region in ARNs.
    pub region: String,
    /// The twelve-digit account in ARNs and of `accountid()`.
    pub account_id: String,
    /// Whether to answer as AWS does where a local service may be kinder.
    pub compatibility: Compatibility,
    /// The access keys of callers over HTTP and of signed WebSocket URLs.
    pub credentials: Arc<Credentials>,
    /// Where MQTT clients connect.
    pub mqtt: MqttConfig,
    /// Where AWS SDKs connect.
    pub http: HttpConfig,
    /// What queries may take.
    pub query: QueryConfig,
    /// Where rows are.
    pub store: StoreConfig,
    /// Where the files of batch loads, UNLOAD and error reports are.
    pub buckets: BucketOptions,
    /// How many databases, tables and columns there may be.
    pub limits: Limits,
    /// The addresses that stand for topics of SNS, by the topics' ARNs.
    pub notifications: BTreeMap<String, String>,
    /// Where rules and what they use are.
    pub rules: RulesConfig,
    /// Brokers whose messages go to the rules. An empty client id is the daemon's to fill in.
    pub upstreams: Vec<UpstreamOptions>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    region: String,
    account_id: String,
    compatibility: String,
    insecure: bool,
    credentials: Vec<access::Written>,
    mqtt: mqtt::Written,
    http: http::Written,
    query: query::Written,
    store: store::Written,
    buckets: buckets::Written,
    notifications: notifications::Written,
    limits: limits::Written,
    rules: rules::Written,
    upstream: Vec<upstream::Written>,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            account_id: "000000000000".into(),
            compatibility: "local".into(),
            insecure: false,
            credentials: Vec::new(),
            mqtt: mqtt::Written::default(),
            http: http::Written::default(),
            query: query::Written::default(),
            store: store::Written::default(),
            buckets: buckets::Written::default(),
            notifications: notifications::Written::default(),
            limits: limits::Written::default(),
            rules: rules::Written::default(),
            upstream: Vec::new(),
        }
    }
}

impl Config {
    /// Reads and checks the file at `path`. Relative paths in it start at its own folder.
    ///
    /// # Errors
    /// When the file cannot be read or any key is not acceptable.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_again(path, &Policies::default())
    }

    /// Reads and checks the file anew; policies that were read before stay the same.
    fn load_again(path: &Path, known: &Policies) -> Result<Self, ConfigError> {
        let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
        let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(unreadable(format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::read(&text, path, known)
    }

    /// Checks `text` as if it had been read from `path`.
    ///
    /// # Errors
    /// When any key is not acceptable.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::read(text, path, &Policies::default())
    }

    fn read(text: &str, path: &Path, known: &Policies) -> Result<Self, ConfigError> {
        let written: Written =
            toml::from_str(text).map_err(|error| ConfigError::malformed(text, path, &error))?;
        written.check(path, known).map_err(|wrong| ConfigError::of_key(path, wrong))
    }
}

impl Written {
    fn check(self, path: &Path, known: &Policies) -> Result<Config, check::Wrong> {
        let compatibility = compatibility(&self.compatibility).map_err(wrong("compatibility"))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let scope = Scope::new(folder, self.insecure, compatibility, known);
        let credentials = access::check(self.credentials, &scope)?;
        let proved = !credentials.is_empty();
        Ok(Config {
            region: region(self.region).map_err(wrong("region"))?,
            account_id: account(self.account_id).map_err(wrong("account_id"))?,
            compatibility,
            credentials: Arc::new(credentials),
            mqtt: self.mqtt.check(proved, &scope)?,
            http: self.http.check(proved, &scope)?,
            query: self.query.check()?,
            store: self.store.check(&scope)?,
            buckets: self.buckets.check(&scope)?,
            notifications: notifications::check(self.notifications)?,
            limits: self.limits.check(&scope)?,
            rules: self.rules.check(&scope)?,
            upstreams: upstream::check(self.upstream, &scope)?,
            path: path.to_owned(),
            policies: scope.policies(),
        })
    }
}

fn region(region: String) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if region.is_empty() || region.len() > 64 || !region.chars().all(legal) {
        return Err(format!("`{region}` is not a region name such as us-east-1"));
    }
    Ok(region)
}

fn account(account: String) -> Result<String, String> {
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("`{account}` is not a twelve-digit account number"));
    }
    Ok(account)
}

fn compatibility(word: &str) -> Result<Compatibility, String> {
    match word {
        "local" => Ok(Compatibility::Local),
        "aws" => Ok(Compatibility::Aws),
        other => Err(format!("`{other}` is neither \"local\" nor \"aws\"")),
    }
}
