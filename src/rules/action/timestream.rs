//! The Timestream action (spec section 5): every attribute of the result becomes a measure.
//!
//! One single-measure record per attribute, or with `multi_measure_name` one record holding them all.
//! An attribute that cannot be a measure is reported and left out; the others are written. AWS stops
//! at 100 attributes, the records of one WriteRecords call; our store takes any number, so there is no
//! such limit and no splitting.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::record::{Attribute, DEFAULT_VERSION, Dimension, Measure, MeasureValue, Record, WriteBatch};

use super::super::effect::{AttributeProblem, Effect, FailureReason, TimestreamWrite};
use super::super::sql::eval::{Output, Scope};
use super::super::sql::value::Value;
use super::super::template::Template;

/// The longest VARCHAR measure, in bytes (spec 5.3).
const VARCHAR_BYTES_MAX: usize = 2_048;

/// A checked Timestream action.
#[derive(Debug)]
pub(crate) struct TimestreamAction {
    /// The database's name.
    pub(crate) database: Template,
    /// The table's name.
    pub(crate) table: Template,
    /// The dimensions, in the order of the file.
    pub(crate) dimensions: Vec<(Arc<str>, Template)>,
    /// Where the time comes from; `None` takes the processing time.
    pub(crate) timestamp: Option<(Template, TimeUnit)>,
    /// The measure name of a multi-measure record; `None` makes one record per attribute.
    pub(crate) multi_measure_name: Option<Template>,
    /// Whether to create the database and the table on first use.
    pub(crate) create: bool,
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

impl TimestreamAction {
    /// The records of one result, if there are any, and the attributes that could not be written.
    pub(super) fn run<'a>(
        &'a self,
        scope: &Scope<'a>,
        output: &Output<'_>,
    ) -> Result<(Option<WriteBatch>, Vec<FailureReason>), FailureReason> {
        let members = match output {
            Output::Object(members) => members,
            Output::Bytes => {
                return Err(FailureReason::ResultNotObject { kind: "bytes that are no JSON".to_owned() });
            }
            Output::Value(value) => {
                return Err(FailureReason::ResultNotObject { kind: value.kind().to_owned() });
            }
        };
        let mut problems = Vec::new();
        let mut measures = Vec::with_capacity(members.len());
        for (name, value) in members {
            match measure(value) {
                Ok(Some(value)) => measures.push((&**name, value)),
                Ok(None) => {}
                Err(problem) => {
                    problems.push(FailureReason::Attribute { name: name.clone().into_owned(), problem });
                }
            }
        }
        if measures.is_empty() {
            return Ok((None, problems));
        }
        let batch = WriteBatch {
            database: self.database.render_name(scope, || "database_name".to_owned())?,
            table: self.table.render_name(scope, || "table_name".to_owned())?,
            records: self.records(scope, measures)?,
        };
        Ok((Some(batch), problems))
    }

    /// The effect that writes `batch`.
    pub(super) fn write(&self, rule: &Arc<str>, batch: WriteBatch) -> Effect {
        Effect::Write(TimestreamWrite { rule: Arc::clone(rule), batch, create: self.create })
    }

    fn records<'a>(
        &'a self,
        scope: &Scope<'a>,
        measures: Vec<(&str, MeasureValue)>,
    ) -> Result<Vec<Record>, FailureReason> {
        let dimensions = self.dimensions(scope)?;
        let time = self.time(scope)?;
        let record = |dimensions, measure_name, measure| Record {
            dimensions,
            measure_name,
            measure,
            time,
            version: DEFAULT_VERSION,
        };
        if let Some(name) = &self.multi_measure_name {
            let name = name.render_name(scope, || "multi_measure_name".to_owned())?;
            let attribute = |(name, value): (&str, MeasureValue)| Attribute { name: name.into(), value };
            let measure = Measure::Multi(measures.into_iter().map(attribute).collect());
            return Ok(vec![record(dimensions, name, measure)]);
        }
        let single = |(name, value): (&str, MeasureValue)| {
            record(Arc::clone(&dimensions), name.into(), Measure::Single(value))
        };
        Ok(measures.into_iter().map(single).collect())
    }

    fn dimensions<'a>(&'a self, scope: &Scope<'a>) -> Result<Arc<[Dimension]>, FailureReason> {
        let dimension = |(name, value): &(Arc<str>, Template)| {
            let value = value.render(scope, || format!("dimension {name}"))?;
            Ok(Dimension { name: Arc::clone(name), value })
        };
        self.dimensions.iter().map(dimension).collect()
    }

    fn time<'a>(&'a self, scope: &Scope<'a>) -> Result<Timestamp, FailureReason> {
        let Some((template, unit)) = &self.timestamp else { return Ok(scope.received()) };
        let text = template.render(scope, || "timestamp.value".to_owned())?;
        match text.parse::<i64>().ok().and_then(|count| count.checked_mul(unit.nanos())) {
            Some(nanos) => Ok(Timestamp::from_nanos(nanos)),
            None => Err(FailureReason::Timestamp { text: shortened(text), unit: unit.plural() }),
        }
    }
}

/// Keeps a message readable when a template yields a novel.
fn shortened(text: String) -> String {
    const KEPT: usize = 64;
    match text.char_indices().nth(KEPT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// The measure an attribute's value becomes; `None` for null, which is skipped.
fn measure(value: &Value) -> Result<Option<MeasureValue>, AttributeProblem> {
    Ok(Some(match value {
        Value::Undefined | Value::Null => return Ok(None),
        Value::Bool(value) => MeasureValue::Boolean(*value),
        Value::Int(value) => MeasureValue::Bigint(
            i64::try_from(*value).map_err(|_| AttributeProblem::Bigint { value: value.to_string() })?,
        ),
        Value::Decimal(value) => {
            let double = value.to_f64();
            if !double.is_finite() {
                return Err(AttributeProblem::Double { value: value.to_string() });
            }
            MeasureValue::Double(double)
        }
        Value::Str(text) => varchar(text.clone())?,
        Value::Array(_) | Value::Object(_) => varchar(value.to_json())?,
    }))
}

fn varchar(text: String) -> Result<MeasureValue, AttributeProblem> {
    match text.len() {
        0 => Err(AttributeProblem::Empty),
        bytes if bytes > VARCHAR_BYTES_MAX => {
            Err(AttributeProblem::TooLong { bytes, limit: VARCHAR_BYTES_MAX })
        }
        _ => Ok(MeasureValue::Varchar(text)),
    }
}
