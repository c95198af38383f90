//! The queries that can be cancelled, by their names: those that run, and those whose next page waits.
//!
//! A query is known here as long as anything of it is left, and after it was cancelled for as long as
//! its name is among the last that were.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::Cancelled;
use super::deadline::{Deadline, WeakDeadline};
use super::error::QueryError;

/// How many cancelled queries are remembered.
const REMEMBERED: usize = 1_000;

/// Fewer names than this are not worth a search for those of ended queries.
const NAMES_MIN: usize = 256;

/// The queries of an engine.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    running: HashMap<String, WeakDeadline>,
    cancelled: VecDeque<String>,
    /// With so many names those of ended queries are looked for.
    full: usize,
}

impl Running {
    /// Makes a query known.
    pub(crate) fn add(&self, query_id: &str, deadline: &Deadline) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.running.len() >= names.full {
            names.running.retain(|_, deadline| deadline.is_left());
            names.full = NAMES_MIN.max(names.running.len() * 2);
        }
        names.running.insert(query_id.to_owned(), deadline.downgrade());
    }

    /// Tells a query to stop.
    ///
    /// # Errors
    /// When there is no such query, or it has ended.
    pub(crate) fn cancel(&self, query_id: &str) -> Result<Cancelled, QueryError> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.cancelled.iter().any(|cancelled| cancelled == query_id) {
            return Ok(Cancelled::Before);
        }
        let Some(deadline) = names.running.get(query_id).and_then(WeakDeadline::upgrade) else {
            return Err(QueryError::Validation(format!(
                "There is no query {query_id} that could be cancelled: it has ended, or there never was one"
            )));
        };
        deadline.cancel();
        if names.cancelled.len() >= REMEMBERED {
            names.cancelled.pop_front();
        }
        names.cancelled.push_back(query_id.to_owned());
        Ok(Cancelled::Now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_known_as_long_as_anything_is_left_of_it() {
        let running = Running::default();
        let deadline = Deadline::default();
        running.add("A", &deadline);
        for n in 0..10 * NAMES_MIN {
            running.add(&n.to_string(), &Deadline::default());
        }
        let known = running.0.lock().expect("no panic").running.len();
        assert!(known <= 2 * NAMES_MIN, "{known}");
        assert!(matches!(running.cancel("7"), Err(QueryError::Validation(_))), "it has ended");
        assert_eq!(running.cancel("A"), Ok(Cancelled::Now));
        assert!(deadline.is_cancelled() && deadline.check().is_err());
        drop(deadline);
        assert_eq!(running.cancel("A"), Ok(Cancelled::Before));
    }
}
