//! Rows go in and come out the same, from memory, from parts and after a restart.

use super::disk::Fault;
use super::fixture::{Machine, measured, multi, row, rows, write};
use crate::clock::Timestamp;
use crate::record::{Measure, MeasureValue, Record};
use crate::store::StoreError;

fn mixed() -> Vec<Record> {
    let single = |value| Measure::Single(value);
    let day = 86_400_000_000_000;
    vec![
        measured(&[("host", "a")], "cpu", 1, 1, single(MeasureValue::Double(0.1))),
        measured(&[("host", "a"), ("rack", "r 1")], "cpu", 2, 1, single(MeasureValue::Double(-1e300))),
        measured(&[("rack", "r 1"), ("host", "b")], "up", day + 3, 7, single(MeasureValue::Boolean(true))),
        measured(&[], "note", -5, 1, single(MeasureValue::Varchar("größer als zwölf Bytes".to_owned()))),
        measured(&[("host", "b")], "n", day * 40, 1, single(MeasureValue::Bigint(i64::MIN))),
        measured(
            &[("host", "a")],
            "both",
            4,
            1,
            multi(&[
                ("x", MeasureValue::Double(1.5)),
                ("with.period", MeasureValue::Varchar("y".to_owned())),
                ("at", MeasureValue::Timestamp(Timestamp::from_nanos(i64::MAX))),
            ]),
        ),
        measured(&[("host", "a")], "both", 5, 1, multi(&[("x", MeasureValue::Double(2.5))])),
    ]
}

#[tokio::test]
async fn rows_are_the_same_in_memory_in_parts_and_after_restarts() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let written = write(&store, mixed()).await.expect("written");
    assert_eq!(written.rejected, []);
    let in_memory = rows(&store).await;
    assert_eq!(in_memory.len(), mixed().len());
    assert_eq!(
        in_memory["host=b rack=r 1 measure_name=up time=86400000000003"],
        "measure_value::boolean=true"
    );
    assert_eq!(
        in_memory["host=a measure_name=both time=4"],
        "x=1.5 with.period=y at=2262-04-11T23:47:16.854775807"
    );
    store.close().await.expect("healthy");

    let store = machine.open().await;
    assert_eq!(rows(&store).await, in_memory, "from the log");
    let columns = store.snapshot("db", "t").expect("there").schema.columns().to_vec();
    store.flush().await.expect("flushed");
    let snapshot = store.snapshot("db", "t").expect("there");
    assert_eq!((snapshot.memory.len(), snapshot.parts.len()), (0, 4), "one part per day");
    assert_eq!(rows(&store).await, in_memory, "from parts");
    store.close().await.expect("healthy");

    let store = machine.open().await;
    let snapshot = store.snapshot("db", "t").expect("there");
    assert_eq!(snapshot.schema.columns(), columns, "columns keep their order");
    assert_eq!(rows(&store).await, in_memory, "from parts after a restart");
    write(&store, vec![row("new", 9, 1, 1)]).await.expect("written");
    assert_eq!(rows(&store).await.len(), in_memory.len() + 1);
    assert_eq!(machine.disk.log_files().len(), 1, "segments whose rows are in parts are gone");
}

#[tokio::test]
async fn many_rows_fill_chunks_and_row_order_does_not_matter() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let batch = |start: i64| (start..start + 5_000).map(|n| row(&format!("h{}", n % 7), 1_000_000 - n, 1, n));
    for start in [0, 5_000, 10_000, 15_000] {
        write(&store, batch(start).collect()).await.expect("written");
        assert_eq!(i64::try_from(rows(&store).await.len()), Ok(start + 5_000));
    }
    let before = rows(&store).await;
    store.flush().await.expect("flushed");
    assert_eq!(rows(&store).await, before);
}

#[tokio::test]
async fn a_snapshot_does_not_change_while_rows_come_and_go_to_parts() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    write(&store, vec![row("a", 1, 1, 10), row("b", 1, 1, 20)]).await.expect("written");
    let snapshot = store.snapshot("db", "t").expect("there");
    let objects = store.object_store();
    let before = super::fixture::rows_of(&*objects, &snapshot).await;
    write(&store, vec![row("a", 1, 2, 11), row("c", 1, 1, 30)]).await.expect("written");
    let with_marks = store.snapshot("db", "t").expect("there");
    store.flush().await.expect("flushed");
    write(&store, vec![row("a", 1, 3, 12)]).await.expect("written");
    assert_eq!(super::fixture::rows_of(&*objects, &snapshot).await, before);
    let second = super::fixture::rows_of(&*objects, &with_marks).await;
    assert_eq!(second["host=a measure_name=m time=1"], "measure_value::bigint=11");
    assert_eq!(rows(&store).await["host=a measure_name=m time=1"], "measure_value::bigint=12");
    assert_eq!(rows(&store).await.len(), 3);
}

#[tokio::test]
async fn rows_are_invisible_until_they_are_durable() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    write(&store, vec![row("a", 1, 1, 10)]).await.expect("written");
    // The first sync is the segment's header of this start, the second the row above.
    let syncs_so_far = 3;
    machine.disk.plan(Fault::Sync(syncs_so_far + 1));
    let failed = write(&store, vec![row("a", 1, 2, 11), row("b", 1, 1, 1)]).await;
    let rows = rows(&store).await;
    match failed {
        Err(StoreError::Unavailable { .. }) => {
            assert_eq!(rows.len(), 1);
            assert_eq!(rows["host=a measure_name=m time=1"], "measure_value::bigint=10");
        }
        other => panic!("the planned sync must be this write's: {other:?}"),
    }
}

#[tokio::test]
async fn submits_of_one_caller_keep_their_order_without_waiting() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let mut pending = Vec::new();
    for version in 1..=200 {
        let records = vec![row("a", 1, version, version)];
        let batch = crate::record::WriteBatch { database: "db".into(), table: "t".into(), records };
        pending.push(store.submit(batch).await.expect("accepted"));
    }
    for pending in pending {
        let written = pending.await.expect("durable");
        assert_eq!((written.memory_store + written.magnetic_store, written.rejected.len()), (1, 0));
    }
    assert_eq!(rows(&store).await["host=a measure_name=m time=1"], "measure_value::bigint=200");
}

#[tokio::test]
async fn writers_wait_for_memory_and_the_flusher_makes_room() {
    let mut machine = Machine::with_table().await;
    machine.options.memory_bytes = 200_000;
    let store = machine.open().await;
    for start in 0..40 {
        let records = (0..100).map(|n| row("a", start * 100 + n, 1, n)).collect();
        let written = tokio::time::timeout(std::time::Duration::from_secs(20), write(&store, records));
        written.await.expect("room within the time").expect("written");
        assert!(store.inner.memory.used() < 200_000 + 100 * 300, "bounded by the batches under way");
    }
    assert_eq!(rows(&store).await.len(), 4_000);
    assert!(!store.snapshot("db", "t").expect("there").parts.is_empty());
}
