//! What a part is to a stranger: plain Parquet, sorted, with statistics and bloom filters.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, TimestampNanosecondType};
use object_store::ObjectStoreExt;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};

use super::fixture::{Machine, measured, part_batches, write};
use crate::record::{Measure, MeasureValue, Record};
use crate::store::{Store, TableSnapshot};

fn reading(host: usize, measure: &str, time: i64) -> Record {
    let value = Measure::Single(MeasureValue::Double(time as f64 * 0.5));
    measured(&[("host", &format!("host {host:03}")), ("region", "eu")], measure, time, 1, value)
}

async fn one_part() -> (Machine, Store, TableSnapshot) {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    for time in (0..500).rev() {
        let batch =
            (0..40).flat_map(|host| [reading(host, "mem", time), reading(host, "cpu", time)]).collect();
        write(&store, batch).await.expect("written");
    }
    store.flush().await.expect("flushed");
    let snapshot = store.snapshot("db", "t").expect("there");
    assert_eq!(snapshot.parts.len(), 1);
    (machine, store, snapshot)
}

async fn metadata(store: &Store, snapshot: &TableSnapshot) -> ParquetMetaData {
    let get = store.object_store();
    let bytes = get.get(snapshot.parts[0].path()).await.expect("there").bytes().await.expect("read");
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    reader.try_parse(&bytes).expect("Parquet with a page index");
    reader.finish().expect("parsed")
}

#[tokio::test]
async fn a_part_is_plain_parquet() {
    let (_machine, store, snapshot) = one_part().await;
    let metadata = metadata(&store, &snapshot).await;
    let file = metadata.file_metadata();
    assert!(file.key_value_metadata().is_none(), "no embedded Arrow schema");
    let columns: Vec<&str> = file.schema_descr().columns().iter().map(|column| column.name()).collect();
    assert_eq!(columns, ["host", "region", "measure_name", "time", "measure_value::double", "ts_version"]);
    for group in metadata.row_groups() {
        assert!(group.sorting_columns().is_none(), "a declared order slows queries down");
        for (column, name) in group.columns().iter().zip(&columns) {
            assert!(matches!(column.compression(), Compression::ZSTD(_)));
            assert_eq!(column.bloom_filter_offset().is_some(), matches!(*name, "host" | "region"), "{name}");
            let dictionary = column.encodings().any(|encoding| encoding == Encoding::RLE_DICTIONARY);
            let delta = column.encodings().any(|encoding| encoding == Encoding::DELTA_BINARY_PACKED);
            let whole = matches!(*name, "time" | "ts_version");
            assert_eq!((dictionary, delta), (!whole, whole), "{name}");
        }
    }
    let part = &snapshot.parts[0];
    assert!(part.path().as_ref().contains("/parts/1970-01-01/"));
    assert_eq!((part.rows(), part.time_min().nanos(), part.time_max().nanos()), (40_000, 0, 499));
    assert!(part.bytes() < 40_000 * 2, "{} bytes for 40,000 regular points", part.bytes());
}

#[tokio::test]
async fn rows_are_sorted_by_measure_dimensions_and_time() {
    let (_machine, store, snapshot) = one_part().await;
    let mut keys = Vec::new();
    for batch in part_batches(&*store.object_store(), &snapshot.parts[0]).await {
        let text = |name: &str| batch.column_by_name(name).expect("there").as_string::<i32>().clone();
        assert_eq!(batch.schema().field(0).data_type(), &DataType::Utf8);
        let (measures, hosts) = (text("measure_name"), text("host"));
        let times =
            batch.column_by_name("time").expect("there").as_primitive::<TimestampNanosecondType>().clone();
        assert_eq!(times.null_count(), 0);
        keys.extend(
            (0..batch.num_rows())
                .map(|row| (measures.value(row).to_owned(), hosts.value(row).to_owned(), times.value(row))),
        );
    }
    assert_eq!(keys.len(), 40_000);
    assert!(keys.is_sorted());
}

#[tokio::test]
async fn a_day_is_a_part_and_days_before_1970_are_days() {
    let machine = Machine::with_table().await;
    let store = machine.open().await;
    let day = 86_400_000_000_000;
    let times = [-1, 0, day - 1, day, i64::MAX, i64::MIN];
    write(&store, times.iter().map(|time| reading(1, "cpu", *time)).collect()).await.expect("written");
    store.flush().await.expect("flushed");
    let snapshot = store.snapshot("db", "t").expect("there");
    let folders: Vec<&str> =
        snapshot.parts.iter().filter_map(|part| part.path().as_ref().split('/').nth(3)).collect();
    assert_eq!(folders, ["1677-09-21", "1969-12-31", "1970-01-01", "1970-01-02", "2262-04-11"]);
    assert_eq!(super::fixture::rows(&store).await.len(), 6);
    let again = super::fixture::rejections(&store, times.map(|time| reading(1, "cpu", time)).to_vec()).await;
    assert_eq!(again, [], "every one is found again");
    assert_eq!(super::fixture::rows(&store).await.len(), 6);
}
