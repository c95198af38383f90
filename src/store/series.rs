//! Series: a measure name with its set of dimensions, known by a small number inside one memtable,
//! together with the newest row of each of its times.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ahash::RandomState;

use super::schema::TableSchema;
use crate::record::{Dimension, Record};

/// A measure name and the dimensions, sorted by the place of their column.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(crate) measure_name: Box<str>,
    pub(crate) dimensions: Box<[(u16, Box<str>)]>,
}

impl Series {
    /// The value of the dimension at `place`.
    pub(crate) fn dimension(&self, place: u16) -> Option<&str> {
        let found = self.dimensions.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        Some(&self.dimensions[found].1)
    }

    /// Rough memory the series takes in a memtable.
    fn bytes(&self) -> usize {
        let texts: usize = self.dimensions.iter().map(|(_, value)| value.len() + 24).sum();
        // The key repeats the texts; the rest is table slots and vectors.
        2 * (texts + self.measure_name.len()) + 160
    }
}

/// The identity of a series as bytes: equal bytes, equal series. Reused from record to record.
#[derive(Debug, Default)]
pub(crate) struct SeriesKey {
    bytes: Vec<u8>,
    places: Vec<(u16, usize)>,
}

impl SeriesKey {
    /// Sets the key to the record's series; `false` when a dimension is not a column yet.
    pub(crate) fn set(&mut self, schema: &TableSchema, record: &Record) -> bool {
        self.places.clear();
        for (index, dimension) in record.dimensions.iter().enumerate() {
            let Some(place) = schema.dimension(&dimension.name) else { return false };
            self.places.push((place, index));
        }
        self.places.sort_unstable();
        let dimensions = self.places.iter().map(|&(place, at)| (place, record.dimensions[at].value.as_str()));
        write_key(&mut self.bytes, &record.measure_name, dimensions);
        true
    }

    /// Sets the key to the series of a record whose dimensions have the places `order`.
    pub(crate) fn set_in_order(&mut self, order: &[(u16, usize)], record: &Record) {
        self.places.clear();
        self.places.extend_from_slice(order);
        let dimensions = order.iter().map(|&(place, at)| (place, record.dimensions[at].value.as_str()));
        write_key(&mut self.bytes, &record.measure_name, dimensions);
    }

    /// Sets the key to the series of a row of the log whose dimensions have the places `order`.
    pub(crate) fn set_texts(&mut self, order: &[(u16, usize)], measure_name: &str, dimensions: &[&str]) {
        let dimensions = order.iter().map(|&(place, at)| (place, dimensions[at]));
        write_key(&mut self.bytes, measure_name, dimensions);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The series of the record this key was last set to.
    fn series(&self, measure_name: &str, dimensions: &[Dimension]) -> Series {
        let dimensions = self.places.iter().map(|&(place, at)| (place, dimensions[at].value.as_str().into()));
        Series { measure_name: measure_name.into(), dimensions: dimensions.collect() }
    }
}

/// Writes the key of a series to `out`; the dimensions must come sorted by place.
pub(crate) fn write_key<'a>(
    out: &mut Vec<u8>,
    measure_name: &str,
    dimensions: impl Iterator<Item = (u16, &'a str)>,
) {
    out.clear();
    put(out, measure_name);
    for (place, value) in dimensions {
        out.extend_from_slice(&place.to_le_bytes());
        put(out, value);
    }
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The series of a memtable and, per series and time, the row that is the newest version.
#[derive(Debug, Default)]
pub(crate) struct SeriesIndex {
    /// Asked for every row, with keys of hundreds of bytes that strangers chose: the hash is quick and has a
    /// secret seed.
    by_key: HashMap<Box<[u8]>, u32, RandomState>,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    series: Arc<Series>,
    /// Rows in ascending time, as devices send them.
    run: Vec<(i64, u32)>,
    /// Rows that came after a later one. A tree, so that a backfill in descending order does not
    /// move the whole run for every row.
    late: BTreeMap<i64, u32>,
}

impl SeriesIndex {
    /// The number of a series that was seen before.
    pub(crate) fn find(&self, key: &[u8]) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// The number of the record's series, new or not, and the memory a new one takes. `known` saves the
    /// search.
    pub(crate) fn intern(&mut self, key: &SeriesKey, known: Option<u32>, record: &Record) -> (u32, usize) {
        if let Some(number) = known.or_else(|| self.find(&key.bytes)) {
            return (number, 0);
        }
        let series = key.series(&record.measure_name, &record.dimensions);
        let bytes = series.bytes();
        let number = u32::try_from(self.slots.len()).expect("fewer series than rows, fewer than 2^32");
        self.slots.push(Slot { series: Arc::new(series), run: Vec::new(), late: BTreeMap::new() });
        self.by_key.insert(key.bytes.clone().into_boxed_slice(), number);
        (number, bytes)
    }

    /// The newest row of a series at a time.
    pub(crate) fn row(&self, series: u32, time: i64) -> Option<u32> {
        let slot = &self.slots[series as usize];
        match slot.run.last() {
            Some(&(newest, _)) if newest >= time => {}
            _ => return None,
        }
        match slot.run.binary_search_by_key(&time, |(time, _)| *time) {
            Ok(found) => Some(slot.run[found].1),
            Err(_) => slot.late.get(&time).copied(),
        }
    }

    /// Makes `row` the newest row of a series at a time.
    pub(crate) fn set_row(&mut self, series: u32, time: i64, row: u32) {
        let slot = &mut self.slots[series as usize];
        match slot.run.last() {
            Some(&(newest, _)) if newest >= time => {
                match slot.run.binary_search_by_key(&time, |(time, _)| *time) {
                    Ok(found) => slot.run[found].1 = row,
                    Err(_) => drop(slot.late.insert(time, row)),
                }
            }
            _ => slot.run.push((time, row)),
        }
    }

    pub(crate) fn series(&self, number: u32) -> &Arc<Series> {
        &self.slots[number as usize].series
    }

    /// The newest time of every series, with its key.
    pub(crate) fn newest_times(&self) -> impl Iterator<Item = (&[u8], i64)> {
        self.by_key.iter().filter_map(|(key, &number)| {
            let newest = self.slots[number as usize].run.last()?;
            Some((&**key, newest.0))
        })
    }

    /// Every series in the order of parts.
    pub(crate) fn sorted_series(&self) -> Arc<[Arc<Series>]> {
        self.sorted().into_iter().map(|slot| Arc::clone(&slot.series)).collect()
    }

    /// The rows of every series, in the same order, each in ascending time.
    pub(crate) fn sorted_rows(&self) -> impl Iterator<Item = Vec<(i64, u32)>> {
        self.sorted().into_iter().map(Slot::rows)
    }

    fn sorted(&self) -> Vec<&Slot> {
        let mut slots: Vec<&Slot> = self.slots.iter().collect();
        slots.sort_by(|a, b| a.series.cmp(&b.series));
        slots
    }
}

impl Slot {
    fn rows(&self) -> Vec<(i64, u32)> {
        if self.late.is_empty() {
            return self.run.clone();
        }
        let mut rows = Vec::with_capacity(self.run.len() + self.late.len());
        rows.extend(self.run.iter().copied());
        rows.extend(self.late.iter().map(|(&time, &row)| (time, row)));
        rows.sort_unstable();
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::record::{Measure, MeasureValue};

    fn record(dimensions: &[(&str, &str)]) -> Record {
        let dimension =
            |(name, value): &(&str, &str)| Dimension { name: (*name).into(), value: (*value).to_owned() };
        Record {
            dimensions: dimensions.iter().map(dimension).collect(),
            measure_name: "m".into(),
            measure: Measure::Single(MeasureValue::Bigint(1)),
            time: Timestamp::from_nanos(0),
            version: 1,
        }
    }

    fn schema() -> TableSchema {
        let mut schema = TableSchema::default();
        schema.grow(&record(&[("a", ""), ("b", "")]));
        schema
    }

    #[test]
    fn a_series_is_a_set_of_dimensions() {
        let (schema, mut index, mut key) = (schema(), SeriesIndex::default(), SeriesKey::default());
        let mut number = |dimensions: &[(&str, &str)]| {
            let record = record(dimensions);
            assert!(key.set(&schema, &record));
            index.intern(&key, None, &record).0
        };
        let first = number(&[("a", "1"), ("b", "2")]);
        assert_eq!(number(&[("b", "2"), ("a", "1")]), first);
        assert_ne!(number(&[("a", "2"), ("b", "1")]), first);
        assert_ne!(number(&[("a", "1")]), first);
        assert_ne!(number(&[("a", "1b2")]), first);
        assert_ne!(number(&[]), first);
        assert!(!SeriesKey::default().set(&schema, &record(&[("c", "1")])));
    }

    #[test]
    fn rows_are_found_in_whatever_order_they_came() {
        let (schema, mut index, mut key) = (schema(), SeriesIndex::default(), SeriesKey::default());
        let record = record(&[("a", "1")]);
        key.set(&schema, &record);
        let series = index.intern(&key, None, &record).0;
        for (row, time) in [(0, 50), (1, 70), (2, 60), (3, 10), (4, 70), (5, 60)] {
            index.set_row(series, time, row);
        }
        let found: Vec<_> = [10, 50, 60, 70, 20, 80].map(|time| index.row(series, time)).to_vec();
        assert_eq!(found, [Some(3), Some(0), Some(5), Some(4), None, None]);
        assert_eq!(index.sorted_rows().next().expect("one series"), [(10, 3), (50, 0), (60, 5), (70, 4)]);
        assert_eq!(index.newest_times().next().map(|(_, time)| time), Some(70));
    }
}
