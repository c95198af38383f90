//! How a store is opened and what its tables are told.

use std::path::PathBuf;
use std::time::Duration;

use super::error::StoreError;
use super::limits::Limits;
use super::url::StoreUrl;
use crate::clock::Timestamp;

/// Whose manners the store has where Timestream and its emulators differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compatibility {
    /// Takes what emulators take: records of any time, records without dimensions.
    #[default]
    Local,
    /// Refuses what AWS refuses: records outside the ingestion window, long values.
    Aws,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The folder; created when missing.
    pub path: PathBuf,
    /// Where parts and manifests are kept; `None` for the folder. The log and the catalog are always
    /// in the folder.
    pub url: Option<StoreUrl>,
    /// How much there may be of what.
    pub limits: Limits,
    /// Whose manners the store has.
    pub compatibility: Compatibility,
    /// A log segment that reached this many bytes is followed by a new one. Default 64 MiB.
    pub wal_segment_bytes: u64,
    /// How much room the log reserves at a time for small writes, which are synced quicker then; 0 for
    /// none. Default: 1 MiB.
    pub wal_reserve_bytes: usize,
    /// A table with this many rows in memory is flushed. Default 1,000,000.
    pub memtable_rows: u32,
    /// A table with this many bytes in memory is flushed. Default 128 MiB.
    pub memtable_bytes: usize,
    /// A table whose oldest row in memory is this old is flushed. Default 15 minutes.
    pub flush_interval: Duration,
    /// Writers wait while all tables together hold this many bytes in memory. Default 512 MiB.
    pub memory_bytes: usize,
    /// What look-ups of late records keep of the keys of parts. Default 64 MiB.
    pub lookup_cache_bytes: usize,
    /// Opens although the log is damaged: the log is cut at the damage, and every row behind it that
    /// is in no part is lost, even if the damage is a single bit. A row in a part that was replaced
    /// by one of those is lost too. The bytes that are cut off are kept in files beside the log that
    /// end in `.damaged`. Meant for one start, after [`Store::examine`](super::Store::examine) has
    /// told what would be lost and there is no backup. Default `false`: opening is refused.
    pub accept_loss: bool,
}

impl StoreOptions {
    /// The default options for a folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            path: PathBuf::from("data"),
            url: None,
            limits: Limits::default(),
            compatibility: Compatibility::default(),
            wal_segment_bytes: 64 * 1024 * 1024,
            wal_reserve_bytes: 1024 * 1024,
            memtable_rows: 1_000_000,
            memtable_bytes: 128 * MIB,
            flush_interval: Duration::from_secs(15 * 60),
            memory_bytes: 512 * MIB,
            lookup_cache_bytes: 64 * MIB,
            accept_loss: false,
        }
    }
}

/// How long a table keeps its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Hours in the memory store, 1 to 8766.
    pub memory_store_hours: u32,
    /// Days in the magnetic store, 1 to 73000.
    pub magnetic_store_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { memory_store_hours: 6, magnetic_store_days: 73_000 }
    }
}

impl Retention {
    pub(crate) fn check(self) -> Result<(), StoreError> {
        let hours = (1..=8_766).contains(&self.memory_store_hours);
        let days = (1..=73_000).contains(&self.magnetic_store_days);
        match (hours, days) {
            (true, true) => Ok(()),
            (false, _) => Err(StoreError::InvalidOption(format!(
                "The memory store retention period must be 1 to 8766 hours, not {}.",
                self.memory_store_hours
            ))),
            (true, false) => Err(StoreError::InvalidOption(format!(
                "The magnetic store retention period must be 1 to 73000 days, not {}.",
                self.magnetic_store_days
            ))),
        }
    }
}

/// Whether records older than the memory store are taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MagneticWrites {
    /// Whether they are.
    pub enabled: bool,
    /// `MagneticStoreRejectedDataLocation` as the caller gave it.
    pub rejected_data_location: Option<serde_json::Value>,
}

/// One item of a partition key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionKeyItem {
    /// The measure name.
    Measure,
    /// A dimension.
    Dimension {
        /// Its name.
        name: String,
        /// Whether every record must have it.
        required: bool,
    },
}

/// The partition key of a table. It shapes what is accepted, not where bytes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionKey(pub Vec<PartitionKeyItem>);

impl Default for PartitionKey {
    fn default() -> Self {
        Self(vec![PartitionKeyItem::Measure])
    }
}

impl PartitionKey {
    /// The dimension every record must have.
    pub(crate) fn required_dimension(&self) -> Option<&str> {
        self.0.iter().find_map(|item| match item {
            PartitionKeyItem::Dimension { name, required: true } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether `other` differs in nothing but the enforcement.
    fn may_become(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|pair| match pair {
                (PartitionKeyItem::Measure, PartitionKeyItem::Measure) => true,
                (
                    PartitionKeyItem::Dimension { name: a, .. },
                    PartitionKeyItem::Dimension { name: b, .. },
                ) => a == b,
                _ => false,
            })
    }
}

/// A key and a value a user attaches to a database or a table.
pub type Tag = (String, String);

/// How a database is created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseOptions {
    /// The key the caller names; nothing is encrypted with it.
    pub kms_key_id: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// How a table is created.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableOptions {
    /// How long it keeps rows.
    pub retention: Retention,
    /// Whether it takes late records.
    pub magnetic_writes: MagneticWrites,
    /// Its partition key.
    pub partition_key: PartitionKey,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// What changes about a table; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableUpdate {
    /// How long it keeps rows.
    pub retention: Option<Retention>,
    /// Whether it takes late records.
    pub magnetic_writes: Option<MagneticWrites>,
    /// Its partition key; only the enforcement may change.
    pub partition_key: Option<PartitionKey>,
}

impl TableUpdate {
    /// Changes `table`, or says why not.
    pub(crate) fn apply(self, table: &mut Table, now: Timestamp) -> Result<(), StoreError> {
        if let Some(retention) = self.retention {
            retention.check()?;
            table.retention = retention;
        }
        if let Some(key) = self.partition_key {
            if !table.partition_key.may_become(&key) {
                return Err(StoreError::InvalidOption(
                    "The partition key of a table cannot change, only its enforcement.".to_owned(),
                ));
            }
            table.partition_key = key;
        }
        if let Some(magnetic_writes) = self.magnetic_writes {
            table.magnetic_writes = magnetic_writes;
        }
        table.updated = now;
        Ok(())
    }
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// The key the caller named; nothing is encrypted with it.
    pub kms_key_id: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// How many tables it has.
    pub table_count: u64,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// Whether a table can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableStatus {
    /// It can.
    Active,
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The database it is in.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Its identity: another one after it was deleted and created again.
    pub id: super::TableId,
    /// Whether it can be used.
    pub status: TableStatus,
    /// How long it keeps rows.
    pub retention: Retention,
    /// Whether it takes late records.
    pub magnetic_writes: MagneticWrites,
    /// Its partition key.
    pub partition_key: PartitionKey,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// Names of databases and tables: `[a-zA-Z0-9_.-]+`, 3 to 256 bytes on AWS.
pub(crate) fn check_name(name: &str, compatibility: Compatibility) -> Result<(), StoreError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let bytes_min = if compatibility == Compatibility::Aws { 3 } else { 1 };
    let reason = if !name.bytes().all(legal) {
        "only letters, digits, underscore, dash and period are allowed."
    } else if name.len() < bytes_min {
        "it has fewer than 3 characters."
    } else if name.len() > 256 {
        "it is longer than 256 bytes."
    } else {
        return Ok(());
    };
    Err(StoreError::InvalidName { name: name.chars().take(256).collect(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_awss_rule() {
        for name in ["iot", "a.b-c_D9", &"x".repeat(256)] {
            assert!(check_name(name, Compatibility::Aws).is_ok(), "{name}");
        }
        for name in ["", "a b", "ä", "a/b", "..\0", &"x".repeat(257)] {
            assert!(check_name(name, Compatibility::Local).is_err(), "{name}");
        }
        assert!(check_name("db", Compatibility::Local).is_ok());
        assert!(check_name("db", Compatibility::Aws).is_err());
    }

    #[test]
    fn a_partition_key_changes_its_enforcement_only() {
        let key = |name: &str, required| {
            PartitionKey(vec![PartitionKeyItem::Dimension { name: name.to_owned(), required }])
        };
        assert!(key("a", true).may_become(&key("a", false)));
        assert!(!key("a", true).may_become(&key("b", true)));
        assert!(!key("a", true).may_become(&PartitionKey::default()));
        assert_eq!(key("a", true).required_dimension(), Some("a"));
        assert_eq!(key("a", false).required_dimension(), None);
    }
}
