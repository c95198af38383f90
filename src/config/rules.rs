//! `[rules]`: where rules, what they read and what they write are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::check::{Scope, Wrong, wrong};
use crate::rules::StandIns;

/// The most hops a republished message may be allowed.
const HOPS_MAX: usize = 100;

/// The longest a call of `aws_lambda` may be given: publishers wait for it.
const LAMBDA_TIMEOUT_MS_MAX: u64 = 60_000;

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
    /// The URLs of Lambda functions, by their ARNs.
    pub functions: BTreeMap<String, Arc<str>>,
    /// How long a call of one may take.
    pub lambda_timeout: Duration,
}

impl RulesConfig {
    /// What stands in for the services that functions of the language ask.
    pub fn stand_ins(&self) -> StandIns {
        StandIns {
            proto: self.proto_path.clone(),
            secrets: self.secrets_path.clone(),
            functions: self.functions.clone(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    path: PathBuf,
    files_path: PathBuf,
    republish_hops_max: usize,
    proto_path: Option<PathBuf>,
    secrets_path: Option<PathBuf>,
    lambda_timeout_ms: u64,
    lambda: BTreeMap<String, String>,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            path: "rules".into(),
            files_path: "files".into(),
            republish_hops_max: 8,
            proto_path: None,
            secrets_path: None,
            lambda_timeout_ms: 2_000,
            lambda: BTreeMap::new(),
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
            functions: functions(self.lambda).map_err(wrong("rules.lambda"))?,
            lambda_timeout: timeout(self.lambda_timeout_ms).map_err(wrong("rules.lambda_timeout_ms"))?,
        })
    }
}

fn hops(count: usize) -> Result<usize, String> {
    if count > HOPS_MAX {
        return Err(format!("{count} is more than {HOPS_MAX}"));
    }
    Ok(count)
}

fn timeout(millis: u64) -> Result<Duration, String> {
    if !(1..=LAMBDA_TIMEOUT_MS_MAX).contains(&millis) {
        return Err(format!("{millis} is not between 1 and {LAMBDA_TIMEOUT_MS_MAX}"));
    }
    Ok(Duration::from_millis(millis))
}

fn functions(written: BTreeMap<String, String>) -> Result<BTreeMap<String, Arc<str>>, String> {
    let checked = |(arn, url): (String, String)| {
        let is_function = arn.starts_with("arn:") && arn.contains(":lambda:") && arn.contains(":function:");
        if !is_function {
            return Err(format!(
                "`{arn}` is not the ARN of a function, as arn:aws:lambda:us-east-1:000000000000:function:name"
            ));
        }
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        if host.is_none_or(str::is_empty) || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("`{url}` is not a URL such as http://127.0.0.1:9000/function"));
        }
        Ok((arn, url.into()))
    };
    written.into_iter().map(checked).collect()
}
