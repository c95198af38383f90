//! Which operation a request asks for: `X-Amz-Target: Timestream_20181101.<Operation>`.
//!
//! Both services share the prefix, so one port and one table serve both.

use axum::http::HeaderMap;

use super::error::ApiError;

/// The prefix both Timestream services use.
const PREFIX: &str = "Timestream_20181101.";

/// The operations that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateDatabase,
    CreateTable,
    DeleteDatabase,
    DeleteTable,
    DescribeDatabase,
    DescribeEndpoints,
    DescribeTable,
    ListDatabases,
    ListTables,
    ListTagsForResource,
    Query,
    TagResource,
    UntagResource,
    UpdateDatabase,
    UpdateTable,
    WriteRecords,
}

impl Operation {
    /// Reads the request's target.
    ///
    /// # Errors
    /// UnknownOperationException when the header is absent or names an operation that does not exist.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
        match target.and_then(|target| target.strip_prefix(PREFIX)) {
            Some("CreateDatabase") => Ok(Self::CreateDatabase),
            Some("CreateTable") => Ok(Self::CreateTable),
            Some("DeleteDatabase") => Ok(Self::DeleteDatabase),
            Some("DeleteTable") => Ok(Self::DeleteTable),
            Some("DescribeDatabase") => Ok(Self::DescribeDatabase),
            Some("DescribeEndpoints") => Ok(Self::DescribeEndpoints),
            Some("DescribeTable") => Ok(Self::DescribeTable),
            Some("ListDatabases") => Ok(Self::ListDatabases),
            Some("ListTables") => Ok(Self::ListTables),
            Some("ListTagsForResource") => Ok(Self::ListTagsForResource),
            Some("Query") => Ok(Self::Query),
            Some("TagResource") => Ok(Self::TagResource),
            Some("UntagResource") => Ok(Self::UntagResource),
            Some("UpdateDatabase") => Ok(Self::UpdateDatabase),
            Some("UpdateTable") => Ok(Self::UpdateTable),
            Some("WriteRecords") => Ok(Self::WriteRecords),
            _ => Err(ApiError::unknown_operation()),
        }
    }
}
