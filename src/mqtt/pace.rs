//! How fast one client may publish. Faster is no offence: it is read later.

use std::time::Duration;

use tokio::time::Instant;

/// The publishes of one connection in time. After a quiet second a second's worth may come at once.
#[derive(Debug)]
pub(crate) struct Pace {
    messages: Meter,
    bytes: Meter,
}

#[derive(Debug)]
struct Meter {
    per_second: u32,
    /// When everything let through so far would have come at the steady pace.
    even: Instant,
}

impl Pace {
    /// A pace of so many messages and bytes a second; 0 is any number.
    pub(crate) fn new(messages_per_second: u32, bytes_per_second: u32) -> Self {
        let even = Instant::now();
        let meter = |per_second| Meter { per_second, even };
        Self { messages: meter(messages_per_second), bytes: meter(bytes_per_second) }
    }

    /// Lets a publish of `bytes` through; how long to wait before the next is read.
    pub(crate) fn publish(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        let waits = [self.messages.add(1, now), self.bytes.add(bytes, now)];
        waits.into_iter().flatten().max()
    }
}

impl Meter {
    fn add(&mut self, count: usize, now: Instant) -> Option<Duration> {
        if self.per_second == 0 {
            return None;
        }
        let burst = Duration::from_secs(1);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let cost = Duration::from_secs(1).mul_f64(f64::from(count) / f64::from(self.per_second));
        self.even = self.even.max(now.checked_sub(burst).unwrap_or(now)) + cost;
        self.even.checked_duration_since(now).filter(|ahead| !ahead.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_may_come_at_once_and_then_it_is_steady() {
        let start = Instant::now();
        let mut pace = Pace::new(100, 0);
        let mut now = start + Duration::from_secs(60);
        for n in 0..100 {
            assert_eq!(pace.publish(1, now), None, "{n}");
        }
        for _ in 0..50 {
            let wait = pace.publish(1, now).expect("too fast");
            assert!((wait.as_secs_f64() - 0.01).abs() < 1e-6, "{wait:?}");
            now += wait;
        }
        assert!(pace.publish(1_000_000, now).is_some_and(|wait| wait < Duration::from_millis(11)));
        let mut pace = Pace::new(0, 1_000);
        assert_eq!(pace.publish(1_000, start + Duration::from_secs(9)), None);
        assert_eq!(pace.publish(500, start + Duration::from_secs(9)), Some(Duration::from_millis(500)));
        assert_eq!(Pace::new(0, 0).publish(usize::MAX, start), None);
    }
}
