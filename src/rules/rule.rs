//! One rule: read from text, checked as a whole, then immutable.
//!
//! Checking goes on after the first mistake, so that an operator sees all of them at once.

use std::sync::Arc;

use super::action::Action;
use super::checker::Checker;
use super::definition;
use super::error::{Mistake, RuleError};
use super::example::Example;
use super::file::{self, ExampleFile, RuleFile, Text};
use super::sql::error::SqlErrors;
use super::sql::{self, Query, Version};
use super::stand_ins::StandIns;

/// The most actions a rule has (spec 6.4).
const ACTIONS_MAX: usize = 10;
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
    error_action_for_sql: bool,
    examples: Vec<Example>,
    definition: serde_json::Value,
}

impl Rule {
    /// Reads a rule in TOML. `name` is its name unless the text gives another.
    ///
    /// # Errors
    /// When the text is no rule; the error lists every mistake found.
    pub fn parse_toml(name: &str, text: &str) -> Result<Self, RuleError> {
        Self::parse_toml_with(name, text, &StandIns::default())
    }

    /// As [`Rule::parse_toml`], with the files its functions may read.
    ///
    /// # Errors
    /// When the text is no rule; the error lists every mistake found.
    pub fn parse_toml_with(name: &str, text: &str, files: &StandIns) -> Result<Self, RuleError> {
        let file = file::read_toml(text).map_err(|(line, reason)| Mistake::new(line, reason))?;
        Ok(check(name, file, Checker::new(text, files))?.defined_as(definition::of_toml(text)))
    }

    /// Reads a rule in JSON: a TopicRulePayload as AWS's API takes it.
    ///
    /// # Errors
    /// When the text is no rule; the error lists every mistake found.
    pub fn parse_json(name: &str, text: &str) -> Result<Self, RuleError> {
        Self::parse_json_with(name, text, &StandIns::default())
    }

    /// As [`Rule::parse_json`], with the files its functions may read.
    ///
    /// # Errors
    /// When the text is no rule; the error lists every mistake found.
    pub fn parse_json_with(name: &str, text: &str, files: &StandIns) -> Result<Self, RuleError> {
        let file = file::read_json(text).map_err(|(line, reason)| Mistake::new(line, reason))?;
        Ok(check(name, file, Checker::new(text, files))?.defined_as(definition::of_json(text)))
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

    /// What is legal in the statement and hardly meant, a sentence each.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        self.query.remarks.iter().map(|remark| format!("sql: {remark}"))
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

    /// Whether the rule has an error action.
    pub const fn has_error_action(&self) -> bool {
        self.error_action.is_some()
    }

    /// Whether the error action also runs when the rule fails before its actions.
    pub const fn error_action_for_sql(&self) -> bool {
        self.error_action_for_sql
    }

    /// What the rule's author says it does to some messages.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// The rule as AWS's API describes it: a TopicRulePayload with its version and whether it is
    /// disabled, without name and examples. Keys beyond AWS's are kept.
    pub const fn definition(&self) -> &serde_json::Value {
        &self.definition
    }

    /// What the author left out of `definition` is filled in.
    fn defined_as(mut self, mut definition: serde_json::Value) -> Self {
        definition["awsIotSqlVersion"] = self.version().as_str().into();
        definition["ruleDisabled"] = self.disabled.into();
        self.definition = definition;
        self
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

fn check(name: &str, file: RuleFile, mut checker: Checker<'_>) -> Result<Rule, RuleError> {
    let name = file.name.unwrap_or_else(|| name.to_owned().into());
    if !is_rule_name(&name.text) {
        let reason = format!(
            "{:?} is no name for a rule: a name has 1 to {NAME_CHARACTERS_MAX} letters, digits and _ \
             (rename the file)",
            name.text
        );
        checker.mistake(name.start, reason);
    }
    let version = checked_version(&file.version, &mut checker);
    let query = match sql::parse(&file.sql.text, version, checker.files()) {
        Ok(query) => {
            checker.know_variables(query.variables.iter().map(|variable| variable.name.clone()));
            Some(query)
        }
        Err(errors) => {
            sql_mistakes(&file.sql, &errors, &mut checker);
            None
        }
    };
    if file.actions.len() > ACTIONS_MAX {
        let reason = format!("a rule has at most {ACTIONS_MAX} actions, this has {}", file.actions.len());
        checker.mistake(None, reason);
    }
    if file.error_action_for_sql && file.error_action.is_none() {
        checker.mistake(None, "error_action_for_sql needs an error_action".to_owned());
    }
    let mut action = |file| Action::check(file, version, &mut checker);
    let actions: Vec<Action> = file.actions.into_iter().filter_map(&mut action).collect();
    let error_action = file.error_action.and_then(&mut action);
    let examples = checked_examples(file.examples, &mut checker);
    let mistakes = checker.into_mistakes();
    match query {
        Some(query) if mistakes.is_empty() => Ok(Rule {
            name: name.text.into(),
            sql: file.sql.text,
            description: file.description,
            disabled: file.disabled,
            query,
            actions,
            error_action,
            error_action_for_sql: file.error_action_for_sql,
            examples,
            definition: serde_json::Value::Null,
        }),
        _ => Err(RuleError { mistakes }),
    }
}

fn checked_examples(written: Vec<ExampleFile>, checker: &mut Checker<'_>) -> Vec<Example> {
    let mut examples = Vec::with_capacity(written.len());
    for (number, example) in (1_usize..).zip(written) {
        match Example::new(example) {
            Ok(example) => examples.push(example),
            Err(reason) => checker.mistake(None, format!("example {number}: {reason}")),
        }
    }
    examples
}

/// Points each mistake of a statement to its line in the file.
fn sql_mistakes(sql: &Text, errors: &SqlErrors, checker: &mut Checker<'_>) {
    let text = checker.text();
    for error in errors.list() {
        let line = checker.start(sql).map(|start| {
            let opened = text.get(start..).unwrap_or_default();
            let multi_line = opened.starts_with("\"\"\"") || opened.starts_with("'''");
            let below = match error.position {
                // The line break right behind the opening quotes belongs to neither.
                Some(position) if multi_line => {
                    let skipped = opened[3..].starts_with('\n') || opened[3..].starts_with("\r\n");
                    position.line - 1 + u64::from(skipped)
                }
                _ => 0,
            };
            file::line_of(text, start) + below
        });
        checker.push(Mistake::in_statement(line, format_args!("sql: {error}")));
    }
}

fn checked_version(version: &Text, checker: &mut Checker<'_>) -> Version {
    Version::parse(&version.text).unwrap_or_else(|| {
        let reason = format!(
            "aws_iot_sql_version: there is no version {:?}, write 2016-03-23, 2015-10-08 or beta",
            version.text
        );
        checker.mistake(version.start, reason);
        Version::V2016
    })
}
