//! The memory all tables together may hold: writers wait when it is used up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How often a waiting writer looks whether waiting still makes sense.
const PATIENCE: Duration = Duration::from_millis(200);

/// A number of bytes that is not exceeded by more than the writes under way.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    used: AtomicUsize,
    max: usize,
    freed: Notify,
    /// Woken when something should be flushed.
    pub(crate) pressure: Arc<Notify>,
}

impl MemoryBudget {
    pub(crate) fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max, freed: Notify::new(), pressure: Arc::new(Notify::new()) }
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.freed.notify_waiters();
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Whether so much is used that flushing should start before anybody waits.
    pub(crate) fn is_tight(&self) -> bool {
        self.used() >= self.max / 2
    }

    /// Waits until there is room, or until `give_up` says something.
    pub(crate) async fn room<E>(&self, give_up: impl Fn() -> Option<E>) -> Result<(), E> {
        loop {
            let freed = self.freed.notified();
            if self.used() < self.max {
                return Ok(());
            }
            if let Some(error) = give_up() {
                return Err(error);
            }
            self.pressure.notify_one();
            // Time out or woken: both look again.
            drop(tokio::time::timeout(PATIENCE, freed).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writers_wait_for_room_and_may_give_up() {
        let memory = Arc::new(MemoryBudget::new(10));
        memory.room(|| None::<()>).await.expect("empty");
        memory.take(10);
        assert_eq!(memory.room(|| Some("closed")).await, Err("closed"));
        let waiting = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move { memory.room(|| None::<()>).await }
        });
        memory.pressure.notified().await;
        memory.give_back(1);
        waiting.await.expect("not cancelled").expect("room");
    }
}
