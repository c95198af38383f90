//! Which rules there are: the user's files, and the rules made through the API.
//!
//! - A change is live when the call that made it returns, and survives a restart.
//! - Rules are swapped whole; a message that is being evaluated ends with the set it began with.
//! - The user's files are read, never written. Where a file and a rule of the API share a name, the
//!   file counts and the other is reported.
//! - A file that breaks keeps the rule it held; what is wrong is logged once and told by
//!   [`Rulebook::problems`] until it is mended.
//!
//! Files are looked at once a second: that works on every file system, also where a container or the
//! network hides changes from the kernel's notices.

mod error;
mod stored;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tracing::{error, info, warn};

pub use error::RulebookError;
pub use stored::Tags;

use crate::clock::{Clock, Timestamp};
use crate::rules::{DefinedRule, Mistake, Rule, RuleError, RuleFolder, RuleOptions, RuleSet, StandIns};
use crate::shutdown::Shutdown;
use stored::{StoredRule, StoredRules};

/// How often the user's folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most rules made through the API: ten times AWS's quota.
const STORED_MAX: usize = 10_000;

/// Takes a new set of rules into use.
pub type Swap = Box<dyn Fn(RuleSet) + Send + Sync>;

/// All rules, and who may change them. Clones are the same book.
#[derive(Debug, Clone)]
pub struct Rulebook {
    inner: Arc<Inner>,
}

struct Inner {
    options: RuleOptions,
    clock: Arc<dyn Clock>,
    swap: Swap,
    /// Held while files are read and written, which may take as long as the disk likes.
    shelf: Mutex<Shelf>,
    /// What readers see: never held while anything is waited for.
    view: RwLock<Arc<View>>,
}

/// The rules in use and what is wrong with others.
#[derive(Debug, Default)]
struct View {
    entries: BTreeMap<String, RuleEntry>,
    problems: Vec<String>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rulebook").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Shelf {
    files: RuleFolder,
    /// Why the user's folder could not be read when last looked at.
    unreadable: Option<String>,
    stored: StoredRules,
}

/// A rule and where it came from.
#[derive(Debug, Clone)]
pub struct RuleEntry {
    /// The rule.
    pub rule: Arc<Rule>,
    /// When it was made; of a file, when it was last changed.
    pub created: Option<Timestamp>,
    /// The user's file that defines it; `None` for a rule made through the API.
    pub path: Option<PathBuf>,
    /// Its tags.
    pub tags: Tags,
}

impl From<DefinedRule> for RuleEntry {
    fn from(defined: DefinedRule) -> Self {
        Self { rule: defined.rule, created: defined.modified, path: Some(defined.path), tags: Tags::new() }
    }
}

impl From<&StoredRule> for RuleEntry {
    fn from(stored: &StoredRule) -> Self {
        let (rule, tags) = (Arc::clone(&stored.rule), stored.tags.clone());
        Self { rule, created: Some(stored.created), path: None, tags }
    }
}

impl Rulebook {
    /// A book of the user's `files`, which have been read, and the rules stored in `folder`; the first
    /// set goes to `swap` before this returns.
    ///
    /// # Errors
    /// When `folder` cannot be used. Files in it that hold no rule are problems, not errors.
    pub fn open(
        files: RuleFolder,
        folder: &Path,
        options: RuleOptions,
        clock: Arc<dyn Clock>,
        swap: Swap,
    ) -> Result<Self, RulebookError> {
        let stored = StoredRules::open(folder, &options.files)?;
        let shelf = Mutex::new(Shelf { files, unreadable: None, stored });
        let book = Self { inner: Arc::new(Inner { options, clock, swap, shelf, view: RwLock::default() }) };
        book.inner.publish(&book.inner.shelf());
        Ok(book)
    }

    /// Looks after the user's files until `shutdown` is requested.
    pub async fn watch(&self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let book = self.clone();
            if let Err(failure) = tokio::task::spawn_blocking(move || book.look()).await {
                error!(%failure, "looking at the rule files ended abnormally");
            }
        }
    }

    /// Looks at the user's files and takes into use what changed.
    pub fn look(&self) {
        let mut shelf = self.inner.shelf();
        let (changed, unreadable) = match shelf.files.refresh() {
            Ok(changed) => (changed, None),
            Err(error) => (false, Some(format!("{error}; the rules read before stay in use"))),
        };
        if changed || unreadable != shelf.unreadable {
            shelf.unreadable = unreadable;
            self.inner.publish(&shelf);
        }
    }

    /// What is wrong with rules that are, or should be, in use: sentences, empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        self.inner.view().problems.clone()
    }

    /// All rules, by name.
    pub fn list(&self) -> Vec<RuleEntry> {
        self.inner.view().entries.values().cloned().collect()
    }

    /// The rule called `name`.
    pub fn get(&self, name: &str) -> Option<RuleEntry> {
        self.inner.view().entries.get(name).cloned()
    }

    /// Makes a rule of `payload`, the JSON of a TopicRulePayload.
    ///
    /// # Errors
    /// When the name is taken, the payload is no rule, or it cannot be written down.
    pub fn create(&self, name: &str, payload: &str, tags: Tags) -> Result<(), RulebookError> {
        let rule = parse(name, payload, &self.inner.options.files)?;
        let mut shelf = self.inner.shelf();
        let path = shelf.entry(name).and_then(|entry| entry.path);
        if path.is_some() || shelf.stored.contains(name) {
            return Err(RulebookError::Exists { name: name.to_owned(), path });
        }
        if shelf.stored.len() >= STORED_MAX {
            return Err(RulebookError::Full { limit: STORED_MAX });
        }
        self.inner.put(&mut shelf, StoredRule { rule, created: self.inner.clock.now(), tags })
    }

    /// Puts a rule made of `payload` in the place of the one called `name`.
    ///
    /// # Errors
    /// When there is none, a file of the user's defines it, `payload` is no rule, or it cannot be
    /// written down.
    pub fn replace(&self, name: &str, payload: &str) -> Result<(), RulebookError> {
        let mut shelf = self.inner.shelf();
        let stored = shelf.changeable(name)?;
        let rule = parse(name, payload, &self.inner.options.files)?;
        let (created, tags) = stored
            .map_or_else(|| (self.inner.clock.now(), Tags::new()), |stored| (stored.created, stored.tags));
        self.inner.put(&mut shelf, StoredRule { rule, created, tags })
    }

    /// Lets the rule called `name` fire, or keeps it from firing.
    ///
    /// # Errors
    /// As [`Rulebook::replace`].
    pub fn set_enabled(&self, name: &str, enabled: bool) -> Result<(), RulebookError> {
        self.change(name, |stored| {
            let mut definition = stored.rule.definition().clone();
            definition["ruleDisabled"] = (!enabled).into();
            stored.rule = parse(name, &definition.to_string(), &self.inner.options.files)?;
            Ok(())
        })
    }

    /// Changes the tags of the rule called `name`.
    ///
    /// # Errors
    /// As [`Rulebook::replace`].
    pub fn change_tags(&self, name: &str, change: impl FnOnce(&mut Tags)) -> Result<(), RulebookError> {
        self.change(name, |stored| {
            change(&mut stored.tags);
            Ok(())
        })
    }

    /// Removes the rule called `name`.
    ///
    /// # Errors
    /// When there is none, a file of the user's defines it, or its file cannot be removed.
    pub fn delete(&self, name: &str) -> Result<(), RulebookError> {
        let mut shelf = self.inner.shelf();
        shelf.changeable(name)?;
        shelf.stored.remove(name)?;
        self.inner.publish(&shelf);
        Ok(())
    }

    fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut StoredRule) -> Result<(), RulebookError>,
    ) -> Result<(), RulebookError> {
        let mut shelf = self.inner.shelf();
        let stored = shelf.changeable(name)?;
        let mut stored = stored.ok_or_else(|| RulebookError::Unknown { name: name.to_owned() })?;
        change(&mut stored)?;
        self.inner.put(&mut shelf, stored)
    }
}

fn parse(name: &str, payload: &str, files: &StandIns) -> Result<Arc<Rule>, RulebookError> {
    let rule = Rule::parse_json_with(name, payload, files)?;
    if &**rule.name() != name {
        let reason = format!("the payload names the rule {}, the request {name}", rule.name());
        return Err(RuleError { mistakes: vec![Mistake { line: None, reason, in_statement: false }] }.into());
    }
    Ok(Arc::new(rule))
}

impl Inner {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Every change under the lock is complete before anything that could panic.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, shelf: &mut Shelf, stored: StoredRule) -> Result<(), RulebookError> {
        shelf.stored.put(stored)?;
        self.publish(shelf);
        Ok(())
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the rules into use as they are now, and says in the log what is newly wrong.
    fn publish(&self, shelf: &Shelf) {
        let before = self.view();
        let view = View { entries: shelf.entries(), problems: shelf.problems() };
        let told: HashSet<&String> = before.problems.iter().collect();
        for problem in view.problems.iter().filter(|problem| !told.contains(problem)) {
            warn!(problem, "a rule is not as its file says");
        }
        let rules: Vec<Arc<Rule>> = view.entries.values().map(|entry| Arc::clone(&entry.rule)).collect();
        let known = |rule: &Arc<Rule>| {
            before.entries.get(&**rule.name()).is_some_and(|entry| Arc::ptr_eq(&entry.rule, rule))
        };
        for rule in rules.iter().filter(|rule| !known(rule)) {
            for remark in rule.remarks() {
                warn!(rule = &**rule.name(), remark, "a rule does hardly what is meant");
            }
        }
        info!(rules = rules.len(), problems = view.problems.len(), "rules in use");
        (self.swap)(RuleSet::with_options(rules, &self.options));
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }
}

impl Shelf {
    /// What is in use, by name.
    fn entries(&self) -> BTreeMap<String, RuleEntry> {
        let stored = self.stored.iter().map(|(name, stored)| (name.clone(), RuleEntry::from(stored)));
        let files = self.files.rules().0.into_iter();
        stored.chain(files.map(|defined| (defined.rule.name().to_string(), defined.into()))).collect()
    }

    fn entry(&self, name: &str) -> Option<RuleEntry> {
        let file = self.files.rules().0.into_iter().find(|defined| &**defined.rule.name() == name);
        file.map(RuleEntry::from).or_else(|| self.stored.get(name).map(RuleEntry::from))
    }

    /// The stored rule called `name`; `None` if its file cannot be read.
    fn changeable(&self, name: &str) -> Result<Option<StoredRule>, RulebookError> {
        if let Some(path) = self.entry(name).and_then(|entry| entry.path) {
            return Err(RulebookError::InFile { name: name.to_owned(), path });
        }
        if !self.stored.contains(name) {
            return Err(RulebookError::Unknown { name: name.to_owned() });
        }
        Ok(self.stored.get(name).cloned())
    }

    fn problems(&self) -> Vec<String> {
        let (files, problems) = self.files.rules();
        let hidden = files.iter().filter(|defined| self.stored.get(defined.rule.name()).is_some());
        let hidden = hidden.map(|defined| {
            let (name, path) = (defined.rule.name(), defined.path.display());
            let stored = self.stored.path(name);
            format!("{}: not used, for {path} defines the rule {name} too", stored.display())
        });
        let stored = self.stored.problems().map(ToString::to_string);
        let files = problems.iter().map(ToString::to_string);
        self.unreadable.iter().cloned().chain(files).chain(stored).chain(hidden).collect()
    }
}
