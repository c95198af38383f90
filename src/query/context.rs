//! From a resolved query to a logical plan.
//!
//! DataFusion's planner sees the tables `names` found, the functions of the registry and nothing else:
//! no catalog to browse, no file to read, no table function to call.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, TableReference, plan_datafusion_err};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner};
use datafusion::logical_expr::{
    AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::sql::planner::{NullOrdering, ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast;

use super::functions::{FrameMemory, Registry};

/// What all queries are planned with.
#[derive(Debug)]
pub(crate) struct Language {
    pub(crate) registry: Arc<Registry>,
    pub(crate) expr_planners: Vec<Arc<dyn ExprPlanner>>,
    pub(crate) relation_planners: Vec<Arc<dyn RelationPlanner>>,
}

/// What one query is planned with.
pub(crate) struct QueryContext<'a> {
    pub(crate) language: &'a Language,
    pub(crate) options: &'a ConfigOptions,
    /// What its window functions may use.
    pub(crate) frames: FrameMemory,
    /// The tables of the query, by database and name.
    pub(crate) tables: HashMap<(String, String), Arc<dyn TableSource>>,
}

impl QueryContext<'_> {
    /// Plans `query`.
    pub(crate) fn plan(&self, query: ast::Query) -> Result<LogicalPlan> {
        let options = ParserOptions::new()
            .with_enable_ident_normalization(false)
            .with_collect_spans(true)
            .with_default_null_ordering(NullOrdering::NullsLast);
        SqlToRel::new_with_options(self, options)
            .sql_statement_to_plan(ast::Statement::Query(Box::new(query)))
    }
}

impl ContextProvider for QueryContext<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let key = (name.schema().unwrap_or_default().to_owned(), name.table().to_owned());
        let found = self.tables.get(&key).map(Arc::clone);
        found.ok_or_else(|| plan_datafusion_err!("Table '{name}' does not exist"))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.language.expr_planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.language.relation_planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.language.registry.scalar(name)
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.language.registry.higher_order(name)
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.language.registry.aggregate(name).map(|function| self.frames.watch(function))
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.language.registry.window(name)
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.options
    }

    fn udf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
