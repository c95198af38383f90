//! `[limits]`: how many databases, tables and columns there may be.

use serde::Deserialize;

use super::check::{Scope, Wrong};
use crate::store::{Compatibility, Limits};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    databases_per_account: usize,
    tables_per_account: usize,
    dimensions_per_table: usize,
    measure_names_per_table: usize,
    unique_attributes_per_table: usize,
    attributes_per_record: usize,
    scheduled_queries_per_account: usize,
}

impl Default for Written {
    fn default() -> Self {
        let Limits {
            databases_per_account,
            tables_per_account,
            dimensions_per_table,
            measure_names_per_table,
            unique_attributes_per_table,
            attributes_per_record,
            scheduled_queries_per_account,
        } = Limits::AWS;
        Self {
            databases_per_account,
            tables_per_account,
            dimensions_per_table,
            measure_names_per_table,
            unique_attributes_per_table,
            attributes_per_record,
            scheduled_queries_per_account,
        }
    }
}

impl Written {
    pub(super) fn check(self, scope: &Scope) -> Result<Limits, Wrong> {
        let (most, whose) = match scope.compatibility {
            Compatibility::Local => (Limits::MOST, "what the store is made for"),
            Compatibility::Aws => (Limits::AWS, "AWS's; compatibility = \"local\" allows more"),
        };
        let check = |key, given: usize, max: usize| match given {
            0 => Err(Wrong { key, reason: "the least is 1".into() }),
            given if given > max => {
                Err(Wrong { key, reason: format!("{given} is more than {max}, {whose}") })
            }
            given => Ok(given),
        };
        macro_rules! checked {
            ($($name:ident),*) => {
                Ok(Limits { $($name: check(concat!("limits.", stringify!($name)), self.$name, most.$name)?),* })
            };
        }
        checked!(
            databases_per_account,
            tables_per_account,
            dimensions_per_table,
            measure_names_per_table,
            unique_attributes_per_table,
            attributes_per_record,
            scheduled_queries_per_account
        )
    }
}
