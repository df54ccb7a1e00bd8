//! The folder that a set is packed into, and the work folder in it.
//!
//! Everything is written into `DST/.packing`; a finished set is moved up file by file, the manifest last. So there is
//! nothing in the destination that looks like a set before it is one, and a kill at any moment leaves something that
//! packing can go on with.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::PackError;
use super::journal::{JOURNAL, STATE, State, read_state};
use super::report::REPORT;
use super::spill::SPILLED;
use crate::manifest::{MANIFEST, Manifest};

/// The work folder's name in the destination.
pub(crate) const WORK: &str = ".packing";

/// What is in the destination.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing, or a work folder in which nothing was begun.
    Nothing,
    /// A pack that was begun.
    Unfinished(Box<State>),
}

/// The destination, locked: two runs cannot mix their shards.
pub(crate) struct Destination {
    path: PathBuf,
    made: bool,
    /// Held open for its lock.
    folder: File,
}

/// Looks whether `path` can be packed into; changes nothing.
pub(crate) fn inspect(path: &Path) -> Result<Found, PackError> {
    let refuse = |reason| Err(PackError::Destination { path: path.into(), reason });
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return refuse("is a file"),
        Err(source) => return Err(PackError::Read { path: path.into(), source }),
    };
    let names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let work = path.join(WORK);
    if names.contains(&work) {
        let fault = |source: io::Error| match source.kind() {
            io::ErrorKind::InvalidData => {
                PackError::Resume { path: path.into(), reason: format!("its {WORK}/{STATE} is damaged ({source})") }
            }
            _ => PackError::Read { path: work.join(STATE), source },
        };
        if let Some(state) = read_state(&work).map_err(fault)? {
            return Ok(Found::Unfinished(Box::new(state)));
        }
        if names.len() == 1 {
            return Ok(Found::Nothing);
        }
    }
    if names.is_empty() {
        Ok(Found::Nothing)
    } else if names.contains(&path.join(MANIFEST)) {
        // An empty work folder is what a kill at the very last moment leaves.
        let _ = fs::remove_dir(&work);
        refuse("already holds a set")
    } else if names.iter().any(|name| name.extension().is_some_and(|ending| ending == "tar" || ending == "tmp")) {
        refuse("is not empty (perhaps a set whose packing was cut off: it has no manifest.json)")
    } else {
        refuse("is not empty")
    }
}

impl Destination {
    /// Makes the folders if they are not there and locks the destination.
    pub(crate) fn claim(path: &Path) -> Result<Self, PackError> {
        let fault = |source| PackError::Write { path: path.into(), source };
        let made = !path.is_dir();
        fs::create_dir_all(path).map_err(fault)?;
        let folder = File::open(path).map_err(fault)?;
        if let Err(fs::TryLockError::WouldBlock) = folder.try_lock() {
            return Err(PackError::Destination { path: path.into(), reason: "is being packed by another process" });
        }
        let claimed = Self { path: path.into(), made, folder };
        fs::create_dir_all(claimed.work()).map_err(fault)?;
        Ok(claimed)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.path.join(WORK)
    }

    /// Removes an unfinished pack; the destination itself stays.
    pub(crate) fn clear(&self) -> Result<(), PackError> {
        let fault = |path: &Path| {
            let path = path.to_path_buf();
            move |source| PackError::Write { path, source }
        };
        // Shards that were moved up already: what the finished manifest in the work folder names.
        if let Ok((manifest, _)) = Manifest::load(&self.work()) {
            for name in files(&manifest) {
                let path = self.path.join(name);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(&path)(error)),
                    _ => {}
                }
            }
        }
        let work = self.work();
        fs::remove_dir_all(&work).and_then(|()| fs::create_dir(&work)).map_err(fault(&work))
    }

    /// Moves a finished set up: shards, indices and report, then the manifest; then removes the work folder. Files that
    /// an earlier run moved are left where they are.
    pub(crate) fn publish(self, manifest: &Manifest) -> Result<(), PackError> {
        let work = self.work();
        for name in files(manifest).chain([REPORT.to_string()]) {
            self.move_up(&work, &name)?;
        }
        self.sync()?;
        self.move_up(&work, MANIFEST)?;
        self.sync()?;
        remove_work(&work).map_err(|source| PackError::Write { path: work, source })
    }

    fn move_up(&self, work: &Path, name: &str) -> Result<(), PackError> {
        let (from, to) = (work.join(name), self.path.join(name));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && (to.exists() || name == REPORT) => Ok(()),
            moved => moved.map_err(|source| PackError::Write { path: to, source }),
        }
    }

    /// Brings the folder's entries to the disk.
    fn sync(&self) -> Result<(), PackError> {
        self.folder.sync_all().map_err(|source| PackError::Write { path: self.path.clone(), source })
    }
}

/// Removes the work folder of a finished set, the state last: as long as it is there, the next run ends this one.
fn remove_work(work: &Path) -> io::Result<()> {
    for entry in fs::read_dir(work)? {
        let path = entry?.path();
        if !path.ends_with(STATE) {
            fs::remove_file(path)?;
        }
    }
    fs::remove_file(work.join(STATE))?;
    fs::remove_dir(work)
}

/// All files of a set but its manifest.
fn files(manifest: &Manifest) -> impl Iterator<Item = String> {
    manifest.shards.iter().flat_map(|shard| [shard.file.clone(), shard.index.clone()])
}

impl Drop for Destination {
    fn drop(&mut self) {
        // Work that the next run can go on with stays.
        let begun = |name| fs::metadata(self.work().join(name)).is_ok_and(|file| file.len() > 0);
        if begun(JOURNAL) || begun(SPILLED) {
            return;
        }
        // What cannot be removed stays: it is no set. The destination is removed only if it is empty.
        let _ = fs::remove_dir_all(self.work());
        if self.made {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Writes a small file of the work folder, whole or not at all.
pub(crate) fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), PackError> {
    let (path, temporary) = (folder.join(name), folder.join(format!("{name}.tmp")));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(folder)?.sync_all()
    });
    written.map_err(|source| PackError::Write { path, source })
}
