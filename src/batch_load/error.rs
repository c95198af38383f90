//! Why a call about batch loads was refused.

use crate::buckets::BucketError;
use crate::store::StoreError;

/// A refusal, by what the caller can do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BatchLoadError {
    /// Ask otherwise.
    #[error("{0}")]
    Invalid(String),
    /// Ask for access to the bucket.
    #[error("{0}")]
    AccessDenied(String),
    /// Ask for another task.
    #[error("The batch load task {0} does not exist.")]
    NotFound(String),
    /// Use another client token.
    #[error("{0}")]
    Conflict(String),
    /// Wait until other tasks have ended.
    #[error("{0}")]
    Quota(String),
    /// Ask again later.
    #[error("{0}")]
    Unavailable(String),
    /// What the store says.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl BatchLoadError {
    pub(super) fn invalid(error: impl ToString) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<BucketError> for BatchLoadError {
    fn from(error: BucketError) -> Self {
        let text = error.to_string();
        match error {
            BucketError::AccessDenied { .. } => Self::AccessDenied(text),
            BucketError::Unavailable { .. } => Self::Unavailable(text),
            _ => Self::Invalid(text),
        }
    }
}
