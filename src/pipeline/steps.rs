//! One message, rule by rule, effect by effect; then the messages rules made of it, in the order they made them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tracing::{debug, error};

use super::active::Active;
use super::counters::{Role, RuleTally};
use super::{REPUBLISHED_MAX, Shared, append, dead_letter, timestream};
use crate::message::{Message, Origin};
use crate::mqtt::IngestError;
use crate::outlet::Bound;
use crate::posts::{Place, Post, without_query};
use crate::rules::{
    ActionKind, Answers, Effect, FailedAction, Failure, FileLine, FunctionCall, HttpPost, Republish, RuleRun,
    TimestreamWrite,
};
use crate::store::Pending;

/// How many failures of one batch are told to the error action.
const REJECTED_TOLD_MAX: usize = 100;
/// How long the reason of a failure may be, in characters.
const REASON_LENGTH_MAX: usize = 1_000;

/// What one message has set going.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Messages rules have not seen yet.
    ahead: VecDeque<Step>,
    /// Batches on their way to the disk.
    pending: Vec<Pending>,
    /// Rules that wait for answers.
    asking: Vec<oneshot::Receiver<Result<(), IngestError>>>,
}

/// A message on its way through the rules.
#[derive(Debug, Clone)]
struct Step {
    message: Arc<Message>,
    /// How often it was republished.
    hops: usize,
    /// How many messages were made of the one that came in.
    made: Arc<AtomicUsize>,
}

/// One rule at work on one message.
#[derive(Debug, Clone)]
struct Firing {
    active: Arc<Active>,
    rule: Arc<str>,
    /// `None` when there is no such rule.
    place: Option<usize>,
    step: Step,
}

impl Firing {
    fn new(active: &Arc<Active>, rule: Arc<str>, place: Option<usize>, step: &Step) -> Self {
        Self { active: Arc::clone(active), rule, place, step: step.clone() }
    }

    fn tally(&self) -> &RuleTally {
        self.active.tally(self.place)
    }
}

impl Work {
    /// The work of a message that came in.
    pub(super) fn for_message(message: &Arc<Message>) -> Self {
        let first = Step { message: Arc::clone(message), hops: 0, made: Arc::default() };
        Self { ahead: VecDeque::from([first]), ..Self::default() }
    }

    /// Resolves once every row is durable.
    pub(super) async fn durable(self) -> Result<(), IngestError> {
        for pending in self.pending {
            pending.await.map_err(|error| IngestError::Unavailable(error.to_string()))?;
        }
        for asking in self.asking {
            asking.await.map_err(|_| IngestError::Unavailable("the daemon is stopping".to_owned()))??;
        }
        Ok(())
    }
}

impl Shared {
    /// Lets every rule see every message of `work` and starts what they ask for.
    ///
    /// # Errors
    /// When the store takes no writes.
    pub(super) async fn run(self: &Arc<Self>, work: &mut Work) -> Result<(), IngestError> {
        while let Some(step) = work.ahead.pop_front() {
            let active = self.active();
            for mut run in active.rules().evaluate(&step.message) {
                match run.asks.take().zip(run.place) {
                    None => self.run_rule(&active, &step, run, work).await?,
                    Some((call, place)) => {
                        let firing = Firing::new(&active, run.rule, Some(place), &step);
                        let (told, asking) = oneshot::channel();
                        work.asking.push(asking);
                        let answered = Arc::clone(self).ask_first(firing, place, *call);
                        self.background.spawn(async move {
                            // Nobody listens where nothing is acknowledged.
                            let _ = told.send(answered.await);
                        });
                    }
                }
            }
            if step.hops > 0 && self.parts.republished.send(step.message).await.is_err() {
                debug!("a republished message reaches no subscribers: the broker has stopped");
            }
        }
        Ok(())
    }

    /// Evaluates the rule at `place` again and again, each time with one answer more, until it needs no
    /// further one; then it goes its way.
    fn ask_first(
        self: Arc<Self>,
        firing: Firing,
        place: usize,
        mut call: FunctionCall,
    ) -> BoxFuture<'static, Result<(), IngestError>> {
        Box::pin(async move {
            let Firing { active, rule, step, .. } = firing;
            let mut answers = Answers::default();
            let run = loop {
                let answer = self.functions.ask(&rule, &call).await;
                answers.insert(call, answer);
                let mut run = active.rules().evaluate_again(place, &step.message, &answers);
                match run.asks.take() {
                    Some(next) => call = *next,
                    None => break run,
                }
            };
            let mut work = Work::default();
            self.run_rule(&active, &step, run, &mut work).await?;
            self.run(&mut work).await?;
            work.durable().await
        })
    }

    async fn run_rule(
        self: &Arc<Self>,
        active: &Arc<Active>,
        step: &Step,
        run: RuleRun,
        work: &mut Work,
    ) -> Result<(), IngestError> {
        let tally = active.tally(run.place);
        if run.place.is_none() {
            self.tally.rules_not_found.add(1);
        }
        tally.matched.add(1);
        tally.fired.add(u64::from(run.fired));
        if run.effects.is_empty() {
            return Ok(());
        }
        let RuleRun { rule, place, effects, .. } = run;
        let firing = Firing::new(active, rule, place, step);
        let failures = self.carry_out(&firing, effects, Role::Action, work).await?;
        self.settle(&firing, failures, work).await
    }

    /// Carries out `effects` in order and returns what failed.
    async fn carry_out(
        self: &Arc<Self>,
        firing: &Firing,
        effects: Vec<Effect>,
        role: Role,
        work: &mut Work,
    ) -> Result<Vec<FailedAction>, IngestError> {
        let mut failures = Vec::new();
        for effect in effects {
            let before = failures.len();
            let (kind, done) = match effect {
                Effect::Write(write) => {
                    let kind = ActionKind::Timestream;
                    (Some(kind), self.write(firing, write, role, work, &mut failures).await?)
                }
                Effect::Republish(message) => {
                    let topic = message.topic.to_string();
                    let done = self.republish(&firing.step, message, work);
                    (Some(ActionKind::Republish), done.map_err(|reason| (topic, reason)))
                }
                Effect::Http(post) => {
                    let url = without_query(&post.url).to_owned();
                    // The message stays in memory with its request, for the error action.
                    let bytes = url.len() + post.body.len() + firing.step.message.payload.len();
                    match self.posts.enter(&firing.rule, bytes) {
                        Ok(place) => {
                            self.background.spawn(Arc::clone(self).post(firing.clone(), post, place, role));
                            continue;
                        }
                        Err(reason) => (Some(ActionKind::Http), Err((url, reason))),
                    }
                }
                Effect::File(line) => {
                    let path = line.path.clone();
                    (Some(ActionKind::File), self.append(line).await.map_err(|reason| (path, reason)))
                }
                Effect::Failed(Failure { action, reason }) => {
                    (action, Err((String::new(), reason.to_string())))
                }
            };
            match (kind, done) {
                (_, Err((resource, reason))) => {
                    failures.push(self.failed(firing, kind, role, resource, &reason));
                }
                (Some(kind), Ok(())) if failures.len() == before => firing.tally().success(kind, role),
                (_, Ok(())) => {}
            }
        }
        Ok(failures)
    }

    /// Runs the rule's error action for what failed, one for all failures (spec 6.1). What even that does
    /// not take is a dead letter.
    async fn settle(
        self: &Arc<Self>,
        firing: &Firing,
        mut failures: Vec<FailedAction>,
        work: &mut Work,
    ) -> Result<(), IngestError> {
        if failures.is_empty() {
            return Ok(());
        }
        let rules = firing.active.rules();
        let message = &firing.step.message;
        let of_action = failures.iter().any(|failure| failure.action.is_some());
        // What fails before any action has no error action on AWS (spec 6.1).
        let rule = firing.place.and_then(|place| rules.rules().get(place));
        if rule.is_some_and(|rule| rule.has_error_action() && (of_action || rule.error_action_for_sql())) {
            let mut answers = Answers::default();
            let effects = loop {
                match rules.error_effects(&firing.rule, message, &failures, &answers) {
                    Ok(effects) => break effects,
                    Err(call) => {
                        let answer = self.functions.ask(&firing.rule, &call).await;
                        answers.insert(call, answer);
                    }
                }
            };
            let more = self.carry_out(firing, effects, Role::ErrorAction, work).await?;
            if more.is_empty() {
                return Ok(());
            }
            failures.extend(more);
        }
        self.dead_letter(firing, &failures).await;
        Ok(())
    }

    async fn dead_letter(&self, firing: &Firing, failures: &[FailedAction]) {
        let (message, now) = (&firing.step.message, self.parts.clock.now());
        let written = dead_letter::append(&self.dead_letters, &firing.rule, message, failures, now).await;
        let counter = if written { &self.tally.dead_letters } else { &self.tally.dead_letters_lost };
        counter.add(1);
    }

    fn failed(
        &self,
        firing: &Firing,
        action: Option<ActionKind>,
        role: Role,
        resource: String,
        reason: &str,
    ) -> FailedAction {
        let message = match reason.char_indices().nth(REASON_LENGTH_MAX) {
            Some((end, _)) => format!("{}…", &reason[..end]),
            None => reason.to_owned(),
        };
        firing.tally().failure(action, role, &message, self.parts.clock.now());
        FailedAction { action, resource, message }
    }

    /// Hands a batch to the store. A store that takes no writes fails the message, anything else only the
    /// action; records that were refused are failures of their own.
    async fn write(
        &self,
        firing: &Firing,
        write: TimestreamWrite,
        role: Role,
        work: &mut Work,
        failures: &mut Vec<FailedAction>,
    ) -> Result<Result<(), (String, String)>, IngestError> {
        let TimestreamWrite { batch, create } = write;
        let (database, table) = (Arc::clone(&batch.database), Arc::clone(&batch.table));
        let resource = || format!("{database}/{table}");
        let records = batch.records.len();
        let pending = match timestream::submit(&self.parts.store, batch, create).await {
            Ok(pending) => pending,
            Err(error) if error.is_fault() => return Err(IngestError::Unavailable(error.to_string())),
            Err(error) => return Ok(Err((resource(), error.to_string()))),
        };
        let rejected = pending.rejected();
        for (place, rejected) in rejected.iter().enumerate() {
            let reason = rejected.reason.to_string();
            let kind = Some(ActionKind::Timestream);
            let failure = self.failed(firing, kind, role, resource(), &reason);
            if place < REJECTED_TOLD_MAX {
                failures.push(failure);
            }
        }
        firing.tally().records.add((records - rejected.len()) as u64);
        work.pending.push(pending);
        Ok(Ok(()))
    }

    /// Puts a message in line behind those that wait.
    fn republish(&self, step: &Step, republish: Republish, work: &mut Work) -> Result<(), String> {
        if step.hops >= self.hops_max {
            let limit = self.hops_max;
            return Err(format!(
                "a message is republished at most {limit} times in a row; do rules see their own?"
            ));
        }
        if step.made.fetch_add(1, Ordering::Relaxed) >= REPUBLISHED_MAX {
            let limit = REPUBLISHED_MAX;
            return Err(format!("at most {limit} messages are made of one; do rules see their own?"));
        }
        self.tally.republished.add(1);
        let Republish { topic, qos, payload, properties } = republish;
        let received = self.parts.times.next(&*self.parts.clock);
        let message =
            Message { topic, payload, qos, retain: false, properties, origin: Origin::default(), received };
        let (message, made) = (Arc::new(message), Arc::clone(&step.made));
        work.ahead.push_back(Step { message, hops: step.hops + 1, made });
        Ok(())
    }

    async fn append(&self, line: FileLine) -> Result<(), String> {
        let FileLine { path, line, bytes_max, keep } = line;
        append(&self.files, path, line, Bound { bytes_max, keep }).await
    }

    /// A request from its turn to its end. If it fails, the error action runs by itself: the message and its
    /// other actions are long done.
    fn post(
        self: Arc<Self>,
        firing: Firing,
        post: HttpPost,
        place: Place,
        role: Role,
    ) -> BoxFuture<'static, ()> {
        let HttpPost { url, headers, body, timeout_ms, retries } = post;
        let post = Post { url, headers, body, timeout_ms, retries };
        Box::pin(async move {
            let sent = place.deliver(&post, &self.background).await;
            drop(place);
            let Err(reason) = sent else {
                firing.tally().success(ActionKind::Http, role);
                return;
            };
            let resource = without_query(&post.url).to_owned();
            let failure = self.failed(&firing, Some(ActionKind::Http), role, resource, &reason);
            if role == Role::ErrorAction {
                self.dead_letter(&firing, &[failure]).await;
                return;
            }
            let mut work = Work::default();
            let settled = async {
                self.settle(&firing, vec![failure.clone()], &mut work).await?;
                self.run(&mut work).await?;
                work.durable().await
            };
            if let Err(error) = settled.await {
                error!(rule = &*firing.rule, %error, "the error action of a failed request did not run");
                self.dead_letter(&firing, &[failure]).await;
            }
        })
    }
}
