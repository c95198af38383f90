//! What can go wrong with a bucket, under S3's names for it.

use object_store::Error;

use super::s3::line;

/// A failure, with what would help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// There is no such bucket.
    #[error("The specified bucket does not exist: {bucket}")]
    NoSuchBucket {
        /// Its name.
        bucket: String,
    },
    /// There is no such object.
    #[error("The specified key does not exist: s3://{bucket}/{key}")]
    NoSuchKey {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// Access was refused.
    #[error("Access Denied: s3://{bucket}: {reason}")]
    AccessDenied {
        /// The bucket.
        bucket: String,
        /// Who refused it and why.
        reason: String,
    },
    /// No bucket can be called so.
    #[error("The specified bucket is not valid: {bucket:?}")]
    InvalidBucketName {
        /// The name.
        bucket: String,
    },
    /// No object can be called so.
    #[error("The object key {key:?} is not valid: {reason}")]
    InvalidKey {
        /// The key.
        key: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// The object is larger than what is read at once.
    #[error("The object s3://{bucket}/{key} has {size} bytes; at most {bytes_max} can be read")]
    TooLarge {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// Its size in bytes.
        size: u64,
        /// The most bytes that would be read.
        bytes_max: u64,
    },
    /// The object is another one than when reading began.
    #[error("The object s3://{bucket}/{key} has changed while it was read")]
    Changed {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// A folder was asked to encrypt.
    #[error(
        "The bucket {bucket} is a folder, which encrypts nothing: SSE_KMS needs a service of S3's protocol, \
         which buckets.endpoint names"
    )]
    NotEncrypted {
        /// The bucket.
        bucket: String,
    },
    /// The storage failed or cannot be reached; later it may work.
    #[error("{doing} s3://{bucket} failed: {reason}")]
    Unavailable {
        /// The bucket.
        bucket: String,
        /// What was being done.
        doing: &'static str,
        /// What the storage said.
        reason: String,
    },
}

impl BucketError {
    /// S3's code for it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchBucket { .. } => "NoSuchBucket",
            Self::NoSuchKey { .. } => "NoSuchKey",
            Self::AccessDenied { .. } => "AccessDenied",
            Self::InvalidBucketName { .. } => "InvalidBucketName",
            Self::InvalidKey { .. } => "InvalidArgument",
            Self::TooLarge { .. } => "EntityTooLarge",
            Self::Changed { .. } => "PreconditionFailed",
            Self::NotEncrypted { .. } => "NotImplemented",
            Self::Unavailable { .. } => "ServiceUnavailable",
        }
    }

    /// Whether the same may work later without anything else being changed.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// What was being done when something failed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Doing {
    Opening,
    Listing,
    Reading,
    Writing,
}

impl Doing {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Listing => "listing",
            Self::Reading => "reading from",
            Self::Writing => "writing to",
        }
    }

    /// What an error of the storage means.
    pub(super) fn failed(self, bucket: &str, key: Option<&str>, error: &Error) -> BucketError {
        let reason = line(error);
        let bucket = bucket.to_owned();
        // The code is in the answer's body, which not every kind of error keeps apart.
        if reason.contains("NoSuchBucket") {
            return BucketError::NoSuchBucket { bucket };
        }
        let key = key.map(str::to_owned);
        match (error, key) {
            (Error::NotFound { .. }, Some(key)) => BucketError::NoSuchKey { bucket, key },
            (Error::NotFound { .. }, None) => BucketError::NoSuchBucket { bucket },
            (Error::Precondition { .. }, Some(key)) => BucketError::Changed { bucket, key },
            (Error::InvalidPath { .. }, Some(key)) => {
                BucketError::InvalidKey { key, reason: "the storage cannot keep it" }
            }
            (Error::PermissionDenied { .. } | Error::Unauthenticated { .. }, _) => {
                BucketError::AccessDenied { bucket, reason }
            }
            _ if reason.contains("AccessDenied") || reason.contains("Permission denied") => {
                BucketError::AccessDenied { bucket, reason }
            }
            _ => BucketError::Unavailable { bucket, doing: self.words(), reason },
        }
    }
}
