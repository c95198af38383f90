//! What evaluating rules asks the pipeline to do, and what it asks it to report.
//!
//! A new kind of action adds a variant to [`Effect`] and to [`ActionKind`], and a file under `action/`.

use std::fmt;
use std::sync::Arc;

use crate::record::WriteBatch;

/// One thing to do or to report.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write records to a table.
    Write(TimestreamWrite),
    /// A rule, one of its actions, or one record of an action failed; everything else goes on.
    Failed(Failure),
}

/// Records of one Timestream action.
#[derive(Debug, Clone, PartialEq)]
pub struct TimestreamWrite {
    /// The rule that asks for it.
    pub rule: Arc<str>,
    /// The records; at least one.
    pub batch: WriteBatch,
    /// Whether to create the database and the table if they do not exist.
    pub create: bool,
}

/// Something a rule could not do.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The rule.
    pub rule: Arc<str>,
    /// The action that failed; `None` when the rule failed before its actions.
    pub action: Option<ActionKind>,
    /// Why.
    pub reason: FailureReason,
}

/// The kinds of actions rules have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionKind {
    /// Records into Timestream.
    Timestream,
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timestream => "timestream",
        })
    }
}

/// Why a rule, an action or a record failed, as a sentence for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FailureReason {
    /// A message to `$aws/rules/<name>` where no enabled rule has that name.
    #[error("Rule {name} not found")]
    RuleNotFound {
        /// The name in the topic.
        name: String,
    },
    /// The payload is larger than rules read.
    #[error("the payload has {bytes} bytes, rules read at most {limit}")]
    PayloadTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Nothing could be selected, because the payload is no JSON object or array.
    #[error("nothing was selected: the payload is not JSON: {detail}")]
    PayloadNotJson {
        /// What is wrong with it.
        detail: String,
    },
    /// The statement made more text, lists or objects than a rule may.
    #[error("the statement's intermediate or final values exceed {limit} bytes")]
    ResultTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The statement took more steps than a rule may.
    #[error("the statement took more than {limit} steps: it reads too much, too often")]
    TooManySteps {
        /// The limit.
        limit: usize,
    },
    /// The variables of SET hold more than they may.
    #[error("the variables of SET exceed {limit} bytes")]
    VariablesTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The action needs an object and the SELECT yields something else.
    #[error("the result is not an object but {kind}")]
    ResultNotObject {
        /// What it is.
        kind: String,
    },
    /// A substitution template has no value.
    #[error("{field}: ${{{expression}}} is {value}, it needs a value")]
    TemplateWithoutValue {
        /// The action's field the template stands in.
        field: String,
        /// The expression between the braces.
        expression: String,
        /// What it evaluated to: Undefined or null.
        value: &'static str,
    },
    /// The timestamp template yields no time.
    #[error(
        "timestamp.value: {text:?} is no time: it must be a whole number of {unit} since 1970 before 2262"
    )]
    Timestamp {
        /// What the template yielded.
        text: String,
        /// The unit the action names.
        unit: &'static str,
    },
    /// One attribute of the result cannot be a measure; the others were written.
    #[error("attribute {name:?} was not written: {problem}")]
    Attribute {
        /// The attribute.
        name: String,
        /// What is wrong with its value.
        problem: AttributeProblem,
    },
}

/// Why a value cannot be a measure (spec 5.2, 5.3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeProblem {
    /// An empty VARCHAR.
    #[error("a VARCHAR measure has at least 1 character")]
    Empty,
    /// A VARCHAR longer than a measure may be.
    #[error("a VARCHAR measure has at most {limit} bytes, this has {bytes}")]
    TooLong {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A whole number that BIGINT cannot hold.
    #[error("{value} is outside the range of BIGINT")]
    Bigint {
        /// The number.
        value: String,
    },
    /// A number that DOUBLE cannot hold.
    #[error("{value} is outside the range of DOUBLE")]
    Double {
        /// The number.
        value: String,
    },
}
