//! Logs of other rooms in the store's folder: the same segments, frames and group commit as the store's
//! own, and the same judgement of damage. What the entries mean is their rooms' business.

use std::path::Path;
use std::sync::Arc;

use tracing::warn;

use super::damage::{Damage, Flaw, LogWalk, Segment};
use super::error::StoreError;
use super::examine::{Finding, Severity};
use super::files::{DiskFiles, Files};
use super::mending::Mending;
use super::options::StoreOptions;
use super::wal::WalOptions;
use super::wal::committer::{LogStopped, Synced, Wal};
use super::wal::position::Lsn;

/// The folder of the MQTT broker's journal.
pub(crate) const MQTT: &str = "mqtt";

/// A segment that reached this many bytes is followed by a new one: small, so that old ones go soon.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Writers wait while this much is queued for the next write.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// A log that another room keeps in the store's folder. Clones are the same log.
#[derive(Debug, Clone)]
pub struct Journal {
    wal: Arc<Wal>,
}

impl Journal {
    pub(crate) fn open(
        options: &StoreOptions,
        folder: &str,
        replay: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Self, StoreError> {
        let path = options.path.join(folder);
        std::fs::create_dir_all(&path).map_err(StoreError::disk("creating a journal's folder"))?;
        let above = DiskFiles::new(&options.path).sync_folder("");
        above.map_err(StoreError::disk("syncing a journal's folder"))?;
        Self::open_on(Arc::new(DiskFiles::new(&path)), options, folder, replay)
    }

    pub(crate) fn open_on(
        files: Arc<dyn Files>,
        options: &StoreOptions,
        folder: &str,
        mut replay: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Self, StoreError> {
        let mending = Mending { files: &*files };
        let mut walk = LogWalk::start(&*files, Lsn::START)?;
        let (mut segments, mut next) = (Vec::new(), Lsn::START.next());
        while let Some(mut segment) = walk.next_segment()? {
            judge_entries(&mut segment, &mut replay);
            next = segment.next.unwrap_or(next);
            let mut lost = false;
            match segment.flaw.take() {
                None => {}
                Some(Flaw::Torn(fault)) => mending.cut(&segment, &fault)?,
                Some(Flaw::Damaged(damage)) if !options.accept_loss => {
                    return Err(damage.of(&format!("{folder}/{}", segment.path)));
                }
                Some(Flaw::Damaged(damage)) => {
                    warn!(folder, "a journal's log is cut at its damage");
                    mending.set_aside(&segment, &damage, walk.rest().rev())?;
                    lost = true;
                }
            }
            if segment.is_empty() {
                mending.remove_segment(&segment.path)?;
            } else {
                if walk.is_done() || lost {
                    files.sync_file(&segment.path).map_err(StoreError::disk("syncing a journal"))?;
                }
                segments.push(segment.first);
            }
            if lost {
                break;
            }
        }
        let wal_options = WalOptions {
            segment_bytes: SEGMENT_BYTES,
            reserve_bytes: options.wal_reserve_bytes,
            group_bytes_max: GROUP_BYTES,
        };
        let wal = Wal::start(files, segments, next, wal_options);
        Ok(Self { wal: Arc::new(wal.map_err(StoreError::disk("starting a journal"))?) })
    }

    /// Queues an entry of less than 16 MiB and returns its number, which follows that of the entry before;
    /// nothing when no more entries are taken. Does not wait.
    pub fn append(&self, entry: &[u8]) -> Option<u64> {
        self.wal.enqueue(entry).ok().map(Lsn::get)
    }

    /// Every entry up to this number is on disk.
    pub fn durable(&self) -> u64 {
        self.wal.durable().get()
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        self.wal.next().get()
    }

    /// Resolves once everything up to entry `number` is on disk.
    ///
    /// # Errors
    /// The answer is the reason when it never will be.
    pub fn synced(&self, number: u64) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let synced: Synced = self.wal.synced(Lsn::new(number));
        async move { synced.await.map_err(|stopped| stopped.to_string()) }
    }

    /// Waits while much is queued for the disk.
    pub async fn room(&self) {
        self.wal.room().await;
    }

    /// Removes the files that hold nothing from entry `keep` on. Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn retire(&self, keep: u64) -> Result<(), StoreError> {
        self.wal.retire(Lsn::new(keep)).map_err(StoreError::disk("removing old segments of a journal"))
    }

    pub(crate) fn close(&self) {
        self.wal.close();
    }

    pub(crate) fn failed(&self) -> Option<LogStopped> {
        self.wal.failed()
    }

    pub(crate) fn stopped(&self) -> Option<LogStopped> {
        self.wal.stopped()
    }
}

/// Hands the good entries of a segment to `replay`; the first that it cannot read is damage.
fn judge_entries(segment: &mut Segment, replay: &mut impl FnMut(&[u8]) -> Result<(), String>) {
    let mut frames = segment.frames();
    loop {
        let offset = frames.offset();
        let Some(Ok(frame)) = frames.next() else { return };
        if let Err(reason) = replay(frame.entry) {
            let lsn = frame.lsn;
            segment.good = usize::try_from(offset).expect("an offset in memory");
            segment.next = Some(lsn);
            segment.flaw = Some(Flaw::Damaged(Damage::new(offset, reason)));
            return;
        }
    }
}

/// What is wrong with the journals in the store's folder `path`, as far as their frames say.
pub(crate) fn examine(path: &Path) -> Result<Vec<Finding>, StoreError> {
    let files = DiskFiles::new(&path.join(MQTT));
    let mut walk = LogWalk::start(&files, Lsn::START)?;
    let mut findings = Vec::new();
    while let Some(segment) = walk.next_segment()? {
        let file = format!("{MQTT}/{}", segment.path);
        let finding = match segment.flaw {
            None => continue,
            Some(Flaw::Torn(fault)) => {
                let meaning = format!("{}: a crash left it unfinished; it will be cut off", fault.kind);
                Finding::new(Severity::Harmless, file, meaning).at(fault.offset)
            }
            Some(Flaw::Damaged(damage)) => {
                let meaning = format!(
                    "{}; opening is refused. Accepting the loss gives up what the MQTT sessions and retained \
                     messages became from here on",
                    damage.reason
                );
                Finding::new(Severity::Refused, file, meaning).at(damage.offset)
            }
        };
        findings.push(finding);
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(options: &StoreOptions) -> Result<(Journal, Vec<String>), StoreError> {
        let mut entries = Vec::new();
        let journal = Journal::open(options, MQTT, |entry| {
            let text = String::from_utf8(entry.to_vec()).expect("ours");
            if text == "unreadable" {
                return Err("it means nothing".to_owned());
            }
            entries.push(text);
            Ok(())
        })?;
        Ok((journal, entries))
    }

    #[tokio::test]
    async fn entries_come_back_in_order_and_old_ones_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = StoreOptions::new(folder.path());
        let (journal, entries) = open(&options).expect("new");
        assert!(entries.is_empty());
        let taken: Vec<_> = (0..3).map(|n| journal.append(format!("entry {n}").as_bytes())).collect();
        let last = taken[2].expect("taken");
        journal.synced(last).await.expect("on disk");
        assert_eq!((journal.durable(), journal.next()), (3, 4));
        journal.close();
        assert_eq!(journal.append(b"x"), None);
        let (journal, entries) = open(&options).expect("whole");
        assert_eq!(entries, ["entry 0", "entry 1", "entry 2"]);
        let last = journal.append(b"entry 3").expect("taken");
        journal.synced(last).await.expect("on disk");
        journal.retire(4).expect("removed");
        journal.close();
        let (_journal, entries) = open(&options).expect("whole");
        assert_eq!(entries, ["entry 3"]);
    }

    #[tokio::test]
    async fn damage_refuses_the_opening_until_the_loss_is_accepted() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = StoreOptions::new(folder.path());
        for entries in [["a", "b"], ["c", "unreadable"]] {
            let mut seen = 0;
            let journal = Journal::open(&options, MQTT, |_| {
                seen += 1;
                Ok(())
            });
            let journal = journal.expect("whole");
            for entry in entries {
                let number = journal.append(entry.as_bytes()).expect("taken");
                journal.synced(number).await.expect("on disk");
            }
            journal.close();
        }
        assert!(examine(folder.path()).expect("readable").is_empty(), "the frames are good");
        let error = open(&options).expect_err("an entry cannot be read").to_string();
        assert!(error.contains("mqtt/wal/") && error.contains("it means nothing"), "{error}");
        let first = folder.path().join("mqtt/wal/00000000000000000001.log");
        let mut bytes = std::fs::read(&first).expect("there");
        bytes[30] ^= 1;
        std::fs::write(&first, bytes).expect("written");
        let error = open(&options).expect_err("damaged").to_string();
        assert!(error.contains("mqtt/wal/00000000000000000001.log"), "{error}");
        let findings = examine(folder.path()).expect("readable");
        assert_eq!(findings.iter().map(|one| one.severity).collect::<Vec<_>>(), [Severity::Refused]);
        let accepting = StoreOptions { accept_loss: true, ..options.clone() };
        let (journal, entries) = open(&accepting).expect("accepted");
        assert!(entries.is_empty());
        journal.close();
        open(&options).expect("whole again");
    }
}
