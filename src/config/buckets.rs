//! `[buckets]`: where the files of batch loads, UNLOAD and error reports are.

use std::path::PathBuf;

use serde::Deserialize;

use super::check::{Scope, Wrong, wrong};
use crate::buckets::BucketOptions;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    path: PathBuf,
    endpoint: Option<String>,
}

impl Default for Written {
    fn default() -> Self {
        Self { path: "buckets".into(), endpoint: None }
    }
}

impl Written {
    pub(super) fn check(self, scope: &Scope) -> Result<BucketOptions, Wrong> {
        Ok(BucketOptions {
            path: scope.path(&self.path).map_err(wrong("buckets.path"))?,
            endpoint: self.endpoint.map(endpoint).transpose().map_err(wrong("buckets.endpoint"))?,
        })
    }
}

fn endpoint(text: String) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(['?', '#', ' ']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(format!("`{text}` is not an address such as https://s3.eu-west-1.amazonaws.com")),
    }
}
