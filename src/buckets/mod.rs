//! Buckets: where files for people and other programs lie. Batch loads read CSV from them, UNLOAD and
//! error reports write to them.
//!
//! A bucket is a folder below `buckets.path`, or, with `buckets.endpoint`, a bucket of a service that speaks
//! S3's protocol. Both behave alike: keys are texts, an object is there whole or not at all, listing is by the
//! beginning of the key and in the order of the keys, and what was put lasts.
//!
//! Promises: no key leads out of its bucket, whatever it says (`folder`); nothing is held in memory but a few
//! pieces of an object; errors carry S3's codes.

mod error;
mod folder;
mod key;
mod read;
mod s3;
mod upload;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::aws::AmazonS3;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;

pub use error::BucketError;
use error::Doing;
use folder::Folder;
pub use key::{KEY_BYTES_MAX, is_bucket_name};
pub use read::Reader;
pub(crate) use s3::{S3Place, line, one_line};
pub use upload::Upload;

/// Connections to buckets of S3 that are kept for the next call.
const CONNECTIONS_MAX: usize = 64;

/// Where buckets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketOptions {
    /// The folder whose folders are the buckets.
    pub path: PathBuf,
    /// The address of a service that speaks S3's protocol, whose buckets are used instead. Credentials and
    /// region come from the environment.
    pub endpoint: Option<String>,
}

/// How what is written is encrypted where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Encryption {
    /// As the storage does by itself: S3 with keys of its own, a folder not at all.
    #[default]
    Storage,
    /// By S3, with keys of its own; each request asks for it.
    S3,
    /// By S3, with a key of KMS; without a name, the account's own key for S3.
    Kms(Option<String>),
}

impl Encryption {
    /// What AWS's `EncryptionOption` asks for, where KMS would use `key`.
    pub fn of_option(option: Option<&str>, key: Option<String>) -> Self {
        match option {
            Some("SSE_KMS") => Self::Kms(key),
            Some("SSE_S3") => Self::S3,
            _ => Self::Storage,
        }
    }
}

/// What a listing says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// An object as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Tells the object from another one that was later put under the same key.
    pub etag: Option<String>,
}

/// All buckets. Clones share everything.
#[derive(Debug, Clone)]
pub struct Buckets {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: BucketOptions,
    connections: Mutex<HashMap<(String, Encryption), Arc<AmazonS3>>>,
    /// Where connections and what is left to clean up live, whoever asks.
    runtime: Handle,
}

impl Buckets {
    /// Buckets as `options` say; call this on the runtime that outlives what is done with them.
    pub fn new(options: BucketOptions) -> Self {
        let inner = Inner { options, connections: Mutex::default(), runtime: Handle::current() };
        Self { inner: Arc::new(inner) }
    }

    /// Opens a bucket. A folder must be there; whether a bucket of S3 is shows when it is used.
    ///
    /// # Errors
    /// `NoSuchBucket`, or `InvalidBucketName` when no bucket can be called so.
    pub async fn open(&self, bucket: &str) -> Result<Bucket, BucketError> {
        self.open_with(bucket, &Encryption::Storage).await
    }

    /// Opens a bucket; what is written will be encrypted as `encryption` says.
    ///
    /// # Errors
    /// As for [`Buckets::open`], and when a folder is asked to encrypt with a key of KMS.
    pub async fn open_with(&self, bucket: &str, encryption: &Encryption) -> Result<Bucket, BucketError> {
        if !is_bucket_name(bucket) {
            return Err(BucketError::InvalidBucketName { bucket: bucket.to_owned() });
        }
        let place = match &self.inner.options.endpoint {
            Some(endpoint) => Place::S3(self.connection(bucket, encryption, endpoint)?),
            None if matches!(encryption, Encryption::Kms(_)) => {
                return Err(BucketError::NotEncrypted { bucket: bucket.to_owned() });
            }
            None => {
                let (root, name) = (self.inner.options.path.clone(), bucket.to_owned());
                let opened = blocking(bucket, move || Folder::open(&root, &name)).await?;
                let files = LocalFileSystem::new_with_prefix(opened.path())
                    .map_err(|error| Doing::Opening.failed(bucket, None, &error))?;
                Place::Folder(Arc::new(opened), Arc::new(files))
            }
        };
        Ok(Bucket { name: bucket.into(), place, runtime: self.inner.runtime.clone() })
    }

    /// Opens a bucket for reports: they name rows that lie in the store as they are, so a folder takes them
    /// unencrypted whatever `encryption` says.
    ///
    /// # Errors
    /// As for [`Buckets::open`].
    pub async fn open_for_reports(
        &self,
        bucket: &str,
        encryption: &Encryption,
    ) -> Result<Bucket, BucketError> {
        match self.inner.options.endpoint {
            Some(_) => self.open_with(bucket, encryption).await,
            None => self.open(bucket).await,
        }
    }

    fn connection(
        &self,
        bucket: &str,
        encryption: &Encryption,
        endpoint: &str,
    ) -> Result<Arc<AmazonS3>, BucketError> {
        let key = (bucket.to_owned(), encryption.clone());
        let mut connections = self.inner.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = connections.get(&key) {
            return Ok(Arc::clone(known));
        }
        let place = S3Place { bucket, endpoint: Some(endpoint), encryption };
        let made = place.connect(&self.inner.runtime).map_err(|reason| BucketError::Unavailable {
            bucket: bucket.to_owned(),
            doing: Doing::Opening.words(),
            reason,
        })?;
        let made = Arc::new(made);
        if connections.len() >= CONNECTIONS_MAX {
            connections.clear();
        }
        connections.insert(key, Arc::clone(&made));
        Ok(made)
    }
}

#[derive(Debug, Clone)]
enum Place {
    Folder(Arc<Folder>, Arc<LocalFileSystem>),
    S3(Arc<AmazonS3>),
}

/// An open bucket. Clones share everything.
#[derive(Debug, Clone)]
pub struct Bucket {
    name: Arc<str>,
    place: Place,
    runtime: Handle,
}

impl Bucket {
    /// The bucket's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts a small object, over one that may be there.
    ///
    /// # Errors
    /// In S3's terms.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
        let path = self.path_of(key).await?;
        let put = self.objects().put(&path, PutPayload::from_bytes(bytes)).await;
        put.map_err(|error| Doing::Writing.failed(&self.name, Some(key), &error))?;
        self.sync(key).await
    }

    /// Makes an object that was put last through a power cut. S3 does so before it answers.
    async fn sync(&self, key: &str) -> Result<(), BucketError> {
        let Place::Folder(folder, _) = &self.place else { return Ok(()) };
        let (folder, key) = (Arc::clone(folder), key.to_owned());
        blocking(&self.name, move || folder.sync(&key)).await
    }

    /// Begins to write an object of any size, which appears when it is finished.
    ///
    /// # Errors
    /// When no object can be called so.
    pub async fn upload(&self, key: &str) -> Result<Upload, BucketError> {
        Ok(Upload::new(self.clone(), key.to_owned(), self.path_of(key).await?))
    }

    /// A whole object of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// In S3's terms, and when the object is larger.
    pub async fn get(&self, key: &str, bytes_max: u64) -> Result<Bytes, BucketError> {
        let path = self.path_of(key).await?;
        let failed = |error| Doing::Reading.failed(&self.name, Some(key), &error);
        let object = self.objects().get(&path).await.map_err(failed)?;
        if object.meta.size > bytes_max {
            let (bucket, key) = (self.name.to_string(), key.to_owned());
            return Err(BucketError::TooLarge { bucket, key, size: object.meta.size, bytes_max });
        }
        object.bytes().await.map_err(failed)
    }

    /// An object's size and version.
    ///
    /// # Errors
    /// `NoSuchKey` when there is none.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, BucketError> {
        let path = self.path_of(key).await?;
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = self.objects().get_opts(&path, options).await;
        let meta = found.map_err(|error| Doing::Reading.failed(&self.name, Some(key), &error))?.meta;
        Ok(ObjectInfo { key: key.to_owned(), size: meta.size, etag: meta.e_tag })
    }

    /// Whether there is such an object.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn exists(&self, key: &str) -> Result<bool, BucketError> {
        match self.head(key).await {
            Ok(_) => Ok(true),
            Err(BucketError::NoSuchKey { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads an object piece by piece, from byte `from` on.
    ///
    /// # Errors
    /// When no object can be called so. That it has changed since `object` was found shows in a piece.
    pub async fn read(&self, object: &ObjectInfo, from: u64) -> Result<Reader, BucketError> {
        let path = self.path_of(&object.key).await?;
        Ok(Reader::new(self.clone(), object.clone(), path, from))
    }

    /// The first `max` objects whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// In S3's terms.
    pub async fn list(&self, prefix: &str, max: usize) -> Result<Vec<Listed>, BucketError> {
        match &self.place {
            Place::Folder(folder, _) => {
                let (folder, prefix) = (Arc::clone(folder), prefix.to_owned());
                blocking(&self.name, move || folder.list(&prefix, max)).await
            }
            Place::S3(s3) => self.list_pages(s3, prefix, max).await,
        }
    }

    async fn list_pages(&self, s3: &AmazonS3, prefix: &str, max: usize) -> Result<Vec<Listed>, BucketError> {
        let mut found: Vec<Listed> = Vec::new();
        let mut page_token = None;
        loop {
            let options = PaginatedListOptions { page_token, ..PaginatedListOptions::default() };
            let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
            let page = s3.list_paginated(prefix, options).await;
            let page = page.map_err(|error| Doing::Listing.failed(&self.name, None, &error))?;
            let objects = page.result.objects.into_iter();
            found.extend(objects.map(|meta| Listed { key: meta.location.to_string(), size: meta.size }));
            page_token = page.page_token;
            if page_token.is_none() || found.len() >= max {
                break;
            }
        }
        found.sort_by(|one, other| one.key.cmp(&other.key));
        found.truncate(max);
        Ok(found)
    }

    fn objects(&self) -> &dyn ObjectStore {
        match &self.place {
            Place::Folder(_, files) => files.as_ref(),
            Place::S3(s3) => s3.as_ref(),
        }
    }

    /// Checks a key, and in a folder that no part of it is a link.
    async fn path_of(&self, key: &str) -> Result<Path, BucketError> {
        let path = key::path(key)?;
        if let Place::Folder(folder, _) = &self.place {
            let (folder, key) = (Arc::clone(folder), key.to_owned());
            blocking(&self.name, move || folder.check(&key)).await?;
        }
        Ok(path)
    }
}

/// Runs what touches the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(
    bucket: &str,
    work: impl FnOnce() -> Result<T, BucketError> + Send + 'static,
) -> Result<T, BucketError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failure| {
        Err(BucketError::Unavailable {
            bucket: bucket.to_owned(),
            doing: Doing::Opening.words(),
            reason: failure.to_string(),
        })
    })
}
