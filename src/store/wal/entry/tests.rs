//! Entries come back as they were, and bytes that are none are refused.

use super::*;
use crate::clock::Timestamp;
use crate::record::Attribute;

/// A record, and whether it replaces an older version.
type Row = (Record, bool);

fn decode(entry: &[u8]) -> Result<(TableId, Vec<Row>), EntryFault> {
    let mut rows = LoggedRows::default();
    let table = rows.read(entry)?;
    Ok((table, rows.iter().map(|row| (row.record(), row.replaces)).collect()))
}

fn rows() -> Vec<Row> {
    let dimension = |name: &str, value: &str| Dimension { name: name.into(), value: value.to_owned() };
    let row = |value: &str, measure, replaces| {
        let (dimensions, measure_name) = ([dimension("host", value)].into(), "m".into());
        (Record { dimensions, measure_name, measure, time: Timestamp::from_nanos(-5), version: 9 }, replaces)
    };
    let attribute = |name: &str, value| Attribute { name: name.into(), value };
    vec![
        row("a", Measure::Single(MeasureValue::Double(0.1)), false),
        row("a", Measure::Single(MeasureValue::Bigint(i64::MIN)), true),
        row("b", Measure::Single(MeasureValue::Varchar("größe".repeat(50))), false),
        row(
            "b",
            Measure::Multi(vec![
                attribute("flag", MeasureValue::Boolean(true)),
                attribute("at", MeasureValue::Timestamp(Timestamp::from_nanos(i64::MAX))),
            ]),
            true,
        ),
        row(
            "c",
            Measure::Multi(vec![
                attribute("flag", MeasureValue::Boolean(false)),
                attribute("at", MeasureValue::Bigint(3)),
            ]),
            false,
        ),
        row("c", Measure::Multi(vec![attribute("at", MeasureValue::Bigint(3))]), false),
        row("c", Measure::Single(MeasureValue::Boolean(true)), false),
        (
            Record {
                dimensions: [dimension("host", "c"), dimension("rack", "r")].into(),
                measure_name: "other".into(),
                ..row("c", Measure::Single(MeasureValue::Bigint(4)), false).0
            },
            false,
        ),
        (
            Record { dimensions: [].into(), ..row("", Measure::Single(MeasureValue::Bigint(4)), false).0 },
            false,
        ),
    ]
}

fn encoded() -> (TableId, Vec<u8>) {
    let table = TableId::from_bytes([7; 16]);
    let mut builder = EntryBuilder::new(table);
    assert!(builder.is_empty());
    for (record, replaces) in rows() {
        builder.push(&record, replaces);
    }
    (table, builder.finish())
}

#[test]
fn rows_come_back_as_they_were() {
    let (table, bytes) = encoded();
    assert_eq!(decode(&bytes), Ok((table, rows())));
    assert_eq!(table_of(&bytes), Ok(table));
}

#[test]
fn names_that_come_again_are_neither_written_nor_read_again() {
    let (_, bytes) = encoded();
    let mut read = LoggedRows::default();
    read.read(&bytes).expect("whole");
    let read: Vec<LoggedRow<'_>> = read.iter().collect();
    assert!(std::ptr::eq(read[0].dimension_values, read[1].dimension_values));
    assert!(std::ptr::eq(read[3].dimension_names, read[4].dimension_names));
    assert!(std::ptr::eq(read[3].measure_name, read[4].measure_name));
    assert_eq!(read[3].attributes.map(<[_]>::as_ptr), read[4].attributes.map(<[_]>::as_ptr));
    let mut builder = EntryBuilder::new(TableId::from_bytes([7; 16]));
    let rows = rows();
    builder.push(&rows[3].0, false);
    let first = builder.len();
    builder.push(&rows[4].0, false);
    // Flags, time, version · a dimension's value · two values of two and nine bytes.
    assert_eq!(builder.len() - first, 17 + 1 + 2 + 2 + 2 + 9);
}

/// What the first release wrote.
#[test]
fn rows_that_repeat_all_names_are_still_read() {
    let mut bytes = vec![KIND_ROWS];
    bytes.extend([7; 16]);
    bytes.extend(2_u32.to_le_bytes());
    for (flags, dimensions) in [(0, &b"\x01\x04host\x01a"[..]), (SAME_DIMENSIONS, &b""[..])] {
        bytes.push(flags);
        bytes.extend((-5_i64).to_le_bytes());
        bytes.extend(9_i64.to_le_bytes());
        bytes.extend(b"\x01m");
        bytes.extend(dimensions);
        bytes.extend([4, 1]);
    }
    let measure = Measure::Single(MeasureValue::Boolean(true));
    let expected = (Record { measure, ..rows()[0].0.clone() }, false);
    assert_eq!(decode(&bytes).map(|(_, rows)| rows), Ok(vec![expected.clone(), expected]));
}

#[test]
fn no_cut_and_no_flipped_bit_makes_it_panic() {
    let (_, bytes) = encoded();
    for cut in 0..bytes.len() {
        assert_eq!(decode(&bytes[..cut]), Err(EntryFault::Short), "cut at {cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        // The frame's checksum sees the flip; here only the absence of a panic counts.
        drop(decode(&broken));
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(decode(&longer), Err(EntryFault::Long));
}

#[test]
fn an_absurd_count_costs_no_memory() {
    let mut bytes = encoded().1;
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decode(&bytes), Err(EntryFault::Short));
}
