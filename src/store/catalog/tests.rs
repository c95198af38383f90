//! What the catalog keeps over an opening, a full disk and a concurrent change.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::*;
use crate::clock::Timestamp;
use crate::store::options::{MagneticWrites, PartitionKey, PartitionKeyItem, Retention, TableStatus};

fn table() -> Table {
    Table {
        database: "iot".to_owned(),
        name: "telemetry".to_owned(),
        id: TableId::random(),
        status: TableStatus::Active,
        retention: Retention { memory_store_hours: 7, magnetic_store_days: 8 },
        magnetic_writes: MagneticWrites {
            enabled: true,
            rejected_data_location: Some(serde_json::json!({"S3Configuration": {"BucketName": "b"}})),
        },
        partition_key: PartitionKey(vec![PartitionKeyItem::Dimension {
            name: "host".to_owned(),
            required: true,
        }]),
        tags: vec![("team".to_owned(), "a".to_owned())],
        created: Timestamp::from_nanos(1_700_000_000_123_456_789),
        updated: Timestamp::from_nanos(i64::MAX),
    }
}

#[test]
fn what_was_stored_is_there_after_opening_again() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (catalog, empty) = Catalog::open(folder.path()).expect("new");
    assert!(empty.databases.is_empty() && empty.tables.is_empty());
    let database = Database {
        name: "iot".to_owned(),
        kms_key_id: Some("key".to_owned()),
        tags: vec![("cost".to_owned(), String::new())],
        table_count: 0,
        created: Timestamp::from_nanos(5),
        updated: Timestamp::from_nanos(6),
    };
    let other = Database { name: "other".to_owned(), ..database.clone() };
    let gone = Table { name: "gone".to_owned(), id: TableId::random(), ..table() };
    let kept = table();
    catalog.put_database(&database).expect("stored");
    catalog.put_database(&other).expect("stored");
    catalog.put_table(&kept).expect("stored");
    catalog.put_table(&gone).expect("stored");
    catalog.put_url(Some("s3://first")).expect("stored");
    catalog.put_url(None).expect("removed");
    catalog.put_url(Some("s3://bucket")).expect("stored");
    catalog.remove_table(&gone).expect("removed");
    catalog.remove_database("other").expect("removed");
    catalog.close();
    assert!(matches!(catalog.put_database(&other), Err(StoreError::Unavailable { .. })));

    let (catalog, contents) = Catalog::open(folder.path()).expect("again");
    assert_eq!(contents.writer.id(), empty.writer.id());
    assert_eq!((empty.url, contents.url.as_deref()), (None, Some("s3://bucket")));
    assert_eq!(contents.databases, [database]);
    assert_eq!(contents.tables, [kept]);
    assert_eq!(contents.deleted, HashSet::from([gone.id]));
    catalog.forget_deleted(&[gone.id]).expect("forgotten");
    catalog.close();
    assert!(Catalog::open(folder.path()).expect("again").1.deleted.is_empty());
}

/// A file in memory that fails to write while it is told to.
#[derive(Debug, Clone, Default)]
struct Failing {
    bytes: Arc<InMemoryBackend>,
    full: Arc<AtomicBool>,
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.write(offset, data)
    }
}

#[test]
fn a_full_disk_is_told_and_forgotten_once_there_is_room() {
    let disk = Failing::default();
    let opened = disk.clone();
    let opener = Box::new(move || redb::Builder::new().create_with_backend(opened.clone()));
    let (catalog, _) = Catalog::open_with(opener).expect("a new catalog");
    let table = table();
    disk.full.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(matches!(catalog.put_table(&table), Err(StoreError::Catalog { .. })));
        assert!(catalog.failure().is_some());
    }
    disk.full.store(false, Ordering::SeqCst);
    catalog.put_table(&table).expect("room again");
    assert_eq!(catalog.failure(), None);
    let again = Catalog::open_with(Box::new(move || redb::Builder::new().create_with_backend(disk.clone())));
    catalog.close();
    assert_eq!(again.expect("a readable catalog").1.tables, [table]);
}
