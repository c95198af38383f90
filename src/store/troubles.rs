//! What a task in the background could not do to a table, until it could: for the health of the store,
//! and for the log in few words however often it is tried again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::error::StoreError;
use super::paths::TableId;

/// The longest pause between two attempts that [`Troubles::may_try`] asks for.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

/// The tables with which something does not work.
#[derive(Debug)]
pub(crate) struct Troubles {
    /// What does not work, as a sentence's beginning.
    what: &'static str,
    tables: Mutex<BTreeMap<TableId, Trouble>>,
}

#[derive(Debug)]
struct Trouble {
    reason: String,
    times: u32,
    last: Instant,
}

impl Troubles {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, tables: Mutex::default() }
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<TableId, Trouble>> {
        self.tables.lock().expect("no holder of the troubles panics")
    }

    /// Takes note of an attempt. The log hears of the first failure, the second, the fourth and so on,
    /// and of the success that ends them.
    pub(crate) fn note<T>(&self, table: TableId, result: &Result<T, StoreError>) {
        let mut tables = self.tables();
        let Err(failure) = result else {
            if let Some(trouble) = tables.remove(&table) {
                info!(%table, times = trouble.times, "works again after failures: {}", self.what);
            }
            return;
        };
        let (reason, last) = (failure.to_string(), Instant::now());
        let trouble = tables.entry(table).or_insert(Trouble { reason: String::new(), times: 0, last });
        trouble.times = trouble.times.saturating_add(1);
        (trouble.reason, trouble.last) = (reason, last);
        if trouble.times.is_power_of_two() {
            error!(%table, error = %failure, times = trouble.times, "{}; tried again", self.what);
        }
    }

    /// Whether it is time at `now` for another attempt, when the first pause is `pause` and each following one is
    /// twice as long.
    pub(crate) fn may_try(&self, table: TableId, pause: Duration, now: Instant) -> bool {
        self.tables().get(&table).is_none_or(|trouble| {
            let doublings = (trouble.times - 1).min(16);
            now.saturating_duration_since(trouble.last) >= pause.saturating_mul(1 << doublings).min(PAUSE_MAX)
        })
    }

    /// The table is gone, and its troubles with it.
    pub(crate) fn forget(&self, table: TableId) {
        self.tables().remove(&table);
    }

    /// One sentence: of how many tables, and why of the first.
    pub(crate) fn told(&self) -> Option<String> {
        let tables = self.tables();
        let trouble = tables.values().next()?;
        let more = match tables.len() {
            1 => String::new(),
            tables => format!(" (and of {} tables more)", tables - 1),
        };
        Some(format!("{}: {}{more}", self.what, trouble.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_with_a_success() {
        let troubles = Troubles::new("rows cannot be moved");
        let [a, b] = [TableId::from_bytes([1; 16]), TableId::from_bytes([2; 16])];
        let full = || Err::<(), _>(StoreError::Unavailable { reason: "full".to_owned() });
        assert_eq!((troubles.told(), troubles.may_try(a, PAUSE_MAX, Instant::now())), (None, true));
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            troubles.note(a, &full());
            let minute = Duration::from_secs(60);
            let after = |seconds| troubles.may_try(a, minute, Instant::now() + Duration::from_secs(seconds));
            assert_eq!((after(minutes * 60 - 30), after(minutes * 60)), (false, true));
            assert!(troubles.may_try(a, Duration::ZERO, Instant::now()));
        }
        assert!(troubles.may_try(b, PAUSE_MAX, Instant::now()));
        let told = "rows cannot be moved: the store takes no writes: full";
        assert_eq!(troubles.told().as_deref(), Some(told));
        troubles.note(b, &full());
        assert_eq!(troubles.told(), Some(format!("{told} (and of 1 tables more)")));
        troubles.note(a, &Ok(()));
        assert_eq!(troubles.told().as_deref(), Some(told));
        troubles.forget(b);
        assert_eq!(troubles.told(), None);
    }
}
