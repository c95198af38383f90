//! What evaluating rules asks the pipeline to do, and what it asks it to report.
//!
//! Every rule that sees a message has a [`RuleRun`]. A new kind of action adds a variant to [`Effect`] and to
//! [`ActionKind`], and a file under `action/`.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::message::{Properties, QoS};
use crate::record::WriteBatch;
use crate::topic::TopicName;

use super::answers::FunctionCall;

/// What one rule makes of one message it saw.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleRun {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The rule's place in its set; `None` when a message was sent to a rule that does not exist or is
    /// disabled.
    pub place: Option<usize>,
    /// Whether the condition held.
    pub fired: bool,
    /// The call whose answer the rule needs before it can be evaluated: see [`RuleSet::evaluate_again`].
    /// It asks for nothing else then.
    ///
    /// [`RuleSet::evaluate_again`]: super::RuleSet::evaluate_again
    pub asks: Option<Box<FunctionCall>>,
    /// What is to be done, action by action in the order of the rule.
    pub effects: Vec<Effect>,
}

/// One thing to do or to report.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write records to a table.
    Write(TimestreamWrite),
    /// Publish a message.
    Republish(Republish),
    /// POST to a URL.
    Http(HttpPost),
    /// Append a line to a file.
    File(FileLine),
    /// A rule, one of its actions, or one record of an action failed; everything else goes on.
    Failed(Failure),
}

/// Records of one Timestream action.
#[derive(Debug, Clone, PartialEq)]
pub struct TimestreamWrite {
    /// The records; at least one.
    pub batch: WriteBatch,
    /// Whether to create the database and the table if they do not exist.
    pub create: bool,
}

/// A message of a republish action.
#[derive(Debug, Clone, PartialEq)]
pub struct Republish {
    /// Where to.
    pub topic: TopicName,
    /// Its quality of service.
    pub qos: QoS,
    /// The result as JSON, or the payload as it came.
    pub payload: Bytes,
    /// The MQTT 5 properties the action sets.
    pub properties: Properties,
}

/// A request of an http action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPost {
    /// Where to; scheme and host are those the rule's author wrote.
    pub url: String,
    /// The headers, in the order of the action.
    pub headers: Vec<(String, String)>,
    /// The result as JSON, or the payload as it came.
    pub body: Bytes,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// How often a failed attempt is repeated.
    pub retries: u32,
}

/// A line of a file action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLine {
    /// The file, below the folder for such files: names joined by slashes, none of them special.
    pub path: String,
    /// The result as JSON, without a line break.
    pub line: String,
    /// The size at which the file is put aside and a new one begun.
    pub bytes_max: u64,
    /// How many files put aside are kept.
    pub keep: u32,
}

/// Something a rule could not do.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The action that failed; `None` when the rule failed before its actions.
    pub action: Option<ActionKind>,
    /// Why.
    pub reason: FailureReason,
}

/// The kinds of actions rules have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActionKind {
    /// Records into Timestream.
    Timestream,
    /// A message to subscribers and rules.
    Republish,
    /// A POST to a URL.
    Http,
    /// A line in a file.
    File,
}

impl ActionKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Timestream, Self::Republish, Self::Http, Self::File];

    /// The kind as rule files and counters spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timestream => "timestream",
            Self::Republish => "republish",
            Self::Http => "http",
            Self::File => "file",
        }
    }

    /// The kind as AWS's error document and logs spell it.
    pub const fn aws_name(self) -> &'static str {
        match self {
            Self::Timestream => "TimestreamAction",
            Self::Republish => "RepublishAction",
            Self::Http => "HttpAction",
            Self::File => "FileAction",
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
    /// One text grew longer than a text may.
    #[error("a text the statement makes exceeds {limit} bytes")]
    TextTooLong {
        /// The limit.
        limit: usize,
    },
    /// A function that others run gave no answer.
    #[error("aws_lambda: {function}: {reason}")]
    Function {
        /// Its ARN.
        function: String,
        /// Why.
        reason: String,
    },
    /// The statement calls functions that others run more often than a rule may.
    #[error("the statement makes more than {limit} calls of aws_lambda for one message")]
    TooManyCalls {
        /// The limit.
        limit: usize,
    },
    /// A regular expression backtracked too much on this message.
    #[error("a regular expression took too many steps: write it so that it backtracks less")]
    PatternTooCostly,
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
    /// One item of an array of results failed; the others go on.
    #[error("item {index}: {reason}")]
    Item {
        /// Its place in the array, from 0.
        index: usize,
        /// Why.
        reason: Box<FailureReason>,
    },
    /// An array of results is too long.
    #[error("the result is an Array of {items} items, an action takes at most {limit}")]
    TooManyItems {
        /// Its length.
        items: usize,
        /// The limit.
        limit: usize,
    },
    /// There were too many failures to list.
    #[error("and {count} more")]
    Untold {
        /// How many are not listed.
        count: usize,
    },
    /// The action needs JSON and the SELECT yields something else.
    #[error("the result is no JSON: {kind}")]
    ResultNotJson {
        /// What it is.
        kind: &'static str,
    },
    /// A substitution template has no value.
    #[error("{field}: {expression} is {value}, it needs a value")]
    TemplateWithoutValue {
        /// The action's field the template stands in.
        field: String,
        /// The expression, with its braces.
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
    /// The version template yields no version.
    #[error("version: {text:?} is no version: it must be a whole number from 1 to 9223372036854775807")]
    Version {
        /// What the template yielded.
        text: String,
    },
    /// A text made by a template does not fit its place.
    #[error("{field}: {text:?} {problem}")]
    Field {
        /// The action's field.
        field: &'static str,
        /// What the template yielded, shortened.
        text: String,
        /// What is wrong with it.
        problem: String,
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
    /// A fraction where `numeric` asks for BIGINT.
    #[error("{value} is no whole number, and the action's numeric asks for BIGINT")]
    Fraction {
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
