//! What a rule does with its result: one file per kind of action.

mod timestream;

use std::sync::Arc;

pub(crate) use timestream::{TimeUnit, TimestreamAction};

use super::effect::{ActionKind, Effect, Failure, FailureReason};
use super::sql::eval::{Output, Scope};

/// A checked action.
#[derive(Debug)]
pub(crate) enum Action {
    /// Records into Timestream.
    Timestream(TimestreamAction),
}

impl Action {
    /// The action's kind.
    pub(crate) const fn kind(&self) -> ActionKind {
        match self {
            Self::Timestream(_) => ActionKind::Timestream,
        }
    }

    /// Turns a rule's result into effects.
    pub(crate) fn run<'a>(
        &'a self,
        rule: &Arc<str>,
        scope: &Scope<'a>,
        output: &Output<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let failed = |reason: FailureReason| {
            Effect::Failed(Failure { rule: Arc::clone(rule), action: Some(self.kind()), reason })
        };
        match self {
            Self::Timestream(action) => match action.run(scope, output) {
                Ok((batch, problems)) => {
                    effects.extend(batch.map(|batch| action.write(rule, batch)));
                    effects.extend(problems.into_iter().map(failed));
                }
                Err(reason) => effects.push(failed(reason)),
            },
        }
    }
}
