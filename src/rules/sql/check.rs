//! Syntax tree to checked query: every name resolved, every mistake reported, nothing left to look up.
//!
//! Functions become pointers, literals become values, chains of operators become lists (so that a
//! long `a OR b OR c …` is no deep tree), unaliased items get their key. A [`Query`] cannot fail to
//! evaluate.

use std::collections::HashSet;
use std::sync::Arc;

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, DataType, Expr as Ast, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, Spanned, UnaryOperator, Value as Literal,
};
use sqlparser::tokenizer::Span;

use crate::topic::TopicFilter;

use super::super::stand_ins::StandIns;
use super::Version;
use super::dialect::{Aside, IN, unescape, variable_name};
use super::error::{Position, SqlError, SqlErrors};
use super::functions::{self, Binder, Lookup};
use super::number::Number;
use super::operator::{Comparison, Operator};
use super::query::{Called, Case, Expr, Item, Nested, Query, Select, Variable};
use super::statement::{ItemAst, NestedAst, SelectAst, SourceAst, StatementAst, VariableAst};
use super::value::{CastType, Name, Value};

/// How many levels a rule's topic filter may have: the index of rules is a tree as deep as that.
const FILTER_LEVELS_MAX: usize = 128;

/// The most variables SET may name (spec 1.3).
const VARIABLES_MAX: usize = 10;
/// The longest name of a variable, in letters.
const VARIABLE_NAME_MAX: usize = 64;
/// Functions that take a list or an object without reading it through.
const GLANCING: [&str; 4] = ["get", "isnull", "isundefined", "nanvl"];
/// The function whose second argument stands in for a failure of the first.
const GET_OR_DEFAULT: &str = "get_or_default";

/// Checks a whole statement and reports all its mistakes.
pub(super) fn check_statement(
    ast: StatementAst,
    aside: Aside,
    version: Version,
    files: &StandIns,
) -> Result<Query, SqlErrors> {
    let mut checker = Checker::new(aside, version, Binder::statement(files));
    checker.known = Some(Vec::new());
    let variables = checker.variables(ast.variables);
    let select = checker.select(ast.select);
    let from = ast.from.and_then(|(text, at)| checker.filter(text, at));
    let condition = ast.condition.map(|condition| checker.expr(condition));
    let remarks = Vec::new();
    let checked = checker.finish(Query { version, variables, select, from, condition, remarks });
    checked.map(|(query, remarks)| Query { remarks, ..query })
}

/// An expression that stands alone, and the variables it needs.
pub(super) type Standalone = (Expr, Vec<String>);

/// Checks an expression that stands alone.
pub(super) fn check_expression(
    ast: Ast,
    aside: Aside,
    version: Version,
    files: &StandIns,
) -> Result<Standalone, SqlErrors> {
    let mut checker = Checker::new(aside, version, Binder::template(files));
    let expr = checker.expr(ast);
    let used = std::mem::take(&mut checker.used);
    checker.finish((expr, used)).map(|(checked, _)| checked)
}

struct Checker<'f> {
    version: Version,
    binder: Binder<'f>,
    errors: Vec<SqlError>,
    /// What is legal and hardly meant.
    remarks: Vec<SqlError>,
    nested: Vec<Option<NestedAst>>,
    /// The variables set so far; `None` if the statement around is not known.
    known: Option<Vec<String>>,
    /// The variables used so far.
    used: Vec<String>,
}

fn place(span: Span) -> Position {
    Position::from(span.start)
}

/// Stands where a mistake was; never evaluated, because a query with mistakes is never built.
const MISTAKE: Expr = Expr::Literal(Value::Undefined);

impl<'f> Checker<'f> {
    fn new(aside: Aside, version: Version, binder: Binder<'f>) -> Self {
        let Aside { nested, newer, mistakes } = aside;
        let mut checker = Self {
            version,
            binder,
            errors: mistakes,
            remarks: Vec::new(),
            nested,
            known: None,
            used: Vec::new(),
        };
        for (at, what) in newer {
            checker.since_2016(at, what);
        }
        checker
    }

    /// What was checked, with the remarks on it. Who has to mend mistakes hears of the remarks too.
    fn finish<T>(self, checked: T) -> Result<(T, Vec<SqlError>), SqlErrors> {
        let Self { mut errors, remarks, .. } = self;
        if errors.is_empty() {
            return Ok((checked, remarks));
        }
        errors.extend(remarks);
        Err(SqlErrors::new(errors))
    }

    fn mistake(&mut self, at: Position, message: impl Into<String>) -> Expr {
        self.errors.push(SqlError::new(at, message));
        MISTAKE
    }

    /// Notes a mistake when `what` came with a later version of the language.
    fn since_2016(&mut self, at: Position, what: &str) {
        if self.version == Version::V2015 {
            self.mistake(
                at,
                format!("{what} needs aws_iot_sql_version 2016-03-23, this rule has 2015-10-08"),
            );
        }
    }

    fn filter(&mut self, text: String, at: Position) -> Option<TopicFilter> {
        if text == "$aws/rules" || text.starts_with("$aws/rules/") {
            self.mistake(at, "a rule cannot listen to $aws/rules/…: Basic Ingest reaches a rule by its name");
            return None;
        }
        if text.split('/').count() > FILTER_LEVELS_MAX {
            self.mistake(at, format!("FROM: a topic filter may have at most {FILTER_LEVELS_MAX} levels"));
            return None;
        }
        match TopicFilter::new(text) {
            Ok(filter) => Some(filter),
            Err(error) => {
                self.mistake(at, format!("FROM: {error}"));
                None
            }
        }
    }

    fn variables(&mut self, asts: Vec<VariableAst>) -> Vec<Variable> {
        let mut variables = Vec::with_capacity(asts.len());
        for (index, VariableAst { name, at, expr }) in asts.into_iter().enumerate() {
            if index == VARIABLES_MAX {
                self.mistake(at, format!("SET may name at most {VARIABLES_MAX} variables"));
            }
            if name.is_empty() || name.len() > VARIABLE_NAME_MAX || !name.bytes().all(is_name_byte) {
                let message =
                    format!("the name of a variable is @ and 1 to {VARIABLE_NAME_MAX} letters, digits and _");
                self.mistake(at, message);
            }
            let expr = expr.map(|expr| self.expr(expr));
            let known = self.known.get_or_insert_default();
            if known.contains(&name) {
                self.mistake(at, format!("@{name} is set twice"));
                continue;
            }
            known.push(name.clone());
            variables.extend(expr.map(|expr| Variable { name, expr }));
        }
        variables
    }

    fn variable(&mut self, name: &str, path: Vec<String>, at: Position) -> Expr {
        if self.known.as_ref().is_some_and(|known| !known.iter().any(|one| one == name)) {
            return self.mistake(at, format!("there is no variable @{name}: SET it before it is used"));
        }
        self.used.push(name.to_owned());
        Expr::Variable(name.to_owned(), path)
    }

    /// The nested SELECT of a placeholder.
    fn nested(&mut self, number: &str) -> Expr {
        let found = number.parse::<usize>().ok().and_then(|number| self.nested.get_mut(number)?.take());
        let Some(NestedAst { exists, select, source, alias, condition }) = found else { return MISTAKE };
        let select = self.select(select);
        let source = match source {
            Some(SourceAst::Expr(expr)) => self.source(*expr),
            Some(SourceAst::Payload) => Expr::Payload,
            None => MISTAKE,
        };
        let condition = condition.map(|condition| self.expr(condition));
        let nested = Box::new(Nested { select, source, alias, condition });
        if exists { Expr::Exists(nested) } else { Expr::Nested(nested) }
    }

    fn source(&mut self, ast: Ast) -> Expr {
        let at = place(ast.span());
        let source = self.expr(ast);
        if matches!(&source, Expr::Literal(value) if !value.is_undefined()) {
            return self.mistake(at, "a nested SELECT reads from a list or an object, not from a topic");
        }
        source
    }

    fn select(&mut self, ast: SelectAst) -> Select {
        let mut items = match ast {
            SelectAst::Value(Some(item)) => return self.value(*item),
            SelectAst::Value(None) => return Select::Value(MISTAKE),
            SelectAst::Items(items) => items,
        };
        if let [only] = items.as_slice()
            && only.expr.is_none()
            && only.alias.is_empty()
        {
            return Select::Payload;
        }
        let items: Vec<Item> = items.drain(..).map(|item| self.item(item)).collect();
        let mut names = HashSet::new();
        let distinct = items.iter().all(|item| match item {
            Item::Named(path, _) => path.len() == 1 && names.insert(Arc::clone(&path[0])),
            Item::Lift(_) => false,
        });
        if !distinct {
            return Select::Object(items);
        }
        let attribute = |item| match item {
            Item::Named(path, expr) => path.into_iter().next().map(|name| (name, expr)),
            Item::Lift(_) => None,
        };
        Select::Attributes(items.into_iter().filter_map(attribute).collect())
    }

    fn value(&mut self, item: ItemAst) -> Select {
        if item.lifted || !item.alias.is_empty() {
            self.mistake(item.at, "SELECT VALUE takes one expression without .* and without AS");
        }
        match item.expr {
            None => Select::Payload,
            Some(expr) => Select::Value(self.expr(expr)),
        }
    }

    fn item(&mut self, item: ItemAst) -> Item {
        let ItemAst { expr, lifted, alias, at } = item;
        let Some(ast) = expr else {
            return if alias.is_empty() {
                Item::Lift(Expr::Payload)
            } else {
                Item::Named(shared(alias), Expr::Payload)
            };
        };
        if lifted && !alias.is_empty() {
            self.mistake(at, ".* lifts the members to the top and takes no alias");
        }
        if lifted || (alias.is_empty() && matches!(ast, Ast::Dictionary(_))) {
            return Item::Lift(self.expr(ast));
        }
        let key = if alias.is_empty() { default_key(&ast) } else { Some(alias) };
        let expr = self.expr(ast);
        match key {
            Some(key) => Item::Named(shared(key), expr),
            None => {
                self.mistake(at, "this expression has no name of its own, give it one: … AS name");
                Item::Lift(expr)
            }
        }
    }

    fn expr(&mut self, ast: Ast) -> Expr {
        match ast {
            Ast::Value(literal) => match literal.value {
                Literal::Placeholder(number) => self.nested(&number),
                value => self.literal(value, place(literal.span)),
            },
            Ast::Identifier(name) => self.path(vec![name]),
            Ast::CompoundIdentifier(names) => self.path(names),
            Ast::Nested(inner) => self.expr(*inner),
            Ast::CompoundFieldAccess { root, access_chain } => self.member(*root, access_chain),
            Ast::BinaryOp { .. } => self.chain(ast),
            Ast::UnaryOp { op: UnaryOperator::Not, expr } => Expr::Not(Box::new(self.expr(*expr))),
            Ast::UnaryOp { op: UnaryOperator::Minus, expr } => match self.expr(*expr) {
                Expr::Literal(Value::Int(value)) => Expr::Literal(Value::Int(-value)),
                Expr::Literal(Value::Decimal(value)) => Expr::Literal(Value::Decimal(value.negated())),
                other => Expr::Negate(Box::new(other)),
            },
            Ast::Case { case_token, operand, conditions, else_result, .. } => {
                self.case(place(case_token.0.span), operand, conditions, else_result)
            }
            Ast::Cast { expr, data_type, format: None, array: false, .. } => self.cast(*expr, &data_type),
            Ast::Function(function) => self.call(function),
            Ast::Dictionary(fields) => {
                let member = |field: sqlparser::ast::DictionaryField| {
                    (self.key(&field.key).into(), self.expr(*field.value))
                };
                Expr::Object(fields.into_iter().map(member).collect())
            }
            Ast::Array(array) => Expr::Array(array.elem.into_iter().map(|item| self.expr(item)).collect()),
            other => {
                let at = place(other.span());
                self.mistake(at, "this is not an expression of AWS IoT SQL")
            }
        }
    }

    /// An attribute, or a variable and what it holds.
    fn path(&mut self, names: Vec<Ident>) -> Expr {
        let at = names.first().map(|name| place(name.span)).unwrap_or_default();
        let mut names: Vec<String> = names.into_iter().map(|name| name.value).collect();
        match names.first().and_then(|first| variable_name(first)).map(str::to_owned) {
            Some(variable) => {
                names.remove(0);
                self.variable(&variable, names, at)
            }
            None => Expr::Path(names),
        }
    }

    fn key(&mut self, key: &Ident) -> String {
        match key.quote_style {
            Some(quote) => unescape(&key.value, quote),
            None => {
                self.mistake(place(key.span), format!("put the key in quotes: '{}'", key.value));
                String::new()
            }
        }
    }

    fn literal(&mut self, literal: Literal, at: Position) -> Expr {
        Expr::Literal(match literal {
            Literal::Null => Value::Null,
            Literal::Boolean(value) => Value::Bool(value),
            Literal::SingleQuotedString(raw) => Value::Str(unescape(&raw, '\'')),
            Literal::DoubleQuotedString(raw) => Value::Str(unescape(&raw, '"')),
            Literal::Number(text, _) => match Number::parse(&text.to_string()) {
                Some(number) => self.version.value(number),
                None => {
                    let message = "a number has a digit on both sides of its point and at most 34 digits, \
                                   and its exponent lies within 999";
                    return self.mistake(at, format!("{text}: {message}"));
                }
            },
            _ => return self.mistake(at, "this kind of literal is not part of AWS IoT SQL"),
        })
    }

    fn member(&mut self, root: Ast, chain: Vec<AccessExpr>) -> Expr {
        let at = place(root.span());
        let mut names = Vec::with_capacity(chain.len());
        for access in chain {
            match access {
                AccessExpr::Dot(Ast::Identifier(name)) => names.push(name.value),
                AccessExpr::Dot(Ast::CompoundIdentifier(more)) => {
                    names.extend(more.into_iter().map(|name| name.value));
                }
                _ => {
                    return self.mistake(
                        at,
                        "only names stand behind a point, and there is no [i]: write get(array, i)",
                    );
                }
            }
        }
        Expr::Member(Box::new(self.expr(root)), names)
    }

    /// Turns the left spine of a tree of operators into a list, without recursion along the spine.
    fn chain(&mut self, mut ast: Ast) -> Expr {
        let mut links = Vec::new();
        while let Ast::BinaryOp { left, op, right } = ast {
            let right_at = place(right.span());
            links.push((self.operator(&op, right_at), self.expr(*right)));
            ast = *left;
        }
        links.reverse();
        Expr::Chain(Box::new(self.expr(ast)), links)
    }

    fn operator(&mut self, op: &BinaryOperator, at: Position) -> Operator {
        match op {
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Multiply => Operator::Times,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::Modulo => Operator::Remainder,
            BinaryOperator::Eq => Operator::Equal,
            BinaryOperator::NotEq => Operator::NotEqual,
            BinaryOperator::Lt => Operator::Compare(Comparison::Less),
            BinaryOperator::LtEq => Operator::Compare(Comparison::LessOrEqual),
            BinaryOperator::Gt => Operator::Compare(Comparison::Greater),
            BinaryOperator::GtEq => Operator::Compare(Comparison::GreaterOrEqual),
            BinaryOperator::And => Operator::And,
            BinaryOperator::Or => Operator::Or,
            BinaryOperator::Custom(name) if name == IN => Operator::In,
            other => {
                self.mistake(at, format!("{other} is not an operator of AWS IoT SQL"));
                Operator::Equal
            }
        }
    }

    fn case(
        &mut self,
        at: Position,
        operand: Option<Box<Ast>>,
        conditions: Vec<CaseWhen>,
        otherwise: Option<Box<Ast>>,
    ) -> Expr {
        let Some(operand) = operand else {
            let message = "CASE needs a value to compare: write CASE x WHEN 1 THEN …, \
                           or CASE a > 10 WHEN true THEN …";
            return self.mistake(at, message);
        };
        Expr::Case(Box::new(Case {
            selector: self.expr(*operand),
            arms: conditions
                .into_iter()
                .map(|arm| (self.expr(arm.condition), self.expr(arm.result)))
                .collect(),
            otherwise: otherwise.map(|otherwise| self.expr(*otherwise)),
        }))
    }

    fn cast(&mut self, ast: Ast, data_type: &DataType) -> Expr {
        let at = place(ast.span());
        let expr = self.expr(ast);
        let name = data_type.to_string();
        let Some(kind) = CastType::named(&name) else {
            let message = format!(
                "cast: there is no type {name}; the types are Decimal, Double, Int, Integer, Boolean, Bool, \
                 String, Nvarchar, Text, Ntext, Varchar"
            );
            return self.mistake(at, message);
        };
        if kind == CastType::Boolean || name.eq_ignore_ascii_case("decimal") {
            self.since_2016(at, &format!("cast to {name}"));
        }
        Expr::Cast(Box::new(expr), kind)
    }

    fn call(&mut self, function: sqlparser::ast::Function) -> Expr {
        let at = place(function.name.span());
        let name = function.name.to_string().to_ascii_lowercase();
        let plain = function.filter.is_none()
            && function.over.is_none()
            && function.null_treatment.is_none()
            && function.within_group.is_empty()
            && matches!(function.parameters, FunctionArguments::None);
        let FunctionArguments::List(list) = function.args else {
            return self.mistake(at, format!("{name}() takes its arguments in brackets"));
        };
        if !plain || list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return self.mistake(at, format!("{name}() takes only plain arguments"));
        }
        let (arguments, asks) = self.arguments(list.args, at);
        let found = match functions::lookup(&name) {
            Lookup::Found(found) => found,
            Lookup::Elsewhere(reason) => return self.mistake(at, format!("{name}() {reason}")),
            Lookup::Unknown => return self.mistake(at, format!("there is no function {name}()")),
        };
        if found.since_2016 {
            self.since_2016(at, &format!("{name}()"));
        }
        if !found.arity.contains(&arguments.len()) {
            let message = format!("{name}() takes {}, not {}", found.arity_words(), arguments.len());
            // AWS takes it and yields Undefined (spec 3); a template without a value could only fail.
            if self.binder.is_template() {
                return self.mistake(at, message);
            }
            self.remarks.push(SqlError::new(at, format!("{message}: it is always Undefined")));
            return Expr::Literal(Value::Undefined);
        }
        // AWS forbids the substitute what may itself fail (spec 3.3).
        if name == GET_OR_DEFAULT && asks.get(1) == Some(&true) {
            return self.mistake(at, "get_or_default(): the default cannot call a function that others run");
        }
        match found.bind(&arguments, &mut self.binder) {
            Ok(call) => Expr::Call(Called { call, glances: GLANCING.contains(&name.as_str()) }, arguments),
            Err(reason) => self.mistake(at, format!("{name}(): {reason}")),
        }
    }

    /// The arguments of a call, and which of them ask others for their value.
    fn arguments(&mut self, arguments: Vec<FunctionArg>, at: Position) -> (Vec<Expr>, Vec<bool>) {
        let before = std::mem::take(&mut self.binder.asks);
        let each = arguments.into_iter().map(|argument| {
            let expr = self.argument(argument, at);
            (expr, std::mem::take(&mut self.binder.asks))
        });
        let (arguments, asks): (Vec<Expr>, Vec<bool>) = each.unzip();
        self.binder.asks = before || asks.contains(&true);
        (arguments, asks)
    }

    fn argument(&mut self, argument: FunctionArg, at: Position) -> Expr {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.expr(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => Expr::Payload,
            _ => self.mistake(at, "an argument is an expression or *"),
        }
    }
}

fn shared(names: Vec<String>) -> Vec<Name> {
    names.into_iter().map(Into::into).collect()
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The key of an item without an alias: the last name of a path, a function's name in lower case.
fn default_key(ast: &Ast) -> Option<Vec<String>> {
    let key = match ast {
        Ast::Identifier(name) => variable_name(&name.value).unwrap_or(&name.value).to_owned(),
        Ast::CompoundIdentifier(names) => names.last()?.value.clone(),
        Ast::CompoundFieldAccess { access_chain, .. } => match access_chain.last()? {
            AccessExpr::Dot(Ast::Identifier(name)) => name.value.clone(),
            _ => return None,
        },
        Ast::Function(function) => function.name.to_string().to_ascii_lowercase(),
        Ast::Cast { .. } => "cast".to_owned(),
        Ast::Nested(inner) => return default_key(inner),
        _ => return None,
    };
    Some(vec![key])
}
