//! The address of parts and manifests that are not kept under the store's folder.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use object_store::path::Path;

/// The longest prefix inside a bucket: object names may have 1024 bytes, ours add about 150.
const PREFIX_BYTES_MAX: usize = 512;

/// `file:///folder` or `s3://bucket/prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A folder of this machine, or one that is mounted.
    Folder(PathBuf),
    /// A bucket of S3 or of storage that speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// Where in the bucket; empty for its top.
        prefix: Path,
    },
}

/// Why a text is no [`StoreUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreUrlError(String);

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        let wrong = |reason: &str| StoreUrlError(format!("`{text}` {reason}"));
        if text.contains(['%', '?', '#']) {
            return Err(wrong("has one of the characters % ? #; names are written plainly, without options"));
        }
        if let Some(folder) = text.strip_prefix("file://") {
            if !folder.starts_with('/') {
                return Err(wrong("does not name a folder from the root, such as file:///var/lib/tidemill"));
            }
            return Ok(Self::Folder(PathBuf::from(folder)));
        }
        let Some(rest) = text.strip_prefix("s3://") else {
            return Err(wrong("begins with neither file:// nor s3://"));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(legal) {
            return Err(wrong("does not name a bucket, such as s3://bucket/prefix"));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        match Path::parse(prefix) {
            Ok(prefix) if prefix.as_ref().len() <= PREFIX_BYTES_MAX => {
                Ok(Self::S3 { bucket: bucket.to_owned(), prefix })
            }
            Ok(_) => Err(wrong("is too long: 512 bytes may follow the bucket")),
            Err(_) => Err(wrong("has a prefix that object names cannot have")),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => {
                // The same folder in other words must not look like a move; components leave them out.
                let folder: PathBuf = folder.components().collect();
                write!(f, "file://{}", folder.display())
            }
            Self::S3 { bucket, prefix } if prefix.as_ref().is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_in_one_way() {
        let cases = [
            ("s3://fleet", "s3://fleet"),
            ("s3://fleet/", "s3://fleet"),
            ("s3://fleet.eu-1/a/b c/", "s3://fleet.eu-1/a/b c"),
            ("file:///var//lib/x/", "file:///var/lib/x"),
        ];
        for (text, shown) in cases {
            let url: StoreUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse::<StoreUrl>().expect("again").to_string(), shown);
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        let long = format!("s3://bucket/{}", "x".repeat(513));
        let cases = [
            ("", "begins with neither file:// nor s3://"),
            ("/var/lib", "begins with neither"),
            ("gs://bucket", "begins with neither"),
            ("file://data", "does not name a folder from the root"),
            ("s3://", "does not name a bucket"),
            ("s3:///prefix", "does not name a bucket"),
            ("s3://a@b/c", "does not name a bucket"),
            ("s3://bucket/a//b", "has a prefix that object names cannot have"),
            ("s3://bucket/../b", "has a prefix that object names cannot have"),
            ("s3://bucket/a?region=x", "has one of the characters % ? #"),
            (&long, "is too long"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<StoreUrl>().expect_err(text).to_string();
            assert!(error.contains(reason), "{error} lacks {reason}");
        }
    }
}
