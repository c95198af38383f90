//! The log on its way back: a thread of its own reads, checks and decodes ahead, while recovery puts
//! into tables what came before.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

use super::damage::{Damage, Flaw, LogWalk, Segment};
use super::error::StoreError;
use super::files::Files;
use super::paths::TableId;
use super::wal::entry::{self, LoggedRow};
use super::wal::position::Lsn;

/// Frames are handed over together until they have this many rows.
const ROWS: usize = 4096;

/// How many such handfuls may wait.
const AHEAD: usize = 4;

/// What comes from the log, in its order.
#[derive(Debug)]
pub(crate) enum Piece {
    /// The rows of some good frames of tables that want them.
    Frames(Vec<LoggedFrame>),
    /// The end of a segment, with its bytes if anything is wrong with them, and the segments behind
    /// it. Nothing follows a damaged one.
    Segment(Segment, Vec<Lsn>),
}

/// The rows of a frame.
#[derive(Debug)]
pub(crate) struct LoggedFrame {
    pub(crate) table: TableId,
    pub(crate) lsn: Lsn,
    pub(crate) rows: Vec<LoggedRow>,
}

/// Begins to read the log. `tables` are those whose rows are wanted, with the place up to which they
/// are in parts; `flushed` is the highest of these. The pieces are all of the log only if the task
/// ends well.
pub(crate) fn start(
    files: Arc<dyn Files>,
    tables: HashMap<TableId, Lsn>,
    flushed: Lsn,
) -> (Receiver<Piece>, JoinHandle<Result<(), StoreError>>) {
    let (pieces, receiver) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || Replay { tables, pieces }.run(&*files, flushed));
    (receiver, reading)
}

struct Replay {
    tables: HashMap<TableId, Lsn>,
    pieces: Sender<Piece>,
}

impl Replay {
    fn run(&self, files: &dyn Files, flushed: Lsn) -> Result<(), StoreError> {
        let mut walk = LogWalk::start(files, flushed)?;
        while let Some(mut segment) = walk.next_segment()? {
            if let Some((end, damage)) = self.decode(&segment) {
                segment.good = usize::try_from(damage.offset).expect("an offset in memory");
                segment.next = Some(end);
                segment.flaw = Some(Flaw::Damaged(damage));
            }
            let damaged = matches!(segment.flaw, Some(Flaw::Damaged(_)));
            if segment.flaw.is_none() {
                segment.bytes = Vec::new();
            }
            if !self.send(Piece::Segment(segment, walk.rest().collect())) || damaged {
                break;
            }
        }
        Ok(())
    }

    /// Decodes the good frames of a segment. An entry that cannot be read is damage, although its
    /// frame is good; the answer names it and the number of its frame.
    fn decode(&self, segment: &Segment) -> Option<(Lsn, Damage)> {
        let mut frames = segment.frames();
        let (mut ready, mut rows) = (Vec::new(), 0);
        let fault = loop {
            let offset = frames.offset();
            let Some(Ok(frame)) = frames.next() else { break None };
            let decoded = match entry::table_of(frame.entry) {
                Ok(table) if self.tables.get(&table).is_some_and(|flushed| frame.lsn > *flushed) => {
                    entry::decode(frame.entry)
                }
                Ok(_) => continue,
                Err(fault) => Err(fault),
            };
            match decoded {
                Ok((table, decoded)) => {
                    rows += decoded.len();
                    ready.push(LoggedFrame { table, lsn: frame.lsn, rows: decoded });
                }
                Err(fault) => break Some((frame.lsn, Damage::new(offset, fault))),
            }
            if rows >= ROWS {
                rows = 0;
                if !self.send(Piece::Frames(std::mem::take(&mut ready))) {
                    break None;
                }
            }
        };
        self.send(Piece::Frames(ready));
        fault
    }

    /// Hands a piece over; `false` when recovery has given up.
    fn send(&self, piece: Piece) -> bool {
        self.pieces.blocking_send(piece).is_ok()
    }
}
