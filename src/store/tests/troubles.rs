//! What fails in the background is told, hurts nobody else, and is over when it works again.

use std::io::ErrorKind;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::disk::Fault;
use super::fixture::{Machine, row, rows, write};
use crate::record::WriteBatch;
use crate::store::{Store, StoreError, TableOptions, housekeeper};

async fn flushed(store: &Store, rows: std::ops::Range<i64>) {
    for n in rows {
        write(store, vec![row("a", n, 1, n)]).await.expect("written");
        store.flush().await.expect("flushed");
    }
}

#[tokio::test]
async fn a_flush_that_fails_is_told_until_it_works() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    write(&store, vec![row("a", 1, 1, 1)]).await.expect("written");
    assert_eq!(store.troubles(), Vec::<String>::new());
    machine.disk.plan(Fault::Once(machine.disk.operations(), ErrorKind::StorageFull));
    assert!(matches!(store.flush().await, Err(StoreError::Objects { .. })));
    let [told] = &store.troubles()[..] else { panic!("{:?}", store.troubles()) };
    assert!(told.starts_with("rows cannot be moved from memory to parts: writing a part: "), "{told}");
    assert_eq!(store.health(), Ok(()), "what is written is durable in the log");
    write(&store, vec![row("a", 2, 1, 2)]).await.expect("written");
    assert!(store.inner.flush_due().await, "the background tries again");
    assert_eq!((store.troubles(), rows(&store).await.len()), (Vec::new(), 2));
}

#[tokio::test]
async fn a_table_that_cannot_be_flushed_does_not_keep_the_others_from_it() {
    let mut machine = Machine::with_table().await;
    machine.options.flush_interval = Duration::ZERO;
    let store = machine.open().await;
    for name in ["a", "z"] {
        store.create_table("db", name, TableOptions::default()).expect("new");
    }
    let foreign = store.inner.directory.table("db", "t").expect("there");
    // Another daemon's manifest where the next one of this table goes.
    let theirs = crate::store::paths::manifest(foreign.id, 1);
    let mut manifest = crate::store::manifest::Manifest { number: 1, ..Default::default() };
    let other = crate::store::paths::WriterId::from_texts("other".to_owned(), "r".to_owned());
    crate::store::manifest::commit(&store.inner.objects, foreign.id, &other, &mut manifest)
        .await
        .expect("put");
    for table in ["a", "t", "z"] {
        let records = vec![row("a", 1, 1, 1)];
        let batch = WriteBatch { database: "db".into(), table: table.into(), records };
        store.submit(batch).await.expect("accepted").await.expect("written");
    }
    assert!(!store.inner.flush_due().await);
    for (table, parts) in [("a", 1), ("t", 0), ("z", 1)] {
        assert_eq!(store.snapshot("db", table).expect("there").parts.len(), parts, "{table}");
    }
    let told = store.troubles();
    assert!(told.len() == 1 && told[0].contains(theirs.as_ref()), "{told:?}");
    store.delete_table("db", "t").expect("there");
    assert_eq!(store.troubles(), Vec::<String>::new());
}

#[tokio::test]
async fn a_merge_that_fails_is_told_and_tried_ever_more_rarely() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    flushed(&store, 0..5).await;
    let part = Path::from(machine.disk.part_files().remove(0));
    let whole = machine.disk.get(&part).await.expect("there").bytes().await.expect("read");
    let mut damaged = whole.to_vec();
    damaged[30] ^= 1;
    machine.disk.put(&part, PutPayload::from(damaged)).await.expect("put");

    housekeeper::start(&store.inner, &store.background, Duration::from_millis(2));
    // The damage is known a moment before the merge that met it has failed.
    while store.troubles().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let told = store.troubles();
    assert!(told[0].starts_with("parts cannot be merged or removed: merging parts to "), "{told:?}");
    assert_eq!(told[1], format!("{part} is damaged: queries that need it fail"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let operations = machine.disk.operations();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(machine.disk.operations(), operations, "nothing is tried for a while");

    assert_eq!(store.health(), Ok(()));
    write(&store, vec![row("b", 1, 1, 1)]).await.expect("written");
    let late = write(&store, vec![row("a", 0, 2, 2)]).await;
    assert!(late.is_err_and(|error| error.to_string().contains(part.as_ref())), "the old row cannot be read");
    machine.disk.put(&part, PutPayload::from_bytes(whole)).await.expect("put");
    store.maintain().await.expect("asked for, it is tried at once");
    assert_eq!((store.troubles(), rows(&store).await.len()), (Vec::new(), 6));
}
