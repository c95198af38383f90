//! Chance that can be told again, how long a test goes on, and folders to try things on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A small generator, so that a seed is a story (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        assert!(seed > 0, "a generator that starts at 0 stays there");
        Self(seed)
    }

    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    pub(crate) fn int(&mut self, sides: u64) -> i64 {
        i64::try_from(self.below(sides)).expect("small")
    }
}

/// The number in the environment variable `name`, else `default`: long versions of a test are asked
/// for so.
pub(crate) fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// The seeds to try: `TIDEMILL_SEEDS` of them from `TIDEMILL_SEED` on.
pub(crate) fn seeds(default: u64) -> std::ops::Range<u64> {
    let first = asked("TIDEMILL_SEED", 1);
    first..first + asked("TIDEMILL_SEEDS", default)
}

/// Every file below `folder`, by its path there.
pub(crate) fn files_below(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    collect(folder, "", &mut found);
    found
}

fn collect(folder: &Path, below: &str, found: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        let name = format!("{below}{}", path.file_name().expect("a name").to_str().expect("ours"));
        if path.is_dir() {
            collect(&path, &format!("{name}/"), found);
        } else {
            found.insert(name, path);
        }
    }
}

/// A temporary folder with the same files.
pub(crate) fn copy_folder(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("temporary folder");
    for (name, path) in files_below(folder) {
        let to = copy.path().join(name);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        std::fs::copy(path, to).expect("copied");
    }
    copy
}
