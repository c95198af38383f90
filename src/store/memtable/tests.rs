//! Visibility, numbering and values of rows in memory.

use super::*;
use crate::clock::Timestamp;
use crate::record::{Dimension, Measure};

struct Table {
    schema: TableSchema,
    memtable: Memtable,
}

impl Table {
    fn new() -> Self {
        Self { schema: TableSchema::default(), memtable: Memtable::new() }
    }

    fn append(&mut self, host: &str, time: i64, value: i64) -> u32 {
        let record = Record {
            dimensions: [Dimension { name: "host".into(), value: host.to_owned() }].into(),
            measure_name: "m".into(),
            measure: Measure::Single(MeasureValue::Bigint(value)),
            time: Timestamp::from_nanos(time),
            version: time + 1,
        };
        self.schema.grow(&record);
        let mut key = SeriesKey::default();
        assert!(key.set(&self.schema, &record));
        let put = |values: &mut Vec<_>| values.push((0, MeasureValue::Bigint(value)));
        self.memtable.append(&key, None, &record, put, self.schema.values())
    }

    fn visible(&mut self, durable: u64, hidden: &[u32]) -> usize {
        let hidden = (!hidden.is_empty()).then(|| Arc::new(hidden.iter().copied().collect()));
        let views = self.memtable.view(Lsn::new(durable), hidden, self.schema.values());
        views.iter().filter_map(|view| view.batch(&self.schema)).map(|batch| batch.num_rows()).sum()
    }
}

#[test]
fn rows_become_visible_frame_by_frame() {
    let mut table = Table::new();
    table.append("a", 1, 1);
    table.append("b", 1, 1);
    assert_eq!(table.visible(u64::MAX, &[]), 0, "no frame carries them yet");
    table.memtable.end_frame(Lsn::new(5), Lsn::START);
    table.append("a", 2, 1);
    table.memtable.end_frame(Lsn::new(7), Lsn::START);
    let seen = [4, 5, 6, 7].map(|durable| table.visible(durable, &[]));
    assert_eq!(seen, [0, 2, 2, 3]);
    assert_eq!((table.visible(7, &[1]), table.visible(7, &[0, 1, 2])), (2, 0));
    // What is known to be durable is forgotten frame by frame, not row by row.
    table.append("a", 3, 1);
    table.memtable.end_frame(Lsn::new(8), Lsn::new(7));
    assert_eq!((table.visible(7, &[]), table.visible(8, &[])), (3, 4));
    assert_eq!((table.memtable.first(), table.memtable.last()), (Some(Lsn::new(5)), Lsn::new(8)));
}

#[test]
fn rows_keep_their_numbers_when_chunks_are_sealed_at_odd_places() {
    let mut table = Table::new();
    let mut appended = 0;
    for (burst, lsn) in [(1_500_u32, 1), (10_000, 2), (3, 3), (2_000, 4)] {
        for _ in 0..burst {
            assert_eq!(table.append("a", i64::from(appended), i64::from(appended)), appended);
            appended += 1;
        }
        table.memtable.end_frame(Lsn::new(lsn), Lsn::START);
        assert_eq!(table.visible(lsn, &[]), appended as usize, "taking a snapshot seals");
    }
    let mut key = SeriesKey::default();
    let record = Record {
        dimensions: [Dimension { name: "host".into(), value: "a".to_owned() }].into(),
        measure_name: "m".into(),
        measure: Measure::Multi(Vec::new()),
        time: Timestamp::from_nanos(0),
        version: 1,
    };
    key.set(&table.schema, &record);
    for row in (0..appended).step_by(97).chain([appended - 1]) {
        assert_eq!(table.memtable.find(key.bytes(), i64::from(row)), Some(row));
        assert_eq!(table.memtable.version(row), i64::from(row) + 1);
        table.memtable.with_values(row, |values| {
            assert_eq!(values, [(0, MeasureValue::Bigint(i64::from(row)))]);
        });
    }
    assert_eq!(table.visible(4, &[0, 1_499, 1_500, appended - 1]), appended as usize - 4);
}
