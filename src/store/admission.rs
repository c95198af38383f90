//! What a record must be like before the table is asked: counts, lengths, names, values, time.
//!
//! Everything that bounds the log's encoding is checked here, so nothing behind it can overflow.

use std::collections::HashSet;

use super::error::RejectReason;
use super::layout::Fit;
use super::limits::Limits;
use super::{Compatibility, MagneticWrites, PartitionKey, Retention};
use crate::clock::Timestamp;
use crate::record::{
    Measure, MeasureValue, NameError, Record, check_attribute_name, check_dimension_name, check_measure_name,
};

/// Bytes of a dimension's name and value, and of a VARCHAR value, as AWS has it.
pub(crate) const VALUE_BYTES_MAX: usize = 2048;
/// The same outside AWS's mode: what a page of a query answer can still carry.
pub(crate) const LOCAL_VALUE_BYTES_MAX: usize = 256 * 1024;
/// All texts of a record together, in any mode.
pub(crate) const RECORD_BYTES_MAX: usize = 1024 * 1024;

const MINUTE: i64 = 60 * 1_000_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// How far ahead of the clock a record may be.
const FUTURE: i64 = 15 * MINUTE;
/// How much more than the retention AWS takes.
const PAST_SLACK: i64 = 25 * MINUTE;

/// The rules for one batch, with the clock read once.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    pub(crate) compatibility: Compatibility,
    pub(crate) limits: &'a Limits,
    pub(crate) retention: Retention,
    pub(crate) magnetic_writes: &'a MagneticWrites,
    pub(crate) partition_key: &'a PartitionKey,
    pub(crate) now: Timestamp,
}

impl Admission<'_> {
    /// Whether the record may be compared with the table at all. Names that it has in common with a
    /// row of the table are not looked at again.
    pub(crate) fn check(&self, record: &Record, fit: Fit) -> Result<(), RejectReason> {
        if record.version < 1 {
            return Err(RejectReason::Version { given: record.version });
        }
        self.check_dimensions(record, fit)?;
        self.check_measure(record, fit)?;
        self.check_size(record)?;
        self.check_time(record.time)
    }

    /// Whether the record counts as written to the memory store.
    pub(crate) fn in_memory_store(&self, time: Timestamp) -> bool {
        time >= self.now.saturating_add(-self.memory_nanos() - PAST_SLACK)
    }

    fn memory_nanos(&self) -> i64 {
        i64::from(self.retention.memory_store_hours).saturating_mul(HOUR)
    }

    fn aws(&self) -> bool {
        self.compatibility == Compatibility::Aws
    }

    fn check_dimensions(&self, record: &Record, fit: Fit) -> Result<(), RejectReason> {
        if record.dimensions.is_empty() && self.aws() {
            return Err(RejectReason::NoDimension);
        }
        // The table's limit may have been lowered since it had more: the log's encoding has the last word.
        let max = Limits::MOST.dimensions_per_table;
        if record.dimensions.len() > max {
            return Err(RejectReason::TooManyDimensions { max });
        }
        for dimension in &*record.dimensions {
            if fit == Fit::Nothing {
                named("dimension", &dimension.name, check_dimension_name)?;
            }
            let pair = dimension.name.len() + dimension.value.len();
            check_length("dimension", &dimension.name, pair, self.value_bytes_max())?;
        }
        if fit == Fit::Nothing {
            check_unique("dimension", record.dimensions.iter().map(|dimension| &*dimension.name))?;
        }
        match self.partition_key.required_dimension() {
            Some(required) if !record.dimensions.iter().any(|dimension| &*dimension.name == required) => {
                Err(RejectReason::MissingPartitionKey { dimension: required.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn check_measure(&self, record: &Record, fit: Fit) -> Result<(), RejectReason> {
        let name = &record.measure_name;
        if fit < Fit::Whole {
            named("measure", name, check_measure_name)?;
        }
        match &record.measure {
            Measure::Single(MeasureValue::Timestamp(_)) => Err(RejectReason::SingleTimestamp),
            Measure::Single(value) => self.check_value(name, value),
            Measure::Multi(attributes) => {
                let max = self.limits.attributes_per_record;
                if attributes.is_empty() || attributes.len() > max {
                    let given = attributes.len();
                    return Err(RejectReason::AttributeCount { given, max });
                }
                for attribute in attributes {
                    if fit < Fit::Whole {
                        named("measure", &attribute.name, check_attribute_name)?;
                    }
                    self.check_value(&attribute.name, &attribute.value)?;
                }
                if fit == Fit::Whole {
                    return Ok(());
                }
                check_unique("measure", attributes.iter().map(|attribute| &*attribute.name))
            }
        }
    }

    fn value_bytes_max(&self) -> usize {
        if self.aws() { VALUE_BYTES_MAX } else { LOCAL_VALUE_BYTES_MAX }
    }

    fn check_value(&self, name: &str, value: &MeasureValue) -> Result<(), RejectReason> {
        match value {
            MeasureValue::Double(value) if !value.is_finite() => {
                Err(RejectReason::NotFinite { measure: shortened(name) })
            }
            MeasureValue::Varchar(text) => check_length("value of", name, text.len(), self.value_bytes_max()),
            _ => Ok(()),
        }
    }

    fn check_size(&self, record: &Record) -> Result<(), RejectReason> {
        let dimensions = record.dimensions.iter().map(|pair| pair.name.len() + pair.value.len());
        let text =
            |value: &MeasureValue| if let MeasureValue::Varchar(text) = value { text.len() } else { 0 };
        let measure = match &record.measure {
            Measure::Single(value) => text(value),
            Measure::Multi(attributes) => {
                attributes.iter().map(|attribute| attribute.name.len() + text(&attribute.value)).sum()
            }
        };
        let given = dimensions.sum::<usize>() + measure;
        check_length("record of", &record.measure_name, given, RECORD_BYTES_MAX)
    }

    fn check_time(&self, time: Timestamp) -> Result<(), RejectReason> {
        if !self.aws() {
            return Ok(());
        }
        let magnetic = self.magnetic_writes.enabled;
        let days = if magnetic { i64::from(self.retention.magnetic_store_days) } else { 0 };
        let kept = self.memory_nanos().saturating_add(days.saturating_mul(DAY));
        let from = self.now.saturating_add(kept.saturating_neg().saturating_sub(PAST_SLACK));
        let to = self.now.saturating_add(FUTURE);
        match (from..to).contains(&time) {
            true => Ok(()),
            false if magnetic => Err(RejectReason::OutsideIngestionWindow { from, to }),
            false => Err(RejectReason::OutsideMemoryStore { from, to }),
        }
    }
}

fn check_length(what: &'static str, name: &str, given: usize, max: usize) -> Result<(), RejectReason> {
    if given <= max {
        return Ok(());
    }
    Err(RejectReason::TooLong { what, name: shortened(name), given, max })
}

fn named(
    what: &'static str,
    name: &str,
    check: impl FnOnce(&str) -> Result<(), NameError>,
) -> Result<(), RejectReason> {
    check(name).map_err(|reason| RejectReason::Name { what, name: shortened(name), reason })
}

fn check_unique<'a>(
    what: &'static str,
    names: impl ExactSizeIterator<Item = &'a str> + Clone,
) -> Result<(), RejectReason> {
    // Comparing a handful of names with one another is quicker than hashing them.
    let twice = if names.len() <= 16 {
        names.clone().enumerate().find(|(at, name)| names.clone().take(*at).any(|other| other == *name))
    } else {
        let mut seen = HashSet::with_capacity(names.len());
        names.enumerate().find(|(_, name)| !seen.insert(*name))
    };
    twice.map_or(Ok(()), |(_, name)| Err(RejectReason::Duplicate { what, name: shortened(name) }))
}

/// A name fit for a sentence: a hostile one may be a megabyte long.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((at, _)) => format!("{}...", &name[..at]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
