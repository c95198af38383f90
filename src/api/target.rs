//! Which operation a request asks for: `X-Amz-Target: Timestream_20181101.<Operation>` (spec 1.1).
//!
//! Both services share the prefix, so one port and one table serve both.

use axum::http::HeaderMap;

use super::error::ApiError;

/// The prefix both Timestream services use.
const PREFIX: &str = "Timestream_20181101.";

/// Declares the operations and finds one by its name.
macro_rules! operations {
    ($($name:ident,)*) => {
        /// The operations that exist.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Operation {
            $($name,)*
        }

        impl Operation {
            const ALL: &[(&str, Self)] = &[$((stringify!($name), Self::$name),)*];
        }
    };
}

operations! {
    CancelQuery,
    CreateBatchLoadTask,
    CreateDatabase,
    CreateScheduledQuery,
    CreateTable,
    DeleteDatabase,
    DeleteScheduledQuery,
    DeleteTable,
    DescribeAccountSettings,
    DescribeBatchLoadTask,
    DescribeDatabase,
    DescribeEndpoints,
    DescribeScheduledQuery,
    DescribeTable,
    ExecuteScheduledQuery,
    ListBatchLoadTasks,
    ListDatabases,
    ListScheduledQueries,
    ListTables,
    ListTagsForResource,
    PrepareQuery,
    Query,
    ResumeBatchLoadTask,
    TagResource,
    UntagResource,
    UpdateAccountSettings,
    UpdateDatabase,
    UpdateScheduledQuery,
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
        let named = target.and_then(|target| target.strip_prefix(PREFIX));
        let found = Self::ALL.iter().find(|(name, _)| Some(*name) == named);
        found.map(|(_, operation)| *operation).ok_or_else(ApiError::unknown_operation)
    }
}
