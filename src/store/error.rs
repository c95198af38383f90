//! What can go wrong in the store, in the words of the person who has to act on it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::record::NameError;

/// A failure of a whole call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process uses the folder.
    #[error("the folder {} is in use by another process; stop it or choose another folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A file on disk is not what was written; opening is refused rather than losing rows silently.
    #[error(
        "{path} is damaged at byte {offset}: {reason}; restore the file from a backup, or let `tidemill check --store` tell what would be lost without it"
    )]
    Damaged {
        /// The file, below the store's folder.
        path: String,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The folder was written by a newer program.
    #[error("{path} has format {found}, this program reads up to {known}; use a newer tidemill")]
    Format {
        /// The file.
        path: String,
        /// Its format.
        found: u64,
        /// The newest format this program reads.
        known: u64,
    },
    /// Nothing can be written any more, for the reason given; queries still work.
    #[error("the store takes no writes: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// There is no such database.
    #[error("The database {database} does not exist.")]
    DatabaseNotFound {
        /// Its name.
        database: String,
    },
    /// There is no such table.
    #[error("The table {table} does not exist.")]
    TableNotFound {
        /// The database that was named.
        database: String,
        /// The table's name.
        table: String,
    },
    /// There is such a database already.
    #[error("The database {database} already exists.")]
    DatabaseExists {
        /// Its name.
        database: String,
    },
    /// There is such a table already.
    #[error("The table {table} already exists.")]
    TableExists {
        /// The database that was named.
        database: String,
        /// The table's name.
        table: String,
    },
    /// The database still has tables.
    #[error(
        "The database {database} cannot be deleted while it has tables. Delete its {tables} tables first."
    )]
    NotEmpty {
        /// Its name.
        database: String,
        /// How many tables it has.
        tables: usize,
    },
    /// A name that is not allowed.
    #[error("The name {name:?} is invalid: {reason}")]
    InvalidName {
        /// The name.
        name: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// A setting that is not allowed.
    #[error("{0}")]
    InvalidOption(String),
    /// There would be more of something than is allowed.
    #[error("{0}")]
    QuotaExceeded(String),
    /// The disk or the object store failed.
    #[error("{doing}: {source}")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// What failed.
        source: Arc<std::io::Error>,
    },
    /// The object store failed.
    #[error("{doing}: {source}")]
    Objects {
        /// What was being done.
        doing: &'static str,
        /// What failed.
        source: Arc<object_store::Error>,
    },
    /// The storage that `store.url` names cannot be used.
    #[error("store.url: {url}: {reason}")]
    Storage {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `store.url` names another place than the one where the parts are.
    #[error(
        "store.url: the parts of {tables} tables are at {before}, and only there; {remedy}, or begin with another \
         store.path"
    )]
    Moved {
        /// How many tables there are.
        tables: usize,
        /// Where their parts are.
        before: String,
        /// What to do to get at them.
        remedy: String,
    },
    /// The catalog file failed.
    #[error("catalog.redb cannot be {doing}: {source}; if it is damaged, restore it from a backup")]
    Catalog {
        /// What was being done.
        doing: &'static str,
        /// What failed.
        source: Arc<redb::Error>,
    },
    /// A part could not be written or read.
    #[error("{doing} {path}: {source}")]
    Part {
        /// What was being done.
        doing: &'static str,
        /// The part.
        path: String,
        /// What failed.
        source: Arc<parquet::errors::ParquetError>,
    },
}

impl StoreError {
    /// Whether the store failed, not the request: a disk, an object store, a damaged file. Nothing may
    /// be acknowledged on such an error.
    pub const fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Disk { .. }
                | Self::Objects { .. }
                | Self::Storage { .. }
                | Self::Moved { .. }
                | Self::Catalog { .. }
                | Self::Part { .. }
                | Self::Damaged { .. }
                | Self::Format { .. }
        )
    }

    pub(crate) fn disk(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Disk { doing, source: Arc::new(source) }
    }

    pub(crate) fn objects(doing: &'static str) -> impl FnOnce(object_store::Error) -> Self {
        move |source| Self::Objects { doing, source: Arc::new(source) }
    }

    pub(crate) fn damaged(path: impl ToString, offset: u64, reason: impl ToString) -> Self {
        Self::Damaged { path: path.to_string(), offset, reason: reason.to_string() }
    }
}

/// Why one record was not stored; the text is the one AWS sends where that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    /// The same version exists with another value.
    #[error(
        "A record already exists with the same time, dimensions, measure name, and record version. A higher record version must be specified in order to update the measure value. Specifying record version is supported by the latest SDKs."
    )]
    SameVersion,
    /// A higher version exists.
    #[error(
        "The record version {given} is lower than the existing version {existing}. A higher version is required to update the measure value."
    )]
    LowerVersion {
        /// The record's version.
        given: i64,
        /// The version in the table.
        existing: i64,
    },
    /// The time lies outside what the memory store takes, and magnetic writes are off.
    #[error(
        "The record timestamp is outside the time range [{}, {}) of the memory store.",
        iso(*from),
        iso(*to)
    )]
    OutsideMemoryStore {
        /// The oldest time taken.
        from: Timestamp,
        /// The first time not taken any more.
        to: Timestamp,
    },
    /// The time lies outside both stores' windows.
    #[error(
        "The record timestamp is outside the time range [{}, {}) of the data ingestion window.",
        iso(*from),
        iso(*to)
    )]
    OutsideIngestionWindow {
        /// The oldest time taken.
        from: Timestamp,
        /// The first time not taken any more.
        to: Timestamp,
    },
    /// No dimension, in AWS's mode.
    #[error("At least one dimension is required for a record.")]
    NoDimension,
    /// The table's partition key requires a dimension the record lacks.
    #[error("The record lacks the dimension {dimension}, which the partition key of the table requires.")]
    MissingPartitionKey {
        /// The dimension.
        dimension: String,
    },
    /// The measure has another type in this table.
    #[error(
        "The measure {measure} has type {existing} in this table and cannot take a value of type {given}."
    )]
    MeasureType {
        /// The measure's name.
        measure: String,
        /// The type of its first write.
        existing: &'static str,
        /// The record's type.
        given: &'static str,
    },
    /// The attribute has another type in this table.
    #[error(
        "The multi-measure attribute {attribute} has type {existing} in this table and cannot take a value of type {given}."
    )]
    AttributeType {
        /// The attribute's name.
        attribute: String,
        /// The type of its first write.
        existing: &'static str,
        /// The record's type.
        given: &'static str,
    },
    /// A dimension has the name of an attribute.
    #[error("The dimension {name} has the name of a multi-measure attribute of this table.")]
    DimensionIsAttribute {
        /// The name.
        name: String,
    },
    /// An attribute has the name of a dimension.
    #[error("The multi-measure attribute {name} has the name of a dimension of this table.")]
    AttributeIsDimension {
        /// The name.
        name: String,
    },
    /// The table would have too many dimensions.
    #[error("The table would have more than {max} dimensions.")]
    TooManyDimensions {
        /// The limit.
        max: usize,
    },
    /// The table would have too many measure names.
    #[error("The table would have more than {max} measure names.")]
    TooManyMeasures {
        /// The limit.
        max: usize,
    },
    /// The table would have too many attributes.
    #[error("The table would have more than {max} different multi-measure attributes.")]
    TooManyAttributes {
        /// The limit.
        max: usize,
    },
    /// A multi-measure record has too many or no attributes.
    #[error("A multi-measure record must have 1 to {max} measure values, this one has {given}.")]
    AttributeCount {
        /// How many it has.
        given: usize,
        /// The limit.
        max: usize,
    },
    /// A name or value is too long.
    #[error("The {what} {name} is {given} bytes long, more than the {max} allowed.")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its name, shortened.
        name: String,
        /// Its length.
        given: usize,
        /// The limit.
        max: usize,
    },
    /// A name that columns may not have.
    #[error("The {what} name {name:?} is invalid: {reason}.")]
    Name {
        /// What it names.
        what: &'static str,
        /// The name, shortened.
        name: String,
        /// The rule it breaks.
        reason: NameError,
    },
    /// A dimension or attribute comes twice.
    #[error("The {what} {name} is specified more than once.")]
    Duplicate {
        /// What it is.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// NaN or an infinity.
    #[error("The value of {measure} is not a finite number.")]
    NotFinite {
        /// The measure or attribute.
        measure: String,
    },
    /// A timestamp outside a multi-measure record.
    #[error("TIMESTAMP is an invalid measure value type.")]
    SingleTimestamp,
    /// A version below 1.
    #[error("The record version {given} is invalid. A version must be at least 1.")]
    Version {
        /// The record's version.
        given: i64,
    },
}

impl RejectReason {
    /// The version in the table, where the answer names it.
    pub const fn existing_version(&self) -> Option<i64> {
        match self {
            Self::LowerVersion { existing, .. } => Some(*existing),
            _ => None,
        }
    }
}

/// The moment as AWS writes it in reasons: ISO 8601 with milliseconds.
fn iso(moment: Timestamp) -> String {
    let moment = chrono::DateTime::from_timestamp_millis(moment.millis()).unwrap_or_default();
    moment.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_aws_writes_them() {
        let from = Timestamp::from_millis(1_701_151_930_452);
        let to = Timestamp::from_millis(1_701_197_530_452);
        assert_eq!(
            RejectReason::OutsideMemoryStore { from, to }.to_string(),
            "The record timestamp is outside the time range [2023-11-28T06:12:10.452Z, \
             2023-11-28T18:52:10.452Z) of the memory store."
        );
        let lower = RejectReason::LowerVersion { given: 2, existing: 200 };
        assert_eq!(
            lower.to_string(),
            "The record version 2 is lower than the existing version 200. A higher version is required \
             to update the measure value."
        );
        assert_eq!(
            (lower.existing_version(), RejectReason::SameVersion.existing_version()),
            (Some(200), None)
        );
    }
}
