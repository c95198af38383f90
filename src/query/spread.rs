//! Over how many threads a query is worth spreading.
//!
//! A plan for several threads has exchanges between them, which take longer to plan and to start than some
//! thousand rows to read. How many rows a query can reach is known without opening a file: the manifest has
//! the times of parts, and the indexes of parts that were read before are in memory.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};

use super::part_scan;
use super::source::SourcePart;
use super::table::SnapshotTable;
use super::texts::{self, Texts};

/// The number of threads for `plan`, which is optimised, of at most `most`. So many rows as `alone` are read by
/// one thread before others have begun.
pub(crate) fn threads(plan: &LogicalPlan, known: &FileMetadataCache, alone: usize, most: usize) -> usize {
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
        Ok(if rows > alone { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    if walked.is_ok() && rows <= alone { 1 } else { most }
}

/// Whether anything in `plan` is joined.
pub(crate) fn joins(plan: &LogicalPlan) -> bool {
    let found = plan.exists(|node| Ok(matches!(node, LogicalPlan::Join(_))));
    found.unwrap_or(true)
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
    let wanted: Vec<Texts> = scan.filters.iter().filter_map(Texts::of).collect();
    let rows = |part: &SourcePart| part_scan::rows_with(&(part, texts::metadata(known, &part.path)), &wanted);
    let parts = table.parts_within(&scan.filters).map(rows);
    parts.fold(table.rows_in_memory(), usize::saturating_add)
}
