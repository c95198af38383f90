//! The shapes of actions, and the keys that take a word or a list.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Text;
use crate::rules::action::Numeric;

/// An action as written.
#[derive(Debug)]
pub(in crate::rules) enum ActionFile {
    Timestream(TimestreamFile),
    Republish(RepublishFile),
    Http(HttpFile),
    File(FileFile),
}

/// A Timestream action as written.
#[derive(Debug)]
pub(in crate::rules) struct TimestreamFile {
    pub(in crate::rules) database_name: Text,
    pub(in crate::rules) table_name: Text,
    pub(in crate::rules) dimensions: Vec<(Text, Text)>,
    pub(in crate::rules) timestamp: Option<(Text, Option<Text>)>,
    pub(in crate::rules) version: Option<Text>,
    pub(in crate::rules) measures: Option<MeasuresFile>,
    pub(in crate::rules) multi_measure_name: Option<Text>,
    pub(in crate::rules) numeric: NumericFile,
    pub(in crate::rules) create: bool,
}

/// Which attributes become measures, as written.
#[derive(Debug)]
pub(in crate::rules) enum MeasuresFile {
    AllButDimensions,
    Listed(Vec<String>),
}

/// What numbers become, by measure, as written; `*` is every other measure.
#[derive(Debug, Default)]
pub(in crate::rules) struct NumericFile(pub(in crate::rules) Vec<(String, Numeric)>);

/// A republish action as written.
#[derive(Debug)]
pub(in crate::rules) struct RepublishFile {
    pub(in crate::rules) topic: Text,
    pub(in crate::rules) qos: u64,
    pub(in crate::rules) payload_format_indicator: Option<Text>,
    pub(in crate::rules) content_type: Option<Text>,
    pub(in crate::rules) response_topic: Option<Text>,
    pub(in crate::rules) correlation_data: Option<Text>,
    pub(in crate::rules) message_expiry: Option<Text>,
    pub(in crate::rules) user_properties: Vec<(Text, Text)>,
}

/// An http action as written.
#[derive(Debug)]
pub(in crate::rules) struct HttpFile {
    pub(in crate::rules) url: Text,
    pub(in crate::rules) headers: Vec<(Text, Text)>,
    pub(in crate::rules) timeout_ms: u64,
    pub(in crate::rules) retries: u64,
}

/// A file action as written.
#[derive(Debug)]
pub(in crate::rules) struct FileFile {
    pub(in crate::rules) path: Text,
    pub(in crate::rules) max_bytes: u64,
    pub(in crate::rules) keep: u64,
}

const fn yes() -> bool {
    true
}

/// AWS allows a request and its repetitions 3 s; here each attempt has them.
const fn three_seconds() -> u64 {
    3_000
}

const fn three() -> u64 {
    3
}

const fn sixteen_mebibytes() -> u64 {
    16 * 1024 * 1024
}

/// The same shapes once per spelling of the keys. `$text` is how the format hands over a text.
macro_rules! shapes {
    ($module:ident, $case:literal, $text:ty) => {
        pub(super) mod $module {
            use serde::Deserialize;

            use super::{
                ActionFile, FileFile, HttpFile, MeasuresFile, NumericFile, RepublishFile, Text,
                TimestreamFile, sixteen_mebibytes, three, three_seconds, yes,
            };

            #[derive(Deserialize)]
            #[serde(rename_all = $case, deny_unknown_fields)]
            pub(in crate::rules::file) struct Timestream {
                /// Who may write is not decided by a role here.
                #[expect(dead_code, reason = "accepted and ignored")]
                role_arn: Option<String>,
                database_name: $text,
                table_name: $text,
                #[serde(default)]
                dimensions: Vec<Dimension>,
                timestamp: Option<Timestamp>,
                version: Option<$text>,
                measures: Option<MeasuresFile>,
                multi_measure_name: Option<$text>,
                #[serde(default)]
                numeric: NumericFile,
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

            #[derive(Deserialize)]
            #[serde(rename_all = $case, deny_unknown_fields)]
            pub(in crate::rules::file) struct Republish {
                /// Who may publish is not decided by a role here.
                #[expect(dead_code, reason = "accepted and ignored")]
                role_arn: Option<String>,
                topic: $text,
                #[serde(default)]
                qos: u64,
                #[serde(default)]
                headers: Headers,
            }

            #[derive(Default, Deserialize)]
            #[serde(rename_all = $case, deny_unknown_fields, default)]
            struct Headers {
                payload_format_indicator: Option<$text>,
                content_type: Option<$text>,
                response_topic: Option<$text>,
                correlation_data: Option<$text>,
                message_expiry: Option<$text>,
                user_properties: Vec<Pair>,
            }

            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Pair {
                key: $text,
                value: $text,
            }

            #[derive(Deserialize)]
            #[serde(rename_all = $case, deny_unknown_fields)]
            pub(in crate::rules::file) struct Http {
                url: $text,
                /// Destinations need no confirmation here.
                #[expect(dead_code, reason = "accepted and ignored")]
                confirmation_url: Option<String>,
                #[serde(default)]
                headers: Vec<Pair>,
                #[serde(default = "three_seconds")]
                timeout_ms: u64,
                #[serde(default = "three")]
                retries: u64,
            }

            #[derive(Deserialize)]
            #[serde(rename_all = $case, deny_unknown_fields)]
            pub(in crate::rules::file) struct File {
                path: $text,
                #[serde(default = "sixteen_mebibytes")]
                max_bytes: u64,
                #[serde(default = "three")]
                keep: u64,
            }

            fn pairs(pairs: Vec<Pair>) -> Vec<(Text, Text)> {
                pairs.into_iter().map(|pair| (pair.key.into(), pair.value.into())).collect()
            }

            impl From<Timestream> for ActionFile {
                fn from(action: Timestream) -> Self {
                    let dimensions = action.dimensions.into_iter();
                    Self::Timestream(TimestreamFile {
                        database_name: action.database_name.into(),
                        table_name: action.table_name.into(),
                        dimensions: dimensions.map(|one| (one.name.into(), one.value.into())).collect(),
                        timestamp: action.timestamp.map(|one| (one.value.into(), one.unit.map(Into::into))),
                        version: action.version.map(Into::into),
                        measures: action.measures,
                        multi_measure_name: action.multi_measure_name.map(Into::into),
                        numeric: action.numeric,
                        create: action.create,
                    })
                }
            }

            impl From<Republish> for ActionFile {
                fn from(action: Republish) -> Self {
                    let headers = action.headers;
                    Self::Republish(RepublishFile {
                        topic: action.topic.into(),
                        qos: action.qos,
                        payload_format_indicator: headers.payload_format_indicator.map(Into::into),
                        content_type: headers.content_type.map(Into::into),
                        response_topic: headers.response_topic.map(Into::into),
                        correlation_data: headers.correlation_data.map(Into::into),
                        message_expiry: headers.message_expiry.map(Into::into),
                        user_properties: pairs(headers.user_properties),
                    })
                }
            }

            impl From<Http> for ActionFile {
                fn from(action: Http) -> Self {
                    let Http { url, headers, timeout_ms, retries, .. } = action;
                    Self::Http(HttpFile { url: url.into(), headers: pairs(headers), timeout_ms, retries })
                }
            }

            impl From<File> for ActionFile {
                fn from(action: File) -> Self {
                    let File { path, max_bytes, keep } = action;
                    Self::File(FileFile { path: path.into(), max_bytes, keep })
                }
            }
        }
    };
}

shapes!(in_toml, "snake_case", toml::Spanned<String>);
shapes!(in_json, "camelCase", String);

impl<'de> Deserialize<'de> for MeasuresFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MeasuresVisitor)
    }
}

struct MeasuresVisitor;

impl<'de> Visitor<'de> for MeasuresVisitor {
    type Value = MeasuresFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of attributes, or \"all_but_dimensions\"")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<MeasuresFile, E> {
        match word {
            "all_but_dimensions" => Ok(MeasuresFile::AllButDimensions),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<MeasuresFile, A::Error> {
        let mut listed = Vec::new();
        while let Some(name) = names.next_element()? {
            listed.push(name);
        }
        Ok(MeasuresFile::Listed(listed))
    }
}

impl<'de> Deserialize<'de> for NumericFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumericVisitor)
    }
}

struct NumericVisitor;

impl<'de> Visitor<'de> for NumericVisitor {
    type Value = NumericFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"double\" or \"bigint\", or one of them for each measure")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<NumericFile, E> {
        let numeric =
            Numeric::named(word).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(word), &self))?;
        Ok(NumericFile(vec![("*".to_owned(), numeric)]))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<NumericFile, A::Error> {
        let mut by_measure = Vec::new();
        while let Some((measure, word)) = members.next_entry::<String, String>()? {
            let numeric = Numeric::named(&word)
                .ok_or_else(|| A::Error::invalid_value(serde::de::Unexpected::Str(&word), &self))?;
            by_measure.push((measure, numeric));
        }
        Ok(NumericFile(by_measure))
    }
}
