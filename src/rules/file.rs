//! The shapes of rule files, exactly as written: TOML in snake_case, JSON in AWS's camelCase.
//!
//! Nothing is checked here but the shape; `rule` and the actions do the rest.

mod actions;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value as Json;

use super::definition;
use super::effect::ActionKind;
use super::sql::Version;

pub(super) use actions::{ActionFile, FileFile, HttpFile, MeasuresFile, RepublishFile, TimestreamFile};

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
    pub(super) error_action_for_sql: bool,
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

/// An object with one key that names the kind of action. `K` knows the kinds in one spelling.
struct OneAction<K>(ActionFile, PhantomData<K>);

/// The kinds of actions in one spelling of their keys.
trait Kinds {
    /// Reads the action behind the key `kind`; `None` when there is no such kind.
    fn read<'de, A: MapAccess<'de>>(kind: &str, members: &mut A) -> Result<Option<ActionFile>, A::Error>;
}

impl<'de, K: Kinds> Deserialize<'de> for OneAction<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ActionVisitor(PhantomData))
    }
}

struct ActionVisitor<K>(PhantomData<K>);

impl<'de, K: Kinds> Visitor<'de> for ActionVisitor<K> {
    type Value = OneAction<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an action, such as timestream")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let Some(kind) = members.next_key::<String>()? else {
            return Err(A::Error::custom(format_args!("an action needs its kind: {}", kinds())));
        };
        let Some(action) = K::read(&kind, &mut members)? else {
            return Err(A::Error::custom(format_args!(
                "the action `{kind}` is not supported; supported: {}",
                kinds()
            )));
        };
        match members.next_entry::<String, IgnoredAny>()? {
            None => Ok(OneAction(action, PhantomData)),
            Some((second, _)) => Err(A::Error::custom(format_args!(
                "an action holds one kind, this holds `{kind}` and `{second}`: make two actions of them"
            ))),
        }
    }
}

/// The kinds there are, for a message.
fn kinds() -> String {
    ActionKind::ALL.map(|kind| format!("`{kind}`")).join(", ")
}

/// The same shapes once per spelling of the keys. `$text` is how the format hands over a text.
macro_rules! shapes {
    ($module:ident, $case:literal, $text:ty, $default_version:expr, $name:ident) => {
        mod $module {
            use serde::Deserialize;
            use serde::de::MapAccess;

            use super::{ActionFile, ExampleFile, Kinds, OneAction, RuleFile, Version, actions};

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
                actions: Vec<OneAction<TheseKinds>>,
                error_action: Option<OneAction<TheseKinds>>,
                #[serde(default)]
                error_action_for_sql: bool,
                #[serde(default)]
                examples: Vec<ExampleFile>,
            }

            struct TheseKinds;

            impl Kinds for TheseKinds {
                fn read<'de, A: MapAccess<'de>>(
                    kind: &str,
                    members: &mut A,
                ) -> Result<Option<ActionFile>, A::Error> {
                    Ok(Some(match kind {
                        "timestream" => members.next_value::<actions::$module::Timestream>()?.into(),
                        "republish" => members.next_value::<actions::$module::Republish>()?.into(),
                        "http" => members.next_value::<actions::$module::Http>()?.into(),
                        "file" => members.next_value::<actions::$module::File>()?.into(),
                        _ => return Ok(None),
                    }))
                }
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
                        actions: rule.actions.into_iter().map(|action| action.0).collect(),
                        error_action: rule.error_action.map(|action| action.0),
                        error_action_for_sql: rule.error_action_for_sql,
                        examples: rule.examples,
                    }
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
