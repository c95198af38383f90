//! Rules made through the API, a JSON file each in a folder of the store.
//!
//! A file holds what `GetTopicRule` needs beyond the payload: name, time of creation, tags. It is
//! written beside its place, synced and renamed, so that after a crash it is the old rule or the new.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::RulebookError;
use crate::clock::Timestamp;
use crate::rules::{Rule, RuleError, RuleProblem, StandIns};

/// The tags of a rule, by key.
pub type Tags = BTreeMap<String, String>;

/// A rule as its file holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    rule_name: String,
    /// Milliseconds since the epoch.
    created_at: i64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: Tags,
    topic_rule_payload: Value,
}

/// A rule made through the API.
#[derive(Debug, Clone)]
pub(super) struct StoredRule {
    pub(super) rule: Arc<Rule>,
    pub(super) created: Timestamp,
    pub(super) tags: Tags,
}

/// All rules made through the API.
#[derive(Debug)]
pub(super) struct StoredRules {
    folder: PathBuf,
    rules: BTreeMap<String, StoredRule>,
    /// Files that hold no rule this version understands, by the name they stand for. Nothing takes
    /// their place unasked.
    broken: BTreeMap<String, Vec<RuleProblem>>,
}

impl StoredRules {
    /// Reads the rules in `folder`, which is made if it is missing; their functions may read `files`.
    pub(super) fn open(folder: &Path, files: &StandIns) -> Result<Self, RulebookError> {
        let failed = |source| RulebookError::Disk { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut stored = Self { folder: folder.to_owned(), rules: BTreeMap::new(), broken: BTreeMap::new() };
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if path.extension().is_none_or(|extension| extension != "json") || name.starts_with('.') {
                continue;
            }
            match read(&path, files) {
                Ok((name, rule)) => drop(stored.rules.insert(name, rule)),
                Err(problems) => drop(stored.broken.insert(name.to_owned(), problems)),
            }
        }
        Ok(stored)
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len() + self.broken.len()
    }

    pub(super) fn get(&self, name: &str) -> Option<&StoredRule> {
        self.rules.get(name)
    }

    /// Whether the name is taken, be it by a file that cannot be read.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.rules.contains_key(name) || self.broken.contains_key(name)
    }

    /// The rules by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &StoredRule)> {
        self.rules.iter()
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = &RuleProblem> {
        self.broken.values().flatten()
    }

    /// Where the rule called `name` is or would be.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// Writes a rule down, in place of one of the same name.
    pub(super) fn put(&mut self, stored: StoredRule) -> Result<(), RulebookError> {
        let name = stored.rule.name().to_string();
        let written = Written {
            rule_name: name.clone(),
            created_at: stored.created.millis(),
            tags: stored.tags.clone(),
            topic_rule_payload: stored.rule.definition().clone(),
        };
        let path = self.path(&name);
        let text = serde_json::to_vec_pretty(&written).map_err(io::Error::from);
        let done = text.and_then(|text| replace(&self.folder, &path, &text));
        done.map_err(|source| RulebookError::Disk { path, source })?;
        self.broken.remove(&name);
        self.rules.insert(name, stored);
        Ok(())
    }

    /// Removes a rule and its file.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), RulebookError> {
        let path = self.path(name);
        let done = fs::remove_file(&path).and_then(|()| File::open(&self.folder)?.sync_all());
        done.map_err(|source| RulebookError::Disk { path, source })?;
        self.rules.remove(name);
        self.broken.remove(name);
        Ok(())
    }
}

fn read(path: &Path, files: &StandIns) -> Result<(String, StoredRule), Vec<RuleProblem>> {
    let problem = |reason: String| vec![RuleProblem::new(path, None, reason)];
    let text = fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    let written: Written =
        serde_json::from_str(&text).map_err(|error| problem(format!("is no stored rule: {error}")))?;
    let payload = written.topic_rule_payload.to_string();
    let rule =
        Rule::parse_json_with(&written.rule_name, &payload, files).map_err(|RuleError { mistakes }| {
            mistakes
                .into_iter()
                .map(|mistake| RuleProblem::new(path, None, mistake.reason))
                .collect::<Vec<_>>()
        })?;
    if path.file_stem().is_none_or(|stem| stem != &**rule.name()) {
        return Err(problem(format!("holds the rule {} under another name", rule.name())));
    }
    let created = Timestamp::from_millis(written.created_at);
    Ok((rule.name().to_string(), StoredRule { rule: Arc::new(rule), created, tags: written.tags }))
}

/// Puts `text` at `path`, whole or not at all.
fn replace(folder: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    let mut file = File::create(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}
