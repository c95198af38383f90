//! Tidemill: AWS IoT Core rules and Amazon Timestream for LiveAnalytics in one process.
//!
//! A PUBLISH changes its type at each stop of the road, and each type has one home:
//!
//! ```text
//! bytes -> Packet -> Message -> Effect -> WriteBatch -> Frame -> Lsn (acknowledged)
//!       -> Memtable -> Part -> Snapshot -> RecordBatch -> Page
//! ```
//!
//! The modules stand in reading order. A module may use only what stands above it, with the
//! exceptions and the reasons written in `docs/architecture.md`; `tests/house_rules.rs` enforces it.

pub mod clock;
pub mod shutdown;
pub mod stamp;
pub mod topic;

pub mod buckets;
pub mod message;
pub mod outlet;
pub mod posts;
pub mod record;

pub mod access;
pub mod tls;

pub mod mqtt;
pub mod rules;
pub mod store;

pub mod query;

pub mod batch_load;

pub mod pipeline;
pub mod rulebook;
pub mod schedule;

pub mod api;
pub mod config;
pub mod daemon;

pub mod cli;
