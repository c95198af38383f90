//! The only place where AWS error codes, HTTP statuses and texts meet (spec 1.4, 1.5).
//!
//! A body carries its text as `message` and as `Message`: the models say one, the wire the other,
//! and some SDKs read only one of them.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::query::QueryError;
use crate::schedule::ScheduleError;
use crate::store::{Rejected, StoreError};

/// The namespace of errors the Timestream services raise themselves.
const TIMESTREAM: &str = "com.amazonaws.timestream.v20181101";
/// The namespace of errors of the framework in front of them.
const CORAL_SERVICE: &str = "com.amazon.coral.service";
/// The namespace of broken model constraints.
const CORAL_VALIDATE: &str = "com.amazon.coral.validate";

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    status: StatusCode,
    namespace: &'static str,
    code: &'static str,
    message: Option<String>,
    /// Members beside the text, such as `RejectedRecords`.
    members: Vec<(&'static str, Value)>,
}

impl ApiError {
    fn timestream(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, namespace: TIMESTREAM, code, message: Some(message.into()), members: Vec::new() }
    }

    /// The request's meaning is wrong.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::timestream(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    /// The request breaks constraints of the model; `violations` are clauses as AWS words them.
    pub(crate) fn constraints(violations: &[String]) -> Self {
        let noun = if violations.len() == 1 { "error" } else { "errors" };
        let message = format!("{} validation {noun} detected: {}", violations.len(), violations.join("; "));
        Self { namespace: CORAL_VALIDATE, ..Self::validation(message) }
    }

    /// The body is not the JSON the operation takes.
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        let error = Self::timestream(StatusCode::BAD_REQUEST, "SerializationException", message);
        Self { namespace: CORAL_SERVICE, ..error }
    }

    /// The caller is not known, which is found out before any service is asked.
    pub(crate) fn front_door(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { namespace: CORAL_SERVICE, ..Self::timestream(status, code, message) }
    }

    /// No such operation. AWS sends no text (spec 1.4).
    pub(crate) fn unknown_operation() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            namespace: CORAL_SERVICE,
            code: "UnknownOperationException",
            message: None,
            members: Vec::new(),
        }
    }

    /// A database or table that does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::timestream(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    /// A name that is taken.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::timestream(StatusCode::CONFLICT, "ConflictException", message)
    }

    /// The caller, or this daemon on its behalf, may not do it.
    pub(crate) fn access_denied(message: impl Into<String>) -> Self {
        Self::timestream(StatusCode::FORBIDDEN, "AccessDeniedException", message)
    }

    /// There would be more of something than is allowed.
    pub(crate) fn quota_exceeded(message: impl Into<String>) -> Self {
        Self::timestream(StatusCode::PAYMENT_REQUIRED, "ServiceQuotaExceededException", message)
    }

    /// Too many requests at once; SDKs try again.
    pub(crate) fn throttling(message: impl Into<String>) -> Self {
        Self::timestream(StatusCode::TOO_MANY_REQUESTS, "ThrottlingException", message)
    }

    /// A fault on this side; SDKs try again.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::timestream(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException", message)
    }

    /// Some records were refused; the others are stored (spec 4.4).
    pub(crate) fn rejected_records(rejected: &[Rejected]) -> Self {
        let records: Vec<Value> = rejected.iter().map(rejected_record).collect();
        let status = StatusCode::from_u16(419).expect("419 is within the range of statuses");
        let message = "One or more records have been rejected. See RejectedRecords for details.";
        let error = Self::timestream(status, "RejectedRecordsException", message);
        Self { members: vec![("RejectedRecords", Value::Array(records))], ..error }
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The exception's name without its namespace.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// The JSON body.
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({ "__type": format!("{}#{}", self.namespace, self.code) });
        if let Some(message) = &self.message {
            body["message"] = json!(message);
            body["Message"] = json!(message);
        }
        for (name, value) in &self.members {
            body[*name] = value.clone();
        }
        body
    }
}

fn rejected_record(rejected: &Rejected) -> Value {
    let mut record = json!({ "RecordIndex": rejected.index, "Reason": rejected.reason.to_string() });
    if let Some(version) = rejected.existing_version {
        record["ExistingVersion"] = json!(version);
    }
    record
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::DatabaseNotFound { .. } | StoreError::TableNotFound { .. } => Self::not_found(text),
            StoreError::DatabaseExists { .. } | StoreError::TableExists { .. } => Self::conflict(text),
            StoreError::QuotaExceeded(text) => Self::quota_exceeded(text),
            StoreError::NotEmpty { .. } | StoreError::InvalidName { .. } | StoreError::InvalidOption(_) => {
                Self::validation(text)
            }
            _ => Self::internal(text),
        }
    }
}

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> Self {
        let text = error.to_string();
        match error {
            ScheduleError::Invalid(_) | ScheduleError::Expression(_) => Self::validation(text),
            ScheduleError::Query(error) => error.into(),
            ScheduleError::Store(error) => error.into(),
            ScheduleError::NotFound { arn } => {
                Self { members: vec![("ScheduledQueryArn", json!(arn))], ..Self::not_found(text) }
            }
            ScheduleError::Exists { .. } | ScheduleError::TokenUsed { .. } => Self::conflict(text),
            ScheduleError::TooMany { .. } => StoreError::QuotaExceeded(text).into(),
            ScheduleError::Busy { .. } => Self::throttling(text),
            ScheduleError::Internal(text) => Self::internal(text),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Validation(text) => Self::validation(text),
            QueryError::Execution(text) | QueryError::Exhausted(text) => {
                Self::timestream(StatusCode::BAD_REQUEST, "QueryExecutionException", text)
            }
            QueryError::Conflict(text) => Self::conflict(text),
            QueryError::Throttled(text) => Self::throttling(text),
            QueryError::Unavailable(text) | QueryError::Internal(text) => Self::internal(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_status() {
        let text = || "why".to_owned();
        let cases: [(ApiError, u16, &str); 17] = [
            (ApiError::validation("why"), 400, "ValidationException"),
            (ApiError::constraints(&[text()]), 400, "ValidationException"),
            (ApiError::serialization("why"), 400, "SerializationException"),
            (QueryError::Validation(text()).into(), 400, "ValidationException"),
            (QueryError::Execution(text()).into(), 400, "QueryExecutionException"),
            (QueryError::Exhausted(text()).into(), 400, "QueryExecutionException"),
            (StoreError::QuotaExceeded(text()).into(), 402, "ServiceQuotaExceededException"),
            (ApiError::access_denied("why"), 403, "AccessDeniedException"),
            (ApiError::not_found("why"), 404, "ResourceNotFoundException"),
            (ApiError::unknown_operation(), 404, "UnknownOperationException"),
            (ApiError::conflict("why"), 409, "ConflictException"),
            (QueryError::Conflict(text()).into(), 409, "ConflictException"),
            (ApiError::rejected_records(&[]), 419, "RejectedRecordsException"),
            (QueryError::Throttled(text()).into(), 429, "ThrottlingException"),
            (QueryError::Unavailable(text()).into(), 500, "InternalServerException"),
            (QueryError::Internal(text()).into(), 500, "InternalServerException"),
            (ApiError::internal("why"), 500, "InternalServerException"),
        ];
        for (error, status, code) in cases {
            assert_eq!((error.status().as_u16(), error.code()), (status, code));
            let body = error.body();
            assert!(
                body["__type"].as_str().is_some_and(|kind| kind.ends_with(&format!("#{code}"))),
                "{body}"
            );
            assert_eq!(body["message"], body["Message"]);
        }
    }
}
