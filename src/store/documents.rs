//! Documents: what other rooms keep in the catalog, bytes under a kind and an id.
//!
//! They are for state that is small and must outlive the process: batch load tasks, account settings,
//! scheduled queries. Every call is one transaction, on disk when it returns. What the bytes mean is the
//! business of whose kind they are; the store bounds how many bytes there are, because the catalog is read
//! whole at every start.

use redb::{ReadableTable, TableDefinition, TableError};

use super::Store;
use super::catalog::{Catalog, Change};
use super::error::StoreError;

/// Documents by kind and id.
const DOCUMENTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("documents");
/// How many bytes all documents of the file have, under the empty key.
const BYTES: TableDefinition<'_, (), u64> = TableDefinition::new("documents_bytes");

/// The longest id, in bytes: redb moves keys about.
const ID_BYTES_MAX: usize = 1024;
/// The largest document, in bytes. A query of 262,144 characters is 1 MiB at most.
pub const DOCUMENT_BYTES_MAX: usize = 2 << 20;
/// Bytes of all documents together, ids included.
const ALL_BYTES_MAX: u64 = 256 << 20;

/// A document and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its id, unique within its kind.
    pub id: String,
    /// What was put.
    pub bytes: Vec<u8>,
}

/// Documents. These calls wait for the catalog file, a few milliseconds.
impl Store {
    /// Stores a document, new or in place of the one there is.
    ///
    /// # Errors
    /// When it, its id or all documents together would be too large, or when the disk fails.
    pub fn put_document(&self, kind: &'static str, id: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.catalog.put_document(kind, id, bytes, Presence::Any).map(drop)
    }

    /// Stores a document unless there is one. Returns whether it was stored.
    ///
    /// # Errors
    /// As for [`Store::put_document`].
    pub fn put_document_if_absent(
        &self,
        kind: &'static str,
        id: &str,
        bytes: &[u8],
    ) -> Result<bool, StoreError> {
        self.inner.catalog.put_document(kind, id, bytes, Presence::Absent)
    }

    /// Stores a document in place of the one there is. Returns whether there was one.
    ///
    /// # Errors
    /// As for [`Store::put_document`].
    pub fn replace_document(&self, kind: &'static str, id: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        self.inner.catalog.put_document(kind, id, bytes, Presence::Present)
    }

    /// The bytes of a document, if there is one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn document(&self, kind: &'static str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.catalog.document(kind, id)
    }

    /// The documents of a kind behind the one called `after`, or from the first; sorted by id, `most` of
    /// them at most.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn documents(
        &self,
        kind: &'static str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.inner.catalog.documents(kind, after, most)
    }

    /// Deletes a document. Returns whether there was one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn delete_document(&self, kind: &'static str, id: &str) -> Result<bool, StoreError> {
        self.inner.catalog.delete_document(kind, id)
    }
}

/// When a document is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Any,
    Absent,
    Present,
}

impl Catalog {
    fn put_document(&self, kind: &str, id: &str, bytes: &[u8], when: Presence) -> Result<bool, StoreError> {
        if id.len() > ID_BYTES_MAX {
            let given = id.len();
            let text = format!("An id has {given} bytes, and at most {ID_BYTES_MAX} are allowed.");
            return Err(StoreError::InvalidOption(text));
        }
        if bytes.len() > DOCUMENT_BYTES_MAX {
            let given = bytes.len();
            return Err(StoreError::InvalidOption(format!(
                "A definition takes {given} bytes to keep, and at most {DOCUMENT_BYTES_MAX} are allowed."
            )));
        }
        let stored = self.write_if(|transaction| {
            let mut documents = transaction.open_table(DOCUMENTS)?;
            let before = documents.get((kind, id))?.map(|found| size(id, found.value()));
            let wanted = match when {
                Presence::Any => true,
                Presence::Absent => before.is_none(),
                Presence::Present => before.is_some(),
            };
            if !wanted {
                return Ok(Change::Abandon(Ok(false)));
            }
            let mut sizes = transaction.open_table(BYTES)?;
            let others = total(&sizes)?.saturating_sub(before.unwrap_or(0));
            let all = others.saturating_add(size(id, bytes));
            if all > ALL_BYTES_MAX && all > others.saturating_add(before.unwrap_or(0)) {
                return Ok(Change::Abandon(Err(StoreError::QuotaExceeded(format!(
                    "The definitions kept take {others} bytes, and at most {ALL_BYTES_MAX} are allowed."
                )))));
            }
            documents.insert((kind, id), bytes)?;
            sizes.insert((), all)?;
            Ok(Change::Commit(Ok(true)))
        });
        stored?
    }

    fn document(&self, kind: &str, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| {
            let documents = match transaction.open_table(DOCUMENTS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                documents => documents?,
            };
            Ok(documents.get((kind, id))?.map(|found| found.value().to_vec()))
        })
    }

    fn documents(&self, kind: &str, after: Option<&str>, most: usize) -> Result<Vec<Document>, StoreError> {
        self.read(|transaction| {
            let documents = match transaction.open_table(DOCUMENTS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                documents => documents?,
            };
            let mut found = Vec::new();
            for row in documents.range((kind, after.unwrap_or(""))..)? {
                let (key, bytes) = row?;
                let (of, id) = key.value();
                if of != kind || found.len() >= most {
                    break;
                }
                if after != Some(id) {
                    found.push(Document { id: id.to_owned(), bytes: bytes.value().to_vec() });
                }
            }
            Ok(found)
        })
    }

    fn delete_document(&self, kind: &str, id: &str) -> Result<bool, StoreError> {
        self.write_if(|transaction| {
            let mut documents = transaction.open_table(DOCUMENTS)?;
            let Some(before) = documents.remove((kind, id))?.map(|found| size(id, found.value())) else {
                return Ok(Change::Abandon(false));
            };
            let mut sizes = transaction.open_table(BYTES)?;
            let others = total(&sizes)?.saturating_sub(before);
            sizes.insert((), others)?;
            Ok(Change::Commit(true))
        })
    }
}

/// What a document counts for.
fn size(id: &str, bytes: &[u8]) -> u64 {
    (id.len() + bytes.len()) as u64
}

fn total(sizes: &impl ReadableTable<(), u64>) -> Result<u64, redb::Error> {
    Ok(sizes.get(())?.map_or(0, |all| all.value()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "task";

    fn catalog(folder: &tempfile::TempDir) -> Catalog {
        Catalog::open(folder.path()).expect("a catalog").0
    }

    fn ids(catalog: &Catalog, after: Option<&str>, most: usize) -> Vec<String> {
        let found = catalog.documents(KIND, after, most).expect("a list");
        found.into_iter().map(|document| document.id).collect()
    }

    #[test]
    fn documents_outlive_the_process_and_stay_with_their_kind() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let first = catalog(&folder);
        assert_eq!(first.document(KIND, "a").expect("read"), None);
        assert!(ids(&first, None, 9).is_empty());
        assert!(!first.delete_document(KIND, "a").expect("nothing to delete"));
        for (kind, id) in [("tas", "z"), (KIND, "b"), (KIND, ""), (KIND, "a"), ("task2", "a")] {
            assert!(first.put_document(kind, id, id.as_bytes(), Presence::Any).expect("stored"));
        }
        first.put_document(KIND, "a", b"new", Presence::Any).expect("replaced");
        assert!(!first.put_document(KIND, "a", b"x", Presence::Absent).expect("is there"));
        assert!(!first.put_document(KIND, "c", b"x", Presence::Present).expect("is not there"));
        assert!(first.put_document(KIND, "b", b"B", Presence::Present).expect("is there"));
        first.close();
        assert!(matches!(first.document(KIND, "a"), Err(StoreError::Unavailable { .. })));

        let again = catalog(&folder);
        assert_eq!(again.document(KIND, "a").expect("read").as_deref(), Some(b"new".as_slice()));
        assert_eq!(again.document(KIND, "b").expect("read").as_deref(), Some(b"B".as_slice()));
        assert_eq!(ids(&again, None, 9), ["", "a", "b"]);
        assert_eq!(ids(&again, Some(""), 1), ["a"]);
        assert_eq!(ids(&again, Some("aa"), 9), ["b"], "a page goes on behind what was deleted");
        assert!(ids(&again, Some("b"), 9).is_empty());
        assert!(again.delete_document(KIND, "a").expect("deleted"));
        assert_eq!(ids(&again, None, 9), ["", "b"]);
    }

    #[test]
    fn there_is_a_bound_for_one_and_for_all() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let catalog = catalog(&folder);
        let large = vec![7; DOCUMENT_BYTES_MAX];
        let put = |id: &str, bytes: &[u8]| catalog.put_document(KIND, id, bytes, Presence::Any);
        assert!(matches!(put("a", &[0; DOCUMENT_BYTES_MAX + 1]), Err(StoreError::InvalidOption(_))));
        assert!(matches!(put(&"i".repeat(1025), b""), Err(StoreError::InvalidOption(_))));
        // As if the file were nearly full.
        let full = |bytes: u64| {
            catalog.write(|transaction| {
                transaction.open_table(BYTES)?.insert((), bytes)?;
                Ok(())
            })
        };
        put("a", &large).expect("room");
        full(ALL_BYTES_MAX - 10).expect("written");
        assert!(matches!(put("b", &large), Err(StoreError::QuotaExceeded(_))));
        assert_eq!(catalog.failure(), None, "the file itself is well");
        assert!(put("a", &large).expect("in place of as much"));
        assert!(catalog.delete_document(KIND, "a").expect("deleted"));
        assert!(put("b", &large[..100]).expect("room again"));
    }
}
