//! An object store that answers reads of parts with checked bytes or with an error.
//!
//! Whoever reads parts, queries included, reads through it. A read is widened to whole blocks, and to
//! the whole end of the file when it touches that; every byte is checked each time it comes from
//! the disk or the network, because it may have gone bad since the last time. Only the lists of
//! checksums are kept in memory, up to a bound. Everything else passes through.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tracing::error;

use super::PartMeta;
use super::seal::{BLOCK_BYTES, Seal};

/// Lists of checksums that are kept: enough for 128 GiB of parts that are read again and again.
const SUMS_MAX: usize = 4 * 1024 * 1024;

/// The store.
#[derive(Debug)]
pub(crate) struct CheckedStore {
    inner: Arc<dyn ObjectStore>,
    readable: Mutex<Readable>,
}

/// The parts somebody may read.
#[derive(Debug, Default)]
struct Readable {
    parts: HashMap<Path, Known>,
    /// How many checksums are kept, and how often any were asked for.
    kept: usize,
    asked: u64,
}

#[derive(Debug)]
struct Known {
    extent: Extent,
    sums: Option<Arc<[u32]>>,
    /// When the sums were last asked for.
    asked: u64,
    /// Where the part was found to be damaged.
    damage: Option<u64>,
}

/// How long a part is and how it is sealed.
#[derive(Debug, Clone, Copy)]
struct Extent {
    bytes: u64,
    seal: Seal,
}

/// Bytes of a part that are not what was written.
#[derive(Debug, thiserror::Error)]
#[error("{path} is damaged at byte {offset}: the checksum does not match; restore the file from a backup")]
pub(crate) struct DamagedPart {
    path: Path,
    /// Where the block begins that is not what it was.
    pub(crate) offset: u64,
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{path} is a part of no table")]
    Unknown { path: Path },
    #[error("{path} has {bytes} bytes; {}..{} is outside", range.start, range.end)]
    Outside { path: Path, bytes: u64, range: Range<u64> },
}

fn failed(reason: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: "parts", source: Box::new(reason) }
}

/// The damage that `error` reports, if that is what it does.
pub(crate) fn damage(error: &Error) -> Option<&DamagedPart> {
    match error {
        Error::Generic { source, .. } => source.downcast_ref(),
        _ => None,
    }
}

impl Extent {
    /// The smallest range around `range` that can be checked.
    fn cover(&self, range: &Range<u64>) -> Range<u64> {
        let end = self.seal.start;
        let from = if range.start < end { range.start / BLOCK_BYTES * BLOCK_BYTES } else { end };
        let to = if range.end > end { self.bytes } else { range.end.next_multiple_of(BLOCK_BYTES).min(end) };
        from..to
    }

    fn reaches_end(&self, range: &Range<u64>) -> bool {
        range.end > self.seal.start
    }

    /// The offset of the first block of `bytes`, which lie at `covered`, that is not what was written.
    /// The end of the file is not looked at.
    fn bad_block(&self, covered: &Range<u64>, bytes: &[u8], sums: &[u32]) -> Option<u64> {
        let mut at = covered.start;
        while at < covered.end.min(self.seal.start) {
            let to = (at + BLOCK_BYTES).min(self.seal.start);
            let block = slice_of(covered.start, bytes, &(at..to));
            let sum = usize::try_from(at / BLOCK_BYTES).ok().and_then(|number| sums.get(number));
            if block.map(crc32c::crc32c).as_ref() != sum {
                return Some(at);
            }
            at = to;
        }
        None
    }
}

/// The bytes at `range`, of `bytes` that lie from `start` on.
fn slice_of<'a>(start: u64, bytes: &'a [u8], range: &Range<u64>) -> Option<&'a [u8]> {
    let place = |at: u64| usize::try_from(at.checked_sub(start)?).ok();
    bytes.get(place(range.start)?..place(range.end)?)
}

/// Ranges that touch become one; sorted.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => joined.push(range),
        }
    }
    joined
}

impl CheckedStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(Self { inner, readable: Mutex::default() })
    }

    fn readable(&self) -> MutexGuard<'_, Readable> {
        self.readable.lock().expect("no holder of the lock panics")
    }

    /// From here on `part` may be read.
    pub(crate) fn add(&self, part: &PartMeta) {
        let extent = Extent { bytes: part.bytes, seal: part.seal };
        let known = Known { extent, sums: None, asked: 0, damage: None };
        self.readable().parts.insert(part.path.clone(), known);
    }

    /// Nobody reads the part any more.
    pub(crate) fn remove(&self, path: &Path) {
        let mut readable = self.readable();
        if let Some(sums) = readable.parts.remove(path).and_then(|known| known.sums) {
            readable.kept -= sums.len();
        }
    }

    /// What is known of a part; `None` for what is not a part.
    fn extent(&self, path: &Path) -> Result<Option<Extent>> {
        match self.readable().parts.get(path) {
            Some(known) => Ok(Some(known.extent)),
            None if path.extension() == Some("parquet") => {
                Err(failed(Refused::Unknown { path: path.clone() }))
            }
            None => Ok(None),
        }
    }

    /// The parts that were found to be damaged.
    pub(crate) fn damaged_parts(&self) -> Vec<Path> {
        let readable = self.readable();
        let damaged = readable.parts.iter().filter(|(_, known)| known.damage.is_some());
        let mut paths: Vec<Path> = damaged.map(|(path, _)| path.clone()).collect();
        paths.sort();
        paths
    }

    /// The error for a bad block; the log hears of each part once.
    fn damaged(&self, path: &Path, offset: u64) -> Error {
        let mut readable = self.readable();
        let known = readable.parts.get_mut(path).and_then(|known| known.damage.replace(offset));
        drop(readable);
        if known.is_none() {
            error!(%path, offset, "a part is damaged; queries that need it fail");
        }
        failed(DamagedPart { path: path.clone(), offset })
    }

    /// Takes the checksums from the end of the file.
    fn unseal(&self, path: &Path, extent: Extent, end: &[u8]) -> Result<Arc<[u32]>> {
        let sums = extent.seal.open(end).ok_or_else(|| self.damaged(path, extent.seal.start))?;
        let sums: Arc<[u32]> = sums.into();
        self.readable().keep(path, &sums);
        Ok(sums)
    }

    async fn sums(&self, path: &Path, extent: Extent) -> Result<Arc<[u32]>> {
        if let Some(sums) = self.readable().sums(path) {
            return Ok(sums);
        }
        let end = self.inner.get_range(path, extent.seal.start..extent.bytes).await?;
        self.unseal(path, extent, &end)
    }

    /// Checks `bytes`, which are at `covered`, a range that can be checked.
    async fn check(&self, path: &Path, extent: Extent, covered: &Range<u64>, bytes: &[u8]) -> Result<()> {
        let seal = extent.seal.start;
        let sums = if extent.reaches_end(covered) {
            let end = slice_of(covered.start, bytes, &(seal..extent.bytes));
            self.unseal(path, extent, end.unwrap_or_default())?
        } else {
            self.sums(path, extent).await?
        };
        match extent.bad_block(covered, bytes, &sums) {
            Some(offset) => Err(self.damaged(path, offset)),
            None => {
                self.readable().found_whole(path, covered);
                Ok(())
            }
        }
    }
}

impl Readable {
    /// What was damaged in `covered` has been restored.
    fn found_whole(&mut self, path: &Path, covered: &Range<u64>) {
        if let Some(known) = self.parts.get_mut(path) {
            known.damage = known.damage.filter(|offset| !covered.contains(offset));
        }
    }

    fn sums(&mut self, path: &Path) -> Option<Arc<[u32]>> {
        self.asked += 1;
        let known = self.parts.get_mut(path)?;
        known.asked = self.asked;
        known.sums.clone()
    }

    fn keep(&mut self, path: &Path, sums: &Arc<[u32]>) {
        self.asked += 1;
        let Some(known) = self.parts.get_mut(path) else { return };
        known.asked = self.asked;
        self.kept += sums.len();
        self.kept -= known.sums.replace(Arc::clone(sums)).map_or(0, |old| old.len());
        while self.kept > SUMS_MAX {
            let kept = self.parts.values_mut().filter(|known| known.sums.is_some());
            let Some(oldest) = kept.min_by_key(|known| known.asked) else { break };
            self.kept -= oldest.sums.take().map_or(0, |sums| sums.len());
        }
    }
}

impl fmt::Display for CheckedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checked parts in {}", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for CheckedStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let extent = if options.head { None } else { self.extent(path)? };
        let Some(extent) = extent else { return self.inner.get_opts(path, options).await };
        let all = GetRange::Offset(0);
        let wanted = options.range.as_ref().unwrap_or(&all).as_range(extent.bytes).map_err(failed)?;
        let covered = extent.cover(&wanted);
        let options = GetOptions { range: Some(GetRange::Bounded(covered.clone())), ..options };
        let result = self.inner.get_opts(path, options).await?;
        let (meta, attributes) = (result.meta.clone(), result.attributes.clone());
        let bytes = result.bytes().await?;
        self.check(path, extent, &covered, &bytes).await?;
        let bytes = bytes.slice_ref(slice_of(covered.start, &bytes, &wanted).expect("covered and whole"));
        let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range: wanted, attributes })
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let Some(extent) = self.extent(path)? else { return self.inner.get_ranges(path, ranges).await };
        if let Some(outside) = ranges.iter().find(|range| range.start > range.end || range.end > extent.bytes)
        {
            let (path, range) = (path.clone(), outside.clone());
            return Err(failed(Refused::Outside { path, bytes: extent.bytes, range }));
        }
        let covered = joined(ranges.iter().map(|range| extent.cover(range)).collect());
        let read = self.inner.get_ranges(path, &covered).await?;
        for (covered, bytes) in covered.iter().zip(&read) {
            self.check(path, extent, covered, bytes).await?;
        }
        let wanted = |range: &Range<u64>| {
            let at = covered.partition_point(|covered| covered.end < range.end);
            let bytes = slice_of(covered[at].start, &read[at], range).expect("covered and whole");
            read[at].slice_ref(bytes)
        };
        Ok(ranges.iter().map(wanted).collect())
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests;
