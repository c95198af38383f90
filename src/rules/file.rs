//! The shapes of rule files, exactly as written: TOML in snake_case, JSON in AWS's camelCase.
//!
//! Nothing is checked here but the shape; `rule` does the rest.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value as Json;

use super::definition;
use super::sql::Version;

/// A text and, where the format tells, the byte it starts at.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) start: Option<usize>,
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self { text, start: None }
    }
}

impl From<toml::Spanned<String>> for Text {
    fn from(spanned: toml::Spanned<String>) -> Self {
        let start = Some(spanned.span().start);
        Self { text: spanned.into_inner(), start }
    }
}

/// A rule as written.
#[derive(Debug)]
pub(super) struct RuleFile {
    pub(super) name: Option<Text>,
    pub(super) sql: Text,
    pub(super) version: Text,
    pub(super) description: Option<String>,
    pub(super) disabled: bool,
    pub(super) actions: Vec<ActionFile>,
    pub(super) error_action: Option<ActionFile>,
    pub(super) examples: Vec<ExampleFile>,
}

/// An example as written; payload and expectation are a text or a value.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExampleFile {
    pub(super) topic: String,
    pub(super) payload: Json,
    pub(super) expect: Json,
    pub(super) client_id: Option<String>,
    pub(super) at: Option<i64>,
}

/// An action as written.
#[derive(Debug)]
pub(super) enum ActionFile {
    Timestream(TimestreamFile),
}

/// A Timestream action as written.
#[derive(Debug)]
pub(super) struct TimestreamFile {
    pub(super) database_name: Text,
    pub(super) table_name: Text,
    pub(super) dimensions: Vec<(Text, Text)>,
    pub(super) timestamp: Option<(Text, Option<Text>)>,
    pub(super) multi_measure_name: Option<Text>,
    pub(super) create: bool,
}

/// An object with one key that names the kind of action.
struct OneAction<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneAction<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ActionVisitor(PhantomData))
    }
}

struct ActionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ActionVisitor<T> {
    type Value = OneAction<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an action, such as timestream")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let Some(kind) = members.next_key::<String>()? else {
            return Err(A::Error::custom("an action needs its kind: timestream"));
        };
        if kind != "timestream" {
            return Err(A::Error::custom(format_args!(
                "the action `{kind}` is not supported; supported: `timestream`"
            )));
        }
        let action = members.next_value()?;
        match members.next_entry::<String, IgnoredAny>()? {
            None => Ok(OneAction(action)),
            Some((second, _)) => Err(A::Error::custom(format_args!(
                "an action holds one kind, this holds `{kind}` and `{second}`: make two actions of them"
            ))),
        }
    }
}

const fn yes() -> bool {
    true
}

/// The same shapes once per spelling of the keys. `$text` is how the format hands over a text.
macro_rules! shapes {
    ($module:ident, $case:literal, $text:ty, $default_version:expr, $name:ident) => {
        mod $module {
            use super::{ActionFile, ExampleFile, OneAction, RuleFile, TimestreamFile, Version, yes};
            use serde::Deserialize;

            #[derive(Deserialize)]
            #[serde(rename_all = $case, deny_unknown_fields)]
            pub(super) struct Rule {
                $name: Option<$text>,
                sql: $text,
                aws_iot_sql_version: Option<$text>,
                description: Option<String>,
                #[serde(default)]
                rule_disabled: bool,
                #[serde(default)]
                actions: Vec<OneAction<Timestream>>,
                error_action: Option<OneAction<Timestream>>,
                #[serde(default)]
                examples: Vec<ExampleFile>,
            }

            #[derive(Deserialize)]
            #[serde(rename_all = $case, deny_unknown_fields)]
            struct Timestream {
                /// Who may write is not decided by a role here.
                #[expect(dead_code, reason = "accepted and ignored")]
                role_arn: Option<String>,
                database_name: $text,
                table_name: $text,
                #[serde(default)]
                dimensions: Vec<Dimension>,
                timestamp: Option<Timestamp>,
                multi_measure_name: Option<$text>,
                #[serde(default = "yes")]
                create: bool,
            }

            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Dimension {
                name: $text,
                value: $text,
            }

            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Timestamp {
                value: $text,
                unit: Option<$text>,
            }

            impl From<Rule> for RuleFile {
                fn from(rule: Rule) -> Self {
                    Self {
                        name: rule.$name.map(Into::into),
                        sql: rule.sql.into(),
                        version: rule
                            .aws_iot_sql_version
                            .map_or_else(|| $default_version.as_str().to_owned().into(), Into::into),
                        description: rule.description,
                        disabled: rule.rule_disabled,
                        actions: rule.actions.into_iter().map(|action| action.0.into()).collect(),
                        error_action: rule.error_action.map(|action| action.0.into()),
                        examples: rule.examples,
                    }
                }
            }

            impl From<Timestream> for ActionFile {
                fn from(action: Timestream) -> Self {
                    let dimensions = action.dimensions.into_iter();
                    Self::Timestream(TimestreamFile {
                        database_name: action.database_name.into(),
                        table_name: action.table_name.into(),
                        dimensions: dimensions.map(|one| (one.name.into(), one.value.into())).collect(),
                        timestamp: action.timestamp.map(|one| (one.value.into(), one.unit.map(Into::into))),
                        multi_measure_name: action.multi_measure_name.map(Into::into),
                        create: action.create,
                    })
                }
            }
        }
    };
}

shapes!(in_toml, "snake_case", toml::Spanned<String>, Version::V2016, name);
shapes!(in_json, "camelCase", String, Version::V2015, rule_name);

/// Why a text has not the shape of a rule: the line where known, and a sentence.
pub(super) type ShapeError = (Option<u64>, String);

/// Reads a rule in TOML.
pub(super) fn read_toml(text: &str) -> Result<RuleFile, ShapeError> {
    toml::from_str::<in_toml::Rule>(text).map(Into::into).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        (line, error.message().to_owned())
    })
}

/// Reads a TopicRulePayload in JSON, as the API, CloudFormation or `aws iot get-topic-rule` spell it.
pub(super) fn read_json(text: &str) -> Result<RuleFile, ShapeError> {
    let error = match serde_json::from_str::<in_json::Rule>(text) {
        Ok(rule) => return Ok(rule.into()),
        Err(error) => error,
    };
    // Only a document that has to be respelled loses its lines.
    match serde_json::from_str(text).ok().and_then(definition::respelled) {
        Some(document) => in_json::Rule::deserialize(document)
            .map(Into::into)
            .map_err(|error| (None, without_position(&error.to_string()))),
        None => {
            let line = u64::try_from(error.line()).ok().filter(|&line| line > 0);
            Err((line, without_position(&error.to_string())))
        }
    }
}

fn without_position(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(sentence, _)| sentence).to_owned()
}

/// The line of the byte at `offset`, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> u64 {
    let breaks = text.bytes().take(offset).filter(|&byte| byte == b'\n').count();
    u64::try_from(breaks).map_or(u64::MAX, |breaks| breaks + 1)
}
