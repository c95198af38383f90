//! How large a query becomes when it is planned, found out before it is.
//!
//! The planner copies a view of `WITH` to every place that names it: twenty views that each name the
//! one before twice are a million relations in a thousand characters. Planning time also grows faster
//! than the number of relations and of selected items, and a plan being made cannot be interrupted.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, Select, TableFactor, Visit, Visitor};

use super::error::QueryError;

/// Most relations of a query, views counted as often as they are named.
const RELATIONS_MAX: u64 = 200;

/// Most items of one SELECT; a table has at most 1,152 columns.
const ITEMS_MAX: usize = 4_000;

/// Refuses a query too large to be planned in reasonable time.
pub(crate) fn check(query: &Query) -> Result<(), QueryError> {
    match query.visit(&mut Weight::default()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(text) => Err(QueryError::Validation(text)),
    }
}

#[derive(Default)]
struct Weight {
    /// The relations of each query around the present place, the innermost last.
    sums: Vec<u64>,
    /// The relations of each view, by its name.
    views: HashMap<String, u64>,
    /// Which of the queries to come are views; a query is known by where it lies in memory.
    names: HashMap<usize, String>,
}

fn place(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}

impl Weight {
    fn add(&mut self, relations: u64) -> ControlFlow<String> {
        if let Some(sum) = self.sums.last_mut() {
            *sum = sum.saturating_add(relations);
            if *sum > RELATIONS_MAX {
                return ControlFlow::Break(format!(
                    "the query reads more than {RELATIONS_MAX} tables, a view of WITH counted as often as it is \
                     named: split it"
                ));
            }
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for Weight {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        for view in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.names.insert(place(&view.query), view.alias.name.value.to_lowercase());
        }
        self.sums.push(0);
        ControlFlow::Continue(())
    }

    /// A view weighs nothing by itself, only where it is named.
    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        let sum = self.sums.pop().unwrap_or_default();
        match self.names.get(&place(query)) {
            Some(name) => {
                self.views.insert(name.clone(), sum.max(1));
                ControlFlow::Continue(())
            }
            None => self.add(sum),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        let items = select.projection.len();
        match items > ITEMS_MAX {
            true => {
                ControlFlow::Break(format!("a SELECT has {items} items; it may have at most {ITEMS_MAX}"))
            }
            // A SELECT without a relation is one: `SELECT 1 UNION SELECT 2`.
            false => self.add(u64::from(select.from.is_empty())),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<String> {
        let view = match relation.0.as_slice() {
            [one] => one.as_ident().and_then(|name| self.views.get(&name.value.to_lowercase())),
            _ => None,
        };
        let relations = view.copied().unwrap_or(1);
        self.add(relations)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        self.add(u64::from(matches!(factor, TableFactor::UNNEST { .. })))
    }
}
