//! What the checks of several sections need: what they check against, and how they say what is wrong.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::access::Policy;
use crate::store::Compatibility;

/// The largest policy file that is read, in bytes.
const POLICY_BYTES_MAX: u64 = 1 << 20;

/// What a key is checked against, beside itself.
pub(super) struct Scope<'a> {
    /// Where relative paths start.
    folder: &'a Path,
    /// Whether other machines are let in without proof of who they are.
    insecure: bool,
    pub(super) compatibility: Compatibility,
    /// The policies of files that were read before.
    known: &'a Policies,
    /// Those that the configuration names.
    named: RefCell<Policies>,
}

/// The policies of files, by the files.
pub(super) type Policies = BTreeMap<PathBuf, Arc<Policy>>;

/// A key whose value is not acceptable.
pub(super) struct Wrong {
    /// The key, with its table.
    pub(super) key: &'static str,
    /// What is wrong and what would be right.
    pub(super) reason: String,
}

/// Makes a reason an error of `key`.
pub(super) fn wrong(key: &'static str) -> impl Fn(String) -> Wrong {
    move |reason| Wrong { key, reason }
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        folder: &'a Path,
        insecure: bool,
        compatibility: Compatibility,
        known: &'a Policies,
    ) -> Self {
        Self { folder, insecure, compatibility, known, named: RefCell::default() }
    }

    /// The policy of a file, read once however often it is named.
    pub(super) fn policy(&self, path: &Path) -> Result<Arc<Policy>, String> {
        let path = self.path(path)?;
        let mut named = self.named.borrow_mut();
        if let Some(policy) = named.get(&path).or_else(|| self.known.get(&path)).cloned() {
            named.insert(path, Arc::clone(&policy));
            return Ok(policy);
        }
        let policy = Arc::new(policy_file(&path)?);
        named.insert(path, Arc::clone(&policy));
        Ok(policy)
    }

    /// The policies that were asked for.
    pub(super) fn policies(self) -> Policies {
        self.named.into_inner()
    }

    /// An address to listen on.
    pub(super) fn listen(&self, address: &str) -> Result<SocketAddr, String> {
        address
            .parse()
            .map_err(|_| format!("`{address}` is not an IP address and port such as 127.0.0.1:1883"))
    }

    /// Whether whoever comes to `address` has to prove who they are.
    pub(super) fn is_exposed(&self, address: SocketAddr) -> bool {
        !address.ip().is_loopback() && !self.insecure
    }

    /// A path, from the file's own folder when it is relative.
    pub(super) fn path(&self, path: &Path) -> Result<PathBuf, String> {
        if path.as_os_str().is_empty() {
            return Err("the path is empty".into());
        }
        Ok(self.folder.join(path))
    }

    /// A path that may be absent.
    pub(super) fn path_if_any(&self, path: Option<&Path>) -> Result<Option<PathBuf>, String> {
        path.map(|path| self.path(path)).transpose()
    }
}

/// Reads the file of a policy.
pub(super) fn policy_file(path: &Path) -> Result<Policy, String> {
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?.take(POLICY_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))?;
    Policy::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// A number of bytes, alone or as text with a unit; `None` when it is neither.
pub(super) fn bytes(written: &toml::Value) -> Option<usize> {
    match written {
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
    }
}

/// A whole number from `least` to `most`.
pub(super) fn whole<T: PartialOrd + Display>(written: T, least: T, most: T) -> Result<T, String> {
    match written {
        written if written < least => Err(format!("{written} is less than {least}")),
        written if written > most => Err(format!("{written} is more than {most}")),
        written => Ok(written),
    }
}
