//! The Timestream action (spec section 5): every attribute of the result becomes a measure.
//!
//! One single-measure record per attribute, or with `multi_measure_name` one record holding them all.
//! An attribute that cannot be a measure is reported and left out; the others are written. AWS stops
//! at 100 attributes, the records of one WriteRecords call; our store takes any number, so there is no
//! such limit and no splitting.
//!
//! An array of results is a batch: each of its items is written as if it had come alone. Where a template
//! says `@{…}` it reads the item; a result that is no array is its own only item.

mod check;
mod measure;

use std::collections::HashSet;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::record::{Attribute, DEFAULT_VERSION, Dimension, Measure, Record, WriteBatch};

pub(in crate::rules) use measure::Numeric;

use super::super::effect::{FailureReason, TimestreamWrite};
use super::super::sql::eval::{Output, Scope};
use super::super::sql::number::Decimal;
use super::super::sql::value::{Name, Object, Value};
use super::super::template::{Template, View};
use super::shortened;
use measure::NumericPolicy;

/// How many items one array of results may have.
const ITEMS_MAX: usize = 10_000;

/// How many failures of one message are told apart.
const PROBLEMS_MAX: usize = 100;

/// A checked Timestream action.
#[derive(Debug)]
pub(crate) struct TimestreamAction {
    /// The database's name.
    database: Template,
    /// The table's name.
    table: Template,
    /// The dimensions, in the order of the file.
    dimensions: Vec<(Arc<str>, Template)>,
    /// Where the time comes from; `None` takes the processing time.
    timestamp: Option<(Template, TimeUnit)>,
    /// Where the version comes from; `None` takes the lowest.
    version: Option<Template>,
    /// Whether any template reads an item of the result.
    reads_item: bool,
    /// Which attributes become measures.
    selection: Selection,
    /// The measure name of a multi-measure record; `None` makes one record per attribute.
    multi_measure_name: Option<Template>,
    /// What numbers become.
    numeric: NumericPolicy,
    /// Whether to create the database and the table on first use.
    create: bool,
}

/// Which attributes of the result become measures.
#[derive(Debug)]
enum Selection {
    /// All.
    All,
    /// All but these.
    AllBut(HashSet<String>),
    /// These.
    Only(HashSet<String>),
}

impl Selection {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(names) => !names.contains(name),
            Self::Only(names) => names.contains(name),
        }
    }
}

/// The unit of a timestamp template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeUnit {
    /// SECONDS.
    Seconds,
    /// MILLISECONDS.
    Milliseconds,
    /// MICROSECONDS.
    Microseconds,
    /// NANOSECONDS.
    Nanoseconds,
}

impl TimeUnit {
    /// All units, by the names AWS gives them.
    pub(crate) const ALL: [(&'static str, Self); 4] = [
        ("SECONDS", Self::Seconds),
        ("MILLISECONDS", Self::Milliseconds),
        ("MICROSECONDS", Self::Microseconds),
        ("NANOSECONDS", Self::Nanoseconds),
    ];

    const fn nanos(self) -> i64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Milliseconds => 1_000_000,
            Self::Microseconds => 1_000,
            Self::Nanoseconds => 1,
        }
    }

    const fn plural(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Nanoseconds => "nanoseconds",
        }
    }
}

/// Records in the making.
#[derive(Default)]
struct Draft {
    records: Vec<Record>,
    problems: Vec<FailureReason>,
    untold: usize,
}

impl Draft {
    fn problem(&mut self, index: Option<usize>, reason: FailureReason) {
        if self.problems.len() == PROBLEMS_MAX {
            self.untold += 1;
            return;
        }
        self.problems.push(match index {
            Some(index) => FailureReason::Item { index, reason: Box::new(reason) },
            None => reason,
        });
    }
}

impl TimestreamAction {
    /// The records of one result, if there are any, and what could not be written.
    pub(super) fn run<'a>(
        &'a self,
        scope: &Scope<'a>,
        output: &Output<'_>,
    ) -> Result<(Option<TimestreamWrite>, Vec<FailureReason>), FailureReason> {
        let mut draft = Draft::default();
        match output {
            Output::Object(members) => {
                let attributes = || members.iter().map(|(name, value)| (&**name, &**value));
                if self.reads_item {
                    let own = attributes().map(|(name, value)| (Arc::clone(name), value.clone()));
                    let item = Value::Object(Box::new(own.collect::<Object>()));
                    self.item(scope, attributes(), &item, None, &mut draft);
                } else {
                    self.records(View { message: scope, item: scope }, attributes(), None, &mut draft);
                }
            }
            Output::Value(value) => match &**value {
                Value::Array(items) => self.items(scope, items, &mut draft)?,
                other => return Err(not_object(other.kind())),
            },
            Output::Bytes => return Err(not_object(output.kind())),
        }
        let Draft { records, mut problems, untold } = draft;
        if untold > 0 {
            problems.push(FailureReason::Untold { count: untold });
        }
        if records.is_empty() {
            return Ok((None, problems));
        }
        let view = View { message: scope, item: scope };
        let batch = WriteBatch {
            database: self.database.render_name(view, || "database_name".to_owned())?,
            table: self.table.render_name(view, || "table_name".to_owned())?,
            records,
        };
        Ok((Some(TimestreamWrite { batch, create: self.create }), problems))
    }

    fn items<'a>(
        &'a self,
        scope: &Scope<'a>,
        items: &[Value],
        draft: &mut Draft,
    ) -> Result<(), FailureReason> {
        if items.len() > ITEMS_MAX {
            return Err(FailureReason::TooManyItems { items: items.len(), limit: ITEMS_MAX });
        }
        for (index, item) in items.iter().enumerate() {
            match item {
                Value::Object(members) => {
                    self.item(scope, members.iter(), item, Some(index), draft);
                }
                other => draft.problem(Some(index), not_object(other.kind())),
            }
        }
        Ok(())
    }

    fn item<'v>(
        &self,
        scope: &Scope<'_>,
        attributes: impl Iterator<Item = (&'v Name, &'v Value)>,
        item: &Value,
        index: Option<usize>,
        draft: &mut Draft,
    ) {
        scope.with_root(item, |item| self.records(View { message: scope, item }, attributes, index, draft));
    }

    /// Adds the records of one item; all of them or, if a template fails, none.
    fn records<'a, 'v>(
        &'a self,
        view: View<'_, 'a>,
        attributes: impl Iterator<Item = (&'v Name, &'v Value)>,
        index: Option<usize>,
        draft: &mut Draft,
    ) {
        let count = attributes.size_hint().1.unwrap_or(0);
        let mut identity = None;
        let mut several = Vec::new();
        for (name, value) in attributes.filter(|(name, _)| self.selection.has(name)) {
            let value = match self.numeric.measure(name, value) {
                Ok(Some(value)) => value,
                Ok(None) => continue,
                Err(problem) => {
                    draft.problem(index, FailureReason::Attribute { name: name.to_string(), problem });
                    continue;
                }
            };
            let found = identity.get_or_insert_with(|| {
                if self.multi_measure_name.is_some() {
                    several.reserve_exact(count);
                } else {
                    draft.records.reserve(count);
                }
                self.identity(view, index.unwrap_or(0))
            });
            let name = Arc::clone(name);
            match found {
                Ok(Identity { multi_measure_name: Some(_), .. }) => several.push(Attribute { name, value }),
                Ok(identity) => draft.records.push(identity.record(name, Measure::Single(value))),
                // Told below, behind what is wrong with the attributes.
                Err(_) => {}
            }
        }
        match identity {
            None => {}
            Some(Err(reason)) => draft.problem(index, reason),
            Some(Ok(identity)) => {
                let record = |name| identity.record(name, Measure::Multi(several));
                draft.records.extend(identity.multi_measure_name.clone().map(record));
            }
        }
    }

    fn identity<'a>(&'a self, view: View<'_, 'a>, place: usize) -> Result<Identity, FailureReason> {
        let multi_measure_name = self.multi_measure_name.as_ref();
        Ok(Identity {
            dimensions: self.dimensions(view)?,
            time: self.time(view, place)?,
            version: self.version(view)?,
            multi_measure_name: multi_measure_name
                .map(|name| name.render_name(view, || "multi_measure_name".to_owned()))
                .transpose()?,
        })
    }

    fn dimensions<'a>(&'a self, view: View<'_, 'a>) -> Result<Arc<[Dimension]>, FailureReason> {
        let mut failed = None;
        let dimension = |(name, value): &'a (Arc<str>, Template)| {
            let value =
                value.render_for_item(view, || format!("dimension {name}")).unwrap_or_else(|reason| {
                    failed.get_or_insert(reason);
                    String::new()
                });
            Dimension { name: Arc::clone(name), value }
        };
        // Collected as if nothing could fail, so that the length is known and one block of memory is enough.
        let dimensions = self.dimensions.iter().map(dimension).collect();
        failed.map_or(Ok(dimensions), Err)
    }

    /// Items of one message that have no time of their own are a nanosecond apart, so that they stay
    /// different rows.
    fn time<'a>(&'a self, view: View<'_, 'a>, place: usize) -> Result<Timestamp, FailureReason> {
        let Some((template, unit)) = &self.timestamp else {
            let place = i64::try_from(place).unwrap_or(i64::MAX);
            return Ok(view.message.received().saturating_add(place));
        };
        let text = template.render_for_item(view, || "timestamp.value".to_owned())?;
        match whole_number(&text).and_then(|count| count.checked_mul(unit.nanos())) {
            Some(nanos) => Ok(Timestamp::from_nanos(nanos)),
            None => Err(FailureReason::Timestamp { text: shortened(text), unit: unit.plural() }),
        }
    }

    fn version<'a>(&'a self, view: View<'_, 'a>) -> Result<i64, FailureReason> {
        let Some(template) = &self.version else { return Ok(DEFAULT_VERSION) };
        let text = template.render_for_item(view, || "version".to_owned())?;
        let version = whole_number(&text).filter(|&version| version >= 1);
        version.ok_or_else(|| FailureReason::Version { text: shortened(text) })
    }
}

/// What all records of one item share.
struct Identity {
    dimensions: Arc<[Dimension]>,
    time: Timestamp,
    version: i64,
    multi_measure_name: Option<Arc<str>>,
}

impl Identity {
    fn record(&self, measure_name: Arc<str>, measure: Measure) -> Record {
        let dimensions = Arc::clone(&self.dimensions);
        Record { dimensions, measure_name, measure, time: self.time, version: self.version }
    }
}

fn not_object(kind: &str) -> FailureReason {
    FailureReason::ResultNotObject { kind: kind.to_owned() }
}

/// The whole number `text` spells: under 2015-10-08 one may end in `.0`.
fn whole_number(text: &str) -> Option<i64> {
    Decimal::parse(text).and_then(Decimal::whole).and_then(|number| i64::try_from(number).ok())
}
