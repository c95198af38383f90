//! HTTP requests the daemon makes: bounded, each lane beside the others, repeated while it may help.
//!
//! A lane is what one sender has to say: the http actions of a rule, the notifications of a topic. Nobody
//! waits for an answer, unless it [asks](Place::ask) for one. A lane has [`WAITING_MAX`] requests waiting or
//! under way and [`AT_ONCE`] of them under way; one more fails at once. So a destination that does not
//! answer costs its own lane only. What waits is in memory: a crash loses it, an orderly stop does not.

mod asking;

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::shutdown::Shutdown;

/// Requests of one lane that wait or are under way.
const WAITING_MAX: usize = 1_000;
/// Requests of one lane under way.
const AT_ONCE: usize = 8;
/// Bytes of all requests that wait or are under way.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a request that is under way may go on once the daemon stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long the first repetition waits; each further one waits twice as long.
const BACK_OFF: Duration = Duration::from_millis(100);
/// The longest wait between two attempts.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Where to.
    pub url: String,
    /// The headers, in this order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// How often a failed attempt is repeated.
    pub retries: u32,
}

/// All requests of one owner.
#[derive(Debug, Default)]
pub struct Posts {
    /// Made for the first request: reading the machine's certificates takes a while.
    client: OnceLock<Result<Client, String>>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    lanes: HashMap<Arc<str>, Lane>,
    bytes: usize,
}

/// The requests of one sender.
#[derive(Debug)]
struct Lane {
    turns: Arc<Semaphore>,
    waiting: usize,
}

/// A place in the queue; dropped when the request is over.
#[derive(Debug)]
pub struct Place {
    posts: Arc<Posts>,
    lane: Arc<str>,
    bytes: usize,
    turns: Arc<Semaphore>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self.posts.queue();
        queue.bytes = queue.bytes.saturating_sub(self.bytes);
        if let Some(lane) = queue.lanes.get_mut(&self.lane) {
            lane.waiting -= 1;
            if lane.waiting == 0 {
                queue.lanes.remove(&self.lane);
            }
        }
    }
}

impl Posts {
    /// Takes a place for a request of `lane` that holds `bytes` of memory.
    ///
    /// # Errors
    /// When the queue is full; the text says which.
    pub fn enter(self: &Arc<Self>, name: &Arc<str>, bytes: usize) -> Result<Place, String> {
        let mut queue = self.queue();
        if queue.bytes.saturating_add(bytes) > BYTES_MAX {
            return Err(format!("requests of {BYTES_MAX} bytes are waiting already"));
        }
        let lane = queue
            .lanes
            .entry(Arc::clone(name))
            .or_insert_with(|| Lane { turns: Arc::new(Semaphore::new(AT_ONCE)), waiting: 0 });
        if lane.waiting >= WAITING_MAX {
            return Err(format!("{WAITING_MAX} requests for it are waiting already"));
        }
        lane.waiting += 1;
        let turns = Arc::clone(&lane.turns);
        queue.bytes += bytes;
        Ok(Place { posts: Arc::clone(self), lane: Arc::clone(name), bytes, turns })
    }

    /// How many requests wait or are under way.
    pub fn waiting(&self) -> usize {
        self.queue().lanes.values().map(|lane| lane.waiting).sum()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change under the lock is complete before anything that could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Result<&Client, String> {
        // A redirect could lead where nobody asked to call.
        let build = || Client::builder().redirect(Policy::none()).build().map_err(|error| cause(&error));
        self.client.get_or_init(build).as_ref().map_err(Clone::clone)
    }
}

impl Place {
    /// Resolves when it is this request's turn; it ends with what is returned.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, String> {
        self.turns.acquire().await.map_err(|_| "the daemon stopped before it was sent".to_owned())
    }

    /// What sends requests.
    fn client(&self) -> Result<&Client, String> {
        self.posts.client()
    }

    /// Sends `post` when its turn comes, again while that may help and `stop` is not requested.
    ///
    /// # Errors
    /// Why the last attempt failed, as a sentence.
    pub async fn deliver(&self, post: &Post, stop: &Shutdown) -> Result<(), String> {
        let stopped = || "the daemon stopped before it was sent".to_owned();
        let _turn = tokio::select! {
            biased;
            () = stop.requested() => return Err(stopped()),
            turn = self.turn() => turn?,
        };
        let client = self.client()?;
        let mut wait = BACK_OFF;
        for repetition in 0..=post.retries {
            let refused = tokio::select! {
                done = attempt(client, post) => match done {
                    Ok(()) => return Ok(()),
                    Err(refused) => refused,
                },
                () = patience(stop) => return Err("the daemon stopped before there was an answer".to_owned()),
            };
            let over = refused.is_final || repetition == post.retries;
            if !over {
                tokio::select! {
                    () = stop.requested() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
            if over || stop.is_requested() {
                return Err(format!("{} (attempts: {})", refused.reason, repetition + 1));
            }
            wait = BACK_OFF_MAX.min(wait * 2);
        }
        Ok(())
    }
}

/// Resolves when a request that is under way has had its time after `stop`.
async fn patience(stop: &Shutdown) {
    stop.requested().await;
    tokio::time::sleep(STOP_WITHIN).await;
}

/// Why an attempt failed.
struct Refused {
    reason: String,
    /// Whether another attempt would fail too.
    is_final: bool,
}

async fn attempt(client: &Client, post: &Post) -> Result<(), Refused> {
    let timeout = Duration::from_millis(post.timeout_ms);
    let mut request = client.post(&post.url).timeout(timeout).body(post.body.clone());
    for (name, value) in &post.headers {
        request = request.header(name, value);
    }
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => {
            let status = answer.status();
            let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
            let is_final = !(later || status.is_server_error());
            Err(Refused { reason: format!("the answer is {status}"), is_final })
        }
        Err(error) if error.is_timeout() => {
            let reason = format!("there is no answer within {} ms", post.timeout_ms);
            Err(Refused { reason, is_final: false })
        }
        Err(error) => {
            let is_final = error.is_builder();
            let doing = if is_final { "the request is invalid" } else { "the request failed" };
            Err(Refused { reason: format!("{doing}: {}", cause(&error)), is_final })
        }
    }
}

/// The first cause of an error, which says more than what it caused; never the URL, which may hold a secret.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = match error.source() {
        Some(source) => source,
        None => return "no more is known".to_owned(),
    };
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A URL without its query, which may hold a secret: what failures name.
pub fn without_query(url: &str) -> &str {
    url.find(['?', '#']).map_or(url, |end| &url[..end])
}
