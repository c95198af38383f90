//! What a statement reads, for those who have to decide whether its author may.
//!
//! Read off the statement as it is parsed, before any table is looked up, so that a table one may not
//! read and one that does not exist answer alike. Names of tables are exact, as they are when they are
//! looked up.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::visit_relations;

use super::error::QueryError;
use super::statement::{Parameters, Statement, TableName, parse};

/// One thing a statement reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The rows of a table, by its database and its name.
    Table((String, String)),
    /// The rows of a table, or of none, to write them elsewhere; they are read as well.
    Unload(Option<(String, String)>),
    /// Nothing that is stored.
    NoTable,
    /// The names of the databases.
    Databases,
    /// The names of a database's tables, or of all.
    Tables(Option<String>),
    /// The measures of a table.
    Measures((String, String)),
    /// The columns of a table.
    Columns((String, String)),
}

/// What `sql` reads, each once.
///
/// # Errors
/// When it is not a statement.
pub(crate) fn reach(sql: &str) -> Result<Vec<Reach>, QueryError> {
    let one = |table: TableName| (table.database.value, table.table);
    let (query, unloads) = match parse(sql, &Parameters::new())? {
        Statement::Query(query) => (query, false),
        Statement::Unload(unload) => (unload.select, true),
        Statement::ShowDatabases { .. } => return Ok(vec![Reach::Databases]),
        Statement::ShowTables { database, .. } => {
            return Ok(vec![Reach::Tables(database.map(|name| name.value))]);
        }
        Statement::ShowMeasures { table, .. } => return Ok(vec![Reach::Measures(one(table))]),
        Statement::Describe { table } => return Ok(vec![Reach::Columns(one(table))]),
    };
    let mut found = BTreeSet::new();
    let _ = visit_relations(&query, |relation| {
        let parts: Vec<_> = relation.0.iter().filter_map(|part| part.as_ident()).collect();
        // A name without a database is one the query has defined itself, or a mistake.
        if let [database, table] = parts[..] {
            let table = (database.value.clone(), table.value.clone());
            if unloads {
                found.insert(Reach::Unload(Some(table.clone())));
            }
            found.insert(Reach::Table(table));
        }
        ControlFlow::<()>::Continue(())
    });
    if found.is_empty() {
        found.insert(Reach::NoTable);
        if unloads {
            found.insert(Reach::Unload(None));
        }
    }
    Ok(found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_a_statement_is_found() {
        let table = |database: &str, name: &str| Reach::Table((database.into(), name.into()));
        let cases = [
            ("SELECT 1", vec![Reach::NoTable]),
            ("SELECT * FROM d.t", vec![table("d", "t")]),
            ("SELECT * FROM \"D\".\"T\" a JOIN d.u b ON a.x = b.x", vec![table("D", "T"), table("d", "u")]),
            (
                "WITH v AS (SELECT * FROM a.b) SELECT (SELECT max(x) FROM c.d) FROM v WHERE x IN (SELECT y FROM e.f)",
                vec![table("a", "b"), table("c", "d"), table("e", "f")],
            ),
            (
                "SELECT x FROM a.b UNION ALL (SELECT y FROM (SELECT * FROM c.d) CROSS JOIN UNNEST(z) AS t (q))",
                vec![table("a", "b"), table("c", "d")],
            ),
            (
                "UNLOAD (SELECT * FROM d.t) TO 's3://out/x'",
                vec![table("d", "t"), Reach::Unload(Some(("d".into(), "t".into())))],
            ),
            ("UNLOAD (SELECT 1) TO 's3://out/x'", vec![Reach::Unload(None), Reach::NoTable]),
            ("SHOW DATABASES", vec![Reach::Databases]),
            ("SHOW TABLES", vec![Reach::Tables(None)]),
            ("SHOW TABLES FROM d", vec![Reach::Tables(Some("d".into()))]),
            ("SHOW MEASURES FROM d.t", vec![Reach::Measures(("d".into(), "t".into()))]),
            ("DESCRIBE \"d\".t", vec![Reach::Columns(("d".into(), "t".into()))]),
        ];
        for (sql, expected) in cases {
            assert_eq!(reach(sql).unwrap_or_else(|error| panic!("{sql}: {error}")), expected, "{sql}");
        }
        assert!(reach("DROP TABLE d.t").is_err());
    }
}
