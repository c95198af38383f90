//! Failed logins are slowed down, address by address.
//!
//! An address has a few places for logins that are being checked. A login that fails keeps its place
//! for a while, longer each time, so that guessing gets slow; one that succeeds gives it back at once,
//! so that those who share the address with a guesser get through between its guesses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::lock;

/// Logins of one address that are checked at once.
const PLACES: usize = 4;
/// Addresses that are remembered; those for which there is no room share one entry.
const ADDRESSES_MAX: usize = 10_000;

/// How long things take here.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How long the first failed login keeps its place; each further one doubles it.
    first_delay: Duration,
    /// The longest a failed login keeps its place.
    longest_delay: Duration,
    /// How long failures are remembered after the last one.
    remembered: Duration,
    /// How long a login waits for a place.
    patience: Duration,
}

const PACE: Pace = Pace {
    first_delay: Duration::from_millis(250),
    longest_delay: Duration::from_secs(8),
    remembered: Duration::from_secs(300),
    patience: Duration::from_secs(10),
};

/// Too many logins of the address wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowded;

#[derive(Debug)]
struct Record {
    places: Arc<Semaphore>,
    failures: u32,
    last_failure: Instant,
}

impl Record {
    fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), failures: 0, last_failure: Instant::now() }
    }

    /// Nobody is being checked, and nothing has to be remembered.
    fn is_idle(&self, remembered: Duration) -> bool {
        Arc::strong_count(&self.places) == 1
            && (self.failures == 0 || self.last_failure.elapsed() > remembered)
    }
}

/// Who has failed to log in of late.
#[derive(Debug)]
pub(crate) struct Slowdown {
    pace: Pace,
    records: Mutex<HashMap<IpAddr, Record>>,
}

impl Default for Slowdown {
    fn default() -> Self {
        Self::at(PACE)
    }
}

impl Slowdown {
    fn at(pace: Pace) -> Self {
        Self { pace, records: Mutex::default() }
    }

    /// Checks a login from `address`; resolves late when it fails.
    ///
    /// # Errors
    /// When no place gets free in time.
    pub(crate) async fn check<T>(
        &self,
        address: IpAddr,
        login: impl Future<Output = Option<T>>,
    ) -> Result<Option<T>, Crowded> {
        let (key, places) = self.enter(address);
        let place = match timeout(self.pace.patience, Arc::clone(&places).acquire_owned()).await {
            Ok(place) => place.expect("the semaphore is never closed"),
            Err(_) => return Err(Crowded),
        };
        let result = login.await;
        if result.is_none() {
            sleep(self.failed(key)).await;
        }
        drop((place, places));
        self.leave(key);
        Ok(result)
    }

    fn enter(&self, address: IpAddr) -> (IpAddr, Arc<Semaphore>) {
        let mut records = lock(&self.records);
        let mut key = network(address);
        if !records.contains_key(&key) && records.len() >= ADDRESSES_MAX {
            records.retain(|_, record| !record.is_idle(self.pace.remembered));
            if records.len() >= ADDRESSES_MAX {
                key = Ipv6Addr::UNSPECIFIED.into();
            }
        }
        let places = &records.entry(key).or_insert_with(Record::new).places;
        (key, Arc::clone(places))
    }

    /// Counts a failure; says for how long it keeps its place.
    fn failed(&self, key: IpAddr) -> Duration {
        let mut records = lock(&self.records);
        let record = records.entry(key).or_insert_with(Record::new);
        if record.last_failure.elapsed() > self.pace.remembered {
            record.failures = 0;
        }
        record.failures = record.failures.saturating_add(1);
        record.last_failure = Instant::now();
        let doubled = 1 << (record.failures - 1).min(16);
        (self.pace.first_delay * doubled).min(self.pace.longest_delay)
    }

    fn leave(&self, key: IpAddr) {
        let mut records = lock(&self.records);
        if records.get(&key).is_some_and(|record| record.is_idle(self.pace.remembered)) {
            records.remove(&key);
        }
    }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn at(first_delay: u64, remembered: u64, patience: u64) -> Slowdown {
        let (first_delay, remembered) =
            (Duration::from_millis(first_delay), Duration::from_millis(remembered));
        Slowdown::at(Pace { first_delay, remembered, patience: Duration::from_millis(patience), ..PACE })
    }

    #[test]
    fn each_failure_takes_longer_and_is_forgotten() {
        let slowdown = Slowdown::default();
        for expected in [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000] {
            assert_eq!(slowdown.failed(HERE), Duration::from_millis(expected));
        }
        assert_eq!(slowdown.failed([192, 0, 2, 2].into()), PACE.first_delay, "another address");
        let forgetful = at(250, 0, 0);
        for _ in 0..3 {
            assert_eq!(forgetful.failed(HERE), PACE.first_delay);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[tokio::test]
    async fn who_fails_keeps_the_place_for_a_while() {
        let slowdown = Arc::new(at(40, 60_000, 60_000));
        let started = Instant::now();
        let guesses: Vec<_> = (0..=PLACES)
            .map(|_| {
                let slowdown = Arc::clone(&slowdown);
                tokio::spawn(async move { slowdown.check(HERE, ready(None::<()>)).await })
            })
            .collect();
        for guess in guesses {
            assert_eq!(guess.await.unwrap(), Ok(None));
        }
        // The fifth waits for the first, and then for itself: 40 ms, and 40 ms doubled four times.
        assert!(started.elapsed() >= Duration::from_millis(40 + 640), "{:?}", started.elapsed());
        assert_eq!(slowdown.check(HERE, ready(Some(()))).await, Ok(Some(())));
    }

    #[tokio::test]
    async fn who_finds_no_place_is_told_so() {
        let slowdown = Arc::new(at(0, 0, 20));
        for _ in 0..PLACES {
            let slowdown = Arc::clone(&slowdown);
            tokio::spawn(async move { slowdown.check(HERE, pending::<Option<()>>()).await });
        }
        while lock(&slowdown.records).get(&HERE).is_none_or(|record| record.places.available_permits() > 0) {
            tokio::task::yield_now().await;
        }
        assert_eq!(slowdown.check(HERE, ready(Some(()))).await, Err(Crowded));
    }

    #[test]
    fn the_table_is_bounded() {
        for remembered in [60_000, 0] {
            let slowdown = at(0, remembered, 0);
            for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 50 {
                let (key, _) = slowdown.enter(IpAddr::from(number.to_be_bytes()));
                slowdown.failed(key);
            }
            // Those for whom there is no room share one entry.
            assert!(lock(&slowdown.records).len() <= ADDRESSES_MAX + 1);
        }
        let v6: IpAddr = "2001:db8:0:1:2::3".parse().unwrap();
        assert_eq!(network(v6), "2001:db8:0:1::".parse::<IpAddr>().unwrap());
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), HERE);
    }

    #[tokio::test]
    async fn who_has_not_failed_is_not_remembered() {
        let slowdown = Slowdown::default();
        assert_eq!(slowdown.check(HERE, ready(Some(1))).await, Ok(Some(1)));
        assert!(lock(&slowdown.records).is_empty());
    }
}
