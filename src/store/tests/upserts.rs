//! Every case of an upsert, wherever the existing row is.

use super::fixture::{Machine, measured, multi, rejections, row, rows, versions, write};
use crate::record::MeasureValue;
use crate::store::{RejectReason, Store};

const KEY: &str = "host=a measure_name=m time=100";

/// Where the row that is met lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Memory,
    SealedChunk,
    Parts,
    MemoryAfterRestart,
    PartsAfterRestart,
}

async fn store_with(machine: &Machine, place: Where) -> Store {
    let store = machine.open().await;
    write(&store, vec![row("a", 100, 5, 50), row("b", 100, 5, 1), row("a", 200, 1, 2)])
        .await
        .expect("written");
    match place {
        Where::Memory => {}
        Where::SealedChunk => {
            let more = (0..9_000).map(|n| row("c", 1_000 + n, 1, n)).collect();
            write(&store, more).await.expect("written");
        }
        Where::Parts | Where::PartsAfterRestart => store.flush().await.expect("flushed"),
        Where::MemoryAfterRestart => {}
    }
    if !matches!(place, Where::MemoryAfterRestart | Where::PartsAfterRestart) {
        return store;
    }
    store.close().await.expect("healthy");
    machine.open().await
}

async fn follows_the_table(place: Where) {
    let machine = Machine::with_table().await;
    let store = store_with(&machine, place).await;
    let count = rows(&store).await.len();

    let same = write(&store, vec![row("a", 100, 5, 50)]).await.expect("written");
    assert_eq!((same.rejected.len(), same.memory_store + same.magnetic_store), (0, 1), "{place:?}");
    let other = write(&store, vec![row("a", 100, 5, 51)]).await.expect("written");
    assert_eq!(other.rejected[0].reason, RejectReason::SameVersion, "{place:?}");
    assert_eq!(other.rejected[0].existing_version, None);
    let lower = write(&store, vec![row("a", 100, 4, 50)]).await.expect("written");
    assert_eq!(lower.rejected[0].reason, RejectReason::LowerVersion { given: 4, existing: 5 }, "{place:?}");
    assert_eq!(lower.rejected[0].existing_version, Some(5));
    assert_eq!(rows(&store).await[KEY], "measure_value::bigint=50");

    let higher = write(&store, vec![row("a", 100, 6, 60)]).await.expect("written");
    assert_eq!(higher.rejected, [], "{place:?}");
    assert_eq!(rows(&store).await[KEY], "measure_value::bigint=60");
    let same_value = write(&store, vec![row("a", 100, 7, 60)]).await.expect("written");
    assert_eq!(same_value.rejected, []);
    let old = write(&store, vec![row("a", 100, 6, 60)]).await.expect("written");
    assert_eq!(old.rejected[0].existing_version, Some(7), "the version rises with the same value");
    assert_eq!(rows(&store).await.len(), count, "{place:?}");

    store.close().await.expect("healthy");
    for _ in 0..2 {
        let store = machine.open().await;
        assert_eq!(rows(&store).await[KEY], "measure_value::bigint=60", "{place:?} after a restart");
        assert_eq!(rows(&store).await.len(), count);
        let old = write(&store, vec![row("a", 100, 6, 61)]).await.expect("written");
        assert_eq!(old.rejected[0].existing_version, Some(7), "{place:?} after a restart");
        store.flush().await.expect("flushed");
        assert_eq!(rows(&store).await[KEY], "measure_value::bigint=60");
        store.close().await.expect("healthy");
    }
}

#[tokio::test]
async fn versions_meet_rows_in_memory() {
    follows_the_table(Where::Memory).await;
    follows_the_table(Where::SealedChunk).await;
}

#[tokio::test]
async fn versions_meet_rows_in_parts() {
    follows_the_table(Where::Parts).await;
}

#[tokio::test]
async fn versions_meet_rows_after_a_restart() {
    follows_the_table(Where::MemoryAfterRestart).await;
    follows_the_table(Where::PartsAfterRestart).await;
}

#[tokio::test]
async fn records_of_one_batch_meet_each_other() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let batch = vec![
        row("a", 100, 1, 1),
        row("a", 100, 1, 1),
        row("a", 100, 1, 2),
        row("a", 100, 3, 3),
        row("a", 100, 2, 9),
    ];
    let rejected: Vec<usize> = rejections(&store, batch).await.into_iter().map(|(index, _)| index).collect();
    assert_eq!(rejected, [2, 4]);
    assert_eq!(rows(&store).await[KEY], "measure_value::bigint=3");
    store.flush().await.expect("flushed");
    let snapshot = store.snapshot("db", "t").expect("there");
    assert_eq!(versions(&*store.object_store(), &snapshot.parts[0]).await, [3], "old versions reach no part");
}

#[tokio::test]
async fn a_multi_measure_record_is_compared_and_replaced_as_a_whole() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let record = |version, attributes: &[(&str, MeasureValue)]| {
        vec![measured(&[("host", "a")], "m", 100, version, multi(attributes))]
    };
    let (x, y) = (("x", MeasureValue::Double(1.0)), ("y", MeasureValue::Bigint(2)));
    assert_eq!(rejections(&store, record(1, &[x.clone(), y.clone()])).await, []);
    assert_eq!(rejections(&store, record(1, &[y.clone(), x.clone()])).await, [], "order does not matter");
    assert_eq!(rejections(&store, record(1, std::slice::from_ref(&x))).await.len(), 1);
    let grown = [x.clone(), y.clone(), ("z", MeasureValue::Boolean(true))];
    assert_eq!(rejections(&store, record(1, &grown)).await.len(), 1);
    let columns = store.snapshot("db", "t").expect("there").schema.columns().len();
    assert_eq!(columns, 5, "a rejected record leaves no column");
    store.flush().await.expect("flushed");
    assert_eq!(rejections(&store, record(1, &[y.clone(), x.clone()])).await, []);
    assert_eq!(rejections(&store, record(1, std::slice::from_ref(&x))).await.len(), 1);
    assert_eq!(rejections(&store, record(2, std::slice::from_ref(&y))).await, []);
    assert_eq!(rows(&store).await[KEY], "y=2", "replaced, not merged");
}

#[tokio::test]
async fn late_rows_without_a_predecessor_are_new_rows() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    for time in [1_000, 500, 700, 100, 900] {
        write(&store, vec![row("a", time, 1, time), row("late", time, 1, 0)]).await.expect("written");
        store.flush().await.expect("flushed");
    }
    assert_eq!(rows(&store).await.len(), 10);
    let snapshot = store.snapshot("db", "t").expect("there");
    assert!(snapshot.parts.iter().all(|part| part.superseded().is_none()));
}
