//! Group commit: one thread writes whatever queued up during the last sync, syncs once, and wakes
//! everyone. It never sleeps for a batch to fill, but it is polite: while more than one writer is at work
//! it gives way to those who are ready to run, for each sync costs everyone a wake-up and an answer of its
//! own. And before it sleeps it looks for work a little longer: a device that waits for its acknowledgement
//! sends the next message at once, and waking a thread takes as long as a good part of a sync.
//!
//! A failed write or sync is final. What the kernel did with the dirty pages is unknown, so retrying
//! could acknowledge what is not on disk: nothing is acknowledged any more and every later call says
//! why.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use tokio::sync::Notify;
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

/// The reason after the thread ended otherwise.
const ENDED: &str = "the log's thread ended";

/// How often the thread looks for work before it sleeps: some 50 microseconds, in which others may run.
const LOOKS: usize = 100;
/// How long it pauses between two looks.
const PAUSES: usize = 16;
/// How often it gives way while frames keep coming.
const COURTESIES: usize = 8;

/// A buffer of the log that is larger than this is given back after it was written.
const SPARE_BYTES_MAX: usize = 1024 * 1024;

/// Resolves once everything up to a place is on disk, or never will be.
///
/// A fleet waits for hundreds of these at a time, mostly one after the other: nobody is woken for
/// those that are on disk when they are asked.
#[derive(Debug)]
pub(crate) struct Synced {
    shared: Arc<Shared>,
    lsn: Lsn,
    registered: Option<Waker>,
}

impl Future for Synced {
    type Output = Result<(), LogStopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.lsn <= self.shared.durable() {
            return Poll::Ready(Ok(()));
        }
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.queue();
        // Once more under the lock: what becomes durable from here on wakes us.
        if self.lsn <= shared.durable() {
            return Poll::Ready(Ok(()));
        }
        if let Some(ended) = &queue.ended {
            return Poll::Ready(Err(ended.clone()));
        }
        let waker = context.waker();
        if !self.registered.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
            queue.waiting.push((self.lsn, waker.clone()));
            self.registered = Some(waker.clone());
        }
        Poll::Pending
    }
}

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
    /// How many frames `queue` holds, for a look without its lock.
    queued: AtomicUsize,
    room: Notify,
    durable: AtomicU64,
    segments: Mutex<VecDeque<Lsn>>,
    files: Arc<dyn Files>,
    options: WalOptions,
}

#[derive(Debug)]
struct Queue {
    /// What the next write and the next sync carry.
    frames: Vec<u8>,
    next: Lsn,
    /// Who to wake once a place is on disk.
    waiting: Vec<(Lsn, Waker)>,
    /// Whether the thread sleeps until it is told that there is work.
    idle: bool,
    closed: bool,
    /// Why nothing more is taken.
    stopped: Option<LogStopped>,
    /// Why what is not on disk by now never will be.
    ended: Option<LogStopped>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of the queue panics")
    }

    fn durable(&self) -> Lsn {
        Lsn::new(self.durable.load(Ordering::Acquire))
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
        let segment = Segment::create(&*files, next, options.reserve_bytes)?;
        let mut segments = VecDeque::from(segments);
        segments.push_back(next);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                frames: Vec::new(),
                next,
                waiting: Vec::new(),
                idle: false,
                closed: false,
                stopped: None,
                ended: None,
            }),
            work: Condvar::new(),
            queued: AtomicUsize::new(0),
            room: Notify::new(),
            durable: AtomicU64::new(next.get() - 1),
            segments: Mutex::new(segments),
            files,
            options,
        });
        let mut committer = Committer { shared: Arc::clone(&shared), segment, spare: Vec::new(), group: 0 };
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
        frame::append(&mut queue.frames, lsn, self.durable(), entry);
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        // Waking costs a system call, and mostly the thread is at work.
        let idle = std::mem::take(&mut queue.idle);
        drop(queue);
        if idle {
            self.shared.work.notify_one();
        }
        Ok(lsn)
    }

    /// The answer comes once everything up to `lsn`, which must have been queued, is on disk.
    pub(crate) fn synced(&self, lsn: Lsn) -> Synced {
        Synced { shared: Arc::clone(&self.shared), lsn, registered: None }
    }

    /// Waits until the queue has room for another entry.
    pub(crate) async fn room(&self) {
        loop {
            let room = self.shared.room.notified();
            {
                let queue = self.shared.queue();
                if queue.frames.len() < self.shared.options.group_bytes_max || queue.stopped.is_some() {
                    return;
                }
            }
            room.await;
        }
    }

    /// Everything up to here is on disk.
    pub(crate) fn durable(&self) -> Lsn {
        self.shared.durable()
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
    /// The buffer of the write before, for the next.
    spare: Vec<u8>,
    /// How many frames the last write had.
    group: usize,
}

impl Committer {
    fn run(&mut self) {
        while let Some((mut frames, last)) = self.take_frames() {
            self.shared.room.notify_waiters();
            if let Err(error) = self.write(&frames) {
                error!(%error, "writing the log failed; nothing is acknowledged any more");
                return self.stop(LogStopped(format!("writing the log failed: {error}").into()));
            }
            self.shared.durable.store(last.get(), Ordering::Release);
            self.wake(last);
            if frames.capacity() <= SPARE_BYTES_MAX {
                frames.clear();
                self.spare = frames;
            }
        }
        self.stop(LogStopped(CLOSED.into()));
    }

    /// Waits for frames; the answer is all there are, and the number of the last. `None` in the end.
    fn take_frames(&mut self) -> Option<(Vec<u8>, Lsn)> {
        self.look_for_work();
        self.give_way();
        let mut queue = self.shared.queue();
        loop {
            if !queue.frames.is_empty() {
                let frames = std::mem::replace(&mut queue.frames, std::mem::take(&mut self.spare));
                self.group = self.shared.queued.swap(0, Ordering::Relaxed);
                return Some((frames, Lsn::new(queue.next.get() - 1)));
            }
            if queue.closed {
                return None;
            }
            queue.idle = true;
            queue = self.shared.work.wait(queue).expect("no holder of the queue panics");
            queue.idle = false;
        }
    }

    /// Returns when there is work, or when it is not worth looking any longer.
    fn look_for_work(&self) {
        for _ in 0..LOOKS {
            if self.shared.queued.load(Ordering::Relaxed) > 0 {
                return;
            }
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
            std::thread::yield_now();
        }
    }

    /// Lets others run who may have something to add; on an idle machine, and for a single writer, it takes
    /// no time.
    fn give_way(&self) {
        if self.group <= 1 {
            return;
        }
        let mut known = self.shared.queued.load(Ordering::Relaxed);
        for _ in 0..COURTESIES {
            std::thread::yield_now();
            let now = self.shared.queued.load(Ordering::Relaxed);
            if std::mem::replace(&mut known, now) == now {
                return;
            }
        }
    }

    fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        let options = &self.shared.options;
        if self.segment.bytes() >= options.segment_bytes {
            let first = self.shared.durable().next();
            self.segment = Segment::create(&*self.shared.files, first, options.reserve_bytes)?;
            self.shared.segments.lock().expect("no holder of the segments panics").push_back(first);
        }
        self.segment.append(frames)
    }

    /// Wakes who waits for a place up to `last`, outside of the lock.
    fn wake(&self, last: Lsn) {
        let woken: Vec<_> = self.shared.queue().waiting.extract_if(.., |(lsn, _)| *lsn <= last).collect();
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Nothing more is written: tells everyone who waits, and everyone who will ask.
    fn stop(&self, reason: LogStopped) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.frames = Vec::new();
        let closed = reason == LogStopped(CLOSED.into());
        if !closed {
            queue.stopped = Some(reason.clone());
        }
        queue.ended = Some(reason);
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        self.shared.room.notify_waiters();
        if !waiting.is_empty() {
            warn!(writes = waiting.len(), "writes that were queued are refused");
        }
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// A thread that panics must not leave anybody waiting.
impl Drop for Committer {
    fn drop(&mut self) {
        let ended =
            |shared: &Shared| shared.queue.lock().unwrap_or_else(PoisonError::into_inner).ended.is_some();
        if !ended(&self.shared) {
            self.stop(LogStopped(ENDED.into()));
        }
    }
}

#[cfg(test)]
mod tests;
