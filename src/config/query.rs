//! `[query]`: what queries may take.

use std::time::Duration;

use serde::Deserialize;

use super::check::{Wrong, bytes, whole, wrong};

/// The least memory for queries: a sort keeps some aside before it begins.
const MEMORY_MIN: usize = 16 << 20;

/// The longest times, in seconds: a day.
const SECONDS_MAX: u64 = 86_400;

/// What queries may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryConfig {
    /// How long one call may work on a page.
    pub timeout: Duration,
    /// How long a caller waits for first rows before it is given a page without.
    pub first_page_within: Duration,
    /// How many queries run at once.
    pub concurrency: usize,
    /// How many more may wait for their turn.
    pub queue: usize,
    /// Bytes all running queries share.
    pub memory: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    timeout_seconds: u64,
    first_page_seconds: u64,
    concurrency: usize,
    queue: usize,
    memory: toml::Value,
}

impl Default for Written {
    fn default() -> Self {
        Self { timeout_seconds: 60, first_page_seconds: 10, concurrency: 8, queue: 64, memory: "1GiB".into() }
    }
}

impl Written {
    pub(super) fn check(self) -> Result<QueryConfig, Wrong> {
        let seconds = |written: u64| whole(written, 1, SECONDS_MAX).map(Duration::from_secs);
        Ok(QueryConfig {
            timeout: seconds(self.timeout_seconds).map_err(wrong("query.timeout_seconds"))?,
            first_page_within: seconds(self.first_page_seconds).map_err(wrong("query.first_page_seconds"))?,
            concurrency: whole(self.concurrency, 1, 1_024).map_err(wrong("query.concurrency"))?,
            queue: whole(self.queue, 0, 65_536).map_err(wrong("query.queue"))?,
            memory: memory(&self.memory).map_err(wrong("query.memory"))?,
        })
    }
}

fn memory(written: &toml::Value) -> Result<usize, String> {
    match bytes(written) {
        None => Err(format!("{written} is not a number of bytes such as \"1GiB\"")),
        Some(bytes) if bytes < MEMORY_MIN => Err(format!("{written} is less than 16MiB")),
        Some(bytes) => Ok(bytes),
    }
}
