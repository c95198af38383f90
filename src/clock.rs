//! The only file that asks the machine for the time.
//!
//! Everything else is handed a [`Clock`]. Time is counted in nanoseconds since the Unix epoch, the
//! precision Timestream stores (spec 4.1), and fits an `i64` until 2262-04-11.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The English names of the months; the short ones are their first three letters.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The English names of the days of the week; the short ones are their first three letters.
pub const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A moment: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The moment `millis` milliseconds after the epoch; saturates at the ends of the range.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Seconds since the epoch with a fraction, the form AWS JSON uses for dates (spec 1.2).
    /// Milliseconds are kept, what lies below them is dropped.
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds since the epoch stay below 2^53 until the year 287396"
    )]
    pub fn epoch_seconds(self) -> f64 {
        self.millis() as f64 / 1000.0
    }

    /// This moment moved by `nanos`; saturates at the ends of the range.
    #[must_use]
    pub const fn saturating_add(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

/// Where the time comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the door the lint points to")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands where a test puts it.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `start` until it is moved.
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.0))
    }

    /// Moves the clock to `moment`, forwards or backwards.
    pub fn set(&self, moment: Timestamp) {
        self.0.store(moment.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Hands out processing times: the clock's time, but never the same moment twice and never an
/// earlier one, so that two readings that arrive together stay two rows.
#[derive(Debug)]
pub struct ProcessingTime {
    last: AtomicI64,
}

impl Default for ProcessingTime {
    fn default() -> Self {
        Self { last: AtomicI64::new(i64::MIN) }
    }
}

impl ProcessingTime {
    /// The next processing time, at or after the clock's present moment.
    pub fn next(&self, clock: &dyn Clock) -> Timestamp {
        let now = clock.now().0;
        let advance = |last: i64| Some(now.max(last.saturating_add(1)));
        let last = self
            .last
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, advance)
            .unwrap_or_else(|unchanged| unchanged);
        Timestamp(now.max(last.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processing_times_differ_while_the_clock_stands_still() {
        let clock = ManualClock::new(Timestamp::from_nanos(1_000));
        let times = ProcessingTime::default();
        let taken: Vec<i64> = (0..3).map(|_| times.next(&clock).nanos()).collect();
        assert_eq!(taken, [1_000, 1_001, 1_002]);
    }

    #[test]
    fn processing_times_do_not_follow_a_clock_that_steps_back() {
        let clock = ManualClock::new(Timestamp::from_nanos(1_000));
        let times = ProcessingTime::default();
        times.next(&clock);
        clock.set(Timestamp::from_nanos(10));
        assert_eq!(times.next(&clock).nanos(), 1_001);
        clock.set(Timestamp::from_nanos(5_000));
        assert_eq!(times.next(&clock).nanos(), 5_000);
    }

    #[test]
    fn dates_are_epoch_seconds_with_milliseconds() {
        assert_eq!(Timestamp::from_nanos(1_677_167_593_266_999_999).epoch_seconds(), 1_677_167_593.266);
    }
}
