//! The access keys of callers, and what each may do.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use subtle::ConstantTimeEq;

use super::policy::Policy;

/// A text that is compared in constant time and never printed.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Whether `other` is the same text.
    pub fn is(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }

    /// The text, for the one computation that needs it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for Secret {}

/// An access key: who signs with it, and what that caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The access key's id, which requests name.
    pub access_key_id: String,
    /// The key, which they never carry.
    pub secret_access_key: Secret,
    /// The token that has to come with the requests; without one, none may come.
    pub session_token: Option<Secret>,
    /// What the caller is called in errors and in rules.
    pub name: Arc<str>,
    /// What the caller may do.
    pub policy: Arc<Policy>,
}

/// All access keys, by their ids. They may be others tomorrow; whether there are any stays.
#[derive(Debug, Default)]
pub struct Credentials {
    by_id: RwLock<HashMap<String, Arc<Credential>>>,
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        // One after the other: both may be the same.
        let own = self.by_id.read().unwrap_or_else(PoisonError::into_inner).clone();
        own == *other.by_id.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Eq for Credentials {}

impl Credentials {
    /// Adds a key; false when its id is taken.
    pub fn add(&mut self, credential: Credential) -> bool {
        let by_id = self.by_id.get_mut().unwrap_or_else(PoisonError::into_inner);
        let id = credential.access_key_id.clone();
        let free = !by_id.contains_key(&id);
        by_id.entry(id).or_insert_with(|| Arc::new(credential));
        free
    }

    /// From now on these are the keys.
    pub fn replace(&self, others: Self) {
        let others = others.by_id.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.by_id.write().unwrap_or_else(PoisonError::into_inner) = others;
    }

    /// Whether there are none, which leaves callers unproved.
    pub fn is_empty(&self) -> bool {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The key with this id.
    pub fn get(&self, access_key_id: &str) -> Option<Arc<Credential>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(access_key_id).cloned()
    }
}
