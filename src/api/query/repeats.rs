//! Requests that are sent again with the same `ClientToken` (spec 6.5).
//!
//! An SDK that got no answer repeats its request; the query then is not run twice. What a token was
//! first used for is kept for five minutes, or for less when room is needed: a repetition that comes
//! after that is a new query.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::api::error::ApiError;

/// How long a token stands for its request.
const WINDOW: Duration = Duration::from_secs(5 * 60);
/// How many tokens are kept.
const TOKENS_MAX: usize = 10_000;
/// How many bytes of answers are kept.
const BYTES_MAX: usize = 32 << 20;

/// What identifies a request beside its token.
pub(super) type Asked = [u8; 32];

/// A token and whose it is: two callers may have the same, and get nothing of each other's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Token {
    /// The access key of the caller, where callers have one.
    pub(super) principal: Option<String>,
    pub(super) token: String,
}

/// The answers that are kept.
#[derive(Debug)]
pub(crate) struct Repeats(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    entries: HashMap<Token, Entry>,
    /// The tokens in the order in which they came, with when. A token that failed may stand here
    /// without an entry, or with a younger one.
    order: VecDeque<(Instant, Token)>,
    bytes: usize,
    window: Duration,
}

#[derive(Debug)]
struct Entry {
    asked: Asked,
    since: Instant,
    answer: Arc<OnceCell<Bytes>>,
    bytes: usize,
}

impl Default for Repeats {
    fn default() -> Self {
        Self::within(WINDOW)
    }
}

impl Repeats {
    fn within(window: Duration) -> Self {
        Self(Mutex::new(Kept { entries: HashMap::new(), order: VecDeque::new(), bytes: 0, window }))
    }

    /// The answer to the request that `token` stands for; `make` makes it if there is none yet. A
    /// repetition that comes while the first is under way waits for the same answer.
    ///
    /// # Errors
    /// ConflictException when the token stands for another request; else what `make` says.
    pub(super) async fn once<F: Future<Output = Result<Bytes, ApiError>> + Send>(
        &self,
        token: &Token,
        asked: Asked,
        make: impl FnOnce() -> F + Send,
    ) -> Result<Bytes, ApiError> {
        let cell = self.kept().enter(token, asked)?;
        let answer = cell.get_or_try_init(make).await;
        let mut kept = self.kept();
        match &answer {
            Ok(answer) => kept.filled(token, &cell, answer.len()),
            Err(_) => kept.forget(token, &cell),
        }
        answer.cloned()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn enter(&mut self, token: &Token, asked: Asked) -> Result<Arc<OnceCell<Bytes>>, ApiError> {
        self.make_room();
        match self.entries.get(token) {
            Some(entry) if entry.asked == asked => Ok(Arc::clone(&entry.answer)),
            Some(_) => {
                Err(ApiError::conflict("The ClientToken was used for a request with other parameters."))
            }
            None => {
                let (since, answer) = (Instant::now(), Arc::new(OnceCell::new()));
                self.order.push_back((since, token.clone()));
                let entry = Entry { asked, since, answer: Arc::clone(&answer), bytes: 0 };
                self.entries.insert(token.clone(), entry);
                Ok(answer)
            }
        }
    }

    /// Drops what is too old, and the oldest while there is too much.
    fn make_room(&mut self) {
        let full = |kept: &Self| kept.order.len() >= TOKENS_MAX || kept.bytes > BYTES_MAX;
        while let Some((since, _)) = self.order.front()
            && (since.elapsed() >= self.window || full(self))
        {
            let Some((since, token)) = self.order.pop_front() else { break };
            if self.entries.get(&token).is_some_and(|entry| entry.since == since) {
                self.remove(&token);
            }
        }
    }

    fn filled(&mut self, token: &Token, cell: &Arc<OnceCell<Bytes>>, bytes: usize) {
        if let Some(entry) = self.entries.get_mut(token)
            && Arc::ptr_eq(&entry.answer, cell)
            && entry.bytes == 0
        {
            entry.bytes = bytes;
            self.bytes += bytes;
        }
    }

    /// A request that failed may be tried again, and differently.
    fn forget(&mut self, token: &Token, cell: &Arc<OnceCell<Bytes>>) {
        if self.entries.get(token).is_some_and(|entry| Arc::ptr_eq(&entry.answer, cell)) {
            self.remove(token);
        }
    }

    fn remove(&mut self, token: &Token) {
        if let Some(entry) = self.entries.remove(token) {
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Asked = [1; 32];
    const OTHER: Asked = [2; 32];

    fn token(text: &str) -> Token {
        Token { principal: None, token: text.to_owned() }
    }

    async fn once(
        repeats: &Repeats,
        text: &str,
        asked: Asked,
        answer: &'static str,
    ) -> Result<Bytes, ApiError> {
        repeats.once(&token(text), asked, || async move { Ok(Bytes::from(answer)) }).await
    }

    #[tokio::test]
    async fn callers_have_tokens_of_their_own() {
        let repeats = Repeats::default();
        let of = |principal: Option<&str>| Token { principal: principal.map(str::to_owned), ..token("t") };
        for (principal, asked, answer) in
            [(Some("one"), ONE, "a"), (Some("other"), OTHER, "b"), (None, ONE, "c")]
        {
            let made = repeats.once(&of(principal), asked, || async move { Ok(Bytes::from(answer)) }).await;
            assert_eq!(made.expect("an answer"), answer);
        }
        let again = repeats.once(&of(Some("one")), ONE, || async { Ok(Bytes::from("d")) }).await;
        assert_eq!(again.expect("an answer"), "a");
    }

    #[tokio::test]
    async fn the_first_answer_counts_as_long_as_the_window_is_open() {
        let window = Duration::from_millis(500);
        let repeats = Repeats::within(window);
        assert_eq!(once(&repeats, "t", ONE, "first").await.expect("an answer"), "first");
        assert_eq!(once(&repeats, "t", ONE, "second").await.expect("an answer"), "first");
        assert_eq!(once(&repeats, "u", ONE, "second").await.expect("an answer"), "second");
        assert_eq!(once(&repeats, "t", OTHER, "x").await.expect_err("refused").code(), "ConflictException");
        tokio::time::sleep(window).await;
        assert_eq!(once(&repeats, "t", OTHER, "third").await.expect("an answer"), "third");
    }

    #[tokio::test]
    async fn what_failed_or_was_given_up_is_made_again() {
        let repeats = Repeats::default();
        let failed = repeats.once(&token("t"), ONE, || async { Err(ApiError::validation("no")) }).await;
        assert!(failed.is_err());
        assert_eq!(once(&repeats, "t", OTHER, "other").await.expect("an answer"), "other");
        {
            let token = token("u");
            let never = repeats.once(&token, ONE, std::future::pending);
            let given_up = tokio::time::timeout(Duration::from_millis(1), never).await;
            assert!(given_up.is_err());
        }
        assert_eq!(once(&repeats, "u", ONE, "made").await.expect("an answer"), "made");
    }

    #[tokio::test]
    async fn answers_have_a_bound() {
        let repeats = Repeats::default();
        let large = Bytes::from(vec![b'x'; 1 << 20]);
        for n in 0..40 {
            let large = large.clone();
            let token = token(&format!("large {n}"));
            repeats.once(&token, ONE, || async move { Ok(large) }).await.expect("an answer");
        }
        for n in 0..TOKENS_MAX {
            once(&repeats, &n.to_string(), ONE, "x").await.expect("an answer");
            let kept = repeats.kept();
            assert!(kept.bytes <= BYTES_MAX + (1 << 20) && kept.entries.len() <= TOKENS_MAX);
        }
        assert_eq!(once(&repeats, "large 0", ONE, "anew").await.expect("an answer"), "anew");
    }
}
