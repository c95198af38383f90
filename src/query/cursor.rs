//! Page tokens and the unfinished results behind them.
//!
//! A token names one page of one result of one query text of one caller. The newest token gives the next page; the
//! one before it gives the page it gave the first time, so that an answer lost on the way can be asked
//! for again; any older one is refused. Results that nobody comes back for are dropped when their token
//! expires, or sooner when newer ones need their place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::deadline::Deadline;
use super::error::QueryError;
use super::pending::Pending;
use super::results::Results;
use super::{Page, QueryRequest};
use crate::clock::Timestamp;

/// Length of the part of a token that names the result.
const ID_CHARS: usize = 32;

/// An unfinished result.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) query_id: String,
    /// Whether anyone still waits for the query behind it.
    pub(crate) deadline: Deadline,
    sql: Arc<str>,
    principal: Option<String>,
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    /// What is left; nothing after the last page, and nothing while a page is being made: if that is
    /// given up half way, rows are lost and the result must not go on without them.
    pub(crate) rest: Option<Rest>,
    /// The token of the page that was not given yet.
    next: Option<String>,
    /// The token used last, the page it gave, and how often it was used.
    given: Option<(String, Page, u32)>,
}

/// What is left of a result.
#[derive(Debug)]
pub(crate) enum Rest {
    /// Rows, on demand.
    Rows(Results),
    /// Everything: the query works on its first rows.
    Query(Pending),
}

/// The unfinished results of an engine.
#[derive(Debug)]
pub(crate) struct Cursors {
    open: Mutex<HashMap<String, (Arc<Cursor>, Timestamp)>>,
    most: usize,
    lifetime: Duration,
    uses: u32,
}

/// A result to be kept.
pub(crate) struct Kept {
    pub(crate) query_id: String,
    pub(crate) rest: Rest,
    pub(crate) deadline: Deadline,
}

/// What a token leads to.
pub(crate) enum Turn {
    /// A page that was given before.
    Again(Box<Page>),
    /// The next page has to be made.
    Next,
}

fn invalid_token() -> QueryError {
    QueryError::Validation("Invalid pagination token.".to_owned())
}

/// The answer to whoever asks for rows of a cancelled query (spec 6.3).
pub(crate) fn cancelled() -> QueryError {
    QueryError::Conflict("Unable to poll results for a cancelled query.".to_owned())
}

fn id_of(token: &str) -> Option<&str> {
    token.get(..ID_CHARS)
}

/// A token that is not to be guessed, for the result called `id`.
fn token(id: &str) -> String {
    format!("{id}{}", Uuid::new_v4().simple())
}

impl Cursors {
    pub(crate) fn new(most: usize, lifetime: Duration, uses: u32) -> Self {
        Self { open: Mutex::new(HashMap::new()), most: most.max(1), lifetime, uses: uses.max(1) }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, (Arc<Cursor>, Timestamp)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a result and returns the token of its next page.
    pub(crate) fn keep(&self, kept: Kept, request: &QueryRequest, now: Timestamp) -> String {
        let id = Uuid::new_v4().simple().to_string();
        let next = token(&id);
        let Kept { query_id, rest, deadline } = kept;
        let state = State { rest: Some(rest), next: Some(next.clone()), given: None };
        let cursor = Cursor {
            query_id,
            deadline,
            sql: request.sql.as_str().into(),
            principal: request.principal.clone(),
            state: tokio::sync::Mutex::new(state),
        };
        let mut open = self.open();
        while open.len() >= self.most {
            let oldest = open.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { break };
            open.remove(&oldest);
        }
        open.insert(id, (Arc::new(cursor), now));
        next
    }

    /// The result a token belongs to, for whoever got it and asks with the same text.
    pub(crate) fn find(
        &self,
        token: &str,
        request: &QueryRequest,
        now: Timestamp,
    ) -> Result<Arc<Cursor>, QueryError> {
        self.expire(now);
        let mut open = self.open();
        let (cursor, used) = id_of(token).and_then(|id| open.get_mut(id)).ok_or_else(invalid_token)?;
        if *cursor.sql != *request.sql || cursor.principal != request.principal {
            return Err(invalid_token());
        }
        if cursor.deadline.is_cancelled() {
            return Err(cancelled());
        }
        *used = now;
        Ok(Arc::clone(cursor))
    }

    /// Drops the results whose tokens have expired.
    pub(crate) fn expire(&self, now: Timestamp) {
        let lifetime = i64::try_from(self.lifetime.as_nanos()).unwrap_or(i64::MAX);
        self.open().retain(|_, (_, used)| used.saturating_add(lifetime) > now);
    }

    /// Drops what is left of a cancelled query; its tokens stay known, so that they can say why.
    pub(crate) fn empty(&self, query_id: &str) {
        for (cursor, _) in self.open().values().filter(|(cursor, _)| cursor.query_id == query_id) {
            // Whoever holds it is told to stop, and drops what it took.
            if let Ok(mut state) = cursor.state.try_lock() {
                state.rest = None;
            }
        }
    }

    /// Drops all results.
    pub(crate) fn clear(&self) {
        self.open().clear();
    }

    /// Drops the result a token belongs to: its query failed.
    pub(crate) fn forget(&self, token: &str) {
        if let Some(id) = id_of(token) {
            self.open().remove(id);
        }
    }
}

impl Cursor {
    /// Waits until no other call works on this result.
    pub(crate) async fn lock(&self) -> tokio::sync::MutexGuard<'_, State> {
        self.state.lock().await
    }
}

impl State {
    /// What `token` leads to.
    pub(crate) fn turn(&mut self, token: &str, cursors: &Cursors) -> Result<Turn, QueryError> {
        if let Some((given, page, uses)) = &mut self.given
            && given == token
        {
            *uses += 1;
            let page = Box::new(page.clone());
            return if *uses > cursors.uses { Err(invalid_token()) } else { Ok(Turn::Again(page)) };
        }
        match self.next.as_deref() == Some(token) && self.rest.is_some() {
            true => Ok(Turn::Next),
            false => Err(invalid_token()),
        }
    }

    /// Remembers the page `token` gave. With more to come, in `self.rest`, the page gets the next token.
    pub(crate) fn give(&mut self, token_used: &str, mut page: Page) -> Page {
        self.next = self.rest.is_some().then(|| token(id_of(token_used).unwrap_or_default()));
        page.next_token.clone_from(&self.next);
        self.give_last(token_used, page)
    }

    /// Remembers the page `token` gave; whatever follows it stands behind the token that it has.
    pub(crate) fn give_last(&mut self, token_used: &str, page: Page) -> Page {
        self.given = Some((token_used.to_owned(), page.clone(), 1));
        page
    }
}
