//! Names of dimensions or attributes, made and checked once for all records of a request that
//! repeat them.

use std::collections::HashSet;
use std::sync::Arc;

use crate::api::error::ApiError;
use crate::record::NameError;

/// The names of the record before, in its order.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Arc<str>>);

/// What is wrong with a name.
#[derive(Debug)]
pub(super) enum NameFault {
    Invalid(NameError),
    Repeated,
}

impl NameFault {
    /// The refusal of a request because of `name`.
    pub(super) fn of(self, name_of: &str, what: &str, name: &str) -> ApiError {
        ApiError::validation(match self {
            Self::Invalid(why) => format!("The {name_of} '{name}' is invalid: {why}."),
            Self::Repeated => format!("The {what} '{name}' is given more than once."),
        })
    }
}

impl Names {
    /// The names of a record that has `count` of them; the first that is not legal or comes twice is
    /// an error.
    pub(super) fn of<'t>(
        &mut self,
        names: impl Iterator<Item = &'t str> + Clone,
        count: usize,
        check: fn(&str) -> Result<(), NameError>,
    ) -> Result<&[Arc<str>], (&'t str, NameFault)> {
        let same =
            self.0.len() == count && self.0.iter().zip(names.clone()).all(|(before, name)| **before == *name);
        if !same {
            let mut seen = HashSet::with_capacity(count);
            for name in names.clone() {
                check(name).map_err(|why| (name, NameFault::Invalid(why)))?;
                if !seen.insert(name) {
                    return Err((name, NameFault::Repeated));
                }
            }
            self.0 = names.map(Into::into).collect();
        }
        Ok(&self.0)
    }
}
