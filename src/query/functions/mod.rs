//! The functions of Timestream's SQL, registered in one place.
//!
//! A query can call these and nothing else: DataFusion's own functions are only here where their
//! meaning is Trino's. A name that begins with two underscores is for `dialect`, `rewrite` and
//! `operators`; a user who writes one is told that there is no such function.

mod bounded;
mod signature;

mod scalar;

mod collecting;

mod aggregate;
mod approx_distinct;
mod arithmetic;
mod array;
mod array_groups;
mod array_sort;
mod attempt;
mod average;
mod bits;
mod calendar;
mod comparison;
mod construct;
mod conversion;
mod date_format;
mod decimals;
mod format;
mod frame;
mod lambda;
mod number;
mod over_elements;
mod percentile;
mod regexp;
mod regexp_lambda;
mod sequence;
mod series;
mod spline;
mod sum;
mod text;
mod time;
mod undocumented;
mod unnesting;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};

use scalar::Def;

pub(crate) use conversion::cast_array;
pub(crate) use frame::FrameMemory;
pub(crate) use over_elements::OVER;
pub(crate) use scalar::Counts;

/// All functions a query can call.
#[derive(Debug)]
pub(crate) struct Registry {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
    /// What `rewrite` turns into something else.
    rewritten: HashSet<&'static str>,
}

/// Every family of functions of one row.
const FAMILIES: &[&[Def]] = &[
    arithmetic::FUNCTIONS,
    array::FUNCTIONS,
    array_groups::FUNCTIONS,
    bits::FUNCTIONS,
    comparison::FUNCTIONS,
    conversion::FUNCTIONS,
    date_format::FUNCTIONS,
    number::FUNCTIONS,
    regexp::FUNCTIONS,
    series::FUNCTIONS,
    text::FUNCTIONS,
    time::FUNCTIONS,
    undocumented::FUNCTIONS,
];

impl Registry {
    /// All functions.
    pub(crate) fn new() -> Self {
        let mut registry = Self {
            scalar: HashMap::new(),
            higher_order: HashMap::new(),
            aggregate: HashMap::new(),
            window: HashMap::new(),
            rewritten: ["now", "current_timestamp", "current_date", "current_time"]
                .into_iter()
                .chain(["localtimestamp", "localtime", "listagg"])
                .collect(),
        };
        for def in FAMILIES.iter().copied().flatten() {
            registry.add(def.udf());
        }
        for function in [conversion::special(), construct::special(), format::special(), unnesting::special()]
            .into_iter()
            .flatten()
        {
            registry.add(function);
        }
        use datafusion::functions::core;
        for function in [core::get_field(), core::coalesce(), core::nullif()] {
            registry.scalar.insert(function.name().to_owned(), function);
        }
        let aggregates = aggregate::all();
        over_elements::special(&aggregates).into_iter().for_each(|function| registry.add(function));
        registry.aggregate =
            aggregates.into_iter().map(|(name, function)| (name.to_owned(), function)).collect();
        for function in lambda::all() {
            registry.higher_order.insert(function.name().to_owned(), Arc::new(function));
        }
        for function in datafusion::functions_window::all_default_window_functions() {
            registry.window.insert(function.name().to_owned(), function);
        }
        registry
    }

    fn add(&mut self, function: ScalarUDF) {
        self.scalar.insert(function.name().to_owned(), Arc::new(function));
    }

    /// Whether a user may call `name`, which is in lower case.
    pub(crate) fn is_public(&self, name: &str) -> bool {
        let known = self.scalar.contains_key(name)
            || self.higher_order.contains_key(name)
            || self.aggregate.contains_key(name)
            || self.window.contains_key(name)
            || self.rewritten.contains(name);
        known && !name.starts_with("__") && name != "get_field"
    }

    /// The names a user may call.
    #[cfg(test)]
    pub(crate) fn names(&self) -> std::collections::BTreeSet<&str> {
        let functions = self.scalar.keys().chain(self.higher_order.keys());
        let functions = functions.chain(self.aggregate.keys()).chain(self.window.keys());
        let all = functions.map(String::as_str).chain(self.rewritten.iter().copied());
        all.filter(|name| self.is_public(name)).collect()
    }

    /// Whether a call of `name` makes one value of many rows.
    pub(crate) fn is_aggregate(&self, name: &str) -> bool {
        self.aggregate.contains_key(name) || name == "listagg"
    }

    /// Whether the function of one row called `name` takes operands of these types.
    pub(crate) fn takes(&self, name: &str, types: &[DataType]) -> bool {
        self.scalar.get(name).is_some_and(|function| function.return_type(types).is_ok())
    }

    pub(crate) fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(name).map(Arc::clone)
    }

    pub(crate) fn higher_order(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.higher_order.get(name).map(Arc::clone)
    }

    pub(crate) fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregate.get(name).map(Arc::clone)
    }

    pub(crate) fn window(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.window.get(name).map(Arc::clone)
    }
}
