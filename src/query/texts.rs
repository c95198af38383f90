//! What filters say of columns of texts, and what the metadata of a part answers without a row being read.

use std::sync::Arc;

use datafusion::common::ScalarValue;
// Not the type of the same name one level up, which nothing is kept as.
use datafusion::datasource::physical_plan::parquet::metadata::CachedParquetMetaData;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::parquet::file::page_index::column_index::ColumnIndexMetaData;
use datafusion::parquet::file::statistics::Statistics;
use object_store::path::Path;

/// The metadata of a part, if it was read before and is still in memory.
pub(crate) fn metadata(known: &FileMetadataCache, part: &Path) -> Option<Arc<ParquetMetaData>> {
    let entry = known.get(part)?;
    let cached = entry.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>()?;
    Some(Arc::clone(cached.parquet_metadata()))
}

/// What a filter says of a column of texts: that it has one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    pub(crate) column: String,
    any: Vec<String>,
}

impl Texts {
    /// What `filter` says, if it says this and nothing else.
    pub(crate) fn of(filter: &Expr) -> Option<Self> {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                match (left.as_ref(), right.as_ref()) {
                    (Expr::Column(column), text) | (text, Expr::Column(column)) => {
                        Some(Self { column: column.name.clone(), any: vec![literal(text)?] })
                    }
                    _ => None,
                }
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                let (mut one, other) = (Self::of(left)?, Self::of(right)?);
                one.any.extend(other.any);
                (one.column == other.column).then_some(one)
            }
            Expr::InList(InList { expr, list, negated: false }) => match expr.as_ref() {
                Expr::Column(column) => {
                    let any = list.iter().map(literal).collect::<Option<_>>()?;
                    Some(Self { column: column.name.clone(), any })
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn within(&self, min: Option<&[u8]>, max: Option<&[u8]>) -> bool {
        let (Some(min), Some(max)) = (min, max) else { return true };
        self.any.iter().any(|text| (min..=max).contains(&text.as_bytes()))
    }

    /// How many rows of a row group have one of the texts in their `column`.
    fn share(&self, file: &ParquetMetaData, group: usize, column: Option<usize>) -> Share {
        // A file without the column has no text in it.
        let Some(column) = column else { return Share::None };
        let Some(Statistics::ByteArray(bounds)) = file.row_group(group).column(column).statistics() else {
            return Share::Some;
        };
        let (min, max) = (bounds.min_bytes_opt(), bounds.max_bytes_opt());
        if !self.within(min, max) {
            return Share::None;
        }
        let one = bounds.min_is_exact() && bounds.max_is_exact() && min.is_some() && min == max;
        if one && bounds.null_count_opt() == Some(0) { Share::All } else { Share::Some }
    }
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text))
            | ScalarValue::Utf8View(Some(text))
            | ScalarValue::LargeUtf8(Some(text)),
            _,
        ) => Some(text.clone()),
        _ => None,
    }
}

/// How many of some rows pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Share {
    /// None does.
    None,
    /// Some may.
    Some,
    /// All do.
    All,
}

/// How many rows of each row group have all the texts.
pub(crate) fn shares(file: &ParquetMetaData, wanted: &[Texts]) -> Vec<Share> {
    let placed: Vec<Option<usize>> = wanted.iter().map(|texts| place(file, texts)).collect();
    let of_group = |group| {
        let each = wanted.iter().zip(&placed).map(|(texts, column)| texts.share(file, group, *column));
        each.min().unwrap_or(Share::All)
    };
    (0..file.num_row_groups()).map(of_group).collect()
}

/// How many rows a row group has.
pub(crate) fn rows_of(file: &ParquetMetaData, group: usize) -> usize {
    usize::try_from(file.row_group(group).num_rows()).unwrap_or(usize::MAX)
}

fn place(file: &ParquetMetaData, texts: &Texts) -> Option<usize> {
    let columns = file.file_metadata().schema_descr().columns();
    columns.iter().position(|column| column.name() == texts.column)
}

/// How many rows of a file lie in pages that can have all the texts.
pub(crate) fn rows_with(file: &ParquetMetaData, wanted: &[Texts]) -> usize {
    let placed: Vec<Option<usize>> = wanted.iter().map(|texts| place(file, texts)).collect();
    let groups = (0..file.num_row_groups()).map(|group| {
        let all = rows_of(file, group);
        let each = wanted.iter().zip(&placed).map(|(texts, column)| match column {
            Some(column) => rows_in_group(file, group, *column, texts).unwrap_or(all),
            // A file without the column has no text in it.
            None => 0,
        });
        each.min().unwrap_or(all)
    });
    groups.fold(0, usize::saturating_add)
}

/// The rows of a row group in pages that can have one of the texts; nothing if that is not known.
fn rows_in_group(file: &ParquetMetaData, group: usize, column: usize, texts: &Texts) -> Option<usize> {
    let metadata = file.row_group(group);
    if let Some(Statistics::ByteArray(bounds)) = metadata.column(column).statistics()
        && !texts.within(bounds.min_bytes_opt(), bounds.max_bytes_opt())
    {
        return Some(0);
    }
    let ColumnIndexMetaData::BYTE_ARRAY(bounds) = file.column_index()?.get(group)?.get(column)? else {
        return None;
    };
    let pages = file.offset_index()?.get(group)?.get(column)?.page_locations();
    let ends = pages.iter().skip(1).map(|page| page.first_row_index).chain([metadata.num_rows()]);
    let can = |page: &usize| {
        !bounds.is_null_page(*page) && texts.within(bounds.min_value(*page), bounds.max_value(*page))
    };
    let rows = pages.iter().zip(ends).enumerate().filter(|(page, _)| can(page));
    usize::try_from(rows.map(|(_, (page, end))| end - page.first_row_index).sum::<i64>()).ok()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
    use datafusion::logical_expr::{col, lit};
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
    use datafusion::parquet::file::properties::WriterProperties;

    use super::*;

    /// Hosts a to h with ten rows each, twenty rows to a row group, five to a page.
    fn file() -> ParquetMetaData {
        written(&["a", "b", "c", "d", "e", "f", "g", "h"])
    }

    /// Eight hosts, with the same numbers of rows.
    fn written(hosts: &[&str]) -> ParquetMetaData {
        let hosts: Vec<&str> = hosts.iter().flat_map(|host| [*host; 10]).collect();
        let hosts: ArrayRef = Arc::new(StringArray::from(hosts));
        let rows = RecordBatch::try_from_iter([("host", hosts)]).expect("a batch");
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(20))
            .set_data_page_row_count_limit(5)
            .set_write_batch_size(5)
            .build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).expect("a writer");
        writer.write(&rows).expect("written rows");
        writer.close().expect("a finished file");
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
        reader.parse_and_finish(&bytes::Bytes::from(bytes)).expect("a footer")
    }

    #[test]
    fn rows_are_counted_by_the_pages_that_can_have_the_texts() {
        let file = file();
        let rows = |filters: &[Expr]| {
            let wanted: Vec<Texts> = filters.iter().filter_map(Texts::of).collect();
            rows_with(&file, &wanted)
        };
        assert_eq!(rows(&[]), 80);
        assert_eq!(rows(&[col("host").eq(lit("c"))]), 10);
        assert_eq!(rows(&[col("host").in_list(vec![lit("a"), lit("h")], false)]), 20);
        assert_eq!(rows(&[lit("b").eq(col("host")).or(col("host").eq(lit("c")))]), 20);
        assert_eq!(rows(&[col("host").eq(lit("cc"))]), 0);
        assert_eq!(rows(&[col("host").eq(lit("c")), col("region").eq(lit("x"))]), 0, "no such column");
        // What is not understood rules nothing out.
        assert_eq!(rows(&[col("host").gt(lit("c"))]), 80);
        assert_eq!(rows(&[col("host").in_list(vec![lit("a")], true)]), 80);
        assert_eq!(rows(&[col("host").eq(lit("c")).or(col("rack").eq(lit("c")))]), 80);
    }

    #[test]
    fn row_groups_of_one_text_pass_as_a_whole() {
        use Share::{All, None, Some};
        // Pairs of hosts to a row group; now one host to each.
        let file = file();
        let of = |file: &ParquetMetaData, filters: &[Expr]| {
            shares(file, &filters.iter().filter_map(Texts::of).collect::<Vec<_>>())
        };
        assert_eq!(of(&file, &[]), [All; 4]);
        assert_eq!(of(&file, &[col("host").eq(lit("c"))]), [None, Some, None, None]);
        let file = written(&["a", "a", "b", "b", "c", "c", "c", "d"]);
        assert_eq!(of(&file, &[col("host").eq(lit("b"))]), [None, All, None, None]);
        assert_eq!(
            of(&file, &[col("host").in_list(vec![lit("a"), lit("c"), lit("d")], false)]),
            [All, None, All, Some]
        );
        assert_eq!(
            of(&file, &[col("host").eq(lit("b")), col("rack").eq(lit("x"))]),
            [None; 4],
            "no such column"
        );
    }

    #[test]
    fn a_text_that_was_cut_is_not_known_to_be_another() {
        let long = "x".repeat(100);
        let file = written(&[&long, &long, &long, &long, &long, &long, &long, &long]);
        let wanted = Texts::of(&col("host").eq(lit(long))).expect("texts");
        assert_eq!(shares(&file, &[wanted]), [Share::Some; 4]);
    }
}
