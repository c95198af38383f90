//! Records through the store and out of a query: the points a first tutorial writes.

use std::sync::Arc;

use super::{all_pages, outcome};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::query::{Engine, QueryOptions, Source};
use crate::record::{Dimension, Measure, MeasureValue, Record, WriteBatch};
use crate::store::{DatabaseOptions, Store, StoreOptions, TableOptions};

fn cpu(second: i64, value: f64, version: i64) -> Record {
    Record {
        dimensions: [Dimension { name: "host".into(), value: "a".to_owned() }].into(),
        measure_name: "cpu".into(),
        measure: Measure::Single(MeasureValue::Double(value)),
        time: Timestamp::from_nanos(second * 1_000_000_000),
        version,
    }
}

async fn write(store: &Store, records: Vec<Record>) {
    let batch = WriteBatch { database: "testDB".into(), table: "testTable".into(), records };
    store.submit(batch).await.expect("accepted records").await.expect("durable records");
}

#[tokio::test]
async fn points_written_to_the_store_come_out_of_a_query() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_nanos(1_636_986_500_000_000_000)));
    let store = Store::open(StoreOptions::new(folder.path()), Arc::clone(&clock)).await.expect("a store");
    let store = Arc::new(store);
    store.create_database("testDB", DatabaseOptions::default()).expect("a database");
    store.create_table("testDB", "testTable", TableOptions::default()).expect("a table");
    let options = QueryOptions { threads: 2, ..QueryOptions::default() };
    let source = Arc::clone(&store) as Arc<dyn Source>;
    let engine = Engine::new(source, options, clock).expect("an engine");
    let ask = |sql: &'static str| {
        let engine = engine.clone();
        async move { outcome(&all_pages(&engine, sql).await, false) }
    };

    let series = "SELECT CREATE_TIME_SERIES(time, measure_value::double) as cpu FROM testDB.testTable \
                  WHERE measure_name='cpu'";
    assert_eq!(
        ask(series).await,
        "validation error: line 1:33: Column 'measure_value::double' does not exist\n",
        "a table without rows has no such column"
    );
    write(&store, vec![cpu(1_636_986_409, 61.0, 1), cpu(1_636_986_412, 80.0, 1)]).await;
    store.flush().await.expect("a part");
    // One row of the part gets a newer version, one point is only in memory.
    write(&store, vec![cpu(1_636_986_409, 60.0, 2), cpu(1_636_986_414, 70.0, 1)]).await;
    let expected = "cpu TIMESERIES(DOUBLE)\n\
                    {2021-11-15 14:26:49.000000000: 60.0, 2021-11-15 14:26:52.000000000: 80.0, \
                    2021-11-15 14:26:54.000000000: 70.0}\n";
    assert_eq!(ask(series).await, expected);
    store.flush().await.expect("another part");
    assert_eq!(ask(series).await, expected);
    assert_eq!(
        ask("DESCRIBE testDB.testTable").await,
        "Column VARCHAR | Type VARCHAR | Timestream attribute type VARCHAR\n\
         host | varchar | DIMENSION\n\
         measure_name | varchar | MEASURE_NAME\n\
         time | timestamp | TIMESTAMP\n\
         measure_value::double | double | MEASURE_VALUE\n"
    );
    assert_eq!(
        ask("SHOW MEASURES FROM \"testDB\".\"testTable\"").await,
        "measure_name VARCHAR | data_type VARCHAR | dimensions ARRAY(ROW(dimension_name VARCHAR, data_type \
         VARCHAR))\ncpu | double | [(host, varchar)]\n"
    );
    let page = all_pages(&engine, "SELECT * FROM testDB.testTable WHERE host = 'a'").await.expect("a page");
    assert_eq!(page.rows.len(), 3);
    assert!(page.bytes_scanned > 0, "bytes of parts are counted");
    engine.shutdown().await;
    store.close().await.expect("a closed store");
}
