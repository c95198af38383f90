//! A name of WITH hides the same name of a query around it.
//!
//! DataFusion takes the inner one for a name that is given twice. So it gets a name that nobody else has, and
//! what names it is called as it was written.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, Query, TableAlias, TableFactor, VisitMut, VisitorMut,
};

/// Tells the names of views apart.
pub(crate) fn part(query: &mut Query) {
    let _ = VisitMut::visit(query, &mut Scopes::default());
}

#[derive(Default)]
struct Scopes {
    /// The views of the queries around the present place, the innermost last.
    scopes: Vec<Vec<View>>,
    /// How many views got another name.
    renamed: usize,
}

struct View {
    /// Its name, in lower case.
    name: String,
    renamed: Option<String>,
    /// Where its query lies in memory.
    place: usize,
    /// Whether it can be named already: not in itself nor before it.
    is_known: bool,
}

fn place(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}

impl VisitorMut for Scopes {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let mut views = Vec::new();
        for view in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            let name = view.alias.name.value.to_lowercase();
            let is_hidden = |other: &View| other.name == name;
            let renamed = self.scopes.iter().flatten().any(is_hidden).then(|| {
                self.renamed += 1;
                format!("{name}\u{1}{}", self.renamed)
            });
            if let Some(renamed) = &renamed {
                view.alias.name.value.clone_from(renamed);
            }
            views.push(View { name, renamed, place: place(&view.query), is_known: false });
        }
        self.scopes.push(views);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.scopes.pop();
        let view =
            self.scopes.last_mut().and_then(|views| views.iter_mut().find(|view| view.place == place(query)));
        if let Some(view) = view {
            view.is_known = true;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name: ObjectName(parts), alias, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let [ObjectNamePart::Identifier(name)] = parts.as_mut_slice() else {
            return ControlFlow::Continue(());
        };
        let written = name.value.to_lowercase();
        let mut views = self.scopes.iter().rev().flatten();
        let view = views.find(|view| view.is_known && view.name == written);
        if let Some(renamed) = view.and_then(|view| view.renamed.clone()) {
            let Ident { value, quote_style, span } = name.clone();
            alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: Ident { value, quote_style, span },
                columns: vec![],
                at: None,
            });
            name.value = renamed;
        }
        ControlFlow::Continue(())
    }
}
