//! The door to the disk for everything whose durability matters: the log, and the syncing of parts.
//!
//! Paths are relative to the store's folder and use `/`. [`DiskFiles`] is the machine's disk; tests
//! put a disk behind the same door that loses, refuses and tears what was not synced.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A folder of files.
pub(crate) trait Files: fmt::Debug + Send + Sync + 'static {
    /// Creates a new file, with its folders; fails when it exists. Its name is durable only after
    /// [`Files::sync_folder`].
    fn create(&self, path: &str) -> io::Result<Box<dyn AppendFile>>;
    /// The whole file.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// The names of the files in `folder`, sorted; none when there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Cuts a file to `bytes` and syncs it.
    fn truncate(&self, path: &str, bytes: u64) -> io::Result<()>;
    /// Syncs the content of a file that was written elsewhere.
    fn sync_file(&self, path: &str) -> io::Result<()>;
    /// Syncs the names in a folder.
    fn sync_folder(&self, path: &str) -> io::Result<()>;
}

/// A file that is only appended to.
pub(crate) trait AppendFile: fmt::Debug + Send {
    /// Appends all of `bytes`. After an error an unknown prefix may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Writes `bytes` zeros behind what was appended, for later appends to overwrite: a disk syncs new
    /// content of a file quicker than a file that grows. After an error some may be there.
    fn reserve(&mut self, bytes: usize) -> io::Result<()>;
    /// Returns once everything appended so far is on disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// Files below a folder of this machine.
#[derive(Debug)]
pub(crate) struct DiskFiles {
    root: PathBuf,
}

impl DiskFiles {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Files for DiskFiles {
    fn create(&self, path: &str) -> io::Result<Box<dyn AppendFile>> {
        let path = self.root.join(path);
        if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
            fs::create_dir_all(folder)?;
            if let Some(above) = folder.parent() {
                sync_folder_at(above)?;
            }
        }
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(DiskFile(file)))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.root.join(path))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not UTF-8 is not one of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn truncate(&self, path: &str, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.root.join(path))?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn sync_file(&self, path: &str) -> io::Result<()> {
        File::open(self.root.join(path))?.sync_all()
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        sync_folder_at(&self.root.join(path))
    }
}

#[cfg(unix)]
fn sync_folder_at(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere a folder cannot be opened as a file; its journal orders names before content.
#[cfg(not(unix))]
fn sync_folder_at(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[derive(Debug)]
struct DiskFile(File);

impl AppendFile for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        let end = self.0.stream_position()?;
        let written = self.0.write_all(&vec![0; bytes]);
        self.0.seek(SeekFrom::Start(end))?;
        written
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_files_do_what_the_door_promises() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let files = DiskFiles::new(folder.path());
        assert_eq!(files.list("wal").expect("no folder yet"), Vec::<String>::new());
        let mut file = files.create("wal/b").expect("creates folders");
        file.append(b"hello ").expect("append");
        file.reserve(10).expect("room");
        assert_eq!(files.read("wal/b").expect("read"), b"hello \0\0\0\0\0\0\0\0\0\0");
        file.append(b"world").expect("append");
        assert_eq!(files.read("wal/b").expect("read"), b"hello world\0\0\0\0\0");
        file.sync().expect("sync");
        files.create("wal/a").expect("second file");
        files.sync_folder("wal").expect("folder sync");
        assert_eq!(files.list("wal").expect("list"), ["a", "b"]);
        let again = files.create("wal/a").expect_err("exists");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        files.truncate("wal/b", 5).expect("truncate");
        files.sync_file("wal/b").expect("sync");
        assert_eq!(files.read("wal/b").expect("read"), b"hello");
        files.remove("wal/a").expect("remove");
        assert_eq!(files.list("wal").expect("list"), ["b"]);
    }
}
