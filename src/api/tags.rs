//! Tags: as create calls carry them, and TagResource, UntagResource and ListTagsForResource
//! (spec 2.2, 2.3, 5.3).
//!
//! Both services have the three operations under the same name; the ARN tells whose it is.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::arn;
use super::error::ApiError;
use super::paging::{self, PAGING_TOKEN};
use super::shape::{Shape, optional, required};
use crate::store::Resource;

const TAG: Shape =
    Shape::Structure(&[required("Key", Shape::Text(1, 128)), required("Value", Shape::Text(0, 256))]);
/// The longest ARN that Timestream Query takes, for scheduled queries.
const ARN: Shape = Shape::Text(1, 2048);
/// Timestream Write's are shorter.
const WRITE_ARN: Shape = Shape::Structure(&[required("ResourceARN", Shape::Text(1, 1011))]);

/// The list of tags of a create call.
pub(crate) const TAGS: Shape = Shape::List(&TAG, 0, 200);

const TAG_RESOURCE: Shape = Shape::Structure(&[required("ResourceARN", ARN), required("Tags", TAGS)]);
const UNTAG_RESOURCE: Shape = Shape::Structure(&[
    required("ResourceARN", ARN),
    required("TagKeys", Shape::List(&Shape::Text(1, 128), 0, 200)),
]);
const LIST: Shape = Shape::Structure(&[
    required("ResourceARN", ARN),
    optional("MaxResults", Shape::Integer(1, 200)),
    optional("NextToken", PAGING_TOKEN),
]);

/// One tag.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TagResource {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UntagResource {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    tag_keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Keys and values of the tags of a request.
pub(crate) fn pairs(tags: Option<Vec<Tag>>) -> Vec<crate::store::Tag> {
    tags.into_iter().flatten().map(|tag| (tag.key, tag.value)).collect()
}

/// The database or table that an ARN names.
fn resource(context: &Context, arn: &str) -> Result<Resource, ApiError> {
    WRITE_ARN.check(&json!({ "ResourceARN": arn }))?;
    context.arns.resource(arn)
}

/// TagResource.
pub(crate) async fn tag(context: &Context, input: Value) -> Result<Value, ApiError> {
    let TagResource { resource_arn, tags } = super::json::read(&TAG_RESOURCE, input)?;
    if let Some(id) = arn::scheduled_query(&resource_arn) {
        context.schedules.tag(id, pairs(Some(tags))).await?;
        return Ok(json!({}));
    }
    let resource = resource(context, &resource_arn)?;
    context.blocking(move |store| store.tag(&resource, pairs(Some(tags)))).await?;
    Ok(json!({}))
}

/// UntagResource.
pub(crate) async fn untag(context: &Context, input: Value) -> Result<Value, ApiError> {
    let UntagResource { resource_arn, tag_keys } = super::json::read(&UNTAG_RESOURCE, input)?;
    if let Some(id) = arn::scheduled_query(&resource_arn) {
        context.schedules.untag(id, &tag_keys).await?;
        return Ok(json!({}));
    }
    let resource = resource(context, &resource_arn)?;
    context.blocking(move |store| store.untag(&resource, &tag_keys)).await?;
    Ok(json!({}))
}

/// ListTagsForResource, sorted by key.
pub(crate) async fn list(context: &Context, input: Value) -> Result<Value, ApiError> {
    let List { resource_arn, max_results, next_token } = super::json::read(&LIST, input)?;
    let mut tags = match arn::scheduled_query(&resource_arn) {
        Some(id) => context.schedules.tags(id)?,
        None => {
            let resource = resource(context, &resource_arn)?;
            context.blocking(move |store| store.tags(&resource)).await?
        }
    };
    tags.sort();
    // A resource has fewer tags than a page: pages are cut for those only who ask for short ones.
    let max_results = max_results.or(Some(tags.len().max(1)));
    let (page, next) = paging::Request { next_token, max_results }.cut(tags, |(key, _)| key.clone())?;
    let tags = page.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(paging::answer("Tags", tags, next))
}
