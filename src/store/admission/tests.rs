//! AWS's ingestion window and the differences between the two manners.

use super::*;
use crate::record::Dimension;

const NOW: Timestamp = Timestamp::from_millis(1_701_196_630_452);

fn record(time: Timestamp) -> Record {
    Record {
        dimensions: [Dimension { name: "d".into(), value: "v".to_owned() }].into(),
        measure_name: "m".into(),
        measure: Measure::Single(MeasureValue::Boolean(true)),
        time,
        version: 1,
    }
}

fn check(compatibility: Compatibility, magnetic: bool, record: &Record) -> Result<(), RejectReason> {
    let magnetic_writes = MagneticWrites { enabled: magnetic, rejected_data_location: None };
    Admission {
        compatibility,
        limits: &Limits::default(),
        retention: Retention { memory_store_hours: 12, magnetic_store_days: 5 },
        magnetic_writes: &magnetic_writes,
        partition_key: &PartitionKey::default(),
        now: NOW,
    }
    .check(record, Fit::Nothing)
}

/// Hours from now, as awswrangler's and users' reports have them.
fn at_hours(hours: i64) -> Record {
    record(NOW.saturating_add(hours * HOUR))
}

#[test]
fn retention_periods_add_up_and_the_window_is_forty_minutes_wider() {
    let Err(RejectReason::OutsideMemoryStore { from, to }) = check(Compatibility::Aws, false, &at_hours(-13))
    else {
        panic!("older than the memory store")
    };
    assert_eq!(to.nanos() - from.nanos(), 12 * HOUR + 40 * MINUTE);
    let Err(RejectReason::OutsideIngestionWindow { from, to }) =
        check(Compatibility::Aws, true, &at_hours(1))
    else {
        panic!("too far ahead")
    };
    assert_eq!(to.nanos() - from.nanos(), 5 * DAY + 12 * HOUR + 40 * MINUTE);
    assert_eq!(check(Compatibility::Aws, true, &at_hours(-(5 * 24 + 1))), Ok(()));
    assert!(check(Compatibility::Aws, true, &at_hours(-(5 * 24 + 25))).is_err());
    assert!(check(Compatibility::Aws, false, &record(from)).is_err(), "without magnetic writes");
    // Half-open: the lower bound is in, the upper is out.
    assert_eq!(check(Compatibility::Aws, true, &record(from)), Ok(()));
    assert!(check(Compatibility::Aws, true, &record(to)).is_err());
    for hours in [-1_000_000, -13, 1, 1_000_000] {
        assert_eq!(check(Compatibility::Local, false, &at_hours(hours)), Ok(()), "any time is fine here");
    }
}

#[test]
fn an_extreme_retention_does_not_overflow() {
    let admission = Admission {
        limits: &Limits::default(),
        compatibility: Compatibility::Aws,
        retention: Retention { memory_store_hours: 8_766, magnetic_store_days: 73_000 },
        magnetic_writes: &MagneticWrites { enabled: true, rejected_data_location: None },
        partition_key: &PartitionKey::default(),
        now: NOW,
    };
    assert_eq!(admission.check(&record(Timestamp::from_nanos(0)), Fit::Nothing), Ok(()));
    assert!(!admission.in_memory_store(Timestamp::from_nanos(0)));
    assert!(admission.in_memory_store(NOW));
}

#[test]
fn manners_differ_in_dimensions_and_lengths() {
    let bare = Record { dimensions: [].into(), ..record(NOW) };
    assert_eq!(check(Compatibility::Aws, false, &bare), Err(RejectReason::NoDimension));
    assert_eq!(check(Compatibility::Local, false, &bare), Ok(()));
    let long = Record { measure: Measure::Single(MeasureValue::Varchar("x".repeat(2_049))), ..record(NOW) };
    assert!(matches!(
        check(Compatibility::Aws, false, &long),
        Err(RejectReason::TooLong { given: 2_049, max: 2_048, .. })
    ));
    assert_eq!(check(Compatibility::Local, false, &long), Ok(()));
    let huge = "y".repeat(LOCAL_VALUE_BYTES_MAX);
    let name = |n: usize| crate::record::Attribute {
        name: format!("a{n}").into(),
        value: MeasureValue::Varchar(huge.clone()),
    };
    let record = Record { measure: Measure::Multi((0..5).map(name).collect()), ..record(NOW) };
    assert!(check(Compatibility::Local, false, &record).is_err(), "a record has a bound in any manner");
}

#[test]
fn a_required_partition_key_must_be_there() {
    let key = |required| {
        PartitionKey(vec![crate::store::PartitionKeyItem::Dimension { name: "site".to_owned(), required }])
    };
    let check = |partition_key: &PartitionKey| {
        Admission {
            limits: &Limits::default(),
            compatibility: Compatibility::Local,
            retention: Retention::default(),
            magnetic_writes: &MagneticWrites::default(),
            partition_key,
            now: NOW,
        }
        .check(&record(NOW), Fit::Nothing)
    };
    assert_eq!(check(&key(false)), Ok(()));
    assert_eq!(check(&key(true)), Err(RejectReason::MissingPartitionKey { dimension: "site".to_owned() }));
}
