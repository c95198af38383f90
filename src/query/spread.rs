//! Over how many threads a query is worth spreading.
//!
//! A plan for several threads has exchanges between them, which take longer to plan and to start than some
//! thousand rows to read. How many rows a query can reach is known without opening a file: the manifest has
//! the times of parts, and the indexes of parts that were read before are in memory.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::parquet::CachedParquetMetaData;
use datafusion::datasource::source_as_provider;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, TableScan};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::parquet::file::page_index::column_index::ColumnIndexMetaData;
use datafusion::parquet::file::statistics::Statistics;

use super::table::SnapshotTable;

/// So many rows are read by one thread before others have begun.
const ROWS_ALONE: usize = 100_000;

/// The number of threads for `plan`, which is optimised, of at most `most`.
pub(crate) fn threads(plan: &LogicalPlan, known: &FileMetadataCache, most: usize) -> usize {
    let mut rows = 0_usize;
    let walked = plan.apply(|node| {
        let simple = match node {
            LogicalPlan::TableScan(scan) => {
                rows = rows.saturating_add(reach(scan, known));
                true
            }
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::SubqueryAlias(_) => !has_subquery(node),
            // Joins, windows and lists make more of their rows.
            _ => false,
        };
        if !simple {
            rows = usize::MAX;
        }
        Ok(if rows > ROWS_ALONE { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    if walked.is_ok() && rows <= ROWS_ALONE { 1 } else { most }
}

fn has_subquery(node: &LogicalPlan) -> bool {
    let found = |expr: &Expr| {
        expr.exists(|part| {
            Ok(matches!(
                part,
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
            ))
        })
    };
    node.expressions().iter().any(|expr| found(expr).unwrap_or(true))
}

/// How many rows a scan can reach at most.
fn reach(scan: &TableScan, known: &FileMetadataCache) -> usize {
    let provider = source_as_provider(&scan.source).ok();
    let Some(table) = provider.as_ref().and_then(|table| table.downcast_ref::<SnapshotTable>()) else {
        return usize::MAX;
    };
    let wanted: Vec<Texts<'_>> = scan.filters.iter().filter_map(Texts::of).collect();
    let parts = table.parts_within(&scan.filters).map(|part| match known.get(&part.path) {
        Some(entry) => match entry.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>() {
            Some(metadata) => rows_with(metadata.parquet_metadata(), &wanted),
            None => usize::MAX,
        },
        None => usize::try_from(part.rows).unwrap_or(usize::MAX),
    });
    parts.fold(table.rows_in_memory(), usize::saturating_add)
}

/// What a filter says of a column of texts: that it has one of these.
struct Texts<'a> {
    column: &'a str,
    any: Vec<&'a str>,
}

impl<'a> Texts<'a> {
    fn of(filter: &'a Expr) -> Option<Self> {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                match (left.as_ref(), right.as_ref()) {
                    (Expr::Column(column), text) | (text, Expr::Column(column)) => {
                        Some(Self { column: &column.name, any: vec![literal(text)?] })
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
                    Some(Self { column: &column.name, any: list.iter().map(literal).collect::<Option<_>>()? })
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
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text))
            | ScalarValue::Utf8View(Some(text))
            | ScalarValue::LargeUtf8(Some(text)),
            _,
        ) => Some(text),
        _ => None,
    }
}

/// How many rows of a file lie in pages that can have all the texts.
fn rows_with(file: &ParquetMetaData, wanted: &[Texts<'_>]) -> usize {
    let columns = file.file_metadata().schema_descr().columns();
    let place = |texts: &Texts<'_>| columns.iter().position(|column| column.name() == texts.column);
    let placed: Vec<Option<usize>> = wanted.iter().map(place).collect();
    let groups = (0..file.num_row_groups()).map(|group| {
        let all = usize::try_from(file.row_group(group).num_rows()).unwrap_or(usize::MAX);
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
fn rows_in_group(file: &ParquetMetaData, group: usize, column: usize, texts: &Texts<'_>) -> Option<usize> {
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
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
    use datafusion::logical_expr::{col, lit};
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
    use datafusion::parquet::file::properties::WriterProperties;

    use super::*;

    /// Hosts a to h with ten rows each, twenty rows to a row group, five to a page.
    fn file() -> ParquetMetaData {
        let hosts = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let hosts: Vec<&str> = hosts.into_iter().flat_map(|host| [host; 10]).collect();
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
            let wanted: Vec<Texts<'_>> = filters.iter().filter_map(Texts::of).collect();
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
}
