//! How much there may be of what; AWS's quotas (spec 5.4) unless an operator says otherwise.

use super::error::StoreError;

/// The quotas that can be set, by AWS's names. A lower one than what is there already stops growth and
/// leaves the rest as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Databases.
    pub databases_per_account: usize,
    /// Tables of all databases together.
    pub tables_per_account: usize,
    /// Dimensions of a table.
    pub dimensions_per_table: usize,
    /// Measure names of a table.
    pub measure_names_per_table: usize,
    /// Different attributes of all multi-measure records of a table.
    pub unique_attributes_per_table: usize,
    /// Attributes of one multi-measure record.
    pub attributes_per_record: usize,
    /// Scheduled queries.
    pub scheduled_queries_per_account: usize,
}

impl Limits {
    /// AWS's quotas.
    pub const AWS: Self = Self {
        databases_per_account: 500,
        tables_per_account: 50_000,
        dimensions_per_table: 128,
        measure_names_per_table: 8_192,
        unique_attributes_per_table: 1_024,
        attributes_per_record: 256,
        scheduled_queries_per_account: 10_000,
    };

    /// What the store is made for. Dimensions are a set of bits; each attribute is a column of every
    /// part and every memtable.
    pub const MOST: Self = Self {
        databases_per_account: 100_000,
        tables_per_account: 1_000_000,
        dimensions_per_table: 128,
        measure_names_per_table: 65_000,
        unique_attributes_per_table: 4_096,
        attributes_per_record: 4_096,
        scheduled_queries_per_account: 100_000,
    };

    pub(crate) fn check_databases(&self, databases: usize) -> Result<(), StoreError> {
        room("databases", databases, self.databases_per_account)
    }

    pub(crate) fn check_tables(&self, tables: usize) -> Result<(), StoreError> {
        room("tables", tables, self.tables_per_account)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::AWS
    }
}

fn room(what: &str, used: usize, max: usize) -> Result<(), StoreError> {
    if used < max {
        return Ok(());
    }
    Err(StoreError::QuotaExceeded(format!("There are {used} {what}, and at most {max} are allowed.")))
}
