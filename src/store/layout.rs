//! Where the values of a record go.
//!
//! Records that follow one another mostly have the same names. Then they are as legal as the record
//! before and go where it went, for columns are only ever added: nothing needs to be looked up.

use std::sync::Arc;

use super::schema::TableSchema;
use super::wal::entry::LoggedRow;
use crate::record::{Dimension, Measure, MeasureType, MeasureValue, Record};

/// How much a record has in common with the one a layout was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// Nothing is known of it.
    Nothing,
    /// The names of its dimensions.
    Dimensions,
    /// All names, and the types of its attributes.
    Whole,
}

/// Where the values of the newest record went.
#[derive(Debug)]
pub(crate) struct Layout {
    dimensions: Arc<[Dimension]>,
    order: Vec<(u16, usize)>,
    multi: Option<Multi>,
}

#[derive(Debug)]
struct Multi {
    measure_name: Arc<str>,
    attributes: Vec<(Arc<str>, MeasureType)>,
    places: Vec<u16>,
}

impl Layout {
    /// The layout of a record whose columns all exist.
    pub(crate) fn of(schema: &TableSchema, record: &Record) -> Self {
        let place = |(at, dimension): (usize, &Dimension)| {
            (schema.dimension(&dimension.name).expect("the schema covers the record"), at)
        };
        let mut order: Vec<(u16, usize)> = record.dimensions.iter().enumerate().map(place).collect();
        order.sort_unstable();
        let multi = match &record.measure {
            Measure::Single(_) => None,
            Measure::Multi(attributes) => Some(Multi {
                measure_name: Arc::clone(&record.measure_name),
                attributes: attributes
                    .iter()
                    .map(|one| (Arc::clone(&one.name), one.value.measure_type()))
                    .collect(),
                places: attributes
                    .iter()
                    .map(|one| schema.attribute(&one.name).expect("the schema covers the record"))
                    .collect(),
            }),
        };
        Self { dimensions: Arc::clone(&record.dimensions), order, multi }
    }

    /// How far this layout holds for `record`.
    pub(crate) fn fit(&self, record: &Record) -> Fit {
        let (known, given) = (&self.dimensions, &record.dimensions);
        let same_names = Arc::ptr_eq(known, given)
            || known.len() == given.len()
                && known.iter().zip(&**given).all(|(known, given)| known.name == given.name);
        match (&self.multi, &record.measure) {
            _ if !same_names => Fit::Nothing,
            (Some(multi), Measure::Multi(attributes))
                if multi.measure_name == record.measure_name
                    && multi.attributes.len() == attributes.len()
                    && multi.attributes.iter().zip(attributes).all(|((name, value), one)| {
                        *name == one.name && *value == one.value.measure_type()
                    }) =>
            {
                Fit::Whole
            }
            _ => Fit::Dimensions,
        }
    }

    /// How far this layout holds for a row of the log.
    pub(crate) fn fit_row(&self, row: &LoggedRow<'_>) -> Fit {
        if !self.dimensions.iter().map(|known| &*known.name).eq(row.dimension_names.iter().copied()) {
            return Fit::Nothing;
        }
        match (&self.multi, row.attributes) {
            (Some(multi), Some(names))
                if *multi.measure_name == *row.measure_name
                    && multi.attributes.len() == names.len()
                    && multi.attributes.iter().zip(names.iter().zip(row.values)).all(
                        |((known, of), (name, value))| **known == **name && *of == value.measure_type(),
                    ) =>
            {
                Fit::Whole
            }
            _ => Fit::Dimensions,
        }
    }

    /// The places of the attributes of what fits wholly.
    pub(crate) fn places(&self) -> &[u16] {
        self.multi.as_ref().map_or(&[], |multi| &multi.places)
    }

    /// The places of the dimensions in ascending order, each with its index in the record.
    pub(crate) fn order(&self) -> &[(u16, usize)] {
        &self.order
    }

    /// Appends the values of a record this layout was made for, or fits, each with its place.
    pub(crate) fn put_values(
        &self,
        schema: &TableSchema,
        measure: Measure,
        out: &mut Vec<(u16, MeasureValue)>,
    ) {
        match (measure, &self.multi) {
            (Measure::Single(value), _) => {
                let place = schema.single(value.measure_type()).expect("the schema covers the record");
                out.push((place, value));
            }
            (Measure::Multi(attributes), multi) => {
                let places = multi.iter().flat_map(|multi| &multi.places);
                out.extend(places.zip(attributes).map(|(place, attribute)| (*place, attribute.value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Attribute;
    use crate::store::paths::TableId;
    use crate::store::schema::tests::record;
    use crate::store::wal::entry::{EntryBuilder, LoggedRows};

    fn multi(attributes: &[(&str, MeasureValue)]) -> Measure {
        let attribute =
            |(name, value): &(&str, MeasureValue)| Attribute { name: (*name).into(), value: value.clone() };
        Measure::Multi(attributes.iter().map(attribute).collect())
    }

    #[test]
    fn a_layout_fits_what_has_the_same_names_and_types() {
        use MeasureValue::{Bigint, Boolean, Double};
        let mut schema = TableSchema::default();
        let first = record(&["b", "a"], "m", multi(&[("x", Double(1.0)), ("y", Bigint(2))]));
        schema.grow(&record(&["a"], "other", multi(&[("y", Bigint(2))])));
        schema.grow(&first);
        let layout = Layout::of(&schema, &first);
        assert_eq!(layout.order(), [(0, 1), (1, 0)]);
        let fits = |dimensions: &[&str], name, measure| {
            let record = record(dimensions, name, measure);
            let mut entry = EntryBuilder::new(TableId::from_bytes([0; 16]));
            entry.push(&record, false);
            let (entry, mut rows) = (entry.finish(), LoggedRows::default());
            rows.read(&entry).expect("an entry");
            let fit = layout.fit(&record);
            assert_eq!(rows.iter().map(|row| layout.fit_row(&row)).collect::<Vec<_>>(), [fit]);
            fit
        };
        let same = multi(&[("x", Double(3.0)), ("y", Bigint(4))]);
        assert_eq!(fits(&["b", "a"], "m", same.clone()), Fit::Whole);
        assert_eq!(fits(&["b", "a"], "n", same.clone()), Fit::Dimensions);
        assert_eq!(fits(&["b", "a"], "m", multi(&[("x", Double(3.0))])), Fit::Dimensions);
        assert_eq!(fits(&["b", "a"], "m", multi(&[("y", Bigint(4)), ("x", Double(3.0))])), Fit::Dimensions);
        assert_eq!(fits(&["b", "a"], "m", multi(&[("x", Boolean(true)), ("y", Bigint(4))])), Fit::Dimensions);
        assert_eq!(fits(&["b", "a"], "m", Measure::Single(Double(1.0))), Fit::Dimensions);
        assert_eq!(fits(&["a", "b"], "m", same.clone()), Fit::Nothing);
        assert_eq!(fits(&["b"], "m", same.clone()), Fit::Nothing);
        let mut values = Vec::new();
        layout.put_values(&schema, same, &mut values);
        assert_eq!(values, [(1, Double(3.0)), (0, Bigint(4))]);
    }
}
