//! Stopping: one signal everyone can wait for, and a roll of who has not finished.
//!
//! The daemon stops its rooms in the reverse of the order in which it built them; each room gets a
//! [`Shutdown`] of its own, so that one room can be drained while the next still works.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The stop signal of one room and the tasks it waits for.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    signal: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A signal that has not been given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` on the current runtime and remembers it until it ends.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Resolves once the signal is given.
    pub async fn requested(&self) {
        self.signal.cancelled().await;
    }

    /// Whether the signal has been given.
    pub fn is_requested(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// How many remembered tasks have not ended.
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Gives the signal and waits until every remembered task has ended, at most `deadline`.
    /// Returns how many were still running then.
    pub async fn stop(&self, deadline: Duration) -> usize {
        self.signal.cancel();
        self.tasks.close();
        match tokio::time::timeout(deadline, self.tasks.wait()).await {
            Ok(()) => 0,
            Err(_) => self.running(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stop_waits_for_tasks_and_counts_those_that_stay() {
        let room = Shutdown::new();
        let waiting = room.clone();
        room.spawn(async move { waiting.requested().await });
        assert_eq!(room.stop(Duration::from_secs(5)).await, 0);

        let stuck = Shutdown::new();
        stuck.spawn(std::future::pending());
        assert_eq!(stuck.stop(Duration::from_millis(10)).await, 1);
    }
}
