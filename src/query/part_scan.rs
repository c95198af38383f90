//! Which files a scan reads, which row groups of them, and on which thread.

use std::slice;
use std::sync::Arc;

use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, ParquetRowSelection};
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use datafusion::parquet::file::metadata::ParquetMetaData;
use roaring::RoaringBitmap;

use super::source::SourcePart;
use super::texts::{self, Share, Texts};

/// A part to be read and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Known<'a> {
    pub(crate) part: &'a SourcePart,
    pub(crate) statistics: Statistics,
}

impl Known<'_> {
    /// The whole part.
    fn file(&self) -> PartitionedFile {
        let file = PartitionedFile::new(self.part.path.as_ref(), self.part.bytes)
            .with_statistics(Arc::new(self.statistics.clone()));
        match self.part.superseded.as_ref().filter(|superseded| !superseded.is_empty()) {
            Some(superseded) => {
                file.with_extension(ParquetRowSelection::new(selection(superseded, self.part.rows)))
            }
            None => file,
        }
    }

    /// Some of its row groups, each with its number of rows, of a part without superseded rows.
    fn row_groups(&self, of: usize, groups: impl Iterator<Item = (usize, usize)>) -> PartitionedFile {
        let (mut plan, mut all) = (ParquetAccessPlan::new_none(of), 0);
        for (group, rows) in groups {
            plan.scan(group);
            all += rows;
        }
        let mut statistics = self.statistics.clone().to_inexact();
        statistics.num_rows = Precision::Inexact(all);
        PartitionedFile::new(self.part.path.as_ref(), self.part.bytes)
            .with_statistics(Arc::new(statistics))
            .with_extension(plan)
    }
}

/// Files in as many groups as there are threads, each group about as heavy as the others.
pub(crate) fn grouped(parts: &[Known<'_>], threads: usize) -> Vec<FileGroup> {
    balanced(parts.iter().map(Known::file).collect(), threads)
}

fn balanced(files: Vec<PartitionedFile>, threads: usize) -> Vec<FileGroup> {
    let groups = threads.clamp(1, files.len().max(1));
    let mut filled: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); groups];
    for file in files {
        let lightest = filled.iter_mut().min_by_key(|(bytes, _)| *bytes);
        if let Some((bytes, files)) = lightest {
            *bytes += file.object_meta.size;
            files.push(file);
        }
    }
    filled.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
}

/// Parts taken apart by what filters on texts say of their row groups. Row groups without a row that passes
/// are in neither.
#[derive(Debug)]
pub(crate) struct Split {
    /// Row groups all of whose rows pass, dealt out to the threads: those of one measure lie together, so that
    /// cutting the file in halves would give them all to one.
    pub(crate) whole: Vec<FileGroup>,
    /// Where rows must be asked.
    pub(crate) rest: Vec<FileGroup>,
}

impl Split {
    pub(crate) fn of(
        parts: &[Known<'_>],
        filters: &[Texts],
        known: &FileMetadataCache,
        threads: usize,
    ) -> Self {
        let (mut whole, mut rest) = (Vec::new(), Vec::new());
        for part in parts {
            let Some(metadata) = readable(part.part, known) else {
                rest.push(part.file());
                continue;
            };
            let shares = texts::shares(&metadata, filters);
            let of = |share| {
                let groups = shares.iter().enumerate().filter(move |(_, known)| **known == share);
                groups.map(|(group, _)| (group, texts::rows_of(&metadata, group)))
            };
            whole.extend(of(Share::All).map(|group| (part, shares.len(), group)));
            if of(Share::Some).next().is_some() {
                rest.push(part.row_groups(shares.len(), of(Share::Some)));
            }
        }
        let rest = if rest.is_empty() { Vec::new() } else { balanced(rest, threads) };
        Self { whole: dealt(&whole, threads), rest }
    }
}

/// The metadata of a part whose row groups may be read one by one; not of one with superseded rows, which are
/// skipped by their number in the file.
pub(crate) fn readable(part: &SourcePart, known: &FileMetadataCache) -> Option<Arc<ParquetMetaData>> {
    let plain = part.superseded.as_ref().is_none_or(|superseded| superseded.is_empty());
    plain.then(|| texts::metadata(known, &part.path)).flatten()
}

/// A part, with its metadata if that was read before.
pub(crate) type ReadBefore<'a> = (&'a SourcePart, Option<Arc<ParquetMetaData>>);

/// How many rows lie in pages that can have all the texts.
pub(crate) fn rows_with((part, metadata): &ReadBefore<'_>, wanted: &[Texts]) -> usize {
    match metadata {
        Some(metadata) => texts::rows_with(metadata, wanted),
        None => usize::try_from(part.rows).unwrap_or(usize::MAX),
    }
}

/// Whether most row groups that have rows of the filter have no others.
pub(crate) fn pass_as_a_whole(parts: &[ReadBefore<'_>], filter: &Texts) -> bool {
    let (mut whole, mut some) = (0_usize, 0_usize);
    for (part, metadata) in parts {
        let Some(metadata) = metadata else {
            some = some.saturating_add(usize::try_from(part.rows).unwrap_or(usize::MAX));
            continue;
        };
        for (group, share) in texts::shares(metadata, slice::from_ref(filter)).into_iter().enumerate() {
            match share {
                Share::All => whole += texts::rows_of(metadata, group),
                Share::Some => some = some.saturating_add(texts::rows_of(metadata, group)),
                Share::None => {}
            }
        }
    }
    whole > 0 && whole >= some
}

/// A part, how many row groups it has, and one of them with its number of rows.
type RowGroup<'a> = (&'a Known<'a>, usize, (usize, usize));

/// Row groups in order, about as many rows to each thread.
fn dealt(groups: &[RowGroup<'_>], threads: usize) -> Vec<FileGroup> {
    let all: usize = groups.iter().map(|(.., (_, rows))| rows).sum();
    let each = all.div_ceil(threads.max(1)).max(1);
    let mut before = 0;
    let thread_of = |(.., (_, rows)): &RowGroup<'_>| {
        let thread = (before + rows / 2) / each;
        before += rows;
        thread
    };
    let threads: Vec<usize> = groups.iter().map(thread_of).collect();
    let runs = groups.iter().zip(threads).collect::<Vec<_>>();
    let of_thread = runs.chunk_by(|(_, one), (_, other)| one == other);
    let files = of_thread.map(|run| {
        let parts = run.chunk_by(|((one, ..), _), ((other, ..), _)| std::ptr::eq(*one, *other));
        let file = |run: &[(&RowGroup<'_>, usize)]| {
            let ((part, of, ..), _) = run.first()?;
            Some(part.row_groups(*of, run.iter().map(|((.., group), _)| *group)))
        };
        FileGroup::new(parts.filter_map(file).collect())
    });
    files.collect()
}

/// The rows of a file of `rows` rows that are not superseded.
fn selection(superseded: &RoaringBitmap, rows: u64) -> RowSelection {
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    let mut selectors = Vec::new();
    let mut next = 0_usize;
    for row in superseded.iter().map(|row| row as usize).take_while(|row| *row < rows) {
        if row > next {
            selectors.push(RowSelector::select(row - next));
        }
        selectors.push(RowSelector::skip(1));
        next = row + 1;
    }
    if rows > next {
        selectors.push(RowSelector::select(rows - next));
    }
    selectors.into()
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::*;
    use crate::clock::Timestamp;

    fn part(name: &str) -> SourcePart {
        let time = Timestamp::from_nanos(0);
        SourcePart {
            path: Path::from(name),
            bytes: 10,
            rows: 100,
            time_min: time,
            time_max: time,
            superseded: None,
        }
    }

    #[test]
    fn superseded_rows_are_skipped_and_no_other() {
        let superseded: RoaringBitmap = [0, 3, 4, 9].into_iter().collect();
        let expected = vec![
            RowSelector::skip(1),
            RowSelector::select(2),
            RowSelector::skip(2),
            RowSelector::select(4),
            RowSelector::skip(1),
        ];
        assert_eq!(selection(&superseded, 10), RowSelection::from(expected));
        let beyond: RoaringBitmap = [1, 7].into_iter().collect();
        assert_eq!(selection(&beyond, 3).row_count(), 2);
    }

    #[test]
    fn row_groups_are_dealt_out_in_order_and_by_their_rows() {
        let parts = [part("a"), part("b")];
        let known: Vec<Known<'_>> =
            parts.iter().map(|part| Known { part, statistics: Statistics::default() }).collect();
        let (a, b) = (&known[0], &known[1]);
        let groups = [(a, 9, (3, 50)), (a, 9, (4, 50)), (b, 2, (0, 50)), (b, 2, (1, 30))];
        let read = |threads| {
            let name = |file: &PartitionedFile| {
                let plan = file.extensions.get::<ParquetAccessPlan>().expect("a plan");
                format!("{}{:?}", file.object_meta.location, plan.row_group_indexes())
            };
            let group = |group: &FileGroup| group.iter().map(name).collect::<Vec<_>>().join(" ");
            dealt(&groups, threads).iter().map(group).collect::<Vec<_>>()
        };
        assert_eq!(read(1), ["a[3, 4] b[0, 1]"]);
        assert_eq!(read(2), ["a[3, 4]", "b[0, 1]"]);
        assert_eq!(read(3), ["a[3]", "a[4]", "b[0, 1]"]);
        assert_eq!(read(9).len(), 4);
        assert!(dealt(&[], 2).is_empty());
    }
}
