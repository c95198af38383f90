//! A scheduled query as it was created: what the API was given, and what became of it since.
//!
//! The shapes of the target keep AWS's names (spec 2.3.1), on disk too: a definition is what a request said.

use serde::{Deserialize, Serialize};

use super::expression::{Expression, ExpressionError};
use crate::clock::Timestamp;
use crate::record::{MixedMeasureMapping, MultiMeasureMappings};
use crate::store::Tag;

/// What CreateScheduledQuery asks for; its constraints are checked, its meaning is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The name, unique among scheduled queries.
    pub name: String,
    /// The text that runs; `@scheduled_runtime` is its one parameter.
    pub query: String,
    /// When it runs, as it was written.
    pub expression: String,
    /// The topic of its notifications.
    pub topic_arn: String,
    /// Where its rows go; nowhere if absent.
    pub target: Option<Target>,
    /// The role AWS would run it with; told again, not used.
    pub role_arn: String,
    /// The key AWS would encrypt it with; told again, not used.
    pub kms_key_id: Option<String>,
    /// Where error reports go.
    pub error_report: ReportLocation,
    /// Makes repetitions of the same request one.
    pub client_token: Option<String>,
}

/// A bucket and how the keys in it begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReportLocation {
    /// The bucket.
    pub bucket_name: String,
    /// What keys begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_key_prefix: Option<String>,
    /// `SSE_S3` or `SSE_KMS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_option: Option<String>,
}

/// `TimestreamConfiguration`: where the rows of a result go, and what they become there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Target {
    /// The database.
    pub database_name: String,
    /// The table, which must exist.
    pub table_name: String,
    /// The column that becomes the time.
    pub time_column: String,
    /// The columns that become dimensions.
    pub dimension_mappings: Vec<DimensionMapping>,
    /// The columns that become one multi-measure record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_measure_mappings: Option<MultiMeasureMappings>,
    /// The columns that become records of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixed_measure_mappings: Option<Vec<MixedMeasureMapping>>,
    /// The column with the measure's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure_name_column: Option<String>,
}

/// A column that becomes a dimension of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DimensionMapping {
    /// The name of both.
    pub name: String,
    /// `VARCHAR`.
    pub dimension_value_type: String,
}

/// Whether a scheduled query runs by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// It does.
    Enabled,
    /// It does not; it can be run by hand.
    Disabled,
}

impl State {
    /// The name the API uses.
    pub const fn api_name(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
        }
    }
}

/// A scheduled query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name and 16 hexadecimal digits: what its ARN ends with.
    pub id: String,
    /// What it was created with.
    pub request: Request,
    /// Whether it runs by itself.
    pub state: State,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// When it was created, in nanoseconds since the epoch.
    created: i64,
}

impl Definition {
    /// A query that is created now.
    pub(super) fn new(id: String, request: Request, tags: Vec<Tag>, created: Timestamp) -> Self {
        Self { id, request, state: State::Enabled, tags, created: created.nanos() }
    }

    /// When it was created.
    pub fn created(&self) -> Timestamp {
        Timestamp::from_nanos(self.created)
    }

    /// When it runs.
    pub(super) fn expression(&self) -> Result<Expression, ExpressionError> {
        Expression::parse(&self.request.expression)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("definitions have text keys only")
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
