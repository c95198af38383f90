//! What a WriteRecords request may look like, and such a request read from its bytes.
//!
//! The texts of a request are lent by its body: a tree of JSON values between the bytes and the
//! records would cost more than all the rest of a write.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::api::shape::{FILLED_STRING, LONG, STRING, Shape, optional, required};
use crate::record::VARCHAR_BYTES_MAX;

/// No pattern: a name that no table can have is simply not found.
const TABLE_NAME: Shape = STRING;
const NAME: Shape = FILLED_STRING;
const VALUE: Shape = Shape::Text(1, VARCHAR_BYTES_MAX);
const TIME: Shape = Shape::Text(1, 256);
const DIMENSION_TYPES: Shape = Shape::Choice(&["VARCHAR"]);
const DIMENSIONS: Shape = Shape::List(&DIMENSION, 0, 128);
/// How many a record may have is a matter of the record, not of the request (spec 4.4).
const MEASURE_VALUES: Shape = Shape::List(&MEASURE_VALUE, 0, usize::MAX);
const RECORDS: Shape = Shape::List(&RECORD, 1, 100);
const TYPES: Shape = Shape::Choice(&["DOUBLE", "BIGINT", "VARCHAR", "BOOLEAN", "TIMESTAMP", "MULTI"]);
const UNITS: Shape = Shape::Choice(&["MILLISECONDS", "SECONDS", "MICROSECONDS", "NANOSECONDS"]);
const DIMENSION: Shape = Shape::Structure(&[
    required("Name", NAME),
    required("Value", STRING),
    optional("DimensionValueType", DIMENSION_TYPES),
]);
const MEASURE_VALUE: Shape =
    Shape::Structure(&[required("Name", NAME), required("Value", VALUE), required("Type", TYPES)]);
const RECORD: Shape = Shape::Structure(&[
    optional("Dimensions", DIMENSIONS),
    optional("MeasureName", NAME),
    optional("MeasureValue", VALUE),
    optional("MeasureValueType", TYPES),
    optional("MeasureValues", MEASURE_VALUES),
    optional("Time", TIME),
    optional("TimeUnit", UNITS),
    optional("Version", LONG),
]);
/// The whole request.
pub(super) const REQUEST: Shape = Shape::Structure(&[
    required("DatabaseName", TABLE_NAME),
    required("TableName", TABLE_NAME),
    optional("CommonAttributes", RECORD),
    required("Records", RECORDS),
]);

/// A request; its texts are lent by the bytes it was read from.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'b> {
    #[serde(borrow)]
    pub(super) database_name: Text<'b>,
    pub(super) table_name: Text<'b>,
    pub(super) common_attributes: Option<Attributes<'b>>,
    pub(super) records: Vec<Attributes<'b>>,
}

/// A record as written, or what all records of a request share.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attributes<'b> {
    #[serde(borrow)]
    pub(super) dimensions: Option<Vec<NamedValue<'b>>>,
    pub(super) measure_name: Option<Text<'b>>,
    pub(super) measure_value: Option<Text<'b>>,
    pub(super) measure_value_type: Option<Text<'b>>,
    pub(super) measure_values: Option<Vec<TypedValue<'b>>>,
    pub(super) time: Option<Text<'b>>,
    pub(super) time_unit: Option<Text<'b>>,
    pub(super) version: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NamedValue<'b> {
    #[serde(borrow)]
    pub(super) name: Text<'b>,
    pub(super) value: Text<'b>,
    dimension_value_type: Option<Text<'b>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TypedValue<'b> {
    #[serde(borrow)]
    pub(super) name: Text<'b>,
    pub(super) value: Text<'b>,
    #[serde(rename = "Type")]
    pub(super) value_type: Text<'b>,
}

impl<'b> Request<'b> {
    /// Reads a body. `None` when it is not in order; [`REQUEST`] then has the words for it, or finds
    /// that it is merely unusual.
    pub(super) fn read(body: &'b [u8]) -> Option<Self> {
        // Checked as a whole, which is quicker than text by text.
        let body = std::str::from_utf8(body).ok()?;
        let request: Self = serde_json::from_str(body).ok()?;
        request.is_in_order().then_some(request)
    }

    fn is_in_order(&self) -> bool {
        TABLE_NAME.takes_text(&self.database_name)
            && TABLE_NAME.takes_text(&self.table_name)
            && self.common_attributes.as_ref().is_none_or(Attributes::is_in_order)
            && RECORDS.takes_length(self.records.len())
            && self.records.iter().all(Attributes::is_in_order)
    }
}

impl Attributes<'_> {
    fn is_in_order(&self) -> bool {
        let fits =
            |shape: Shape, text: &Option<Text<'_>>| text.as_deref().is_none_or(|text| shape.takes_text(text));
        let dimensions = self.dimensions.as_deref().unwrap_or_default();
        let values = self.measure_values.as_deref().unwrap_or_default();
        fits(NAME, &self.measure_name)
            && fits(VALUE, &self.measure_value)
            && fits(TYPES, &self.measure_value_type)
            && fits(TIME, &self.time)
            && fits(UNITS, &self.time_unit)
            && DIMENSIONS.takes_length(dimensions.len())
            && MEASURE_VALUES.takes_length(values.len())
            && dimensions.iter().all(|dimension| {
                NAME.takes_text(&dimension.name) && fits(DIMENSION_TYPES, &dimension.dimension_value_type)
            })
            && values.iter().all(|value| {
                NAME.takes_text(&value.name)
                    && VALUE.takes_text(&value.value)
                    && TYPES.takes_text(&value.value_type)
            })
    }
}

/// A text lent by the body, or a copy where the body has escapes in it. (A `Cow` by itself is lent
/// only as a member, not inside an `Option`.)
#[derive(Debug)]
pub(super) struct Text<'b>(Cow<'b, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'b, 'b> Deserialize<'de> for Text<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lent;
        impl<'de> Visitor<'de> for Lent {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Lent)
    }
}
