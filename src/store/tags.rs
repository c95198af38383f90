//! Tags of databases and tables: what is legal and how they change (spec 5.3).

use super::Store;
use super::error::StoreError;
use super::options::{Database, Table, Tag};

/// Most tags of one resource.
const TAGS_MAX: usize = 50;

/// What can carry tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A database, by name.
    Database(String),
    /// A table, by its database's name and its own.
    Table(String, String),
}

impl Store {
    /// The tags of a resource, in the order they were attached.
    ///
    /// # Errors
    /// When there is no such resource.
    pub fn tags(&self, resource: &Resource) -> Result<Vec<Tag>, StoreError> {
        Ok(match resource {
            Resource::Database(name) => self.describe_database(name)?.tags,
            Resource::Table(database, name) => self.describe_table(database, name)?.tags,
        })
    }

    /// Attaches tags to a resource; a key it has already gets the new value.
    ///
    /// # Errors
    /// When there is no such resource, a tag is not allowed, or there would be too many.
    pub fn tag(&self, resource: &Resource, tags: Vec<Tag>) -> Result<(), StoreError> {
        self.change_tags(resource, |present| merge_tags(present, tags))
    }

    /// Takes tags off a resource; keys it does not have are no error.
    ///
    /// # Errors
    /// When there is no such resource.
    pub fn untag(&self, resource: &Resource, keys: &[String]) -> Result<(), StoreError> {
        self.change_tags(resource, |present| {
            present.retain(|(key, _)| !keys.contains(key));
            Ok(())
        })
    }

    fn change_tags(
        &self,
        resource: &Resource,
        change: impl FnOnce(&mut Vec<Tag>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let inner = &self.inner;
        let _changing = inner.changing();
        match resource {
            Resource::Database(name) => {
                let mut database: Database = inner.directory.database(name)?;
                change(&mut database.tags)?;
                inner.catalog.put_database(&database)?;
                inner.directory.put_database(database);
            }
            Resource::Table(database, name) => {
                let state = inner.directory.table(database, name)?;
                let mut table = Table::clone(&state.definition());
                change(&mut table.tags)?;
                inner.catalog.put_table(&table)?;
                state.redefine(table);
            }
        }
        Ok(())
    }
}

/// The tags a resource is created with, checked; of two with the same key the later one counts.
pub(super) fn checked(tags: Vec<Tag>) -> Result<Vec<Tag>, StoreError> {
    let mut present = Vec::new();
    merge_tags(&mut present, tags)?;
    Ok(present)
}

/// Adds tags to those a resource has; a key that is there already gets the new value.
///
/// # Errors
/// When a tag is not allowed, or there would be too many.
pub fn merge_tags(present: &mut Vec<Tag>, tags: Vec<Tag>) -> Result<(), StoreError> {
    for (key, value) in tags {
        check(&key, &value)?;
        match present.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => present.push((key, value)),
        }
    }
    if present.len() > TAGS_MAX {
        return Err(StoreError::QuotaExceeded(format!("A resource has at most {TAGS_MAX} tags.")));
    }
    Ok(())
}

fn check(key: &str, value: &str) -> Result<(), StoreError> {
    let legal = |c: char| c.is_alphanumeric() || " +-=._:/@".contains(c);
    if !key.chars().all(legal) || !value.chars().all(legal) {
        let allowed = "letters, digits, spaces and + - = . _ : / @";
        return Err(StoreError::InvalidOption(format!("Tags consist of {allowed}; {key:?} does not.")));
    }
    if key.len() >= 4 && key.as_bytes()[..4].eq_ignore_ascii_case(b"aws:") {
        return Err(StoreError::InvalidOption(format!(
            "Tag keys that begin with aws: are reserved; {key:?} does."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn a_key_has_one_value() {
        let tags = checked(vec![tag("team", "a"), tag("Team", "b"), tag("team", "")]).expect("legal");
        assert_eq!(tags, [tag("team", ""), tag("Team", "b")]);
    }

    #[test]
    fn reserved_keys_and_strange_characters_are_refused() {
        for key in ["aws:x", "AWS:x", "a#b", "a\n"] {
            assert!(matches!(checked(vec![tag(key, "v")]), Err(StoreError::InvalidOption(_))), "{key}");
        }
        assert!(matches!(checked(vec![tag("k", "\"")]), Err(StoreError::InvalidOption(_))));
        assert!(checked(vec![tag("größe/地区", "a+b = c:d@e")]).is_ok());
    }

    #[test]
    fn a_resource_has_at_most_fifty() {
        let many = |count: usize| (0..count).map(|n| tag(&n.to_string(), "v")).collect::<Vec<_>>();
        assert!(checked(many(50)).is_ok());
        assert!(matches!(checked(many(51)), Err(StoreError::QuotaExceeded(_))));
    }
}
