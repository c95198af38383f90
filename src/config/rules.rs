//! `[rules]`: where rules, what they read and what they write are.

use std::path::PathBuf;

use serde::Deserialize;

use super::check::{Scope, Wrong, wrong};

/// The most hops a republished message may be allowed.
const HOPS_MAX: usize = 100;

/// Where rules and what they use are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesConfig {
    /// The folder of the rule files.
    pub path: PathBuf,
    /// The folder of the files that file actions write.
    pub files_path: PathBuf,
    /// How often a message may be republished by rules that see one another's messages.
    pub republish_hops_max: usize,
    /// The folder of protobuf descriptor sets that rules decode with.
    pub proto_path: Option<PathBuf>,
    /// The folder of secrets that rules read.
    pub secrets_path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    path: PathBuf,
    files_path: PathBuf,
    republish_hops_max: usize,
    proto_path: Option<PathBuf>,
    secrets_path: Option<PathBuf>,
}

impl Default for Written {
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

impl Written {
    pub(super) fn check(self, scope: &Scope) -> Result<RulesConfig, Wrong> {
        let proto_path = scope.path_if_any(self.proto_path.as_deref()).map_err(wrong("rules.proto_path"))?;
        let secrets_path =
            scope.path_if_any(self.secrets_path.as_deref()).map_err(wrong("rules.secrets_path"))?;
        Ok(RulesConfig {
            path: scope.path(&self.path).map_err(wrong("rules.path"))?,
            files_path: scope.path(&self.files_path).map_err(wrong("rules.files_path"))?,
            republish_hops_max: hops(self.republish_hops_max).map_err(wrong("rules.republish_hops_max"))?,
            proto_path,
            secrets_path,
        })
    }
}

fn hops(count: usize) -> Result<usize, String> {
    if count > HOPS_MAX {
        return Err(format!("{count} is more than {HOPS_MAX}"));
    }
    Ok(count)
}
