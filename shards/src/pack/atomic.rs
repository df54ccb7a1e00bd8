//! Files and folders that are there whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::PackError;

/// The extension of files that are being written.
const TEMPORARY: &str = "tmp";

/// A file under a temporary name in the destination; dropped without [`Destination::commit`] it is removed.
pub(crate) struct AtomicFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    pub(crate) fn create(destination: &Destination, name: &str) -> Result<Self, PackError> {
        let path = destination.path.join(name);
        let suffix = format!(".{TEMPORARY}");
        let mut builder = tempfile::Builder::new();
        // Shards are read by other users too; the process's umask still applies.
        builder.prefix(".").suffix(&suffix).permissions(Permissions::from_mode(0o666));
        match builder.tempfile_in(&destination.path) {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(PackError::Write { path, source }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the content to the disk, then gives the file its name, unless that is taken.
    fn commit(self) -> Result<(), PackError> {
        let Self { file, path } = self;
        let done = file.as_file().sync_all().and_then(|()| file.persist_noclobber(&path).map_err(|error| error.error));
        done.map(drop).map_err(|source| PackError::Write { path, source })
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The folder that a set is packed into. Unless it is [kept](Destination::keep), everything that was put into it is
/// removed again, and the folder too if it was made here.
pub(crate) struct Destination {
    path: PathBuf,
    made: bool,
    /// Held open for its lock: two runs cannot mix their shards.
    folder: File,
    /// What has been committed.
    files: Vec<PathBuf>,
    kept: bool,
}

impl Destination {
    /// Whether `path` is new or empty; changes nothing.
    pub(crate) fn check(path: &Path) -> Result<(), PackError> {
        let refuse = |reason| Err(PackError::Destination { path: path.into(), reason });
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return refuse("is a file"),
            Err(source) => return Err(PackError::Read { path: path.into(), source }),
        };
        let names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        let ending = |wanted: &str| names.iter().any(|name| name.extension().is_some_and(|ending| ending == wanted));
        if names.is_empty() {
            Ok(())
        } else if names.contains(&path.join(crate::MANIFEST)) {
            refuse("already holds a set")
        } else if ending("tar") || ending(TEMPORARY) {
            refuse("is not empty (perhaps a set whose packing was cut off: it has no manifest.json)")
        } else {
            refuse("is not empty")
        }
    }

    /// Makes the folder if it is not there, locks it and checks that it is empty.
    pub(crate) fn claim(path: &Path) -> Result<Self, PackError> {
        let fault = |source| PackError::Write { path: path.into(), source };
        let made = !path.is_dir();
        fs::create_dir_all(path).map_err(fault)?;
        let folder = File::open(path).map_err(fault)?;
        if let Err(fs::TryLockError::WouldBlock) = folder.try_lock() {
            return Err(PackError::Destination { path: path.into(), reason: "is being packed by another process" });
        }
        // Where locks are not supported, two runs still cannot replace each other's files.
        Self::check(path)?;
        Ok(Self { path: path.into(), made, folder, files: Vec::new(), kept: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `file` one of the set's files, whole and on the disk.
    pub(crate) fn commit(&mut self, file: AtomicFile) -> Result<(), PackError> {
        let path = file.path.clone();
        file.commit()?;
        self.files.push(path);
        self.sync()
    }

    /// Writes a small file.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), PackError> {
        let mut file = AtomicFile::create(self, name)?;
        let written = file.write_all(bytes);
        written.map_err(|source| PackError::Write { path: file.path.clone(), source })?;
        self.commit(file)
    }

    /// Brings the folder's entries to the disk.
    fn sync(&self) -> Result<(), PackError> {
        self.folder.sync_all().map_err(|source| PackError::Write { path: self.path.clone(), source })
    }

    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // The last file first: a manifest must not outlive a shard. What cannot be removed stays: without a manifest
        // it is no set.
        for file in self.files.iter().rev() {
            let _ = fs::remove_file(file);
        }
        if self.made {
            let _ = fs::remove_dir(&self.path);
        }
    }
}
