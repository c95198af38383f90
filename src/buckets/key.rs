//! The names of buckets and objects, as S3 allows them and a file system can keep them.

use object_store::path::Path;

use super::BucketError;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Whether a bucket can be called so: 3 to 63 letters, digits, `.`, `-` and `_`, with a letter or digit at both
/// ends. S3 has old buckets with capitals and underscores.
pub fn is_bucket_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let plain = u8::is_ascii_alphanumeric;
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| plain(byte) || matches!(byte, b'.' | b'-' | b'_'))
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && !name.contains("..")
}

/// The path of a key, which is written like it.
pub(super) fn path(key: &str) -> Result<Path, BucketError> {
    let wrong = |reason| BucketError::InvalidKey { key: key.to_owned(), reason };
    if key.is_empty() {
        return Err(wrong("it is empty"));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(wrong("it is longer than 1024 bytes"));
    }
    if key.starts_with('/') || key.ends_with('/') || key.contains("//") {
        return Err(wrong("a slash stands at its beginning, at its end or beside another"));
    }
    Path::parse(key).map_err(|_| wrong("it has a control character, or a part that is . or .."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_buckets() {
        for name in ["fleet", "a-b.c", "0abc", "abc", "my_Bucket"] {
            assert!(is_bucket_name(name), "{name}");
        }
        let long = "a".repeat(64);
        for name in ["", "ab", "a..b", "-abc", "abc-", ".abc", "a/b", "_ab", "a b", "..", long.as_str()] {
            assert!(!is_bucket_name(name), "{name}");
        }
    }

    #[test]
    fn keys_stay_as_they_are_or_are_refused() {
        for key in ["a", "a/b c.csv", "d=1/e=%2F", "ä/地", "...", "a..b/.c"] {
            assert_eq!(path(key).expect(key).as_ref(), key);
        }
        let long = "k".repeat(1025);
        for key in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", "a\nb", "a\0", long.as_str()] {
            assert!(path(key).is_err(), "{key:?}");
        }
    }
}
