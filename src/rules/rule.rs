//! One rule: read from text, checked as a whole, then immutable.
//!
//! Checking goes on after the first mistake, so that an operator sees all of them at once.

use std::collections::HashSet;
use std::sync::Arc;

use super::action::{Action, TimeUnit, TimestreamAction};
use super::error::{Mistake, RuleError};
use super::file::{self, ActionFile, RuleFile, Text, TimestreamFile};
use super::sql::error::SqlErrors;
use super::sql::{self, Query, Version};
use super::template::Template;
use crate::record::check_dimension_name;

/// The most actions a rule has (spec 6.4).
const ACTIONS_MAX: usize = 10;
/// The most dimensions an action has (spec 5.1).
const DIMENSIONS_MAX: usize = 128;
/// The longest rule name.
const NAME_CHARACTERS_MAX: usize = 128;

/// A checked rule.
#[derive(Debug)]
pub struct Rule {
    name: Arc<str>,
    sql: String,
    description: Option<String>,
    disabled: bool,
    query: Query,
    actions: Vec<Action>,
    error_action: Option<Action>,
}

impl Rule {
    /// Reads a rule in TOML. `name` is its name unless the text gives another.
    ///
    /// # Errors
    /// When the text is no rule; the error lists every mistake found.
    pub fn parse_toml(name: &str, text: &str) -> Result<Self, RuleError> {
        let file = file::read_toml(text).map_err(|(line, reason)| Mistake::new(line, reason))?;
        Checker::new(text).rule(name, file)
    }

    /// Reads a rule in JSON: a TopicRulePayload as AWS's API takes it.
    ///
    /// # Errors
    /// When the text is no rule; the error lists every mistake found.
    pub fn parse_json(name: &str, text: &str) -> Result<Self, RuleError> {
        let file = file::read_json(text).map_err(|(line, reason)| Mistake::new(line, reason))?;
        Checker::new(text).rule(name, file)
    }

    /// The rule's name.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The statement as written.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// What the rule is for.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The version of the language.
    pub const fn version(&self) -> Version {
        self.query.version
    }

    /// Whether the rule exists but never fires.
    pub const fn is_disabled(&self) -> bool {
        self.disabled
    }

    /// How many actions the rule has.
    pub const fn action_count(&self) -> usize {
        self.actions.len()
    }

    /// The topic filter of FROM; `None` for a rule reached by Basic Ingest alone.
    pub fn topic_filter(&self) -> Option<&str> {
        self.query.from.as_ref().map(|filter| filter.as_str())
    }

    pub(super) const fn query(&self) -> &Query {
        &self.query
    }

    pub(super) fn actions(&self) -> &[Action] {
        &self.actions
    }

    pub(super) const fn error_action(&self) -> Option<&Action> {
        self.error_action.as_ref()
    }
}

/// Whether `name` is one AWS allows for a rule.
fn is_rule_name(name: &str) -> bool {
    (1..=NAME_CHARACTERS_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Collects mistakes while it turns what was written into what is meant.
struct Checker<'t> {
    text: &'t str,
    mistakes: Vec<Mistake>,
    /// What SET names.
    variables: Vec<String>,
}

impl<'t> Checker<'t> {
    const fn new(text: &'t str) -> Self {
        Self { text, mistakes: Vec::new(), variables: Vec::new() }
    }

    fn rule(mut self, name: &str, file: RuleFile) -> Result<Rule, RuleError> {
        let name = file.name.unwrap_or_else(|| name.to_owned().into());
        if !is_rule_name(&name.text) {
            let reason = format!(
                "{:?} is no name for a rule: a name has 1 to {NAME_CHARACTERS_MAX} letters, digits and _ \
                 (rename the file)",
                name.text
            );
            self.mistake(name.start, reason);
        }
        let version = self.version(&file.version);
        let query = match sql::parse(&file.sql.text, version) {
            Ok(query) => {
                self.variables = query.variables.iter().map(|variable| variable.name.clone()).collect();
                Some(query)
            }
            Err(errors) => {
                self.sql_mistakes(&file.sql, &errors);
                None
            }
        };
        if file.actions.len() > ACTIONS_MAX {
            self.mistake(
                None,
                format!("a rule has at most {ACTIONS_MAX} actions, this has {}", file.actions.len()),
            );
        }
        let actions: Vec<Action> =
            file.actions.into_iter().filter_map(|action| self.action(action, version)).collect();
        let error_action = file.error_action.and_then(|action| self.action(action, version));
        match query {
            Some(query) if self.mistakes.is_empty() => Ok(Rule {
                name: name.text.into(),
                sql: file.sql.text,
                description: file.description,
                disabled: file.disabled,
                query,
                actions,
                error_action,
            }),
            _ => {
                self.mistakes.sort_by_key(|mistake| mistake.line);
                Err(RuleError { mistakes: self.mistakes })
            }
        }
    }

    fn mistake(&mut self, offset: Option<usize>, reason: String) {
        let line = offset.map(|offset| file::line_of(self.text, offset));
        self.mistakes.push(Mistake::new(line, reason));
    }

    /// Points each mistake of a statement to its line in the file.
    fn sql_mistakes(&mut self, sql: &Text, errors: &SqlErrors) {
        for error in errors.list() {
            let line = sql.start.map(|start| {
                let opened = self.text.get(start..).unwrap_or_default();
                let multi_line = opened.starts_with("\"\"\"") || opened.starts_with("'''");
                let below = match error.position {
                    // The line break right behind the opening quotes belongs to neither.
                    Some(position) if multi_line => {
                        let skipped = opened[3..].starts_with('\n') || opened[3..].starts_with("\r\n");
                        position.line - 1 + u64::from(skipped)
                    }
                    _ => 0,
                };
                file::line_of(self.text, start) + below
            });
            self.mistakes.push(Mistake::new(line, format_args!("sql: {error}")));
        }
    }

    fn version(&mut self, version: &Text) -> Version {
        Version::parse(&version.text).unwrap_or_else(|| {
            let reason = format!(
                "aws_iot_sql_version: there is no version {:?}, write 2016-03-23, 2015-10-08 or beta",
                version.text
            );
            self.mistake(version.start, reason);
            Version::V2016
        })
    }

    fn action(&mut self, action: ActionFile, version: Version) -> Option<Action> {
        match action {
            ActionFile::Timestream(action) => self.timestream(action, version).map(Action::Timestream),
        }
    }

    fn timestream(&mut self, file: TimestreamFile, version: Version) -> Option<TimestreamAction> {
        self.dimension_names(&file);
        let database = self.name_template("database_name", &file.database_name, version);
        let table = self.name_template("table_name", &file.table_name, version);
        let mut dimensions = Vec::with_capacity(file.dimensions.len());
        for (name, value) in &file.dimensions {
            let template = self.template(&format!("dimension {}", name.text), value, version);
            dimensions.extend(template.map(|template| (name.text.as_str().into(), template)));
        }
        let timestamp = match &file.timestamp {
            None => None,
            Some((value, unit)) => {
                let unit = self.unit(unit.as_ref());
                self.template("timestamp.value", value, version).map(|template| (template, unit))
            }
        };
        let multi_measure_name = match &file.multi_measure_name {
            None => None,
            Some(name) => self.name_template("multi_measure_name", name, version),
        };
        let create = file.create;
        Some(TimestreamAction {
            database: database?,
            table: table?,
            dimensions,
            timestamp,
            multi_measure_name,
            create,
        })
    }

    fn template(&mut self, field: &str, text: &Text, version: Version) -> Option<Template> {
        let template = Template::parse(&text.text, version)
            .map_err(|reason| self.mistake(text.start, format!("{field}: {reason}")))
            .ok()?;
        let is_known = |name: &str| self.variables.iter().any(|known| known == name);
        if let Some(name) = template.unknown_variable(is_known) {
            let reason = format!("{field}: the statement sets no variable @{name}");
            self.mistake(text.start, reason);
        }
        Some(template)
    }

    /// A template that names something, and so cannot be empty.
    fn name_template(&mut self, field: &str, text: &Text, version: Version) -> Option<Template> {
        let template = self.template(field, text, version)?;
        if template.constant() == Some("") {
            self.mistake(text.start, format!("{field} is empty"));
        }
        Some(template)
    }

    fn unit(&mut self, unit: Option<&Text>) -> TimeUnit {
        let Some(unit) = unit else { return TimeUnit::Milliseconds };
        let known = TimeUnit::ALL.into_iter().find(|(name, _)| *name == unit.text);
        known.map_or_else(
            || {
                let names = TimeUnit::ALL.map(|(name, _)| name).join(", ");
                let reason =
                    format!("timestamp.unit: there is no unit {:?}, write one of {names}", unit.text);
                self.mistake(unit.start, reason);
                TimeUnit::Milliseconds
            },
            |(_, unit)| unit,
        )
    }

    fn dimension_names(&mut self, file: &TimestreamFile) {
        if file.dimensions.len() > DIMENSIONS_MAX {
            let count = file.dimensions.len();
            self.mistake(
                None,
                format!("an action has at most {DIMENSIONS_MAX} dimensions, this has {count}"),
            );
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
                self.mistake(name.start, format!("the dimension name {:?} {problem}", name.text));
            }
        }
    }
}
