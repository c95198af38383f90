//! The names of everything in the store's folder. With `store.url` what begins with `tables` is there
//! instead, below a folder that has the name of the writer; see `place.rs`.
//!
//! ```text
//! lock                                                one daemon per folder
//! catalog.redb                                        databases and tables
//! rules/<rule>.json                                   rules made through the API: the rulebook's, not ours
//! dead_letters.jsonl, dead_letters.jsonl.1 .. .4      what no action could take: the pipeline's, not ours
//! wal/<first lsn, 20 digits>.log                      the log
//! mqtt/wal/<first lsn, 20 digits>.log                 a journal: the broker's sessions and retained messages
//! tables/<table id>/manifest/<number, 20 digits>.json the parts of a table, newest number wins
//! tables/<table id>/parts/<day>/<writer>-<run>-<number>.parquet
//! ```

use std::fmt;

use object_store::path::Path;
use uuid::Uuid;

/// A table for as long as it lives; a table deleted and created again is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(Uuid);

impl TableId {
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4())
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub(crate) const fn bytes(self) -> [u8; 16] {
        *self.0.as_bytes()
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().filter(|id| id.hyphenated().to_string() == text).map(Self)
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The store that wrote a part, and its run: from one opening to the next. Neither stores that share
/// an object store nor two copies of one folder ever write the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WriterId {
    id: String,
    run: String,
}

impl WriterId {
    /// A new writer in its first run.
    pub(crate) fn random() -> Self {
        Self::running(digits(12))
    }

    /// The writer of this id in a new run.
    pub(crate) fn running(id: String) -> Self {
        Self { id, run: digits(8) }
    }

    pub(crate) fn from_texts(id: String, run: String) -> Self {
        Self { id, run }
    }

    /// What stays the same from run to run.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Another one every time the store is opened.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }
}

fn digits(count: usize) -> String {
    Uuid::new_v4().simple().to_string()[..count].to_owned()
}

/// The folder of all tables.
pub(crate) fn tables() -> Path {
    Path::from("tables")
}

/// The folder of one table.
pub(crate) fn table(id: TableId) -> Path {
    tables().join(id.to_string())
}

/// The folder of a table's manifests.
pub(crate) fn manifests(id: TableId) -> Path {
    table(id).join("manifest")
}

/// A table's manifest.
pub(crate) fn manifest(id: TableId, number: u64) -> Path {
    manifests(id).join(format!("{number:020}.json"))
}

/// The number of a manifest's file name; `None` when it is not one.
pub(crate) fn manifest_number(path: &Path) -> Option<u64> {
    let digits = path.filename()?.strip_suffix(".json")?;
    let legal = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    legal.then(|| digits.parse().ok())?
}

/// The folder of a table's parts.
pub(crate) fn parts(id: TableId) -> Path {
    table(id).join("parts")
}

/// A part of the UTC day `day`, counted from 1970-01-01.
pub(crate) fn part(id: TableId, day: i64, writer: &WriterId, number: u64) -> Path {
    parts(id).join(date(day)).join(format!("{}-{}-{number:010}.parquet", writer.id(), writer.run()))
}

/// `day` as YYYY-MM-DD.
fn date(day: i64) -> String {
    let midnight = chrono::DateTime::from_timestamp_secs(day.saturating_mul(86_400));
    midnight.unwrap_or_default().format("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        let cases = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_777, "2026-11-20"),
            (106_751, "2262-04-11"),
            (-106_752, "1677-09-21"),
        ];
        for (day, expected) in cases {
            assert_eq!(date(day), expected, "{day}");
        }
    }

    #[test]
    fn names_can_be_read_back() {
        let id = TableId::random();
        assert_eq!(TableId::parse(&id.to_string()), Some(id));
        assert_eq!(TableId::parse("iot"), None);
        assert_eq!(manifest_number(&manifest(id, 17)), Some(17));
        assert_eq!(manifest_number(&Path::from("a/17.json")), None);
        let part = part(id, 0, &WriterId::from_texts("w".to_owned(), "r".to_owned()), 3);
        assert_eq!(part.as_ref(), format!("tables/{id}/parts/1970-01-01/w-r-0000000003.parquet"));
    }
}
