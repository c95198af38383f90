//! The pages of a query: the first, the next, the same one again, and one without rows while the query
//! is at work.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use tokio::sync::oneshot;

use super::cursor::{Cursor, Kept, Rest, Turn, cancelled};
use super::deadline::Deadline;
use super::engine::{Inner, stopping, timed_out};
use super::error::{Locations, QueryError};
use super::insights::Observed;
use super::pending::Started;
use super::results::{PageSize, Results};
use super::rows::Datum;
use super::{Page, Parameters, QueryRequest};

/// Least bytes a query is metered with (spec 1.3).
pub(crate) const METERED_BYTES_MIN: u64 = 10_000_000;

/// A query about to begin.
pub(crate) struct First {
    pub(crate) query_id: String,
    pub(crate) deadline: Deadline,
    /// Who learns that it runs.
    pub(crate) tell: oneshot::Sender<Started>,
}

impl Inner {
    fn size(&self, request: &QueryRequest) -> PageSize {
        PageSize { rows: request.max_rows.unwrap_or(self.options.page_rows), bytes: self.options.page_bytes }
    }

    /// The page a query begins with.
    pub(crate) async fn first_page(
        &self,
        request: &QueryRequest,
        parameters: &Parameters,
        first: First,
    ) -> Result<Page, QueryError> {
        let First { query_id, deadline, tell } = first;
        let mut results = self.run_text(&request.sql, parameters, &query_id, deadline.clone(), tell).await?;
        let (rows, more) = results.page(self.size(request)).await.map_err(|error| at_run_time(&error))?;
        let mut page = page(query_id.clone(), &results, rows, more, request.insights);
        if more {
            let kept = Kept { query_id, rest: Rest::Rows(results), deadline };
            page.next_token = Some(self.cursors.keep(kept, request, self.clock.now()));
        }
        Ok(page)
    }

    /// The page `token` names, if the query is still at its first rows. Needs no turn: the query has one.
    pub(crate) async fn poll(&self, cursor: &Cursor, token: &str) -> Option<Result<Page, QueryError>> {
        let mut state = tokio::select! {
            state = cursor.lock() => state,
            () = cursor.deadline.cancelled() => return Some(Err(cancelled())),
            () = self.stopping.cancelled() => return Some(Err(stopping())),
            () = tokio::time::sleep(self.options.timeout) => return Some(Err(timed_out(self.options.timeout))),
        };
        match state.turn(token, &self.cursors) {
            Ok(Turn::Again(page)) => return Some(Ok(*page)),
            Ok(Turn::Next) => {}
            Err(error) => return Some(Err(error)),
        }
        let Some(Rest::Query(pending)) = &mut state.rest else { return None };
        let found = tokio::select! {
            found = pending.poll(self.options.first_page_within) => found,
            () = self.stopping.cancelled() => Some(Err(stopping())),
        };
        Some(match found {
            None => {
                let page = pending.page();
                Ok(state.give(token, page))
            }
            Some(Ok(page)) => {
                state.rest = None;
                Ok(state.give_last(token, page))
            }
            Some(Err(error)) => {
                state.rest = None;
                // The tokens of a cancelled query stay known, so that they can say so.
                if !cursor.deadline.is_cancelled() {
                    self.cursors.forget(token);
                }
                Err(error)
            }
        })
    }

    /// The page behind `token`.
    pub(crate) async fn next_page(
        &self,
        cursor: &Cursor,
        token: &str,
        request: &QueryRequest,
    ) -> Result<Page, QueryError> {
        let mut state = cursor.lock().await;
        if let Turn::Again(page) = state.turn(token, &self.cursors)? {
            return Ok(*page);
        }
        let mut results = match state.rest.take() {
            Some(Rest::Rows(results)) => results,
            rest => {
                state.rest = rest;
                return Err(QueryError::Internal("a page without a result".to_owned()));
            }
        };
        match results.page(self.size(request)).await {
            Ok((rows, more)) => {
                let page = page(cursor.query_id.clone(), &results, rows, more, request.insights);
                state.rest = more.then_some(Rest::Rows(results));
                Ok(state.give(token, page))
            }
            Err(error) => {
                self.cursors.forget(token);
                Err(at_run_time(&error))
            }
        }
    }
}

/// Errors of a plan that runs have no place in the text.
pub(crate) fn at_run_time(error: &DataFusionError) -> QueryError {
    QueryError::from_datafusion(error, &Locations::default())
}

fn page(query_id: String, results: &Results, rows: Vec<Vec<Datum>>, more: bool, insights: bool) -> Page {
    let observed = results.observed();
    let progress = match observed.filter(|_| more) {
        Some(observed) => observed.progress(),
        None => 100.0,
    };
    let page = Page {
        query_id,
        columns: Arc::clone(&results.columns),
        rows,
        next_token: None,
        progress,
        bytes_scanned: 0,
        bytes_metered: 0,
        insights: insights.then(|| results.insights()),
    };
    metered(page, observed)
}

/// A page of a query that has no rows yet.
pub(crate) fn empty_page(query_id: String, started: &Started) -> Page {
    let page = Page {
        query_id,
        columns: Arc::clone(&started.columns),
        rows: Vec::new(),
        next_token: None,
        progress: started.observed.progress(),
        bytes_scanned: 0,
        bytes_metered: 0,
        insights: None,
    };
    metered(page, Some(&started.observed))
}

/// The page with what its query has read; statements without a plan read nothing.
fn metered(page: Page, observed: Option<&Observed>) -> Page {
    let Some(observed) = observed else { return page };
    let bytes_scanned = observed.bytes_scanned();
    Page { bytes_scanned, bytes_metered: bytes_scanned.max(METERED_BYTES_MIN), ..page }
}
