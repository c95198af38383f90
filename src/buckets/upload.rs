//! Writing an object of any size: it is there whole when it is finished, and before not at all.
//!
//! What is smaller than a part is put at once. Parts grow with their number, so that the 10,000 that S3
//! allows are enough for 275 GB while an object of some megabytes needs little memory.

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

use super::error::Doing;
use super::{Bucket, BucketError, Place};

/// The least S3 takes for a part that is not the last.
const S3_PART_BYTES: usize = 5 << 20;
/// Parts of one size.
const PARTS_PER_SIZE: usize = 1_000;
/// A folder has no rule: enough that calls do not count.
const FOLDER_PART_BYTES: usize = 1 << 20;

/// An object that is being written. What is dropped unfinished leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    bucket: Bucket,
    key: String,
    path: Path,
    part: BytesMut,
    parts: usize,
    bytes: u64,
    begun: Option<Box<dyn MultipartUpload>>,
    /// The part on its way; one at most, so that memory stays bounded.
    under_way: JoinSet<object_store::Result<()>>,
}

impl Upload {
    pub(super) fn new(bucket: Bucket, key: String, path: Path) -> Self {
        let (part, under_way) = (BytesMut::new(), JoinSet::new());
        Self { bucket, key, path, part, parts: 0, bytes: 0, begun: None, under_way }
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends `bytes`; waits while the storage is slower than the caller.
    ///
    /// # Errors
    /// In S3's terms. After an error only dropping is left.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), BucketError> {
        while !bytes.is_empty() {
            let room = self.part_bytes().saturating_sub(self.part.len());
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.part.extend_from_slice(now);
            self.bytes += now.len() as u64;
            bytes = rest;
            if self.part.len() >= self.part_bytes() {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Puts the object in its place, where it lasts; returns its size in bytes.
    ///
    /// # Errors
    /// In S3's terms; nothing is left behind then.
    pub async fn finish(mut self) -> Result<u64, BucketError> {
        if self.begun.is_none() {
            let whole = PutPayload::from_bytes(self.part.split().freeze());
            let put = self.bucket.objects().put(&self.path, whole).await;
            put.map_err(|error| self.failed(&error))?;
            self.bucket.sync(&self.key).await?;
            return Ok(self.bytes);
        }
        if !self.part.is_empty() {
            self.send().await?;
        }
        self.settle().await?;
        if let Some(begun) = &mut self.begun {
            let done = begun.complete().await;
            done.map_err(|error| self.failed(&error))?;
        }
        self.begun = None;
        self.bucket.sync(&self.key).await?;
        Ok(self.bytes)
    }

    fn part_bytes(&self) -> usize {
        match self.bucket.place {
            Place::Folder(..) => FOLDER_PART_BYTES,
            Place::S3(_) => S3_PART_BYTES * (1 + self.parts / PARTS_PER_SIZE),
        }
    }

    /// Sends the part, after the one before has arrived.
    async fn send(&mut self) -> Result<(), BucketError> {
        self.settle().await?;
        let part: Bytes = self.part.split().freeze();
        if self.begun.is_none() {
            let begun = self.bucket.objects().put_multipart(&self.path).await;
            self.begun = Some(begun.map_err(|error| self.failed(&error))?);
        }
        if let Some(begun) = &mut self.begun {
            self.under_way.spawn(begun.put_part(PutPayload::from_bytes(part)));
        }
        self.parts += 1;
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), BucketError> {
        while let Some(done) = self.under_way.join_next().await {
            let arrived = done.unwrap_or_else(|source| Err(object_store::Error::JoinError { source }));
            arrived.map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    fn failed(&self, error: &object_store::Error) -> BucketError {
        Doing::Writing.failed(&self.bucket.name, Some(&self.key), error)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut begun) = self.begun.take() {
            let mut under_way = std::mem::take(&mut self.under_way);
            self.bucket.runtime.spawn(async move {
                under_way.shutdown().await;
                // The storage's own rules for abandoned uploads take what cannot be taken back here.
                let _ = begun.abort().await;
            });
        }
    }
}
