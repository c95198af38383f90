//! Reading an object piece by piece, however large it is and however slowly it is used.
//!
//! Every piece is a request of its own, the next one under way while one is used: a reader that has to wait
//! for the store keeps no connection open that the server would cut.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange};
use tokio::task::JoinSet;

use super::error::Doing;
use super::{Bucket, BucketError, ObjectInfo};

/// The bytes of a piece.
const PIECE_BYTES: u64 = 4 << 20;

/// An object that is being read. At most two pieces are in memory.
#[derive(Debug)]
pub struct Reader {
    bucket: Bucket,
    object: ObjectInfo,
    path: Path,
    /// Where the piece after the one under way begins.
    next: u64,
    ahead: JoinSet<Result<Bytes, BucketError>>,
}

impl Reader {
    pub(super) fn new(bucket: Bucket, object: ObjectInfo, path: Path, from: u64) -> Self {
        Self { bucket, object, path, next: from, ahead: JoinSet::new() }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// In S3's terms; `Changed` when another object is under the key now.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, BucketError> {
        self.look_ahead();
        let Some(done) = self.ahead.join_next().await else { return Ok(None) };
        let piece = done.unwrap_or_else(|failure| {
            Err(BucketError::Unavailable {
                bucket: self.bucket.name.to_string(),
                doing: Doing::Reading.words(),
                reason: failure.to_string(),
            })
        })?;
        self.look_ahead();
        Ok(Some(piece))
    }

    fn look_ahead(&mut self) {
        if !self.ahead.is_empty() || self.next >= self.object.size {
            return;
        }
        let range = self.next..self.object.size.min(self.next + PIECE_BYTES);
        self.next = range.end;
        let (bucket, object, path) = (self.bucket.clone(), self.object.clone(), self.path.clone());
        self.ahead.spawn(async move {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range)),
                if_match: object.etag,
                ..GetOptions::default()
            };
            let failed = |error| Doing::Reading.failed(&bucket.name, Some(&object.key), &error);
            let piece = bucket.objects().get_opts(&path, options).await.map_err(failed)?;
            piece.bytes().await.map_err(failed)
        });
    }
}
