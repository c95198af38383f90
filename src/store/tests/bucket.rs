//! Where the objects of a simulated disk are: on the disk itself, or in a bucket elsewhere.
//!
//! A bucket keeps what it has answered for: a machine that stops loses nothing of it.
//! `TIDEMILL_TEST_S3_URL` puts the objects of every test into an S3-compatible bucket; the rest of what
//! must be known about it comes from the environment, as for a daemon.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use uuid::Uuid;

use crate::store::StoreUrl;
use crate::store::place;

/// The environment variable that sends tests to S3.
const VARIABLE: &str = "TIDEMILL_TEST_S3_URL";

/// What keeps the objects of a disk.
#[derive(Debug, Clone, Default)]
pub(crate) enum Bucket {
    /// The disk, which may lose what was not synced.
    #[default]
    Disk,
    /// Memory that loses nothing.
    Memory,
    /// S3, below this address.
    S3(StoreUrl),
}

impl Bucket {
    /// What the environment asks for.
    pub(crate) fn of_environment() -> Self {
        let url = std::env::var(VARIABLE).ok();
        url.map_or(Self::Disk, |url| Self::S3(url.parse().expect("a legal URL in TIDEMILL_TEST_S3_URL")))
    }

    /// Whether what is written survives the machine.
    pub(crate) fn is_elsewhere(&self) -> bool {
        !matches!(self, Self::Disk)
    }

    /// What stores with such a bucket are told about it.
    pub(crate) fn url(&self) -> Option<StoreUrl> {
        match self {
            Self::Disk => None,
            Self::Memory => Some("s3://simulated".parse().expect("legal")),
            Self::S3(url) => Some(url.clone()),
        }
    }

    /// How many cases of a test over all cases to leave out: over a network each takes seconds.
    pub(crate) fn stride(&self) -> usize {
        match self {
            Self::Disk => 1,
            Self::Memory => 5,
            Self::S3(_) => 40,
        }
    }

    /// A place without objects.
    pub(crate) fn empty(&self) -> Arc<dyn ObjectStore> {
        match self {
            Self::Disk | Self::Memory => Arc::new(InMemory::new()),
            Self::S3(StoreUrl::Folder(_)) => panic!("{VARIABLE} must begin with s3://"),
            Self::S3(StoreUrl::S3 { bucket, prefix }) => {
                let own: Path = prefix.clone().join(Uuid::new_v4().to_string());
                Arc::new(PrefixStore::new(place::s3(bucket).expect("a bucket"), own))
            }
        }
    }
}
