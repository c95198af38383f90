//! Sessions, subscriptions, retained messages and messages under way outlive the process, however it ends.

use std::net::SocketAddr;
use std::time::Duration;

use crate::daemon::Site;
use crate::device::{Publisher, Subscriber};

/// As many messages as may wait for one session: the story has no more, so that none may be dropped, however long
/// a subscriber stays away.
const MESSAGES_MAX: u64 = 60_000;
const ROOMY: &str = "[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
    [mqtt.limits]\noutbound_messages_max = 60000\noutbound_bytes_max = \"1GiB\"\nabsent_bytes_max = \"1GiB\"\n\
    queued_bytes_max = \"1GiB\"\n";

/// The number in the environment variable `name`, else `default`.
fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// A number below `below` that looks like chance (xorshift).
fn chance(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 20) % below
}

/// Runs everybody on threads until the connections break; a publisher that has published `count` is done.
fn run(
    address: SocketAddr,
    publishers: &mut [Publisher],
    count: u64,
    subscribers: Vec<&mut Subscriber>,
    kill: impl FnOnce(),
) {
    std::thread::scope(|scope| {
        for subscriber in subscribers {
            scope.spawn(move || subscriber.run(address, |_| false));
        }
        for publisher in publishers {
            scope.spawn(move || publisher.run(address, count, 20));
        }
        kill();
    });
}

/// `TIDEMILL_ROUNDS` makes it long, `TIDEMILL_SEED` another story.
#[test]
fn kills_lose_no_message_for_a_session_and_repeat_none_of_qos_2() {
    let (seed, rounds) = (asked("TIDEMILL_SEED", 1), asked("TIDEMILL_ROUNDS", 4));
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let site = Site::new();
    site.configure(ROOMY);
    let mut publishers: Vec<_> = (0..3).map(|n| Publisher::new(format!("p{n}"))).collect();
    let mut subscribers: Vec<_> = (0..3).map(|n| Subscriber::new(format!("s{n}"))).collect();
    // Their sessions exist before there is anything for them.
    let daemon = site.start();
    subscribers.iter_mut().for_each(|subscriber| subscriber.run(daemon.mqtt, |_| true));
    daemon.kill();
    let count = MESSAGES_MAX / (rounds * publishers.len() as u64);
    for _ in 0..rounds {
        let daemon = site.start();
        let address = daemon.mqtt;
        // One subscriber may stay away for a round.
        let away = usize::try_from(chance(&mut state, 4)).expect("small");
        let here: Vec<_> =
            subscribers.iter_mut().enumerate().filter(|(n, _)| *n != away).map(|(_, one)| one).collect();
        let wait = Duration::from_millis(200 + chance(&mut state, 500));
        run(address, &mut publishers, count, here, || {
            std::thread::sleep(wait);
            daemon.kill();
        });
    }
    let daemon = site.start();
    for publisher in &mut publishers {
        assert!(publisher.run(daemon.mqtt, 0, 20), "{}: not everything was acknowledged", publisher.name);
    }
    let story = format!("seed {seed}");
    let owed: usize = publishers.iter().map(|publisher| publisher.acknowledged.len()).sum();
    let sent: u64 = publishers.iter().map(Publisher::sent).sum();
    assert_eq!(owed as u64, sent, "{story}: with the last run all are acknowledged");
    assert!(sent > 100, "{story}: only {sent} were sent");
    println!("{story}: {sent} messages through {rounds} kills");
    for subscriber in &mut subscribers {
        subscriber.run(daemon.mqtt, |subscriber| subscriber.distinct.len() == owed);
        publishers.iter().for_each(|publisher| subscriber.judge(publisher, &story));
    }
    assert_eq!(daemon.stop(), Some(0));
}
