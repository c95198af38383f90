//! What the API asks for: create, describe, list, change, run now, delete, tags.

use std::sync::Arc;

use tracing::info;
use uuid::Uuid;

use super::definition::{Definition, Request, State};
use super::error::ScheduleError;
use super::expression::Expression;
use super::history::{History, Invocation, Run, Trigger};
use super::notice::Notice;
use super::run::RUNTIME;
use super::{DEFINITIONS, HISTORIES, Inner, Schedules, blocking, target};
use crate::clock::Timestamp;
use crate::query::ColumnInfo;
use crate::store::{StoreError, Tag, merge_tags};

/// For how long a client token stands for its request (spec 2.1).
const TOKEN_NANOS: i64 = 8 * 3_600 * 1_000_000_000;

/// Most runs of one query by ExecuteScheduledQuery that wait or are under way.
const MANUAL_MAX: usize = 16;

/// What is known of a scheduled query.
#[derive(Debug, Clone)]
pub struct Described {
    /// What it was created with, and its state.
    pub definition: Arc<Definition>,
    /// When it runs next by itself.
    pub next: Option<Timestamp>,
    /// The run that ended last.
    pub last: Option<Run>,
    /// The runs that failed last, the newest first.
    pub failed: Vec<Run>,
}

impl Schedules {
    /// Creates a scheduled query and returns what its ARN ends with. The same request with the same client
    /// token, within eight hours, creates nothing more.
    ///
    /// # Errors
    /// When the expression, the query or the target is wrong, or the name is taken.
    pub async fn create(&self, request: Request, tags: Vec<Tag>) -> Result<String, ScheduleError> {
        let inner = &self.inner;
        // Looked at first, so that a repetition needs no plan; and again once nobody else can create.
        if let Some(id) = inner.repeated(&request)? {
            return Ok(id);
        }
        let mut own = Vec::new();
        merge_tags(&mut own, tags)?;
        let expression = Expression::parse(&request.expression)?;
        inner.check(&request).await?;

        let _changing = inner.changing.lock().await;
        if let Some(id) = inner.repeated(&request)? {
            return Ok(id);
        }
        let given = inner.book().len();
        let most = inner.options.queries_max;
        if given >= most {
            return Err(ScheduleError::TooMany { given, most });
        }
        let hex = Uuid::new_v4().simple().to_string();
        let id = format!("{}-{}", request.name, &hex[..16]);
        let now = inner.now();
        let definition = Definition::new(id.clone(), request, own, now);
        inner.put(&definition).await?;
        let topic = definition.request.topic_arn.clone();
        inner.book().add(definition, expression, History::from(now), now);
        inner.notices.send(&topic, &inner.arn(&id), &Notice::Creating);
        inner.changed.notify_one();
        info!(id, "a scheduled query was created");
        Ok(id)
    }

    /// The ARN of a scheduled query.
    pub fn arn(&self, id: &str) -> String {
        self.inner.arn(id)
    }

    /// What is known of a scheduled query.
    ///
    /// # Errors
    /// When there is none.
    pub fn describe(&self, id: &str) -> Result<Described, ScheduleError> {
        let book = self.inner.book();
        let entry = book.get(id).ok_or_else(|| self.inner.not_found(id))?;
        Ok(Described {
            definition: Arc::clone(&entry.definition),
            next: entry.next,
            last: entry.history.last.clone(),
            failed: entry.history.failed.iter().cloned().collect(),
        })
    }

    /// The scheduled queries behind `after`, sorted by id, `most` of them at most, and whether there are more.
    pub fn list(&self, after: Option<&str>, most: usize) -> (Vec<Described>, bool) {
        let book = self.inner.book();
        let mut found: Vec<Described> = book
            .behind(after.unwrap_or(""))
            .take(most.saturating_add(1))
            .map(|entry| Described {
                definition: Arc::clone(&entry.definition),
                next: entry.next,
                last: entry.history.last.clone(),
                failed: Vec::new(),
            })
            .collect();
        let more = found.len() > most;
        found.truncate(most);
        (found, more)
    }

    /// Enables or disables a scheduled query. What would have been due while it was disabled is not made
    /// up for.
    ///
    /// # Errors
    /// When there is none.
    pub async fn update(&self, id: &str, state: State) -> Result<(), ScheduleError> {
        if self.inner.change_state(id, state).await? {
            let topic = self.describe(id)?.definition.request.topic_arn.clone();
            self.inner.notices.send(&topic, &self.arn(id), &Notice::Updated(state));
            self.inner.changed.notify_one();
        }
        Ok(())
    }

    /// Runs a scheduled query for `time`, as soon as it is its turn; enabled or not.
    ///
    /// # Errors
    /// When there is none, or many of its runs wait already.
    pub async fn execute(&self, id: &str, time: Timestamp, insights: bool) -> Result<(), ScheduleError> {
        let inner = &self.inner;
        let invocation = Invocation { time: time.nanos(), trigger: Trigger::Manual, insights };
        let noted = inner
            .change_history(id, |history| {
                let waiting = history.unfinished.iter().filter(|own| own.trigger == Trigger::Manual).count();
                if waiting < MANUAL_MAX {
                    history.unfinished.push_back(invocation.clone());
                }
                waiting < MANUAL_MAX
            })
            .await?;
        match noted {
            None => return Err(inner.not_found(id)),
            Some(false) => return Err(ScheduleError::Busy { most: MANUAL_MAX }),
            Some(true) => {}
        }
        if let Some(entry) = inner.book().get_mut(id) {
            entry.waiting.push_back(invocation);
        }
        inner.changed.notify_one();
        Ok(())
    }

    /// Deletes a scheduled query. A run that is under way comes to its end.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete(&self, id: &str) -> Result<(), ScheduleError> {
        let inner = &self.inner;
        let _changing = inner.changing.lock().await;
        let topic = self.describe(id)?.definition.request.topic_arn.clone();
        let (store, key) = (inner.runner.store.clone(), id.to_owned());
        blocking(move || {
            // A history without its definition is never looked at.
            store.delete_document(DEFINITIONS, &key)?;
            store.delete_document(HISTORIES, &key)
        })
        .await?;
        inner.book().remove(id);
        inner.notices.send(&topic, &inner.arn(id), &Notice::Deleted);
        info!(id, "a scheduled query was deleted");
        Ok(())
    }

    /// The tags of a scheduled query.
    ///
    /// # Errors
    /// When there is none.
    pub fn tags(&self, id: &str) -> Result<Vec<Tag>, ScheduleError> {
        Ok(self.describe(id)?.definition.tags.clone())
    }

    /// Attaches tags; a key it has already gets the new value.
    ///
    /// # Errors
    /// When there is no such query, a tag is not allowed, or there would be too many.
    pub async fn tag(&self, id: &str, tags: Vec<Tag>) -> Result<(), ScheduleError> {
        self.inner.redefine(id, |definition| merge_tags(&mut definition.tags, tags)).await
    }

    /// Takes tags off; keys it does not have are no error.
    ///
    /// # Errors
    /// When there is no such query.
    pub async fn untag(&self, id: &str, keys: &[String]) -> Result<(), ScheduleError> {
        let change = |definition: &mut Definition| {
            definition.tags.retain(|(key, _)| !keys.contains(key));
            Ok(())
        };
        self.inner.redefine(id, change).await
    }
}

impl Inner {
    fn not_found(&self, id: &str) -> ScheduleError {
        ScheduleError::NotFound { arn: self.arn(id) }
    }

    /// The query that the same request has created before.
    fn repeated(&self, request: &Request) -> Result<Option<String>, ScheduleError> {
        let since = self.now().saturating_add(-TOKEN_NANOS);
        let book = self.book();
        let token = request.client_token.as_ref();
        let used = book.iter().find(|entry| {
            token.is_some()
                && entry.definition.request.client_token.as_ref() == token
                && entry.definition.created() >= since
        });
        match used.map(|entry| &entry.definition) {
            Some(definition) if definition.request == *request => Ok(Some(definition.id.clone())),
            Some(definition) => Err(ScheduleError::TokenUsed { name: definition.request.name.clone() }),
            None if book.named(&request.name).is_some() => {
                Err(ScheduleError::Exists { name: request.name.clone() })
            }
            None => Ok(None),
        }
    }

    /// Plans the query and fits its result to the target.
    async fn check(&self, request: &Request) -> Result<(), ScheduleError> {
        let prepared = self.runner.engine.prepare(&request.query).await?;
        if let Some(other) = prepared.parameters.iter().find(|name| *name != RUNTIME) {
            return Err(ScheduleError::Invalid(format!(
                "The query has the parameter @{other}; a scheduled query has @{RUNTIME} only."
            )));
        }
        let first = request.query.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if ["SHOW", "DESC", "DESCRIBE", "UNLOAD"].contains(&first.as_str()) {
            return Err(ScheduleError::Invalid("A scheduled query must be a SELECT.".to_owned()));
        }
        if let Some(target) = &request.target {
            let columns: Vec<ColumnInfo> = prepared.columns.into_iter().map(|column| column.info).collect();
            target::mapping(&self.runner.store, target, &columns).map_err(ScheduleError::Invalid)?;
        }
        Ok(())
    }

    async fn put(&self, definition: &Definition) -> Result<(), ScheduleError> {
        let (store, id) = (self.runner.store.clone(), definition.id.clone());
        let bytes = definition.to_bytes();
        blocking(move || store.put_document(DEFINITIONS, &id, &bytes)).await
    }

    /// Changes a definition, on disk first.
    async fn redefine(
        &self,
        id: &str,
        change: impl FnOnce(&mut Definition) -> Result<(), StoreError> + Send,
    ) -> Result<(), ScheduleError> {
        let _changing = self.changing.lock().await;
        let found = self.book().get(id).map(|entry| Definition::clone(&entry.definition));
        let mut definition = found.ok_or_else(|| self.not_found(id))?;
        change(&mut definition)?;
        self.put(&definition).await?;
        self.book().redefine(definition, self.now());
        Ok(())
    }

    /// Enables or disables a query. Returns whether that changed anything.
    pub(super) async fn change_state(&self, id: &str, state: State) -> Result<bool, ScheduleError> {
        let before = self.book().get(id).map(|entry| entry.definition.state);
        if before.ok_or_else(|| self.not_found(id))? == state {
            return Ok(false);
        }
        if state == State::Enabled {
            let now = self.now().nanos();
            self.change_history(id, |history| history.through = history.through.max(now)).await?;
        }
        self.redefine(id, |definition| {
            definition.state = state;
            Ok(())
        })
        .await?;
        Ok(true)
    }
}
