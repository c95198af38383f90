//! A Timestream action as written becomes a checked one.

use std::collections::{HashMap, HashSet};

use crate::record::check_dimension_name;

use super::super::super::checker::Checker;
use super::super::super::file::{MeasuresFile, Text, TimestreamFile};
use super::super::super::sql::Version;
use super::measure::NumericPolicy;
use super::{Selection, TimeUnit, TimestreamAction};

/// The most dimensions an action has.
const DIMENSIONS_MAX: usize = 128;

impl TimestreamAction {
    pub(in crate::rules::action) fn check(
        file: TimestreamFile,
        sql_version: Version,
        checker: &mut Checker<'_>,
    ) -> Option<Self> {
        dimension_names(&file, checker);
        let database = checker.name_template("database_name", &file.database_name, sql_version);
        let table = checker.name_template("table_name", &file.table_name, sql_version);
        let mut dimensions = Vec::with_capacity(file.dimensions.len());
        for (name, value) in &file.dimensions {
            let template = checker.item_template(&format!("dimension {}", name.text), value, sql_version);
            dimensions.extend(template.map(|template| (name.text.as_str().into(), template)));
        }
        let timestamp = file.timestamp.and_then(|(value, unit)| {
            let unit = time_unit(unit.as_ref(), checker);
            checker.item_template("timestamp.value", &value, sql_version).map(|template| (template, unit))
        });
        let version = file.version.and_then(|text| checker.item_template("version", &text, sql_version));
        let multi_measure_name = file.multi_measure_name.and_then(|text| {
            let template = checker.item_template("multi_measure_name", &text, sql_version);
            checker.not_empty("multi_measure_name", &text, template.as_ref());
            template
        });
        let templates = dimensions.iter().map(|(_, template)| template);
        let templates = templates.chain(timestamp.iter().map(|(template, _)| template));
        let reads_item =
            templates.chain(&version).chain(&multi_measure_name).any(|template| template.reads_item());
        let mut action = Self {
            database: database?,
            table: table?,
            dimensions,
            timestamp,
            version,
            reads_item,
            selection: Selection::All,
            multi_measure_name,
            numeric: NumericPolicy::new(file.numeric.0.into_iter().collect::<HashMap<_, _>>()),
            create: file.create,
        };
        action.selection = match file.measures {
            None => Selection::All,
            Some(MeasuresFile::AllButDimensions) => Selection::AllBut(action.identifying()),
            Some(MeasuresFile::Listed(names)) => {
                if names.is_empty() {
                    checker
                        .mistake(None, "measures: the list is empty, so nothing would be written".to_owned());
                }
                Selection::Only(names.into_iter().collect())
            }
        };
        Some(action)
    }

    /// The attributes that say whose record it is, and of when: those named like a dimension, and those a
    /// dimension, the timestamp or the version consists of.
    fn identifying(&self) -> HashSet<String> {
        let names = self.dimensions.iter().map(|(name, _)| &**name);
        let templates = self.dimensions.iter().map(|(_, template)| template);
        let templates = templates.chain(self.timestamp.iter().map(|(template, _)| template));
        let read = templates.chain(&self.version).filter_map(|template| template.attribute());
        names.chain(read).map(str::to_owned).collect()
    }
}

fn time_unit(unit: Option<&Text>, checker: &mut Checker<'_>) -> TimeUnit {
    let Some(unit) = unit else { return TimeUnit::Milliseconds };
    let known = TimeUnit::ALL.into_iter().find(|(name, _)| *name == unit.text);
    known.map_or_else(
        || {
            let names = TimeUnit::ALL.map(|(name, _)| name).join(", ");
            let reason = format!("timestamp.unit: there is no unit {:?}, write one of {names}", unit.text);
            checker.mistake(unit.start, reason);
            TimeUnit::Milliseconds
        },
        |(_, unit)| unit,
    )
}

fn dimension_names(file: &TimestreamFile, checker: &mut Checker<'_>) {
    if file.dimensions.len() > DIMENSIONS_MAX {
        let count = file.dimensions.len();
        checker.mistake(None, format!("an action has at most {DIMENSIONS_MAX} dimensions, this has {count}"));
    }
    let mut seen = HashSet::new();
    for (name, _) in &file.dimensions {
        let text = name.text.as_str();
        let problem = match check_dimension_name(text) {
            _ if text.contains("${") => Some("cannot be a template, only its value can".to_owned()),
            Err(reason) => Some(format!("is invalid: {reason}")),
            Ok(()) if !seen.insert(text) => Some("is given twice".to_owned()),
            Ok(()) => None,
        };
        if let Some(problem) = problem {
            checker.mistake(name.start, format!("the dimension name {:?} {problem}", name.text));
        }
    }
}
