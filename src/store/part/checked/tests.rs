//! What comes out is what was written, or an error.

use object_store::memory::InMemory;

use super::*;
use crate::clock::Timestamp;
use crate::store::part::seal::BlockSums;

const DATA: usize = 100_000;

/// A part of several blocks that is no Parquet, in a store that checks it.
async fn part() -> (Arc<InMemory>, Arc<CheckedStore>, PartMeta, Vec<u8>) {
    let mut file: Vec<u8> = (0..DATA).map(|n| (n * 31 + n / 251).to_le_bytes()[0]).collect();
    let mut sums = BlockSums::default();
    sums.add(&file);
    file.extend(sums.list());
    file.extend(vec![7; 5_000]);
    let path = Path::from("tables/t/parts/d/w-1.parquet");
    let meta = PartMeta {
        path,
        bytes: file.len() as u64,
        rows: 1,
        time_min: Timestamp::from_nanos(0),
        time_max: Timestamp::from_nanos(0),
        seal: Seal::of(DATA as u64, &file[DATA..]),
    };
    let inner = Arc::new(InMemory::new());
    let store = CheckedStore::new(Arc::clone(&inner) as _);
    store.put(&meta.path, file.clone().into()).await.expect("memory");
    store.add(&meta);
    (inner, store, meta, file)
}

fn ranges(bytes: u64) -> Vec<Range<u64>> {
    let data = DATA as u64;
    let edges =
        [0, 1, 100, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 70_000, data - 1, data, data + 5, bytes];
    let pairs = edges.iter().flat_map(|from| edges.iter().map(|to| *from..*to));
    pairs.filter(|range| range.start < range.end).collect()
}

fn within(file: &[u8], range: &Range<u64>) -> Bytes {
    Bytes::copy_from_slice(slice_of(0, file, range).expect("inside"))
}

#[tokio::test]
async fn every_range_is_what_was_written() {
    let (_, store, meta, file) = part().await;
    let ranges = ranges(meta.bytes);
    for range in &ranges {
        let read = store.get_range(&meta.path, range.clone()).await.expect("whole");
        assert_eq!(read, within(&file, range), "{range:?}");
    }
    let expected: Vec<Bytes> = ranges.iter().map(|range| within(&file, range)).collect();
    assert_eq!(store.get_ranges(&meta.path, &ranges).await.expect("whole"), expected);
    let all = store.get(&meta.path).await.expect("there");
    assert_eq!((all.meta.size, all.range.clone()), (meta.bytes, 0..meta.bytes));
    assert_eq!(all.bytes().await.expect("whole"), file);
    let suffix = GetOptions { range: Some(GetRange::Suffix(9)), ..GetOptions::default() };
    let suffix = store.get_opts(&meta.path, suffix).await.expect("there").bytes().await.expect("whole");
    assert_eq!(suffix, file[file.len() - 9..]);
    let beyond = 0..meta.bytes + 1;
    assert!(store.get_ranges(&meta.path, std::slice::from_ref(&beyond)).await.is_err());
}

#[tokio::test]
async fn a_flipped_bit_fails_the_reads_that_touch_its_block_and_no_other() {
    for at in [0_usize, 5, 32_767, 32_768, 99_999, 100_000, 100_011, 100_020, 104_999] {
        for warm in [true, false] {
            let (inner, store, meta, mut file) = part().await;
            if warm {
                store.get_range(&meta.path, 0..10).await.expect("whole");
            }
            file[at] ^= 1;
            inner.put(&meta.path, file.clone().into()).await.expect("memory");
            let (at, data) = (at as u64, DATA as u64);
            let block = if at < data { at / BLOCK_BYTES * BLOCK_BYTES } else { data };
            let block_end = if at < data { (block + BLOCK_BYTES).min(data) } else { meta.bytes };
            for range in ranges(meta.bytes) {
                let touched = range.start < block_end && range.end > block;
                match store.get_ranges(&meta.path, std::slice::from_ref(&range)).await {
                    Ok(read) => {
                        assert!(!touched, "byte {at}, {range:?}");
                        assert_eq!(read, [within(&file, &range)]);
                    }
                    Err(error) => {
                        let damaged = damage(&error).unwrap_or_else(|| panic!("byte {at}: {error}"));
                        assert_eq!(damaged.offset, block, "byte {at}, {range:?}");
                        assert!(error.to_string().contains("w-1.parquet is damaged at byte "), "{error}");
                        // Without the list nothing can be checked.
                        assert!(touched || at >= data, "byte {at}, {range:?}");
                    }
                }
            }
            assert!(store.get(&meta.path).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_file_that_is_too_short_is_no_answer() {
    let (inner, store, meta, file) = part().await;
    for bytes in [0, 10, 40_000, file.len() - 1] {
        inner.put(&meta.path, file[..bytes].to_vec().into()).await.expect("memory");
        assert!(store.get_range(&meta.path, 35_000..35_010).await.is_err(), "{bytes}");
        assert!(store.get(&meta.path).await.is_err(), "{bytes}");
    }
}

#[tokio::test]
async fn a_part_that_nobody_holds_is_not_read() {
    let (_, store, meta, _) = part().await;
    store.remove(&meta.path);
    let error = store.get_range(&meta.path, 0..1).await.expect_err("unknown");
    assert!(error.to_string().ends_with("is a part of no table"), "{error}");
    let other = Path::from("tables/t/manifest/1.json");
    store.put(&other, "x".into()).await.expect("memory");
    assert_eq!(store.get_range(&other, 0..1).await.expect("passes through"), "x");
}

#[test]
fn the_lists_that_are_kept_have_a_bound() {
    let seal = Seal { start: 1, crc32c: 0 };
    let extent = Extent { bytes: 2, seal };
    let mut readable = Readable::default();
    let path = |n: usize| Path::from(format!("{n}.parquet"));
    let sums: Arc<[u32]> = vec![0; SUMS_MAX / 4].into();
    for n in 0..10 {
        readable.parts.insert(path(n), Known { extent, sums: None, asked: 0, damage: None });
        readable.keep(&path(n), &sums);
        assert!(readable.sums(&path(0)).is_some(), "the first is asked for again and again");
        let kept = readable.parts.values().filter_map(|known| known.sums.as_ref()).map(|sums| sums.len());
        assert_eq!(readable.kept, kept.sum::<usize>());
        assert!(readable.kept <= SUMS_MAX);
    }
    assert!(readable.sums(&path(1)).is_none() && readable.sums(&path(9)).is_some());
}
