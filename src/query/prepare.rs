//! What a query would give, told without running it.

use datafusion::common::TableReference;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{Query, SelectItem, SetExpr};

use super::rows::ColumnInfo;

/// A query that was checked and planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The columns of its result.
    pub columns: Vec<PreparedColumn>,
    /// The names of its parameters, without the `@`, in the order in which the text names them.
    pub parameters: Vec<String>,
}

/// A column of a result, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedColumn {
    /// Its name and type.
    pub info: ColumnInfo,
    /// The database and the table it is a column of, if it is one as it stands.
    pub table: Option<(String, String)>,
    /// Whether the text gives it another name.
    pub aliased: bool,
}

/// Which items of the select list have an alias; nothing where a `*` stands among them.
pub(crate) fn aliased(query: &Query) -> Vec<bool> {
    match query.body.as_ref() {
        SetExpr::Select(select) => {
            select.projection.iter().map(|item| matches!(item, SelectItem::ExprWithAlias { .. })).collect()
        }
        SetExpr::Query(query) => aliased(query),
        SetExpr::SetOperation { left: body, .. } => match body.as_ref() {
            SetExpr::Query(query) => aliased(query),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The columns of a plan with what is known about them.
pub(crate) fn columns(plan: &LogicalPlan, infos: &[ColumnInfo], aliased: &[bool]) -> Vec<PreparedColumn> {
    let known = aliased.len() == infos.len();
    let column = |(i, ((qualifier, _), info)): (usize, ((Option<&TableReference>, _), &ColumnInfo))| {
        let table = qualifier.and_then(|table| Some((table.schema()?.to_owned(), table.table().to_owned())));
        PreparedColumn {
            info: info.clone(),
            table,
            aliased: known && aliased.get(i).copied().unwrap_or_default(),
        }
    };
    plan.schema().iter().zip(infos).enumerate().map(column).collect()
}
