//! What was sent and what of it was acknowledged, and whether what is stored fits: acknowledged is a
//! part of stored, stored a part of sent.

use std::collections::BTreeMap;

use super::fixture::{Rows, row, write};
use crate::record::Record;
use crate::store::{Store, StoreError};

/// Each row counts its versions up; the value is the version.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    rows: BTreeMap<String, Sent>,
}

#[derive(Debug, Clone)]
struct Sent {
    host: String,
    time: i64,
    /// The newest version that was sent, and the newest that was acknowledged.
    newest: i64,
    acknowledged: i64,
}

fn version_of(values: &str) -> i64 {
    values.strip_prefix("measure_value::bigint=").expect("a value").parse().expect("int")
}

impl History {
    /// Sends the next version of each row in one batch.
    pub(crate) async fn send(&mut self, store: &Store, rows: &[(&str, i64)]) -> Result<(), StoreError> {
        let mut batch = Vec::new();
        for (host, time) in rows {
            let key = format!("host={host} measure_name=m time={time}");
            let sent = Sent { host: (*host).to_owned(), time: *time, newest: 0, acknowledged: 0 };
            let sent = self.rows.entry(key).or_insert(sent);
            sent.newest += 1;
            batch.push(sent.record());
        }
        self.submit(store, batch).await
    }

    /// Sends the newest version of every row once more, as a client does that got no answer.
    pub(crate) async fn send_again(&mut self, store: &Store) -> Result<(), StoreError> {
        self.submit(store, self.rows.values().map(Sent::record).collect()).await
    }

    async fn submit(&mut self, store: &Store, batch: Vec<Record>) -> Result<(), StoreError> {
        let keys: Vec<(String, i64)> = batch.iter().map(|record| (key(record), record.version)).collect();
        let written = write(store, batch).await?;
        assert_eq!(written.rejected, []);
        for (key, version) in keys {
            self.rows.get_mut(&key).expect("sent").acknowledged = version;
        }
        Ok(())
    }

    /// What a reader saw must stay, as if it had been acknowledged.
    pub(crate) fn saw(&mut self, stored: &Rows) {
        for (key, values) in stored {
            let sent = self.rows.get_mut(key).expect("judged before");
            sent.acknowledged = sent.acknowledged.max(version_of(values));
        }
    }

    /// How many rows were acknowledged in any version, and how many sent.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.rows.values().filter(|sent| sent.acknowledged > 0).count(), self.rows.len())
    }

    /// Panics when what is stored cannot have come from this history.
    pub(crate) fn judge(&self, stored: &Rows, story: &str) {
        for (key, values) in stored {
            let sent = self.rows.get(key).unwrap_or_else(|| panic!("{story}: {key} was never sent"));
            let version = version_of(values);
            assert!(version <= sent.newest, "{story}: {key} has version {version} of {}", sent.newest);
        }
        for (key, sent) in self.rows.iter().filter(|(_, sent)| sent.acknowledged > 0) {
            let lost = || panic!("{story}: {key} was acknowledged and is lost");
            let version = stored.get(key).map_or_else(lost, |values| version_of(values));
            assert!(version >= sent.acknowledged, "{story}: {key} fell back to {version} from {sent:?}");
        }
    }
}

impl Sent {
    fn record(&self) -> Record {
        row(&self.host, self.time, self.newest, self.newest)
    }
}

fn key(record: &Record) -> String {
    let host = &record.dimensions[0].value;
    format!("host={host} measure_name=m time={}", record.time.nanos())
}

#[tokio::test]
async fn the_judge_sees_what_is_lost_made_up_or_old() {
    let machine = super::fixture::Machine::with_table().await;
    let store = machine.open().await;
    let mut history = History::default();
    history.send(&store, &[("a", 1), ("b", 2)]).await.expect("written");
    history.send(&store, &[("a", 1)]).await.expect("written");
    assert_eq!(history.counts(), (2, 2));
    let stored = super::fixture::rows(&store).await;
    history.judge(&stored, "whole");
    let verdict = |change: &dyn Fn(&mut Rows)| {
        let mut stored = stored.clone();
        change(&mut stored);
        std::panic::catch_unwind(|| history.judge(&stored, "wrong")).is_err()
    };
    let a = || "host=a measure_name=m time=1".to_owned();
    assert!(verdict(&|rows| drop(rows.remove(&a()))), "lost");
    assert!(verdict(&|rows| drop(rows.insert(a(), "measure_value::bigint=1".to_owned()))), "old");
    assert!(verdict(&|rows| drop(rows.insert(a(), "measure_value::bigint=3".to_owned()))), "too new");
    assert!(verdict(&|rows| drop(rows.insert("host=c".to_owned(), "x".to_owned()))), "made up");
}
