//! The target's table against what a mapping writes: what can be told before a row is there.

use super::definition::Target;
use super::mapping::Mapping;
use crate::query::ColumnInfo;
use crate::record::MeasureType;
use crate::store::{ColumnKind, PartitionKeyItem, Store};

/// The mapping to `target` of a result with `columns`.
///
/// # Errors
/// When the table does not exist or cannot take what the mapping makes, in the words of the person
/// who has to change it.
pub(super) fn mapping(store: &Store, target: &Target, columns: &[ColumnInfo]) -> Result<Mapping, String> {
    let (database, name) = (&target.database_name, &target.table_name);
    let table = store.describe_table(database, name).map_err(|error| error.to_string())?;
    let mapping = Mapping::new(target, columns)?;
    let written = mapping.written();
    for item in &table.partition_key.0 {
        if let PartitionKeyItem::Dimension { name, required: true } = item
            && !written.dimensions.contains(&name.as_str())
        {
            return Err(format!(
                "DimensionMappings: the partition key of the table requires the dimension {name}, which is not mapped."
            ));
        }
    }
    let schema = store.snapshot(database, name).map_err(|error| error.to_string())?.schema;
    for column in schema.columns() {
        let name = column.name.as_str();
        let attribute = written.attributes.iter().find(|(written, _)| *written == name);
        match (column.kind, attribute) {
            (ColumnKind::Dimension, Some(_)) => {
                return Err(format!(
                    "The multi-measure attribute {name} has the name of a dimension of the table."
                ));
            }
            (ColumnKind::Multi(existing), Some((_, given))) if existing != *given => {
                return Err(mistyped("multi-measure attribute", name, existing.sql_name(), *given));
            }
            (ColumnKind::Multi(_), _) if written.dimensions.contains(&name) => {
                return Err(format!(
                    "The dimension {name} has the name of a multi-measure attribute of the table."
                ));
            }
            _ => {}
        }
    }
    for measure in schema.measures() {
        let given = written.measures.iter().find(|(name, _)| *name == measure.name);
        if let Some((name, given)) = given.filter(|(_, given)| given.sql_name() != measure.data_type) {
            return Err(mistyped("measure", name, measure.data_type, *given));
        }
    }
    drop(written);
    Ok(mapping)
}

fn mistyped(what: &str, name: &str, existing: &str, given: MeasureType) -> String {
    format!(
        "The {what} {name} has type {existing} in the table and cannot take values of type {}.",
        given.sql_name()
    )
}
