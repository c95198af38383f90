//! What a rule does with its result: one file per kind of action.

mod file;
mod http;
mod republish;
mod timestream;

pub(in crate::rules) use timestream::Numeric;

use super::checker::Checker;
use super::effect::{ActionKind, Effect, Failure, FailureReason};
use super::file::ActionFile;
use super::sql::Version;
use super::sql::eval::{Output, Scope};
use file::FileAction;
use http::HttpAction;
use republish::RepublishAction;
use timestream::TimestreamAction;

/// A checked action.
#[derive(Debug)]
pub(crate) enum Action {
    /// Records into Timestream.
    Timestream(TimestreamAction),
    /// A message to subscribers and rules.
    Republish(RepublishAction),
    /// A POST to a URL.
    Http(HttpAction),
    /// A line in a file.
    File(FileAction),
}

impl Action {
    /// Checks an action; what is wrong with it goes to `checker`.
    pub(in crate::rules) fn check(
        file: ActionFile,
        version: Version,
        checker: &mut Checker<'_>,
    ) -> Option<Self> {
        match file {
            ActionFile::Timestream(file) => {
                TimestreamAction::check(file, version, checker).map(Self::Timestream)
            }
            ActionFile::Republish(file) => {
                RepublishAction::check(file, version, checker).map(Self::Republish)
            }
            ActionFile::Http(file) => HttpAction::check(file, version, checker).map(Self::Http),
            ActionFile::File(file) => FileAction::check(&file, checker).map(Self::File),
        }
    }

    /// The action's kind.
    pub(crate) const fn kind(&self) -> ActionKind {
        match self {
            Self::Timestream(_) => ActionKind::Timestream,
            Self::Republish(_) => ActionKind::Republish,
            Self::Http(_) => ActionKind::Http,
            Self::File(_) => ActionKind::File,
        }
    }

    /// Turns a rule's result into effects.
    pub(crate) fn run<'a>(&'a self, scope: &Scope<'a>, output: &Output<'_>, effects: &mut Vec<Effect>) {
        let failed = |reason: FailureReason| Effect::Failed(Failure { action: Some(self.kind()), reason });
        let effect = match self {
            Self::Timestream(action) => match action.run(scope, output) {
                Ok((write, problems)) => {
                    effects.extend(write.map(Effect::Write));
                    effects.extend(problems.into_iter().map(failed));
                    return;
                }
                Err(reason) => Err(reason),
            },
            Self::Republish(action) => action.run(scope, output).map(Effect::Republish),
            Self::Http(action) => action.run(scope, output).map(Effect::Http),
            Self::File(action) => action.run(output).map(Effect::File),
        };
        effects.push(effect.unwrap_or_else(failed));
    }
}

/// Keeps a message readable when a template yields a novel.
fn shortened(text: String) -> String {
    const KEPT: usize = 64;
    match text.char_indices().nth(KEPT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
