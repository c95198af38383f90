//! Lines at the end of files, for readers outside the daemon: what file actions write, and dead letters.
//!
//! A line is whole or it is not there, except that a power cut may take the newest ones: nothing is
//! synced. A file that would grow beyond its bound is put aside as `<name>.1`, what was `.1` becomes `.2`,
//! and so on; the oldest goes. Files are opened for each line, so whoever removes or moves one gets a new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// No bound keeps more files than this.
const KEEP_MAX: u32 = 99;

/// How large files get, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The size at which a file is put aside. A longer line has a file to itself.
    pub bytes_max: u64,
    /// How many files put aside are kept, at most 99.
    pub keep: u32,
}

/// The files below one folder.
#[derive(Debug)]
pub struct Outlet {
    folder: PathBuf,
    /// Held while a line is written, so that lines do not mix and files are put aside once.
    turn: Mutex<()>,
}

impl Outlet {
    /// The files below `folder`, which is created with the first line.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), turn: Mutex::new(()) }
    }

    /// Adds `line`, which has no line break, to the file `name` below the folder. Blocks for as long as
    /// the disk takes.
    ///
    /// # Errors
    /// When the name leads out of the folder, or the disk fails; nothing of the line is left then.
    pub fn append(&self, name: &str, line: &str, bound: Bound) -> io::Result<()> {
        let below = Path::new(name);
        if !below.components().all(|part| matches!(part, Component::Normal(_))) || name.is_empty() {
            let reason = format!("{name:?} leads out of {}", self.folder.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let path = self.folder.join(below);
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = open(&path)?;
        let mut size = file.metadata()?.len();
        let more = u64::try_from(line.len()).unwrap_or(u64::MAX).saturating_add(1);
        if size > 0 && size.saturating_add(more) > bound.bytes_max {
            drop(file);
            put_aside(&path, bound.keep.min(KEEP_MAX))?;
            file = open(&path)?;
            size = file.metadata()?.len();
        }
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        file.write_all(&bytes).inspect_err(|_| {
            // Half a line would spoil the next one too. If this fails as well, the disk is past help.
            let _ = file.set_len(size);
        })
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.append(true).create(true);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            options.open(path)
        }
        opened => opened,
    }
}

/// Moves every file put aside one place up and `path` to the first, and removes those beyond `keep`.
fn put_aside(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    // A bound that was higher before may have left more.
    for number in (keep + 1..=KEEP_MAX).take_while(|&number| numbered(number).exists()) {
        fs::remove_file(numbered(number))?;
    }
    if keep == 0 {
        return fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("UTF-8")
        };
        let mut names: Vec<String> = fs::read_dir(folder).expect("a folder").map(name).collect();
        names.sort();
        names
    }

    fn text(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).expect("a file")
    }

    #[test]
    fn lines_follow_one_another_and_old_files_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let outlet = Outlet::new(folder.path().join("below"));
        let below = folder.path().join("below");
        let bound = Bound { bytes_max: 6, keep: 2 };
        for line in ["a1", "a2", "b1", "b2", "c1", "longer than a file", "d1"] {
            outlet.append("x.jsonl", line, bound).expect("a written line");
        }
        assert_eq!(names(&below), ["x.jsonl", "x.jsonl.1", "x.jsonl.2"]);
        assert_eq!(text(&below, "x.jsonl"), "d1\n");
        assert_eq!(text(&below, "x.jsonl.1"), "longer than a file\n");
        assert_eq!(text(&below, "x.jsonl.2"), "c1\n");
        outlet.append("x.jsonl", "e1", Bound { bytes_max: 6, keep: 1 }).expect("a written line");
        outlet.append("x.jsonl", "e2", Bound { bytes_max: 6, keep: 1 }).expect("a written line");
        assert_eq!(names(&below), ["x.jsonl", "x.jsonl.1"]);
        assert_eq!(text(&below, "x.jsonl.1"), "d1\ne1\n");
        outlet.append("x.jsonl", "f1f1f1", Bound { bytes_max: 6, keep: 0 }).expect("a written line");
        assert_eq!(text(&below, "x.jsonl"), "f1f1f1\n");
        assert_eq!(names(&below), ["x.jsonl"]);
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let outlet = Outlet::new(folder.path());
        let bound = Bound { bytes_max: 1_000, keep: 1 };
        outlet.append("deep/er/x", "one", bound).expect("a written line");
        fs::remove_dir_all(folder.path().join("deep")).expect("a removed folder");
        outlet.append("deep/er/x", "two", bound).expect("a written line");
        assert_eq!(text(folder.path(), "deep/er/x"), "two\n");
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let outlet = Outlet::new(folder.path().join("below"));
        for name in ["../x", "/tmp/x", "a/../../x", ""] {
            let error = outlet.append(name, "x", Bound { bytes_max: 9, keep: 0 }).expect_err(name);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}
