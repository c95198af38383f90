//! A row of a file becomes records.

use std::sync::Arc;

use super::csv::{CsvConfiguration, Fields};
use super::model::{Mapping, Measures, Mixed, MixedValue, Source, Value};
use crate::clock::Timestamp;
use crate::record::{
    Attribute, Dimension, MEASURE_NAME_BYTES_MAX, Measure, MeasureType, MeasureValue, Record, TimeUnit,
    VARCHAR_BYTES_MAX, check_measure_name,
};

/// The most of a file's header that an error repeats, in characters.
const HEADER_CHARS_MAX: usize = 200;

/// Turns the rows of one file into records. Remembers the dimensions and the measure name of the row
/// before, for most rows repeat them.
pub(super) struct Rows {
    null_value: Option<String>,
    trim: bool,
    version: i64,
    unit: TimeUnit,
    /// How many fields a row has.
    width: usize,
    time: Column,
    dimensions: Vec<(Arc<str>, Column)>,
    measure_name: Option<Column>,
    measures: Places,
    last_dimensions: Arc<[Dimension]>,
    last_name: Arc<str>,
}

/// A column of the file.
#[derive(Debug, Clone)]
struct Column {
    name: String,
    at: usize,
}

struct ValuePlace {
    name: Arc<str>,
    column: Column,
    of: MeasureType,
}

enum Places {
    Multi { name: Option<Arc<str>>, attributes: Vec<ValuePlace> },
    Mixed(Vec<MixedPlace>),
}

struct MixedPlace {
    when: Option<String>,
    name: Arc<str>,
    values: Vec<ValuePlace>,
    single: bool,
}

impl Rows {
    /// Finds the columns of `mapping` in the header of a file.
    ///
    /// # Errors
    /// When one is missing or there twice, for the report.
    pub(super) fn new(
        mapping: &Mapping,
        configuration: &CsvConfiguration,
        version: i64,
        header: &Fields<'_>,
    ) -> Result<Self, String> {
        let trim = configuration.trim_white_space.unwrap_or(false);
        let header = Header::read(header, trim)?;
        let value = |value: &Value| {
            let (name, of) = (Arc::clone(&value.source.name), value.of);
            Ok::<_, String>(ValuePlace { name, column: header.column(&value.source.column)?, of })
        };
        let values = |values: &[Value]| values.iter().map(value).collect::<Result<Vec<_>, _>>();
        let mixed = |mixed: &Mixed| {
            let (values, single) = match &mixed.value {
                MixedValue::Single(one) => (vec![value(one)?], true),
                MixedValue::Multi(many) => (values(many)?, false),
            };
            Ok::<_, String>(MixedPlace {
                when: mixed.when.clone(),
                name: Arc::clone(&mixed.name),
                values,
                single,
            })
        };
        let measures = match &mapping.measures {
            Measures::Multi { name, attributes } => {
                Places::Multi { name: name.clone(), attributes: values(attributes)? }
            }
            Measures::Mixed(all) => Places::Mixed(all.iter().map(mixed).collect::<Result<_, _>>()?),
        };
        let dimension =
            |source: &Source| Ok::<_, String>((Arc::clone(&source.name), header.column(&source.column)?));
        Ok(Self {
            null_value: configuration.null_value.clone(),
            trim,
            version,
            unit: mapping.unit,
            width: header.names.len(),
            time: header.column(&mapping.time)?,
            dimensions: mapping.dimensions.iter().map(dimension).collect::<Result<_, _>>()?,
            measure_name: mapping.measure_name.as_deref().map(|name| header.column(name)).transpose()?,
            measures,
            last_dimensions: Arc::new([]),
            last_name: "".into(),
        })
    }

    /// Adds the records of a row to `records`; at least one.
    ///
    /// # Errors
    /// The reason for the report; `records` is then as it was.
    pub(super) fn read(&mut self, row: &Fields<'_>, records: &mut Vec<Record>) -> Result<(), String> {
        let before = records.len();
        let read = self.read_whole(row, records);
        if read.is_err() {
            records.truncate(before);
        }
        read
    }

    fn read_whole(&mut self, row: &Fields<'_>, records: &mut Vec<Record>) -> Result<(), String> {
        if row.count() != self.width {
            return Err(format!("The row does not have {} columns as the header has.", self.width));
        }
        let time = self.time(row)?;
        let name = match &self.measure_name {
            Some(column) => {
                let text = self.text(row, column)?;
                Some(text.ok_or_else(|| format!("The measure name in column '{}' is empty.", column.name))?)
            }
            None => None,
        };
        self.read_dimensions(row)?;
        let before = records.len();
        let measures = std::mem::replace(&mut self.measures, Places::Mixed(Vec::new()));
        let read = self.read_measures(row, &measures, name, time, records);
        self.measures = measures;
        read?;
        match (records.len() > before, name) {
            (true, _) => Ok(()),
            (false, Some(_)) if matches!(self.measures, Places::Mixed(_)) => {
                Err("The row has no value for any mapping of its measure name.".to_owned())
            }
            (false, _) => Err("The row has no measure value.".to_owned()),
        }
    }

    fn read_measures(
        &mut self,
        row: &Fields<'_>,
        measures: &Places,
        name: Option<&str>,
        time: Timestamp,
        records: &mut Vec<Record>,
    ) -> Result<(), String> {
        match measures {
            Places::Multi { name: fixed, attributes } => {
                let attributes = self.attributes(row, attributes)?;
                if attributes.is_empty() {
                    return Ok(());
                }
                let name = match (fixed, name) {
                    (Some(name), _) => Arc::clone(name),
                    (None, name) => self.name(name.unwrap_or_default())?,
                };
                records.push(self.record(name, Measure::Multi(attributes), time));
            }
            Places::Mixed(mixed) => {
                for place in
                    mixed.iter().filter(|place| place.when.as_deref().is_none_or(|when| Some(when) == name))
                {
                    let mut values = self.attributes(row, &place.values)?;
                    let measure = match (place.single, values.pop()) {
                        (_, None) => continue,
                        (true, Some(value)) => Measure::Single(value.value),
                        (false, Some(last)) => {
                            values.push(last);
                            Measure::Multi(values)
                        }
                    };
                    records.push(self.record(Arc::clone(&place.name), measure, time));
                }
            }
        }
        Ok(())
    }

    fn record(&self, measure_name: Arc<str>, measure: Measure, time: Timestamp) -> Record {
        let dimensions = Arc::clone(&self.last_dimensions);
        Record { dimensions, measure_name, measure, time, version: self.version }
    }

    fn time(&self, row: &Fields<'_>) -> Result<Timestamp, String> {
        let text = self.text(row, &self.time)?;
        let moment = text.and_then(|text| self.unit.moment(text)).filter(|moment| moment.nanos() >= 0);
        moment.ok_or_else(|| format!("The value of the time column '{}' is no whole number.", self.time.name))
    }

    fn name(&mut self, name: &str) -> Result<Arc<str>, String> {
        if *self.last_name != *name {
            if name.len() > MEASURE_NAME_BYTES_MAX {
                return Err(format!("The measure name is longer than {MEASURE_NAME_BYTES_MAX} bytes."));
            }
            check_measure_name(name)
                .map_err(|why| format!("The measure name '{name}' is invalid: {why}."))?;
            self.last_name = name.into();
        }
        Ok(Arc::clone(&self.last_name))
    }

    fn read_dimensions(&mut self, row: &Fields<'_>) -> Result<(), String> {
        let mut same = 0;
        let mut written = 0;
        for (name, column) in &self.dimensions {
            let Some(text) = self.text(row, column)? else { continue };
            let before = self.last_dimensions.get(written);
            same += usize::from(before.is_some_and(|one| one.name == *name && one.value == text));
            written += 1;
        }
        if same == written && written == self.last_dimensions.len() {
            return Ok(());
        }
        let mut dimensions = Vec::with_capacity(written);
        for (name, column) in &self.dimensions {
            if let Some(text) = self.text(row, column)? {
                dimensions.push(Dimension { name: Arc::clone(name), value: text.to_owned() });
            }
        }
        self.last_dimensions = dimensions.into();
        Ok(())
    }

    /// The values that are there.
    fn attributes(&self, row: &Fields<'_>, places: &[ValuePlace]) -> Result<Vec<Attribute>, String> {
        let mut attributes = Vec::with_capacity(places.len());
        for place in places {
            let Some(text) = self.text(row, &place.column)? else { continue };
            let value = MeasureValue::parse(text, place.of, self.unit).ok_or_else(|| {
                let column = &place.column.name;
                match place.of {
                    MeasureType::Varchar => {
                        format!(
                            "The value of the column '{column}' is longer than {VARCHAR_BYTES_MAX} bytes."
                        )
                    }
                    of => format!("The value of the column '{column}' is not a valid {}.", of.sql_name()),
                }
            })?;
            attributes.push(Attribute { name: Arc::clone(&place.name), value });
        }
        Ok(attributes)
    }

    /// The text of a column; nothing for no value.
    fn text<'r>(&self, row: &Fields<'r>, column: &Column) -> Result<Option<&'r str>, String> {
        let bytes = row.get(column.at).unwrap_or_default();
        let text = std::str::from_utf8(bytes)
            .map_err(|_| format!("The value of the column '{}' is not UTF-8.", column.name))?;
        // Only what fills a field exactly stands for no value, be it a blank.
        let null = self.null_value.as_deref() == Some(text);
        let text = if self.trim { text.trim() } else { text };
        Ok(Some(text).filter(|text| !text.is_empty() && !null && self.null_value.as_deref() != Some(*text)))
    }
}

/// The names of a file's columns.
struct Header<'h> {
    names: Vec<&'h str>,
}

impl<'h> Header<'h> {
    fn read(fields: &Fields<'h>, trim: bool) -> Result<Self, String> {
        let mut names = Vec::with_capacity(fields.count());
        for at in 0..fields.count() {
            let name = std::str::from_utf8(fields.get(at).unwrap_or_default())
                .map_err(|_| "The header is not UTF-8.".to_owned())?;
            names.push(if trim { name.trim() } else { name });
        }
        Ok(Self { names })
    }

    fn column(&self, wanted: &str) -> Result<Column, String> {
        let mut found = self.names.iter().enumerate().filter(|(_, name)| **name == wanted);
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok(Column { name: wanted.to_owned(), at }),
            (Some(_), Some(_)) => Err(format!("The header has the column '{wanted}' more than once.")),
            (None, _) => {
                let all = self.names.join(", ");
                let shown: String = all.chars().take(HEADER_CHARS_MAX).collect();
                Err(format!("The column '{wanted}' of the data model is not in the header: {shown}"))
            }
        }
    }
}

#[cfg(test)]
#[path = "rows/tests.rs"]
mod tests;
