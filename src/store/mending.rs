//! What is done to a log that did not end as it should: recovery decides, this carries it out.

use std::io::ErrorKind;

use tracing::warn;

use super::damage::{Damage, Segment};
use super::error::StoreError;
use super::files::Files;
use super::wal::position::Lsn;
use super::wal::reader::Fault;
use super::wal::segment;

/// The files of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mending<'a> {
    pub(crate) files: &'a dyn Files,
}

impl Mending<'_> {
    /// Removes a segment, durably.
    pub(crate) fn remove_segment(&self, path: &str) -> Result<(), StoreError> {
        let removed = self.files.remove(path).and_then(|()| self.files.sync_folder(segment::FOLDER));
        removed.map_err(StoreError::disk("removing a log segment"))
    }

    /// Cuts off what a crash left unfinished.
    pub(crate) fn cut(&self, segment: &Segment, fault: &Fault) -> Result<(), StoreError> {
        let (path, lost) = (&segment.path, segment.bytes.len() - segment.good);
        warn!(path, offset = fault.offset, bytes = lost, reason = %fault.kind, "unfinished end of the log cut off");
        self.files.truncate(path, fault.offset).map_err(StoreError::disk("cutting the log"))
    }

    /// Ends the log at the damage. Every byte behind it is kept in a file beside its own.
    pub(crate) fn set_aside(
        &self,
        segment: &Segment,
        damage: &Damage,
        later: impl Iterator<Item = Lsn>,
    ) -> Result<(), StoreError> {
        let kept = self.keep(&segment.path, &segment.bytes[segment.good..])?;
        warn!(
            path = segment.path,
            offset = damage.offset,
            reason = damage.reason,
            kept,
            "damaged log cut off"
        );
        // The newest first: a hole in the middle would be damage that nobody has seen yet.
        for path in later.map(segment::path) {
            let bytes = self.files.read(&path).map_err(StoreError::disk("reading the log"))?;
            let kept = self.keep(&path, &bytes)?;
            warn!(path, kept, "log behind the damage set aside");
            self.remove_segment(&path)?;
        }
        self.files.truncate(&segment.path, segment.good as u64).map_err(StoreError::disk("cutting the log"))
    }

    /// Writes bytes of `path` to a new file, whose name is the answer.
    fn keep(&self, path: &str, bytes: &[u8]) -> Result<String, StoreError> {
        let write = || {
            let (name, mut file) = (1..)
                .find_map(|number| {
                    // An earlier attempt may have left a file that is not whole.
                    let name = if number == 1 {
                        format!("{path}.damaged")
                    } else {
                        format!("{path}.{number}.damaged")
                    };
                    match self.files.create(&name) {
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                        created => Some(created.map(|file| (name, file))),
                    }
                })
                .expect("numbers do not end")?;
            file.append(bytes)?;
            file.sync()?;
            self.files.sync_folder(segment::FOLDER)?;
            Ok(name)
        };
        write().map_err(StoreError::disk("setting damaged bytes aside"))
    }
}
