//! How many lines clients may cause in the log: enough to see what happens, and no flood.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::lock;

/// Lines in one period.
const LINES_MAX: u32 = 50;

const PERIOD: Duration = Duration::from_secs(10);

/// The lines of all clients together.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    written: u32,
    silenced: u64,
}

impl Lines {
    /// Whether another line may be written, and how many were not since the last one that was.
    pub(crate) fn may(&self) -> Option<u64> {
        self.may_at(Instant::now())
    }

    fn may_at(&self, now: Instant) -> Option<u64> {
        let mut state = lock(&self.state);
        if state.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            state.since = Some(now);
            state.written = 0;
        }
        if state.written == LINES_MAX {
            state.silenced += 1;
            return None;
        }
        state.written += 1;
        Some(std::mem::take(&mut state.silenced))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_later() {
        let lines = Lines::default();
        let start = Instant::now();
        let written = (0..1_000).filter(|_| lines.may_at(start).is_some()).count();
        assert_eq!(written, 50);
        assert_eq!(lines.may_at(start + PERIOD), Some(950));
        assert_eq!(lines.may_at(start + PERIOD), Some(0));
    }
}
