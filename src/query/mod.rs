//! Timestream's SQL on DataFusion: a query in, pages of rows out.
//!
//! The way of a query, a file for each step:
//!
//! ```text
//! text -> limits, dialect, values, weight -> words, statement, token_reader, scopes -> names (tables, functions)
//!      -> rewrite, calls, literals, phrases, places, subquery, elements, ties, copies, groupings, like, select_list
//!      -> context, operators, unnest, using, windows, union, branches (logical plan)
//!      -> spread -> table, part_scan, prune, texts, part_reader (scan) -> lambda_places, terms, runs, deadline (physical plan)
//!      -> results, rows, insights, wire_text (page) -> cursor (token), running (cancel)
//! ```
//!
//! Promises: a query sees each of its tables at one moment; it runs on threads, memory and disk of its
//! own and ends in time; its text can harm nobody, whatever it says; errors point into the user's own
//! text. No other room names DataFusion.

mod duration;
mod sql_type;
mod wire_text;

mod error;
mod limits;
mod source;

mod dialect;
mod like;
mod scopes;
mod statement;
mod token_reader;
mod values;
mod weight;
mod words;

mod calls;
mod copies;
mod elements;
mod groupings;
mod literals;
mod names;
mod phrases;
mod places;
mod rewrite;
mod select_list;
mod subquery;
mod ties;

mod branches;
mod context;
mod functions;
mod operators;
mod union;
mod unnest;
mod using;
mod windows;

mod part_reader;
mod part_scan;
mod prune;
mod spread;
mod table;
mod texts;

mod deadline;
mod lambda_places;
mod runs;
mod terms;

mod column_json;
mod insights;
mod results;
mod rows;
mod unload;

mod catalog;
mod cursor;
mod engine;
mod pages;
mod pending;
mod planning;
mod prepare;
mod reach;
mod running;
mod session;
mod stream;

#[cfg(test)]
mod tests;

pub use engine::{Cancelled, Engine, EngineError, Page, QueryRequest};
pub use error::QueryError;
pub use insights::{Insights, Unloaded, Widest};
pub use limits::QueryOptions;
pub use prepare::{Prepared, PreparedColumn};
pub use reach::Reach;
pub use rows::{ColumnInfo, ColumnType, Datum, ScalarType};
pub use source::{MeasureRow, Snapshot, Source, SourceError, SourcePart};
pub use statement::Parameters;
pub use stream::{Chunk, ResultStream};
