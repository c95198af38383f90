//! From text to one of the statements Timestream has: a query, `UNLOAD`, `SHOW`, or `DESCRIBE`.
//!
//! What no statement of ours begins with is refused before it is parsed, and what a query may not
//! contain (other statements inside `WITH`, table functions, locks) after.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, SetExpr, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};

use super::dialect::TimestreamDialect;
use super::error::{Position, QueryError, syntax};
use super::limits;
use super::scopes;
use super::token_reader::TokenReader;
use super::unload::{self, Unload};
use super::values::{without_group_quantifier, wrap_bare_rows};
use super::weight;
use super::wire_text;
use super::words::{self, is_reserved};
use crate::clock::Timestamp;

/// The values of a query's parameters by their names, without the `@`.
pub type Parameters = BTreeMap<String, Timestamp>;

/// How many levels sqlparser may call itself; a level of parentheses takes it about two.
const RECURSION_MAX: usize = limits::NESTING_MAX * 3;

/// What the user asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Statement {
    /// `SELECT` or `WITH`.
    Query(Box<ast::Query>),
    /// `UNLOAD (SELECT ...) TO 's3://...' WITH (...)`.
    Unload(Box<Unload>),
    /// `SHOW DATABASES [LIKE pattern]`.
    ShowDatabases { like: Option<String> },
    /// `SHOW TABLES [FROM database] [LIKE pattern]`.
    ShowTables { database: Option<Name>, like: Option<String> },
    /// `SHOW MEASURES FROM database.table [LIKE pattern]`.
    ShowMeasures { table: TableName, like: Option<String> },
    /// `DESCRIBE database.table`.
    Describe { table: TableName },
}

/// A name and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) value: String,
    pub(crate) at: Position,
}

/// A table as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName {
    pub(crate) database: Name,
    pub(crate) table: String,
    /// The whole name as it is written.
    pub(crate) written: String,
}

/// Reads one statement. Kept apart from anything asynchronous: sqlparser's parser cannot be sent
/// between threads.
pub(crate) fn parse(sql: &str, parameters: &Parameters) -> Result<Statement, QueryError> {
    limits::check_length(sql)?;
    let tokens = Tokenizer::new(&TimestreamDialect, sql).tokenize_with_location().map_err(unreadable)?;
    limits::check_text(&tokens)?;
    let mut words = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    let Some(first) = words.next() else { return Err(syntax(Position::START)) };
    let at = Position::from(first.span.start);
    match &first.token {
        Token::LParen => parse_query(tokens, parameters).map(Statement::Query),
        Token::Word(word) if word.quote_style.is_none() => match word.value.to_ascii_uppercase().as_str() {
            "SELECT" | "WITH" => parse_query(tokens, parameters).map(Statement::Query),
            "SHOW" => show(&tokens),
            "DESCRIBE" | "DESC" => describe(&tokens),
            "UNLOAD" => unload::parse(tokens, parameters).map(|unload| Statement::Unload(Box::new(unload))),
            _ => Err(syntax(at)),
        },
        _ => Err(syntax(at)),
    }
}

fn unreadable(error: TokenizerError) -> QueryError {
    syntax(error.location.into())
}

/// Reads a query, the tokens of which are all that is left of the text.
pub(crate) fn parse_query(
    tokens: Vec<TokenWithSpan>,
    parameters: &Parameters,
) -> Result<Box<ast::Query>, QueryError> {
    let tokens = words::plain(filled_in(tokens, parameters)?);
    // Only prepared statements have values for them, and there are none.
    if let Some(token) =
        tokens.iter().find(|token| matches!(token.token, Token::Placeholder(_) | Token::Colon))
    {
        return Err(syntax(token.span.start.into()));
    }
    let end = tokens.last().map_or(Position::START, |token| token.span.end.into());
    let words = places_of_words(&tokens);
    let mut parser = Parser::new(&TimestreamDialect)
        .with_recursion_limit(RECURSION_MAX)
        .with_tokens_with_locations(wrap_bare_rows(without_group_quantifier(tokens)));
    let mut query = parser.parse_query().map_err(|error| unparsable(&error, end))?;
    // One semicolon at the end is forgiven, a second statement is not.
    let _ = parser.consume_token(&Token::SemiColon);
    if parser.peek_token_ref().token != Token::EOF {
        return Err(syntax(parser.peek_token_ref().span.start.into()));
    }
    if let Some(with) = query.with.as_ref().filter(|with| with.recursive) {
        let at = Position::of(with.with_token.0.span).unwrap_or(Position::START);
        return Err(QueryError::Validation(format!("line {at}: WITH RECURSIVE is not supported")));
    }
    match query.visit(&mut OnlyQueries) {
        ControlFlow::Continue(()) => {}
        ControlFlow::Break(Wrong::At(at)) => return Err(syntax(at)),
        ControlFlow::Break(Wrong::Word(word, near)) => {
            return Err(syntax(words.get(&word).copied().unwrap_or(near)));
        }
    }
    scopes::part(&mut query);
    weight::check(&query)?;
    Ok(query)
}

/// The names of the parameters in a text, each once, in the order in which they come.
pub(crate) fn parameters(sql: &str) -> Result<Vec<String>, QueryError> {
    limits::check_length(sql)?;
    let tokens = Tokenizer::new(&TimestreamDialect, sql).tokenize_with_location().map_err(unreadable)?;
    let mut names: Vec<String> = Vec::new();
    for pair in tokens.windows(2) {
        if let (Token::AtSign, Token::Word(word)) = (&pair[0].token, &pair[1].token)
            && !names.contains(&word.value)
        {
            names.push(word.value.clone());
        }
    }
    Ok(names)
}

/// The tokens with every `@name` replaced by a literal: `TIMESTAMP '..'`.
fn filled_in(tokens: Vec<TokenWithSpan>, parameters: &Parameters) -> Result<Vec<TokenWithSpan>, QueryError> {
    if !tokens.iter().any(|token| token.token == Token::AtSign) {
        return Ok(tokens);
    }
    let mut filled = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let name = match (&token.token, tokens.peek().map(|next| &next.token)) {
            (Token::AtSign, Some(Token::Word(word))) => word.value.clone(),
            _ => {
                filled.push(token);
                continue;
            }
        };
        let Some(value) = parameters.get(&name) else {
            return Err(QueryError::Validation(format!(
                "line {}: the parameter @{name} has no value: only scheduled queries and PrepareQuery take \
                 parameters",
                Position::from(token.span.start)
            )));
        };
        tokens.next();
        let text = Token::SingleQuotedString(wire_text::timestamp(value.nanos()));
        filled.push(TokenWithSpan { token: Token::make_keyword("TIMESTAMP"), span: token.span });
        filled.push(TokenWithSpan { token: text, span: token.span });
    }
    Ok(filled)
}

/// sqlparser tells the place of a mistake only at the end of its text.
fn unparsable(error: &ParserError, end: Position) -> QueryError {
    let text = match error {
        ParserError::RecursionLimitExceeded => {
            return QueryError::Validation(format!(
                "the query nests deeper than {} levels",
                limits::NESTING_MAX
            ));
        }
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
    };
    let place = || {
        let (_, place) = text.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        Some(Position { line: line.parse().ok()?, column: column.parse().ok()? })
    };
    syntax(place().unwrap_or(end))
}

/// What is no query of Timestream's.
enum Wrong {
    At(Position),
    /// The clause that begins with a word, in the query that begins at a place.
    Word(Keyword, Position),
}

/// Where each of the words that begin a clause Timestream does not have stands first: sqlparser keeps no
/// places of them.
fn places_of_words(tokens: &[TokenWithSpan]) -> HashMap<Keyword, Position> {
    let mut places = HashMap::new();
    for token in tokens {
        if let Token::Word(word) = &token.token
            && word.quote_style.is_none()
            && word.keyword != Keyword::NoKeyword
        {
            places.entry(word.keyword).or_insert_with(|| token.span.start.into());
        }
    }
    places
}

/// Finds what parses but is no query of Timestream's, and says where.
struct OnlyQueries;

impl OnlyQueries {
    fn name(name: &ast::Ident) -> ControlFlow<Wrong> {
        match name.quote_style.is_none() && is_reserved(&name.value) {
            true => ControlFlow::Break(Wrong::At(Position::of(name.span).unwrap_or(Position::START))),
            false => ControlFlow::Continue(()),
        }
    }

    /// The service takes no alias with a colon, quoted or not (spec 1.1).
    fn alias(name: &ast::Ident) -> ControlFlow<Wrong> {
        match name.value.contains(':') {
            true => ControlFlow::Break(Wrong::At(Position::of(name.span).unwrap_or(Position::START))),
            false => Self::name(name),
        }
    }

    fn table_alias(alias: Option<&ast::TableAlias>) -> ControlFlow<Wrong> {
        let Some(alias) = alias else { return ControlFlow::Continue(()) };
        Self::name(&alias.name)?;
        alias.columns.iter().try_for_each(|column| Self::alias(&column.name))
    }
}

impl Visitor for OnlyQueries {
    type Break = Wrong;

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<Wrong> {
        let extra = [
            (!query.locks.is_empty() || query.for_clause.is_some(), Keyword::FOR),
            (query.settings.is_some(), Keyword::SETTINGS),
            (query.format_clause.is_some(), Keyword::FORMAT),
            (!query.pipe_operators.is_empty() || !is_select(&query.body), Keyword::NoKeyword),
        ];
        if let Some((_, word)) = extra.iter().find(|(extra, _)| *extra) {
            return ControlFlow::Break(Wrong::Word(*word, place_of(query)));
        }
        let views = query.with.iter().flat_map(|with| &with.cte_tables);
        views.map(|view| Some(&view.alias)).try_for_each(Self::table_alias)
    }

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<Wrong> {
        let extra = [
            (select.into.is_some(), Keyword::INTO),
            (select.top.is_some(), Keyword::TOP),
            (select.prewhere.is_some(), Keyword::PREWHERE),
            (select.qualify.is_some(), Keyword::QUALIFY),
            (select.value_table_mode.is_some(), Keyword::AS),
            (!select.lateral_views.is_empty(), Keyword::LATERAL),
            (!select.cluster_by.is_empty(), Keyword::CLUSTER),
            (!select.distribute_by.is_empty(), Keyword::DISTRIBUTE),
            (!select.sort_by.is_empty(), Keyword::SORT),
            (!select.connect_by.is_empty(), Keyword::CONNECT),
            (select.from.iter().any(|from| has_natural(&from.joins)), Keyword::NATURAL),
            (matches!(select.distinct, Some(ast::Distinct::On(_))), Keyword::ON),
        ];
        if let Some((_, word)) = extra.iter().find(|(extra, _)| *extra) {
            let near = Position::of(ast::Spanned::span(select)).unwrap_or(Position::START);
            return ControlFlow::Break(Wrong::Word(*word, near));
        }
        for item in &select.projection {
            if let ast::SelectItem::ExprWithAlias { alias, .. } = item {
                Self::alias(alias)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<Wrong> {
        match expr {
            ast::Expr::Identifier(name) => Self::name(name),
            ast::Expr::CompoundIdentifier(names) => names.iter().try_for_each(Self::name),
            ast::Expr::ILike { .. }
            | ast::Expr::SimilarTo { .. }
            | ast::Expr::RLike { .. }
            | ast::Expr::Collate { .. }
            | ast::Expr::Overlay { .. } => ControlFlow::Break(Wrong::At(
                Position::of(ast::Spanned::span(expr)).unwrap_or(Position::START),
            )),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Wrong> {
        let near = Position::of(ast::Spanned::span(factor)).unwrap_or(Position::START);
        let fine = match factor {
            TableFactor::Table { args, with_hints, version, partitions, json_path, sample, .. } => {
                args.is_none()
                    && with_hints.is_empty()
                    && version.is_none()
                    && partitions.is_empty()
                    && json_path.is_none()
                    && sample.is_none()
            }
            TableFactor::Derived { lateral, sample, .. } => !lateral && sample.is_none(),
            TableFactor::UNNEST { with_offset, .. } => !with_offset,
            TableFactor::NestedJoin { table_with_joins, .. } if has_natural(&table_with_joins.joins) => {
                return ControlFlow::Break(Wrong::Word(Keyword::NATURAL, near));
            }
            TableFactor::NestedJoin { .. } => true,
            _ => false,
        };
        match (fine, factor) {
            (false, _) => ControlFlow::Break(Wrong::At(near)),
            (
                true,
                TableFactor::Table { alias, .. }
                | TableFactor::Derived { alias, .. }
                | TableFactor::UNNEST { alias, .. }
                | TableFactor::NestedJoin { alias, .. },
            ) => Self::table_alias(alias.as_ref()),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn has_natural(joins: &[ast::Join]) -> bool {
    joins.iter().any(|join| {
        matches!(
            &join.join_operator,
            ast::JoinOperator::Join(ast::JoinConstraint::Natural)
                | ast::JoinOperator::Inner(ast::JoinConstraint::Natural)
                | ast::JoinOperator::Left(ast::JoinConstraint::Natural)
                | ast::JoinOperator::LeftOuter(ast::JoinConstraint::Natural)
                | ast::JoinOperator::Right(ast::JoinConstraint::Natural)
                | ast::JoinOperator::RightOuter(ast::JoinConstraint::Natural)
                | ast::JoinOperator::FullOuter(ast::JoinConstraint::Natural)
        )
    })
}

fn is_select(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => true,
        SetExpr::SetOperation { left, right, .. } => is_select(left) && is_select(right),
        _ => false,
    }
}

fn place_of(query: &ast::Query) -> Position {
    Position::of(ast::Spanned::span(query)).unwrap_or(Position::START)
}

fn show(tokens: &[TokenWithSpan]) -> Result<Statement, QueryError> {
    let mut words = TokenReader::over(tokens);
    // SHOW itself.
    words.word()?;
    if words.keyword("DATABASES") {
        let like = like(&mut words)?;
        words.end()?;
        return Ok(Statement::ShowDatabases { like });
    }
    if words.keyword("TABLES") {
        let database = if from(&mut words) { Some(name(&mut words)?) } else { None };
        let like = like(&mut words)?;
        words.end()?;
        return Ok(Statement::ShowTables { database, like });
    }
    if words.keyword("MEASURES") && from(&mut words) {
        let table = table(&mut words)?;
        let like = like(&mut words)?;
        words.end()?;
        return Ok(Statement::ShowMeasures { table, like });
    }
    Err(syntax(words.here()))
}

fn describe(tokens: &[TokenWithSpan]) -> Result<Statement, QueryError> {
    let mut words = TokenReader::over(tokens);
    // DESCRIBE itself.
    words.word()?;
    let table = table(&mut words)?;
    words.end()?;
    Ok(Statement::Describe { table })
}

fn from(words: &mut TokenReader<'_>) -> bool {
    words.keyword("FROM") || words.keyword("IN")
}

fn name(words: &mut TokenReader<'_>) -> Result<Name, QueryError> {
    let at = words.here();
    Ok(Name { value: words.word()?.value.clone(), at })
}

fn table(words: &mut TokenReader<'_>) -> Result<TableName, QueryError> {
    let start = words.place();
    let database = name(words)?;
    let mut table = None;
    while words.take(|token| *token == Token::Period) {
        table = Some(words.word()?.value.clone());
    }
    let Some(table) = table else { return Err(syntax(words.here())) };
    Ok(TableName { database, table, written: words.written_since(start) })
}

fn like(words: &mut TokenReader<'_>) -> Result<Option<String>, QueryError> {
    if words.keyword("LIKE") { words.text().map(Some) } else { Ok(None) }
}
