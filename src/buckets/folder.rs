//! A bucket that is a folder: what a key may reach in it, and what is in it.
//!
//! Links below the bucket are never followed: whoever can put one there could make a key lead anywhere. The
//! bucket itself may be one; that is how an operator keeps it on another disk.

use std::collections::BTreeMap;
use std::fs::{self, File, FileType};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use super::error::Doing;
use super::{BucketError, Listed};

/// The longest name between two slashes: what file systems allow, less what an unfinished file's name adds.
const NAME_BYTES_MAX: usize = 245;

/// The folder of an open bucket.
#[derive(Debug)]
pub(super) struct Folder {
    bucket: String,
    path: PathBuf,
}

impl Folder {
    /// Finds the folder of `bucket` below `root`.
    pub(super) fn open(root: &Path, bucket: &str) -> Result<Self, BucketError> {
        let missing = || BucketError::NoSuchBucket { bucket: bucket.to_owned() };
        let path = match fs::canonicalize(root.join(bucket)) {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(failed(Doing::Opening, bucket, &error)),
        };
        if path.is_dir() { Ok(Self { bucket: bucket.to_owned(), path }) } else { Err(missing()) }
    }

    /// Where the folder is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that a key, whose form is in order, stays in the folder.
    pub(super) fn check(&self, key: &str) -> Result<(), BucketError> {
        let wrong = |reason| BucketError::InvalidKey { key: key.to_owned(), reason };
        let mut path = self.path.clone();
        for name in key.split('/') {
            if name.len() > NAME_BYTES_MAX {
                return Err(wrong("in a folder a name between slashes has at most 245 bytes"));
            }
            path.push(name);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => {
                    let reason = format!("{name} is a link, and links in a bucket are not followed");
                    return Err(BucketError::AccessDenied { bucket: self.bucket.clone(), reason });
                }
                Ok(_) => {}
                // What is not there is no link, nor is anything below it.
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) if error.kind() == ErrorKind::NotADirectory => {
                    return Err(wrong("a part of it is the key of an object"));
                }
                Err(error) => return Err(failed(Doing::Opening, &self.bucket, &error)),
            }
        }
        Ok(())
    }

    /// Writes an object to the disk, with its name and those of the folders above it.
    pub(super) fn sync(&self, key: &str) -> Result<(), BucketError> {
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        let object = self.path.join(key);
        // Up to the bucket, which was there before.
        for path in object.ancestors() {
            sync(path).map_err(|error| failed(Doing::Writing, &self.bucket, &error))?;
            if path == self.path {
                break;
            }
        }
        Ok(())
    }

    /// The first `max` objects whose keys begin with `prefix`, in the order of their keys.
    pub(super) fn list(&self, prefix: &str, max: usize) -> Result<Vec<Listed>, BucketError> {
        let above = prefix.rsplit_once('/').map_or("", |(above, _)| above);
        if !above.is_empty() {
            super::key::path(above)?;
            self.check(above)?;
        }
        let mut found = BTreeMap::new();
        let mut folders = vec![above.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(self.path.join(&folder)) {
                Ok(entries) => entries,
                // It is gone again, or it is an object.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    continue;
                }
                Err(error) => return Err(failed(Doing::Listing, &self.bucket, &error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed(Doing::Listing, &self.bucket, &error))?;
                let name = entry.file_name();
                let (Some(name), Ok(kind)) = (name.to_str(), entry.file_type()) else { continue };
                let key = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                if kind.is_dir() {
                    let below = format!("{key}/");
                    if below.starts_with(prefix) || prefix.starts_with(&below) {
                        folders.push(key);
                    }
                } else if is_object(name, kind) && key.starts_with(prefix) {
                    // What has no size is gone again.
                    found.extend(entry.metadata().ok().map(|meta| (key, meta.len())));
                    if found.len() > max {
                        found.pop_last();
                    }
                }
            }
        }
        Ok(found.into_iter().map(|(key, size)| Listed { key, size }).collect())
    }
}

/// Whether an entry is an object: not a link, a pipe or the unfinished file of an upload.
fn is_object(name: &str, kind: FileType) -> bool {
    let unfinished = name
        .rsplit_once('#')
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    kind.is_file() && !unfinished
}

fn failed(doing: Doing, bucket: &str, error: &Error) -> BucketError {
    let (bucket, reason) = (bucket.to_owned(), error.to_string());
    match error.kind() {
        ErrorKind::PermissionDenied => BucketError::AccessDenied { bucket, reason },
        _ => BucketError::Unavailable { bucket, doing: doing.words(), reason },
    }
}
