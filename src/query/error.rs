//! What can go wrong with a query, in the words Timestream uses, at the place the user wrote.
//!
//! Functions and operators know neither the query's text nor the wire; they raise a [`SqlError`]
//! inside DataFusion's error type. [`Locations`] remembers where the user's text names what, and
//! [`QueryError::from_datafusion`] brings the two together.

use std::collections::HashMap;
use std::fmt;

use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};
use tracing::warn;

use super::sql_type::SqlType;

/// Why a query has no answer. The text is meant for the person who wrote the query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The query, or a page token, is wrong: syntax, names, types (`ValidationException`).
    #[error("{0}")]
    Validation(String),
    /// The query is right but failed while it ran (`QueryExecutionException`).
    #[error("{0}")]
    Execution(String),
    /// The query took more memory or time than it may (`QueryExecutionException`); it may fit another time.
    #[error("{0}")]
    Exhausted(String),
    /// The query was cancelled (`ConflictException`).
    #[error("{0}")]
    Conflict(String),
    /// Too many queries at once; the same query may work later (`ThrottlingException`).
    #[error("{0}")]
    Throttled(String),
    /// The engine is stopping or its data cannot be read now (`InternalServerException`).
    #[error("{0}")]
    Unavailable(String),
    /// A fault of ours (`InternalServerException`).
    #[error("{0}")]
    Internal(String),
}

/// A line and a column of the user's text, both counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

impl Position {
    /// The start of the text.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// Reads `1:8`.
    pub(crate) fn read(written: &str) -> Option<Self> {
        let (line, column) = written.split_once(':')?;
        Some(Self { line: line.parse().ok()?, column: column.parse().ok()? })
    }

    /// Where `span` starts; nothing for the span of something the user did not write.
    pub(crate) fn of(span: Span) -> Option<Self> {
        (span.start.line > 0).then(|| Self::from(span.start))
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line, column: location.column }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What a function or an operator has to say about its operands.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SqlError {
    /// A call that no form of the function takes; found while planning.
    #[error("Unexpected parameters ({given}) for function {function}. Expected: {expected}")]
    Parameters { function: String, given: String, expected: String },
    /// A call Timestream answers with its syntax text, though it parses.
    #[error("The query syntax is invalid: {function} does not take ({given})")]
    Syntax { function: String, given: String },
    /// A mistake that is in the query's text, whatever the data.
    #[error("{0}")]
    Invalid(String),
    /// A mistake that depends on the data: division by zero, a failed cast.
    #[error("{0}")]
    Failed(String),
}

/// Parquet's row filter keeps of an error only what `Debug` writes, so that says what
/// [`SqlError::from_debug`] needs: a mark, the kind, the length of the text, the text.
impl fmt::Debug for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Self::Failed(_)) { "failed" } else { "invalid" };
        let text = self.to_string();
        write!(f, "{DEBUG_MARK}{kind}:{}:{text}", text.len())
    }
}

/// Begins an [`SqlError`] inside the text of another error.
const DEBUG_MARK: &str = "\u{1}sql-error:";

impl SqlError {
    /// The error whose `Debug` is inside `text`.
    fn from_debug(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once(DEBUG_MARK)?;
        let (kind, rest) = rest.split_once(':')?;
        let (length, rest) = rest.split_once(':')?;
        let text = rest.get(..length.parse().ok()?)?.to_owned();
        Some(if kind == "failed" { Self::Failed(text) } else { Self::Invalid(text) })
    }
}

impl From<SqlError> for DataFusionError {
    fn from(error: SqlError) -> Self {
        Self::External(Box::new(error))
    }
}

/// An error that depends on the data.
pub(crate) fn failed(text: impl Into<String>) -> DataFusionError {
    SqlError::Failed(text.into()).into()
}

/// An error that is in the query's text.
pub(crate) fn invalid(text: impl Into<String>) -> DataFusionError {
    SqlError::Invalid(text.into()).into()
}

/// `text` with the place it is about, where that is known.
pub(crate) fn at_place(place: Option<Position>, text: &str) -> String {
    place.map_or_else(|| text.to_owned(), |at| format!("line {at}: {text}"))
}

/// The text AWS answers a query with that does not parse.
pub(crate) fn syntax(at: Position) -> QueryError {
    QueryError::Validation(format!("The query syntax is invalid at line {at}"))
}

/// Where the user's text first names each column and function.
#[derive(Debug, Default)]
pub(crate) struct Locations {
    columns: HashMap<String, Position>,
    /// Those written after a table's name and a dot.
    qualified: HashMap<String, Position>,
    functions: HashMap<String, Position>,
    /// Where everything stands, if one place is all there is.
    only: Option<Position>,
}

impl Locations {
    /// One place for everything.
    fn only(at: Position) -> Self {
        Self { only: Some(at), ..Self::default() }
    }

    /// Remembers that a column of this name is written at `span`.
    pub(crate) fn column(&mut self, name: &str, span: Span) {
        if let Some(at) = Position::of(span) {
            self.columns.entry(name.to_owned()).or_insert(at);
        }
    }

    /// Remembers that a column of this name is written after a qualifier that stands at `span`.
    pub(crate) fn qualified(&mut self, name: &str, span: Span) {
        if let Some(at) = Position::of(span) {
            self.qualified.entry(name.to_owned()).or_insert(at);
        }
    }

    /// Where the column is first named, alone if it ever is.
    fn of_column(&self, name: &str) -> Position {
        let at = self.columns.get(name).or_else(|| self.qualified.get(name));
        self.only.or(at.copied()).unwrap_or(Position::START)
    }

    /// Remembers that a call of this function is written at `span`; `name` in lower case.
    pub(crate) fn function(&mut self, name: &str, span: Span) {
        if let Some(at) = Position::of(span) {
            self.functions.entry(name.to_owned()).or_insert(at);
        }
    }

    fn of_function(&self, name: &str) -> Position {
        self.only.or(self.functions.get(name).copied()).unwrap_or(Position::START)
    }
}

impl QueryError {
    /// What the user should read about `error`.
    pub(crate) fn from_datafusion(error: &DataFusionError, at: &Locations) -> Self {
        let spanned = error.diagnostic().and_then(|about| about.span);
        let spanned = spanned.map(|span| Position { line: span.start.line, column: span.start.column });
        match error.find_root() {
            DataFusionError::External(other) => match other.downcast_ref::<SqlError>() {
                Some(error) => Self::from_sql(error, at),
                None => match other.downcast_ref::<Self>() {
                    Some(error) => error.clone(),
                    None => Self::Internal(other.to_string()),
                },
            },
            DataFusionError::SchemaError(error, _) => Self::from_schema(error, at, spanned),
            DataFusionError::ArrowError(error, _) => Self::from_arrow(error),
            DataFusionError::ResourcesExhausted(_) => Self::Exhausted(
                "Query exceeded the memory it may use (query.memory); narrow its time range or group by less"
                    .to_owned(),
            ),
            DataFusionError::ObjectStore(error) => {
                Self::Unavailable(format!("a part of the table could not be read: {error}"))
            }
            DataFusionError::ParquetError(error) if error.to_string().contains(ROW_FILTER) => {
                Self::from_row_filter(&error.to_string())
            }
            DataFusionError::ParquetError(error) => {
                Self::Unavailable(format!("a part of the table could not be read: {error}"))
            }
            DataFusionError::Plan(text) if text.contains("must appear in the GROUP BY clause") => {
                not_grouped(text, at, spanned)
            }
            DataFusionError::Plan(text)
            | DataFusionError::NotImplemented(text)
            | DataFusionError::Configuration(text) => Self::from_planner(text, at),
            DataFusionError::Execution(text) if text.contains("NTILE requires a positive integer") => {
                Self::Execution("Buckets must be greater than 0".to_owned())
            }
            DataFusionError::Execution(text) => Self::Execution(first_line(text)),
            DataFusionError::Internal(text) if text.contains("any signature") => wrong_operands(text, at),
            // Files of parts are read through the object store; what spills is not.
            other @ (DataFusionError::IoError(_) | DataFusionError::ExecutionJoin(_)) => {
                Self::Internal(first_line(&other.to_string()))
            }
            // The same text fails again however often it is sent, and a client sends a 5xx again. It may
            // still be a fault of the engine, which the log is to tell.
            other => {
                warn!(error = %other, "the engine could not plan or run a query");
                Self::Validation(format!("The query is not supported: {}", planner_words(other)))
            }
        }
    }

    /// What is wrong with the operands of what stands at `place`; nothing where it is not them that
    /// `error` is about.
    pub(crate) fn of_operands(error: &DataFusionError, place: Position) -> Option<Self> {
        let at = Locations::only(place);
        match error.find_root() {
            DataFusionError::External(other) => {
                other.downcast_ref::<SqlError>().map(|error| Self::from_sql(error, &at))
            }
            DataFusionError::Plan(text) | DataFusionError::Internal(text)
                if text.contains("No function matches") || text.contains("any signature") =>
            {
                Some(wrong_operands(text, &at))
            }
            DataFusionError::Plan(text) => Self::of_clause(text, &at),
            _ => None,
        }
    }

    /// What the planner has to say, where its words are not for the user.
    fn from_planner(text: &str, at: &Locations) -> Self {
        let says = |words: &str| text.contains(words);
        if says("No function matches") || says("any signature") {
            return wrong_operands(text, at);
        }
        if let Some(error) = Self::of_clause(text, at) {
            return error;
        }
        let unplanned = says("does not support logical expression");
        Self::Validation(match () {
            () if says("non-boolean predicate") => {
                "WHERE, HAVING and ON take a condition that is a boolean".to_owned()
            }
            () if says("Unsupported ast node") && says("Lambda(") => {
                "a lambda stands where a value is expected".to_owned()
            }
            () if says("Unsupported ast node") => {
                "the query has an expression that Timestream's SQL does not have".to_owned()
            }
            () if unplanned => {
                "this subquery is not supported: one that names outer columns must be an EXISTS, \
                                an IN, or an aggregate"
                    .to_owned()
            }
            () => first_line(text),
        })
    }

    /// What is wrong with a clause, in Trino's words.
    fn of_clause(text: &str, at: &Locations) -> Option<Self> {
        let quoted = |mark: char, n: usize| text.split(mark).nth(n).unwrap_or_default();
        let name = |call: &str| call.split('(').next().unwrap_or_default().to_owned();
        let said = if text.contains("Aggregate function calls cannot be nested") {
            let outer = name(quoted('\'', 3));
            format!("line {}: Cannot nest aggregations inside aggregation '{outer}'", at.of_function(&outer))
        } else if text.contains("Aggregate function calls cannot contain window") {
            let outer = name(quoted('\'', 3));
            format!(
                "line {}: Cannot nest window functions inside aggregation '{outer}'",
                at.of_function(&outer)
            )
        } else if let Some((_, types)) = text.split_once("Inconsistent data type across values list") {
            let name =
                |of: &str| of.parse::<DataType>().map_or_else(|_| of.to_owned(), |of| SqlType::name_of(&of));
            let (one, other) = types.split_once("Was ")?.1.split_once(" but found ")?;
            format!("Values rows have mismatched types: {}, {}", name(one), name(other))
        } else if text.contains("are not allowed in the WHERE clause") {
            "WHERE clause cannot contain aggregations, window functions or grouping operations".to_owned()
        } else if text.contains("For SELECT DISTINCT, ORDER BY expressions") {
            "For SELECT DISTINCT, ORDER BY expressions must appear in select list".to_owned()
        } else if let Some(qualifier) = text.strip_prefix("Invalid qualifier ") {
            format!("line {}: Unable to resolve reference {qualifier}", at.of_column(qualifier))
        } else if let Some(counts) = text.strip_prefix("Source table contains ") {
            let mut numbers = counts.split_whitespace().filter_map(|word| word.parse::<usize>().ok());
            let (has, given) = (numbers.next()?, numbers.next()?);
            format!("Column alias list has {given} entries but relation has {has} columns")
        } else if text.contains("only support Literal types for field at idx") {
            "The offset of a window function, or its number of buckets, must be a literal".to_owned()
        } else if text.starts_with("The window ") && text.contains("is not defined") {
            format!("Cannot resolve WINDOW name {}", text.split_whitespace().nth(2).unwrap_or_default())
        } else if let Some(field) =
            text.strip_prefix("Field ").and_then(|rest| rest.split_once(" not found in struct"))
        {
            format!("line {}: Column '{}' does not exist", at.of_column(field.0), field.0)
        } else {
            return None;
        };
        Some(Self::Validation(said))
    }

    /// What went wrong in a condition that Parquet's reader was checking.
    fn from_row_filter(text: &str) -> Self {
        match SqlError::from_debug(text) {
            Some(error) => Self::from_sql(&error, &Locations::default()),
            None if text.contains("DivideByZero") => Self::Execution("Division by zero".to_owned()),
            None => Self::Execution("The condition of WHERE failed on a row".to_owned()),
        }
    }

    fn from_sql(error: &SqlError, at: &Locations) -> Self {
        match error {
            SqlError::Parameters { function, .. } => {
                Self::Validation(format!("line {}: {error}", at.of_function(function)))
            }
            SqlError::Syntax { function, .. } => syntax(at.of_function(function)),
            SqlError::Invalid(text) => match at.only.filter(|_| !text.starts_with("line ")) {
                Some(place) => Self::Validation(format!("line {place}: {text}")),
                None => Self::Validation(text.clone()),
            },
            SqlError::Failed(text) => Self::Execution(text.clone()),
        }
    }

    fn from_schema(error: &SchemaError, at: &Locations, spanned: Option<Position>) -> Self {
        match error {
            SchemaError::FieldNotFound { field, .. } => {
                let place = position_of(field).or(spanned).unwrap_or_else(|| at.of_column(&field.name));
                let name = match &field.relation {
                    Some(relation) => format!("{relation}.{}", field.name),
                    None => field.name.clone(),
                };
                Self::Validation(format!("line {place}: Column '{name}' does not exist"))
            }
            SchemaError::AmbiguousReference { field } => {
                let place = position_of(field).or(spanned).unwrap_or_else(|| at.of_column(&field.name));
                Self::Validation(format!("line {place}: Column '{}' is ambiguous", field.name))
            }
            SchemaError::DuplicateQualifiedField { name, .. }
            | SchemaError::DuplicateUnqualifiedField { name } => {
                Self::Validation(format!("Column name '{name}' specified more than once"))
            }
        }
    }

    fn from_arrow(error: &ArrowError) -> Self {
        match error {
            ArrowError::DivideByZero => Self::Execution("Division by zero".to_owned()),
            ArrowError::ArithmeticOverflow(text) if text.starts_with("Overflow happened on: - ") => {
                let value = text.trim_start_matches("Overflow happened on: - ");
                let of = if value.parse::<i32>().is_ok() { "integer" } else { "bigint" };
                Self::Execution(format!("{of} negation overflow: {value}"))
            }
            ArrowError::ArithmeticOverflow(text) => {
                Self::Execution(format!("numeric value out of range: {}", first_line(text)))
            }
            ArrowError::ExternalError(other) => match other.downcast_ref::<DataFusionError>() {
                Some(inner) => Self::from_datafusion(inner, &Locations::default()),
                None => Self::Execution(other.to_string()),
            },
            // Only literals are read by Arrow: a text in BETWEEN or IN that should be a moment.
            ArrowError::ParseError(text) if text.starts_with("Error parsing timestamp from '") => {
                let written = text.split('\'').nth(1).unwrap_or_default();
                Self::Validation(format!("Cannot cast '{written}' to timestamp"))
            }
            ArrowError::CastError(text) if text.starts_with("Cannot cast string '") => {
                let written = text.split('\'').nth(1).unwrap_or_default();
                let to = text.rsplit_once("to value of ").map_or("", |(_, to)| to.trim_end_matches(" type"));
                let to = to.parse::<DataType>().map_or_else(|_| to.to_owned(), |to| SqlType::name_of(&to));
                Self::Execution(format!("Cannot cast '{written}' to {to}"))
            }
            ArrowError::ParquetError(text) | ArrowError::ComputeError(text) if text.contains(ROW_FILTER) => {
                Self::from_row_filter(text)
            }
            ArrowError::ParquetError(text) => {
                Self::Unavailable(format!("a part of the table could not be read: {}", first_line(text)))
            }
            other => Self::Execution(first_line(&other.to_string())),
        }
    }
}

/// A call of one of DataFusion's own functions. It says `argument types 'sum(Utf8View)'`, or only
/// `'sum'` where it has no types.
fn wrong_operands(text: &str, at: &Locations) -> QueryError {
    let typed = text.split_once("argument types '").map(|(_, call)| call);
    let named = text.split_once('\'').map(|(_, call)| call);
    let call = typed.or(named).and_then(|call| call.split('\'').next()).unwrap_or_default();
    let (function, given) =
        call.strip_suffix(')').and_then(|call| call.split_once('(')).unwrap_or((call, ""));
    let place = at.of_function(function);
    let given = match given.parse::<DataType>() {
        Ok(of) => format!(" ({})", SqlType::name_of(&of)),
        Err(_) => String::new(),
    };
    QueryError::Validation(format!("line {place}: Unexpected parameters{given} for function {function}"))
}

/// Where the query names `column`, if the planner has kept it.
fn position_of(column: &Column) -> Option<Position> {
    column.spans.first().map(|span| Position { line: span.start.line, column: span.start.column })
}

/// What Parquet's reader says before the error of a condition.
const ROW_FILTER: &str = "Error evaluating filter predicate";

/// DataFusion's own text without its request to report a bug.
fn planner_words(error: &DataFusionError) -> String {
    let text = error.to_string();
    first_line(text.strip_prefix("Internal error: ").unwrap_or(&text))
}

/// DataFusion names the column in double quotes, with its table.
fn not_grouped(text: &str, at: &Locations, spanned: Option<Position>) -> QueryError {
    let column = text.split('"').nth(1).and_then(|column| column.rsplit('.').next()).unwrap_or_default();
    let place = spanned.unwrap_or_else(|| at.of_column(column));
    QueryError::Validation(format!(
        "line {place}: '{column}' must be an aggregate expression or appear in GROUP BY clause"
    ))
}

/// DataFusion appends hints and back traces; the first line is the message.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
