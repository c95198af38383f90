//! Group commit: one thread writes whatever queued up during the last sync, syncs once, and wakes
//! everyone. It never waits for a batch to fill.
//!
//! A failed write or sync is final. What the kernel did with the dirty pages is unknown, so retrying
//! could acknowledge what is not on disk: nothing is acknowledged any more and every later call says
//! why.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use tokio::sync::{Notify, oneshot};
use tracing::{error, warn};

use super::position::Lsn;
use super::segment::{self, Segment};
use super::{WalOptions, frame};
use crate::store::files::Files;

/// Why the log takes nothing more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LogStopped(Arc<str>);

/// The reason after an orderly end.
const CLOSED: &str = "the store is closed";

/// The answer to a wait: on disk, or never.
pub(crate) type Synced = oneshot::Receiver<Result<(), LogStopped>>;

/// The log's writing end.
#[derive(Debug)]
pub(crate) struct Wal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    room: Notify,
    durable: AtomicU64,
    segments: Mutex<VecDeque<Lsn>>,
    files: Arc<dyn Files>,
    options: WalOptions,
}

#[derive(Debug)]
struct Queue {
    group: Group,
    next: Lsn,
    closed: bool,
    stopped: Option<LogStopped>,
}

/// What one write and one sync carry.
#[derive(Debug, Default)]
struct Group {
    frames: Vec<u8>,
    last: Lsn,
    waiters: Vec<oneshot::Sender<Result<(), LogStopped>>>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of the queue panics")
    }
}

impl Wal {
    /// Starts a segment at `next` behind the segments that are there, and the thread.
    pub(crate) fn start(
        files: Arc<dyn Files>,
        segments: Vec<Lsn>,
        next: Lsn,
        options: WalOptions,
    ) -> io::Result<Self> {
        let segment = Segment::create(&*files, next)?;
        let mut segments = VecDeque::from(segments);
        segments.push_back(next);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { group: Group::default(), next, closed: false, stopped: None }),
            work: Condvar::new(),
            room: Notify::new(),
            durable: AtomicU64::new(next.get() - 1),
            segments: Mutex::new(segments),
            files,
            options,
        });
        let mut committer = Committer { shared: Arc::clone(&shared), segment };
        let thread =
            std::thread::Builder::new().name("tidemill-wal".to_owned()).spawn(move || committer.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues an entry; its place follows every entry queued before. Does not wait.
    pub(crate) fn enqueue(&self, entry: &[u8]) -> Result<Lsn, LogStopped> {
        let mut queue = self.shared.queue();
        if let Some(stopped) = &queue.stopped {
            return Err(stopped.clone());
        }
        let lsn = queue.next;
        queue.next = lsn.next();
        frame::append(&mut queue.group.frames, lsn, self.durable(), entry);
        queue.group.last = lsn;
        drop(queue);
        self.shared.work.notify_one();
        Ok(lsn)
    }

    /// The answer comes once everything up to `lsn`, which must have been queued, is on disk.
    pub(crate) fn synced(&self, lsn: Lsn) -> Synced {
        let (sender, receiver) = oneshot::channel();
        let mut queue = self.shared.queue();
        let answer = if lsn <= self.durable() {
            Some(Ok(()))
        } else {
            queue.stopped.clone().map(Err)
        };
        match answer {
            // The receiver is in this function's hands: it cannot be gone.
            Some(answer) => drop(sender.send(answer)),
            None => {
                queue.group.waiters.push(sender);
                drop(queue);
                self.shared.work.notify_one();
            }
        }
        receiver
    }

    /// Waits until the queue has room for another entry.
    pub(crate) async fn room(&self) {
        loop {
            let room = self.shared.room.notified();
            {
                let queue = self.shared.queue();
                if queue.group.frames.len() < self.shared.options.group_bytes_max || queue.stopped.is_some()
                {
                    return;
                }
            }
            room.await;
        }
    }

    /// Everything up to here is on disk.
    pub(crate) fn durable(&self) -> Lsn {
        Lsn::new(self.shared.durable.load(Ordering::Acquire))
    }

    /// The place the next entry will take.
    pub(crate) fn next(&self) -> Lsn {
        self.shared.queue().next
    }

    /// Why the log takes nothing more, if it does not.
    pub(crate) fn stopped(&self) -> Option<LogStopped> {
        self.shared.queue().stopped.clone()
    }

    /// Why the log failed, if it did; an orderly end is no failure.
    pub(crate) fn failed(&self) -> Option<LogStopped> {
        self.stopped().filter(|stopped| &*stopped.0 != CLOSED)
    }

    /// Removes the segments that hold nothing at or after `keep`, oldest first.
    pub(crate) fn retire(&self, keep: Lsn) -> io::Result<()> {
        let mut segments = self.shared.segments.lock().expect("no holder of the segments panics");
        while let (Some(&first), Some(&second)) = (segments.front(), segments.get(1)) {
            if second > keep {
                break;
            }
            self.shared.files.remove(&segment::path(first))?;
            // One at a time: a hole in the middle would look like damage.
            self.shared.files.sync_folder(segment::FOLDER)?;
            segments.pop_front();
        }
        Ok(())
    }

    /// Writes what is queued, refuses what comes later, and ends the thread. Blocks.
    pub(crate) fn close(&self) {
        {
            let mut queue = self.shared.queue();
            queue.closed = true;
            queue.stopped.get_or_insert_with(|| LogStopped(CLOSED.into()));
        }
        self.shared.work.notify_one();
        self.shared.room.notify_waiters();
        let thread = self.thread.lock().expect("no holder of the handle panics").take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            error!("the log's thread panicked");
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug)]
struct Committer {
    shared: Arc<Shared>,
    segment: Segment,
}

impl Committer {
    fn run(&mut self) {
        while let Some(group) = self.take_group() {
            self.shared.room.notify_waiters();
            let answer = self.write(&group);
            if let Err(stopped) = &answer {
                self.stop(stopped);
            }
            for waiter in group.waiters {
                // Nobody waits any more: the connection went away.
                drop(waiter.send(answer.clone()));
            }
            if answer.is_err() {
                return;
            }
        }
    }

    fn take_group(&self) -> Option<Group> {
        let mut queue = self.shared.queue();
        loop {
            if !queue.group.frames.is_empty() || !queue.group.waiters.is_empty() {
                return Some(std::mem::take(&mut queue.group));
            }
            if queue.closed {
                return None;
            }
            queue = self.shared.work.wait(queue).expect("no holder of the queue panics");
        }
    }

    fn write(&mut self, group: &Group) -> Result<(), LogStopped> {
        if group.frames.is_empty() {
            return Ok(());
        }
        self.write_frames(&group.frames).map_err(|error| {
            error!(%error, "writing the log failed; nothing is acknowledged any more");
            LogStopped(format!("writing the log failed: {error}").into())
        })?;
        self.shared.durable.store(group.last.get(), Ordering::Release);
        Ok(())
    }

    fn write_frames(&mut self, frames: &[u8]) -> io::Result<()> {
        if self.segment.bytes() >= self.shared.options.segment_bytes {
            let first = Lsn::new(self.shared.durable.load(Ordering::Acquire)).next();
            self.segment = Segment::create(&*self.shared.files, first)?;
            self.shared.segments.lock().expect("no holder of the segments panics").push_back(first);
        }
        self.segment.append(frames)
    }

    fn stop(&self, stopped: &LogStopped) {
        let mut queue = self.shared.queue();
        let waiting = std::mem::take(&mut queue.group.waiters);
        queue.group.frames = Vec::new();
        queue.stopped = Some(stopped.clone());
        drop(queue);
        self.shared.room.notify_waiters();
        if !waiting.is_empty() {
            warn!(writes = waiting.len(), "writes that were queued are refused");
        }
        for waiter in waiting {
            drop(waiter.send(Err(stopped.clone())));
        }
    }
}

#[cfg(test)]
mod tests;
