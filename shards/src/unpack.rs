//! A set back to folders of pictures.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde::Serialize;

use crate::error::ShardError;
use crate::index::LABEL_EXTENSION;
use crate::set::{ShardReader, ShardSet};

/// A set that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The set or a sample cannot be read.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// A name would leave the destination.
    #[error("{shard}: sample {key}: its {what} {name:?} would leave the destination; nothing was written")]
    Leaves {
        /// The shard.
        shard: String,
        /// The sample.
        key: String,
        /// `key` or `extension`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A class has a name that is no name of a folder.
    #[error("class {number} is called {name:?}, which cannot be one folder in the destination; nothing was written")]
    Class {
        /// Its number.
        number: usize,
        /// Its name.
        name: String,
    },
    /// Two members would become the same file.
    #[error("{path}: two members of the set would become this file")]
    Twice {
        /// The file.
        path: PathBuf,
    },
    /// The destination holds something.
    #[error("destination {path} is not empty: name a folder that is empty or not there yet")]
    NotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("stopped before all samples were written")]
    Stopped,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unpacked {
    /// Samples.
    pub samples: u64,
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether packing the folders gives the classes the same numbers without being told their order. Not so if a class
    /// is empty, or if the names are not in byte order: of numbers, `10` comes before `2`.
    pub same_classes: bool,
}

/// What unpacking tells and asks its caller.
#[derive(Clone, Copy)]
pub struct UnpackHooks<'a> {
    /// Called after each sample, by several threads.
    pub progress: &'a (dyn Fn() + Sync),
    /// Once true, unpacking ends with [`UnpackError::Stopped`].
    pub stop: &'a AtomicBool,
}

/// Writes every sample of `set` below the new or empty folder `destination`: `CLASS/KEY.EXTENSION` for each of its
/// members but the label, which the folder says; without labels `KEY.EXTENSION`. Classes without names are called by
/// their numbers. Files appear under their names when they are whole.
///
/// All names are looked at before the first file is written.
///
/// # Errors
/// A sample cannot be read, a name would leave the destination, or something cannot be written.
pub fn unpack(
    set: &ShardSet,
    destination: &Path,
    workers: usize,
    hooks: UnpackHooks<'_>,
) -> Result<Unpacked, UnpackError> {
    check_names(set)?;
    let fault = |source| UnpackError::Write { path: destination.into(), source };
    fs::create_dir_all(destination).map_err(fault)?;
    if fs::read_dir(destination).map_err(fault)?.next().is_some() {
        return Err(UnpackError::NotEmpty { path: destination.into() });
    }
    let shards = set.manifest().shards.len();
    let work = Work {
        set,
        destination,
        hooks,
        next: AtomicUsize::new(0),
        written: Mutex::default(),
        labels: Mutex::default(),
    };
    let (samples, files, bytes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let result = thread::scope(|scope| {
        let run = || {
            let done = work.shards()?;
            samples.fetch_add(done.samples, Ordering::Relaxed);
            files.fetch_add(done.files, Ordering::Relaxed);
            bytes.fetch_add(done.bytes, Ordering::Relaxed);
            Ok(())
        };
        let threads: Vec<_> = (0..workers.clamp(1, shards)).map(|_| scope.spawn(run)).collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        // All threads are waited for; the first error counts.
        results.collect::<Vec<_>>().into_iter().collect::<Result<(), UnpackError>>()
    });
    result?;
    let (samples, files, bytes) = (samples.into_inner(), files.into_inner(), bytes.into_inner());
    let labels = work.labels.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Unpacked { samples, files, bytes, same_classes: same_classes(&set.manifest().classes, &labels) })
}

struct Work<'a> {
    set: &'a ShardSet,
    destination: &'a Path,
    hooks: UnpackHooks<'a>,
    next: AtomicUsize,
    written: Mutex<HashSet<PathBuf>>,
    /// The classes that have samples.
    labels: Mutex<BTreeSet<u32>>,
}

impl Work<'_> {
    /// Unpacks shard after shard until none is left.
    fn shards(&self) -> Result<Unpacked, UnpackError> {
        let mut done = Unpacked::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.set.manifest().shards.len() {
                return Ok(done);
            }
            let reader = self.set.open_shard(number)?;
            for sample in 0..reader.len() {
                if self.hooks.stop.load(Ordering::Relaxed) {
                    return Err(UnpackError::Stopped);
                }
                let written = self.sample(&reader, sample);
                if written.is_err() {
                    // The other threads need not go on either.
                    self.next.store(usize::MAX / 2, Ordering::Relaxed);
                }
                let (files, bytes) = written?;
                done.samples += 1;
                done.files += files;
                done.bytes += bytes;
                (self.hooks.progress)();
            }
        }
    }

    /// Writes one sample; gives the files and their bytes.
    fn sample(&self, reader: &ShardReader, number: usize) -> Result<(u64, u64), UnpackError> {
        let members = reader.read_members_of(number)?;
        let entry = reader.entry(number);
        let label = reader.label_among(number, &members)?;
        if let Some(label) = label {
            self.labels.lock().unwrap_or_else(PoisonError::into_inner).insert(label);
        }
        let folder = label.map(|label| class_folder(&self.set.manifest().classes, label));
        let folder = folder.map_or_else(|| self.destination.to_path_buf(), |folder| self.destination.join(folder));
        let (mut files, mut bytes) = (0, 0);
        for (member, data) in entry.members.iter().zip(members) {
            if &*member.extension == LABEL_EXTENSION {
                continue;
            }
            self.write(&folder.join(format!("{}.{}", entry.key, member.extension)), &data)?;
            files += 1;
            bytes += data.len() as u64;
        }
        Ok((files, bytes))
    }

    fn write(&self, path: &Path, data: &[u8]) -> Result<(), UnpackError> {
        if !self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(path.into()) {
            return Err(UnpackError::Twice { path: path.into() });
        }
        let folder = path.parent().unwrap_or(self.destination);
        let written = fs::create_dir_all(folder).and_then(|()| {
            let mut file = tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(folder)?;
            file.write_all(data)?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            file.as_file().set_permissions(mode)?;
            file.persist_noclobber(path).map_err(|error| error.error)
        });
        written.map(drop).map_err(|source| UnpackError::Write { path: path.into(), source })
    }
}

/// Looks at every name that becomes a part of a path.
fn check_names(set: &ShardSet) -> Result<(), UnpackError> {
    for (number, name) in set.manifest().classes.iter().enumerate() {
        // Of a folder in a folder, packing would take the outer one for the class.
        if name.contains('/') || !stays(name) {
            return Err(UnpackError::Class { number, name: name.clone() });
        }
    }
    for shard in &set.manifest().shards {
        for entry in &set.read_index(shard)?.samples {
            let extensions = entry.members.iter().map(|member| ("extension", &member.extension));
            let mut names = std::iter::once(("key", &entry.key)).chain(extensions);
            if let Some((what, name)) = names.find(|(_, name)| !stays(name)) {
                let (shard, key, name) = (shard.file.clone(), entry.key.to_string(), name.to_string());
                return Err(UnpackError::Leaves { shard, key, what, name });
            }
        }
    }
    Ok(())
}

/// The folder of a class: its name, or its number where the set has no names.
fn class_folder(classes: &[String], label: u32) -> String {
    classes.get(label as usize).map_or_else(|| label.to_string(), Clone::clone)
}

/// Whether the folders of the classes that have samples, in byte order, are those of all classes in their order.
fn same_classes(classes: &[String], labels: &BTreeSet<u32>) -> bool {
    let mut folders: Vec<(String, u32)> = labels.iter().map(|label| (class_folder(classes, *label), *label)).collect();
    folders.sort();
    let in_order = folders.iter().zip(0..).all(|((_, label), number)| *label == number);
    in_order && (folders.len() == classes.len() || classes.is_empty())
}

/// Whether a name, with folders or without, stays below the folder that it is put into.
fn stays(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty() && !name.contains('\0') && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{same_classes, stays};

    #[test]
    fn classes_keep_their_numbers_in_byte_order_without_gaps() {
        let same = |classes: &[&str], labels: &[u32]| {
            let classes: Vec<String> = classes.iter().map(|class| class.to_string()).collect();
            same_classes(&classes, &labels.iter().copied().collect::<BTreeSet<_>>())
        };
        assert!(same(&["ant", "bee"], &[0, 1]) && same(&[], &[0, 1, 2]) && same(&[], &[]));
        assert!(!same(&["bee", "ant"], &[0, 1]) && !same(&["ant", "bee", "cat"], &[0, 2]));
        assert!(!same(&["ant", "bee"], &[0]) && !same(&[], &[1, 2]) && !same(&[], &(0..11).collect::<Vec<_>>()));
    }

    #[test]
    fn only_names_below_the_folder_stay() {
        ["a", "a/b", "..a", "a b", "a/.b"].iter().for_each(|name| assert!(stays(name), "{name}"));
        ["", "..", "../a", "a/../../b", "/a", ".", "a\0b"].iter().for_each(|name| assert!(!stays(name), "{name:?}"));
    }
}
