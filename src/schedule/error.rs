//! Why a call about a scheduled query fails.

use super::expression::ExpressionError;
use crate::query::QueryError;
use crate::store::StoreError;

/// A failure of a call; the text is for its caller.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ScheduleError {
    /// The request's meaning is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The schedule expression is none.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// The query cannot be planned, or not now.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// There is no such scheduled query.
    #[error("The scheduled query {arn} does not exist.")]
    NotFound {
        /// The ARN it would have.
        arn: String,
    },
    /// There is such a scheduled query already.
    #[error("A scheduled query with the name {name} already exists.")]
    Exists {
        /// Its name.
        name: String,
    },
    /// The client token came with another request.
    #[error("The client token was used for another request, to create the scheduled query {name}.")]
    TokenUsed {
        /// What that request created.
        name: String,
    },
    /// There would be too many.
    #[error("There are {given} scheduled queries, and at most {most} are allowed.")]
    TooMany {
        /// How many there are.
        given: usize,
        /// How many there may be.
        most: usize,
    },
    /// Too many runs of one query wait.
    #[error("{most} runs of this scheduled query are waiting already; try again later.")]
    Busy {
        /// How many may wait.
        most: usize,
    },
    /// The definition could not be stored or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}
