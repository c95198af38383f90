//! Policies in the JSON of AWS IAM and AWS IoT Core.
//!
//! ```json
//! { "Version": "2012-10-17",
//!   "Statement": [{ "Effect": "Allow", "Action": "iot:Publish",
//!                   "Resource": "arn:aws:iot:*:*:topic/plant/${iot:ClientId}/*" }] }
//! ```
//!
//! Everything in a document is understood or the document is refused: a member that is skipped could be
//! the one that denies.

use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::condition::{Condition, Facts};
use super::pattern::{Glob, Pattern};

/// The version of the language that has variables, and the only one read.
const VERSION: &str = "2012-10-17";
/// The largest document; AWS IoT takes 2 KB, AWS IAM 10 KB.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// Why a policy was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The document is not JSON of a policy's form.
    #[error("it is not a policy: {0}")]
    Malformed(String),
    /// One statement cannot be used.
    #[error("statement {number}: {reason}")]
    Statement {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// What one may do, as written. It may be written anew while callers have it.
#[derive(Debug)]
pub struct Policy {
    statements: RwLock<Arc<[Statement]>>,
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        *self.statements() == *other.statements()
    }
}

impl Eq for Policy {}

/// What one caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundPolicy {
    statements: Vec<BoundStatement>,
}

/// What a policy says of an action on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none denies it.
    Allowed,
    /// A statement denies it, whatever others say.
    Denied,
    /// No statement speaks of it.
    NotAllowed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    actions: Selection<Pattern>,
    resources: Selection<Resource<Pattern>>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct BoundStatement {
    effect: Effect,
    actions: Selection<Glob>,
    resources: Selection<Resource<Glob>>,
}

/// `Action` and `Resource`, or `NotAction` and `NotResource`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Selection<T> {
    of: Vec<T>,
    inverted: bool,
}

impl<T> Selection<T> {
    fn has(&self, matches: impl Fn(&T) -> bool) -> bool {
        self.of.iter().any(matches) != self.inverted
    }

    /// The same for one caller. What has no meaning for it selects nothing.
    fn bind<B>(&self, bind: impl Fn(&T) -> Option<B>) -> Selection<B> {
        Selection { of: self.of.iter().filter_map(bind).collect(), inverted: self.inverted }
    }
}

/// The parts of an ARN that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Resource<T> {
    service: T,
    /// What stands behind the account, such as `topic/a/b`.
    name: T,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "Version")]
    version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    #[serde(rename = "Statement")]
    statements: OneOrMore<WrittenStatement>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    More(Vec<T>),
    One(T),
}

impl<T> OneOrMore<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::More(all) => all,
            Self::One(one) => vec![one],
        }
    }
}

/// A statement is read by hand, so that what is wrong is told by its name.
type WrittenStatement = Map<String, Value>;

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// When any part of it is not understood.
    pub fn parse(document: &str) -> Result<Self, PolicyError> {
        let malformed = |reason: String| PolicyError::Malformed(reason);
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(malformed(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes")));
        }
        let read: Document = serde_json::from_str(document).map_err(|error| malformed(error.to_string()))?;
        if read.version.as_deref().is_some_and(|version| version != VERSION) {
            return Err(malformed(format!("its Version is not \"{VERSION}\"")));
        }
        let statements = read.statements.into_vec().into_iter().enumerate().map(|(index, written)| {
            statement(written).map_err(|reason| PolicyError::Statement { number: index + 1, reason })
        });
        Ok(Self { statements: RwLock::new(statements.collect::<Result<_, _>>()?) })
    }

    /// From now on says what `other` says, to all who have it and ask from now on.
    pub fn replace(&self, other: &Self) {
        let now = other.statements();
        *self.statements.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn statements(&self) -> Arc<[Statement]> {
        Arc::clone(&self.statements.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The policy for one caller: variables are filled in, and statements whose conditions do not hold
    /// are left out.
    pub fn bind(&self, facts: &dyn Facts) -> BoundPolicy {
        let holds =
            |statement: &&Statement| statement.conditions.iter().all(|condition| condition.holds(facts));
        let bind = |statement: &Statement| BoundStatement {
            effect: statement.effect,
            actions: statement.actions.bind(|pattern| pattern.bind(facts)),
            resources: statement.resources.bind(|resource| {
                let (service, name) = (resource.service.bind(facts)?, resource.name.bind(facts)?);
                Some(Resource { service, name })
            }),
        };
        BoundPolicy { statements: self.statements().iter().filter(holds).map(bind).collect() }
    }
}

impl BoundPolicy {
    /// May the caller do `action`, such as `iot:Publish`, to the resource `name`, such as `topic/a`, of
    /// `service`?
    pub fn decide(&self, action: &str, service: &str, name: &str) -> Decision {
        let mut decision = Decision::NotAllowed;
        for statement in &self.statements {
            let speaks = statement.actions.has(|glob| glob.matches_ignoring_case(action))
                && statement
                    .resources
                    .has(|resource| resource.service.matches(service) && resource.name.matches(name));
            match (speaks, statement.effect) {
                (true, Effect::Deny) => return Decision::Denied,
                (true, Effect::Allow) => decision = Decision::Allowed,
                (false, _) => {}
            }
        }
        decision
    }

    /// The same for every resource at once; nothing when that depends on the resource.
    pub fn decide_everywhere(&self, action: &str) -> Option<Decision> {
        let mut decision = Decision::NotAllowed;
        for statement in &self.statements {
            if !statement.actions.has(|glob| glob.matches_ignoring_case(action)) {
                continue;
            }
            let everything = !statement.resources.inverted
                && (statement.resources.of.iter())
                    .any(|resource| resource.service.is_everything() && resource.name.is_everything());
            match (everything, statement.effect) {
                (false, _) => return None,
                (true, Effect::Deny) => return Some(Decision::Denied),
                (true, Effect::Allow) => decision = Decision::Allowed,
            }
        }
        Some(decision)
    }
}

fn statement(mut written: WrittenStatement) -> Result<Statement, String> {
    let effect = match written.remove("Effect") {
        Some(Value::String(text)) if text == "Allow" => Effect::Allow,
        Some(Value::String(text)) if text == "Deny" => Effect::Deny,
        _ => return Err("Effect is neither \"Allow\" nor \"Deny\"".into()),
    };
    let actions = selection(&mut written, "Action", "NotAction")?;
    let resources = selection(&mut written, "Resource", "NotResource")?;
    let conditions = match written.remove("Condition") {
        None => Vec::new(),
        Some(Value::Object(operators)) => conditions(operators)?,
        Some(_) => return Err("Condition is not an object".into()),
    };
    written.remove("Sid");
    if let Some(unknown) = written.keys().next() {
        return Err(format!("{unknown} is not supported"));
    }
    for action in &actions.of {
        if action != "*" && !action.contains(':') {
            return Err(format!("the action {action:?} names no service, as in \"iot:Publish\""));
        }
    }
    let actions = Selection { of: patterns(&actions.of)?, inverted: actions.inverted };
    let of = resources.of.iter().map(|arn| resource(arn)).collect::<Result<_, _>>()?;
    Ok(Statement { effect, actions, resources: Selection { of, inverted: resources.inverted }, conditions })
}

fn selection(written: &mut WrittenStatement, name: &str, not: &str) -> Result<Selection<String>, String> {
    let (value, inverted) = match (written.remove(name), written.remove(not)) {
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        _ => return Err(format!("it needs either {name} or {not}")),
    };
    let of = texts(value).ok_or_else(|| format!("{name} is neither a text nor a list of texts"))?;
    if of.is_empty() {
        return Err(format!("{name} is empty"));
    }
    Ok(Selection { of, inverted })
}

fn texts(value: Value) -> Option<Vec<String>> {
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Bool(word) => Some(word.to_string()),
        _ => None,
    };
    match value {
        Value::Array(values) => values.into_iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    }
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>, String> {
    texts.iter().map(|text| Pattern::parse(text)).collect()
}

fn conditions(operators: Map<String, Value>) -> Result<Vec<Condition>, String> {
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let Value::Object(keys) = keys else { return Err(format!("the condition {operator} is no object")) };
        for (key, values) in keys {
            let values = texts(values).ok_or_else(|| format!("the values of {key} are not texts"))?;
            conditions.push(Condition::parse(&operator, &key, &values)?);
        }
    }
    Ok(conditions)
}

/// Reads `arn:partition:service:region:account:name` with wildcards; one at the end of a shorter ARN
/// stands for all that is missing.
fn resource(arn: &str) -> Result<Resource<Pattern>, String> {
    let everything = || Pattern::parse("*");
    if arn == "*" {
        return Ok(Resource { service: everything()?, name: everything()? });
    }
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let short = parts.len() < 6;
    if parts[0] != "arn" || parts.len() < 3 || (short && !arn.ends_with('*')) {
        return Err(format!(
            "the resource {arn:?} is neither \"*\" nor an ARN such as arn:aws:iot:*:*:topic/a"
        ));
    }
    let name = if short { everything()? } else { Pattern::parse(parts[5])? };
    Ok(Resource { service: Pattern::parse(parts[2])?, name })
}

#[cfg(test)]
mod tests;
