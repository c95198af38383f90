//! Every name of a query, looked up before the query is planned.
//!
//! Tables come out as snapshots, one per table however often the query names it; unknown tables and
//! functions come out as errors that say where. Names of columns are put in the spelling of the table:
//! an exact match is never touched, and a unique one up to case is taken for it (spec 2.1).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart,
    OneOrManyWithParens, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, Spanned, TableAlias,
    TableFactor, VisitMut, VisitorMut,
};

use super::error::{Locations, Position, QueryError, syntax};
use super::functions::Registry;
use super::source::{Snapshot, Source, SourceError};

/// The tables of a query, by database and name.
pub(crate) type Tables = BTreeMap<(String, String), Arc<Snapshot>>;

/// Looks up all names of `query` and corrects the case of its columns.
pub(crate) fn resolve(
    query: &mut Query,
    source: &dyn Source,
    registry: &Registry,
) -> Result<(Tables, Locations), QueryError> {
    let mut defined = Defined::default();
    let _ = query.visit(&mut defined);
    let mut lookup = Lookup {
        source,
        registry,
        views: &defined.views,
        tables: Tables::new(),
        locations: Locations::default(),
    };
    if let ControlFlow::Break(error) = query.visit(&mut lookup) {
        return Err(*error);
    }
    let Lookup { tables, locations, .. } = lookup;
    let mut spelling = Spelling { locations, ..Spelling::default() };
    let columns = tables.values().flat_map(|table| table.schema.fields().iter().map(|field| field.name()));
    for name in columns.chain(&defined.columns).chain(&defined.views).chain(&defined.qualifiers) {
        spelling.learn(name);
    }
    let _ = query.visit(&mut spelling);
    Ok((tables, spelling.locations))
}

/// The names a query defines itself.
#[derive(Debug, Default)]
struct Defined {
    /// Names of `WITH`.
    views: HashSet<String>,
    /// What may stand before the dot of a column.
    qualifiers: HashSet<String>,
    columns: HashSet<String>,
}

impl Defined {
    fn alias(&mut self, alias: Option<&TableAlias>) {
        let Some(alias) = alias else { return };
        self.qualifiers.insert(alias.name.value.clone());
        self.columns.extend(alias.columns.iter().map(|column| column.name.value.clone()));
    }
}

impl VisitorMut for Defined {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for view in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.alias(Some(&view.alias));
            self.views.insert(view.alias.name.value.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.columns.insert(alias.value.clone());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { alias, name, .. } => {
                self.alias(alias.as_ref());
                let names = name.0.iter().filter_map(|part| part.as_ident());
                self.qualifiers.extend(names.map(|name| name.value.clone()));
            }
            TableFactor::Derived { alias, .. } | TableFactor::NestedJoin { alias, .. } => {
                self.alias(alias.as_ref());
            }
            TableFactor::UNNEST { alias, .. } => {
                self.alias(alias.as_ref());
                self.columns.extend(["time".to_owned(), "value".to_owned()]);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Lambda(lambda) = expr {
            let parameters = match &lambda.params {
                OneOrManyWithParens::One(one) => std::slice::from_ref(one),
                OneOrManyWithParens::Many(many) => many.as_slice(),
            };
            self.columns.extend(parameters.iter().map(|parameter| parameter.name.value.clone()));
        }
        ControlFlow::Continue(())
    }
}

/// Finds tables and functions.
struct Lookup<'a> {
    source: &'a dyn Source,
    registry: &'a Registry,
    views: &'a HashSet<String>,
    tables: Tables,
    locations: Locations,
}

impl Lookup<'_> {
    fn table(&mut self, name: &mut ObjectName) -> Result<(), QueryError> {
        let at = Position::of(name.span()).unwrap_or(Position::START);
        let written = name.to_string();
        let mut parts: Vec<&mut Ident> = name.0.iter_mut().filter_map(identifier).collect();
        if parts.iter().any(|part| part.quote_style == Some('\'')) {
            return Err(syntax(at));
        }
        match parts.as_mut_slice() {
            [one] => match up_to_case(self.views, one) {
                Some(view) => {
                    one.value = view;
                    Ok(())
                }
                None => Err(QueryError::Validation(format!(
                    "line {at}: Table '{written}' is named without its database: write database.table"
                ))),
            },
            [database, table] => {
                let key = (database.value.clone(), table.value.clone());
                if self.tables.contains_key(&key) {
                    return Ok(());
                }
                let snapshot = self.source.snapshot(&key.0, &key.1);
                let snapshot = snapshot.map_err(|error| missing(&error, &key.0, &key.1, &written, at))?;
                self.tables.insert(key, Arc::new(snapshot));
                Ok(())
            }
            // What stands first in a name of three parts is taken for the database (spec 1.1).
            [first, ..] => Err(no_database(&first.value, &written, at)),
            [] => Err(syntax(at)),
        }
    }

    fn function(&mut self, function: &mut Function) -> Result<(), QueryError> {
        let single = function.name.0.len() == 1;
        let Some(name) = function.name.0.first_mut().and_then(identifier) else { return Ok(()) };
        // A call the dialect built has no place in the text.
        let Some(at) = Position::of(name.span) else { return Ok(()) };
        name.value = name.value.to_lowercase();
        name.quote_style = None;
        if single && self.registry.is_public(&name.value) {
            check_over(&name.value, function.over.is_some(), self.registry, at)?;
            let name = function.name.0.first_mut().and_then(identifier).ok_or_else(|| syntax(at))?;
            self.locations.function(&name.value, name.span);
            return Ok(());
        }
        let written = function.name.to_string();
        Err(QueryError::Validation(format!("line {at}: Function '{written}' not registered")))
    }
}

/// Whether the call has an OVER exactly where it must or may.
fn check_over(name: &str, over: bool, registry: &Registry, at: Position) -> Result<(), QueryError> {
    let aggregates = registry.aggregate(name).is_some();
    match (registry.window(name).is_some(), over) {
        (true, false) if !aggregates => {
            Err(QueryError::Validation(format!("line {at}: Window function {name} requires an OVER clause")))
        }
        (false, true) if !aggregates => Err(QueryError::Validation(format!(
            "line {at}: OVER follows {name}, which is no aggregate or window function"
        ))),
        _ => Ok(()),
    }
}

fn identifier(part: &mut ObjectNamePart) -> Option<&mut Ident> {
    match part {
        ObjectNamePart::Identifier(name) => Some(name),
        ObjectNamePart::Function(_) => None,
    }
}

fn up_to_case(known: &HashSet<String>, name: &Ident) -> Option<String> {
    if let Some(exact) = known.get(&name.value) {
        return Some(exact.clone());
    }
    let mut close = known.iter().filter(|one| one.eq_ignore_ascii_case(&name.value));
    let found = close.next()?;
    (name.quote_style.is_none() && close.next().is_none()).then(|| found.clone())
}

impl VisitorMut for Lookup<'_> {
    type Break = Box<QueryError>;

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<Self::Break> {
        self.table(relation).map_or_else(|error| ControlFlow::Break(Box::new(error)), ControlFlow::Continue)
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        self.function(function)
            .map_or_else(|error| ControlFlow::Break(Box::new(error)), ControlFlow::Continue)
    }
}

/// The words for a table that cannot be had (spec 5.6). `written` is the name as the user wrote it.
pub(crate) fn missing(
    error: &SourceError,
    database: &str,
    table: &str,
    written: &str,
    at: Position,
) -> QueryError {
    match error {
        SourceError::NoDatabase => no_database(database, written, at),
        SourceError::NoTable => QueryError::Validation(format!(
            "The table '{table}' does not exist in database '{database}' at line {at}"
        )),
        SourceError::Unavailable(text) => QueryError::Unavailable(text.clone()),
    }
}

pub(crate) fn no_database(database: &str, written: &str, at: Position) -> QueryError {
    let written = written.replace('"', "");
    QueryError::Validation(format!(
        "Requested database '{database}' not found for identifier '{written}' at line {at}"
    ))
}

/// Puts column names in the spelling of their table and remembers where they stand.
#[derive(Debug, Default)]
struct Spelling {
    exact: HashSet<String>,
    /// By lower case; nothing where two spellings compete.
    folded: HashMap<String, Option<String>>,
    locations: Locations,
}

impl Spelling {
    fn learn(&mut self, name: &str) {
        if !self.exact.insert(name.to_owned()) {
            return;
        }
        self.folded
            .entry(name.to_lowercase())
            .and_modify(|spelling| *spelling = None)
            .or_insert_with(|| Some(name.to_owned()));
    }

    fn correct(&mut self, name: &mut Ident) {
        self.spell(name);
        self.locations.column(&name.value, name.span);
    }

    fn using(&self, joins: &mut [Join]) {
        use JoinOperator::{FullOuter, Inner, Join as Plain, Left, LeftOuter, Right, RightOuter};
        for join in joins {
            let (Plain(constraint)
            | Inner(constraint)
            | Left(constraint)
            | LeftOuter(constraint)
            | Right(constraint)
            | RightOuter(constraint)
            | FullOuter(constraint)) = &mut join.join_operator
            else {
                continue;
            };
            if let JoinConstraint::Using(names) = constraint {
                let names = names.iter_mut().flat_map(|name| &mut name.0);
                names.filter_map(identifier).for_each(|name| self.spell(name));
            }
        }
    }

    fn spell(&self, name: &mut Ident) {
        if name.quote_style.is_none()
            && !self.exact.contains(&name.value)
            && let Some(Some(spelling)) = self.folded.get(&name.value.to_lowercase())
        {
            name.value.clone_from(spelling);
        }
    }
}

impl VisitorMut for Spelling {
    type Break = ();

    /// The columns of a join by USING are no expressions.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        select.from.iter_mut().for_each(|from| self.using(&mut from.joins));
        for item in &mut select.projection {
            if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) = item
            {
                for part in name.0.iter_mut().filter_map(identifier) {
                    self.correct(part);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            self.using(&mut table_with_joins.joins);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.correct(name),
            Expr::CompoundIdentifier(names) => {
                // The place of a qualified column is where its qualifier stands.
                let place = names.first().map(|first| first.span);
                names.iter_mut().for_each(|name| self.spell(name));
                if let (Some(last), Some(place)) = (names.last(), place) {
                    self.locations.qualified(&last.value, place);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
