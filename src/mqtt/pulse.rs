//! When a client was last heard, and whether it is we who do not listen.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The pulse of one connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// How long the client may be silent; nothing when it has no keep-alive.
    patience: Option<Duration>,
    started: Instant,
    heard_millis: AtomicU64,
    held_up: AtomicBool,
}

impl Pulse {
    /// Of a client heard just now that may be silent for one and a half times `keep_alive_seconds`; 0 is for ever.
    pub(crate) fn new(keep_alive_seconds: u16) -> Self {
        let patience = Duration::from_millis(u64::from(keep_alive_seconds) * 1_500);
        Self {
            patience: (!patience.is_zero()).then_some(patience),
            started: Instant::now(),
            heard_millis: AtomicU64::new(0),
            held_up: AtomicBool::new(false),
        }
    }

    /// Notes that the client has been heard.
    pub(crate) fn heard(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_millis.store(millis, Ordering::Relaxed);
    }

    /// Notes that the client is not being listened to, or again.
    pub(crate) fn set_held_up(&self, held_up: bool) {
        self.held_up.store(held_up, Ordering::Relaxed);
    }

    /// Resolves when the client has been silent for too long.
    pub(crate) async fn silent(&self) {
        let Some(patience) = self.patience else { return std::future::pending().await };
        loop {
            let heard = Duration::from_millis(self.heard_millis.load(Ordering::Relaxed));
            let due = self.started + heard + patience;
            if Instant::now() >= due {
                if !self.held_up.load(Ordering::Relaxed) {
                    return;
                }
                // What it says may be waiting in the socket.
                self.heard();
                continue;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}
