//! `[store]`: where rows are, and how much memory those take that are not in parts yet.

use std::path::PathBuf;

use serde::Deserialize;

use super::check::{Scope, Wrong, bytes, wrong};
use crate::store::StoreUrl;

/// The least memory for rows. One batch past the limit is always taken, so less would bound nothing.
const MEMORY_MIN: usize = 1 << 20;

/// Where rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder of the store.
    pub path: PathBuf,
    /// Where the store keeps parts and manifests; `None` for its folder.
    pub url: Option<StoreUrl>,
    /// Bytes of rows in memory past which writes wait.
    pub memory: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    path: PathBuf,
    url: Option<String>,
    memory: toml::Value,
}

impl Default for Written {
    fn default() -> Self {
        Self { path: "data".into(), url: None, memory: "512MiB".into() }
    }
}

impl Written {
    pub(super) fn check(self, scope: &Scope) -> Result<StoreConfig, Wrong> {
        Ok(StoreConfig {
            path: scope.path(&self.path).map_err(wrong("store.path"))?,
            url: url(self.url.as_deref()).map_err(wrong("store.url"))?,
            memory: memory(&self.memory).map_err(wrong("store.memory"))?,
        })
    }
}

fn url(text: Option<&str>) -> Result<Option<StoreUrl>, String> {
    text.map(|text| text.parse::<StoreUrl>().map_err(|error| error.to_string())).transpose()
}

fn memory(written: &toml::Value) -> Result<usize, String> {
    match bytes(written) {
        None => Err(format!("{written} is not a number of bytes such as \"512MiB\"")),
        Some(bytes) if bytes < MEMORY_MIN => {
            Err(format!("{written} is less than 1MiB, which a single request may need"))
        }
        Some(bytes) => Ok(bytes),
    }
}
