//! The TOML as written becomes the checked options of each room.
//!
//! Two stages: `Written` is the file, key by key, with nothing but its shape checked; [`Config`] has
//! passed every check. An error is one sentence that names the key or the path to change.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::store::{Compatibility, Limits, StoreUrl};

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The least memory for rows. One batch past the limit is always taken, so less would bound nothing.
const STORE_MEMORY_MIN: usize = 1 << 20;

/// The most hops a republished message may be allowed.
const HOPS_MAX: usize = 100;

/// The daemon's configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The region in ARNs.
    pub region: String,
    /// The twelve-digit account in ARNs and of `accountid()`.
    pub account_id: String,
    /// Whether to answer as AWS does where a local service may be kinder.
    pub compatibility: Compatibility,
    /// Where MQTT clients connect; port 0 takes a free one.
    pub mqtt_listen: SocketAddr,
    /// Where AWS SDKs connect; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// The folder of the store.
    pub store_path: PathBuf,
    /// Where the store keeps parts and manifests; `None` for its folder.
    pub store_url: Option<StoreUrl>,
    /// Bytes of rows in memory past which writes wait.
    pub store_memory: usize,
    /// How many databases, tables and columns there may be.
    pub limits: Limits,
    /// The folder of the rule files.
    pub rules_path: PathBuf,
    /// The folder of the files that file actions write.
    pub rule_files_path: PathBuf,
    /// How often a message may be republished by rules that see one another's messages.
    pub republish_hops_max: usize,
    /// The folder of protobuf descriptor sets that rules decode with.
    pub proto_path: Option<PathBuf>,
    /// The folder of secrets that rules read.
    pub secrets_path: Option<PathBuf>,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not TOML, has an unknown key or a value of the wrong type.
    #[error("{}, line {line}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with the key's name.
        reason: String,
    },
    /// A key's value is not acceptable.
    #[error("{}: {key}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    region: String,
    account_id: String,
    compatibility: String,
    insecure: bool,
    mqtt: WrittenListener,
    http: WrittenHttp,
    store: WrittenStore,
    limits: WrittenLimits,
    rules: WrittenRules,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            account_id: "000000000000".into(),
            compatibility: "local".into(),
            insecure: false,
            mqtt: WrittenListener::default(),
            http: WrittenHttp::default(),
            store: WrittenStore::default(),
            limits: WrittenLimits::default(),
            rules: WrittenRules::default(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenListener {
    listen: String,
}

impl Default for WrittenListener {
    fn default() -> Self {
        Self { listen: "127.0.0.1:1883".into() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenHttp {
    listen: String,
}

impl Default for WrittenHttp {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8686".into() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenStore {
    path: PathBuf,
    url: Option<String>,
    memory: toml::Value,
}

impl Default for WrittenStore {
    fn default() -> Self {
        Self { path: "data".into(), url: None, memory: "512MiB".into() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenLimits {
    databases_per_account: usize,
    tables_per_account: usize,
    dimensions_per_table: usize,
    measure_names_per_table: usize,
    unique_attributes_per_table: usize,
    attributes_per_record: usize,
}

impl Default for WrittenLimits {
    fn default() -> Self {
        let Limits {
            databases_per_account,
            tables_per_account,
            dimensions_per_table,
            measure_names_per_table,
            unique_attributes_per_table,
            attributes_per_record,
        } = Limits::AWS;
        Self {
            databases_per_account,
            tables_per_account,
            dimensions_per_table,
            measure_names_per_table,
            unique_attributes_per_table,
            attributes_per_record,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenRules {
    path: PathBuf,
    files_path: PathBuf,
    republish_hops_max: usize,
    proto_path: Option<PathBuf>,
    secrets_path: Option<PathBuf>,
}

impl Default for WrittenRules {
    fn default() -> Self {
        Self {
            path: "rules".into(),
            files_path: "files".into(),
            republish_hops_max: 8,
            proto_path: None,
            secrets_path: None,
        }
    }
}

impl Config {
    /// Reads and checks the file at `path`. Relative paths in it start at its own folder.
    ///
    /// # Errors
    /// When the file cannot be read or any key is not acceptable.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
        let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(unreadable(format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text, path)
    }

    /// Checks `text` as if it had been read from `path`.
    ///
    /// # Errors
    /// When any key is not acceptable.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let written: Written = toml::from_str(text).map_err(|error| malformed(text, path, &error))?;
        let key = |key, reason| ConfigError::Key { path: path.to_owned(), key, reason };
        let folder = path.parent().unwrap_or(Path::new(""));
        let compatibility =
            compatibility(&written.compatibility).map_err(|reason| key("compatibility", reason))?;
        Ok(Self {
            region: region(written.region).map_err(|reason| key("region", reason))?,
            account_id: account(written.account_id).map_err(|reason| key("account_id", reason))?,
            compatibility,
            mqtt_listen: listen(&written.mqtt.listen, written.insecure)
                .map_err(|reason| key("mqtt.listen", reason))?,
            http_listen: listen(&written.http.listen, written.insecure)
                .map_err(|reason| key("http.listen", reason))?,
            store_path: some_path(folder, &written.store.path).map_err(|reason| key("store.path", reason))?,
            store_url: url(written.store.url.as_deref()).map_err(|reason| key("store.url", reason))?,
            store_memory: memory(&written.store.memory).map_err(|reason| key("store.memory", reason))?,
            limits: limits(&written.limits, compatibility).map_err(|(name, reason)| key(name, reason))?,
            rules_path: some_path(folder, &written.rules.path).map_err(|reason| key("rules.path", reason))?,
            rule_files_path: some_path(folder, &written.rules.files_path)
                .map_err(|reason| key("rules.files_path", reason))?,
            republish_hops_max: hops(written.rules.republish_hops_max)
                .map_err(|reason| key("rules.republish_hops_max", reason))?,
            proto_path: (written.rules.proto_path.map(|path| some_path(folder, &path)).transpose())
                .map_err(|reason| key("rules.proto_path", reason))?,
            secrets_path: (written.rules.secrets_path.map(|path| some_path(folder, &path)).transpose())
                .map_err(|reason| key("rules.secrets_path", reason))?,
        })
    }
}

fn malformed(text: &str, path: &Path, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    // The parser names a key without its table; the table is what the reader looks for.
    let table = before.lines().rev().find_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']'));
    let place = table.map_or_else(String::new, |table| format!("in [{table}]: "));
    let reason = format!("{place}{}", error.message().replace('\n', " "));
    ConfigError::Malformed { path: path.to_owned(), line, reason }
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

fn listen(address: &str, insecure: bool) -> Result<SocketAddr, String> {
    let parsed: SocketAddr = address
        .parse()
        .map_err(|_| format!("`{address}` is not an IP address and port such as 127.0.0.1:1883"))?;
    if !parsed.ip().is_loopback() && !insecure {
        return Err(format!(
            "`{address}` can be reached from other machines and there is no authentication; \
             set insecure = true to allow it"
        ));
    }
    Ok(parsed)
}

fn hops(count: usize) -> Result<usize, String> {
    if count > HOPS_MAX {
        return Err(format!("{count} is more than {HOPS_MAX}"));
    }
    Ok(count)
}

fn some_path(folder: &Path, path: &Path) -> Result<PathBuf, String> {
    if path.as_os_str().is_empty() {
        return Err("the path is empty".into());
    }
    Ok(folder.join(path))
}

fn url(text: Option<&str>) -> Result<Option<StoreUrl>, String> {
    text.map(|text| text.parse::<StoreUrl>().map_err(|error| error.to_string())).transpose()
}

/// A number of bytes, alone or as text with a unit.
fn memory(written: &toml::Value) -> Result<usize, String> {
    let bytes = match written {
        toml::Value::Integer(bytes) => usize::try_from(*bytes).ok(),
        toml::Value::String(text) => {
            let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
            let shift = match text[digits.len()..].trim_start() {
                "" => Some(0),
                "KiB" => Some(10),
                "MiB" => Some(20),
                "GiB" => Some(30),
                _ => None,
            };
            let number: Option<usize> = digits.parse().ok();
            number.zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift))
        }
        _ => None,
    };
    match bytes {
        None => Err(format!("{written} is not a number of bytes such as \"512MiB\"")),
        Some(bytes) if bytes < STORE_MEMORY_MIN => {
            Err(format!("{written} is less than 1MiB, which a single request may need"))
        }
        Some(bytes) => Ok(bytes),
    }
}

/// The limits, or the key that goes too far and why.
fn limits(written: &WrittenLimits, compatibility: Compatibility) -> Result<Limits, (&'static str, String)> {
    let (most, whose) = match compatibility {
        Compatibility::Local => (Limits::MOST, "what the store is made for"),
        Compatibility::Aws => (Limits::AWS, "AWS's; compatibility = \"local\" allows more"),
    };
    let check = |key, given: usize, max: usize| match given {
        0 => Err((key, "the least is 1".to_owned())),
        given if given > max => Err((key, format!("{given} is more than {max}, {whose}"))),
        given => Ok(given),
    };
    macro_rules! checked {
        ($($name:ident),*) => {
            Ok(Limits { $($name: check(concat!("limits.", stringify!($name)), written.$name, most.$name)?),* })
        };
    }
    checked!(
        databases_per_account,
        tables_per_account,
        dimensions_per_table,
        measure_names_per_table,
        unique_attributes_per_table,
        attributes_per_record
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Config::parse(text, Path::new("/etc/tidemill/config.toml")).expect_err("refused").to_string()
    }

    #[test]
    fn an_empty_file_gives_the_shipped_defaults() {
        let shipped = include_str!("../config.toml");
        let path = Path::new("config.toml");
        let empty = Config::parse("", path).expect("defaults");
        assert_eq!(Config::parse(shipped, path).expect("shipped file"), empty);
        assert_eq!(empty.store_path, Path::new("data"));
    }

    #[test]
    fn relative_paths_start_at_the_files_folder() {
        let config =
            Config::parse("[store]\npath = \"d\"\n[rules]\npath = \"/r\"", Path::new("/etc/t/c.toml"))
                .expect("legal");
        assert_eq!(config.store_path, Path::new("/etc/t/d"));
        assert_eq!(config.rules_path, Path::new("/r"));
        assert_eq!(config.secrets_path, None);
        let config = Config::parse("[rules]\nproto_path = \"p\"", Path::new("/etc/t/c.toml")).expect("legal");
        assert_eq!(config.proto_path.as_deref(), Some(Path::new("/etc/t/p")));
    }

    #[test]
    fn errors_name_the_key() {
        let cases = [
            ("[mqtt]\nlisen = \"x\"", "line 2: in [mqtt]: unknown field `lisen`, expected `listen`"),
            ("regoin = \"x\"", "line 1: unknown field `regoin`"),
            ("[mqtt]\nlisten = 1883", "line 2: in [mqtt]: invalid type: integer `1883`, expected a string"),
            ("[mqtt]\nlisten = \"localhost\"", "mqtt.listen: `localhost` is not an IP address and port"),
            ("[http]\nlisten = \"0.0.0.0:80\"", "http.listen: `0.0.0.0:80` can be reached"),
            ("compatibility = \"azure\"", "compatibility: `azure` is neither"),
            ("account_id = \"12\"", "account_id: `12` is not a twelve-digit"),
            ("region = \"\"", "region: `` is not a region name"),
            ("[store]\npath = \"\"", "store.path: the path is empty"),
            ("[rules]\nproto_path = \"\"", "rules.proto_path: the path is empty"),
            ("[rules]\nsecrets_path = \"\"", "rules.secrets_path: the path is empty"),
            ("[store]\nurl = \"data\"", "store.url: `data` begins with neither file:// nor s3://"),
            (
                "[store]\nmemory = \"much\"",
                "store.memory: \"much\" is not a number of bytes such as \"512MiB\"",
            ),
            ("[store]\nmemory = \"1MB\"", "store.memory: \"1MB\" is not a number of bytes"),
            ("[store]\nmemory = true", "store.memory: true is not a number of bytes"),
            ("[store]\nmemory = -1", "store.memory: -1 is not a number of bytes"),
            ("[store]\nmemory = \"99999999999999999999GiB\"", "is not a number of bytes"),
            ("[store]\nmemory = \"1023KiB\"", "is less than 1MiB"),
            ("[limits]\ntables_per_account = 0", "limits.tables_per_account: the least is 1"),
            ("[limits]\ndimensions_per_table = 129", "129 is more than 128, what the store is made for"),
            (
                "compatibility = \"aws\"\n[limits]\ndatabases_per_account = 501",
                "limits.databases_per_account: 501 is more than 500, AWS's; compatibility = \"local\" allows more",
            ),
            ("[limits]\ntables = 1", "line 2: in [limits]: unknown field `tables`"),
            ("[rules]\nfiles_path = \"\"", "rules.files_path: the path is empty"),
            ("[rules]\nrepublish_hops_max = 101", "rules.republish_hops_max: 101 is more than 100"),
        ];
        for (text, expected) in cases {
            let error = refused(text);
            assert!(error.starts_with("/etc/tidemill/config.toml"), "{error}");
            assert!(error.contains(expected), "{error} lacks {expected}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn storage_memory_and_limits_are_read() {
        let with = |text: &str| Config::parse(text, Path::new("c.toml")).expect("legal");
        let config =
            with("[store]\nurl = \"s3://fleet/a/\"\nmemory = \"2 GiB\"\n[limits]\ntables_per_account = 7");
        assert_eq!(config.store_url.expect("given").to_string(), "s3://fleet/a");
        assert_eq!(config.store_memory, 2 << 30);
        assert_eq!(config.limits, Limits { tables_per_account: 7, ..Limits::AWS });
        for (text, bytes) in [("1048576", 1 << 20), ("\"1048576\"", 1 << 20), ("\"1024KiB\"", 1 << 20)] {
            assert_eq!(with(&format!("[store]\nmemory = {text}")).store_memory, bytes);
        }
        let more = with("[limits]\nunique_attributes_per_table = 4096");
        assert_eq!(more.limits.unique_attributes_per_table, 4096);
    }

    #[test]
    fn insecure_allows_every_address() {
        let text = "insecure = true\n[mqtt]\nlisten = \"0.0.0.0:0\"";
        let config = Config::parse(text, Path::new("c.toml")).expect("legal");
        assert_eq!(config.mqtt_listen.port(), 0);
    }
}
