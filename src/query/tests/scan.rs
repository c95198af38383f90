//! What a scan reads, and what it leaves alone.

use super::fixture::TestSource;
use super::{all_pages, engine};
use crate::clock::Timestamp;
use crate::query::{Page, QueryError, QueryOptions};

const TABLE: &str = "table d.t
host dimension | measure_name | time | measure_value::double double
a | cpu | 2021-11-15 00:00:01 | 1
b | cpu | 2021-11-15 00:00:02 | 2
flush
c | cpu | 2021-11-16 00:00:01 | 3
flush
d | cpu | 2021-11-17 00:00:01 | 4";

/// Answers `sql` over [`TABLE`], with a third part of the 14th whose file is lost.
async fn ask(sql: &str) -> Result<Page, QueryError> {
    let mut source = TestSource::default();
    source.read_block(TABLE).await;
    let lost = Timestamp::from_nanos(1_636_848_000_000_000_000);
    source.lose_part("d", "t", lost);
    all_pages(&engine(source, QueryOptions::default()), sql).await
}

#[tokio::test]
async fn parts_outside_the_time_range_are_not_opened() {
    for filter in [
        "time >= '2021-11-15'",
        "time BETWEEN '2021-11-15 00:00:00' AND '2021-11-20'",
        "time > TIMESTAMP '2021-11-16 00:00:00' - 1d",
        "'2021-11-15' < time AND time < now()",
        "time > from_milliseconds(1636934400000)",
        "time >= bin(TIMESTAMP '2021-11-15 12:00:00', 1d)",
        "(time > '2021-11-16' OR time = '2021-11-15 00:00:01')",
    ] {
        let page = ask(&format!("SELECT host FROM d.t WHERE {filter}")).await;
        assert!(page.is_ok(), "{filter}: {page:?}");
    }
    let error = ask("SELECT host FROM d.t").await.expect_err("the lost part is read");
    assert!(
        matches!(&error, QueryError::Unavailable(text) if text.contains("could not be read")),
        "{error:?}"
    );
}

#[tokio::test]
async fn bytes_of_parts_are_counted_and_memory_is_not() {
    let day = |day| format!("SELECT * FROM d.t WHERE time >= '2021-11-{day}'");
    let memory = ask(&day(17)).await.expect("a page");
    assert_eq!((memory.rows.len(), memory.bytes_scanned), (1, 0));
    let one = ask(&day(16)).await.expect("a page");
    let two = ask(&day(15)).await.expect("a page");
    assert!(one.bytes_scanned > 0 && two.bytes_scanned > one.bytes_scanned);
}
