//! aws_lambda(function, input): what a function says that others run (spec 3.4).
//!
//! The function is a text in quotes, so that its URL is known when the rule is loaded; its input is an object,
//! or the payload. What it answers is JSON of any kind. A call without an answer ends the evaluation
//! (see [`Answers`]); one that failed fails the rule, unless get_or_default() has a substitute.
//!
//! [`Answers`]: crate::rules::Answers

use std::borrow::Cow;
use std::sync::Arc;

use super::{Binder, Expr, Operand, Prepared, Scope, Value, literal};
use crate::rules::answers::FunctionCall;
use crate::rules::effect::FailureReason;
use crate::rules::sql::eval::undefined;
use crate::rules::sql::payload::read_json;

/// A function and where it is called.
#[derive(Debug)]
struct Lambda {
    function: Arc<str>,
    url: Arc<str>,
    /// Whether the input is the payload, which may also be an array.
    of_payload: bool,
}

pub(super) fn prepare(arguments: &[Expr], binder: &mut Binder<'_>) -> Result<Box<dyn Prepared>, String> {
    let Some(function) = literal(arguments, 0) else {
        return Err("the function's ARN is a text in quotes, because its URL is looked up when a rule is \
                    loaded"
            .to_owned());
    };
    let url = binder.stand_ins.function(function)?;
    let of_payload = matches!(arguments.get(1), Some(Expr::Payload));
    binder.asks = true;
    Ok(Box::new(Lambda { function: function.into(), url, of_payload }))
}

impl Prepared for Lambda {
    fn run<'a>(&'a self, arguments: Vec<Operand<'a>>, scope: &Scope<'a>) -> Operand<'a> {
        let run = scope.run;
        let input = match arguments.get(1).map(|input| &**input) {
            Some(input @ Value::Object(_)) => input.to_json(),
            Some(input @ Value::Array(_)) if self.of_payload => input.to_json(),
            _ => return undefined(),
        };
        // Nobody is asked on behalf of a rule that has failed already.
        if run.has_failed() || !scope.charge_text(input.len()) {
            return undefined();
        }
        let reason = match run.answers.find(&self.function, input.as_bytes()) {
            Some(Ok(answer)) => match read_json(answer, scope.version()) {
                Some(value) if scope.charge(value.weight()) => return Cow::Owned(value),
                Some(_) => return undefined(),
                None => "its answer is no JSON".to_owned(),
            },
            Some(Err(reason)) => reason.to_owned(),
            None => {
                let (function, url) = (Arc::clone(&self.function), Arc::clone(&self.url));
                run.ask(FunctionCall { function, url, input: input.into() });
                return undefined();
            }
        };
        run.fail(FailureReason::Function { function: self.function.to_string(), reason });
        undefined()
    }
}
