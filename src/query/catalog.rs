//! `SHOW` and `DESCRIBE` (spec 1.3).

use super::error::{Position, QueryError};
use super::names::{missing, no_database};
use super::results::Results;
use super::rows::{ColumnInfo, ColumnType, Datum};
use super::source::Source;
use super::sql_type::SqlType;
use super::statement::{Name, Statement, TableName};

/// The result of a metadata statement; nothing if `statement` is a query.
pub(crate) fn answer(statement: &Statement, source: &dyn Source) -> Option<Result<Results, QueryError>> {
    Some(match statement {
        Statement::Query(_) | Statement::Unload(_) => return None,
        Statement::ShowDatabases { like } => Ok(names("Database", source.databases(), like.as_deref())),
        Statement::ShowTables { database, like } => tables(source, database.as_ref(), like.as_deref()),
        Statement::ShowMeasures { table, like } => measures(source, table, like.as_deref()),
        Statement::Describe { table } => describe(source, table),
    })
}

fn scalar(text: impl Into<String>) -> Datum {
    Datum::Scalar(text.into())
}

fn names(column: &str, names: Vec<String>, like: Option<&str>) -> Results {
    let wanted = |name: &String| like.is_none_or(|pattern| matches_like(name, pattern));
    let rows = names.into_iter().filter(wanted).map(|name| vec![scalar(name)]).collect();
    Results::listed(vec![ColumnInfo::varchar(column)], rows)
}

fn tables(source: &dyn Source, database: Option<&Name>, like: Option<&str>) -> Result<Results, QueryError> {
    let found = match database {
        Some(name) => {
            source.tables(&name.value).ok_or_else(|| no_database(&name.value, &name.value, name.at))?
        }
        None => source.databases().iter().filter_map(|name| source.tables(name)).flatten().collect(),
    };
    Ok(names("Table", found, like))
}

/// The only table of the statement; the recorded text places an unknown one at its start.
fn not_there(error: &super::source::SourceError, name: &TableName) -> QueryError {
    let at = match error {
        super::source::SourceError::NoDatabase => name.database.at,
        _ => Position::START,
    };
    missing(error, &name.database.value, &name.table, &name.written, at)
}

fn measures(source: &dyn Source, name: &TableName, like: Option<&str>) -> Result<Results, QueryError> {
    let found = source.measures(&name.database.value, &name.table);
    let found = found.map_err(|error| not_there(&error, name))?;
    let dimension = ColumnInfo {
        name: None,
        column_type: ColumnType::Row(vec![
            ColumnInfo::varchar("dimension_name"),
            ColumnInfo::varchar("data_type"),
        ]),
    };
    let columns = vec![
        ColumnInfo::varchar("measure_name"),
        ColumnInfo::varchar("data_type"),
        ColumnInfo {
            name: Some("dimensions".to_owned()),
            column_type: ColumnType::Array(Box::new(dimension)),
        },
    ];
    let wanted = found.into_iter().filter(|one| like.is_none_or(|pattern| matches_like(&one.name, pattern)));
    let rows = wanted.map(|measure| {
        let dimensions = measure.dimensions.into_iter();
        let dimensions = dimensions.map(|name| Datum::Row(vec![scalar(name), scalar("varchar")]));
        vec![scalar(measure.name), scalar(measure.data_type), Datum::Array(dimensions.collect())]
    });
    Ok(Results::listed(columns, rows.collect()))
}

fn describe(source: &dyn Source, name: &TableName) -> Result<Results, QueryError> {
    let snapshot = source.snapshot(&name.database.value, &name.table);
    let snapshot = snapshot.map_err(|error| not_there(&error, name))?;
    let columns = ["Column", "Type", "Timestream attribute type"].map(ColumnInfo::varchar).to_vec();
    let rows = snapshot.schema.fields().iter().zip(&snapshot.attributes).map(|(field, attribute)| {
        vec![scalar(field.name()), scalar(SqlType::name_of(field.data_type())), scalar(*attribute)]
    });
    Ok(Results::listed(columns, rows.collect()))
}

/// Whether `text` matches a LIKE pattern without an escape: `%` is any text, `_` any character.
fn matches_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut wanted) = (0, 0);
    // Where to go on when a `%` has to swallow one character more.
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(wanted) {
            Some('%') => {
                retry = Some((at, wanted + 1));
                wanted += 1;
            }
            Some(c) if *c == '_' || Some(c) == text.get(at) => {
                at += 1;
                wanted += 1;
            }
            _ => match retry {
                Some((from, after)) => {
                    retry = Some((from + 1, after));
                    (at, wanted) = (from + 1, after);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(wanted).all(|c| *c == '%')
}

#[cfg(test)]
mod tests {
    use super::matches_like;

    #[test]
    fn like_knows_any_text_and_any_character() {
        for (text, pattern) in
            [("testDB", "%test%"), ("testDB", "test__"), ("", "%"), ("aXbXc", "a%X_"), ("地区", "_区")]
        {
            assert!(matches_like(text, pattern), "{text} {pattern}");
        }
        for (text, pattern) in [("testDB", "test_"), ("testDB", "testdb"), ("ab", "a"), ("", "_")] {
            assert!(!matches_like(text, pattern), "{text} {pattern}");
        }
    }
}
