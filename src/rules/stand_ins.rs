//! What stands in for the services AWS's rules ask: files for the descriptor sets of S3 that
//! `decode(…, 'proto', …)` reads and for the secrets of `get_secret`, URLs for the functions of `aws_lambda`.
//!
//! Files are read while a rule is loaded, never while one is evaluated, and a path from a statement never
//! leaves its folder. Which URLs may be called stands in the configuration alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The largest descriptor set, in bytes; AWS takes 32 KiB.
const DESCRIPTOR_BYTES_MAX: u64 = 1024 * 1024;
/// The largest secret, in bytes, as AWS has it.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where functions of the language find what they ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StandIns {
    /// Descriptor sets: a subfolder per bucket, a file per key.
    pub proto: Option<PathBuf>,
    /// Secrets: a file per name.
    pub secrets: Option<PathBuf>,
    /// The URLs of Lambda functions, by their ARNs.
    pub functions: BTreeMap<String, Arc<str>>,
}

impl StandIns {
    /// The descriptor set `key` of `bucket`. The error is a sentence without a period.
    pub(crate) fn descriptor(&self, bucket: &str, key: &str) -> Result<Vec<u8>, String> {
        let folder = self.proto.as_deref().ok_or(
            "protobuf descriptor sets are read from a folder here: set rules.proto_path in the configuration",
        )?;
        read(&inside(&inside(folder, bucket)?, key)?, DESCRIPTOR_BYTES_MAX)
    }

    /// The URL of the function `arn`. The error is a sentence without a period.
    pub(crate) fn function(&self, arn: &str) -> Result<Arc<str>, String> {
        self.functions.get(arn).map(Arc::clone).ok_or_else(|| {
            format!(
                "AWS Lambda is not called from here, a URL answers in its place: give {arn:?} one in \
                 [rules.lambda] of the configuration"
            )
        })
    }

    /// The secret called `id`, or with that ARN. The error is a sentence without a period.
    pub(crate) fn secret(&self, id: &str) -> Result<Vec<u8>, String> {
        let folder = self
            .secrets
            .as_deref()
            .ok_or("secrets are read from a folder here: set rules.secrets_path in the configuration")?;
        read(&inside(folder, secret_name(id))?, SECRET_BYTES_MAX)
    }
}

/// The friendly name in a secret's ARN, which ends in a hyphen and six characters of AWS's choice.
fn secret_name(id: &str) -> &str {
    let mut parts = id.splitn(7, ':');
    let is_arn = parts.next() == Some("arn") && parts.nth(1) == Some("secretsmanager");
    match parts.nth(3).filter(|_| is_arn) {
        Some(name) => match name.rsplit_once('-') {
            Some((friendly, suffix)) if suffix.len() == 6 => friendly,
            _ => name,
        },
        None => id,
    }
}

fn inside(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !plain || name.contains(['\\', '\0']) {
        return Err(format!("{name:?} is no name of a file below {}", folder.display()));
    }
    Ok(folder.join(name))
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    // Reading one byte more than allowed tells a large file from one that just fits.
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        return Err(format!("{} is larger than {limit} bytes", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("secrets/prod")).expect("a folder");
        std::fs::write(folder.path().join("outside"), "no").expect("a file");
        std::fs::write(folder.path().join("secrets/prod/key"), "yes").expect("a file");
        let files = StandIns { secrets: Some(folder.path().join("secrets")), ..StandIns::default() };
        assert_eq!(files.secret("prod/key").as_deref(), Ok(&b"yes"[..]));
        let arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:prod/key-a1B2c3";
        assert_eq!(files.secret(arn).as_deref(), Ok(&b"yes"[..]));
        for name in ["../outside", "/etc/passwd", "prod/../../outside", "", ".", "prod/./../x", "a\\b"] {
            let error = files.secret(name).expect_err(name);
            assert!(error.contains("is no name of a file below"), "{error}");
        }
        assert!(files.secret("prod").expect_err("a folder").contains("cannot be read"));
        assert!(files.descriptor("b", "k").expect_err("no folder").contains("rules.proto_path"));
    }

    #[test]
    fn large_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("big"), vec![b'x'; 64 * 1024 + 1]).expect("a file");
        let files = StandIns { secrets: Some(folder.path().to_owned()), ..StandIns::default() };
        assert!(files.secret("big").expect_err("too large").ends_with("is larger than 65536 bytes"));
    }
}
