//! Where parts and manifests are: under the store's folder, or at `store.url`.
//!
//! ```text
//! <url>/<writer>/place.json   says that this store keeps its parts here
//! <url>/<writer>/tables/...   as under the store's folder
//! ```
//!
//! A store has a folder of its own there, so that many may share one bucket and none ever lists, reads
//! or deletes what another wrote. Where the parts are is recorded in the catalog before the first
//! table is created, and `place.json` is looked for at every start: a store that is pointed
//! elsewhere would find no manifest and take its tables for empty.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore};

use super::Disks;
use super::catalog::{Catalog, Contents};
use super::error::StoreError;
use super::files::{DiskFiles, Files};
use super::objects::{Creation, Objects};
use super::options::StoreOptions;
use super::paths::WriterId;
use super::url::StoreUrl;
use crate::buckets::{Encryption, S3Place, line, one_line};

/// How long a start waits for the storage, all attempts together.
const START_WITHIN: Duration = Duration::from_secs(30);

fn marker() -> Path {
    Path::from("place.json")
}

/// The disks of the store that `options` describe, whose log is in `files`.
pub(crate) fn disks(
    options: &StoreOptions,
    files: Arc<dyn Files>,
    writer: &WriterId,
) -> Result<Disks, StoreError> {
    let Some(url) = &options.url else {
        let objects = LocalFileSystem::new_with_prefix(&options.path)
            .map_err(StoreError::objects("opening the store's folder"))?;
        return Ok(Disks { object_files: Some(Arc::clone(&files)), objects: Arc::new(objects), files });
    };
    let unusable = |reason: String| StoreError::Storage { url: url.to_string(), reason };
    match url {
        StoreUrl::Folder(folder) => {
            let own = folder.join(writer.id());
            let objects = LocalFileSystem::new_with_prefix(&own).map_err(|error| unusable(line(&error)))?;
            let object_files: Arc<dyn Files> = Arc::new(DiskFiles::new(&own));
            Ok(Disks { files, objects: Arc::new(objects), object_files: Some(object_files) })
        }
        StoreUrl::S3 { bucket, prefix } => {
            let objects = s3(bucket).map_err(unusable)?;
            let own = prefix.clone().join(writer.id());
            let objects: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(objects, own));
            Ok(Disks { files, objects, object_files: None })
        }
    }
}

/// Makes sure that there is a folder of this store's own where `url` names one.
pub(crate) fn make_folder(url: Option<&StoreUrl>, writer: &WriterId) -> Result<(), StoreError> {
    let Some(url @ StoreUrl::Folder(folder)) = url else { return Ok(()) };
    let made = || {
        std::fs::create_dir_all(folder.join(writer.id()))?;
        // The marker is synced with the folder it is in; this one's name is in the folder above.
        DiskFiles::new(folder).sync_folder("")
    };
    made().map_err(|error| {
        let reason = format!("the folder cannot be created: {error}");
        StoreError::Storage { url: url.to_string(), reason }
    })
}

/// A bucket, with everything else about it from the environment.
pub(crate) fn s3(bucket: &str) -> Result<AmazonS3, String> {
    let place = S3Place { bucket, endpoint: None, encryption: &Encryption::Storage };
    place.connect(&tokio::runtime::Handle::current())
}

/// Makes sure that the parts of this store are where `url` says, or may be put there from now on.
pub(crate) async fn settle(
    objects: &Objects,
    catalog: &Catalog,
    contents: &Contents,
    url: Option<&StoreUrl>,
) -> Result<(), StoreError> {
    if !is_settled(contents, url)? {
        if let Some(url) = url {
            within(url, claim(objects, url)).await?;
        }
        return catalog.put_url(url.map(ToString::to_string).as_deref());
    }
    look(objects, contents, url).await
}

/// Looks whether the parts of a store are where `url` says, without changing anything.
pub(crate) async fn look(
    objects: &Objects,
    contents: &Contents,
    url: Option<&StoreUrl>,
) -> Result<(), StoreError> {
    match url {
        Some(url) if is_settled(contents, Some(url))? => within(url, recognise(objects, url)).await,
        _ => is_settled(contents, url).map(drop),
    }
}

/// Whether the catalog has `url` on record. Another one is an error once there are tables.
fn is_settled(contents: &Contents, url: Option<&StoreUrl>) -> Result<bool, StoreError> {
    let now = url.map(ToString::to_string);
    if contents.url == now {
        return Ok(true);
    }
    let tables = contents.tables.len();
    if tables == 0 {
        return Ok(false);
    }
    let before = contents.url.as_deref();
    Err(StoreError::Moved {
        tables,
        before: before.map_or_else(|| "store.path".to_owned(), |url| format!("store.url = \"{url}\"")),
        remedy: before.map_or_else(|| "leave store.url out".to_owned(), |_| "set it so again".to_owned()),
    })
}

/// Puts the marker, and finds out whether the storage can be trusted with a commit.
async fn claim(objects: &Objects, url: &StoreUrl) -> Result<(), StoreError> {
    let unusable = |reason: String| StoreError::Storage { url: url.to_string(), reason };
    let path = marker();
    let put = || objects.create(&path, Bytes::from_static(b"{\"format\":1}\n"));
    // A start that was interrupted before the catalog knew may have left it.
    put().await.map_err(|error| unusable(meaning(&error)))?;
    match put().await.map_err(|error| unusable(meaning(&error)))? {
        Creation::Existed => Ok(()),
        Creation::Created => Err(unusable(
            "the storage overwrites objects that must not exist: it ignores If-None-Match, without which \
             commits are not safe"
                .to_owned(),
        )),
    }
}

/// Finds the marker that [`claim`] has put.
async fn recognise(objects: &Objects, url: &StoreUrl) -> Result<(), StoreError> {
    let reason = match objects.get(&marker()).await {
        Ok(_) => return Ok(()),
        Err(Error::NotFound { source, .. }) => format!(
            "the parts of this store are not there any more, or this is not the storage they were written \
             to ({})",
            one_line(&source.to_string())
        ),
        Err(error) => meaning(&error),
    };
    Err(StoreError::Storage { url: url.to_string(), reason })
}

async fn within(
    url: &StoreUrl,
    work: impl Future<Output = Result<(), StoreError>>,
) -> Result<(), StoreError> {
    let late = |_| {
        let reason =
            format!("no answer within {} s; check AWS_ENDPOINT_URL and the network", START_WITHIN.as_secs());
        StoreError::Storage { url: url.to_string(), reason }
    };
    tokio::time::timeout(START_WITHIN, work).await.map_err(late)?
}

/// What an operator can do about a failure of the storage.
fn meaning(error: &Error) -> String {
    let hint = match error {
        Error::NotFound { .. } => return "the bucket does not exist".to_owned(),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            "access is refused; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what the key may do"
        }
        _ => "it cannot be used",
    };
    format!("{hint}: {}", line(error))
}
