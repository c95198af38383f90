//! What is committed comes back; what is damaged does not.

use std::sync::Arc;

use object_store::memory::InMemory;

use super::*;

fn manifest() -> Manifest {
    let mut schema = TableSchema::default();
    schema.add_dimension("host".to_owned());
    schema.add_dimension("größe".to_owned());
    schema.add_value(ValueColumn {
        name: "measure_value::double".to_owned(),
        value: MeasureType::Double,
        multi: false,
    });
    schema.add_value(ValueColumn { name: "x".to_owned(), value: MeasureType::Timestamp, multi: true });
    schema.add_measure(MeasureEntry { name: "m".to_owned(), kind: MeasureKind::Multi, dimensions: 3 });
    schema.add_measure(MeasureEntry {
        name: "cpu".to_owned(),
        kind: MeasureKind::Single(MeasureType::Double),
        dimensions: u128::MAX,
    });
    let part = |name: &str| PartMeta {
        seal: Seal { start: 7, crc32c: 0xa0b },
        path: Path::from(name),
        bytes: 10,
        rows: 20,
        time_min: Timestamp::from_nanos(i64::MIN),
        time_max: Timestamp::from_nanos(i64::MAX),
    };
    let parts = vec![
        (part("a/b"), RoaringBitmap::new()),
        (part("a/c"), [1, 5, 70_000, 4_000_000_000].into_iter().collect()),
    ];
    Manifest { number: 1, flushed: Lsn::new(u64::MAX), next_part: 7, schema, parts }
}

fn objects() -> Objects {
    Objects::new(Arc::new(InMemory::new()), None)
}

fn writer(name: &str) -> WriterId {
    WriterId::from_texts(name.to_owned(), "r".to_owned())
}

#[tokio::test]
async fn the_newest_manifest_is_the_table() {
    let (objects, table) = (objects(), TableId::random());
    assert_eq!(load(&objects, table).await.expect("empty").number, 0);
    for number in 1..=6 {
        let mut manifest = Manifest { number, next_part: number * 10, ..manifest() };
        commit(&objects, table, &writer("w"), &mut manifest).await.expect("committed");
    }
    let loaded = load(&objects, table).await.expect("there");
    assert_eq!((loaded.number, loaded.next_part, loaded.flushed), (6, 60, Lsn::new(u64::MAX)));
    assert_eq!(loaded.parts, manifest().parts);
    assert_eq!(loaded.schema.arrow(), manifest().schema.arrow());
    assert_eq!(loaded.schema.measure_entries(), manifest().schema.measure_entries());
    let kept = objects.list(&paths::manifests(table)).await.expect("listed");
    assert_eq!(kept.iter().filter_map(paths::manifest_number).collect::<Vec<_>>(), [4, 5, 6]);
}

#[tokio::test]
async fn a_taken_number_is_stepped_over_or_a_conflict() {
    let (objects, table) = (objects(), TableId::random());
    commit(&objects, table, &writer("w"), &mut manifest()).await.expect("committed");
    let mut retried = Manifest { next_part: 8, ..manifest() };
    commit(&objects, table, &writer("w"), &mut retried).await.expect("own attempt");
    assert_eq!(retried.number, 2);
    let stranger = commit(&objects, table, &writer("x"), &mut manifest()).await.expect_err("conflict");
    assert!(stranger.to_string().contains("was written by another daemon, w in its run r"), "{stranger}");
    let copy = WriterId::from_texts("w".to_owned(), "another".to_owned());
    commit(&objects, table, &copy, &mut manifest()).await.expect_err("a copy of the folder");
}

#[tokio::test]
async fn every_flipped_bit_is_damage() {
    let bytes = encode(&manifest(), &writer("w"));
    let path = Path::from("m.json");
    assert!(decode(&path, &bytes, 1).is_ok());
    for bit in 0..(bytes.len() - 1) * 8 {
        let mut broken = bytes.to_vec();
        broken[bit / 8] ^= 1 << (bit % 8);
        let result = decode(&path, &broken, 1);
        assert!(matches!(result, Err(StoreError::Damaged { .. })), "bit {bit}: {result:?}");
    }
    for cut in 0..bytes.len() - 2 {
        assert!(decode(&path, &bytes[..cut], 1).is_err(), "cut at {cut}");
    }
    let newer =
        serde_json::from_slice::<serde_json::Value>(bytes.split(|b| *b == b'\n').next().expect("a line"));
    let mut newer = newer.expect("JSON");
    newer["format"] = 2.into();
    let mut body = serde_json::to_vec(&newer).expect("JSON");
    let checksum = format!("\n{{\"crc32c\":\"{:08x}\"}}\n", crc32c::crc32c(&body));
    body.extend(checksum.bytes());
    assert!(matches!(decode(&path, &body, 1), Err(StoreError::Format { found: 2, known: 1, .. })));
}
