//! Where rows go, without files.

use arrow::array::{StringViewArray, TimestampNanosecondArray};

use super::*;
use crate::store::series::Series;

#[test]
fn rows_are_found_where_they_went() {
    // Inputs of 4 and 3 rows; row 1 of the first and row 0 of the second are left out.
    let skipped = vec![RoaringBitmap::from([1]), RoaringBitmap::from([0])];
    let merged = Merged { meta: None, aged: 0, sources: vec![0, 1, 0, 0, 1], skipped };
    let all: BTreeSet<(usize, u32)> = (0..4).map(|row| (0, row)).chain((0..3).map(|row| (1, row))).collect();
    let places = merged.places(&all);
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_unstable();
    assert_eq!(places, [((0, 0), 0), ((0, 2), 2), ((0, 3), 3), ((1, 1), 1), ((1, 2), 4)]);
    assert_eq!(merged.places(&BTreeSet::from([(0, 3)])), HashMap::from([((0, 3), 3)]));
    assert_eq!(merged.places(&BTreeSet::from([(0, 1)])), HashMap::new());
    assert_eq!(Merged::nothing(3).places(&all), HashMap::new());
}

#[test]
fn keys_sort_as_series_do() {
    let texts = ["", "\0", "\0\0", "\0a", "\u{1}", "a", "a\0", "a\0b", "a\u{1}", "ab", "b", "ä", "\u{ffff}"];
    let values: Vec<Option<&str>> = std::iter::once(None).chain(texts.map(Some)).collect();
    let (mut names, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
    for name in texts {
        for a in &values {
            for b in &values {
                names.push(name);
                first.push(*a);
                second.push(*b);
            }
        }
    }
    let rows = names.len();
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("x", Arc::new(StringViewArray::from(first.clone())) as ArrayRef, true),
        ("y", Arc::new(StringViewArray::from(second.clone())), true),
        (MEASURE_NAME, Arc::new(StringViewArray::from(names.clone())), false),
        (TIME, Arc::new(TimestampNanosecondArray::from(vec![0; rows])), false),
    ]);
    let batch = batch.expect("a batch");
    let mut keys = Vec::new();
    for row in 0..rows {
        let mut key = Vec::new();
        write_sort_key(&mut key, &batch, &[(0, 0), (3, 1)], row);
        let places = [(0, first[row]), (3, second[row])];
        let dimensions =
            places.iter().filter_map(|(place, value)| Some((*place, value.as_ref()?.to_string().into())));
        keys.push((Series { measure_name: names[row].into(), dimensions: dimensions.collect() }, key));
    }
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(keys.is_sorted_by(|a, b| a.1 < b.1), "every series once, in the same order");
}
