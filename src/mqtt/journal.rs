//! The seam to the disk: where the broker writes down what must survive a restart.

use super::ingest::Receipt;

/// A place in the journal; places grow with every entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

impl Place {
    /// Before all entries: nothing has to be waited for.
    pub const START: Self = Self(0);

    /// Behind all entries: never on disk, because the journal takes nothing more.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// The place of entry `number`; the first is 1.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The entry's number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A log of the broker's own. What was appended is read again, in order, at the next start.
#[async_trait::async_trait]
pub trait Journal: std::fmt::Debug + Send + Sync + 'static {
    /// Appends an entry of at most 15 MiB; never waits. Nothing comes back once the journal
    /// has failed or is closed.
    fn append(&self, entry: &[u8]) -> Option<Place>;
    /// Everything up to here is on disk.
    fn durable(&self) -> Place;
    /// Where the next entry will be.
    fn next(&self) -> Place;
    /// Resolves once everything up to `place` is on disk, or never will be.
    fn synced(&self, place: Place) -> Receipt;
    /// Waits while more is queued for the disk than should be.
    async fn room(&self);
    /// Forgets entries before `keep`, as far as that is easy. Blocks.
    ///
    /// # Errors
    /// What the disk said.
    fn retire(&self, keep: Place) -> Result<(), String>;
}

/// The largest entry.
pub(crate) const ENTRY_BYTES_MAX: usize = 15 * 1024 * 1024;

/// A journal that keeps nothing: for a broker whose sessions end with the process.
#[derive(Debug, Default)]
pub struct NoJournal;

#[async_trait::async_trait]
impl Journal for NoJournal {
    fn append(&self, _entry: &[u8]) -> Option<Place> {
        Some(Place::START)
    }

    fn durable(&self) -> Place {
        Place::START
    }

    fn next(&self) -> Place {
        Place::START
    }

    fn synced(&self, _place: Place) -> Receipt {
        Box::pin(async { Ok(()) })
    }

    async fn room(&self) {}

    fn retire(&self, _keep: Place) -> Result<(), String> {
        Ok(())
    }
}
