//! Tags as create calls carry them (spec 5.3).

use serde::Deserialize;

use super::shape::{Shape, required};

const TAG: Shape =
    Shape::Structure(&[required("Key", Shape::Text(1, 128)), required("Value", Shape::Text(0, 256))]);

/// The list of tags of a create call.
pub(crate) const TAGS: Shape = Shape::List(&TAG, 0, 200);

/// One tag.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    key: String,
    value: String,
}

/// Keys and values of the tags of a request.
pub(crate) fn pairs(tags: Option<Vec<Tag>>) -> Vec<crate::store::Tag> {
    tags.into_iter().flatten().map(|tag| (tag.key, tag.value)).collect()
}
